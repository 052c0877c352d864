//! Each script of this crate, with IPv4, IPv6 and IPv4 through an IPv6 socket unless it says which.

mod runner;

use std::collections::BTreeSet;
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

fn play(name: &str) {
    let path = directory().join(format!("{name}.pkt"));
    let text = std::fs::read_to_string(&path).expect("the script can be read");
    for family in runner::families(&text) {
        if let Err(error) = runner::run(&text, family) {
            panic!("{} with {family:?}: {error}", path.display());
        }
    }
}

macro_rules! scripts {
    ($($test:ident: $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                play($name);
            }
        )*
    };
}

scripts! {
    active_close: "active-close",
    blocking_accept_read: "blocking-accept-read",
    blocking_connect: "blocking-connect",
    challenge_ack: "challenge-ack",
    close_unread: "close-unread",
    connect: "connect",
    connect_refused: "connect-refused",
    delayed_ack: "delayed-ack",
    dsack: "dsack",
    ecn: "ecn",
    fast_retransmit_dupack: "fast-retransmit-dupack",
    fast_retransmit_sack: "fast-retransmit-sack",
    half_close: "half-close",
    handshake: "handshake",
    initial_window: "initial-window",
    keepalive: "keepalive",
    linger_zero: "linger-zero",
    nagle: "nagle",
    no_listener: "no-listener",
    passive_close: "passive-close",
    path_mtu_v4: "path-mtu-v4",
    path_mtu_v6: "path-mtu-v6",
    paws: "paws",
    shutdown_read: "shutdown-read",
    simultaneous_close: "simultaneous-close",
    simultaneous_open: "simultaneous-open",
    syn_ack_again: "syn-ack-again",
    tail_loss_and_back_off: "tail-loss-and-back-off",
    time_wait_reuse: "time-wait-reuse",
    user_timeout: "user-timeout",
    window_scale: "window-scale",
    zero_window: "zero-window",
}

#[test]
fn no_script_is_left_out() {
    let listed: BTreeSet<String> = NAMES.iter().map(|name| format!("{name}.pkt")).collect();
    let present: BTreeSet<String> = std::fs::read_dir(directory())
        .expect("the directory of scripts")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(listed, present);
}

/// What a runner is worth that finds nothing wrong: each of these must fail, and say why.
#[test]
fn a_script_that_is_wrong_is_found_out() {
    let start = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n\
                 +0 < S 0:0(0) win 1000 <mss 1000>\n";
    let established = format!(
        "{start}+0 > S. 0:0(0) ack 1 <...>\n+.1 < . 1:1(0) ack 1 win 1000\n+0 accept(3, ..., ...) = 4\n"
    );
    for (script, part) in [
        (format!("{start}+0 > . 1:1(0) ack 1\n"), "the flags"),
        (
            format!("{start}+0 > S. 0:0(0) ack 2 <...>\n"),
            "the acknowledgment",
        ),
        (
            format!("{start}+0 > S. 0:0(0) ack 1 <mss 1461>\n"),
            "the options",
        ),
        (
            format!("{start}+0 > S. 0:0(0) ack 1 win 3 <...>\n"),
            "the window",
        ),
        (
            format!("{start}+.5 > S. 0:0(0) ack 1 <...>\n"),
            "expected at 0.5",
        ),
        (start.to_string(), "a packet that the script does not have"),
        (
            format!("{established}+0 read(4, ..., 10) = 5\n"),
            "returns -1",
        ),
        (
            format!("{established}+0 write(4, ..., 10) = 10\n+0 > P. 1:10(9) ack 1\n"),
            "the length",
        ),
        (
            format!("{established}+0 write(4, ..., 10) = 10\n+0 > . 1:11(10) ack 1\n"),
            "the flags",
        ),
        (
            format!("{established}+0 %{{ assert tcpi_state == 2 }}%\n"),
            "tcpi_state is 1",
        ),
        (
            format!(
                "{established}+0...0.2 read(4, ..., 10) = 10\n+.1 < . 1:11(10) ack 1 win 1000\n\
                     +0 > . 1:1(0) ack 11\n+.1 close(4) = 0\n"
            ),
            "should return at",
        ),
        ("0 frobnicate() = 0\n".into(), "not known"),
    ] {
        let result = runner::run(&script, runner::Family::V4);
        let error = result.expect_err(&script);
        assert!(error.contains(part), "{script}\n{error}");
    }
}
