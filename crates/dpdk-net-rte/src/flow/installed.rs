//! Rules that a port has: creating them, and their handles.
//!
//! What holds, and every `unsafe` block here relies on:
//!
//! 1. [`Flows`] has each `rte_flow` that the driver gave out and has not been told to destroy. It is part of the port's
//!    control and touched under its lock alone.
//! 2. A driver may forget its rules when the port stops (`rte_eth_dev_configure` and `rte_flow` of DPDK's
//!    documentation): they are destroyed before, so what [`Flows`] has is valid. Rules are only created while the port
//!    is started.
//! 3. A [`Flow`] names its rule by a number that is never used again, and keeps the port open. Where the rule is gone,
//!    the number is in no table.

use core::fmt;
use core::ptr::NonNull;
use std::collections::HashMap;
use std::sync::Arc;

use dpdk_net_sys as sys;

use super::error::refused;
use super::{Action, Direction, FlowCount, FlowRules, Rule};
use crate::Error;
use crate::error::Errno;
use crate::port::inner::{Control, Inner, Phase};
use crate::port::{PortControl, PortInfo};

/// The rules of a port.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    live: HashMap<u64, NonNull<sys::rte_flow>>,
    next: u64,
}

// SAFETY: a rule's address is DPDK's, and means the same on any thread; it is used under the port's lock.
unsafe impl Send for Flows {}

impl Flows {
    /// Destroys all rules, before the port is stopped.
    ///
    /// # Safety
    /// They are the rules of the open port `port`, whose lock the caller has.
    pub(crate) unsafe fn end(&mut self, port: &Inner) {
        for (_, flow) in self.live.drain() {
            // SAFETY: the caller's promise, and 2.
            if let Err(error) = unsafe { destroy(port, flow) } {
                tracing::warn!(%error, "a flow rule of a port that stops");
            }
        }
    }
}

/// # Safety
/// `flow` is a rule of the open port `port` that is there, and not used again. The caller has the port's lock.
unsafe fn destroy(port: &Inner, flow: NonNull<sys::rte_flow>) -> Result<(), Error> {
    let mut error = sys::dn_flow_error::default();
    // SAFETY: the caller's promise.
    let rc = unsafe { sys::dn_flow_destroy(port.id.get(), flow.as_ptr(), &mut error) };
    check("rte_flow_destroy", port, rc, &error, None)
}

fn check(
    function: &'static str,
    port: &Inner,
    rc: i32,
    error: &sys::dn_flow_error,
    rule: Option<&Rule>,
) -> Result<(), Error> {
    if rc >= 0 {
        return Ok(());
    }
    Err(refused(function, port.subject(), error, rule, Errno(-rc)))
}

/// Has only what rules say arrive, or everything again.
///
/// # Safety
/// `port` is open, and the caller has its lock.
pub(crate) unsafe fn isolate(port: &Inner, on: bool) -> Result<(), Error> {
    let mut error = sys::dn_flow_error::default();
    // SAFETY: the caller's promise.
    let rc = unsafe { sys::dn_flow_isolate(port.id.get(), on.into(), &mut error) };
    check("rte_flow_isolate", port, rc, &error, None)
}

/// The number of no rule.
const NONE: u64 = u64::MAX;

/// A rule that a port has. Dropping it destroys the rule.
///
/// It keeps its port open. When the port is stopped, or its rules are flushed, the rule is gone and this names nothing.
#[must_use = "a rule is destroyed when its handle is dropped"]
pub struct Flow {
    port: Arc<Inner>,
    id: u64,
}

impl Flow {
    /// Whether the rule is still there.
    pub fn is_installed(&self) -> bool {
        self.port.lock().flows.live.contains_key(&self.id)
    }

    /// Destroys the rule, if it is there. One that the driver can't destroy stays in the table.
    fn remove(&self) -> Result<(), Error> {
        let mut control = self.port.lock();
        let Some(flow) = control.flows.live.remove(&self.id) else {
            return Ok(());
        };
        // SAFETY: the rule was in the table (1), the port is open as we hold it, and its lock is held.
        let result = unsafe { destroy(&self.port, flow) };
        if result.is_err() {
            control.flows.live.insert(self.id, flow);
        }
        result
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a flow rule whose handle is dropped");
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("port", &self.port.subject())
            .field("id", &self.id)
            .finish()
    }
}

/// A rule as the shim takes it.
struct Encoded {
    rule: sys::dn_flow_rule,
    /// What `rule` points to.
    _items: Vec<sys::dn_flow_item>,
    _actions: Vec<sys::dn_flow_action>,
    _key: Vec<u8>,
}

