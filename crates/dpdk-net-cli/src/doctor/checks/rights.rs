//! Root, capabilities, user namespaces, and how much memory may be locked.

use super::MEMORY;
use crate::demo::namespace;
use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::process::{self, CAP_IPC_LOCK, CAP_NET_RAW, Process};

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let Some(process) = Process::read(machine) else {
        return vec![
            Finding::error("rights", &Use::ALL, "/proc/self/status is out of reach")
                .means("Mount /proc: DPDK reads it too.")
                .mend("mount -t proc proc /proc"),
        ];
    };
    let mut findings = if process.is_root() {
        vec![root(&process)]
    } else {
        user(machine, &process)
    };
    findings.push(locked_memory(machine, &process));
    findings
}

fn root(process: &Process) -> Finding {
    const CHECK: &str = "rights";
    if process.is_network_admin() && process.has(CAP_NET_RAW) {
        Finding::ok(CHECK, "root")
    } else {
        Finding::error(
            CHECK,
            &Use::ALL,
            "root without CAP_NET_ADMIN or CAP_NET_RAW",
        )
        .means("A container took them away: start it with --cap-add NET_ADMIN --cap-add NET_RAW.")
    }
}

fn user(machine: &Machine, process: &Process) -> Vec<Finding> {
    const CHECK: &str = "rights";
    let switches = namespace::switches_in_the_way(machine);
    let tap = if !machine.has_program("unshare") {
        Finding::error(
            CHECK,
            &[Use::Tap],
            "no `unshare`, which makes the demo a namespace of its own",
        )
        .means("The demo needs it where it is not root.")
        .mend("apt-get install util-linux")
    } else if switches.is_empty() {
        Finding::ok(
            CHECK,
            "user namespaces are allowed: the demo makes one of its own",
        )
    } else {
        Finding::error(CHECK, &[Use::Tap], "user namespaces are forbidden")
            .means("Without root the demo runs in one of its own. Allow them, or run it as root.")
            .mend(switches.join("\n"))
    };
    let uid = process.uid;
    let devices = Finding::error(
        CHECK,
        &[Use::Nic, Use::AfXdp],
        format!("this is user {uid}, not root"),
    )
    .means("Interfaces of the machine and NICs take root.")
    .mend("sudo dpdk-net doctor --for nic");
    vec![tap, devices]
}

/// What NICs and AF_XDP read and write is locked in memory.
fn locked_memory(machine: &Machine, process: &Process) -> Finding {
    const CHECK: &str = "memlock";
    match process::locked_memory(machine) {
        _ if process.has(CAP_IPC_LOCK) => Finding::ok(CHECK, "no limit: CAP_IPC_LOCK"),
        None => Finding::ok(CHECK, "no limit"),
        Some(limit) if limit >= MEMORY => Finding::ok(CHECK, format!("{} MiB may be locked", limit >> 20)),
        Some(limit) => Finding::warning(
            CHECK,
            &[Use::Nic, Use::AfXdp],
            format!("{} KiB may be locked", limit >> 10),
        )
        .means("What a NIC or AF_XDP reads and writes is locked in memory: all of DPDK's. For a systemd service: \
                LimitMEMLOCK=infinity.")
        .mend("ulimit -l unlimited"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect::expect;
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    #[test]
    fn a_user_has_tap_by_a_namespace_and_nothing_else() {
        let fake = Fake::good();
        fake.process(1000, 0, "0-7");
        expect(
            &fake,
            "rights",
            Use::Tap,
            Level::Ok,
            "namespaces are allowed",
            "",
        );
        expect(
            &fake,
            "rights",
            Use::Nic,
            Level::Error,
            "user 1000",
            "sudo dpdk-net doctor",
        );
        expect(&fake, "rights", Use::AfXdp, Level::Error, "user 1000", "");
        fake.file("/proc/sys/user/max_user_namespaces", "0");
        let command = "sysctl -w user.max_user_namespaces=10000";
        expect(
            &fake,
            "rights",
            Use::Tap,
            Level::Error,
            "forbidden",
            command,
        );
        fake.without("/usr/bin/unshare");
        expect(
            &fake,
            "rights",
            Use::Tap,
            Level::Error,
            "unshare",
            "util-linux",
        );
    }

    #[test]
    fn root_in_a_container_may_lack_the_capability() {
        let fake = Fake::good();
        fake.process(0, 0, "0-7");
        expect(&fake, "rights", Use::Tap, Level::Error, "CAP_NET_ADMIN", "");
        fake.without("/proc/self/status");
        expect(
            &fake,
            "rights",
            Use::Tap,
            Level::Error,
            "/proc/self/status",
            "mount",
        );
    }

    #[test]
    fn little_lockable_memory_is_warned_about() {
        let fake = Fake::good();
        fake.process(1000, 0, "0-7").memlock("65536");
        expect(
            &fake,
            "memlock",
            Use::Nic,
            Level::Warning,
            "64 KiB",
            "ulimit -l unlimited",
        );
        expect(&fake, "memlock", Use::Tap, Level::Note, "64 KiB", "");
        fake.memlock("8589934592");
        expect(&fake, "memlock", Use::Nic, Level::Ok, "8192 MiB", "");
        fake.process(0, u64::MAX, "0-7").memlock("65536");
        expect(&fake, "memlock", Use::Nic, Level::Ok, "CAP_IPC_LOCK", "");
    }
}
