//! A port over net_tap with the kernel at the other end. Needs root and /dev/net/tun; says so and passes
//! where they are missing, as there is nothing to test then.

mod common;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::kernel::{ip, own_network};
use common::{eal_with_vdevs, pool};
use dpdk_net_packet::{ChecksumVerdict, MacAddr};
use dpdk_net_rte::port::{RxOffloads, TxOffloads};
use dpdk_net_rte::{MbufBatch, Port, PortConfig};

/// How long the kernel may take: on a busy machine, long.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_datagram_of_the_kernel_arrives_and_an_answer_is_accepted() {
    if !own_network() {
        return;
    }
    let eal = eal_with_vdevs(&["net_tap0,iface=dnrte0,mac=02:00:00:00:00:01"]);
    let pool = pool(&eal, "rx");
    let port = Port::open(&eal, "net_tap0").unwrap();
    let mac: MacAddr = "02:00:00:00:00:01".parse().unwrap();
    assert_eq!(port.mac().unwrap(), mac);
    let config = PortConfig {
        mtu: Some(1400),
        rx_offloads: RxOffloads::CHECKSUM,
        tx_offloads_if_offered: TxOffloads::CHECKSUM,
        ..PortConfig::queues(2)
    };
    let refused = port
        .configure(&config, std::slice::from_ref(&pool))
        .unwrap_err();
    let expected = "takes as many mbufs, mempool \"rx\" has 1023 in all";
    assert!(refused.to_string().contains(expected), "{refused}");
    let config = PortConfig {
        rx_descriptors: Some(128),
        ..config
    };
    let port = refused
        .port
        .configure(&config, std::slice::from_ref(&pool))
        .unwrap();
    let port = port.start().unwrap();
    let shown = std::process::Command::new("ip")
        .args(["-o", "link", "show", "dnrte0"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("mtu 1400 "),
        "the kernel's end has the MTU too: {shown}"
    );
    ip("addr add 198.18.7.1/24 dev dnrte0");
    ip("link set dnrte0 up");
    ip("neigh replace 198.18.7.2 lladdr 02:00:00:00:00:02 dev dnrte0");
    let socket = UdpSocket::bind("198.18.7.1:7007").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut queues = port.take_queues().unwrap();
    let mut batch: MbufBatch = MbufBatch::new();
    socket.send_to(b"from the kernel", "198.18.7.2:7").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut frame = None;
    while frame.is_none() {
        assert!(Instant::now() < deadline, "no datagram within {PATIENCE:?}");
        for queue in &mut queues {
            queue.rx.rx_burst(&mut batch);
        }
        frame = batch
            .drain()
            .find(|mbuf| mbuf.data().ends_with(b"from the kernel"));
    }
    let mut frame = frame.unwrap();
    assert_eq!(frame.ip_checksum(), ChecksumVerdict::Good);
    assert_eq!(frame.port(), Some(port.id()));
    // Turn it round: addresses, ports; a swap leaves the checksums right. The kernel's own UDP checksum
    // was left to the device, so none is sent back (RFC 768: zero).
    let data = frame.data_mut();
    data.copy_within(6..12, 0);
    data[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    let (from, to) = data[26..34].split_at_mut(4);
    from.swap_with_slice(to);
    let (from, to) = data[34..38].split_at_mut(2);
    from.swap_with_slice(to);
    data[40..42].fill(0);
    batch.push(frame).unwrap();
    assert_eq!(queues[0].tx.tx_burst(&mut batch), 1);
    let mut answer = [0; 64];
    let (n, peer) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(
        (&answer[..n], peer.to_string().as_str()),
        (&b"from the kernel"[..], "198.18.7.2:7")
    );
    assert!(port.stats().unwrap().rx_packets >= 1);
    drop((batch, queues));
    let port = port.stop().unwrap();
    port.set_mtu(1500).unwrap();
    let error = port.set_mtu(9000).unwrap_err().to_string();
    assert!(
        error.contains("mtu of port 0 (net_tap0)") || error.contains("data_room"),
        "{error}"
    );
    drop(port);
    assert!(eal.ports().is_empty());
    assert_eq!(pool.in_use(), 0, "the driver gave everything back");
}