/// `queues` of RSS are pointed to in `rule`, which outlives what is made of it here.
fn encode(rule: &Rule, port: &PortInfo) -> Encoded {
    let items: Vec<_> = rule.items().iter().map(super::Item::encode).collect();
    let mut key = Vec::new();
    let actions: Vec<_> = rule
        .actions()
        .iter()
        .map(|action| {
            let mut raw = sys::dn_flow_action::default();
            (raw.kind, raw.value) = match action {
                Action::Mark(mark) => (sys::DN_FLOW_MARK, *mark),
                Action::Count => (sys::DN_FLOW_COUNT, 0),
                Action::Queue(queue) => (sys::DN_FLOW_QUEUE, u32::from(*queue)),
                Action::Drop => (sys::DN_FLOW_DROP, 0),
                Action::Jump(group) => (sys::DN_FLOW_JUMP, *group),
                Action::PassThrough => (sys::DN_FLOW_PASSTHRU, 0),
                Action::Rss(rss) => {
                    // A rule has one action at most that is RSS, so one key.
                    key = rss.key.for_port(port).unwrap_or_default();
                    raw.rss_types = (rss.types & port.rss_types).bits();
                    raw.rss_queues = rss.queues.as_ptr();
                    raw.rss_queue_count = rss.queues.len() as u32;
                    raw.rss_key_len = key.len() as u32;
                    raw.rss_key = key.as_ptr();
                    (sys::DN_FLOW_RSS, 0)
                }
            };
            raw
        })
        .collect();
    let direction = |which| u8::from(rule.direction() == which);
    Encoded {
        rule: sys::dn_flow_rule {
            group: rule.group(),
            priority: rule.priority(),
            ingress: direction(Direction::Ingress),
            egress: direction(Direction::Egress),
            transfer: direction(Direction::Transfer),
            items: items.as_ptr(),
            item_count: items.len() as u32,
            actions: actions.as_ptr(),
            action_count: actions.len() as u32,
        },
        _items: items,
        _actions: actions,
        _key: key,
    }
}

/// The rule for the port, which is started and has the queues that it names.
fn prepare(port: &Inner, control: &Control, rule: &Rule) -> Result<Encoded, Error> {
    #[cfg(test)]
    let anywhere = tests::ON_STOPPED_PORTS.load(core::sync::atomic::Ordering::Relaxed);
    #[cfg(not(test))]
    let anywhere = false;
    if control.phase != Phase::Started && !anywhere {
        return Err(Error::NotStarted {
            port: port.subject(),
            wanted: "it gets flow rules",
        });
    }
    rule.check_queues(control.setup.rx.len() as u16)?;
    Ok(encode(rule, &port.info()?))
}

/// # Safety
/// `port` is open, `encoded` is made of `rule`, and the caller has the port's lock.
unsafe fn validate(port: &Inner, encoded: &Encoded, rule: &Rule) -> Result<(), Error> {
    let mut error = sys::dn_flow_error::default();
    // SAFETY: the caller's promise: all that the rule points to is alive.
    let rc = unsafe { sys::dn_flow_validate(port.id.get(), &encoded.rule, &mut error) };
    check("rte_flow_validate", port, rc, &error, Some(rule))
}

impl FlowRules for PortControl {
    type Flow = Flow;

    fn validate_flow(&self, rule: &Rule) -> Result<(), Error> {
        let port = self.inner();
        let control = port.lock();
        let encoded = prepare(port, &control, rule)?;
        // SAFETY: the port is open as we hold it, and its lock is held.
        unsafe { validate(port, &encoded, rule) }
    }

    fn create_flow(&self, rule: &Rule) -> Result<Flow, Error> {
        let port = self.inner();
        let mut control = port.lock();
        let encoded = prepare(port, &control, rule)?;
        // What is refused here is refused with better words, on many drivers.
        // SAFETY: as in `validate_flow`.
        unsafe { validate(port, &encoded, rule)? };
        let mut error = sys::dn_flow_error::default();
        // SAFETY: as in `validate`.
        let raw = unsafe { sys::dn_flow_create(port.id.get(), &encoded.rule, &mut error) };
        let Some(raw) = NonNull::new(raw) else {
            let function = "rte_flow_create";
            return Err(refused(
                function,
                port.subject(),
                &error,
                Some(rule),
                Errno::last(),
            ));
        };
        let id = control.flows.next;
        control.flows.next += 1;
        control.flows.live.insert(id, raw);
        Ok(Flow {
            port: Arc::clone(port),
            id,
        })
    }

    fn query_flow(&self, flow: &Flow, reset: bool) -> Result<FlowCount, Error> {
        let port = self.inner();
        let gone = |problem: &str| Error::InvalidArgument {
            what: format!("flow rule of {}", flow.port.subject()),
            problem: problem.into(),
        };
        if !Arc::ptr_eq(port, &flow.port) {
            return Err(gone(
                "it was asked of another port: ask the one that it was created on",
            ));
        }
        let control = port.lock();
        let raw = control.flows.live.get(&flow.id).ok_or_else(|| {
            gone("it is gone: the port was stopped or its rules were flushed since; create it anew")
        })?;
        let (mut count, mut error) = (sys::dn_flow_count::default(), sys::dn_flow_error::default());
        // SAFETY: the rule is in the table (1) of this port, which is open as we hold it, and its lock is held.
        let rc = unsafe {
            sys::dn_flow_query_count(
                port.id.get(),
                raw.as_ptr(),
                reset.into(),
                &mut count,
                &mut error,
            )
        };
        check("rte_flow_query", port, rc, &error, None)?;
        Ok(FlowCount {
            packets: (count.has_packets != 0).then_some(count.packets),
            bytes: (count.has_bytes != 0).then_some(count.bytes),
        })
    }

    fn destroy_flow(&self, mut flow: Flow) -> Result<(), Error> {
        let result = flow.remove();
        // One that the driver can't destroy stays in the table until the port stops: no second try by dropping.
        flow.id = NONE;
        result
    }

    fn flush_flows(&self) -> Result<(), Error> {
        let port = self.inner();
        let mut control = port.lock();
        let mut error = sys::dn_flow_error::default();
        // SAFETY: the port is open as we hold it, and its lock is held.
        let rc = unsafe { sys::dn_flow_flush(port.id.get(), &mut error) };
        check("rte_flow_flush", port, rc, &error, None)?;
        control.flows.live.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
