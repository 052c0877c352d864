//! What the examples share: the options that say which port and which addresses.
//!
//! Each example is a file of its own beside this package's `Cargo.toml`. They run as root on a TAP device, with the
//! kernel as the other end, unless told otherwise:
//!
//! ```sh
//! cargo run --release --example 01_echo &
//! ip address add 198.18.0.1/24 dev tp0
//! nc 198.18.0.2 7
//! ```
//!
//! With `--vlan 100=198.18.100.2/24,fd00:100::2/64` the port is a member of a VLAN too; see `docs/vlan.md`.
#![forbid(unsafe_code)]

pub mod filled;
pub mod numbers;

use std::future::Future;
use std::process;

use clap::Args;
use dpdk_net::rte::Eal;
use dpdk_net::{App, AppBuilder};

/// Which port to drive, and the addresses on it.
#[derive(Args, Clone, Debug)]
pub struct Device {
    /// The virtual device, as given to EAL's --vdev
    #[arg(long, default_value = "net_tap0,iface=tp0")]
    pub vdev: String,
    /// Our address with its prefix length; repeat for several
    #[arg(long = "address", default_values = ["198.18.0.2/24", "fd00:198:18::2/64"])]
    pub addresses: Vec<String>,
    /// A VLAN and our addresses in it, as ID=ADDRESS,ADDRESS; repeat for several
    #[arg(long = "vlan", value_name = "ID=ADDRESSES", value_parser = vlan)]
    pub vlans: Vec<(u16, Vec<String>)>,
    /// The CPU to poll on
    #[arg(long, default_value_t = 0)]
    pub cpu: u32,
}

impl Device {
    /// An application on this device, without hugepages.
    pub fn app(&self, name: &str) -> AppBuilder {
        let eal = Eal::builder(name)
            .lcores(format!("0@{}", self.cpu))
            .vdev(&self.vdev)
            .no_pci()
            .no_huge()
            .no_shconf()
            .file_prefix(format!("{name}-{}", process::id()));
        let app = App::builder().eal(eal);
        let app = self.addresses.iter().fold(app, AppBuilder::address);
        let vlans = self.vlans.iter();
        vlans.fold(app, |app, (id, addresses)| app.vlan(*id, addresses))
    }
}

/// Reads `100=198.18.100.2/24,fd00:100::2/64`; the addresses are looked at later.
fn vlan(text: &str) -> Result<(u16, Vec<String>), String> {
    let expected = || format!("'{text}' is not a VLAN such as 100=198.18.100.2/24");
    let (id, addresses) = text.split_once('=').ok_or_else(expected)?;
    let id = id.parse().map_err(|_| expected())?;
    Ok((id, addresses.split(',').map(str::to_owned).collect()))
}

/// Spawns hyper's tasks on the worker's own thread, so that they need not be `Send`.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Logs warnings to stderr, or what `RUST_LOG` says.
pub fn log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// What is Rust in the README and the documentation compiles.
#[cfg(doctest)]
mod documentation {
    macro_rules! compiles {
        ($($name:ident: $path:literal;)*) => {$(
            #[doc = include_str!($path)]
            pub struct $name;
        )*};
    }

    compiles! {
        Readme: "../../README.md";
        App: "../../docs/app.md";
        Devices: "../../docs/devices.md";
        Http: "../../docs/http.md";
        Metrics: "../../docs/metrics.md";
        Names: "../../docs/names.md";
        Runtimes: "../../docs/runtimes.md";
        Offloads: "../../docs/offloads.md";
        Protocols: "../../docs/protocols.md";
        Queues: "../../docs/queues.md";
        Quic: "../../docs/quic.md";
        Relay: "../../docs/relay.md";
        Threads: "../../docs/threads.md";
        Tls: "../../docs/tls.md";
        Vlan: "../../docs/vlan.md";
    }
}
