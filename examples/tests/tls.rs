//! TLS examples against openssl, curl and socat.

mod common;
mod peers;

use std::fs;
use std::time::Duration;

use common::{Bed, Directory, HOSTS, KERNEL_HOSTS, RUN, START, stop};
use dpdk_net_testkit::bed::Process;
use peers::{Authority, certificates};

/// The arguments for the certificate and key of these names.
fn shown(root: &str, name: &str) -> [String; 4] {
    [
        "--certificate",
        &format!("{root}/{name}.pem"),
        "--key",
        &format!("{root}/{name}-key.pem"),
    ]
    .map(str::to_owned)
}

/// Starts an example with a certificate.
fn start(bed: &Bed, example: &str, directory: &Directory, args: &[&str], ready: &str) -> Process {
    let own = shown(directory.path(), "server");
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let mut process = bed.start(example, &[&own, args].concat());
    process.wait_for(ready, START).unwrap();
    process
}

/// A CA with a certificate for both ends, and one for a client.
fn authority(directory: &Directory) -> Authority {
    let authority = Authority::new("CA of a test");
    authority.write(directory, "ca");
    authority.sign(directory, "server", &peers::ADDRESSES);
    authority.sign(directory, "client", &["client.example"]);
    authority
}

/// A command of the kernel's side that may fail: what it wrote, to both.
fn told(bed: &Bed, script: &str) -> (bool, String) {
    let script = format!("({script}) 2>&1");
    let output = bed.netns().run(
        &["bash", "-c", &format!("{script} && echo IT-WORKED || true")],
        RUN,
    );
    let text = output.unwrap().text();
    (text.contains("IT-WORKED"), text)
}

fn https_is_served(bed: &Bed) {
    let directory = Directory::new();
    authority(&directory);
    let root = directory.path();
    let server = start(
        bed,
        "06_tls_server",
        &directory,
        &["--port", "443"],
        "https on",
    );
    let page = bed.shell("head -c 3000000 /dev/zero | tr '\\0' x | sha256sum");
    let sent = bed.shell("seq 200000 | sha256sum");
    for host in HOSTS {
        for (flag, alpn) in [("--http1.1", "http/1.1"), ("--http2", "h2")] {
            let curl = format!("curl -sS -m 50 --cacert {root}/ca.pem {flag} 'https://{host}");
            let agreed = bed.shell(&format!("{curl}/tls'"));
            assert_eq!(
                agreed,
                format!("TLS 1.3, TLS13_AES_256_GCM_SHA384, {alpn}, asked for -\n")
            );
            assert_eq!(
                bed.shell(&format!("{curl}/bytes/3000000' | sha256sum")),
                page
            );
            let echoed = format!("seq 200000 | {curl}/echo' --data-binary @- | sha256sum");
            assert_eq!(bed.shell(&echoed), sent);
        }
    }
    stop(server);
}

#[test]
fn https_is_served_over_http_1_1_and_2() {
    https_is_served(&Bed::tap());
}

#[test]
fn https_is_served_where_one_frame_in_a_hundred_is_lost() {
    https_is_served(&Bed::lossy(0.01));
}

