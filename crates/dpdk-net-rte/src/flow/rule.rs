//! A rule's description, and the builder that makes well-formed ones.
//!
//! The builder's type says which way the packets go and which layer the pattern has reached, so that what can't follow
//! does not compile ([`crate::rules`]).

use core::fmt;
use core::marker::PhantomData;

use super::item::{
    EthernetItem, Icmpv4Item, Icmpv6Item, Ipv4Item, Ipv6Item, Item, TcpItem, UdpItem, VlanItem,
};
use crate::Error;
use crate::port::{RssKey, RssTypes};

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Those that the port receives.
    Ingress,
    /// Those that it sends.
    Egress,
    /// Those of the whole embedded switch that the port is part of.
    Transfer,
}

/// The spreading of matching packets over some queues (`RTE_FLOW_ACTION_TYPE_RSS`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowRss {
    /// The queues, at least one.
    pub queues: Vec<u16>,
    /// What is hashed, as far as the port can. Default: all.
    pub types: RssTypes,
    /// The key.
    pub key: RssKey,
}

/// What is done with packets that match.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Mark them: [`Mbuf::flow_mark`](crate::Mbuf::flow_mark).
    Mark(u32),
    /// Count them.
    Count,
    /// Deliver them to a queue.
    Queue(u16),
    /// Spread them over queues.
    Rss(FlowRss),
    /// Drop them.
    Drop,
    /// Go on with the rules of another group.
    Jump(u32),
    /// Go on with the rules of lower priority.
    PassThrough,
}

impl Action {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mark(_) => "mark",
            Self::Count => "count",
            Self::Queue(_) => "queue",
            Self::Rss(_) => "RSS",
            Self::Drop => "drop",
            Self::Jump(_) => "jump",
            Self::PassThrough => "passthru",
        }
    }
}

/// A flow rule: a pattern and what is done with packets that match it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    direction: Direction,
    group: u32,
    priority: u32,
    items: Vec<Item>,
    actions: Vec<Action>,
}

impl Rule {
    /// Begins a rule for packets that the port receives.
    pub fn ingress() -> RuleBuilder<stage::Ingress, stage::Start> {
        RuleBuilder::new(Direction::Ingress)
    }

    /// Begins a rule for packets that the port sends.
    pub fn egress() -> RuleBuilder<stage::Egress, stage::Start> {
        RuleBuilder::new(Direction::Egress)
    }

    /// Begins a rule of the embedded switch.
    pub fn transfer() -> RuleBuilder<stage::Transfer, stage::Start> {
        RuleBuilder::new(Direction::Transfer)
    }

    /// A rule of parts that are not known when the program is written, from a file, say. Ethernet is put in front where it is not
    /// there. What else a [`RuleBuilder`]'s type makes sure of is looked at here.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for headers in an order in which no packet has them, for actions other than at most one count and
    /// one mark and then the one that decides what becomes of the packets, and for actions that the direction does not have.
    pub fn from_parts(
        direction: Direction,
        group: u32,
        priority: u32,
        mut items: Vec<Item>,
        actions: Vec<Action>,
    ) -> Result<Self, Error> {
        if !matches!(items.first(), Some(Item::Ethernet(_))) {
            items.insert(0, Item::Ethernet(EthernetItem::default()));
        }
        let tags = items.iter().filter(|item| matches!(item, Item::Vlan(_)));
        let in_order = items.windows(2).all(|pair| match pair {
            [outer, inner] => inner.goes_behind(outer),
            _ => true,
        });
        if tags.count() > 2 || !in_order {
            let names: Vec<&str> = items.iter().map(Item::name).collect();
            return Err(invalid(format!(
                "no packet has these headers in this order: {}",
                names.join(", ")
            )));
        }
        let is_fate = |action: &Action| !matches!(action, Action::Count | Action::Mark(_));
        let fates = actions.iter().filter(|action| is_fate(action)).count();
        if fates != 1 || !actions.last().is_some_and(is_fate) {
            return Err(invalid(
                "what becomes of packets has to be said once, at the end of the actions".into(),
            ));
        }
        let twice =
            |kind: fn(&Action) -> bool| actions.iter().filter(|action| kind(action)).count() > 1;
        if twice(|action| *action == Action::Count)
            || twice(|action| matches!(action, Action::Mark(_)))
        {
            return Err(invalid("packets are counted once, and marked once".into()));
        }
        let received =
            |action: &Action| matches!(action, Action::Mark(_) | Action::Queue(_) | Action::Rss(_));
        if direction != Direction::Ingress
            && let Some(action) = actions.iter().find(|action| received(action))
        {
            return Err(invalid(format!(
                "{} is for packets that are received",
                action.name()
            )));
        }
        let rule = Self {
            direction,
            group,
            priority,
            items,
            actions,
        };
        rule.check()
    }

