//! What can't work whatever the machine: malformed and contradictory options. DPDK's own answer to many of these is
//! its usage text, or silence.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::args::{Args, Opt};
use super::lcore_list;
use crate::{Error, LcoreId};

/// Pairs of options that exclude each other, why, and what to do.
const CONTRADICTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "in-memory",
        "no-huge",
        "in-memory mode keeps huge pages without files, no-huge has none at all",
        "With huge pages use in_memory, without them no_huge (and no_shconf, so that no files are left)",
    ),
    (
        "no-huge",
        "huge-dir",
        "there is no hugetlbfs without huge pages",
        "Leave one of them out",
    ),
    (
        "no-huge",
        "socket-mem",
        "without huge pages DPDK takes memory from no particular socket",
        "Use memory_mb instead of socket_mem, or huge pages",
    ),
    (
        "no-huge",
        "huge-unlink",
        "there are no files to unlink without huge pages",
        "Leave one of them out",
    ),
    (
        "m",
        "socket-mem",
        "both say how much memory to reserve",
        "Use memory_mb for the sum, or socket_mem for each NUMA socket",
    ),
    (
        "no-pci",
        "allow",
        "a device on a bus that is left alone is not found",
        "Leave no_pci out to use the device; `allow` alone keeps DPDK off all others",
    ),
    (
        "allow",
        "block",
        "with an allow list everything else is blocked already",
        "Keep only one kind",
    ),
    (
        "legacy-mem",
        "in-memory",
        "legacy memory is made of files",
        "Leave one of them out",
    ),
];

/// Longest name of a network interface (`IFNAMSIZ` with its NUL is 16).
const INTERFACE_NAME_MAX: usize = 15;
/// Longest name of a device (`RTE_DEV_NAME_MAX_LEN` with its NUL is 64).
const DEVICE_NAME_MAX: usize = 63;

pub(super) fn options(program: &str, arguments: &[String]) -> Result<(), Error> {
    if program.is_empty() || program.starts_with('-') {
        return Err(Error::InvalidArgument {
            what: "the program's name for the EAL".into(),
            problem: format!("{program:?} looks like an option or is empty: give a name"),
        });
    }
    let args = Args::parse(arguments);
    for (first, second, problem, remedy) in CONTRADICTIONS {
        if let (Some(first), Some(second)) = (args.get(first), args.get(second)) {
            return Err(refused(
                format!("{} and {}", first.shown(), second.shown()),
                format!("they exclude each other: {problem}"),
                *remedy,
            ));
        }
    }
    if let Some(mode) = args.get("iova-mode")
        && args.has("no-huge")
        && mode.value == "pa"
    {
        return Err(refused(
            format!("{} and --no-huge", mode.shown()),
            "they exclude each other: only huge pages have physical addresses that stay",
            "Leave iova_mode out, or use huge pages",
        ));
    }
    lcores(&args)?;
    memory(&args)?;
    file_prefix(&args)?;
    vdevs(&args)
}

