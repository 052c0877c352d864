//! One open connection: arbitrary segments of its peer, near the window or far from it.
//!
//! The peer's byte at a sequence number is always the same, so however segments overlap or repeat, the stream that the application
//! reads is known.

use std::time::Duration;

use arbitrary::Arbitrary;
use dpdk_net_stack::{CongestionAlgorithm, Error};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::by_hand::{HOST, tcp_to};
use dpdk_net_testkit::frames::{Path, Segment, flags};

use crate::{check_sent, small_stack_with};

const PORT: u16 = 2_000;

/// One step of a run.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// The peer sends a segment.
    Segment {
        /// Sequence number, from the next one in order.
        seq: i16,
        /// Acknowledgment, from the latest that is right.
        ack: i16,
        /// Both numbers far off.
        far: bool,
        flags: u8,
        window: u16,
        options: [u8; 12],
        len: u16,
    },
    /// The peer sends what comes next, as it should.
    InOrder(u16),
    /// The peer sends something from further on, as if what is before it were lost.
    Ahead { skip: u16, len: u16 },
    /// The peer acknowledges all but the last `back` bytes that it has, and tells of blocks among these: their starts from
    /// there, and their lengths. The timestamp echoed is so many milliseconds older.
    Ack {
        back: u16,
        blocks: [(u16, u16); 3],
        window: u16,
        age: u8,
        echo: bool,
    },
    /// Seconds pass.
    Sleep(u8),
    /// Milliseconds pass.
    Wait(u16),
    /// The application reads.
    Recv(u16),
    /// The application writes.
    Send(u16),
    /// The application ends its stream.
    Shutdown,
}

/// A run over one connection.
#[derive(Arbitrary, Clone, Debug)]
pub struct Run {
    pub v6: bool,
    pub seq: u32,
    /// What the SYN offers: SACK, timestamps, a window scale of 0 to 3, ECN.
    pub sack: bool,
    pub timestamps: bool,
    pub scale: Option<u8>,
    pub ecn: bool,
    /// Congestion control.
    pub algorithm: u8,
    pub steps: Vec<Step>,
}

/// The timestamps option, padded.
fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    let mut bytes = vec![1, 1, 8, 10];
    bytes.extend(value.to_be_bytes());
    bytes.extend(echo.to_be_bytes());
    bytes
}

