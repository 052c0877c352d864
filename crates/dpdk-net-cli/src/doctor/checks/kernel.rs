//! What the kernel can do, the clock it trusts, and the programs that set interfaces up.

use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::tun;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let release = machine
        .text("/proc/sys/kernel/osrelease")
        .unwrap_or_else(|| "of an unknown release".into());
    let mut findings = vec![Finding::ok("kernel", format!("Linux {release}"))];
    findings.push(tap(machine));
    findings.push(af_xdp(machine));
    findings.push(veth(machine, &release));
    findings.extend(programs(machine));
    findings.push(clock(machine));
    findings
}

fn tap(machine: &Machine) -> Finding {
    const CHECK: &str = "tun";
    match tun::check(machine) {
        Ok(()) => Finding::ok(CHECK, format!("{} can be opened", tun::TUN)),
        Err(failure) => {
            let there = machine.exists(tun::TUN);
            let command = if there {
                "chmod 0666 /dev/net/tun"
            } else {
                "modprobe tun"
            };
            Finding::error(CHECK, &[Use::Tap], failure.what())
                .means("In a container: start it with --device /dev/net/tun --cap-add NET_ADMIN.")
                .mend(command)
        }
    }
}

/// The protocols that sockets can be made of are listed by name; AF_XDP is built in or absent (CONFIG_XDP_SOCKETS).
fn af_xdp(machine: &Machine) -> Finding {
    const CHECK: &str = "af_xdp";
    match machine.text("/proc/net/protocols") {
        Some(protocols) if protocols.lines().any(|line| line.starts_with("XDP ")) => {
            Finding::ok(CHECK, "the kernel has AF_XDP")
        }
        Some(_) => Finding::error(CHECK, &[Use::AfXdp], "the kernel has no AF_XDP")
            .means("It takes Linux 4.18 or later with CONFIG_XDP_SOCKETS; af_packet does without."),
        None => Finding::warning(
            CHECK,
            &[Use::AfXdp],
            "cannot tell: /proc/net/protocols is out of reach",
        )
        .means("Where /proc is restricted, only trying shows."),
    }
}

fn veth(machine: &Machine, release: &str) -> Finding {
    const CHECK: &str = "veth";
    let listed = |file: &str| {
        let path = format!("/lib/modules/{release}/{file}");
        machine.text(path).map(|text| text.contains("/veth.ko"))
    };
    if machine.exists("/sys/module/veth") || listed("modules.builtin") == Some(true) {
        return Finding::ok(CHECK, "the kernel has veth");
    }
    match listed("modules.dep") {
        Some(true) => Finding::ok(CHECK, "the kernel loads veth when it is asked for"),
        Some(false) => Finding::note(CHECK, "the kernel has no veth")
            .means("`dpdk-net demo --device veth` takes it."),
        None => Finding::note(
            CHECK,
            "cannot tell whether the kernel has veth: it lists no modules",
        )
        .means("`dpdk-net demo --device veth` takes it."),
    }
}