#[test]
fn openssl_agrees_on_each_version_and_resumes() {
    let bed = Bed::tap();
    let directory = Directory::new();
    authority(&directory);
    Authority::new("somebody else").write(&directory, "other");
    let root = directory.path();
    let server = start(
        &bed,
        "06_tls_server",
        &directory,
        &["--port", "443"],
        "https on",
    );
    let request = "printf 'GET /tls HTTP/1.0\\r\\n\\r\\n'";
    for host in HOSTS {
        for (version, name, more) in [
            ("-tls1_3", "TLS 1.3", ""),
            ("-tls1_2", "TLS 1.2", ""),
            // By the session's id.
            ("-tls1_2", "TLS 1.2", "-no_ticket"),
        ] {
            let client = format!(
                "{request} | openssl s_client -connect '{host}:443' -CAfile {root}/ca.pem -verify_return_error \
                 {version} {more} -alpn http/1.1 -ign_eof"
            );
            for (session, kind) in [("-sess_out", "New, TLSv1"), ("-sess_in", "Reused, TLSv1")] {
                let (ok, text) = told(&bed, &format!("{client} {session} {root}/session"));
                assert!(ok && text.contains(kind), "{host} {version} {more}: {text}");
                assert!(text.contains("ALPN protocol: http/1.1"), "{text}");
                let resumed = text.contains(", http/1.1, resumed, asked for");
                assert!(
                    text.contains(name) && resumed == (session == "-sess_in"),
                    "{text}"
                );
            }
        }
        let client =
            format!("{request} | openssl s_client -connect '{host}:443' -verify_return_error");
        let (ok, text) = told(&bed, &format!("{client} -CAfile {root}/other.pem"));
        assert!(
            !ok && text.contains("unable to get local issuer certificate"),
            "{text}"
        );
        let (ok, text) = told(
            &bed,
            &format!("{client} -CAfile {root}/ca.pem -alpn spdy/1"),
        );
        assert!(!ok && text.contains("no application protocol"), "{text}");
        let (ok, text) = told(
            &bed,
            &format!("{client} -CAfile {root}/ca.pem -tls1_1 -cipher DEFAULT:@SECLEVEL=0"),
        );
        // Which alert depends on what else such an old client leaves out.
        let alerts = ["protocol version", "handshake failure"];
        let is_told = alerts.iter().any(|alert| text.contains(alert));
        assert!(!ok && is_told, "{text}");
    }
    let figures = ended(server);
    for (figure, count) in [
        ("handshakes_total [(\"side\", \"server\")]", 12),
        ("resumed_handshakes_total [(\"side\", \"server\")]", 6),
        (&failures("alert"), 2),
        (&failures("protocol"), 2),
        (&failures("incompatible"), 2),
        (&failures("closed"), 0),
    ] {
        let line = format!("dpdk_net_tls_{figure} Integer({count})");
        assert!(figures.contains(&line), "no {line}: {figures}");
    }
}

fn failures(cause: &str) -> String {
    format!("handshake_failures_total [(\"side\", \"server\"), (\"cause\", \"{cause}\")]")
}

/// Ends a server, and gives what it has counted.
fn ended(mut server: Process) -> String {
    let status = server.terminate(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}: {}", server.stderr());
    server.stdout()
}

#[test]
fn a_server_shows_the_certificate_of_the_name_that_is_asked_for() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let authority = authority(&directory);
    authority.sign(&directory, "a", &["a.example", "*.wild.example"]);
    let root = directory.path();
    let second = shown(root, "a");
    let args: Vec<&str> = second.iter().map(String::as_str).collect();
    let server = start(&bed, "06_tls_server", &directory, &args, "https on");
    for (name, host) in [("a.example", HOSTS[0]), ("x.wild.example", HOSTS[1])] {
        let curl = format!(
            "curl -sS -m 20 --cacert {root}/ca.pem --resolve '{name}:443:{host}' https://{name}/tls"
        );
        assert!(bed.shell(&curl).contains(&format!("asked for {name}")));
    }
    let curl = format!(
        "curl -sS -m 20 --cacert {root}/ca.pem --resolve 'b.example:443:198.18.0.2' https://b.example/tls"
    );
    let (ok, text) = told(&bed, &curl);
    assert!(
        !ok && text.contains("no alternative certificate subject name"),
        "{text}"
    );
    stop(server);
}

