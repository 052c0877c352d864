//! One direction of a relay: the link, and the frames that wait for their time to leave it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dpdk_net_packet::{ChecksumVerdict, Network, parse};

use super::{DirectionStats, MAX_HELD_BYTES};
use crate::Instant;
use crate::sim::{Link, LinkConfig};

/// Frames with a transport checksum that are verified on arrival.
const LOOKED_AT: u32 = 256;
/// Ethernet header with a VLAN tag.
const LINK_HEADER: usize = 18;

/// A frame that waits, ordered by its time, frames of one time by their arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Direction {
    link: Link,
    mtu: usize,
    waiting: BinaryHeap<Reverse<Waiting>>,
    held_bytes: usize,
    numbered: u64,
    to_look_at: u32,
    stats: DirectionStats,
    out: Vec<(Instant, Vec<u8>)>,
}

impl Direction {
    pub(super) fn new(config: LinkConfig, seed: u64, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            link: Link::new(config, seed),
            waiting: BinaryHeap::new(),
            held_bytes: 0,
            numbered: 0,
            to_look_at: LOOKED_AT,
            stats: DirectionStats::default(),
            out: Vec::new(),
        }
    }

    pub(super) fn configure(&mut self, config: LinkConfig) {
        self.link.set_config(config);
    }

    pub(super) fn stats(&self) -> DirectionStats {
        DirectionStats {
            link: self.link.stats(),
            ..self.stats
        }
    }

    /// A frame that has arrived.
    pub(super) fn offer(&mut self, now: Instant, frame: &[u8]) {
        if frame.len() > self.mtu + LINK_HEADER {
            self.stats.oversize += 1;
        }
        if self.to_look_at > 0 {
            self.look_at(frame);
        }
        self.link.offer(now, frame.to_vec(), &mut self.out);
        for (due, frame) in self.out.drain(..) {
            if self.held_bytes + frame.len() > MAX_HELD_BYTES {
                self.stats.no_room += 1;
                continue;
            }
            self.held_bytes += frame.len();
            self.numbered += 1;
            self.waiting.push(Reverse(Waiting {
                due,
                number: self.numbered,
                frame,
            }));
        }
    }

    fn look_at(&mut self, frame: &[u8]) {
        let Ok(parsed) = parse(frame) else { return };
        if parsed.five_tuple().is_none() {
            return;
        }
        if let Network::Ip(ip, transport) = &parsed.network {
            self.to_look_at -= 1;
            if transport.verify(ip, ChecksumVerdict::Unknown).is_err() {
                self.stats.unfinished += 1;
            }
        }
    }

    /// When the next frame leaves.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(first)| first.due)
    }

    /// Hands every frame whose time has come to `send`, which says whether it was taken.
    pub(super) fn release<E>(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(Waiting { due, frame, .. })) = self.waiting.pop() else {
                break;
            };
            self.held_bytes -= frame.len();
            if send(&frame)? {
                self.stats.sent += 1;
                self.stats.sent_bytes += frame.len() as u64;
                self.stats.latest = self.stats.latest.max(now.saturating_duration_since(due));
            } else {
                self.stats.send_failed += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;
    use crate::addr::Family;
    use crate::frames::Path;

    fn released(direction: &mut Direction, now: Instant) -> Vec<u8> {
        let mut first_bytes = Vec::new();
        direction
            .release(now, |frame| {
                first_bytes.push(frame[0]);
                Ok::<_, Infallible>(true)
            })
            .unwrap();
        first_bytes
    }

    #[test]
    fn frames_leave_at_their_time_and_in_their_order() {
        let mut direction = Direction::new(LinkConfig::delay(Duration::from_millis(2)), 1, 1_500);
        for n in 0..5 {
            direction.offer(Instant::ZERO, &[n; 60]);
        }
        direction.offer(Instant::from_millis(1), &[9; 60]);
        assert_eq!(direction.next_due(), Some(Instant::from_millis(2)));
        assert!(released(&mut direction, Instant::from_micros(1_999)).is_empty());
        assert_eq!(
            released(&mut direction, Instant::from_millis(2)),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(released(&mut direction, Instant::from_millis(4)), [9]);
        let stats = direction.stats();
        assert_eq!((stats.sent, stats.sent_bytes), (6, 360));
        assert_eq!(stats.latest, Duration::from_millis(1));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut direction = Direction::new(LinkConfig::delay(Duration::from_secs(1)), 1, 9_000);
        let frame = vec![0; 1 << 20];
        for _ in 0..MAX_HELD_BYTES / frame.len() + 3 {
            direction.offer(Instant::ZERO, &frame);
        }
        assert_eq!(direction.stats().no_room, 3);
    }

    #[test]
    fn frames_that_their_sender_did_not_finish_are_noticed() {
        let path = Path::new(Family::V4, 1, 2);
        let mut direction = Direction::new(LinkConfig::perfect(), 1, 1_500);
        direction.offer(Instant::ZERO, &path.udp(7, 8, &[1; 1_400]));
        assert_eq!(direction.stats().unfinished, 0);
        let mut long = path.udp(7, 8, &[1; 1_600]);
        *long.last_mut().unwrap() ^= 1;
        direction.offer(Instant::ZERO, &long);
        let stats = direction.stats();
        assert_eq!((stats.unfinished, stats.oversize), (1, 1));
    }
}
