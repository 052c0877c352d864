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
fn https_is_served_and_sighup_brings_new_certificates() {
    let directory = Site::directory();
    let path = directory.path().to_owned();
    fs::write(path.join("www/a.txt"), "a file\n").unwrap();
    let sign = |name: &str, host: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(path.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(path.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    };
    sign("own", OURS);
    sign("shop", "shop.example");
    sign("client", "client.example");
    let root = path.display();
    let rest = format!(
        "[[listener]]\nname = \"https\"\naddress = \"[::]:443\"\n\
         [listener.tls]\ncertificate = \"{root}/own.pem\"\nkey = \"{root}/own-key.pem\"\n\
         more = [{{ certificate = \"{root}/shop.pem\", key = \"{root}/shop-key.pem\" }}]\n\
         client_ca = \"{root}/client.pem\"\nclient_certificates = \"optional\"\n\
         [[listener]]\nname = \"old\"\naddress = \"[::]:8443\"\n\
         tls = {{ certificate = \"{root}/own.pem\", key = \"{root}/own-key.pem\", client_ca = \"{root}/client.pem\", alpn = [\"http/1.1\"] }}\n\
         {}[[route]]\npath = \"/up\"\nproxy = {{ upstreams = [\"http://{KERNEL}:8080\"] }}\n",
        files(directory.path())
    );
    let mut site = Site::start(directory, &rest, &[]);
    let shown = format!("--cert {root}/client.pem --key {root}/client-key.pem");
    let curl = |more: &str, trusted: &str, url: &str| {
        let script = format!(
            "curl -sS -w '%{{http_version}}' --cacert {root}/{trusted}.pem {more} https://{url} 2>&1 || true"
        );
        shell(&site.kernel, &script)
    };
    assert_eq!(curl("", "own", &format!("{OURS}/a.txt")), "a file\n2");
    assert_eq!(curl(&shown, "own", &format!("{OURS}/a.txt")), "a file\n2");
    let by_name = format!("--resolve shop.example:443:{OURS}");
    assert_eq!(curl(&by_name, "shop", "shop.example/a.txt"), "a file\n2");
    // That one wants a certificate, and has no HTTP/2.
    assert_eq!(
        curl(&shown, "own", &format!("{OURS}:8443/a.txt")),
        "a file\n1.1"
    );
    let refused = curl("", "own", &format!("{OURS}:8443/a.txt"));
    assert!(refused.contains("alert"), "{refused}");
    // An upstream is told what the client spoke.
    let told = format!(
        "timeout 20 socat -u TCP-LISTEN:8080,bind={KERNEL} OPEN:{root}/asked,creat & sleep 0.3; \
         curl -sS -m 2 --cacert {root}/own.pem https://{OURS}/up || true; wait; cat {root}/asked"
    );
    let told = shell(&site.kernel, &told);
    assert!(told.contains("x-forwarded-proto: https"), "{told}");

    let key = fs::read(path.join("own-key.pem")).unwrap();
    fs::copy(path.join("shop-key.pem"), path.join("own-key.pem")).unwrap();
    site.process.signal("HUP").unwrap();
    site.process
        .wait_for("SIGHUP: the certificates stay", PATIENCE)
        .unwrap();
    assert_eq!(curl("", "own", &format!("{OURS}/a.txt")), "a file\n2");
    fs::write(path.join("own-key.pem"), key).unwrap();
    fs::copy(path.join("own.pem"), path.join("before.pem")).unwrap();
    sign("own", OURS);
    site.process.signal("HUP").unwrap();
    site.process
        .wait_for("SIGHUP: the certificates were read anew", PATIENCE)
        .unwrap();
    assert_eq!(curl("", "own", &format!("{OURS}/a.txt")), "a file\n2");
    let refused = curl("", "before", &format!("{OURS}/a.txt"));
    assert!(refused.contains("certificate"), "{refused}");

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