#[test]
fn certificates_are_changed_while_connections_go_on() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let authority = authority(&directory);
    let root = directory.path();
    let mut server = start(
        &bed,
        "06_tls_server",
        &directory,
        &["--port", "443"],
        "https on",
    );
    // A connection that is there before, and asks after everything.
    let slow = format!(
        "(sleep 0.3; while [ ! -e {root}/done ]; do sleep 0.05; done; printf 'GET /tls HTTP/1.0\\r\\n\\r\\n') \
         | openssl s_client -connect 198.18.0.2:443 -CAfile {root}/ca.pem -ign_eof"
    );
    let mut old = bed.netns().start(&["bash", "-c", &slow]).unwrap();
    old.wait_for("Verify return code: 0", START).unwrap();
    let serial = format!(
        "openssl s_client -connect '[fd00:198:18::2]:443' -CAfile {root}/ca.pem -verify_return_error </dev/null 2>/dev/null \
         | openssl x509 -noout -serial"
    );
    let before = bed.shell(&serial);

    authority.sign(&directory, "server", &peers::ADDRESSES);
    let certificate = fs::read(format!("{root}/server.pem")).unwrap();
    fs::write(
        format!("{root}/server.pem"),
        &certificate[..certificate.len() / 2],
    )
    .unwrap();
    server.signal("HUP").unwrap();
    server.wait_for("the certificates stay", START).unwrap();
    assert!(
        server
            .stderr()
            .contains("server.pem, line 1: the CERTIFICATE that begins here has no end")
    );
    assert_eq!(bed.shell(&serial), before);

    fs::write(format!("{root}/server.pem"), &certificate).unwrap();
    server.signal("HUP").unwrap();
    server
        .wait_for("certificates were read anew", START)
        .unwrap();
    assert_ne!(bed.shell(&serial), before);

    fs::write(format!("{root}/done"), "").unwrap();
    let status = old.wait(Duration::from_secs(20)).unwrap();
    assert!(status.is_some_and(|status| status.success()));
    assert!(old.stdout().contains("TLS 1.3"), "{}", old.stdout());
    stop(server);
}

#[test]
fn a_server_is_not_held_up_by_those_that_never_shake_hands() {
    let bed = Bed::tap();
    let directory = Directory::new();
    authority(&directory);
    let root = directory.path();
    // Fewer places than there are silent clients: the oldest have to give way.
    let args = [
        "--port",
        "443",
        "--handshakes",
        "60",
        "--handshake-timeout",
        "2",
    ];
    let server = start(&bed, "06_tls_server", &directory, &args, "https on");
    let curl = format!("curl -sS -m 30 --cacert {root}/ca.pem https://198.18.0.2/tls");
    for host in HOSTS {
        let host = host.trim_matches(['[', ']']);
        let told = bed.shell(&format!(
            "{} {host} 443 100",
            peers::script("tls_strangers.py")
        ));
        assert_eq!(told, "all were let go\n");
    }
    let silent = format!(
        "exec {} 198.18.0.2 443 200 hold",
        peers::script("tls_strangers.py")
    );
    let mut silent = bed.netns().start(&["bash", "-c", &silent]).unwrap();
    silent.wait_for("200 say nothing", START).unwrap();
    assert!(bed.shell(&curl).starts_with("TLS 1.3"));
    // They are let go, each within its time.
    silent.wait_for("all were let go", START).unwrap();
    assert!(bed.shell(&curl).starts_with("TLS 1.3"));
    let figures = ended(server);
    for cause in ["malformed", "closed", "timeout", "evicted"] {
        let line = format!("dpdk_net_tls_{} Integer(0)", failures(cause));
        assert!(!figures.contains(&line), "{figures}");
    }
}

