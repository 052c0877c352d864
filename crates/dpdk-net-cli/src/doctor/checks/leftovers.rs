//! What DPDK programs that were killed left behind: runtime directories, and hugepages that files still hold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::hugepages;
use crate::machine::locks::InUse;

const CHECK: &str = "leftovers";

/// How many directories one command removes.
const AT_ONCE: usize = 8;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let Some(in_use) = InUse::read(machine) else {
        return vec![Finding::note(
            CHECK,
            "cannot tell what is in use: /proc/locks or /proc/net/unix is out of reach",
        )];
    };
    let mut findings: Vec<Finding> = pages(machine, &in_use);
    findings.extend(directories(machine, &in_use));
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("none in {}", machine.runtime.display()),
        ));
    }
    findings
}

/// A running program holds a lock on its shared configuration, or has a socket in its directory. Those that keep no
/// files have an empty one, which takes nothing and is not told apart from a forgotten one.
fn directories(machine: &Machine, in_use: &InUse) -> Option<Finding> {
    let runtime = &machine.runtime;
    let left: Vec<String> = machine
        .names(runtime)
        .into_iter()
        .filter(|prefix| is_plain(prefix))
        .filter(|prefix| {
            let directory = runtime.join(prefix);
            let has_files = !machine.names(&directory).is_empty();
            // /run and /var/run are one, and the kernel may know a socket by either name.
            let lives = in_use.is_locked(&machine.at(directory.join("config")))
                || aliases(&directory)
                    .iter()
                    .any(|path| in_use.has_socket_below(path));
            has_files && !lives
        })
        .collect();
    let first = left.first()?;
    let shown = runtime.display();
    let what = match left.len() {
        1 => format!("{shown}/{first} is of a program that has ended"),
        count => format!(
            "{count} directories in {shown} are of programs that have ended, {first} among them"
        ),
    };
    let some: Vec<String> = left
        .iter()
        .take(AT_ONCE)
        .map(|prefix| format!("{shown}/{prefix}"))
        .collect();
    let rest = if left.len() > AT_ONCE {
        " The first of them, and so on:"
    } else {
        ""
    };
    Some(
        Finding::note(CHECK, what)
            .means(format!(
                "They take little, and DPDK uses one again when a program of that prefix starts.{rest}"
            ))
            .mend(format!("rm -r {}", some.join(" "))),
    )
}

/// Whether a name can be a file prefix that needs no quoting. Others are not put into commands: some of these
/// directories are open to everybody.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().all(plain) && !name.starts_with(['-', '.'])
}

fn aliases(directory: &Path) -> Vec<PathBuf> {
    let other = [("/var/run", "/run"), ("/run", "/var/run")]
        .into_iter()
        .find_map(|(from, to)| Some(Path::new(to).join(directory.strip_prefix(from).ok()?)));
    [Some(directory.to_owned()), other]
        .into_iter()
        .flatten()
        .collect()
}

/// `PREFIXmap_N` on hugetlbfs: their pages stay taken until a program of that prefix starts, or for ever.
fn pages(machine: &Machine, in_use: &InUse) -> Vec<Finding> {
    let abandoned = |directory: &String| -> Option<Finding> {
        let mut bytes = 0_u64;
        let mut first = None;
        for name in machine.names(directory) {
            let file = machine.at(Path::new(directory).join(&name));
            let is_dpdk = name
                .rsplit_once("map_")
                .is_some_and(|(_, number)| number.parse::<u32>().is_ok());
            if is_dpdk && is_plain(&name) && !in_use.is_locked(&file) {
                bytes =
                    bytes.saturating_add(fs::metadata(&file).map_or(0, |metadata| metadata.len()));
                first.get_or_insert(name);
            }
        }
        let first = first?;
        let prefix = first
            .rsplit_once("map_")
            .map_or(first.as_str(), |(prefix, _)| prefix);
        Some(
            Finding::warning(
                CHECK,
                &[Use::Nic],
                format!(
                    "{} MiB of hugepages are held by files of programs that have ended",
                    bytes >> 20
                ),
            )
            .means("They are not free until the files go, or a program of the same prefix starts.")
            .mend(format!("rm {directory}/{prefix}map_*")),
        )
    };
    hugepages::mounts(machine)
        .iter()
        .filter_map(abandoned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::expect::expect;
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    #[test]
    fn a_directory_whose_program_has_ended_is_noted() {
        let fake = Fake::good();
        fake.directory("/run/dpdk/empty");
        expect(
            &fake,
            "leftovers",
            Use::Tap,
            Level::Ok,
            "none in /run/dpdk",
            "",
        );
        fake.file("/run/dpdk/old/config", "")
            .file("/run/dpdk/serves/dpdk_telemetry.v2", "")
            .file("/run/dpdk/works/config", "")
            .file(
                "/proc/net/unix",
                "Num ...\n0: 2 0 10000 5 1 99 /var/run/dpdk/serves/dpdk_telemetry.v2\n",
            );
        let inode = std::fs::metadata(fake.at("/run/dpdk/works/config"))
            .unwrap()
            .ino();
        fake.file(
            "/proc/locks",
            &format!("1: POSIX  ADVISORY  WRITE 77 00:19:{inode} 0 EOF\n"),
        );
        expect(
            &fake,
            "leftovers",
            Use::Tap,
            Level::Note,
            "/run/dpdk/old is of",
            "rm -r /run/dpdk/old",
        );
        fake.file("/run/dpdk/older/config", "")
            .file("/run/dpdk/$(reboot)/config", "");
        expect(
            &fake,
            "leftovers",
            Use::Tap,
            Level::Note,
            "2 directories",
            "rm -r /run/dpdk/old /run/dpdk/older",
        );
    }

    #[test]
    fn hugepages_that_files_hold_are_warned_about() {
        let fake = Fake::good();
        fake.file("/dev/hugepages/demomap_0", &"x".repeat(3 << 20))
            .file("/dev/hugepages/other", "");
        expect(
            &fake,
            "leftovers",
            Use::Nic,
            Level::Warning,
            "3 MiB of hugepages",
            "rm /dev/hugepages/demomap_*",
        );
        let inode = std::fs::metadata(fake.at("/dev/hugepages/demomap_0"))
            .unwrap()
            .ino();
        fake.file(
            "/proc/locks",
            &format!("1: FLOCK  ADVISORY  READ 77 00:19:{inode} 0 EOF\n"),
        );
        expect(&fake, "leftovers", Use::Nic, Level::Ok, "none", "");
    }

    #[test]
    fn without_locks_nothing_is_called_left() {
        let fake = Fake::good();
        fake.file("/run/dpdk/old/config", "").without("/proc/locks");
        expect(&fake, "leftovers", Use::Nic, Level::Note, "cannot tell", "");
    }
}