    /// Which packets it is about.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The group of rules that it is in. Packets begin in group 0.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Its priority in the group; 0 is the highest.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// The headers of its pattern, the outermost first.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What is done with packets that match; the last one decides what becomes of them.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Whether the queues that it names are there.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is not.
    pub fn check_queues(&self, count: u16) -> Result<(), Error> {
        let named: &[u16] = match self.actions.last() {
            Some(Action::Queue(queue)) => core::slice::from_ref(queue),
            Some(Action::Rss(rss)) => &rss.queues,
            _ => &[],
        };
        match named.iter().find(|queue| **queue >= count) {
            None => Ok(()),
            Some(queue) => Err(invalid(format!(
                "it sends packets to queue {queue}, the port was configured with {count} receive queues, numbered from 0"
            ))),
        }
    }

    /// What is wrong with it, if anything, as far as that can be told without a port.
    fn check(self) -> Result<Self, Error> {
        for item in &self.items {
            if let Some(problem) = item.problem() {
                return Err(invalid(format!("{} item: {problem}", item.name())));
            }
        }
        match self.actions.last() {
            Some(Action::Rss(rss)) if rss.queues.is_empty() => Err(invalid(
                "it spreads packets over no queue: name one or more".into(),
            )),
            Some(Action::Jump(group)) if *group == self.group => Err(invalid(format!(
                "it jumps to group {group}, which it is in itself: name another group"
            ))),
            _ => Ok(self),
        }
    }
}

fn invalid(problem: String) -> Error {
    Error::InvalidArgument {
        what: "flow rule".into(),
        problem,
    }
}

