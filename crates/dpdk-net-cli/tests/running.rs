//! `ss`, `stats` and `top` of an application that the kernel's clients talk to.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::configured::{OURS, Site, files};
use common::pty::Pty;
use common::{AS_NOBODY, PROGRAM, knows_other_users, public_copy, refused, shell};

const PATIENCE: Duration = Duration::from_secs(30);

/// A web site with a control socket, and that socket.
fn site(socket: &Path) -> Site {
    let directory = Site::directory();
    fs::write(directory.path().join("www/a.txt"), "a file\n").unwrap();
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"{OURS}:80\"\n{}[control]\nsocket = \"{}\"\n",
        files(directory.path()),
        socket.display()
    );
    Site::start(directory, &rest, &[])
}

/// A directory for a socket, and the socket.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("web.sock");
    (directory, socket)
}

/// What the tool prints.
fn told(socket: &Path, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .arg("--socket")
        .arg(socket)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Connections of the kernel's that have asked for a file and are kept.
fn clients(site: &Site, count: usize) -> Vec<TcpStream> {
    let connect = move || {
        let server: SocketAddr = format!("{OURS}:80").parse().unwrap();
        let connect = |_| {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = format!("GET /a.txt HTTP/1.1\r\nHost: {OURS}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"a file\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
            stream
        };
        (0..count).map(connect).collect()
    };
    site.kernel.spawn(connect).join().unwrap()
}

/// Pairs of addresses from lines of ss: `ESTAB 0 0 LOCAL PEER`, our end first.
fn ends(list: &str, ours_is_first: bool) -> BTreeSet<(String, String)> {
    let pair = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "ESTAB", "{line}");
        let (local, peer) = (words[3].to_owned(), words[4].to_owned());
        if ours_is_first {
            (local, peer)
        } else {
            (peer, local)
        }
    };
    list.lines().map(pair).collect()
}

#[test]
fn ss_shows_the_other_ends_of_what_the_kernel_shows() {
    let (_directory, socket) = place();
    let site = site(&socket);
    let open = clients(&site, 12);
    let kernel = shell(
        &site.kernel,
        "ss -Htn state established dst 198.18.0.2 | sed 's/^/ESTAB /'",
    );
    let wanted = ends(&kernel, false);
    assert_eq!(wanted.len(), open.len());
    let ours = told(&socket, &["ss", "-tnH", "state", "established"]);
    assert_eq!(ends(&ours, true), wanted);

    // By queue it is the same connections, each once.
    let queues: Vec<_> = ["0", "1"]
        .map(|queue| ends(&told(&socket, &["ss", "-tH", "--queue", queue]), true))
        .into();
    assert!(queues[0].is_disjoint(&queues[1]));
    assert_eq!(
        queues[0]
            .union(&queues[1])
            .cloned()
            .collect::<BTreeSet<_>>(),
        wanted
    );

    // One of them in detail, as the kernel has its other end: what one sent the other received.
    let client = open[0].local_addr().unwrap().to_string();
    let line = told(&socket, &["ss", "-tiH", "dst", &client]);
    let kernel = shell(&site.kernel, &format!("ss -tinH src {client}"));
    let figure = |text: &str, name: &str| {
        let word = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("no {name}: {text}"))
            .to_owned()
    };
    assert_eq!(
        figure(&line, "bytes_sent:"),
        figure(&kernel, "bytes_received:")
    );
    assert_eq!(
        figure(&line, "bytes_received:"),
        figure(&kernel, "bytes_sent:")
    );
    // Each side's shift for what it is sent is the other's for what it sends.
    let shifts = |text: &str| {
        let both = figure(text, "wscale:");
        let (sending, receiving) = both.split_once(',').unwrap();
        (sending.to_owned(), receiving.to_owned())
    };
    let (ours, theirs) = (shifts(&line), shifts(&kernel));
    assert_eq!(ours, (theirs.1, theirs.0));
    for word in ["cubic", "rto:", "rtt:", "mss:1448", "cwnd:", "queue:"] {
        assert!(line.contains(word), "{word}: {line}");
    }

    let listening = told(&socket, &["ss", "-lt"]);
    let listeners = listening
        .lines()
        .filter(|line| line.starts_with("LISTEN") && line.contains(&format!("{OURS}:80")));
    assert_eq!(listeners.count(), 2, "one on each queue: {listening}");

    let json: serde_json::Value =
        serde_json::from_str(&told(&socket, &["ss", "-t", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), open.len());
    assert!(json[0]["info"]["rtt_us"].is_u64(), "{json:#}");

    // Gone with its client.
    drop(open);
    let end = std::time::Instant::now() + PATIENCE;
    while !told(&socket, &["ss", "-tH", "state", "established"]).is_empty() {
        assert!(std::time::Instant::now() < end);
    }
}

