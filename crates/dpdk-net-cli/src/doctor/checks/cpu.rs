//! CPUs: how many, and what disturbs one that polls. Hints, for those who measure.

use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::process::Process;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let cpus = Process::read(machine).map_or_else(Vec::new, |process| process.cpus);
    vec![
        count(&cpus),
        isolation(machine, &cpus),
        governor(machine, &cpus),
        threads(machine),
    ]
}

fn count(cpus: &[u32]) -> Finding {
    const CHECK: &str = "cpus";
    match cpus.len() {
        0 => Finding::note(CHECK, "cannot tell which CPUs this process may use"),
        1 => Finding::warning(CHECK, &Use::ALL, "this process may use one CPU only")
            .means("It polls all the time, and what else runs there waits. Allow it another (taskset, cpuset, --cpus)."),
        count => Finding::ok(CHECK, format!("{count} may be used")),
    }
}

fn isolation(machine: &Machine, cpus: &[u32]) -> Finding {
    const CHECK: &str = "isolation";
    let isolated = machine
        .text("/sys/devices/system/cpu/isolated")
        .unwrap_or_default();
    if !isolated.is_empty() {
        return Finding::ok(CHECK, format!("CPUs {isolated} are isolated"));
    }
    let finding = Finding::note(CHECK, "no CPU is isolated");
    match cpus {
        [_, .., last] => finding.means(format!(
            "The kernel runs other tasks where a worker polls, which shows in the slowest requests. To keep CPU {last} \
             for polling, boot with isolcpus={last} nohz_full={last} rcu_nocbs={last}."
        )),
        _ => finding.means("With one CPU there is none to set aside."),
    }
}

fn governor(machine: &Machine, cpus: &[u32]) -> Finding {
    const CHECK: &str = "frequency";
    let mut governors: Vec<String> = cpus
        .iter()
        .filter_map(|cpu| {
            machine.text(format!(
                "/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
            ))
        })
        .collect();
    governors.sort();
    governors.dedup();
    match governors.as_slice() {
        [] => Finding::ok(CHECK, "not governed by this kernel"),
        [one] if one == "performance" => Finding::ok(CHECK, "governor performance"),
        several => Finding::note(CHECK, format!("governor {}", several.join(", ")))
            .means("A CPU that was idle starts slow.")
            .mend("cpupower frequency-set --governor performance"),
    }
}

fn threads(machine: &Machine) -> Finding {
    const CHECK: &str = "smt";
    match machine.number("/sys/devices/system/cpu/smt/active") {
        Some(1) => Finding::note(CHECK, "two threads share a core")
            .means("A worker and what runs on the other thread of its core take from each other. Which ones go together:")
            .mend("cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list"),
        _ => Finding::ok(CHECK, "a CPU is a core"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect::{expect, found};
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    #[test]
    fn one_cpu_is_too_few() {
        let fake = Fake::good();
        fake.process(0, u64::MAX, "3");
        expect(&fake, "cpus", Use::Tap, Level::Warning, "one CPU only", "");
        fake.process(0, u64::MAX, "0-1");
        expect(&fake, "cpus", Use::Tap, Level::Ok, "2 may be used", "");
    }

    #[test]
    fn what_disturbs_a_polling_cpu_is_noted() {
        let fake = Fake::good();
        let cpu = "/sys/devices/system/cpu";
        fake.file(&format!("{cpu}/isolated"), "\n")
            .file(&format!("{cpu}/smt/active"), "1")
            .file(&format!("{cpu}/cpu5/cpufreq/scaling_governor"), "powersave");
        expect(
            &fake,
            "isolation",
            Use::Nic,
            Level::Note,
            "no CPU is isolated",
            "",
        );
        let isolation = found(&fake, "isolation", Use::Nic);
        assert!(
            isolation[0]
                .1
                .meaning
                .as_ref()
                .unwrap()
                .contains("isolcpus=7")
        );
        expect(
            &fake,
            "smt",
            Use::Nic,
            Level::Note,
            "share a core",
            "thread_siblings_list",
        );
        expect(
            &fake,
            "frequency",
            Use::Nic,
            Level::Note,
            "performance, powersave",
            "cpupower",
        );
    }
}
