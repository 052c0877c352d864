//! `dpdk-net run`: what a file says is what the kernel's clients get.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use common::configured::{KERNEL, OURS, Site, files};
use common::shell;

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each request with its first line, on a connection of its own.
fn upstream(site: &Site) {
    let bind = site
        .kernel
        .spawn(|| TcpListener::bind(format!("{KERNEL}:8080")).unwrap());
    let listener = bind.join().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut lines = BufReader::new(&stream).lines();
            let Some(Ok(asked)) = lines.next() else {
                continue;
            };
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let length = asked.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            let _ = (&stream).write_all((head + &asked).as_bytes());
        }
    });
}

#[test]
fn files_redirects_answers_and_a_proxy_on_two_listeners_until_ctrl_c() {
    let directory = Site::directory();
    fs::write(directory.path().join("www/a.txt"), "a file\n").unwrap();
    let hosts = directory.path().join("hosts");
    fs::write(&hosts, format!("{KERNEL} upstream.example\n")).unwrap();
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n\
         [[listener]]\nname = \"other\"\naddress = \"{OURS}:8080\"\n\
         [[route]]\nlistener = \"other\"\nstatus = 418\n\
         {}listener = \"http\"\n\
         [[route]]\npath = \"/old\"\nredirect = {{ to = \"/new\", status = 301 }}\n\
         [[route]]\npath = \"/gone\"\nstatus = 410\n\
         [[route]]\npath = \"/up\"\nproxy = {{ upstreams = [\"http://{KERNEL}:8080\"] }}\n\
         [[route]]\npath = \"/named\"\nproxy = {{ upstreams = [\"http://upstream.example:8080\"] }}\n",
        files(directory.path())
    );
    // Hosts of its own, and another port for the second listener than the file says.
    let mount = format!(
        "mount --bind {} /etc/hosts && export DPDK_NET__LISTENER__1__ADDRESS={OURS}:8081 && exec \"$@\"",
        hosts.display()
    );
    let by = ["unshare", "-m", "sh", "-c", &mount, "sh"];
    let mut site = Site::start(directory, &rest, &by);
    upstream(&site);
    let get = |path: &str| {
        let script = format!("curl -sS -w '%{{http_code}} %{{redirect_url}}' http://{OURS}{path}");
        shell(&site.kernel, &script)
    };
    // Often enough that both queues answer.
    for _ in 0..8 {
        assert_eq!(get("/a.txt"), "a file\n200 ");
        assert_eq!(get("/up/x"), "GET /up/x HTTP/1.1200 ");
    }
    assert_eq!(get("/named/x?y"), "GET /named/x?y HTTP/1.1200 ");
    assert!(get("/old/x").ends_with(&format!("301 http://{OURS}/new")));
    assert!(get("/gone").ends_with("410 "));
    assert!(get("/none").ends_with("404 "));
    assert!(get(":8081/").ends_with("418 "));
    assert!(get(":8081/gone").ends_with("410 "), "a route of both");
    let refused = site
        .kernel
        .run(&["curl", "-sS", &format!("http://{OURS}:8080/")], PATIENCE);
    assert!(refused.is_err(), "the environment goes over the file");

    site.process.signal("INT").unwrap();
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", site.process.stderr());
}

#[test]
fn sighup_brings_what_can_change_and_a_broken_file_changes_nothing() {
    let directory = Site::directory();
    fs::write(directory.path().join("www/a.txt"), "a file\n").unwrap();
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n{}[tcp]\nuser_timeout = \"60 s\"\n",
        files(directory.path())
    );
    let mut site = Site::start(directory, &rest, &[]);
    let text = fs::read_to_string(site.file()).unwrap();
    let hear = |site: &mut Site, text: &str, told: &str| {
        fs::write(site.file(), text).unwrap();
        site.process.signal("HUP").unwrap();
        site.process.wait_for(told, PATIENCE).unwrap();
        let got = shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt"));
        assert_eq!(got, "a file\n", "it goes on");
    };
    hear(&mut site, &text, "SIGHUP: the file says nothing new");
    let changed = text.replace("\"60 s\"", "\"61 s\"");
    hear(&mut site, &changed, "SIGHUP: tcp.user_timeout");
    let broken = changed.replace("user_timeout", "usr_timeout");
    hear(
        &mut site,
        &broken,
        "SIGHUP: nothing has changed, the file has problems",
    );
    assert!(
        site.process
            .stderr()
            .contains("did you mean `user_timeout`?")
    );
    let restart = changed.replace("20 s", "21 s");
    hear(
        &mut site,
        &restart,
        "SIGHUP: takes a restart: workers.drain_timeout",
    );

    site.process.signal("TERM").unwrap();
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", site.process.stderr());
}

#[test]
fn the_log_is_where_and_what_the_file_says() {
    let directory = Site::directory();
    fs::write(directory.path().join("www/a.txt"), "a file\n").unwrap();
    let log = directory.path().join("net.log");
    let rest = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n{}[metrics]\nlog_interval = \"100 ms\"\n\
         [log]\nfile = \"{}\"\nformat = \"json\"\naccess = true\nfilter = \"info,dpdk_net=debug\"\n",
        files(directory.path()),
        log.display()
    );
    let mut site = Site::begin(directory, &rest, &[]);
    let end = Instant::now() + PATIENCE;
    let wait_for = |what: &str| loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains(what)) {
            return serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert!(Instant::now() < end, "no {what}: {text}");
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(wait_for("\"serving\"")["level"], "INFO");
    shell(&site.kernel, &format!("curl -sSf http://{OURS}/a.txt"));
    let access = wait_for("\"access\"");
    assert_eq!(access["fields"]["path"], "/a.txt", "{access}");
    wait_for("\"DEBUG\"");
    // The figures, again and again.
    wait_for("\"dpdk_net::app::figures\"");
    site.process.signal("TERM").unwrap();
    let status = site.process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", site.process.stderr());
}
