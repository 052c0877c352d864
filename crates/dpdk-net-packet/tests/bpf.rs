//! The interpreter decides as libpcap does, of what libpcap compiles.

use dpdk_net_packet::bpf::{Instruction, Program};
use pcap::{BpfProgram, Capture, Linktype};
use proptest::prelude::*;

/// From the manual of filters, pcap-filter(7), and what makes long programs.
const FILTERS: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp port 53",
    "tcp port 80",
    "port 80 or port 443",
    "host 198.18.0.1",
    "src host 198.18.0.1 and dst port 80",
    "net 198.18.0.0/15",
    "net fd00::/8",
    "host fd00::1 and tcp",
    "icmp",
    "icmp6",
    "icmp[icmptype] = icmp-echo",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
    "ip[6:2] & 0x1fff = 0 and ip[8] < 64",
    "ip[2:2] > 576",
    "ether[0] & 1 = 1",
    "ether multicast",
    "ether broadcast",
    "ether host 02:00:00:00:00:01",
    "ether proto 0x0806",
    "vlan",
    "vlan 5 and tcp",
    "vlan and vlan and ip",
    "greater 100",
    "less 60",
    "len = 74",
    "portrange 1-1023",
    "proto 17",
    "not ip",
    "not (tcp and port 80) and not arp",
    "ip multicast",
    "ip6 multicast",
    "tcp[20:4] = 0x47455420",
    "ip[0] / 2 + ip[1] * 3 - ip[2] % 7 = 34",
    "(ip[0] | ip[1]) ^ ip[2] > 4",
    "mpls",
    "pppoes",
    "len / ip[9] > 5",
];

fn compile(filter: &str, optimize: bool) -> (BpfProgram, Program) {
    let dead = Capture::dead(Linktype::ETHERNET).unwrap();
    let theirs = dead
        .compile(filter, optimize)
        .unwrap_or_else(|error| panic!("{filter}: {error}"));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok()).unwrap();
    let instructions = theirs.get_instructions().iter().map(|instruction| {
        let text = instruction.to_string();
        let mut parts = text.split(' ');
        Instruction {
            code: number(parts.next()).try_into().unwrap(),
            jt: number(parts.next()).try_into().unwrap(),
            jf: number(parts.next()).try_into().unwrap(),
            k: number(parts.next()),
        }
    });
    let ours = Program::new(&instructions.collect::<Vec<_>>());
    (
        theirs,
        ours.unwrap_or_else(|error| panic!("{filter}: {error}")),
    )
}

/// Frames near to what the filters look for.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![
        Just(0x0800_u16),
        Just(0x86dd),
        Just(0x0806),
        Just(0x8100),
        Just(0x8847),
        Just(0x8864),
        any::<u16>()
    ];
    let first = prop_oneof![Just(0x45_u8), Just(0x46), Just(0x60), any::<u8>()];
    let protocol = prop_oneof![
        Just(1_u8),
        Just(6),
        Just(17),
        Just(58),
        Just(51),
        any::<u8>()
    ];
    let port = prop_oneof![Just(80_u16), Just(443), Just(53), any::<u16>()];
    let tags = prop::collection::vec(prop_oneof![Just(5_u16), any::<u16>()], 0..3);
    let noise = prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..120);
    (
        ethertype,
        first,
        protocol,
        port,
        tags,
        noise,
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(ethertype, first, protocol, port, tags, noise, [group, net, cut])| {
                let mut frame = vec![if group { 0xff } else { 2 }; 6];
                frame.extend([2, 0, 0, 0, 0, u8::from(net)]);
                for tag in tags {
                    frame.extend([0x81, 0]);
                    frame.extend(tag.to_be_bytes());
                }
                frame.extend(ethertype.to_be_bytes());
                let at = frame.len();
                frame.extend(&noise);
                frame.resize(frame.len().max(at + 60), 0);
                frame[at] = first;
                if first == 0x60 {
                    frame[at + 6] = protocol;
                    if net {
                        frame[at + 8..at + 24].fill(0);
                        (frame[at + 8], frame[at + 23]) = (0xfd, 1);
                    }
                    if group {
                        frame[at + 24] = 0xff;
                    }
                    frame[at + 40..at + 42].copy_from_slice(&port.to_be_bytes());
                } else {
                    frame[at + 9] = protocol;
                    if net {
                        frame[at + 1..at + 8].fill(0);
                        frame[at + 12..at + 16].copy_from_slice(&[198, 18, 0, 1]);
                    }
                    if group {
                        // An echo request, or a request of HTTP.
                        frame[at + 20] = 8;
                        frame[at + 40..at + 44].copy_from_slice(b"GET ");
                    }
                    frame[at + 22..at + 24].copy_from_slice(&port.to_be_bytes());
                }
                if cut {
                    frame.truncate(at + noise.len().min(60));
                }
                frame
            },
        )
}

#[test]
fn a_filter_takes_what_it_takes_in_libpcap() {
    let programs: Vec<_> = FILTERS
        .iter()
        .flat_map(|filter| {
            [
                (filter, compile(filter, true)),
                (filter, compile(filter, false)),
            ]
        })
        .collect();
    let mut taken = vec![[0_u32; 2]; programs.len()];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4_000));
    let counts = std::cell::RefCell::new(&mut taken);
    runner
        .run(&frame(), |frame| {
            for (index, (filter, (theirs, ours))) in programs.iter().enumerate() {
                let wanted = theirs.filter(&frame);
                prop_assert_eq!(ours.matches(&frame), wanted, "{}", filter);
                counts.borrow_mut()[index][usize::from(wanted)] += 1;
            }
            Ok(())
        })
        .unwrap();
    // A filter that has an opinion had both kinds of frames.
    let one_sided: Vec<_> = programs
        .iter()
        .zip(&taken)
        .filter(|(_, taken)| taken.contains(&0))
        .map(|((filter, _), _)| **filter)
        .collect();
    assert_eq!(one_sided, ["", ""]);
}

proptest! {
    /// Whatever instructions come, they are refused or run to an end.
    #[test]
    fn no_program_does_harm(
        code in prop::collection::vec((prop_oneof![0..256_u16, any::<u16>()], 0..4_u8, 0..4_u8, prop_oneof![0..64_u32, any::<u32>()]), 0..40),
        packet in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let known = [0x00, 0x20, 0x28, 0x30, 0x40, 0x50, 0x80, 0x60, 0x61, 0xb1, 0x02, 0x03, 0x0c, 0x15, 0x1d, 0x25, 0x45, 0x05, 0x3c, 0x6c, 0x07, 0x87];
        let mut instructions: Vec<_> = code.iter().map(|(code, jt, jf, k)| Instruction {
            code: if *code < 256 { known[usize::from(*code) % known.len()] } else { *code },
            jt: *jt,
            jf: *jf,
            k: *k,
        }).collect();
        for k in 0..5 {
            instructions.push(Instruction { code: 0x06, jt: 0, jf: 0, k });
        }
        if let Ok(program) = Program::new(&instructions) {
            program.run(&packet, packet.len() as u32);
        }
    }
}