fn clients_are_known(bed: &Bed) {
    let directory = Directory::new();
    authority(&directory);
    let other = Authority::new("CA of a test");
    other.sign(&directory, "stranger", &["client.example"]);
    let root = directory.path();
    let ca = format!("{root}/ca.pem");
    for optional in [false, true] {
        let mut args = vec!["--ca", ca.as_str()];
        args.extend(optional.then_some("--optional"));
        let server = start(bed, "08_mutual_tls", &directory, &args, "mutual TLS on");
        for (host, version) in HOSTS.iter().zip(["-tls1_2", "-tls1_3"]) {
            let client = |own: &str| {
                let own = match own {
                    "" => String::new(),
                    own => format!("-cert {root}/{own}.pem -key {root}/{own}-key.pem"),
                };
                // Its input stays open until the answer is there, or it has gone without one.
                let (input, output) = (format!("{root}/input"), format!("{root}/output"));
                told(
                    bed,
                    &format!(
                        "rm -f {input}; mkfifo {input}; \
                         openssl s_client -quiet -no_ign_eof -connect '{host}:8443' \
                         -CAfile {ca} -verify_return_error {version} {own} <{input} >{output} 2>&1 & client=$!; \
                         trap '' PIPE; exec 3>{input}; echo good day >&3; \
                         until grep -q '^good day' {output} || ! kill -0 $client 2>/dev/null; do sleep 0.05; done; \
                         exec 3>&-; wait $client; cat {output}"
                    ),
                )
            };
            let (_, text) = client("client");
            assert!(text.contains("hello, client.example\ngood day\n"), "{text}");
            let (_, text) = client("stranger");
            assert!(text.contains("alert") && !text.contains("hello"), "{text}");
            let (_, text) = client("");
            match optional {
                true => assert!(text.contains("hello, whoever you are\n"), "{text}"),
                false => assert!(text.contains("alert") && !text.contains("hello"), "{text}"),
            }
        }
        stop(server);
    }
}

#[test]
fn clients_are_known_by_their_certificates() {
    clients_are_known(&Bed::tap());
}

#[test]
fn clients_are_known_where_one_frame_in_a_hundred_is_lost() {
    clients_are_known(&Bed::lossy(0.01));
}

/// What a client has written, once it has ended: whether well, stdout and stderr.
fn ended_client(mut client: Process) -> (bool, String, String) {
    let status = client.wait(Duration::from_secs(50)).unwrap();
    (
        status.is_some_and(|status| status.success()),
        client.stdout(),
        client.stderr(),
    )
}

/// `openssl s_server` with these arguments.
fn s_server(bed: &Bed, root: &str, port: u16, args: &str) -> Process {
    let command = format!(
        "exec openssl s_server -accept {port} -cert {root}/server.pem -key {root}/server-key.pem {args}"
    );
    let mut server = bed.netns().start(&["bash", "-c", &command]).unwrap();
    server.wait_for("ACCEPT", START).unwrap();
    server
}

fn client_fetches(bed: &Bed) {
    let directory = Directory::new();
    authority(&directory);
    let root = directory.path();
    let ca = format!("{root}/ca.pem");
    for (port, (host, (version, name))) in (4_433..).zip(
        KERNEL_HOSTS
            .iter()
            .zip([("-tls1_2", "TLS 1.2"), ("-tls1_3", "TLS 1.3")]),
    ) {
        let _server = s_server(bed, root, port, &format!("-www {version} -alpn ping,pong"));
        let port = port.to_string();
        let args = ["--ca", &ca, "--times", "2", "--alpn", "pong", host, &port];
        let (ok, page, told) = ended_client(bed.start("07_tls_client", &args));
        assert!(ok, "{told}");
        // Among what the log has to say of the device.
        let agreed = told.lines().filter(|line| line.starts_with("TLS "));
        let agreed: Vec<&str> = agreed.collect();
        assert_eq!(agreed.len(), 2, "{told}");
        assert!(
            agreed
                .iter()
                .all(|line| line.starts_with(name) && line.contains(", pong")),
            "{told}"
        );
        assert!(
            !agreed[0].ends_with("resumed") && agreed[1].ends_with(", resumed"),
            "{told}"
        );
        assert!(
            page.contains("New, TLSv1") && page.contains("Reused, TLSv1"),
            "{page}"
        );
    }
}

