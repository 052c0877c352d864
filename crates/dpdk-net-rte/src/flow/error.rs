//! What a driver says of a rule that it refuses (`rte_flow_error`), in words.

use core::fmt;
use std::borrow::Cow;

use dpdk_net_sys as sys;

use super::Rule;
use crate::Error;
use crate::error::Errno;
use crate::port::info::text;

/// A flow rule, or a call about one, that a driver refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {function} refused {part}{}{message}: {errno}. {remedy}", if .message.is_empty() { "" } else { ": " })]
pub struct RefusedRule {
    /// The function.
    pub function: &'static str,
    /// The port, as in `port 0 (net_tap0)`.
    pub subject: String,
    /// The part of the rule that it is about.
    pub part: RulePart,
    /// What the driver said; may be empty.
    pub message: String,
    /// Its error.
    pub errno: Errno,
    /// What to do about it.
    pub remedy: Cow<'static, str>,
}

/// The part of a rule that a driver refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulePart {
    /// It does not say.
    Unknown,
    /// The rule that was created.
    Handle,
    /// The group.
    Group,
    /// The priority.
    Priority,
    /// Ingress, egress or transfer.
    Direction,
    /// One of these three.
    Attributes,
    /// How many headers the pattern has.
    PatternLength,
    /// A header of the pattern.
    Item {
        /// Which one, from 0, and what it is called; none where the driver does not say.
        which: Option<(usize, &'static str)>,
        /// What of it.
        part: ItemPart,
    },
    /// How many actions there are.
    ActionCount,
    /// An action.
    Action {
        /// Which one, from 0, and what it is called; none where the driver does not say.
        which: Option<(usize, &'static str)>,
    },
    /// None: it is the state that the device is in.
    State,
}

/// What of a pattern's header a driver refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemPart {
    /// That it is there.
    Header,
    /// A value.
    Value,
    /// A mask.
    Mask,
    /// A range.
    Range,
}

impl fmt::Display for RulePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbered =
            |f: &mut fmt::Formatter<'_>, what: &str, which: &Option<(usize, &str)>| match which {
                Some((index, name)) => write!(f, "{what} {index} ({name})"),
                None => f.write_str(what),
            };
        match self {
            Self::Unknown => f.write_str("it"),
            Self::Handle => f.write_str("the rule's handle"),
            Self::Group => f.write_str("the group"),
            Self::Priority => f.write_str("the priority"),
            Self::Direction => f.write_str("the direction"),
            Self::Attributes => f.write_str("the attributes"),
            Self::PatternLength => f.write_str("the pattern's length"),
            Self::Item { which, part } => {
                f.write_str(match part {
                    ItemPart::Header => "",
                    ItemPart::Value => "the value of ",
                    ItemPart::Mask => "the mask of ",
                    ItemPart::Range => "the range of ",
                })?;
                numbered(f, "item", which)
            }
            Self::ActionCount => f.write_str("the number of actions"),
            Self::Action { which } => numbered(f, "action", which),
            Self::State => f.write_str("the state of the device"),
        }
    }
}

impl RulePart {
    fn new(raw: &sys::dn_flow_error, rule: Option<&Rule>) -> Self {
        fn which<T>(
            index: i32,
            of: Option<&[T]>,
            name: impl Fn(&T) -> &'static str,
        ) -> Option<(usize, &'static str)> {
            let index = usize::try_from(index).ok()?;
            Some((index, name(of?.get(index)?)))
        }
        let item = |part| Self::Item {
            which: which(raw.item, rule.map(Rule::items), super::Item::name),
            part,
        };
        match raw.type_ {
            sys::DN_FLOW_ERROR_HANDLE => Self::Handle,
            sys::DN_FLOW_ERROR_ATTR_GROUP => Self::Group,
            sys::DN_FLOW_ERROR_ATTR_PRIORITY => Self::Priority,
            sys::DN_FLOW_ERROR_ATTR_INGRESS
            | sys::DN_FLOW_ERROR_ATTR_EGRESS
            | sys::DN_FLOW_ERROR_ATTR_TRANSFER => Self::Direction,
            sys::DN_FLOW_ERROR_ATTR => Self::Attributes,
            sys::DN_FLOW_ERROR_ITEM_NUM => Self::PatternLength,
            sys::DN_FLOW_ERROR_ITEM_SPEC => item(ItemPart::Value),
            sys::DN_FLOW_ERROR_ITEM_LAST => item(ItemPart::Range),
            sys::DN_FLOW_ERROR_ITEM_MASK => item(ItemPart::Mask),
            sys::DN_FLOW_ERROR_ITEM => item(ItemPart::Header),
            sys::DN_FLOW_ERROR_ACTION_NUM => Self::ActionCount,
            sys::DN_FLOW_ERROR_ACTION_CONF | sys::DN_FLOW_ERROR_ACTION => Self::Action {
                which: which(raw.action, rule.map(Rule::actions), super::Action::name),
            },
            sys::DN_FLOW_ERROR_STATE => Self::State,
            _ => Self::Unknown,
        }
    }

