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
    let mut tracing = trace(&socket, &qlog, &["--local", ":80", "--connections", "2"]);
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
        let missed = of(&mine, "tcp:events_missed").count();
        let first =
            of(&mine, "tcp:segment_sent").filter(|it| it["data"]["retransmission"].is_null());
        let sent: u64 = first.map(|it| it["data"]["length"].as_u64().unwrap()).sum();
        assert!(
            missed > 0 || sent > SIZE as u64,
            "{sent}: the file and a header"
        );
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

    let mut stopped = trace(&socket, &at("stopped.qlog"), &[]);
    wait_for("a trace begins", || Path::new(&at("stopped.qlog")).exists());
    let get = format!("curl -sSf http://{OURS}/large | wc -c");
    shell(&site.kernel, &get);
    stopped.signal("INT").unwrap();
    assert!(stopped.wait(PATIENCE).unwrap().expect("it ends").success());
    for record in records(&at("stopped.qlog")) {
        assert!(record.is_object());
    }

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
    site.process.signal("TERM").unwrap();
    assert!(left.wait(PATIENCE).unwrap().expect("it ends").success());
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{}", site.process.stderr());
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
            "\"local\" is \"host:80\"",
        ),
        (&["--peer", ":0"], "\"peer\" is \":0\""),
        (&["--connections", "0"], "from 1 to 256"),
        (&["--events", "70000"], "from 1 to 65536"),
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
        code == 1 && told.contains("no process listens there"),
        "{told}"
    );
    let (code, told) = run(&["trace", "--socket", &socket, "-w", "/nowhere/x.qlog"]);
    assert!(code == 1 && told.contains("cannot be written"), "{told}");
    assert_eq!(
        run(&["trace", "--socket", &socket, "-w", file, "--for", "5d"]).0,
        2
    );

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