impl fmt::Display for Rule {
    /// As testpmd writes it: `ingress group 0 priority 0 pattern Ethernet / IPv4 / TCP actions count / queue 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
            Direction::Transfer => "transfer",
        };
        write!(
            f,
            "{direction} group {} priority {} pattern",
            self.group, self.priority
        )?;
        for (index, item) in self.items.iter().enumerate() {
            write!(f, "{} {}", if index == 0 { "" } else { " /" }, item.name())?;
        }
        f.write_str(" actions")?;
        for (index, action) in self.actions.iter().enumerate() {
            write!(
                f,
                "{} {}",
                if index == 0 { "" } else { " /" },
                action.name()
            )?;
            match action {
                Action::Mark(value) | Action::Jump(value) => write!(f, " {value}")?,
                Action::Queue(queue) => write!(f, " {queue}")?,
                Action::Rss(rss) => write!(f, " over {:?}", rss.queues)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a [`RuleBuilder`]'s type says.
pub mod stage {
    /// Packets that are received.
    #[derive(Debug, Clone, Copy)]
    pub enum Ingress {}
    /// Packets that are sent.
    #[derive(Debug, Clone, Copy)]
    pub enum Egress {}
    /// Packets of the embedded switch.
    #[derive(Debug, Clone, Copy)]
    pub enum Transfer {}

    /// No header yet.
    #[derive(Debug, Clone, Copy)]
    pub enum Start {}
    /// Ethernet.
    #[derive(Debug, Clone, Copy)]
    pub enum Link {}
    /// A VLAN tag.
    #[derive(Debug, Clone, Copy)]
    pub enum Tagged {}
    /// Two of them.
    #[derive(Debug, Clone, Copy)]
    pub enum DoubleTagged {}
    /// IPv4.
    #[derive(Debug, Clone, Copy)]
    pub enum V4 {}
    /// IPv6.
    #[derive(Debug, Clone, Copy)]
    pub enum V6 {}
    /// TCP, UDP or ICMP: no further header.
    #[derive(Debug, Clone, Copy)]
    pub enum Transport {}

    /// Behind it a VLAN tag may follow.
    pub trait TakesTag {
        /// What is reached then.
        type Next;
    }
    impl TakesTag for Start {
        type Next = Tagged;
    }
    impl TakesTag for Link {
        type Next = Tagged;
    }
    impl TakesTag for Tagged {
        type Next = DoubleTagged;
    }

    /// Behind it IP may follow.
    pub trait BelowIp {}
    impl BelowIp for Start {}
    impl BelowIp for Link {}
    impl BelowIp for Tagged {}
    impl BelowIp for DoubleTagged {}

    /// Behind it TCP and UDP may follow.
    pub trait Ip {}
    impl Ip for V4 {}
    impl Ip for V6 {}
}

/// Makes a [`Rule`]: first its pattern, from the outermost header inwards, then what is counted and marked, then what
/// becomes of the packets, which ends it. Ethernet is there also where it is not asked for.
#[derive(Debug, Clone)]
#[must_use = "a builder makes no rule until it is told what becomes of the packets"]
pub struct RuleBuilder<D, L> {
    rule: Rule,
    stage: PhantomData<fn() -> (D, L)>,
}

impl<D, L> RuleBuilder<D, L> {
    fn new(direction: Direction) -> Self {
        Self {
            rule: Rule {
                direction,
                group: 0,
                priority: 0,
                items: Vec::new(),
                actions: Vec::new(),
            },
            stage: PhantomData,
        }
    }

    /// The group of rules that it is in. Default: 0, where packets begin.
    pub fn group(mut self, group: u32) -> Self {
        self.rule.group = group;
        self
    }

    /// Its priority in the group. Default: 0, the highest. Of rules of one priority that match, any may win.
    pub fn priority(mut self, priority: u32) -> Self {
        self.rule.priority = priority;
        self
    }

    /// Counts packets that match.
    pub fn count(mut self) -> Self {
        self.rule.actions.retain(|action| *action != Action::Count);
        self.rule.actions.push(Action::Count);
        self
    }

    /// Drops the packets.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a pattern that nothing can match, as for all that ends a rule.
    pub fn drop_packets(self) -> Result<Rule, Error> {
        self.end(Action::Drop)
    }

    /// Goes on with the rules of another group.
    ///
    /// # Errors
    /// As [`drop_packets`](Self::drop_packets), and for the group that the rule is in.
    pub fn jump_to(self, group: u32) -> Result<Rule, Error> {
        self.end(Action::Jump(group))
    }

    /// Goes on with the rules of lower priority: for what is only counted or marked.
    ///
    /// # Errors
    /// As [`drop_packets`](Self::drop_packets).
    pub fn pass_through(self) -> Result<Rule, Error> {
        self.end(Action::PassThrough)
    }

    /// Appends a header, behind Ethernet if it is the first one.
    fn item<N>(mut self, item: Item) -> RuleBuilder<D, N> {
        if self.rule.items.is_empty() && !matches!(item, Item::Ethernet(_)) {
            self.rule
                .items
                .push(Item::Ethernet(EthernetItem::default()));
        }
        self.rule.items.push(item);
        RuleBuilder {
            rule: self.rule,
            stage: PhantomData,
        }
    }

    fn end(mut self, fate: Action) -> Result<Rule, Error> {
        if self.rule.items.is_empty() {
            self.rule
                .items
                .push(Item::Ethernet(EthernetItem::default()));
        }
        self.rule.actions.push(fate);
        self.rule.check()
    }
}

impl<L> RuleBuilder<stage::Ingress, L> {
    /// Marks packets that match: [`Mbuf::flow_mark`](crate::Mbuf::flow_mark).
    pub fn mark(mut self, mark: u32) -> Self {
        self.rule
            .actions
            .retain(|action| !matches!(action, Action::Mark(_)));
        self.rule.actions.push(Action::Mark(mark));
        self
    }

    /// Delivers the packets to a queue.
    ///
    /// # Errors
    /// As [`drop_packets`](Self::drop_packets). That the queue is there is looked at where the rule is created.
    pub fn to_queue(self, queue: u16) -> Result<Rule, Error> {
        self.end(Action::Queue(queue))
    }

    /// Spreads the packets over queues.
    ///
    /// # Errors
    /// As [`to_queue`](Self::to_queue), and for no queues.
    pub fn to_queues(self, rss: FlowRss) -> Result<Rule, Error> {
        self.end(Action::Rss(rss))
    }
}

impl<D> RuleBuilder<D, stage::Start> {
    /// An Ethernet header.
    pub fn ethernet(self, item: EthernetItem) -> RuleBuilder<D, stage::Link> {
        self.item(Item::Ethernet(item))
    }
}

impl<D, L: stage::TakesTag> RuleBuilder<D, L> {
    /// A VLAN tag.
    pub fn vlan(self, item: VlanItem) -> RuleBuilder<D, L::Next> {
        self.item(Item::Vlan(item))
    }
}

impl<D, L: stage::BelowIp> RuleBuilder<D, L> {
    /// An IPv4 header.
    pub fn ipv4(self, item: Ipv4Item) -> RuleBuilder<D, stage::V4> {
        self.item(Item::Ipv4(item))
    }

    /// An IPv6 header.
    pub fn ipv6(self, item: Ipv6Item) -> RuleBuilder<D, stage::V6> {
        self.item(Item::Ipv6(item))
    }
}

impl<D, L: stage::Ip> RuleBuilder<D, L> {
    /// A TCP header.
    pub fn tcp(self, item: TcpItem) -> RuleBuilder<D, stage::Transport> {
        self.item(Item::Tcp(item))
    }

    /// A UDP header.
    pub fn udp(self, item: UdpItem) -> RuleBuilder<D, stage::Transport> {
        self.item(Item::Udp(item))
    }
}

impl<D> RuleBuilder<D, stage::V4> {
    /// An ICMP header.
    pub fn icmp(self, item: Icmpv4Item) -> RuleBuilder<D, stage::Transport> {
        self.item(Item::Icmpv4(item))
    }
}

impl<D> RuleBuilder<D, stage::V6> {
    /// An ICMPv6 header.
    pub fn icmpv6(self, item: Icmpv6Item) -> RuleBuilder<D, stage::Transport> {
        self.item(Item::Icmpv6(item))
    }
}

#[cfg(test)]
mod tests;