    /// What to do about it.
    fn remedy(&self, errno: Errno) -> &'static str {
        match errno.0 {
            libc::ENOSYS => {
                return "The driver has no flow rules: do without, and hand packets over between queues in software";
            }
            libc::EEXIST => {
                return "An equal rule may be there already: destroy it first, or give this one another priority. \
                        net_tap says so where its kernel lacks what it needs";
            }
            libc::ENOMEM | libc::ENOSPC => {
                return "The device's table may be full: destroy rules that are no longer needed";
            }
            libc::EBUSY => return "The device may take it while the port is stopped, or later",
            _ => {}
        }
        match self {
            Self::Group => "Use group 0",
            Self::Priority => "Use priority 0",
            Self::Direction | Self::Attributes => {
                "Most drivers take ingress rules of group 0 alone"
            }
            Self::PatternLength => "Match fewer headers",
            Self::Item { part, .. } => match part {
                ItemPart::Header => "The driver does not match this header here: leave it out",
                ItemPart::Value => "The driver does not match this field: leave it out",
                ItemPart::Mask => "Match the field exactly, or not at all",
                ItemPart::Range => {
                    "Make a rule for each value, or for each mask that the range is made of"
                }
            },
            Self::ActionCount | Self::Action { .. } => {
                "The driver does not do this, or not together with the others: leave it out"
            }
            Self::Handle => {
                "The rule is gone with the state of the device that it was made in: make it anew"
            }
            Self::Unknown | Self::State => {
                "Do without the rule: the driver's guide says which ones it takes"
            }
        }
    }
}

/// What a call about a rule failed with.
pub(super) fn refused(
    function: &'static str,
    subject: String,
    raw: &sys::dn_flow_error,
    rule: Option<&Rule>,
    errno: Errno,
) -> Error {
    let part = RulePart::new(raw, rule);
    // Where the driver has no such function, DPDK says what the error number says.
    let message =
        Some(text(&raw.message)).filter(|message| !errno.to_string().starts_with(message));
    Error::FlowRule(Box::new(RefusedRule {
        function,
        subject,
        part,
        message: message.unwrap_or_default(),
        errno,
        remedy: Cow::Borrowed(part.remedy(errno)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Ipv4Item, TcpItem};

    fn raw(kind: i32, item: i32, action: i32, message: &str) -> sys::dn_flow_error {
        let mut raw = sys::dn_flow_error {
            type_: kind,
            item,
            action,
            ..Default::default()
        };
        for (to, from) in raw.message.iter_mut().zip(message.bytes()) {
            *to = from as _;
        }
        raw
    }

    fn error(raw: &sys::dn_flow_error, errno: i32) -> String {
        let rule = Rule::ingress()
            .ipv4(Ipv4Item::default())
            .tcp(TcpItem::default())
            .count()
            .to_queue(1)
            .unwrap();
        let subject = "port 0 (net_made_up0)".into();
        refused("rte_flow_create", subject, raw, Some(&rule), Errno(errno)).to_string()
    }

    #[test]
    fn the_part_the_driver_s_words_and_the_remedy_are_said() {
        let mask = raw(sys::DN_FLOW_ERROR_ITEM_MASK, 2, -1, "ports must be exact");
        assert_eq!(
            error(&mask, libc::ENOTSUP),
            "port 0 (net_made_up0): rte_flow_create refused the mask of item 2 (TCP): ports must be exact: \
             Operation not supported (ENOTSUP). Match the field exactly, or not at all"
        );
        let action = raw(sys::DN_FLOW_ERROR_ACTION, -1, 0, "");
        let text = error(&action, libc::EINVAL);
        assert!(
            text.contains("refused action 0 (count): Invalid argument (EINVAL). "),
            "{text}"
        );
        let somewhere = raw(sys::DN_FLOW_ERROR_ITEM, -1, -1, "no");
        assert!(error(&somewhere, libc::EINVAL).contains("refused item: no: "));
        let outside = raw(sys::DN_FLOW_ERROR_ITEM, 7, -1, "no");
        assert!(error(&outside, libc::EINVAL).contains("refused item: no: "));
    }

    #[test]
    fn each_kind_of_error_has_its_part_and_a_remedy() {
        for kind in sys::DN_FLOW_ERROR_NONE..=sys::DN_FLOW_ERROR_STATE {
            let text = error(&raw(kind, 0, 0, "words"), libc::EINVAL);
            assert!(text.contains(": words: ") && text.len() > 100, "{text}");
        }
        let none = raw(
            sys::DN_FLOW_ERROR_UNSPECIFIED,
            -1,
            -1,
            "Function not implemented",
        );
        let text = error(&none, libc::ENOSYS);
        assert!(
            text.contains("refused it: Function not implemented (ENOSYS). "),
            "{text}"
        );
        assert!(text.ends_with("in software"), "{text}");
    }
}
