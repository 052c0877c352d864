//! A host that knows nothing of VLANs, on a switch's access port of one.

use crate::Instant;
use crate::frames;
use crate::sim::{Host, TcpHost};

/// The part of a tag's control information that names the VLAN.
const VLAN_ID: u16 = 0xfff;

/// A host in one VLAN: what it sends is tagged, of the rest it gets what has this VLAN's tag, which is taken off.
#[derive(Debug)]
pub struct OnVlan<H> {
    vlan: u16,
    host: H,
}

impl<H> OnVlan<H> {
    /// Puts a host into the VLAN with this id.
    pub fn new(vlan: u16, host: H) -> Self {
        Self { vlan, host }
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The host, to be used directly.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }
}

impl<H: Host> Host for OnVlan<H> {
    fn ingest(&mut self, now: Instant, frames: &[Vec<u8>]) {
        let own: Vec<_> = frames
            .iter()
            .map(|frame| frames::untagged(frame))
            .filter(|(tci, _)| tci.is_some_and(|tci| tci & VLAN_ID == self.vlan))
            .map(|(_, frame)| frame)
            .collect();
        self.host.ingest(now, &own);
    }

    fn transmit(&mut self, now: Instant, room: usize, out: &mut Vec<Vec<u8>>) {
        let before = out.len();
        self.host.transmit(now, room, out);
        for frame in &mut out[before..] {
            *frame = frames::tagged(frame, self.vlan);
        }
    }

    fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.host.next_timeout(now)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.host.handle_timeout(now);
    }

    fn take_wake(&mut self) -> bool {
        self.host.take_wake()
    }

    fn check(&mut self, now: Instant) -> Result<(), String> {
        self.host.check(now)
    }

    fn tcp(&mut self) -> Option<&mut dyn TcpHost> {
        self.host.tcp()
    }
}
