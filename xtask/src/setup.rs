//! `setup`: what a machine needs to build and test dpdk-net, and nothing that it already has.
//!
//! Packages are looked up with `dpkg-query` and only the missing ones are installed, through `sudo`
//! where the user is not root. Every command is shown before it runs.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, Usage};

/// A Debian package and the reason why we ask for it.
struct Package {
    name: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why }
}

/// What building the workspace and running the demo takes.
const BUILD: &[Package] = &[
    package(
        "gcc",
        "links Rust programs and compiles the C shim of dpdk-net-sys",
    ),
    package("libc6-dev", "headers of the C library"),
    package("pkg-config", "finds libdpdk and its flags"),
    package("libdpdk-dev", "DPDK's headers, libraries and drivers"),
    package(
        "dpdk",
        "DPDK's own tools: dpdk-devbind.py, dpdk-hugepages.py",
    ),
    package(
        "clang",
        "bindgen reads DPDK's headers with its built-in ones",
    ),
    package("libclang-dev", "the parser that bindgen loads"),
    package("libpcap-dev", "compiles the filters of `dpdk-net capture`"),
    package(
        "iproute2",
        "`ip` gives the kernel's side of a virtual device its addresses",
    ),
    package(
        "util-linux",
        "`unshare` and `nsenter`: the demo without root",
    ),
];

/// The peers that the tests talk to, and the instruments they measure with.
const TEST: &[Package] = &[
    package("curl", "HTTP client: downloads and uploads"),
    package("wrk", "HTTP load"),
    package("nghttp2-client", "HTTP/2 client and load: nghttp, h2load"),
    package("python3-hpack", "field blocks of HTTP/2, case by case"),
    package("python3-websockets", "WebSocket client and server"),
    package("python3-grpcio", "gRPC client and server"),
    package(
        "nginx",
        "HTTP server that our clients fetch from (tests start their own instance)",
    ),
    package(
        "redis-server",
        "redis-cli and redis-benchmark, and the server whose answers ours are compared with",
    ),
    package(
        "postgresql",
        "server that our client works with (tests start their own cluster)",
    ),
    package(
        "python3-venv",
        "a place for peers that Debian has no package of: xtask/python-peers.txt",
    ),
    package("chromium", "a browser's HTTP/3"),
    package("iputils-ping", "ICMP and ICMPv6 echo"),
    package("openssl", "digests, certificates"),
    package("tcpdump", "what is on the wire"),
    package("tshark", "reads what `dpdk-net capture` writes"),
    package("ethtool", "offloads of the kernel's end of a veth pair"),
    package("socat", "TCP and UDP peers with odd habits"),
    package("python3", "HTTP server that an example fetches from"),
    package("iperf3", "bulk transfer"),
    package("netcat-openbsd", "half-closing TCP client"),
    package(
        "dnsmasq-base",
        "DNS server that names are looked up at; DHCPv4, DHCPv6 and router advertisements",
    ),
    package("udhcpd", "another DHCPv4 server"),
    package("radvd", "another source of router advertisements"),
    package("procps", "`ps` and `pgrep` in checks for leftovers"),
    package("valgrind", "instruction counts of the benches (callgrind)"),
];

/// Which packages a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Building, and the demo.
    Build,
    /// Building, tests and benches, cargo-nextest included.
    Everything,
}

impl Scope {
    fn packages(self) -> impl Iterator<Item = &'static Package> {
        let tests = if self == Scope::Everything { TEST } else { &[] };
        BUILD.iter().chain(tests)
    }
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    let mut scope = Scope::Everything;
    let mut dry_run = false;
    for arg in args {
        match arg.as_str() {
            "--build" => scope = Scope::Build,
            "--dry-run" | "-n" => dry_run = true,
            other => {
                return Err(Usage(format!(
                    "`setup` does not know `{other}`; it takes --build and --dry-run"
                ))
                .into());
            }
        }
    }
    ensure(scope, dry_run)?;
    if !dry_run {
        eprintln!("setup: this machine has what dpdk-net needs");
    }
    Ok(())
}

/// Installs what is missing for `scope`; silent when nothing is.
pub(crate) fn ensure(scope: Scope, dry_run: bool) -> Result<()> {
    debian_packages(scope, dry_run)?;
    if scope == Scope::Everything {
        nextest(dry_run)?;
        python_peers(dry_run)?;
    }
    Ok(())
}