/// The peer's byte at a sequence number.
fn byte_at(seq: u32) -> u8 {
    (seq.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

fn bytes_at(seq: u32, len: u16) -> Vec<u8> {
    (0..u32::from(len))
        .map(|i| byte_at(seq.wrapping_add(i)))
        .collect()
}

/// Runs it. Panics if something does not hold.
pub fn run(run: &Run) {
    let family = if run.v6 { Family::V6 } else { Family::V4 };
    let path = Path::new(family, 2, HOST);
    let mut lab = small_stack_with(|config| {
        config.tcp.congestion = match run.algorithm % 3 {
            0 => CongestionAlgorithm::Cubic,
            1 => CongestionAlgorithm::NewReno,
            _ => CongestionAlgorithm::Bbr,
        };
    });
    let mut offer = vec![2, 4, 0x05, 0x78];
    if run.sack {
        offer.extend([1, 1, 4, 2]);
    }
    if run.timestamps {
        offer.extend(timestamps(0, 0));
    }
    if let Some(scale) = run.scale {
        offer.extend([1, 3, 3, scale % 4]);
    }
    let ecn = if run.ecn { flags::ECE | flags::CWR } else { 0 };
    let (id, mut peer) = lab
        .open_with(path, PORT, run.seq, flags::SYN | ecn, offer)
        .unwrap_or_else(|what| panic!("{what}"));
    let mut theirs = 0;
    let first = peer.seq;
    let (mut read, mut buffer) = (0u32, vec![0; 4_096]);
    for step in run.steps.iter().take(256) {
        peer.options = if run.timestamps {
            timestamps(lab.now().as_millis() as u32, theirs)
        } else {
            Vec::new()
        };
        let sent = match *step {
            Step::Segment {
                seq,
                ack,
                far,
                flags,
                window,
                ref options,
                len,
            } => {
                let far = if far { 0x4000_0000 } else { 0 };
                let seq = peer.seq.wrapping_add_signed(seq.into()).wrapping_add(far);
                // The SYN takes a number itself.
                let data = seq.wrapping_add(u32::from(flags & flags::SYN != 0));
                let segment = Segment {
                    seq,
                    ack: peer.ack.wrapping_add_signed(ack.into()).wrapping_add(far),
                    flags,
                    window,
                    options: options.to_vec(),
                    payload: bytes_at(data, len % 1_400),
                    ..peer.clone()
                };
                lab.feed(path.tcp(&segment))
            }
            Step::InOrder(len) => {
                let segment = Segment {
                    payload: bytes_at(peer.seq, len % 1_400),
                    ..peer.clone()
                };
                lab.feed(path.tcp(&segment))
            }
            Step::Ahead { skip, len } => {
                let seq = peer.seq.wrapping_add(skip.into());
                let segment = Segment {
                    seq,
                    payload: bytes_at(seq, len % 1_400),
                    ..peer.clone()
                };
                lab.feed(path.tcp(&segment))
            }
            Step::Ack {
                back,
                ref blocks,
                window,
                age,
                echo,
            } => {
                let ack = peer.ack.wrapping_sub(back.into());
                let mut options = Vec::new();
                if run.timestamps {
                    let now = lab.now().as_millis() as u32;
                    options = timestamps(now, theirs.wrapping_sub(age.into()));
                }
                if run.sack {
                    options.extend([1, 1, 5, 26]);
                    for &(from, len) in blocks {
                        let start = ack.wrapping_add(from.into());
                        options.extend(start.to_be_bytes());
                        options.extend(start.wrapping_add(len.into()).to_be_bytes());
                    }
                }
                let segment = Segment {
                    ack,
                    window,
                    options,
                    flags: flags::ACK | if echo { flags::ECE } else { 0 },
                    ..peer.clone()
                };
                lab.feed(path.tcp(&segment))
            }
            Step::Sleep(seconds) => lab.wait(Duration::from_secs(seconds.into())),
            Step::Wait(millis) => lab.wait(Duration::from_millis(millis.into())),
            Step::Recv(len) => {
                let len = usize::from(len) % buffer.len();
                match lab.stack_mut().tcp_recv(id, &mut buffer[..len]) {
                    Ok(n) => {
                        for (i, &byte) in buffer[..n].iter().enumerate() {
                            let seq = first.wrapping_add(read).wrapping_add(i as u32);
                            assert_eq!(
                                byte,
                                byte_at(seq),
                                "byte {} of the stream is another one",
                                read as usize + i
                            );
                        }
                        read += n as u32;
                    }
                    Err(Error::UnknownSocket) => {
                        panic!("the connection was not closed, but its id is gone")
                    }
                    Err(_) => {}
                }
                lab.take()
            }
            Step::Send(len) => {
                let _ = lab.stack_mut().tcp_send(id, &vec![0x77; len.into()]);
                lab.take()
            }
            Step::Shutdown => {
                let _ = lab.stack_mut().tcp_shutdown_write(id);
                lab.take()
            }
        };
        check_sent(&sent);
        for (segment, payload) in sent.iter().filter_map(|frame| tcp_to(frame, PORT)) {
            // The peer follows: it has all that is sent, and knows what is acknowledged.
            if let [1, 1, 8, 10, a, b, c, d, ..] = segment.options[..] {
                theirs = u32::from_be_bytes([a, b, c, d]);
            }
            let control = u32::from(segment.flags & (flags::SYN | flags::FIN) != 0);
            let end = segment
                .seq
                .wrapping_add(payload.len() as u32)
                .wrapping_add(control);
            if end.wrapping_sub(peer.ack) < 0x8000_0000 {
                peer.ack = end;
            }
            if segment.flags & flags::ACK != 0 && segment.ack.wrapping_sub(peer.seq) < 0x8000_0000 {
                peer.seq = segment.ack;
            }
        }
        while lab.stack_mut().poll_event().is_some() {}
    }
    let now = lab.now();
    lab.stack_mut().tcp_close(now, id);
    check_sent(&lab.wait(Duration::from_secs(2)));
    if let Err(what) = lab.check_service() {
        panic!("a stranger is not served any more: {what}");
    }
}
