//! A server whose frames are captured by the tool.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dpdk_net_testkit::bed::Process;
use pcap::Capture;
use serde_json::{Value, json};

use super::PROGRAM;
use super::configured::{Site, files};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server of a small and a large file, with a control socket.
pub(crate) fn site() -> (Site, PathBuf) {
    let directory = Site::directory();
    fs::write(directory.path().join("www/a.txt"), "a file\n").unwrap();
    fs::write(directory.path().join("www/large"), vec![7; 8_000_000]).unwrap();
    let socket = directory.path().join("control");
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n{}[control]\nsocket = \"{}\"\n",
        files(directory.path()),
        socket.display()
    );
    (Site::start(directory, &rest, &[]), socket)
}

/// A question's answer.
pub(crate) fn ask(connection: &mut BufReader<UnixStream>, question: &Value) -> Value {
    let line = format!("{question}\n");
    connection.get_mut().write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

pub(crate) fn connect(socket: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Waits until something is so.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until all workers have taken over what they were told.
pub(crate) fn turned(socket: &Path) {
    let mut control = connect(socket);
    let mut turns = || {
        let queues = ask(&mut control, &json!({ "command": "queues" }));
        let queues = queues["result"]["queues"].as_array().unwrap().iter();
        queues
            .map(|queue| queue["turns"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let before = turns();
    eventually("workers turn", || {
        let after = turns();
        let all = before
            .iter()
            .zip(&after)
            .all(|(before, after)| after > &(before + 1));
        all.then_some(())
    });
}

/// Starts a capture into a file, and waits until it has begun.
pub(crate) fn capture(socket: &Path, file: &Path, args: &[&str]) -> Process {
    capturing(socket, file, args).unwrap()
}

/// The same; an error is what the tool says where it ends instead.
pub(crate) fn capturing(socket: &Path, file: &Path, args: &[&str]) -> Result<Process, String> {
    let [socket_name, file_name] = [socket, file].map(|path| path.to_str().unwrap());
    let command = [
        &[PROGRAM, "capture", "--socket", socket_name, "-w", file_name],
        args,
    ]
    .concat();
    let mut process = Process::start(&command).unwrap();
    eventually("the capture begins", || {
        if process.wait(Duration::ZERO).unwrap().is_some() {
            return Some(Err(process.stderr()));
        }
        let begun = fs::metadata(file).is_ok_and(|file| file.len() > 0);
        begun.then_some(Ok(()))
    })?;
    turned(socket);
    Ok(process)
}

pub(crate) fn end(mut process: Process, signal: &str) -> String {
    process.signal(signal).unwrap();
    ended(process)
}

pub(crate) fn ended(mut process: Process) -> String {
    let status = process.wait(PATIENCE).unwrap().expect("it ends");
    std::thread::sleep(Duration::from_millis(50));
    assert!(status.success(), "{status}: {}", process.stderr());
    process.stderr()
}

/// The frames of a file, each so many times; what can't be read of it yet is left out.
pub(crate) fn frames(file: &Path) -> BTreeMap<Vec<u8>, usize> {
    let mut all = BTreeMap::new();
    if let Ok(mut read) = Capture::from_file(file) {
        while let Ok(packet) = read.next_packet() {
            *all.entry(packet.data.to_vec()).or_default() += 1;
        }
    }
    all
}

/// The blocks of a file, which is whole: how many of them are frames, and the statistics' frames lost.
pub(crate) fn blocks(file: &Path) -> (usize, Option<u64>) {
    use dpdk_net::packet::pcapng::{Block, kind};
    let bytes = fs::read(file).unwrap();
    let (mut rest, mut frames, mut lost) = (&bytes[..], 0, None);
    while let Some(block) = Block::first(rest).unwrap() {
        frames += usize::from(block.kind == kind::PACKET);
        lost = block.as_statistics().map(|(_, told)| told.lost).or(lost);
        rest = &rest[block.bytes.len()..];
    }
    assert!(rest.is_empty(), "{} bytes are no block", rest.len());
    (frames, lost)
}