fn refused(
    option: impl Into<String>,
    problem: impl Into<String>,
    remedy: impl Into<Cow<'static, str>>,
) -> Error {
    Error::EalOption {
        option: option.into(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

fn lcores(args: &Args<'_>) -> Result<(), Error> {
    let Some(option) = args.get("lcores") else {
        return Ok(());
    };
    if args.all("lcores").count() > 1 || args.has("c") {
        return Err(refused(
            option.shown(),
            "the lcores are given more than once",
            "Give one list, as in `0@0,1@0`",
        ));
    }
    const SYNTAX: &str =
        "Write a list of lcores as in `0-3`, or with the CPUs they run on as in `0@0,1@0`";
    let map = lcore_list::parse(option.value, LcoreId::LIMIT)
        .map_err(|problem| refused(option.shown(), problem, SYNTAX))?;
    for (lcore, cpus) in &map {
        if let Some(cpu) = cpus.iter().find(|cpu| !cpu_exists(**cpu)) {
            let online =
                std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
            return Err(refused(
                option.shown(),
                format!("lcore {lcore} is to run on CPU {cpu}, which this machine does not have"),
                format!(
                    "CPUs here: {}. Several lcores can share one: `0@0,1@0`",
                    online.trim()
                ),
            ));
        }
    }
    if let Some(main) = args.get("main-lcore") {
        match main.value.parse::<u32>() {
            Ok(number) if map.contains_key(&number) => {}
            Ok(_) => {
                return Err(refused(
                    main.shown(),
                    format!("that lcore is not in {}", option.shown()),
                    "Name one of the list, or add it",
                ));
            }
            Err(_) => return Err(refused(main.shown(), "not a number", "Name one lcore")),
        }
    }
    Ok(())
}

/// As DPDK finds CPUs: those that are online have a topology.
fn cpu_exists(cpu: u32) -> bool {
    Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}/topology")).exists()
        // Where sysfs is not mounted there is nothing to check against.
        || !Path::new("/sys/devices/system/cpu/cpu0/topology").exists()
}

fn memory(args: &Args<'_>) -> Result<(), Error> {
    let whole = args
        .get("m")
        .into_iter()
        .map(|option| (option, option.value));
    let sockets = args
        .get("socket-mem")
        .into_iter()
        .flat_map(|option| option.value.split(',').map(move |value| (option, value)));
    for (option, value) in whole.chain(sockets) {
        if value.parse::<u32>().is_err() {
            return Err(refused(
                option.shown(),
                format!("{value:?} is not a number of MiB"),
                "Give whole MiB, without a unit",
            ));
        }
    }
    match args.get("m") {
        Some(option) if option.value == "0" => Err(refused(
            option.shown(),
            "DPDK can't start without memory",
            "Leave it out to take memory as it is needed, or give MiB",
        )),
        _ => Ok(()),
    }
}

fn file_prefix(args: &Args<'_>) -> Result<(), Error> {
    match args.get("file-prefix") {
        Some(option)
            if option.value.is_empty()
                || option.value.len() > 64
                || option.value.contains(['/', '%'])
                || option.value.starts_with('.') =>
        {
            Err(refused(
                option.shown(),
                "the prefix becomes part of file names",
                "Use up to 64 letters, digits and dashes",
            ))
        }
        _ => Ok(()),
    }
}

fn vdevs(args: &Args<'_>) -> Result<(), Error> {
    let mut seen = Vec::new();
    let mut interfaces = BTreeMap::new();
    for (device, option) in args.vdevs().zip(args.all("vdev")) {
        let named = |problem: String, remedy| Err(refused(option.shown(), problem, remedy));
        if device.driver().is_empty() || device.name.len() > DEVICE_NAME_MAX {
            return named(
                "the device has no driver's name".into(),
                "Write driver name and number, as in `net_tap0`",
            );
        }
        if device.name.contains(char::is_whitespace) {
            return named(
                "there is a blank in the device's name".into(),
                "Separate its arguments by commas, as in `net_tap0,iface=tp0`",
            );
        }
        if device.is_by_address() {
            return named(
                "it hands DPDK an address in this process's memory".into(),
                "Make ports of rings by `ring::joined_ports` or `ring::looped_port`",
            );
        }
        if seen.contains(&device.name) {
            return named(
                format!("{} is given twice, and DPDK makes one of it", device.name),
                "Number them, as in `net_tap0` and `net_tap1`",
            );
        }
        seen.push(device.name);
        interface(&device, option, &mut interfaces)?;
    }
    Ok(())
}

/// The kernel interface that a device makes or uses.
fn interface<'a>(
    device: &super::args::Device<'a>,
    option: &Opt<'_>,
    taken: &mut BTreeMap<(&'a str, &'a str), &'a str>,
) -> Result<(), Error> {
    let driver = device.driver();
    if !matches!(driver, "net_tap" | "net_af_packet" | "net_af_xdp") {
        return Ok(());
    }
    let Some(name) = device.argument("iface") else {
        if driver == "net_tap" {
            return Ok(());
        }
        return Err(refused(
            option.shown(),
            "it does not say which network interface to use",
            format!("Add `iface=NAME`, as in `{driver}0,iface=eth1`"),
        ));
    };
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.contains(['/', ' ', '%']) {
        return Err(refused(
            option.shown(),
            format!("{name:?} can't be the name of a network interface"),
            format!("Use up to {INTERFACE_NAME_MAX} letters and digits"),
        ));
    }
    // af_xdp has one device a queue of the same interface; two taps or two af_packets share packets by chance.
    if driver != "net_af_xdp"
        && let Some(other) = taken.insert((driver, name), device.name)
    {
        return Err(refused(
            option.shown(),
            format!("interface {name} is that of {other} already"),
            "Give each device an interface of its own",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str]) -> Result<(), String> {
        let arguments: Vec<String> = arguments.iter().map(|&s| s.to_owned()).collect();
        options("test", &arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn sensible_options_pass() {
        let sensible = [
            "--lcores=0@0,1@0",
            "--main-lcore=1",
            "--no-huge",
            "-m",
            "64",
            "--no-pci",
            "--file-prefix=a-1",
            "--vdev=net_tap0,iface=tp0",
            "--vdev=net_null0",
            "--vdev=net_null1",
            "--log-level=8",
        ];
        assert_eq!(check(&sensible), Ok(()));
        assert_eq!(check(&[]), Ok(()));
        // Two queues of an interface as two devices.
        let xdp = [
            "--vdev=net_af_xdp0,iface=d0,start_queue=0",
            "--vdev=net_af_xdp1,iface=d0,start_queue=1",
        ];
        assert_eq!(check(&xdp), Ok(()));
    }

    #[test]
    fn contradictions_name_both_options_and_a_way_out() {
        for (arguments, part) in [
            (
                &["--in-memory", "--no-huge"][..],
                "--in-memory and --no-huge",
            ),
            (&["--no-huge", "--socket-mem=64"], "memory_mb instead"),
            (
                &["-m", "64", "--socket-mem=64"],
                "-m 64 and --socket-mem=64",
            ),
            (&["--no-pci", "-a", "0000:01:00.0"], "--allow=0000:01:00.0"),
            (&["--no-huge", "--iova-mode=pa"], "physical addresses"),
            (&["--no-huge", "--huge-dir", "/x"], "no hugetlbfs"),
        ] {
            let error = check(arguments).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn malformed_values_are_named_with_what_would_be_right() {
        for (arguments, part) in [
            (&["--lcores=0,x"][..], "`x` is not a number"),
            (&["--lcores=0@4095"], "CPU 4095"),
            (&["--lcores=0@0", "--main-lcore=3"], "not in --lcores=0@0"),
            (&["--lcores=0@0", "-l", "1"], "more than once"),
            (&["-m", "64M"], "without a unit"),
            (&["-m", "0"], "without memory"),
            (&["--file-prefix=../x"], "file names"),
            (&["--vdev="], "driver"),
            (&["--vdev=net_tap0 iface=x"], "blank"),
            (&["--vdev=net_null0", "--vdev=net_null0"], "twice"),
            (
                &["--vdev=net_tap0,iface=0123456789abcdef"],
                "can't be the name",
            ),
            (
                &["--vdev=net_tap0,iface=a", "--vdev=net_tap1,iface=a"],
                "that of net_tap0",
            ),
            (&["--vdev=net_af_packet0"], "iface=NAME"),
            (&["--vdev=net_ring0,internal=0x1000"], "an address"),
            (&["--vdev", "eth_ring0,internal=0x1000"], "an address"),
        ] {
            let error = check(arguments).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