#[test]
fn stats_are_told_by_our_names_and_by_those_of_linux() {
    let (_directory, socket) = place();
    let site = site(&socket);
    let open = clients(&site, 4);
    let opens = told(&socket, &["stats", "dpdk_net_tcp_passive_opens*"]);
    assert!(opens.trim_end().ends_with(" 4"), "{opens}");
    let linux = told(&socket, &["stats", "--linux", "TcpPassiveOpens"]);
    assert_eq!(
        linux.split_whitespace().collect::<Vec<_>>(),
        ["TcpPassiveOpens", "4"]
    );
    let apart = told(&socket, &["stats", "-qz", "dpdk_net_tcp_passive_opens*"]);
    assert_eq!(apart.lines().count(), 2, "{apart}");
    let json: serde_json::Value =
        serde_json::from_str(&told(&socket, &["stats", "--json"])).unwrap();
    assert!(json.as_array().unwrap().len() > 100);
    // Again and again, until nobody reads.
    let script = format!(
        "{PROGRAM} stats --watch=0.1 'dpdk_net_worker_turns*' --socket {} | head -n 6",
        socket.display()
    );
    let watched = Command::new("bash")
        .args(["-ec", &script])
        .output()
        .unwrap();
    let watched = String::from_utf8(watched.stdout).unwrap();
    let turns: Vec<Vec<&str>> = watched
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(turns.len(), 6);
    assert_eq!(turns[0], ["value", "added", "per", "second"]);
    let added: f64 = turns[3][2].parse().unwrap();
    assert!(added > 0.0, "{watched}");

    // A terminal has the first of them, and is told of the others.
    let path = socket.to_str().unwrap();
    let mut terminal = Pty::start(&[PROGRAM, "stats", "--watch=0.1", "-z", "--socket", path]);
    terminal.wait_until("the top is on the screen", PATIENCE, |screen| {
        screen.contains("per second") && screen.contains(" more: name those that are wanted")
    });
    terminal.press("\u{3}");
    drop(terminal);
    let (code, text) = refused(&[PROGRAM, "stats", "--watch", "5", "--socket", path]);
    assert!(code == 2 && text.contains("\n  --watch=5"), "{text}");

    let (code, text) = refused(&[
        PROGRAM,
        "stats",
        "no_such*",
        "--socket",
        socket.to_str().unwrap(),
    ]);
    assert!(
        code == 1 && text.contains("no figure is like no_such*"),
        "{text}"
    );
    drop(open);
}

#[test]
fn the_only_application_is_found_where_sockets_are() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("dpdk-net/web.sock");
    let site = site(&socket);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Without those that run on this machine for other reasons.
    let tool = |with: &str| {
        let script = format!(
            "mount -t tmpfs none /run && {with} exec {PROGRAM} stats --linux TcpPassiveOpens -z"
        );
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-ec", &script])
            .env_remove("XDG_RUNTIME_DIR");
        command.output().unwrap()
    };
    let found = tool(&format!("XDG_RUNTIME_DIR={}", directory.path().display()));
    assert!(found.status.success(), "{found:?}");
    let by_variable = tool(&format!("DPDK_NET_SOCKET={}", socket.display()));
    assert!(by_variable.status.success(), "{by_variable:?}");
    let none = tool("");
    let text = String::from_utf8(none.stderr).unwrap();
    let wanted = "error: no application with a control socket was found in /run/dpdk-net\n";
    assert!(
        none.status.code() == Some(1) && text.starts_with(wanted),
        "{text}"
    );
    drop(site);
}

