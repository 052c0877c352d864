//! What a machine refuses, with trees of `/sys` and `/proc` that are made for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use dpdk_net_config::{File, Format, Machine};
use tempfile::TempDir;

/// A machine's files.
struct Tree(TempDir);

impl Tree {
    /// Two NUMA nodes of four CPUs, of which the process may run on six; huge pages of two sizes; three NICs; two interfaces.
    fn server() -> Self {
        let tree = Self(TempDir::new().unwrap());
        tree.status("0-3,6-7");
        for (node, cpus) in [(0, "0-3"), (1, "4-7")] {
            let at = format!("sys/devices/system/node/node{node}");
            tree.write(&format!("{at}/cpulist"), cpus);
            tree.hugepages(&format!("{at}/hugepages"), 2048, 256);
            tree.hugepages(&format!("{at}/hugepages"), 1_048_576, node);
        }
        tree.write("sys/devices/system/node/possible", "0-1");
        tree.nic("0000:01:00.0", Some("vfio-pci"), "1");
        tree.nic("0000:02:00.0", Some("ixgbe"), "0");
        tree.nic("0000:03:00.0", Some("mlx5_core"), "-1");
        tree.nic("0000:04:00.0", None, "0");
        tree.write("sys/bus/pci/devices/0000:05:00.0/class", "0x010802\n");
        for interface in ["lo", "eth1"] {
            tree.write(&format!("sys/class/net/{interface}/mtu"), "1500");
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn status(&self, cpus: &str) {
        self.write(
            "proc/self/status",
            &format!("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\n"),
        );
    }

    /// So many free pages of a size in KiB.
    fn hugepages(&self, at: &str, kib: u64, free: u64) {
        self.write(
            &format!("{at}/hugepages-{kib}kB/free_hugepages"),
            &format!("{free}\n"),
        );
    }

    fn nic(&self, address: &str, driver: Option<&str>, node: &str) {
        let at = format!("sys/bus/pci/devices/{address}");
        self.write(&format!("{at}/class"), "0x020000\n");
        self.write(&format!("{at}/numa_node"), &format!("{node}\n"));
        if let Some(driver) = driver {
            let target = format!("../../../bus/pci/drivers/{driver}");
            symlink(target, self.0.path().join(at).join("driver")).unwrap();
        }
    }

    /// The kernel has two addresses on eth1, and speaks IPv6 there.
    fn kernel_net(&self) {
        let net = "proc/thread-self/net";
        self.write(
            &format!("{net}/fib_trie"),
            "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 198.18.0.0\n        /24 link UNICAST\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n     \
             +-- 198.18.0.0/24 2 0 2\n        |-- 198.18.0.2\n           /32 host LOCAL\n        |-- 198.18.0.255\n           \
             /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n",
        );
        let word = |octets| format!("{:08X}", u32::from_ne_bytes(octets));
        let (any, net_, mask) = (
            word([0; 4]),
            word([198, 18, 0, 0]),
            word([255, 255, 255, 0]),
        );
        let next = word([198, 18, 0, 1]);
        self.write(
            &format!("{net}/route"),
            &format!(
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                 eth1\t{any}\t{next}\t0003\t0\t0\t0\t{any}\t0\t0\t0\neth1\t{net_}\t{any}\t0001\t0\t0\t0\t{mask}\t0\t0\t0\nx\n"
            ),
        );
        self.write(
            &format!("{net}/if_inet6"),
            "fd000000000000000000000000000002 02 40 00 80     eth1\nnonsense\n",
        );
        for (interface, disabled) in [("eth1", "0"), ("lo", "1"), ("all", "0")] {
            let at = format!("proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            self.write(&at, disabled);
        }
        self.write(
            &format!("{net}/dev"),
            "Inter-|\n face |\n  eth1: 0 0\n    lo: 0 0\n",
        );
    }

    fn machine(&self) -> Machine {
        Machine::under(self.path())
    }

    /// What it warns of.
    fn warned(&self, text: &str) -> String {
        let file = parse(text);
        let warnings = self.machine().warnings(&file);
        assert!(warnings.iter().all(|warning| warning.kind() == "warning"));
        match File::refused(warnings) {
            Ok(()) => "nothing".to_owned(),
            Err(warnings) => warnings.to_string(),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What it refuses of a file.
    fn refused(&self, text: &str) -> String {
        let file = parse(text);
        let problems = self.machine().check(&file);
        assert!(problems.iter().all(|problem| problem.kind() == "refused"));
        match File::refused(problems) {
            Ok(()) => "nothing".to_owned(),
            Err(problems) => problems.to_string(),
        }
    }
}

fn parse(text: &str) -> File {
    let read = File::parse("net.toml", text, Format::Toml, []);
    read.unwrap_or_else(|problems| panic!("{problems}"))
}

const TAP: &str = "[[port]]\nvdev = \"net_tap0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\n";

fn pci(address: &str) -> String {
    TAP.replace("vdev = \"net_tap0\"", &format!("pci = \"{address}\""))
}

fn with(more: &str) -> String {
    format!("{TAP}{more}\n")
}

const GIB: u64 = 1 << 30;

#[test]
fn all_of_a_machine_is_read() {
    let machine = Tree::server().machine();
    assert_eq!(Vec::from_iter(machine.cpus.clone()), [0, 1, 2, 3, 6, 7]);
    assert_eq!(Vec::from_iter(machine.nodes.keys()), [&0, &1]);
    assert_eq!(Vec::from_iter(machine.nodes[&1].cpus.clone()), [4, 5, 6, 7]);
    assert_eq!(machine.nodes[&0].free_hugepages, GIB / 2);
    assert_eq!(machine.nodes[&1].free_hugepages, GIB / 2 + GIB);
    assert_eq!(machine.free_hugepages(), 2 * GIB);
    let nics: Vec<_> = (machine.pci.iter())
        .map(|(address, nic)| (address.as_str(), nic.driver.as_deref(), nic.node))
        .collect();
    assert_eq!(
        nics,
        [
            ("0000:01:00.0", Some("vfio-pci"), Some(1)),
            ("0000:02:00.0", Some("ixgbe"), Some(0)),
            ("0000:03:00.0", Some("mlx5_core"), None),
            ("0000:04:00.0", None, Some(0)),
        ]
    );
    assert_eq!(Vec::from_iter(machine.interfaces), ["eth1", "lo"]);
}

#[test]
fn without_numa_there_is_one_node_and_without_a_list_all_cpus_are_allowed() {
    let tree = Tree(TempDir::new().unwrap());
    tree.write("sys/devices/system/cpu/online", "0-2\n");
    tree.hugepages("sys/kernel/mm/hugepages", 2048, 100);
    let machine = tree.machine();
    assert_eq!(Vec::from_iter(machine.cpus), [0, 1, 2]);
    assert_eq!(machine.nodes.len(), 1);
    assert_eq!(machine.nodes[&0].cpus.len(), 3);
    assert_eq!(machine.nodes[&0].free_hugepages, 100 * 2048 * 1024);
}

#[test]
fn nonsense_in_the_trees_is_nothing() {
    let tree = Tree(TempDir::new().unwrap());
    tree.status("x,3-,-,9-7,4294967295-4294967296,2");
    tree.write(
        "sys/devices/system/node/node0/hugepages/hugepages-2MB/free_hugepages",
        "7",
    );
    tree.write("sys/devices/system/node/nodes/cpulist", "0");
    tree.write(
        "sys/devices/system/node/node0/hugepages/hugepages-18446744073709551615kB/free_hugepages",
        "9",
    );
    let machine = tree.machine();
    assert_eq!(Vec::from_iter(machine.cpus), [2]);
    assert_eq!(machine.nodes.len(), 1);
}

#[test]
fn memory_is_huge_pages_where_there_are_some_or_a_nic_needs_them() {
    let rich = Tree::server();
    let poor = Tree(TempDir::new().unwrap());
    poor.status("0");
    for (more, on_rich, on_poor) in [
        (TAP.to_owned(), true, false),
        (pci("0000:01:00.0"), true, true),
        (with("[dpdk]\nhugepages = false"), false, false),
        (with("[dpdk]\nhugepages = true"), true, true),
        (with("[dpdk]\nin_memory = true"), true, true),
    ] {
        let file = parse(&more);
        let found = (
            rich.machine().hugepages(&file),
            poor.machine().hugepages(&file),
        );
        assert_eq!(found, (on_rich, on_poor), "{more}");
    }
}

#[test]
fn what_a_machine_has_it_does_not_refuse() {
    let tree = Tree::server();
    let served = format!(
        "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n[[route]]\nfiles = {{ root = {root:?} }}\n[log]\nfile = {log:?}",
        root = tree.path(),
        log = tree.path().join("log"),
    );
    for text in [
        TAP.to_owned(),
        pci("0000:01:00.0"),
        pci("0000:03:00.0"),
        TAP.replace(
            "vdev = \"net_tap0\"",
            "interface = \"eth1\"\ndriver = \"af_xdp\"\nmtu = 3498",
        ),
        with("[workers]\nlcores = \"0@0,1@0,2@7\""),
        with("[dpdk]\nsocket_memory = [\"512 MiB\", \"1536 MiB\"]"),
        with("[dpdk]\nsocket_memory = [\"512 MiB\", \"0 B\", \"0 B\"]"),
        with("[dpdk]\nhugepages = false\nmemory = \"8 GiB\""),
        with(&served),
        with("[log]\nfile = \"relative.log\""),
    ] {
        assert_eq!(tree.refused(&text), "nothing", "{text}");
    }
}

#[test]
fn a_cpu_that_is_not_allowed_is_refused() {
    insta::assert_snapshot!(Tree::server().refused(&with("[workers]\nlcores = \"0,4,5@2,9\"")));
}

#[test]
fn a_nic_that_is_not_there_is_refused() {
    insta::assert_snapshot!(Tree::server().refused(&pci("0000:01:00.1")));
}

#[test]
fn a_nic_is_refused_where_there_is_none() {
    let tree = Tree(TempDir::new().unwrap());
    tree.hugepages("sys/kernel/mm/hugepages", 2048, 512);
    insta::assert_snapshot!(tree.refused(&pci("0000:01:00.0")));
}

#[test]
fn a_nic_that_the_kernel_has_is_refused() {
    insta::assert_snapshot!(Tree::server().refused(&pci("0000:02:00.0")));
}

#[test]
fn a_nic_without_a_driver_is_refused() {
    insta::assert_snapshot!(Tree::server().refused(&pci("0000:04:00.0")));
}

#[test]
fn an_interface_that_is_not_there_is_refused() {
    let text = TAP.replace("vdev = \"net_tap0\"", "interface = \"eth2\"");
    insta::assert_snapshot!(Tree::server().refused(&text));
}

#[test]
fn a_frame_that_af_xdp_does_not_hold_is_refused() {
    let text = TAP.replace(
        "vdev = \"net_tap0\"",
        "interface = \"eth1\"\ndriver = \"af_xdp\"\nmtu = 3499",
    );
    insta::assert_snapshot!(Tree::server().refused(&text));
}

#[test]
fn memory_that_is_not_free_is_refused() {
    let tree = Tree::server();
    let more = "[dpdk]\nsocket_memory = [\"1 GiB\", \"1 GiB\", \"64 MiB\"]";
    insta::assert_snapshot!(tree.refused(&with(more)));
    insta::assert_snapshot!(tree.refused(&with("[dpdk]\nmemory = \"3 GiB\"")));
}

#[test]
fn huge_pages_are_refused_where_there_are_none() {
    let tree = Tree(TempDir::new().unwrap());
    tree.nic("0000:01:00.0", Some("vfio-pci"), "0");
    insta::assert_snapshot!(tree.refused(&pci("0000:01:00.0")));
    insta::assert_snapshot!(tree.refused(&with("[dpdk]\nhugepages = true")));
    insta::assert_snapshot!(tree.refused(&with("[dpdk]\nin_memory = true")));
}

#[test]
fn files_that_are_not_there_are_refused() {
    let more = "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n[[route]]\nfiles = { root = \"/no/such/directory\" }\n[log]\nfile = \"/no/such/log\"";
    insta::assert_snapshot!(Tree::server().refused(&with(more)));
    insta::assert_snapshot!(Tree::server().refused(&with("[log]\nfile = \"/proc\"")));
}

fn over(device: &str, network: &str) -> String {
    format!("[[port]]\n{device}\n[network]\n{network}\n")
}

#[test]
fn what_the_kernel_has_on_its_interfaces_is_read() {
    let tree = Tree::server();
    tree.kernel_net();
    let kernel = tree.machine().kernel;
    let addresses: Vec<String> = kernel.addresses.iter().map(|it| it.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1", "198.18.0.2", "fd00::2"]);
    let network = (
        "198.18.0.0".parse().unwrap(),
        "255.255.255.0".parse().unwrap(),
    );
    assert_eq!(kernel.on_link["eth1"], [network]);
    assert_eq!(Vec::from_iter(kernel.ipv6), ["all", "eth1"]);
}

#[test]
fn what_the_kernel_would_answer_for_as_well_is_warned_of() {
    let tree = Tree::server();
    tree.kernel_net();
    let both = "addresses = [\"198.18.0.2/24\", \"fd00::9/64\"]";
    insta::assert_snapshot!(tree.warned(&over("interface = \"eth1\"", both)));
    let asked = "dhcp4 = true\nslaac = true";
    let vdev = "vdev = \"net_af_xdp0,iface=eth1,queue_count=2\"";
    insta::assert_snapshot!(tree.warned(&over(vdev, asked)));
}

#[test]
fn where_the_kernel_answers_for_nothing_of_ours_nothing_is_said() {
    let (tree, bare) = (Tree::server(), Tree::server());
    tree.kernel_net();
    let both = "addresses = [\"198.18.0.2/24\", \"fd00::2/64\"]";
    let others = "addresses = [\"198.18.0.3/24\"]";
    let asked = "dhcp4 = true\nslaac = true\ndhcp6 = true";
    let over_eth1 = "interface = \"eth1\"";
    for (tree, text) in [
        (&tree, over(over_eth1, others)),
        // The kernel's end is not ours, or it has none.
        (&tree, over("vdev = \"net_tap0,iface=eth1\"", both)),
        (&tree, over("pci = \"0000:01:00.0\"", both)),
        (&tree, over("interface = \"eth1\"\ndriver = \"pci\"", both)),
        (&tree, over("interface = \"lo\"", asked)),
        (&bare, over(over_eth1, both)),
        (&bare, over(over_eth1, asked)),
        // Frames with a tag are not the kernel's.
        (
            &tree,
            over(
                over_eth1,
                "[[network.vlans]]\nid = 5\naddresses = [\"fd00::2/64\"]",
            ),
        ),
    ] {
        assert_eq!(tree.warned(&text), "nothing", "{text}");
    }
}

#[test]
fn blocking_devices_where_none_is_looked_at_is_warned_of() {
    let warned = |text: &str| match File::refused(parse(text).warnings()) {
        Ok(()) => "nothing".to_owned(),
        Err(warnings) => warnings.to_string(),
    };
    let block = "[dpdk]\nblock = [\"0000:02:00.0\"]\n";
    insta::assert_snapshot!(warned(&with(block)));
    for text in [
        with(&format!("{block}pci = true")),
        format!("{}{block}", pci("0000:01:00.0")),
        over("interface = \"eth1\"\ndriver = \"pci\"", "dhcp4 = true") + block,
        with("[dpdk]\npci = false"),
    ] {
        assert_eq!(warned(&text), "nothing", "{text}");
    }
}

/// Whatever this machine has, it is read without complaint.
#[test]
fn this_machine_is_read() {
    assert!(!Machine::this().nodes.is_empty());
}
