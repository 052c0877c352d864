//! A model of a NIC with flow rules, for code that steers: no virtual device does.
//!
//! What holds: packets begin in group 0; of a group's rules that match, the one of the smallest priority number
//! decides, of several the one that was created first, until one lets the packet pass to the next. Only ingress rules
//! are looked at. Rules that are equal but for their actions are refused (`EEXIST`), and so is one more than the model
//! has room for (`ENOSPC`).
//!
//! What does not live here: whether a real NIC takes a rule. Have the model refuse some ([`FlowTable::refusing`]).

mod matching;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_net_packet::toeplitz::{MICROSOFT_KEY, Toeplitz, symmetric_key};
use dpdk_net_rte::flow::{
    Action, Direction, FlowCount, FlowRss, FlowRules, RefusedRule, Rule, RulePart,
};
use dpdk_net_rte::port::{RssKey, RssTypes};
use dpdk_net_rte::{Errno, Error};
use rustix::io::Errno as Code;

/// Jumps of one packet at most: rules may send it round in a circle.
const JUMPS: usize = 16;

/// Where a refusal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// At validation, and so at creation.
    AtValidation,
    /// At creation, although validation passes, as with net_tap.
    AtCreation,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this queue by a rule.
    Queue(u16),
    /// It is dropped.
    Drop,
    /// No rule decides: it arrives where it would without any, or nowhere in isolated mode.
    NoRule,
}

/// What the rules do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub fate: Fate,
    /// The mark of the last rule that matched and marks.
    pub mark: Option<u32>,
}

/// The rules of a port that is made up. Clones are handles of the same.
#[derive(Clone)]
pub struct FlowTable {
    state: Arc<Mutex<State>>,
}

type Refusal = dyn Fn(&Rule) -> Option<RulePart> + Send;

struct State {
    queues: u16,
    capacity: usize,
    refuses: Option<(Refuses, Box<Refusal>)>,
    /// In the order of their creation.
    rules: Vec<Installed>,
    next: u64,
}

struct Installed {
    id: u64,
    rule: Rule,
    packets: u64,
    bytes: u64,
}

/// A rule of a [`FlowTable`]. Dropping it destroys the rule.
#[must_use = "a rule is destroyed when its handle is dropped"]
pub struct ModelFlow {
    state: Arc<Mutex<State>>,
    id: u64,
}

/// Nothing here leaves the rules half changed on a panic.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FlowTable {
    /// No rules yet, on a port with so many receive queues, and room for 1024.
    pub fn new(queues: u16) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                queues,
                capacity: 1024,
                refuses: None,
                rules: Vec::new(),
                next: 0,
            })),
        }
    }

    /// With room for so many rules.
    #[must_use]
    pub fn with_capacity(self, rules: usize) -> Self {
        lock(&self.state).capacity = rules;
        self
    }

    /// Refuses rules for the part of them that `which` names.
    #[must_use]
    pub fn refusing(
        self,
        when: Refuses,
        which: impl Fn(&Rule) -> Option<RulePart> + Send + 'static,
    ) -> Self {
        lock(&self.state).refuses = Some((when, Box::new(which)));
        self
    }

    /// The rules that there are, in the order of their creation.
    pub fn rules(&self) -> Vec<Rule> {
        let state = lock(&self.state);
        state
            .rules
            .iter()
            .map(|installed| installed.rule.clone())
            .collect()
    }

    /// What the rules do with a frame that arrives. Rules that match count it.
    pub fn classify(&self, frame: &[u8]) -> Verdict {
        lock(&self.state).classify(frame)
    }
}

