//! An exchange of messages: when the next is sent.

use dhcproto::v6::MessageType;
use dpdk_net_stack::{Duration, Instant};

use crate::dhcp::Entropy;

/// How a message is sent again (RFC 8415 sections 7.6 and 15). No more often than `most`, if that is not 0.
#[derive(Debug, Clone, Copy)]
struct Rules {
    first: Duration,
    last: Duration,
    most: u32,
}

const fn rules(first: u64, last: u64, most: u32) -> Rules {
    Rules {
        first: Duration::from_secs(first),
        last: Duration::from_secs(last),
        most,
    }
}

/// By the kind of the message.
const fn rules_of(kind: MessageType) -> Rules {
    match kind {
        MessageType::Solicit | MessageType::InformationRequest => rules(1, 3_600, 0),
        MessageType::Renew | MessageType::Rebind => rules(10, 600, 0),
        MessageType::Confirm => rules(1, 4, 0),
        _ => rules(1, 30, 10),
    }
}

/// An exchange of messages under way.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) kind: MessageType,
    /// The identifier of the server that is asked; `None` where any may answer.
    pub(super) server: Option<Vec<u8>>,
    rules: Rules,
    pub(super) xid: [u8; 3],
    /// When the first was sent.
    pub(super) since: Instant,
    /// When the next is.
    pub(super) next: Instant,
    wait: Duration,
    pub(super) sent: u32,
}

impl Exchange {
    /// One that begins now, with this server or any, and with this transaction id.
    pub(super) fn new(
        now: Instant,
        kind: MessageType,
        server: Option<Vec<u8>>,
        xid: [u8; 3],
    ) -> Self {
        Self {
            kind,
            server,
            rules: rules_of(kind),
            xid,
            since: now,
            next: now,
            wait: Duration::ZERO,
            sent: 0,
        }
    }

    /// A message was sent once more (RFC 8415 section 15).
    pub(super) fn sent(&mut self, now: Instant, entropy: &mut Entropy) {
        let Rules { first, last, .. } = self.rules;
        let around = |time: Duration, entropy: &mut Entropy| entropy.around(time, time / 10);
        self.wait = match self.wait {
            // Section 18.2.1: all servers are to have the whole time for their answer.
            Duration::ZERO if self.kind == MessageType::Solicit => {
                first + entropy.below(first / 10)
            }
            Duration::ZERO => around(first, entropy),
            before if before * 2 > last => around(last, entropy),
            before => before + around(before, entropy),
        };
        self.next = now + self.wait;
        self.sent += 1;
    }

    /// Whether this server is one to hear.
    pub(super) fn is_with(&self, server: &[u8]) -> bool {
        self.server.as_deref().is_none_or(|asked| asked == server)
    }

    /// Whether it was sent as often as it is to be.
    pub(super) fn is_over(&self) -> bool {
        self.rules.most > 0 && self.sent >= self.rules.most
    }
}