#[test]
fn who_can_not_be_asked_says_why() {
    let (directory, socket) = place();
    let site = site(&socket);
    let path = socket.to_str().unwrap();
    let (code, text) = refused(&[PROGRAM, "ss", "--socket", "/nonexistent/a.sock"]);
    assert!(
        code == 1 && text.contains("there is no socket /nonexistent/a.sock"),
        "{text}"
    );
    let (code, text) = refused(&[PROGRAM, "top", "--socket", path]);
    assert!(code == 1 && text.contains("this is none"), "{text}");
    let (code, text) = refused(&[PROGRAM, "ss", "state", "open"]);
    assert!(code == 2 && text.contains("no state `open`"), "{text}");
    let (code, text) = refused(&[PROGRAM, "ss", "dst", "nowhere", "--socket", path]);
    assert!(
        code == 2 && text.contains("\"nowhere\" is no address or port"),
        "{text}"
    );
    if knows_other_users() {
        let (_copy, program) = public_copy();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = AS_NOBODY.to_vec();
        command.extend([program.as_str(), "ss", "--socket", path]);
        let (code, text) = refused(&command);
        assert!(
            code == 1 && text.contains("is for the user that the application runs as"),
            "{text}"
        );
        // Where the file lets them in, the application does not.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let (code, text) = refused(&command);
        assert!(
            code == 1 && text.contains("only root and the user"),
            "{text}"
        );
    }
    let mut site = site;
    site.process.signal("TERM").unwrap();
    assert!(site.process.wait(PATIENCE).unwrap().unwrap().success());
    let (code, text) = refused(&[PROGRAM, "ss", "--socket", path]);
    assert!(code == 1 && text.contains("there is no socket"), "{text}");
}

#[test]
fn top_lives_in_a_terminal_and_leaves_it_as_it_was() {
    let (_directory, socket) = place();
    let mut first = site(&socket);
    let open = clients(&first, 3);
    let command = [
        PROGRAM,
        "top",
        "--interval",
        "0.1",
        "--socket",
        socket.to_str().unwrap(),
    ];
    let mut top = Pty::start(&command);
    top.wait_for("connections 3", PATIENCE);
    let screen = top.screen();
    for part in [
        "dpdk-net top",
        "queue\u{2191}",
        "load",
        "/0",
        "/1",
        " drops of ",
        "q quit",
    ] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    assert_eq!(screen.lines().count(), 24);
    top.press("h");
    top.wait_for("Order by:", PATIENCE);
    top.press("h");
    top.press("l");
    top.wait_for("load\u{2193}", PATIENCE);
    top.press("p");
    top.wait_for("PAUSED", PATIENCE);
    top.press("p");
    top.press("\r");
    top.wait_for("cycles a frame", PATIENCE);
    top.press("\r");
    top.resize(120, 40);
    top.wait_until("forty rows", PATIENCE, |screen| {
        screen
            .lines()
            .nth(39)
            .is_some_and(|line| line.contains("q quit"))
    });
    top.resize(40, 10);
    top.wait_until("ten rows", PATIENCE, |screen| {
        screen
            .lines()
            .nth(9)
            .is_some_and(|line| line.contains("q quit"))
    });
    top.resize(80, 24);
    top.wait_for(" drops of ", PATIENCE);

    // The application goes away, and another one comes.
    drop(open);
    first.process.signal("TERM").unwrap();
    first.process.wait(PATIENCE).unwrap().unwrap();
    top.wait_for("NOT HEARD", PATIENCE);
    drop(first);
    let second = site(&socket);
    let _open = clients(&second, 5);
    top.wait_for("connections 5", PATIENCE);
    assert!(!top.screen().contains("NOT HEARD"));
    top.press("q");
    assert_eq!(top.ended(PATIENCE), 0);

    for end in ["\u{3}", "TERM"] {
        let mut top = Pty::start(&command);
        top.wait_for("q quit", PATIENCE);
        match end {
            "TERM" => drop(common::output(&["kill", "-TERM", &top.pid()])),
            key => top.press(key),
        }
        assert_eq!(top.ended(PATIENCE), 0, "{end:?}");
    }
}
