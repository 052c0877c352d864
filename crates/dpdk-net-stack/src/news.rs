//! What a stack learns of the link and the stacks of other workers have to know: who has which MAC address, what a path takes, that
//! somebody else has one of our addresses, which groups are joined, and what routers advertise.
//!
//! ARP and most of neighbour discovery come to one queue, whoever has asked: RSS doesn't spread them. So what comes in here is
//! told to all others, and has there the effect that it would have had if it had come there, except that nothing is answered
//! and nothing told again. Reports of groups are one stack's to send (`Config::group_reports`): it joins whatever the others
//! have joined.
//!
//! There are two kinds. What is **heard** may be lost, as frames are: strangers fill the queue, which is bounded, and what does not
//! fit is counted, and asked for again or told again in time. What a stack has **decided** itself is told once and must arrive: it
//! waits, one change for each address and group at most, where a change that is taken back before it was told cancels out.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use crate::iface::Interface;
use crate::interfaces::{Hop, IfIndex};
use crate::link::{Link, push_frame};
use crate::multicast::Query;
use crate::neighbor::Answer;
use crate::slaac::advertisement::Advertisement;
use crate::stack::Stack;
use crate::time::Instant;

/// What strangers can make wait to be taken.
const MAX_NEWS: usize = 256;

/// Something that the other stacks have to know, from [`Stack::poll_neighbor_news`] or [`Stack::poll_decision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborNews {
    /// Of which worker.
    from: u16,
    at: IfIndex,
    what: News,
}

impl NeighborNews {
    /// Whether only the stack that reports groups ([`Config::group_reports`](crate::Config::group_reports)) has use for it.
    pub fn is_of_groups(&self) -> bool {
        let News::Decided(decision) = self.what else {
            return false;
        };
        matches!(decision, Decision::Joined(_) | Decision::Left(_))
    }
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
    /// Somebody else uses an address of ours, which is kept.
    Conflict,
    /// The way to an address takes packets of so many bytes only.
    PathMtu {
        addr: IpAddr,
        mtu: u16,
    },
    /// A router asks for groups.
    Query(Query),
    /// What a router advertises.
    Router(Arc<Advertisement>),
    Decided(Decision),
}

/// In the order in which they are told: what is left makes room for what is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Decision {
    /// Somebody else has this address of ours: it is given up.
    GivenUp(IpAddr),
    /// The last socket has left a group.
    Left(IpAddr),
    /// A first socket has joined it.
    Joined(IpAddr),
}

impl Decision {
    /// The one that takes it back.
    fn opposite(self) -> Option<Self> {
        match self {
            Decision::GivenUp(_) => None,
            Decision::Left(group) => Some(Decision::Joined(group)),
            Decision::Joined(group) => Some(Decision::Left(group)),
        }
    }
}

/// What has not been taken yet.
#[derive(Debug, Default)]
pub(crate) struct NewsQueue {
    /// This worker's number, if there is anybody to be told.
    worker: Option<u16>,
    heard: VecDeque<NeighborNews>,
    /// Bounded by the addresses, and by twice as many groups as can be joined: of each what is, where it is not what was told.
    decided: BTreeSet<(Decision, IfIndex)>,
}

impl NewsQueue {
    fn decide(&mut self, at: IfIndex, decision: Decision) {
        let untold = decision.opposite().map(|opposite| (opposite, at));
        if !untold.is_some_and(|untold| self.decided.remove(&untold)) {
            self.decided.insert((decision, at));
        }
    }
}

impl Link {
    /// There are others to be told from now on, who know this worker by its number.
    pub(crate) fn tell_news(&mut self, worker: u16) {
        self.news.worker = Some(worker);
    }

    /// There are none any more.
    pub(crate) fn tell_no_news(&mut self) {
        self.news = NewsQueue::default();
    }

