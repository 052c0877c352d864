//! What went over the simulated wire: the last frames in memory, and packet capture files.
//!
//! Holds a bounded in-memory trace ([`Trace`]) and a writer of pcap files with nanosecond timestamps, the format that
//! tcpdump and Wireshark read. When frames are recorded is decided by the simulation.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use smoltcp::wire::{EthernetFrame, PrettyPrinter};

use super::host::HostId;
use super::link::Fate;
use crate::Instant;

/// Which way a frame went, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the segment.
    Sent,
    /// From the segment to the host.
    Received,
}

/// One frame on the link of a host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceEntry {
    /// When it was put on the link.
    pub at: Instant,
    /// Whose link.
    pub host: HostId,
    /// Which way.
    pub direction: Direction,
    /// What the link did to it.
    pub fate: Fate,
    /// The frame as it was put on the link.
    pub frame: Vec<u8>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Sent => "->",
            Direction::Received => "<-",
        };
        let text = PrettyPrinter::<EthernetFrame<&'static [u8]>>::new("", &self.frame).to_string();
        let text = text
            .lines()
            .map(|line| line.trim().trim_start_matches("\\ "))
            .collect::<Vec<_>>()
            .join(" | ");
        write!(
            f,
            "{:?} host {} {way} {:?} {}",
            self.at, self.host.0, self.fate, text
        )
    }
}

/// The last frames of a simulation, oldest first.
#[derive(Debug, Default)]
pub struct Trace {
    entries: VecDeque<TraceEntry>,
    keep: usize,
}

impl Trace {
    /// The frames recorded, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &TraceEntry> + ExactSizeIterator {
        self.entries.iter()
    }

    pub(crate) fn keep(&mut self, frames: usize) {
        self.keep = frames;
        while self.entries.len() > frames {
            self.entries.pop_front();
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.keep > 0
    }

    pub(crate) fn record(&mut self, entry: TraceEntry) {
        if self.entries.len() >= self.keep {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

/// A pcap file (nanosecond magic, link type Ethernet).
pub(crate) struct Pcap {
    file: BufWriter<File>,
    /// The first failure; later frames are not written.
    failed: Option<io::Error>,
}

impl fmt::Debug for Pcap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pcap")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_LEN: u32 = 65_535;

impl Pcap {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
        // Version 2.4, UTC, timestamps of unknown accuracy.
        file.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        file.write_all(&SNAP_LEN.to_le_bytes())?;
        file.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        Ok(Self { file, failed: None })
    }

    pub(crate) fn write(&mut self, at: Instant, frame: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.try_write(at, frame).err();
        }
    }

    fn try_write(&mut self, at: Instant, frame: &[u8]) -> io::Result<()> {
        let nanos = at.as_nanos();
        let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX).min(SNAP_LEN);
        for field in [
            seconds,
            (nanos % 1_000_000_000) as u32,
            len,
            frame.len() as u32,
        ] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(&frame[..len as usize])
    }
}
