//! What a stack learns of the link and the stacks of other workers have to know: who has which MAC address, that somebody else
//! has one of our addresses, which groups are joined, and what routers advertise.
//!
//! ARP and most of neighbour discovery come to one queue, whoever has asked: RSS doesn't spread them. So what comes in here is
//! told to all others, and has there the effect that it would have had if it had come there, except that nothing is answered
//! and nothing told again. Reports of groups are one stack's to send (`Config::group_reports`): it joins whatever the others
//! have joined.
//!
//! The queue is bounded, for strangers fill it; what does not fit is counted, and asked for again or told again in time.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use crate::interfaces::{Hop, IfIndex};
use crate::link::{Link, push_frame};
use crate::multicast::Query;
use crate::neighbor::Answer;
use crate::slaac::advertisement::Advertisement;
use crate::stack::Stack;
use crate::time::Instant;

/// What strangers can make wait to be taken.
const MAX_NEWS: usize = 256;
/// What sockets can: as many groups as can be joined, and left again.
const MAX_GROUP_NEWS: usize = 2 * crate::multicast::MAX_GROUPS;

/// Something that the other stacks have to know, from [`Stack::poll_neighbor_news`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborNews {
    at: IfIndex,
    what: News,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// An ARP reply, or a neighbour advertisement. Whether ARP's was solicited, each has to find out for itself.
    Answer {
        addr: IpAddr,
        mac: Option<MacAddr>,
        answer: Answer,
    },
    /// Somebody who has asked for us.
    Asked {
        addr: IpAddr,
        mac: MacAddr,
    },
    /// Whom one of us has asked for, and who has answered.
    Known {
        addr: IpAddr,
        mac: MacAddr,
    },
    /// Somebody else has this address of ours; whether it is given up for that.
    Conflict {
        addr: IpAddr,
        given_up: bool,
    },
    /// A socket has joined a group, or left it.
    Joined(IpAddr),
    Left(IpAddr),
    /// A router asks for groups.
    Query(Query),
    /// What a router advertises.
    Router(Arc<Advertisement>),
}

/// What has not been taken yet.
#[derive(Debug, Default)]
pub(crate) struct NewsQueue {
    /// Whether there is anybody to be told.
    on: bool,
    queue: VecDeque<NeighborNews>,
    /// Those in it that are of groups.
    of_groups: usize,
}

impl NewsQueue {
    /// Tells the others; `false` if that is too much.
    fn push(&mut self, news: NeighborNews) -> bool {
        let is_group = matches!(news.what, News::Joined(_) | News::Left(_));
        let fits = if is_group {
            self.of_groups < MAX_GROUP_NEWS
        } else {
            self.queue.len() - self.of_groups < MAX_NEWS
        };
        if fits {
            self.of_groups += usize::from(is_group);
            self.queue.push_back(news);
        }
        fits
    }

    fn pop(&mut self) -> Option<NeighborNews> {
        let news = self.queue.pop_front()?;
        if let News::Joined(_) | News::Left(_) = news.what {
            self.of_groups -= 1;
        }
        Some(news)
    }
}

impl Link {
    /// There are others to be told from now on.
    pub(crate) fn tell_news(&mut self) {
        self.news.on = true;
    }

    /// Tells the others, if there are any.
    pub(crate) fn tell(&mut self, at: IfIndex, what: News) {
        if self.news.on && !self.news.push(NeighborNews { at, what }) {
            self.neighbors.stats.news_dropped += 1;
        }
    }

    /// A neighbour that was asked for here has answered: what the others have not asked for they may need all the same.
    pub(crate) fn tell_resolved(&mut self, Hop { at, addr }: Hop, mac: Option<MacAddr>) {
        if let Some(mac) = mac {
            self.tell(at, News::Known { addr, mac });
        }
    }

    /// Whether it would be news that a neighbour has this MAC address, of which nobody has asked to be told.
    pub(crate) fn is_news(&self, hop: Hop, mac: Option<MacAddr>) -> bool {
        self.news.on && self.ifaces.is_on_link(hop) && self.neighbors.mac_of(hop) != mac
    }

    /// Takes in what a router advertises.
    pub(crate) fn on_router(&mut self, now: Instant, at: IfIndex, heard: &Advertisement) {
        self.ifaces.on_advertisement(now, at, heard);
        self.neighbors.stats.router_advertisements += 1;
        if let Some(mac) = heard.link {
            let (addr, tci) = (heard.router.into(), self.ifaces.get(at).tci);
            let replies = &mut self.replies;
            self.neighbors
                .on_asked(now, Hop { at, addr }, mac, |frame| {
                    push_frame(replies, tci, frame)
                });
        }
    }

    fn apply(&mut self, now: Instant, at: IfIndex, what: &News) {
        let tci = self.ifaces.get(at).tci;
        let replies = &mut self.replies;
        let send = |frame: &[u8]| push_frame(replies, tci, frame);
        match *what {
            News::Answer { addr, mac, answer } => {
                let hop = Hop { at, addr };
                // As in `on_arp`: solicited is what somebody waits for.
                let solicited =
                    answer.solicited && (addr.is_ipv6() || self.neighbors.is_asking(hop));
                let answer = Answer {
                    solicited,
                    ..answer
                };
                let resolves = self.neighbors.is_asking(hop);
                self.neighbors.on_answer(now, hop, mac, answer, send);
                if resolves {
                    self.tell_resolved(hop, mac);
                }
            }
            // Not known to be reachable from here: to be used, and confirmed in time.
            News::Asked { addr, mac } | News::Known { addr, mac } => {
                self.neighbors.on_asked(now, Hop { at, addr }, mac, send);
            }
            News::Conflict { addr, given_up } => {
                self.neighbors.stats.address_conflicts += 1;
                if given_up {
                    self.ifaces.give_up(now, Hop { at, addr });
                }
            }
            News::Joined(group) => {
                let joined = self
                    .ifaces
                    .change(at, |iface| iface.groups.join_for_others(now, group));
                self.neighbors.stats.news_dropped += u64::from(!joined);
            }
            News::Left(group) => {
                self.ifaces
                    .change(at, |iface| iface.groups.leave_for_others(now, group));
            }
            News::Query(query) => self
                .ifaces
                .change(at, |iface| iface.groups.on_query(now, query)),
            News::Router(ref heard) => self.on_router(now, at, heard),
        }
    }
}

impl Stack {
    /// Something that all other stacks with the same addresses have to be told by
    /// [`apply_neighbor_news`](Self::apply_neighbor_news), until there is nothing more. To be called after
    /// [`ingest`](Self::ingest), timeouts and calls that join groups or close sockets. 256 at most wait here, beside those of
    /// groups; more are dropped and counted (`NeighborStats::news_dropped`).
    pub fn poll_neighbor_news(&mut self) -> Option<NeighborNews> {
        self.link.news.pop()
    }

    /// What another worker's stack has learnt. It has the effect of the ARP reply or neighbour advertisement itself: packets
    /// that waited for it go out. All stacks must have the same addresses and VLANs.
    pub fn apply_neighbor_news(&mut self, now: Instant, news: &NeighborNews) {
        self.advance(now);
        self.link.neighbors.stats.news_applied += 1;
        self.link.apply(now, news.at, &news.what);
    }
}
