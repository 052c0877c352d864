//! What cannot work is refused before anything is made: what is wrong, where, and what to do; never a panic.

mod common;

use common::{Demo, PROGRAM, interfaces, refused};
use dpdk_net_testkit::bed::Netns;

/// Runs the demo with `args` in a fresh namespace that `prepare` has had; checks the exit code and the message.
fn assert_refused(prepare: impl FnOnce(&Netns), args: &[&str], code: i32, expected: &[&str]) {
    let netns = Netns::new().unwrap();
    prepare(&netns);
    let before = interfaces(&netns);
    let command = [
        &["ip", "netns", "exec", netns.name(), PROGRAM, "demo"],
        args,
    ]
    .concat();
    let (exit, text) = refused(&command);
    assert_eq!(exit, code, "{args:?}: {text}");
    for part in expected {
        assert!(text.contains(part), "{args:?} should say {part:?}: {text}");
    }
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    assert_eq!(interfaces(&netns), before, "{args:?} left something");
}

#[test]
fn mistakes_on_the_command_line_exit_with_2() {
    for (args, expected) in [
        (
            &["--address", "198.18.0.300/24"][..],
            &["198.18.0.300", "198.18.0.2/24"][..],
        ),
        (&["--address", "198.18.0.2"], &["prefix length is missing"]),
        (&["--address", "198.18.0.255/24"], &["broadcast"]),
        (
            &["--device", "tun"],
            &["there is no device `tun`", "af_packet=IFACE"],
        ),
        (&["--device", "pci=zz"], &["no PCI address", "0000:01:00.0"]),
        (
            &["--http-port", "19"],
            &["port 19 is in use", "--no-small-services"],
        ),
        (&["--http-port", "70000"], &["70000"]),
        (&["--lcore", "60000"], &["--lcore 60000", "it may use:"]),
        (&["--log-level", "a=b=c"], &["--log-level", "info"]),
        (
            &["--interface", "a-name-that-is-too-long"],
            &["1 to 15 characters"],
        ),
        (&["--frobnicate"], &["--frobnicate", "--help"]),
    ] {
        assert_refused(|_| (), args, 2, expected);
    }
}

#[test]
fn an_address_of_the_machine_and_its_network_are_refused() {
    let with_eth7 = |address: &'static str| {
        move |netns: &Netns| {
            netns
                .ip(&[
                    "link", "add", "eth7", "type", "veth", "peer", "name", "eth8",
                ])
                .unwrap();
            netns.add_address("eth7", address).unwrap();
        }
    };
    assert_refused(
        with_eth7("198.18.0.2/32"),
        &[],
        1,
        &[
            "the address 198.18.0.2 is taken: interface eth7",
            "--address",
        ],
    );
    assert_refused(
        with_eth7("fd00:198:18::9/64"),
        &[],
        1,
        &["the network of fd00:198:18::2/64 is taken", "eth7"],
    );
}

#[test]
fn an_interface_name_that_is_taken_is_refused() {
    let taken = |netns: &Netns| {
        drop(
            netns
                .ip(&[
                    "link",
                    "add",
                    "dpdk-net0",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth8",
                ])
                .unwrap(),
        )
    };
    for device in ["tap", "veth"] {
        assert_refused(
            taken,
            &["--device", device],
            1,
            &["there is an interface dpdk-net0 already", "--interface"],
        );
    }
}

#[test]
fn a_second_demo_with_the_same_settings_is_refused_and_the_first_goes_on() {
    let demo = Demo::start(&[]);
    let (code, text) = refused(&["ip", "netns", "exec", demo.netns.name(), PROGRAM, "demo"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("dpdk-net0 already"), "{text}");
    assert_eq!(demo.shell("curl -sSf http://198.18.0.2/healthz"), "ok\n");
}

#[test]
fn two_demos_with_settings_of_their_own_run_side_by_side() {
    let demo = Demo::start(&[]);
    let other = [
        "--interface",
        "web0",
        "--address",
        "198.18.7.2/24",
        "--address",
        "fd00:7::2/64",
    ];
    let command = [
        &["ip", "netns", "exec", demo.netns.name(), PROGRAM, "demo"],
        &other[..],
    ]
    .concat();
    let mut second = dpdk_net_testkit::bed::Process::start(&command).unwrap();
    second.wait_for(common::READY, common::START).unwrap();
    for host in ["198.18.0.2", "198.18.7.2"] {
        assert_eq!(
            demo.shell(&format!("curl -sSf http://{host}/healthz")),
            "ok\n"
        );
    }
    assert!(
        second
            .terminate(std::time::Duration::from_secs(15))
            .unwrap()
            .success()
    );
}

#[test]
fn hugepages_that_are_not_there_are_refused() {
    // A tebibyte: more than a machine that runs tests has reserved.
    assert_refused(
        |_| (),
        &["--hugepages", "--memory", "1048576"],
        1,
        &["hugepages are asked for", "vm.nr_hugepages"],
    );
}

#[test]
fn devices_that_do_not_exist_are_refused() {
    for (device, expected) in [
        ("vdev=net_nonsense0", &["net_nonsense0"][..]),
        (
            "af_packet=eth77",
            &["there is no interface eth77", "interfaces here: lo"],
        ),
        ("af_xdp=eth77", &["there is no interface eth77"]),
        (
            "pci=ffff:ff:1f.7",
            &["there is no PCI device ffff:ff:1f.7", "dpdk-net devices"],
        ),
    ] {
        assert_refused(|_| (), &["--device", device], 1, expected);
    }
}

#[test]
fn an_interface_that_is_down_is_refused() {
    let down = |netns: &Netns| {
        drop(
            netns
                .ip(&[
                    "link", "add", "eth7", "type", "veth", "peer", "name", "eth8",
                ])
                .unwrap(),
        )
    };
    assert_refused(
        down,
        &["--device", "af_packet=eth7"],
        1,
        &["eth7 is down", "ip link set dev eth7 up"],
    );
}

#[test]
fn without_the_tun_driver_no_tap_is_tried() {
    let netns = Netns::new().unwrap();
    let hide = format!("mount -t tmpfs tmpfs /dev/net && exec '{PROGRAM}' demo");
    let (code, text) = refused(&[
        "ip",
        "netns",
        "exec",
        netns.name(),
        "unshare",
        "--mount",
        "sh",
        "-c",
        &hide,
    ]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("/dev/net/tun is missing") && text.contains("modprobe tun"),
        "{text}"
    );
}

#[test]
fn without_ip_the_package_is_named() {
    let netns = Netns::new().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let path = format!("PATH={}", empty.path().display());
    let (code, text) = refused(&[
        "ip",
        "netns",
        "exec",
        netns.name(),
        "env",
        &path,
        PROGRAM,
        "demo",
    ]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot run `ip`") && text.contains("apt-get install iproute2"),
        "{text}"
    );
}

#[test]
fn help_teaches_with_examples_and_every_option() {
    let help = common::output(&[PROGRAM, "demo", "--help"]).text();
    for part in [
        "Examples:",
        "--device",
        "--address",
        "--peer-address",
        "--gateway",
        "--http-port",
        "--no-small-services",
        "--memory",
        "--lcore",
        "--log-level",
        "--hugepages",
        "--file-prefix",
        "--interface",
        "pci=",
        "memif=",
        "Exit code",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
