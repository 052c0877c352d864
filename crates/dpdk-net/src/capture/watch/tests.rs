use dpdk_net_rte::queue::TxPrepareError;
use dpdk_net_rte::{Eal, Mempool, TxMbuf};

use super::super::tap::{TapReader, Wanted, tap};
use super::*;

/// A driver that takes so many frames at a time.
struct Takes(usize);

impl Transmit for Takes {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let taken = self.0.min(batch.len());
        (0..taken).for_each(|_| drop(batch.remove(0)));
        taken
    }

    fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        Ok(())
    }
}

fn wanted(snaplen: usize) -> Wanted {
    Wanted {
        program: None,
        snaplen,
        received: true,
        sent: true,
        dropped: false,
    }
}

/// What is in the ring: length on the wire, and bytes.
fn read(reader: &mut TapReader) -> Vec<(u32, Vec<u8>)> {
    let pop = || {
        let mut bytes = Vec::new();
        let record = reader.pop(&mut bytes)?;
        assert_eq!(record.direction, Direction::Out);
        Some((record.original_len, bytes))
    };
    std::iter::from_fn(pop).collect()
}

fn eal() -> Eal {
    Eal::builder("capture")
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(64)
        .file_prefix(format_args!("capture-watch-{}", std::process::id()))
        .init()
        .unwrap()
}

#[test]
fn what_the_driver_takes_is_shown_once_whole_and_with_its_tag() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "frames")
        .capacity(63)
        .build()
        .unwrap();
    let mbuf = |bytes: &[u8]| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.append_slice(bytes).unwrap();
        mbuf
    };
    let frame: Vec<u8> = (0..100).collect();
    let mut tagged = mbuf(&frame[..40]);
    tagged.chain(mbuf(&frame[40..70])).unwrap();
    tagged.chain(mbuf(&frame[70..])).unwrap();
    tagged.set_tx_vlan(0x6007);
    let plain = mbuf(&frame);

    let mut watch = Watch::new(TscClock::new(&eal));
    let (whole, mut whole_reader) = tap(wanted(1_000), 10_000);
    let (short, mut short_reader) = tap(wanted(50), 10_000);
    assert!(watch.change(vec![whole, short]));
    let mut batch = TxBatch::<BURST>::new();
    for packet in [TxMbuf::from(tagged), plain.into()] {
        batch.push(packet).unwrap();
    }
    assert_eq!(watch.burst(&mut Takes(0), &mut batch), 0);
    assert_eq!(read(&mut whole_reader), []);
    assert_eq!(watch.burst(&mut Takes(1), &mut batch), 1);
    let with_tag = [&frame[..12], &[0x81, 0, 0x60, 0x07], &frame[12..]].concat();
    assert_eq!(read(&mut whole_reader), [(104, with_tag.clone())]);
    assert_eq!(read(&mut short_reader), [(104, with_tag[..50].to_vec())]);
    assert_eq!(watch.burst(&mut Takes(9), &mut batch), 1);
    assert_eq!(read(&mut whole_reader), [(100, frame.clone())]);
    assert_eq!(read(&mut short_reader), [(100, frame[..50].to_vec())]);
    assert_eq!(whole_reader.counts().seen, 2);

    whole_reader.finish();
    assert!(watch.change(Vec::new()));
    assert!(whole_reader.is_complete() && !short_reader.is_complete());
    drop(short_reader);
    assert!(!watch.change(Vec::new()), "nobody is left");
}

#[test]
fn time_does_not_go_back_by_a_little_and_follows_a_clock_that_is_set() {
    let mut time = TimeOfDay {
        clock: TscClock::new(&eal()),
        known: (1_000, 5_000_000_000),
        last: 0,
    };
    assert_eq!(time.at(2_000), 5_000_001_000);
    assert_eq!(time.at(900), 5_000_001_000);
    time.known.1 -= 3 * SLACK;
    assert_eq!(time.at(2_000), 4_997_001_000);
    let now = time.at(u64::MAX / 2);
    assert!(now > 1_000_000_000_000_000_000, "it has looked: {now}");
}
