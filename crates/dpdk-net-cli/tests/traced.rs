//! `dpdk-net trace` of a running server, and `dpdk-net plot` of what it has written.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::configured::{OURS, Site, files};
use common::{PROGRAM, output, shell};
use dpdk_net_testkit::bed::Process;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: usize = 3_000_000;

/// A server of one large file with a control socket.
fn site() -> (Site, String) {
    let directory = Site::directory();
    fs::write(directory.path().join("www/large"), vec![b'x'; SIZE]).unwrap();
    let socket = directory.path().join("control.sock");
    let socket = socket.to_str().unwrap().to_owned();
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n{}[control]\nsocket = \"{socket}\"\n",
        files(directory.path())
    );
    (Site::start(directory, &rest, &[]), socket)
}

fn trace(socket: &str, file: &str, more: &[&str]) -> Process {
    let command = [&[PROGRAM, "trace", "--socket", socket, "-w", file], more].concat();
    Process::start(&command).unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn records(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line.trim_start_matches('\u{1e}')).unwrap())
        .collect()
}

fn of<'a>(records: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    records.iter().filter(move |record| record["name"] == name)
}

#[test]
fn a_server_s_connections_are_traced_and_plotted() {
    let (site, socket) = site();
    let at = |name: &str| {
        site.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (qlog, svg) = (at("conn.qlog"), at("conn.svg"));
    let mut tracing = trace(
        &socket,
        &qlog,
        &["--local", ":80", "--connections", "2", "--events", "65536"],
    );
    wait_for("a trace begins", || Path::new(&qlog).exists());
    let get = format!("curl -sSf http://{OURS}/large | wc -c");
    for _ in 0..3 {
        assert_eq!(shell(&site.kernel, &get).trim(), SIZE.to_string());
    }
    // It ends by itself with the second connection.
    let status = tracing.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{}", tracing.stderr());
    let told = tracing.stderr();
    assert!(told.contains("2 connections, "), "{told}");

    let records = records(&qlog);
    assert_eq!(
        records[0]["file_schema"],
        "urn:ietf:params:qlog:file:sequential"
    );
    let groups: BTreeSet<_> = records[1..]
        .iter()
        .map(|it| it["group_id"].as_str().unwrap())
        .collect();
    assert_eq!(groups.len(), 2, "the third is not traced");
    assert_eq!(of(&records, "tcp:connection_closed").count(), 2);
    for group in groups {
        let mine: Vec<Value> = records
            .iter()
            .filter(|it| it["group_id"] == group)
            .cloned()
            .collect();
        // There is room for all of it.
        assert_eq!(of(&mine, "tcp:events_missed").count(), 0);
        let first =
            of(&mine, "tcp:segment_sent").filter(|it| it["data"]["retransmission"].is_null());
        let sent: u64 = first.map(|it| it["data"]["length"].as_u64().unwrap()).sum();
        assert!(sent > SIZE as u64, "{sent}: the file and a header");
    }

    let listed = output(&[PROGRAM, "plot", &qlog, "--list"]).text();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("closed (fin)"), "{listed}");
    output(&[PROGRAM, "plot", &qlog]);
    let picture = fs::read_to_string(&svg).unwrap();
    for part in [
        "class=\"sent\"",
        "class=\"acked\"",
        "class=\"cwnd\"",
        "class=\"srtt\"",
        "</svg>",
    ] {
        assert!(picture.contains(part), "{part}");
    }
    let second = output(&[PROGRAM, "plot", &qlog, "--connection", "1", "-o", "-"]).text();
    assert!(second.starts_with("<svg"));
}

#[test]
fn a_trace_ends_when_its_time_is_up_its_reader_leaves_or_the_server_does() {
    let (mut site, socket) = site();
    let at = |name: &str| {
        site.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut timed = trace(&socket, &at("timed.qlog"), &["--for", "200ms"]);
    assert!(timed.wait(PATIENCE).unwrap().expect("it ends").success());
    assert!(
        timed.stderr().contains("0 connections, 0 events"),
        "{}",
        timed.stderr()
    );

    // A connection that goes on when its trace is stopped.
    let get = format!("curl -sSf --limit-rate 100k http://{OURS}/large");
    let mut slow = site.kernel.start(&["bash", "-c", &get]).unwrap();
    let mut stopped = trace(&socket, &at("stopped.qlog"), &[]);
    wait_for("some of it is traced", || {
        fs::read_to_string(at("stopped.qlog")).is_ok_and(|text| text.contains("tcp:segment_sent"))
    });
    stopped.signal("INT").unwrap();
    assert!(stopped.wait(PATIENCE).unwrap().expect("it ends").success());
    let told = records(&at("stopped.qlog"));
    let last = told.last().unwrap();
    assert_eq!(last["name"], "tcp:trace_ended", "{last}");
    assert_eq!(last["data"]["trigger"], "stopped", "{last}");
    let said = stopped.stderr();
    let wanted = format!("1 connections, {} events traced, ", told.len() - 1);
    assert!(said.contains(&wanted), "{said}, not {wanted}");
    slow.signal("TERM").unwrap();
    slow.wait(PATIENCE).unwrap();

    // Who is gone without a word holds nothing: as many may come after it as ever.
    for round in 0..20 {
        let name = at(&format!("killed{round}.qlog"));
        let mut killed = trace(&socket, &name, &[]);
        wait_for("a trace begins", || Path::new(&name).exists());
        killed.signal("KILL").unwrap();
        killed.wait(PATIENCE).unwrap();
    }
    let mut left = trace(&socket, &at("left.qlog"), &[]);
    wait_for("a trace begins", || Path::new(&at("left.qlog")).exists());
    let mut slow = site.kernel.start(&["bash", "-c", &get]).unwrap();
    wait_for("some of it is traced", || {
        fs::read_to_string(at("left.qlog")).is_ok_and(|text| text.contains("tcp:segment_sent"))
    });
    site.process.signal("TERM").unwrap();
    slow.signal("TERM").unwrap();
    slow.wait(PATIENCE).unwrap();
    assert!(left.wait(PATIENCE).unwrap().expect("it ends").success());
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{}", site.process.stderr());
    // Its last word is written before the server ends.
    let last = records(&at("left.qlog")).pop().unwrap();
    let name = last["name"].as_str().unwrap();
    assert!(
        ["tcp:connection_closed", "tcp:trace_ended"].contains(&name),
        "{last}"
    );
}

#[test]
fn a_server_that_is_killed_does_not_end_a_trace_well() {
    let (mut site, socket) = site();
    let file = site.directory.path().join("killed.qlog");
    let file = file.to_str().unwrap();
    let mut tool = trace(&socket, file, &[]);
    wait_for("a trace begins", || Path::new(file).exists());
    let get = format!("curl -sSf --limit-rate 100k http://{OURS}/large");
    let mut slow = site.kernel.start(&["bash", "-c", &get]).unwrap();
    wait_for("some of it is traced", || {
        fs::read_to_string(file).is_ok_and(|text| text.contains("tcp:segment_sent"))
    });
    site.process.signal("KILL").unwrap();
    let status = tool.wait(PATIENCE).unwrap().expect("it ends");
    slow.signal("TERM").unwrap();
    slow.wait(PATIENCE).unwrap();
    let said = tool.stderr();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("1 connections, ") && said.contains("the service ended or gave the trace up"),
        "{said}"
    );
    assert!(records(file).len() > 2);
}

