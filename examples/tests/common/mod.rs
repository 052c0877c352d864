//! Where examples run: a kernel at the other end of the device, over a TAP device or over a cable that loses frames.
#![allow(dead_code, unreachable_pub)] // Each test file takes what it needs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dpdk_net_testkit::bed::{KernelHost, Netns, Process, RelayedBed, Veth, unique_name};
use dpdk_net_testkit::relay::{Relay, Running};
use dpdk_net_testkit::sim::LinkConfig;

/// How long a program may take to be there.
pub const START: Duration = Duration::from_secs(30);
/// How long a command of the kernel's side may take.
pub const RUN: Duration = Duration::from_secs(60);
/// The kernel's address, and ours, in both families.
pub const KERNEL: [&str; 2] = ["198.18.0.1", "fd00:198:18::1"];
/// Ours, as hosts of a URL.
pub const HOSTS: [&str; 2] = ["198.18.0.2", "[fd00:198:18::2]"];
/// The kernel's, as hosts of a URL.
pub const KERNEL_HOSTS: [&str; 2] = ["198.18.0.1", "[fd00:198:18::1]"];

/// Cargo builds examples beside the tests of their package, in `target/PROFILE/examples`.
pub fn program(example: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let profile: PathBuf = test.ancestors().nth(2).unwrap().into();
    let program = profile.join("examples").join(example);
    assert!(program.exists(), "{} is not built", program.display());
    program.into_os_string().into_string().unwrap()
}

/// A directory of its own, which goes with it.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        let directory = std::env::temp_dir().join(unique_name("ex"));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A kernel with its addresses, and a place where an example has a device that leads there.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a test has one")]
pub enum Bed {
    /// One TAP device in one namespace.
    Tap(Netns),
    /// The example's cable, the relay, the kernel's cable.
    Relayed {
        // The relay ends before the cables do.
        relay: Running,
        share: f64,
        cable: Veth,
        kernel: KernelHost,
        bed: RelayedBed,
    },
}

impl Bed {
    /// Over a TAP device, which the first example that is started makes.
    pub fn tap() -> Self {
        Self::Tap(Netns::new().unwrap())
    }

    /// Over a cable that loses this share of the frames in each direction: 0.01 is one in a hundred.
    pub fn lossy(share: f64) -> Self {
        let bed = RelayedBed::new().unwrap();
        let kernel = bed.kernel_host(1).unwrap();
        let cable = bed.cable().unwrap();
        for address in addresses() {
            kernel
                .netns()
                .add_address(kernel.interface(), &address)
                .ok();
        }
        let relay = Relay::new(bed.end(cable.right()), kernel.end())
            .both(LinkConfig::delay(Duration::from_micros(200)).with_loss(share))
            .seed(8)
            .start()
            .unwrap();
        Self::Relayed {
            relay,
            share,
            cable,
            kernel,
            bed,
        }
    }

    /// The kernel's side.
    pub fn netns(&self) -> &Netns {
        match self {
            Self::Tap(netns) => netns,
            Self::Relayed { kernel, .. } => kernel.netns(),
        }
    }

    /// What an example is told of its device.
    pub fn device(&self) -> String {
        match self {
            Self::Tap(_) => "--vdev=net_tap0,iface=tp0".to_owned(),
            Self::Relayed { cable, .. } => format!("--vdev=net_af_packet0,iface={}", cable.left()),
        }
    }

    /// Starts an example; the kernel has its addresses when this returns.
    pub fn start(&self, example: &str, args: &[&str]) -> Process {
        self.start_plain(example, &[&[self.device().as_str()], args].concat())
    }

    /// Starts an example that is told of its device in another way.
    pub fn start_plain(&self, example: &str, args: &[&str]) -> Process {
        let program = program(example);
        let command = [&[program.as_str()], args].concat();
        match self {
            Self::Tap(netns) => {
                let process = netns.start(&command).unwrap();
                for address in addresses() {
                    give_address(netns, &process, &address);
                }
                process
            }
            Self::Relayed { bed, .. } => bed.netns().start(&command).unwrap(),
        }
    }

    /// Runs a script on the kernel's side and returns its standard output.
    pub fn shell(&self, script: &str) -> String {
        shell(self.netns(), script)
    }
}

impl Drop for Bed {
    /// A cable that should lose frames, and did not, has shown nothing. Which ones it loses follows from the seed and their number: of so
    /// many, where twenty are to be expected, some are. A test that moves fewer may be spared.
    fn drop(&mut self) {
        if let Self::Relayed { relay, share, .. } = self
            && !std::thread::panicking()
        {
            let stats = relay.stats();
            let links = [stats.there.link, stats.back.link];
            let offered: u64 = links.iter().map(|link| link.offered).sum();
            let lost: u64 = links.iter().map(|link| link.lost).sum();
            if offered as f64 * *share >= 20.0 {
                assert!(lost > 0, "{offered} frames, and none was lost");
            }
        }
    }
}

fn addresses() -> [String; 2] {
    [format!("{}/24", KERNEL[0]), format!("{}/64", KERNEL[1])]
}

/// Gives the kernel's end of a TAP device an address, once DPDK has made it.
fn give_address(netns: &Netns, process: &Process, address: &str) {
    let deadline = Instant::now() + START;
    while netns.add_address("tp0", address).is_err() {
        assert!(
            Instant::now() < deadline,
            "tp0 did not appear: {}",
            process.stderr()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends an example in good order.
pub fn stop(mut process: Process) {
    let status = process.terminate(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}: {}", process.stderr());
}

/// Runs a script in a namespace and returns its standard output; what fails fails the test.
pub fn shell(netns: &Netns, script: &str) -> String {
    let script = format!("set -o pipefail; {script}");
    netns.run(&["bash", "-c", &script], RUN).unwrap().text()
}
