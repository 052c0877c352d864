//! `dpdk-net run` from a file, over two queues of one end of a cable, with the kernel at the other end.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use dpdk_net_testkit::bed::{Netns, Process, Veth, disable_tx_offloads, file_prefix};

use super::{PROGRAM, START};

/// The server's address.
pub(crate) const OURS: &str = "198.18.0.2";
/// The kernel's.
pub(crate) const KERNEL: &str = "198.18.0.1";

/// A running server and its network.
pub(crate) struct Site {
    /// Dropped first: it lives in a namespace.
    pub(crate) process: Process,
    /// Where its clients and upstreams are.
    pub(crate) kernel: Netns,
    pub(crate) directory: tempfile::TempDir,
    _cable: Veth,
    _ours: Netns,
}

impl Site {
    /// A directory of its own, with `www` in it.
    pub(crate) fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("www")).unwrap();
        directory
    }

    /// Starts it with what is given of listeners and routes, by a command that runs the one behind it, and waits until it serves.
    pub(crate) fn start(directory: tempfile::TempDir, rest: &str, by: &[&str]) -> Self {
        let mut site = Self::begin(directory, rest, by);
        site.process.wait_for("serving", START).unwrap();
        site
    }

    /// The same without waiting.
    pub(crate) fn begin(directory: tempfile::TempDir, rest: &str, by: &[&str]) -> Self {
        let (ours, kernel) = (Netns::new().unwrap(), Netns::new().unwrap());
        let cable = Veth::new(Some(&ours), Some(&kernel)).unwrap();
        disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
        kernel
            .add_address(cable.right(), &format!("{KERNEL}/24"))
            .unwrap();
        let file = directory.path().join("dpdk-net.toml");
        fs::write(&file, head(cable.left()) + rest).unwrap();
        let file = file.to_str().unwrap();
        let command = [by, &[PROGRAM, "run", file]].concat();
        let process = ours.start(&command).unwrap();
        Self {
            process,
            kernel,
            directory,
            _cable: cable,
            _ours: ours,
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("dpdk-net.toml")
    }
}

/// What a file begins with: two queues over an interface.
fn head(interface: &str) -> String {
    format!(
        "[dpdk]\nhugepages = false\nmemory = \"256 MiB\"\nshared_config = false\ntelemetry = false\n\
         file_prefix = \"{}\"\n\
         [workers]\nlcores = \"0@0,1@1\"\nidle = \"yield\"\nidle_turns = 16\ndrain_timeout = \"20 s\"\n\
         [[port]]\ninterface = \"{interface}\"\ndriver = \"af_packet\"\nqueues = 2\n\
         [network]\naddresses = [\"{OURS}/24\"]\nduplicate_detection = false\n",
        file_prefix()
    )
}

/// A route to the files of a directory.
pub(crate) fn files(directory: &Path) -> String {
    let root = directory.join("www");
    format!("[[route]]\nfiles = {{ root = \"{}\" }}\n", root.display())
}
