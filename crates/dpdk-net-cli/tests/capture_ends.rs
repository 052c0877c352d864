//! However a capture of `dpdk-net capture` ends, what it has written is whole and nothing is held any more. Needs root.

mod common;

use std::fs;
use std::io::Read;
use std::time::Duration;

use common::captured::*;
use common::configured::OURS;
use common::{PROGRAM, shell};
use dpdk_net_testkit::bed::Process;
use serde_json::json;

#[test]
fn who_stalls_loses_frames_and_the_service_goes_on() {
    let (site, socket) = site();
    let mut stalled = connect(&socket);
    let answer = ask(
        &mut stalled,
        &json!({ "command": "capture", "buffer": 65536 }),
    );
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["result"]["queues"], 2);
    turned(&socket);
    for _ in 0..3 {
        shell(
            &site.kernel,
            &format!("curl -sSf --max-time 20 http://{OURS}/large >/dev/null"),
        );
    }
    // Reads the rest after all.
    stalled
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    let mut file = Vec::new();
    stalled.read_to_end(&mut file).unwrap();
    let (mut rest, mut lost, mut delivered, mut count) = (&file[..], 0, 0, 0);
    while let Some(block) = dpdk_net::packet::pcapng::Block::first(rest).unwrap() {
        if let Some((_, told)) = block.as_statistics() {
            (lost, delivered) = (told.lost, told.delivered);
            assert_eq!(told.accepted, told.lost + told.delivered);
        }
        count += u64::from(block.kind == dpdk_net::packet::pcapng::kind::PACKET);
        rest = &rest[block.bytes.len()..];
    }
    assert!(rest.is_empty());
    assert!(lost > 1_000, "{lost}");
    assert_eq!(count, delivered);
}

#[test]
fn a_tool_that_is_killed_leaves_nothing_behind_and_no_capture_outlives_the_service() {
    let (mut site, socket) = site();
    let file = site.directory.path().join("killed.pcapng");
    let whole = site.directory.path().join("whole.pcapng");
    let begin = || {
        let mut control = connect(&socket);
        let answer = ask(&mut control, &json!({ "command": "capture" }));
        (answer["ok"] == true)
            .then_some(control)
            .ok_or(answer["error"].to_string())
    };
    for _ in 0..6 {
        let mut tool = capture(&socket, &file, &[]);
        tool.signal("KILL").unwrap();
        tool.wait(PATIENCE).unwrap();
        fs::remove_file(&file).unwrap();
    }
    let all_free = || {
        eventually("all captures are free", || {
            let all: Vec<_> = (0..dpdk_net::capture::MOST).map(|_| begin()).collect();
            all.iter().all(Result::is_ok).then_some(all)
        })
    };
    let mut all = all_free();
    assert!(
        begin()
            .unwrap_err()
            .contains("there are 4 captures already")
    );
    drop(all.pop());
    eventually("one is free", || begin().ok());
    drop(all);
    // What was closed last may take a moment.
    eventually("three are free", || {
        let some: Vec<_> = (1..dpdk_net::capture::MOST).map(|_| begin().ok()).collect();
        some.into_iter().collect::<Option<Vec<_>>>()
    });
    let tool = eventually("there is room", || {
        capturing(&socket, &whole, &["tcp"]).ok()
    });
    shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt"));
    site.process.signal("TERM").unwrap();
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", site.process.stderr());
    // The service's end is the capture's.
    let said = ended(tool);
    assert!(said.contains(" packets captured, 0 lost"), "{said}");
    assert!(!frames(&whole).is_empty());
}

#[test]
fn the_first_ctrl_c_waits_for_the_service_and_the_second_one_for_nothing() {
    let (mut site, socket) = site();
    let [patient, cut] = ["patient", "cut"].map(|name| site.directory.path().join(name));
    let mut tools = [&patient, &cut].map(|file| capture(&socket, file, &["tcp"]));
    shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt"));
    // Nothing is heard of the service for a while.
    site.process.signal("STOP").unwrap();
    for tool in &mut tools {
        tool.signal("INT").unwrap();
        tool.wait_for("waiting for what the service still holds", PATIENCE)
            .unwrap();
        assert!(tool.wait(Duration::ZERO).unwrap().is_none(), "it waits");
    }
    let [waiting, mut ending] = tools;
    ending.signal("INT").unwrap();
    let status = ending.wait(PATIENCE).unwrap().expect("it ends");
    std::thread::sleep(Duration::from_millis(50));
    let said = ending.stderr();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(" packets captured, at least 0 lost"),
        "{said}"
    );
    assert!(said.contains("ended before the service had sent"), "{said}");
    assert_eq!(blocks(&cut).1, None, "no statistics have come");

    site.process.signal("CONT").unwrap();
    let said = ended(waiting);
    let (frames, lost) = blocks(&patient);
    assert!(
        said.contains(&format!("{frames} packets captured, 0 lost")),
        "{said}"
    );
    assert!(frames > 5 && lost == Some(0), "{frames}, {lost:?}");
}

#[test]
fn a_file_that_can_not_grow_any_more_is_whole() {
    let (site, socket) = site();
    let file = site.directory.path().join("full.pcapng");
    // In KiB. Whoever ignores the signal is told by an error, as by a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec {PROGRAM} capture --socket {} -w {} tcp",
        socket.display(),
        file.display()
    );
    let mut tool = Process::start(&["bash", "-c", &script]).unwrap();
    eventually("the capture begins", || {
        fs::metadata(&file)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });
    turned(&socket);
    shell(
        &site.kernel,
        &format!("curl -sSf http://{OURS}/large >/dev/null"),
    );
    let status = tool.wait(PATIENCE).unwrap().expect("it ends");
    std::thread::sleep(Duration::from_millis(50));
    let said = tool.stderr();
    assert!(
        status.code() == Some(1) && said.contains("cannot write the capture: File too large"),
        "{said}"
    );
    assert!(blocks(&file).0 > 5);
}