#[test]
fn a_trace_that_can_not_be_written_any_more_is_whole() {
    let (site, socket) = site();
    let file = site.directory.path().join("full.qlog");
    let file = file.to_str().unwrap();
    // In KiB. Whoever ignores the signal is told by an error, as by a full disk.
    let script =
        format!("trap '' XFSZ; ulimit -f 100; exec {PROGRAM} trace --socket {socket} -w {file}");
    let mut tool = Process::start(&["bash", "-c", &script]).unwrap();
    wait_for("a trace begins", || Path::new(file).exists());
    let get = format!("curl -sSf http://{OURS}/large | wc -c");
    shell(&site.kernel, &get);
    let status = tool.wait(PATIENCE).unwrap().expect("it ends");
    let said = tool.stderr();
    assert!(
        status.code() == Some(1) && said.contains("cannot be written: File too large"),
        "{said}"
    );
    let text = fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n'));
    assert!(!records(file).is_empty());
}

#[test]
fn what_the_server_refuses_is_no_mistake_on_the_command_line() {
    let (site, socket) = site();
    let file = site.directory.path().join("x.qlog");
    let file = file.to_str().unwrap();
    // As many as it hears at a time.
    let all: Vec<_> = (0..16)
        .map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap())
        .collect();
    let command = [PROGRAM, "trace", "--socket", &socket, "-w", file];
    wait_for("it is refused", || {
        let output = Command::new(command[0])
            .args(&command[1..])
            .args(["--for", "1ms"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let refused = told.contains("16 connections are open");
        assert!(!refused || output.status.code() == Some(1), "{told}");
        refused
    });
    drop(all);
}

#[test]
fn what_can_t_be_asked_or_read_is_refused_with_a_reason() {
    let run = |args: &[&str]| {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), told)
    };
    let (site, socket) = site();
    let file = site.directory.path().join("x.qlog");
    let file = file.to_str().unwrap();
    for (args, why) in [
        (
            ["--local", "host:80"].as_slice(),
            "\"host:80\" is no address or port",
        ),
        (&["--peer", ":0"], "\":0\" is no address or port"),
        (
            &["--connections", "0"],
            "1 to 256 connections can be traced",
        ),
        (&["--port", "0"], "0 is not in 1..=65535"),
        (
            &["--events", "70000"],
            "1 to 65536 events of a connection can wait",
        ),
        (
            &["--connections", "256", "--events", "65536"],
            "at most 4194304 events",
        ),
    ] {
        let all = [&["trace", "--socket", &socket, "-w", file], args].concat();
        let (code, told) = run(&all);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(why), "{told}");
    }
    assert!(!Path::new(file).exists());
    let (code, told) = run(&["trace", "--socket", "/nowhere/x.sock", "-w", file]);
    assert!(
        code == 1 && told.contains("there is no socket /nowhere/x.sock"),
        "{told}"
    );
    let (code, told) = run(&["trace", "--socket", &socket, "-w", "/nowhere/x.qlog"]);
    assert!(code == 1 && told.contains("cannot be written"), "{told}");
    for (time, why) in [("5d", "give a number and"), ("25h", "24h at most")] {
        let (code, told) = run(&["trace", "--socket", &socket, "-w", file, "--for", time]);
        assert!(code == 2 && told.contains(why), "{told}");
    }

    fs::write(file, "{\"qlog_version\":\"0.3\"}\n{\"time\":1}\n").unwrap();
    let (code, told) = run(&["plot", file]);
    assert!(
        code == 1 && told.contains("line 2: there is no \"name\""),
        "{told}"
    );
    fs::write(file, "{\"qlog_version\":\"0.3\"}\n").unwrap();
    let (code, told) = run(&["plot", file]);
    assert!(
        code == 1 && told.contains("has no connection in it"),
        "{told}"
    );
    assert_eq!(run(&["plot", "/nowhere/x.qlog"]).0, 1);
}
