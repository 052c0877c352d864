//! The demo as a user without rights: in a namespace of its own, reached by the command that it prints.

mod common;

use std::time::Duration;

use common::{AS_NOBODY, READY, START, output, public_copy, refused};
use dpdk_net_testkit::bed::{Process, file_prefix};

#[test]
fn without_root_the_printed_commands_reach_it_and_nothing_is_left() {
    if !common::knows_other_users() {
        eprintln!("skipped: this user namespace has one user only; as root the test runs");
        return;
    }
    let (_directory, program) = public_copy();
    let prefix = file_prefix();
    let command = [
        &AS_NOBODY[..],
        &[&program, "demo", "--file-prefix", &prefix],
    ]
    .concat();
    let mut demo = Process::start(&command).unwrap();
    demo.wait_for(READY, START).unwrap();
    assert_eq!(demo.stderr(), "", "nothing is complained about");

    let printed = demo.stdout();
    let command_with = |what: &str| {
        let line = printed
            .lines()
            .map(str::trim)
            .find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no command with {what}: {printed}"))
            .to_owned()
    };
    let as_printed = |line: &str| {
        let command = [&AS_NOBODY[..], &["bash", "-ec", line]].concat();
        output(&command).text()
    };
    let curl = command_with("curl http://198.18.0.2/");
    assert!(
        curl.starts_with(&format!(
            "nsenter --target {} --user --net --preserve-credentials curl",
            demo.pid()
        )),
        "{curl}"
    );
    assert!(as_printed(&curl).contains("<title>dpdk-net</title>"));
    for family in ["ping -c 3 198.18.0.2", "ping -c 3 fd00:198:18::2"] {
        let report = as_printed(&command_with(family));
        assert!(report.contains(" 0% packet loss"), "{report}");
    }
    let top = command_with("dpdk-net top --socket ");
    let socket = top.split_whitespace().nth(3).unwrap();
    let stats = [&AS_NOBODY[..], &[&program, "stats", "--socket", socket]].concat();
    assert!(output(&stats).text().contains("rx_frames"));
    let outside = output(&["ip", "-brief", "link", "show"]).text();
    assert!(
        !outside.contains("dpdk-net0"),
        "nothing of it is outside: {outside}"
    );

    demo.signal("INT").unwrap();
    let status = demo
        .wait(Duration::from_secs(20))
        .unwrap()
        .expect("Ctrl-C ends it");
    assert!(status.success(), "{status}: {}", demo.stderr());
    let made = std::path::Path::new(socket).parent().unwrap();
    assert!(!made.exists(), "{} is left", made.display());
    for directory in ["/tmp/dpdk", "/run/dpdk"] {
        let left = std::path::Path::new(directory).join(&prefix);
        assert!(!left.exists(), "{} is left", left.display());
    }
}

#[test]
fn a_device_that_takes_root_says_so() {
    if !common::knows_other_users() {
        eprintln!("skipped: this user namespace has one user only; as root the test runs");
        return;
    }
    let (_directory, program) = public_copy();
    let (code, text) = refused(
        &[
            &AS_NOBODY[..],
            &[&program, "demo", "--device", "af_packet=lo"],
        ]
        .concat(),
    );
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("takes root") && text.contains("sudo"),
        "{text}"
    );
}

#[test]
fn where_user_namespaces_are_forbidden_the_message_says_what_to_do() {
    if !common::knows_other_users() {
        eprintln!("skipped: this user namespace has one user only; as root the test runs");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let (directory, program) = public_copy();
    // Stands in for a kernel that refuses, with util-linux' own words.
    let refusing = directory.path().join("unshare");
    std::fs::write(
        &refusing,
        "#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&refusing, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "PATH={}:/usr/sbin:/usr/bin:/sbin:/bin",
        directory.path().display()
    );
    let (code, text) = refused(&[&AS_NOBODY[..], &["env", &path, &program, "demo"]].concat());
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("user namespaces are forbidden") && text.contains("not permitted"),
        "{text}"
    );
    assert!(text.contains("sudo"), "{text}");
}