impl State {
    fn classify(&mut self, frame: &[u8]) -> Verdict {
        let mut mark = None;
        let mut group = 0;
        'groups: for _ in 0..JUMPS {
            let mut matching: Vec<&mut Installed> = self
                .rules
                .iter_mut()
                .filter(|installed| {
                    let rule = &installed.rule;
                    rule.direction() == Direction::Ingress
                        && rule.group() == group
                        && matching::matches(rule.items(), frame)
                })
                .collect();
            // Stable: of one priority, the one that was created first.
            matching.sort_by_key(|installed| installed.rule.priority());
            for installed in matching {
                let mut fate = None;
                for action in installed.rule.actions() {
                    match action {
                        Action::Mark(value) => mark = Some(*value),
                        Action::Count => {
                            installed.packets += 1;
                            installed.bytes += frame.len() as u64;
                        }
                        Action::Queue(queue) => fate = Some(Fate::Queue(*queue)),
                        Action::Rss(rss) => fate = Some(Fate::Queue(spread(rss, frame))),
                        Action::Drop => fate = Some(Fate::Drop),
                        Action::Jump(to) => {
                            group = *to;
                            continue 'groups;
                        }
                        other => {
                            assert_eq!(*other, Action::PassThrough, "the model knows all actions")
                        }
                    }
                }
                if let Some(fate) = fate {
                    return Verdict { fate, mark };
                }
            }
            break;
        }
        Verdict {
            fate: Fate::NoRule,
            mark,
        }
    }

    fn error(&self, function: &'static str, part: RulePart, code: Code, message: &str) -> Error {
        Error::FlowRule(Box::new(RefusedRule {
            function,
            subject: "a port that is made up".into(),
            part,
            message: message.into(),
            errno: Errno(code.raw_os_error()),
            remedy: "Do without the rule".into(),
        }))
    }

    fn refuse(&self, when: Refuses, function: &'static str, rule: &Rule) -> Result<(), Error> {
        match &self.refuses {
            Some((at, which)) if *at == when => match which(rule) {
                Some(part) => {
                    Err(self.error(function, part, Code::NOTSUP, "the model is to refuse this"))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn validate(&self, rule: &Rule) -> Result<(), Error> {
        rule.check_queues(self.queues)?;
        self.refuse(Refuses::AtValidation, "rte_flow_validate", rule)
    }

    fn create(&mut self, rule: &Rule) -> Result<u64, Error> {
        let function = "rte_flow_create";
        self.validate(rule)?;
        self.refuse(Refuses::AtCreation, function, rule)?;
        let same = |other: &Rule| {
            (
                other.direction(),
                other.group(),
                other.priority(),
                other.items(),
            ) == (
                rule.direction(),
                rule.group(),
                rule.priority(),
                rule.items(),
            )
        };
        if self.rules.iter().any(|installed| same(&installed.rule)) {
            return Err(self.error(
                function,
                RulePart::Unknown,
                Code::EXIST,
                "there is an equal one",
            ));
        }
        if self.rules.len() >= self.capacity {
            return Err(self.error(
                function,
                RulePart::Unknown,
                Code::NOSPC,
                "the table is full",
            ));
        }
        let id = self.next;
        self.next += 1;
        self.rules.push(Installed {
            id,
            rule: rule.clone(),
            packets: 0,
            bytes: 0,
        });
        Ok(id)
    }
}

/// The queue that a packet is spread to: its hash modulo the number of queues. What is not hashed goes to the first.
fn spread(rss: &FlowRss, frame: &[u8]) -> u16 {
    let symmetric = symmetric_key::<{ Toeplitz::SHORTEST_KEY }>();
    let key: &[u8] = match &rss.key {
        RssKey::Bytes(bytes) => bytes,
        RssKey::Symmetric => &symmetric,
        RssKey::Driver | RssKey::Microsoft => &MICROSOFT_KEY,
    };
    let hash = || {
        let hash = Toeplitz::new(key).ok()?;
        let (src, dst, ports) = matching::flow_key(frame)?;
        let hashed = |protocol| {
            let own = match (protocol == matching::TCP, src.is_ipv4()) {
                (true, true) => RssTypes::TCP_IPV4,
                (true, false) => RssTypes::TCP_IPV6,
                (false, true) => RssTypes::UDP_IPV4,
                (false, false) => RssTypes::UDP_IPV6,
            };
            rss.types.contains(own)
        };
        match ports {
            Some((protocol, from, to)) if hashed(protocol) => {
                hash.ports(SocketAddr::new(src, from), SocketAddr::new(dst, to))
            }
            _ => hash.addresses(src, dst),
        }
    };
    let index = hash().unwrap_or(0) as usize % rss.queues.len().max(1);
    rss.queues.get(index).copied().unwrap_or(0)
}

impl FlowRules for FlowTable {
    type Flow = ModelFlow;

    fn validate_flow(&self, rule: &Rule) -> Result<(), Error> {
        lock(&self.state).validate(rule)
    }

    fn create_flow(&self, rule: &Rule) -> Result<ModelFlow, Error> {
        let id = lock(&self.state).create(rule)?;
        Ok(ModelFlow {
            state: Arc::clone(&self.state),
            id,
        })
    }

    fn query_flow(&self, flow: &ModelFlow, reset: bool) -> Result<FlowCount, Error> {
        let mut state = lock(&self.state);
        let there = Arc::ptr_eq(&self.state, &flow.state);
        let found = state
            .rules
            .iter_mut()
            .find(|installed| there && installed.id == flow.id);
        let Some(installed) = found else {
            return Err(Error::InvalidArgument {
                what: "flow rule of a port that is made up".into(),
                problem: "it is gone, or another port's".into(),
            });
        };
        if !installed.rule.actions().contains(&Action::Count) {
            let part = RulePart::Action { which: None };
            return Err(state.error(
                "rte_flow_query",
                part,
                Code::NOTSUP,
                "the rule does not count",
            ));
        }
        let count = FlowCount {
            packets: Some(installed.packets),
            bytes: Some(installed.bytes),
        };
        if reset {
            (installed.packets, installed.bytes) = (0, 0);
        }
        Ok(count)
    }

    fn destroy_flow(&self, flow: ModelFlow) -> Result<(), Error> {
        drop(flow);
        Ok(())
    }

    fn flush_flows(&self) -> Result<(), Error> {
        lock(&self.state).rules.clear();
        Ok(())
    }
}

impl Drop for ModelFlow {
    fn drop(&mut self) {
        lock(&self.state)
            .rules
            .retain(|installed| installed.id != self.id);
    }
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules()).finish()
    }
}

impl fmt::Debug for ModelFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFlow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
