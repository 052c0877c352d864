//! What tcpdump saw come in at the kernel's interface, looked at by a parser that is not ours.

use std::time::{Duration, Instant};

use dpdk_net_testkit::addr::{self, Family};
use dpdk_net_testkit::bed::{Netns, Process};
use dpdk_net_testkit::frames::Path;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use tempfile::TempDir;

use crate::common::kernel::{KERNEL, OURS};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing more is written when all has been.
const QUIET: Duration = Duration::from_millis(300);
/// Of the classic format: magic number, versions, time zone, accuracy, longest frame, link type.
const FILE_HEADER: usize = 24;
/// Seconds, fraction, bytes that are there, bytes of the frame.
const RECORD_HEADER: usize = 16;

/// A capture that is running, if there can be one.
pub(crate) struct Capture {
    tcpdump: Option<Process>,
    directory: TempDir,
}

/// Whether tcpdump can run: it drops groups first of all, which root of a user namespace may not, as a rule.
fn has_tcpdump() -> bool {
    let setgroups = std::fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
    let denied = setgroups.trim() == "deny";
    if denied {
        eprintln!("frames are not captured: tcpdump needs root outside of a user namespace");
    }
    !denied
}

impl Capture {
    /// Of what comes in at an interface.
    pub(crate) fn start(netns: &Netns, interface: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if !has_tcpdump() {
            return Self {
                tcpdump: None,
                directory,
            };
        }
        let file = directory.path().join("frames");
        let mut tcpdump = netns
            .start(&[
                "tcpdump",
                "-n",
                "-U",
                "--immediate-mode",
                "-Q",
                "in",
                "-i",
                interface,
                // With the default its buffer would have room for a hundred frames.
                "-s",
                "2048",
                "-B",
                "32768",
                "-Z",
                "root",
                "-w",
                file.to_str().unwrap(),
            ])
            .unwrap();
        tcpdump.wait_for("listening on", PATIENCE).unwrap();
        Self {
            tcpdump: Some(tcpdump),
            directory,
        }
    }

    /// Ends it once no more is written: all frames that came from us. None where there was no capture.
    pub(crate) fn finish(self) -> Option<Vec<Vec<u8>>> {
        let mut tcpdump = self.tcpdump?;
        let path = self.directory.path().join("frames");
        let (mut length, mut since) = (0, Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(10));
            let now = std::fs::metadata(&path).unwrap().len();
            if now != length {
                (length, since) = (now, Instant::now());
            }
        }
        tcpdump.signal("INT").unwrap();
        tcpdump.wait_for("packets captured", PATIENCE).unwrap();
        tcpdump.wait(PATIENCE).unwrap().expect("it ends");
        let said = tcpdump.stderr();
        assert!(said.contains("0 packets dropped by kernel"), "{said}");
        let file = std::fs::read(&path).unwrap();
        let mut rest = &file[FILE_HEADER..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (header, behind) = rest.split_at(RECORD_HEADER);
            let field =
                |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(field(8), field(12), "a frame is there as a whole");
            let (frame, behind) = behind.split_at(field(8));
            if frame[6..12] == addr::mac(OURS).octets() {
                frames.push(frame.to_vec());
            }
            rest = behind;
        }
        Some(frames)
    }
}

/// What a frame is.
pub(crate) struct Seen {
    /// Bytes of its IP packet.
    pub(crate) packet: usize,
    /// Its sequence number and payload, if it is a TCP segment.
    pub(crate) segment: Option<(u32, Vec<u8>)>,
    /// Its payload, if it is a datagram.
    pub(crate) datagram: Option<Vec<u8>>,
}

/// Source and destination of an IP packet, which the checksum of what it carries covers too.
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

/// Checks all checksums of a frame: what it is, or what is wrong with it.
pub(crate) fn check(frame: &[u8]) -> Result<Seen, String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let link = if packet.vlan().is_some() { 18 } else { 14 };
    let mut seen = Seen {
        packet: frame.len() - link,
        segment: None,
        datagram: None,
    };
    let wrong = |what: &str, is: u16, right: u16| {
        // 0 and all ones are the same number to who adds it up (RFC 1624 section 3); net_tap writes the latter for both.
        if is == right || what == "TCP" && is == 0xffff && right == 0 {
            Ok(())
        } else {
            let headers = &frame[..frame.len().min(74)];
            Err(format!(
                "{what} checksum {is:#06x}, not {right:#06x}: {headers:02x?}"
            ))
        }
    };
    let ends = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            seen.packet = usize::from(header.total_len);
            wrong(
                "IPv4",
                header.header_checksum,
                header.calc_header_checksum(),
            )?;
            Ends::V4(header.source, header.destination)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            seen.packet = 40 + usize::from(header.payload_length);
            Ends::V6(header.source, header.destination)
        }
        _ => return Ok(seen),
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            seen.segment = Some((tcp.sequence_number(), tcp.payload().to_vec()));
            let right = match ends {
                Ends::V4(src, dst) => tcp.calc_checksum_ipv4(src, dst),
                Ends::V6(src, dst) => tcp.calc_checksum_ipv6(src, dst),
            };
            wrong("TCP", tcp.checksum(), right.unwrap())?;
        }
        Some(TransportSlice::Udp(udp)) => {
            let (header, payload) = (udp.to_header(), udp.payload());
            seen.datagram = Some(payload.to_vec());
            let right = match ends {
                Ends::V4(src, dst) => header.calc_checksum_ipv4_raw(src, dst, payload),
                Ends::V6(src, dst) => header.calc_checksum_ipv6_raw(src, dst, payload),
            };
            wrong("UDP", udp.checksum(), right.unwrap())?;
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            if let Ends::V6(src, dst) = ends
                && !icmp.is_checksum_valid(src, dst)
            {
                return Err(format!("ICMPv6 checksum: {frame:02x?}"));
            }
        }
        _ => {}
    }
    Ok(seen)
}

#[test]
fn a_bit_that_flipped_in_a_captured_frame_is_found() {
    for family in Family::BOTH {
        let path = Path::new(family, OURS, KERNEL);
        let frames = [
            path.udp(7, 8, b"payload"),
            path.tcp(&dpdk_net_testkit::frames::Segment {
                src_port: 7,
                dst_port: 8,
                payload: b"payload".to_vec(),
                ..Default::default()
            }),
        ];
        for mut frame in frames {
            assert!(check(&frame).is_ok());
            let last = frame.len() - 1;
            frame[last] ^= 1;
            assert!(check(&frame).is_err());
            frame[last] ^= 1;
            // The time to live; IPv6 has no checksum over its own.
            frame[22] ^= 1;
            assert!(family == Family::V6 || check(&frame).is_err());
        }
    }
}