    /// Tells the others what was heard, if there are any.
    pub(crate) fn tell(&mut self, at: IfIndex, what: News) {
        let Some(from) = self.news.worker else {
            return;
        };
        if self.news.heard.len() < MAX_NEWS {
            self.news.heard.push_back(NeighborNews { from, at, what });
        } else {
            self.neighbors.stats.news_dropped += 1;
        }
    }

    /// Tells the others what was decided, if there are any.
    pub(crate) fn tell_decision(&mut self, at: IfIndex, decision: Decision) {
        if self.news.worker.is_some() {
            self.news.decide(at, decision);
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
        self.news.worker.is_some()
            && self.ifaces.is_on_link(hop)
            && self.neighbors.mac_of(hop) != mac
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

    fn apply(&mut self, now: Instant, news: &NeighborNews) {
        let &NeighborNews { from, at, ref what } = news;
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
            News::Conflict => self.neighbors.stats.address_conflicts += 1,
            News::PathMtu { addr, mtu } => {
                self.lower_path_mtu(now, Hop { at, addr }, mtu.into());
            }
            News::Query(query) => self
                .ifaces
                .change(at, |iface| iface.groups.on_query(now, query)),
            News::Decided(Decision::GivenUp(addr)) => {
                self.neighbors.stats.address_conflicts += 1;
                self.ifaces.give_up(now, Hop { at, addr });
            }
            News::Decided(Decision::Joined(group)) => self.ifaces.change(at, |iface| {
                iface.groups.join_for_other(now, group, from);
            }),
            News::Decided(Decision::Left(group)) => self.ifaces.change(at, |iface| {
                iface.groups.leave_for_other(now, group, from);
            }),
            News::Router(ref heard) => self.on_router(now, at, heard),
        }
    }
}

impl Stack {
    /// Something that was heard and that all other stacks with the same addresses have to be told by
    /// [`apply_neighbor_news`](Self::apply_neighbor_news), until there is nothing more. To be called after
    /// [`ingest`](Self::ingest) and timeouts. 256 at most wait here; more are dropped and counted (`NeighborStats::news_dropped`).
    /// What can't be told to somebody may be dropped too: it is asked for again, or told again, in time.
    #[inline]
    pub fn poll_neighbor_news(&mut self) -> Option<NeighborNews> {
        self.link.news.heard.pop_front()
    }

    /// As [`poll_neighbor_news`](Self::poll_neighbor_news), something that was decided here: groups that were joined or left,
    /// addresses that were given up. It is told once, so it **must** reach all others, one after the other, before the next one is
    /// asked for; those [`of groups`](NeighborNews::is_of_groups) only the one that reports groups. To be called after calls
    /// that join groups or close sockets, too. What waits is bounded by the addresses, and by the groups that can be joined.
    #[inline]
    pub fn poll_decision(&mut self) -> Option<NeighborNews> {
        if self.link.news.decided.is_empty() {
            return None;
        }
        let (decision, at) = self.link.news.decided.pop_first()?;
        Some(NeighborNews {
            from: self.link.news.worker?,
            at,
            what: News::Decided(decision),
        })
    }

    /// What another worker's stack has learnt. It has the effect of the ARP reply or neighbour advertisement itself: packets
    /// that waited for it go out. All stacks must have the same addresses and VLANs. What comes twice does no harm.
    pub fn apply_neighbor_news(&mut self, now: Instant, news: &NeighborNews) {
        self.advance(now);
        self.link.neighbors.stats.news_applied += 1;
        self.link.apply(now, news);
        self.take_mtus();
    }

    /// Another worker has ended, and can't tell that it has left its groups.
    pub fn forget_peer(&mut self, now: Instant, worker: u16) {
        self.advance(now);
        let all: Vec<IfIndex> = self.link.ifaces.iter().map(|(at, _)| at).collect();
        for at in all {
            let forget = |iface: &mut Interface| iface.groups.forget_other(now, worker);
            self.link.ifaces.change(at, forget);
        }
    }
}
