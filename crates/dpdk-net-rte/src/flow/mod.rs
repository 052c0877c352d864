//! Flow rules: what the NIC does with packets that match a pattern, before a queue's lcore sees them (`rte_flow`).
//!
//! A [`Rule`] is a description: headers to match ([`Item`]), each field exactly, by mask or by range ([`Field`]), and
//! actions. Its builder makes well-formed ones only: layers in the order in which they are in a packet, one fate. A
//! [`FlowRules`], as a started port is, makes a [`Flow`] of it: a handle that destroys the rule when it is dropped.
//!
//! ```no_run
//! use dpdk_net_rte::flow::{FlowRules, Ipv4Item, Rule, TcpItem};
//! use dpdk_net_rte::{Error, Port, port::Started};
//!
//! # fn example(port: &Port<Started>) -> Result<(), Error> {
//! let rule = Rule::ingress()
//!     .ipv4(Ipv4Item {
//!         dst: std::net::Ipv4Addr::new(198, 18, 0, 1).into(),
//!         ..Ipv4Item::default()
//!     })
//!     .tcp(TcpItem {
//!         dst_port: 443.into(),
//!         ..TcpItem::default()
//!     })
//!     .count()
//!     .to_queue(2)?;
//! let flow = port.create_flow(&rule)?;
//! println!("{:?}", port.query_flow(&flow, false)?);
//! # Ok(()) }
//! ```
//!
//! Drivers differ in what they take, and many virtual ones take nothing: be ready for a refusal ([`RefusedRule`]
//! says which part of the rule it is about) and go on without. Only what was created is known to be taken:
//! validation may pass what creation refuses, as with net_tap.
//!
//! What does not live here: spreading by hash ([`RssRequest`](crate::port::RssRequest)).

mod error;
mod field;
mod installed;
mod item;
mod rule;

use core::fmt;

pub use self::error::{ItemPart, RefusedRule, RulePart};
pub use self::field::{Field, FieldValue};
pub use self::installed::Flow;
pub(crate) use self::installed::{Flows, isolate};
pub use self::item::{
    EthernetItem, Icmpv4Item, Icmpv6Item, Ipv4Item, Ipv6Item, Item, TcpItem, UdpItem, VlanItem,
};
pub use self::rule::{Action, Direction, FlowRss, Rule, RuleBuilder, stage};
use crate::Error;

/// What takes flow rules: a started port, or a model of one in tests.
pub trait FlowRules {
    /// A rule that was created. Dropping it destroys the rule.
    type Flow: fmt::Debug + Send;

    /// Asks whether the rule could be created (`rte_flow_validate`). That it could is a guess of the driver's: see
    /// [`create_flow`](Self::create_flow).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a queue that is not there, [`Error::FlowRule`] where the driver would refuse it.
    fn validate_flow(&self, rule: &Rule) -> Result<(), Error>;

    /// Validates and creates the rule (`rte_flow_create`).
    ///
    /// # Errors
    /// As [`validate_flow`](Self::validate_flow).
    fn create_flow(&self, rule: &Rule) -> Result<Self::Flow, Error>;

    /// What a rule that counts has counted (`rte_flow_query`), since it was created or last asked with `reset`.
    ///
    /// # Errors
    /// [`Error::FlowRule`] where the rule does not count or the driver can't tell, [`Error::InvalidArgument`] where the
    /// rule is gone or another port's.
    fn query_flow(&self, flow: &Self::Flow, reset: bool) -> Result<FlowCount, Error>;

    /// Destroys a rule (`rte_flow_destroy`), as dropping it does, and tells what went wrong.
    ///
    /// # Errors
    /// [`Error::FlowRule`] where the driver can't: the rule then stays until the port is stopped.
    fn destroy_flow(&self, flow: Self::Flow) -> Result<(), Error>;

    /// Destroys all rules (`rte_flow_flush`). Their handles name nothing any more.
    ///
    /// # Errors
    /// [`Error::FlowRule`] where the driver can't.
    fn flush_flows(&self) -> Result<(), Error>;
}

/// What a rule with [`RuleBuilder::count`] counted, as far as the NIC does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCount {
    /// Packets that matched.
    pub packets: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
}
