//! `dpdk-net capture` of a running server, with the kernel at the other end of its cable. Needs root.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::captured::*;
use common::configured::OURS;
use common::{PROGRAM, shell};
use dpdk_net_testkit::bed::Process;
use serde_json::json;

/// The frames of two files, once both have the same.
fn same_in_the_end(ours: &Path, theirs: &Path) -> BTreeMap<Vec<u8>, usize> {
    let end = Instant::now() + PATIENCE;
    loop {
        let [one, other] = [ours, theirs].map(frames);
        if !one.is_empty() && one == other {
            return one;
        }
        if Instant::now() > end {
            // A few are enough to see what is wrong.
            for (file, has, lacks) in [(ours, &one, &other), (theirs, &other, &one)] {
                for (frame, count) in has
                    .iter()
                    .filter(|(frame, count)| lacks.get(*frame) != Some(count))
                    .take(5)
                {
                    let head = &frame[..frame.len().min(80)];
                    eprintln!(
                        "{}: {count} times {} bytes, {head:02x?}",
                        file.display(),
                        frame.len()
                    );
                }
            }
            panic!("the files differ: {} and {} frames", one.len(), other.len());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Fields of each frame, as Wireshark sees them.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let fields = fields.collect::<Vec<_>>().join(" ");
    let script = format!(
        "tshark -n -r {} -T fields {fields} 2>/dev/null",
        file.display()
    );
    let output = dpdk_net_testkit::bed::run(&["bash", "-ec", &script], PATIENCE).unwrap();
    let lines = output.text();
    lines
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_capture_is_what_the_kernel_saw_to_the_packet() {
    let (site, socket) = site();
    let (ours, theirs) = (
        site.directory.path().join("ours.pcapng"),
        site.directory.path().join("theirs.pcap"),
    );
    // Nothing that is sent without being asked: one of the two begins first.
    let filter = "ip and (tcp or icmp) or arp";
    let tool = capture(&socket, &ours, &[filter]);
    let interface = shell(&site.kernel, "ls /sys/class/net | grep -v -x lo")
        .trim()
        .to_owned();
    let script = format!(
        "exec tcpdump -i {interface} -U --immediate-mode -s 2048 -B 32768 -w {} '{filter}'",
        theirs.display()
    );
    let mut tcpdump = site.kernel.start(&["bash", "-c", &script]).unwrap();
    tcpdump.wait_for("listening on", PATIENCE).unwrap();

    for _ in 0..4 {
        assert_eq!(
            shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt")),
            "a file\n"
        );
    }
    shell(
        &site.kernel,
        &format!(
            "curl -sSf http://{OURS}/large | cmp - <(head -c 8000000 /dev/zero | tr '\\0' '\\7')"
        ),
    );
    shell(&site.kernel, &format!("ping -q -c 5 -i 0.01 {OURS}"));
    shell(
        &site.kernel,
        &format!("curl -sS --max-time 5 http://{OURS}:81/ || true"),
    );

    let known = same_in_the_end(&ours, &theirs);
    let said = end(tool, "INT");
    tcpdump.signal("INT").unwrap();
    tcpdump.wait(PATIENCE).unwrap().expect("tcpdump ends");
    assert!(
        tcpdump.stderr().contains("0 packets dropped by kernel"),
        "{}",
        tcpdump.stderr()
    );
    let count: usize = known.values().sum();
    assert!(
        said.contains(&format!("{count} packets captured, 0 lost")),
        "{said}"
    );
    assert_eq!(frames(&ours), frames(&theirs));

    let fields = [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.interface_queue",
        "ip.src",
    ];
    let read = tshark(&ours, &fields);
    assert_eq!(read.len(), count);
    for frame in &read {
        let (direction, queue) = (&frame[1], &frame[2]);
        let sent = frame[3] == OURS;
        assert!(
            frame[3].is_empty() || *direction == if sent { "0x00000002" } else { "0x00000001" },
            "{frame:?}"
        );
        assert!(["0", "1"].contains(&queue.as_str()), "{frame:?}");
    }
    assert_eq!(
        tshark(&ours, &["_ws.malformed"])
            .iter()
            .flatten()
            .filter(|it| !it.is_empty())
            .count(),
        0
    );
}

/// Frames that something is wrong with, from the kernel's side.
const STRANGE: &str = r"
import socket, struct, sys
interface, ours, mac = sys.argv[1:]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((interface, 0))
own = link.getsockname()[4]
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
def frame(protocol, payload):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
                       socket.inet_aton('198.18.0.1'), socket.inet_aton(ours))
    head = head[:10] + struct.pack('!H', checksum(head)) + head[12:]
    return bytes.fromhex(mac.replace(':', '')) + own + b'\x08\x00' + head + payload
link.send(frame(6, struct.pack('!HHIIBBHHH', 4000, 80, 1, 0, 0x50, 2, 1000, 0xbad, 0)))
link.send(frame(253, b'nobody speaks this'))
";

#[test]
fn a_dropped_frame_has_its_cause_as_a_comment() {
    let (site, socket) = site();
    let file = site.directory.path().join("drops.pcapng");
    let tool = capture(&socket, &file, &["--dropped", "-c", "2", "ip"]);
    let script = site.directory.path().join("strange.py");
    fs::write(&script, STRANGE).unwrap();
    let interface = shell(&site.kernel, "ls /sys/class/net | grep -v -x lo")
        .trim()
        .to_owned();
    let ports = ask(&mut connect(&socket), &json!({ "command": "ports" }));
    let mac = ports["result"][0]["mac"].as_str().unwrap();
    shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt"));
    shell(
        &site.kernel,
        &format!("python3 {} {interface} {OURS} {mac}", script.display()),
    );
    let said = ended(tool);
    assert!(said.contains("2 packets captured, 0 lost"), "{said}");
    let mut told = tshark(&file, &["ip.proto", "frame.comment"]);
    told.sort();
    let causes: Vec<_> = told
        .iter()
        .map(|frame| (frame[0].as_str(), frame[1].split_once(", ").unwrap()))
        .collect();
    assert_eq!(causes.len(), 2, "{told:?}");
    assert_eq!(
        (causes[0].0, causes[0].1.1),
        ("253", "dropped: ip_unknown_protocol")
    );
    assert_eq!((causes[1].0, causes[1].1.1), ("6", "dropped: tcp_checksum"));
    assert!(
        causes
            .iter()
            .all(|(_, (queue, _))| ["queue 0", "queue 1"].contains(queue))
    );
}

#[test]
fn files_follow_one_another_by_size_and_each_can_be_read() {
    let (site, socket) = site();
    let file = site.directory.path().join("ring");
    let first = site.directory.path().join("ring0");
    let names = [file.to_str().unwrap(), socket.to_str().unwrap()];
    let command = [
        PROGRAM, "capture", "--socket", names[1], "-w", names[0], "-C", "1", "-W", "3", "-s",
        "1000", "-Q", "out", "port 80",
    ];
    let tool = Process::start(&command).unwrap();
    eventually("the capture begins", || first.exists().then_some(()));
    turned(&socket);
    shell(
        &site.kernel,
        &format!("curl -sSf http://{OURS}/large >/dev/null"),
    );
    let said = end(tool, "TERM");
    assert!(said.contains(" packets captured, "), "{said}");
    for number in 0..3 {
        let file = site.directory.path().join(format!("ring{number}"));
        let size = fs::metadata(&file).unwrap().len();
        assert!(size < 1_100_000, "{size}");
        let frames = frames(&file);
        assert!(!frames.is_empty() && frames.keys().all(|frame| frame.len() <= 1_000));
        // Nothing but what was sent: from our port 80.
        assert!(
            frames
                .keys()
                .all(|frame| frame[34..36] == 80_u16.to_be_bytes())
        );
    }
    assert!(!site.directory.path().join("ring3").exists());
    assert!(!file.exists());
}

#[test]
fn standard_output_is_for_other_programs() {
    let (site, socket) = site();
    let script = format!(
        "{PROGRAM} capture --socket {} -w - -c 4 icmp | tcpdump -n -r - 2>&1",
        socket.display()
    );
    let piped = Process::start(&["bash", "-c", &script]).unwrap();
    turned(&socket);
    let mut piped = piped;
    let status = eventually("four frames", || {
        shell(&site.kernel, &format!("ping -q -c 2 -i 0.01 {OURS}"));
        piped.wait(Duration::ZERO).unwrap()
    });
    assert!(status.success());
    std::thread::sleep(Duration::from_millis(50));
    let printed = piped.stdout();
    assert_eq!(printed.matches("ICMP echo re").count(), 4, "{printed}");
}

#[test]
fn what_is_wrong_is_told() {
    let (site, socket) = site();
    let name = socket.to_str().unwrap();
    let file = site.directory.path().join("x");
    let file = file.to_str().unwrap();
    let refused = |args: &[&str]| {
        let (code, said) = common::refused(&[&[PROGRAM, "capture"], args].concat());
        (code, said)
    };
    let with = |args: &[&str]| refused(&[&["--socket", name, "-w", file], args].concat());
    // As many hosts as fit into a filter, and not into a question.
    let hosts: Vec<String> = (0..1_700)
        .map(|number| format!("10.0.{}.{}", number / 250, number % 250))
        .collect();
    let long = format!("ip src host ({})", hosts.join(" or "));
    for (args, code, part) in [
        (&[long.as_str()][..], 2, "the filter is too long: "),
        (&["prot 80"][..], 2, "syntax error"),
        (
            &["ip", "protochain", "6"],
            2,
            "can't be run on a packet path",
        ),
        (&["-Q", "out", "--dropped"], 2, "not dropped by the stack"),
        (&["-W", "3"], 2, "--file-count limits files"),
        (&["-c", "0"], 2, "0 is not in 1.."),
        (&["-s", "0"], 2, "0 is not in 1..=262144"),
        (
            &["-G", "1", "-w", "/tmp/%Q"],
            2,
            "cannot be used multiple times",
        ),
        (&["--port", "prot"], 1, "there is no port \"prot\": "),
        (
            &["--queue", "7"],
            1,
            "there is no queue 7: the ports have 2",
        ),
    ] {
        let (got, said) = with(args);
        assert!(
            got == code && said.contains(part),
            "{args:?}: {got}, {said}"
        );
    }
    let (code, said) = refused(&["--socket", "/nowhere", "-w", file]);
    assert!(
        code == 1 && said.contains("there is no socket /nowhere"),
        "{said}"
    );
    let (code, said) = refused(&["--socket", name, "-w", "/nowhere/x"]);
    assert!(
        code == 1 && said.contains("cannot write /nowhere/x"),
        "{said}"
    );
    assert!(!Path::new(file).exists());

    // What does not come from the tool.
    for (question, part) in [
        (
            json!({ "program": [[5, 0, 0, 1_000_000], [6, 0, 0, 0]] }),
            "jumps behind the end",
        ),
        (
            json!({ "program": [[0x60, 0, 0, 16], [6, 0, 0, 0]] }),
            "there is no word 16",
        ),
        (
            json!({ "program": [[0x34, 0, 0, 0], [6, 0, 0, 0]] }),
            "can't be divided",
        ),
        (
            json!({ "program": vec![[6, 0, 0, 0]; 4097] }),
            "4096 are the most",
        ),
        (
            json!({ "program": vec![[6, 0, 0, 0]; 20_000] }),
            "a question has at most 65536 bytes",
        ),
        (json!({ "program": "ip" }), "\"program\": invalid type"),
        (json!({ "snaplen": 0 }), "the snap length is 0"),
        (
            json!({ "buffer": 1u64 << 40 }),
            "the buffer is 1099511627776",
        ),
        (json!({ "quiet": true }), "unknown field `quiet`"),
    ] {
        let mut question = question;
        question["command"] = "capture".into();
        let answer = ask(&mut connect(&socket), &question);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(
            answer["ok"] == false && error.contains(part),
            "{part}: {answer}"
        );
    }
}
