//! What is written is what pcap-parser reads.

use dpdk_net_packet::pcapng::{self, Block, Direction, Interface, Packet, Statistics, kind};
use pcap_parser::pcapng::{Block as Read, OptionCode, PcapNGOption};
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, PcapNGReader, traits::PcapReaderIterator};
use proptest::prelude::*;

/// Each block, as `look` sees it.
fn read<R>(file: &[u8], mut look: impl FnMut(&Read<'_>) -> R) -> Vec<R> {
    let mut reader = PcapNGReader::new(1 << 20, file).unwrap();
    let mut all = Vec::new();
    loop {
        match reader.next() {
            Ok((consumed, PcapBlockOwned::NG(block))) => {
                all.push(look(&block));
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => return all,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("no pcapng"),
        }
    }
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> Option<&'a [u8]> {
    let option = options
        .iter()
        .find(|option| option.code == OptionCode(code))?;
    Some(&option.value()[..usize::from(option.len)])
}

fn number(options: &[PcapNGOption<'_>], code: u16) -> Option<u64> {
    Some(match option(options, code)? {
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]).into(),
        value => u64::from_le_bytes(value.try_into().unwrap()),
    })
}

#[derive(Clone, Debug)]
struct Frame {
    nanos: u64,
    more: u32,
    data: Vec<u8>,
    sent: bool,
    queue: u32,
    lost: u64,
    comment: Option<String>,
}

fn frame() -> impl Strategy<Value = Frame> {
    let data = prop::collection::vec(any::<u8>(), 0..200);
    (
        any::<u64>(),
        0..9_000_u32,
        data,
        any::<bool>(),
        any::<u32>(),
        0..3_u64,
        any::<Option<String>>(),
    )
        .prop_map(|(nanos, more, data, sent, queue, lost, comment)| Frame {
            nanos,
            more,
            data,
            sent,
            queue,
            lost,
            comment,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        names in prop::collection::vec((any::<String>(), any::<String>(), any::<u32>(), any::<Option<String>>()), 1..4),
        frames in prop::collection::vec(frame(), 0..8),
        counts in any::<[u64; 6]>(),
    ) {
        let mut file = Vec::new();
        pcapng::section(&mut file, "CPU", "Linux", "a test");
        for (name, description, snaplen, filter) in &names {
            let interface = Interface { name, description, snaplen: *snaplen, filter: filter.as_deref() };
            pcapng::interface(&mut file, &interface);
        }
        let of = |index: usize| (index % names.len()) as u32;
        for (index, frame) in frames.iter().enumerate() {
            pcapng::packet(&mut file, &Packet {
                interface: of(index),
                nanos: frame.nanos,
                original_len: frame.data.len() as u32 + frame.more,
                data: &frame.data,
                direction: if frame.sent { Direction::Out } else { Direction::In },
                queue: frame.queue,
                lost: frame.lost,
                comment: frame.comment.as_deref(),
            });
        }
        let [started, ended, received, accepted, lost, delivered] = counts;
        let told = Statistics { started, ended, received, accepted, lost, delivered };
        pcapng::statistics(&mut file, 0, &told);

        let mut at = 0;
        let blocks = read(&file, |block| match block {
            Read::SectionHeader(header) => {
                assert_eq!(option(&header.options, 4), Some(&b"a test"[..]));
                assert_eq!(header.section_len, -1);
                "section"
            }
            Read::InterfaceDescription(interface) => {
                let (name, _, snaplen, filter) = &names[at];
                at += 1;
                assert_eq!((interface.linktype, interface.snaplen), (Linktype::ETHERNET, *snaplen));
                assert_eq!(option(&interface.options, 2).unwrap_or_default(), name.as_bytes());
                assert_eq!(option(&interface.options, 9), Some(&[9][..]));
                let wanted = filter.as_ref().map(|filter| [&[0], filter.as_bytes()].concat());
                assert_eq!(option(&interface.options, 11).map(<[u8]>::to_vec), wanted);
                if at == names.len() {
                    at = 0;
                }
                "interface"
            }
            Read::EnhancedPacket(packet) => {
                let frame = &frames[at];
                assert_eq!(packet.if_id, of(at));
                at += 1;
                assert_eq!(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low), frame.nanos);
                assert_eq!(packet.origlen, frame.data.len() as u32 + frame.more);
                assert_eq!(&packet.data[..packet.caplen as usize], &frame.data);
                let flags = number(&packet.options, 2).unwrap();
                assert_eq!(flags & 3, if frame.sent { 2 } else { 1 });
                assert_eq!(number(&packet.options, 4).unwrap_or(0), frame.lost);
                assert_eq!(number(&packet.options, 6), Some(frame.queue.into()));
                let comment = frame.comment.as_deref().unwrap_or_default();
                assert_eq!(option(&packet.options, 1).unwrap_or_default(), comment.as_bytes());
                "packet"
            }
            Read::InterfaceStatistics(block) => {
                assert_eq!(number(&block.options, 2).map(|time| time.rotate_left(32)), Some(started));
                assert_eq!(u64::from(block.ts_high) << 32 | u64::from(block.ts_low), ended);
                assert_eq!(number(&block.options, 4), Some(received));
                assert_eq!(number(&block.options, 5), Some(lost));
                assert_eq!(number(&block.options, 6), Some(accepted));
                assert_eq!(number(&block.options, 8), Some(delivered));
                "statistics"
            }
                _ => panic!("a block of another kind"),
        });
        prop_assert_eq!(blocks.len(), 2 + names.len() + frames.len());

        // Our own eyes see the same blocks, wherever the bytes break off.
        let (mut rest, mut kinds) = (&file[..], Vec::new());
        while let Some(block) = Block::first(rest).unwrap() {
            for cut in 0..block.bytes.len() {
                prop_assert_eq!(Block::first(&rest[..cut]), Ok(None));
            }
            kinds.push(block.kind);
            if let Some(read) = block.as_statistics() {
                prop_assert_eq!(read, (0, told));
            }
            rest = &rest[block.bytes.len()..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(kinds.iter().filter(|of| **of == kind::PACKET).count(), frames.len());
        prop_assert_eq!((kinds[0], kinds[kinds.len() - 1]), (kind::SECTION, kind::STATISTICS));
    }

    #[test]
    fn bytes_that_are_no_block_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some(block)) = Block::first(&bytes) {
            let _ = block.as_statistics();
        }
    }
}

#[test]
fn the_destination_tells_the_kind_of_reception() {
    for (destination, flags) in [
        ([2, 0, 0, 0, 0, 1], 0b101),
        ([1, 0, 0x5e, 0, 0, 1], 0b1001),
        ([0xff; 6], 0b1101),
    ] {
        let mut file = Vec::new();
        pcapng::section(&mut file, "", "", "");
        pcapng::interface(&mut file, &Interface::default());
        let frame = [&destination[..], &[0; 8]].concat();
        pcapng::packet(
            &mut file,
            &Packet {
                interface: 0,
                nanos: 0,
                original_len: 14,
                data: &frame,
                direction: Direction::In,
                queue: 0,
                lost: 0,
                comment: None,
            },
        );
        let read = read(&file, |block| match block {
            Read::EnhancedPacket(packet) => number(&packet.options, 2),
            _ => None,
        });
        assert_eq!(read, [None, None, Some(flags)]);
    }
}

#[test]
fn a_length_that_can_be_none_is_refused() {
    for len in [0_u32, 8, 13, 1 << 25] {
        let bytes = [6_u32.to_le_bytes(), len.to_le_bytes()].concat();
        assert!(Block::first(&bytes).is_err(), "{len}");
    }
    let contradicts = [6_u32, 12, 16].map(u32::to_le_bytes).concat();
    assert!(Block::first(&contradicts).is_err());
}
