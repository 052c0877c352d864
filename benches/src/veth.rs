//! A server at one end of a veth pair and a load of the kernel's at the other: on dpdk-net over AF_PACKET, or on the kernel.

use std::time::Duration;

use anyhow::Context;
use dpdk_net_testkit::bed::{Netns, Veth, disable_tx_offloads};

use crate::cpu;

/// The server's address.
pub const SERVER: &str = "198.18.0.2";

const START: Duration = Duration::from_secs(30);

/// Starts this executable with `--serve` and `kernel` or the interface that dpdk-net is to drive, runs `command` at the other end once it has
/// printed `ready`, and returns what that printed and the CPU time of the server's process meanwhile, user and system.
///
/// # Errors
/// What making namespaces takes (root), and a server or a command that fails.
pub fn load(kernel: bool, command: &str) -> anyhow::Result<(String, Duration)> {
    let (server, client) = (Netns::new()?, Netns::new()?);
    let cable = Veth::new(Some(&server), Some(&client))?;
    client.add_address(cable.right(), "198.18.0.1/24")?;
    let on = match kernel {
        true => {
            server.add_address(cable.left(), &format!("{SERVER}/24"))?;
            "kernel"
        }
        false => {
            disable_tx_offloads(Some(&client), cable.right())?;
            cable.left()
        }
    };
    let exe = std::env::current_exe()?;
    let exe = exe.to_str().context("the path of this benchmark")?;
    let mut process = server.start(&[exe, "--serve", on])?;
    process.wait_for("ready", START)?;
    let before = cpu::of_process(process.pid())?;
    let words: Vec<&str> = command.split(' ').collect();
    let told = client.run(&words, Duration::from_secs(120))?.text();
    let used = cpu::of_process(process.pid())? - before;
    process.signal("KILL")?;
    Ok((told, used))
}

/// An application on that interface, whose address can be used at once.
pub fn app(name: &str, interface: &str) -> dpdk_net::AppBuilder {
    let eal = dpdk_net::rte::Eal::builder(name)
        .file_prefix(dpdk_net_testkit::bed::file_prefix())
        .vdev(format!("net_af_packet0,iface={interface}"))
        .no_pci()
        .no_huge()
        .no_shconf()
        .no_telemetry()
        .memory_mb(256);
    dpdk_net::App::builder()
        .eal(eal)
        .stack(|stack| stack.dad = false)
        .idle(dpdk_net::IdlePolicy::Yield { after: 100 })
        .address(format!("{SERVER}/24"))
}
