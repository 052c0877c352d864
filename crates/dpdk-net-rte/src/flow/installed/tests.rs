//! The life of a rule, on the one virtual device that takes any: a bond without members, which forgets nothing and
//! steers nothing. It can't be started, so here rules are made on a port that is not.

use core::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::flow::{Ipv4Item, TcpItem};
use crate::port::Configured;
use crate::{Eal, Mempool, Port, PortConfig};

/// Whether rules may be made on a port that is not started.
pub(super) static ON_STOPPED_PORTS: AtomicBool = AtomicBool::new(false);

fn bond() -> (Eal, Port<Configured>) {
    let eal = Eal::builder("test")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .file_prefix(format!("dn-flow-{}", std::process::id()))
        .vdev("net_bonding0,mode=0")
        .vdev("net_bonding1,mode=0")
        .init()
        .unwrap();
    ON_STOPPED_PORTS.store(true, Ordering::Relaxed);
    let port = configured(&eal, "net_bonding0");
    (eal, port)
}

fn configured(eal: &Eal, name: &str) -> Port<Configured> {
    let pool = Mempool::builder(eal, name).capacity(1023).build().unwrap();
    let port = Port::open(eal, name).unwrap();
    port.configure(&PortConfig::queues(2), &[pool]).unwrap()
}

fn rule(queue: u16) -> Rule {
    Rule::ingress()
        .ipv4(Ipv4Item::default())
        .tcp(TcpItem::default())
        .count()
        .to_queue(queue)
        .unwrap()
}

fn live(port: &PortControl) -> usize {
    port.inner().lock().flows.live.len()
}

#[test]
fn a_rule_is_there_until_its_handle_is_dropped_or_it_is_destroyed() {
    let (_eal, port) = bond();
    port.validate_flow(&rule(1)).unwrap();
    assert_eq!(live(&port), 0, "asked only");
    let (one, two) = (
        port.create_flow(&rule(0)).unwrap(),
        port.create_flow(&rule(1)).unwrap(),
    );
    assert!(one.is_installed() && two.is_installed() && live(&port) == 2);
    assert!(port.query_flow(&one, true).is_ok());
    drop(one);
    assert!(two.is_installed() && live(&port) == 1);
    port.destroy_flow(two).unwrap();
    assert_eq!(live(&port), 0);
    let error = port.create_flow(&rule(2)).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
}

#[test]
fn rules_that_are_flushed_or_end_with_the_port_are_gone_and_their_handles_harmless() {
    let (_eal, port) = bond();
    let flushed = port.create_flow(&rule(0)).unwrap();
    port.flush_flows().unwrap();
    assert!(!flushed.is_installed());
    let ended = port.create_flow(&rule(0)).unwrap();
    {
        let inner = port.inner();
        // SAFETY: the port is open, its lock is held.
        unsafe { inner.lock().flows.end(inner) };
    }
    let again = port.create_flow(&rule(0)).unwrap();
    for gone in [&flushed, &ended] {
        let error = port.query_flow(gone, false).unwrap_err().to_string();
        assert!(error.contains("create it anew"), "{error}");
    }
    // Neither takes the new one with it.
    drop(flushed);
    port.destroy_flow(ended).unwrap();
    assert!(again.is_installed() && live(&port) == 1);
}

#[test]
fn a_rule_keeps_its_port_open_and_is_asked_of_no_other() {
    let (eal, port) = bond();
    let flow = port.create_flow(&rule(0)).unwrap();
    let other = configured(&eal, "net_bonding1");
    let error = other.query_flow(&flow, false).unwrap_err().to_string();
    assert!(error.contains("another port"), "{error}");
    drop(port);
    assert!(matches!(
        Port::open(&eal, "net_bonding0").unwrap_err(),
        Error::PortAlreadyOpen { .. }
    ));
    std::thread::spawn(move || drop(flow)).join().unwrap();
    assert!(matches!(
        Port::open(&eal, "net_bonding0").unwrap_err(),
        Error::NoSuchPort { .. }
    ));
}
