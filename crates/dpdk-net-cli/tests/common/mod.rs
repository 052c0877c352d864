//! A demo in a network namespace of its own, as root there: what the tests of the program share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod captured;
pub(crate) mod configured;
pub(crate) mod pty;

use std::time::Duration;

use dpdk_net_testkit::bed::{Netns, Output, Process, file_prefix, run};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_dpdk-net");
/// The demo's last line at start.
pub(crate) const READY: &str = "Ready. Ctrl-C ends it";
/// Time that the start may take on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Time that a client may take.
pub(crate) const CLIENT: Duration = Duration::from_secs(120);

/// A running demo and the namespace with its kernel side.
pub(crate) struct Demo {
    /// Dropped first: it lives in the namespace.
    pub(crate) process: Process,
    pub(crate) netns: Netns,
    pub(crate) file_prefix: String,
}

impl Demo {
    /// Starts it with these arguments and waits until it serves.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(Netns::new().unwrap(), args)
    }

    /// The same in a namespace that is there.
    pub(crate) fn start_in(netns: Netns, args: &[&str]) -> Self {
        let file_prefix = file_prefix();
        let command = [&[PROGRAM, "demo", "--file-prefix", &file_prefix], args].concat();
        let mut process = netns.start(&command).unwrap();
        process.wait_for(READY, START).unwrap();
        Self {
            process,
            netns,
            file_prefix,
        }
    }

    /// What a shell script prints on the kernel's side; the test fails if the script does.
    pub(crate) fn shell(&self, script: &str) -> String {
        shell(&self.netns, script)
    }

    /// Ends it by a signal; gives what it printed on stderr. The test fails unless it exits with 0.
    pub(crate) fn end(&mut self, signal: &str) -> String {
        self.process.signal(signal).unwrap();
        let status = self.process.wait(Duration::from_secs(20)).unwrap();
        let status = status.expect("it ends within 20 s of the signal");
        assert!(status.success(), "{status}: {}", self.process.stderr());
        self.process.stderr()
    }

    /// The test fails if anything of the demo is left in its namespace or in DPDK's directory.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(interfaces(&self.netns), ["lo"]);
        let directory = format!("/var/run/dpdk/{}", self.file_prefix);
        assert!(
            !std::path::Path::new(&directory).exists(),
            "{directory} is left"
        );
    }
}

/// Runs a script in a namespace; the test fails unless it exits with 0.
pub(crate) fn shell(netns: &Netns, script: &str) -> String {
    netns
        .run(&["bash", "-o", "pipefail", "-ec", script], CLIENT)
        .unwrap()
        .text()
}

/// The interfaces of a namespace, in the kernel's order.
pub(crate) fn interfaces(netns: &Netns) -> Vec<String> {
    let listing = netns.ip(&["-brief", "link", "show"]).unwrap().text();
    listing
        .lines()
        .filter_map(|line| Some(line.split([' ', '@']).next()?.to_owned()))
        .collect()
}

/// Runs a command that is to fail; gives its exit code and what it wrote to stderr.
pub(crate) fn refused(command: &[&str]) -> (i32, String) {
    let mut process = Process::start(command).unwrap();
    let status = process
        .wait(START)
        .unwrap()
        .unwrap_or_else(|| panic!("{command:?} runs on"));
    // What was written last may still be on its way through the pipe.
    std::thread::sleep(Duration::from_millis(50));
    (status.code().unwrap_or(-1), process.stderr())
}

/// Whether this is the machine's root, and not that of a user namespace which knows no other users.
pub(crate) fn knows_other_users() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().nth(2) == Some("4294967295"))
}

/// A copy of the program that every user can run, in a directory that is removed on drop.
pub(crate) fn public_copy() -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody.clone()).unwrap();
    let copy = directory.path().join("dpdk-net");
    std::fs::copy(PROGRAM, &copy).unwrap();
    std::fs::set_permissions(&copy, everybody).unwrap();
    let path = copy.to_str().unwrap().to_owned();
    (directory, path)
}

/// A command as the user `nobody`.
pub(crate) const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
];

/// Runs a command to its end outside any namespace of the tests.
pub(crate) fn output(command: &[&str]) -> Output {
    run(command, CLIENT).unwrap()
}