#[test]
fn the_client_fetches_from_openssl_and_resumes() {
    client_fetches(&Bed::tap());
}

#[test]
fn the_client_fetches_from_openssl_where_one_frame_in_a_hundred_is_lost() {
    client_fetches(&Bed::lossy(0.01));
}

#[test]
fn the_client_shows_its_certificate_and_trusts_nobody_else() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let authority = authority(&directory);
    authority.sign(&directory, "elsewhere", &["elsewhere.example"]);
    Authority::new("CA of a test").write(&directory, "other");
    let root = directory.path();
    let ca = format!("{root}/ca.pem");
    let _server = s_server(
        &bed,
        root,
        4433,
        &format!("-Verify 1 -verify_return_error -CAfile {ca} -rev"),
    );
    let own = shown(root, "client");
    let mut args: Vec<&str> = own.iter().map(String::as_str).collect();
    args.extend(["--ca", &ca, "--connect", "fd00:198:18::1", "--port", "4433"]);
    let (ok, answer, told) = ended_client(bed.start("08_mutual_tls", &args));
    assert!(ok, "{told}");
    assert_eq!(answer, "yad doog\n");

    let other = format!("{root}/other.pem");
    let args = ["--ca", &other, "198.18.0.1", "4433"];
    let (ok, _, told) = ended_client(bed.start("07_tls_client", &args));
    // rustls knows the name, and sees that the signature is not of that authority.
    assert!(!ok && told.contains("invalid peer certificate"), "{told}");

    fs::copy(
        format!("{root}/elsewhere.pem"),
        format!("{root}/server.pem"),
    )
    .unwrap();
    fs::copy(
        format!("{root}/elsewhere-key.pem"),
        format!("{root}/server-key.pem"),
    )
    .unwrap();
    let _server = s_server(&bed, root, 4434, "-www");
    let args = ["--ca", &ca, "198.18.0.1", "4434"];
    let (ok, _, told) = ended_client(bed.start("07_tls_client", &args));
    assert!(!ok && told.contains("not valid for name"), "{told}");
}

fn tokio_rustls_is_taken_unmodified(bed: &Bed) {
    let directory = Directory::new();
    certificates(&directory);
    let root = directory.path();
    let own = [
        "--certificate",
        &format!("{root}/cert.pem"),
        "--key",
        &format!("{root}/key.pem"),
    ];
    let mut server = bed.start("09_tokio_rustls", &own);
    server.wait_for("echo over TLS", START).unwrap();
    let sent = bed.shell("seq 100000 | sha256sum");
    for host in HOSTS {
        let socat = format!(
            "seq 100000 | socat -t 10 - 'OPENSSL:{host}:8443,cafile={root}/ca.pem,commonname=,no-sni' | sha256sum"
        );
        assert_eq!(bed.shell(&socat), sent, "{host}");
    }
    stop(server);
    for (port, host) in [(9000, "198.18.0.1"), (9001, "fd00:198:18::1")] {
        // The device and its address come with the client.
        let args = format!("{port} {root}/cert.pem {root}/key.pem");
        let _echo = peers::start(bed, "tls_echo.py", &args);
        let ca = format!("{root}/ca.pem");
        let port = port.to_string();
        let client = bed.start(
            "09_tokio_rustls",
            &["--connect", host, "--port", &port, "--ca", &ca],
        );
        let (ok, text, told) = ended_client(client);
        assert!(ok, "{told}");
        assert_eq!(text, "1048576 bytes came back\n");
    }
}

#[test]
fn tokio_rustls_talks_to_openssl_over_our_sockets() {
    tokio_rustls_is_taken_unmodified(&Bed::tap());
}

#[test]
fn tokio_rustls_talks_to_openssl_where_one_frame_in_a_hundred_is_lost() {
    tokio_rustls_is_taken_unmodified(&Bed::lossy(0.01));
}