fn debian_packages(scope: Scope, dry_run: bool) -> Result<()> {
    let Some(installed) = installed()? else {
        return not_debian(scope);
    };
    let missing: Vec<&Package> = scope
        .packages()
        .filter(|p| !installed.contains(p.name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("setup: {} Debian package(s) missing:", missing.len());
    for package in &missing {
        eprintln!("  {:<16} {}", package.name, package.why);
    }
    let names = || missing.iter().map(|p| p.name);
    let mut update = as_root("apt-get");
    update.arg("update");
    let mut install = as_root("apt-get");
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(names());
    if dry_run {
        eprintln!(
            "setup: would run\n  {}\n  {}",
            process::show(&update),
            process::show(&install)
        );
        return Ok(());
    }
    if !is_root() {
        if !process::succeeds(Command::new("sudo").arg("--version")) {
            bail!(
                "installing packages takes root, and there is no `sudo` here; as root, run:\n  \
                 apt-get update && apt-get install --no-install-recommends {}",
                names().collect::<Vec<_>>().join(" ")
            );
        }
        eprintln!("setup: you are not root, so `sudo` may ask for your password");
    }
    for service in ["nginx", "redis-server", "postgresql"] {
        if missing.iter().any(|p| p.name == service) {
            eprintln!(
                "setup: Debian starts {service} as a service; `systemctl disable --now {service}` stops it"
            );
        }
    }
    process::run(&mut update)?;
    process::run(&mut install)
}

/// Names of the installed packages; `None` where there is no dpkg.
fn installed() -> Result<Option<BTreeSet<String>>> {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n"])
        .stderr(Stdio::inherit())
        .output();
    let output = match query {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot run `dpkg-query`"),
    };
    Ok(Some(installed_names(&String::from_utf8_lossy(
        &output.stdout,
    ))))
}

/// Reads `STATUS NAME` lines; a package that was removed but not purged is not installed.
fn installed_names(listing: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .collect()
}

/// Elsewhere than on Debian we go on when a libdpdk is there, and otherwise name what to install.
fn not_debian(scope: Scope) -> Result<()> {
    if process::succeeds(Command::new("pkg-config").args(["--exists", "libdpdk"])) {
        eprintln!(
            "setup: not a Debian system (no dpkg-query); pkg-config finds libdpdk, so going on with it"
        );
        return Ok(());
    }
    let list: Vec<String> = scope
        .packages()
        .map(|p| format!("  {:<16} {}", p.name, p.why))
        .collect();
    bail!(
        "this is not a Debian system (no dpkg-query), and pkg-config finds no libdpdk.\n\
         Install what your distribution calls these Debian packages (DPDK 22.11 or later), then try again:\n{}",
        list.join("\n")
    )
}

/// Tests run under cargo-nextest: one process a test, because EAL starts only once a process.
fn nextest(dry_run: bool) -> Result<()> {
    if process::succeeds(process::cargo().args(["nextest", "--version"])) {
        return Ok(());
    }
    let mut install = process::cargo();
    install.args(["install", "--locked", "cargo-nextest"]);
    eprintln!(
        "setup: cargo-nextest is missing: it runs each test in a process of its own, as DPDK's EAL demands"
    );
    if dry_run {
        eprintln!("setup: would run\n  {}", process::show(&install));
        return Ok(());
    }
    process::run(&mut install)
}

/// The Python packages that tests have peers from, each with its version.
const PYTHON_PEERS: &str = include_str!("../python-peers.txt");

/// Peers from PyPI go into a virtual environment in the target directory, which is made anew when their list has changed.
fn python_peers(dry_run: bool) -> Result<()> {
    let place = process::target_dir()?.join("python-peers");
    // Written last: what was broken off is begun again.
    let made_from = place.join("made-from.txt");
    if std::fs::read_to_string(&made_from).is_ok_and(|list| list == PYTHON_PEERS) {
        return Ok(());
    }
    let list = process::workspace_root().join("xtask/python-peers.txt");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&place);
    let mut install = Command::new(place.join("bin/pip"));
    install
        .args([
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ])
        // Nothing is compiled, and nobody's build script runs.
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&list);
    eprintln!("setup: peers from PyPI are missing ({})", list.display());
    if dry_run {
        eprintln!(
            "setup: would run\n  {}\n  {}",
            process::show(&make),
            process::show(&install)
        );
        return Ok(());
    }
    process::run(&mut make)?;
    process::run(&mut install)?;
    std::fs::write(&made_from, PYTHON_PEERS)
        .with_context(|| format!("cannot write {}", made_from.display()))
}

/// `program` with root's rights: itself for root, through `sudo` for anybody else.
fn as_root(program: &str) -> Command {
    let mut command;
    if is_root() {
        command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
    } else {
        command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    }
    command
}

/// Whether our effective user is root.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| effective_uid(&status) == Some(0))
}

/// The second number of the `Uid:` line (proc_pid_status(5)).
fn effective_uid(status: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_package_with_configuration_left_counts_as_missing() {
        let names = installed_names(
            "installed curl\nconfig-files wrk\nnot-installed nginx\ninstalled libdpdk-dev\n",
        );
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["curl", "libdpdk-dev"]
        );
    }

    #[test]
    fn the_effective_uid_is_read_not_the_real_one() {
        assert_eq!(
            effective_uid("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"),
            Some(0)
        );
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn each_python_peer_has_its_version() {
        let lines = PYTHON_PEERS.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (name, version) = line.split_once("==").unwrap_or_default();
            assert!(!name.is_empty() && !version.is_empty(), "{line}");
        }
    }

    #[test]
    fn no_package_is_asked_for_twice() {
        let names: Vec<&str> = Scope::Everything.packages().map(|p| p.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