fn programs(machine: &Machine) -> Vec<Finding> {
    const CHECK: &str = "programs";
    let wanted: [(&str, &str, &'static [Use], &str); 2] = [
        (
            "ip",
            "iproute2",
            &[Use::Tap, Use::AfXdp],
            "It gives the kernel's end of the device its addresses.",
        ),
        (
            "ethtool",
            "ethtool",
            &[],
            "It switches offloads off on veth, and sets the queues for af_xdp.",
        ),
    ];
    let missing: Vec<Finding> = wanted
        .into_iter()
        .filter(|(name, ..)| !machine.has_program(name))
        .map(|(name, package, uses, meaning)| {
            Finding::error(CHECK, uses, format!("`{name}` is not installed"))
                .means(meaning)
                .mend(format!("apt-get install {package}"))
        })
        .collect();
    if missing.is_empty() {
        vec![Finding::ok(CHECK, "ip and ethtool are installed")]
    } else {
        missing
    }
}

/// DPDK reads the time stamp counter itself: what the kernel does not trust, it should not either.
fn clock(machine: &Machine) -> Finding {
    const CHECK: &str = "clock";
    let clock = "/sys/devices/system/clocksource/clocksource0";
    match machine
        .text(format!("{clock}/current_clocksource"))
        .as_deref()
    {
        Some(name @ ("tsc" | "arch_sys_counter")) => {
            Finding::ok(CHECK, format!("clock source {name}"))
        }
        Some(name) => {
            let available = machine.text(format!("{clock}/available_clocksource"));
            let has_tsc = available.is_some_and(|names| names.split(' ').any(|name| name == "tsc"));
            let finding = Finding::note(CHECK, format!("clock source {name}")).means(
                "DPDK reads the CPU's counter. On a virtual machine that is usual; on hardware the kernel has \
                 found the counter wrong, and then timers of TCP are wrong too.",
            );
            if has_tsc {
                finding.mend(format!("echo tsc > {clock}/current_clocksource"))
            } else {
                finding
            }
        }
        None => Finding::note(CHECK, "cannot tell the clock source: /sys is out of reach"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect::expect;
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    #[test]
    fn tap_takes_the_tun_driver() {
        let fake = Fake::good();
        fake.without("/dev/net/tun");
        expect(
            &fake,
            "tun",
            Use::Tap,
            Level::Error,
            "missing",
            "modprobe tun",
        );
        expect(&fake, "tun", Use::Nic, Level::Note, "missing", "");
        fake.directory("/dev/net/tun");
        expect(
            &fake,
            "tun",
            Use::Tap,
            Level::Error,
            "cannot be opened",
            "chmod 0666",
        );
    }

    #[test]
    fn af_xdp_is_a_protocol_of_the_kernel() {
        let fake = Fake::good();
        fake.file("/proc/net/protocols", "protocol  size\nTCP  2304\n");
        expect(&fake, "af_xdp", Use::AfXdp, Level::Error, "no AF_XDP", "");
        fake.without("/proc/net/protocols");
        expect(
            &fake,
            "af_xdp",
            Use::AfXdp,
            Level::Warning,
            "cannot tell",
            "",
        );
    }

    #[test]
    fn veth_is_loaded_built_in_loadable_absent_or_unknown() {
        let fake = Fake::good();
        fake.without("/sys/module/veth");
        expect(&fake, "veth", Use::Tap, Level::Note, "cannot tell", "");
        let modules = "/lib/modules/6.1.0-28-amd64";
        fake.file(
            &format!("{modules}/modules.dep"),
            "kernel/drivers/net/tun.ko:\n",
        );
        expect(&fake, "veth", Use::Tap, Level::Note, "no veth", "");
        fake.file(
            &format!("{modules}/modules.dep"),
            "kernel/drivers/net/veth.ko.xz:\n",
        );
        expect(&fake, "veth", Use::Tap, Level::Ok, "loads veth", "");
        fake.file(
            &format!("{modules}/modules.builtin"),
            "kernel/drivers/net/veth.ko\n",
        );
        expect(&fake, "veth", Use::Tap, Level::Ok, "has veth", "");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let fake = Fake::good();
        fake.without("/usr/bin/ip").without("/usr/bin/ethtool");
        expect(
            &fake,
            "programs",
            Use::Tap,
            Level::Error,
            "`ip`",
            "apt-get install iproute2",
        );
        expect(
            &fake,
            "programs",
            Use::Tap,
            Level::Note,
            "`ethtool`",
            "apt-get install ethtool",
        );
    }

    #[test]
    fn a_clock_source_other_than_the_counter_is_noted() {
        let fake = Fake::good();
        let clock = "/sys/devices/system/clocksource/clocksource0";
        fake.file(&format!("{clock}/current_clocksource"), "hpet");
        expect(&fake, "clock", Use::Tap, Level::Note, "hpet", "echo tsc >");
        fake.file(&format!("{clock}/available_clocksource"), "hpet acpi_pm");
        expect(&fake, "clock", Use::Tap, Level::Note, "hpet", "");
        fake.without(clock);
        expect(&fake, "clock", Use::Tap, Level::Note, "cannot tell", "");
    }
}
