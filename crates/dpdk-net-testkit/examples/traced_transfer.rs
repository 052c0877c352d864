//! A transfer over a simulated path that loses packets, traced: writes the sender's qlog file to stdout.
//!
//! The picture in docs/tracing.md is made of it:
//!
//! ```text
//! cargo run -p dpdk-net-testkit --example traced_transfer > transfer.qlog
//! cargo run -p dpdk-net-cli -- plot transfer.qlog -o docs/images/transfer.svg
//! ```

use std::io::Write;
use std::time::Duration;

use dpdk_net_stack::{QlogConnection, TraceBudget, TraceFilter, qlog_header};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, Pattern};
use dpdk_net_testkit::hosts::StackHost;
use dpdk_net_testkit::sim::{LinkConfig, Pair};

/// What is transferred, in bytes.
const BYTES: u64 = 3_000_000;
/// The simulation's only source of chance.
const SEED: u64 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 20 Mbit/s, a round trip of 20 ms, 1 % loss of what is sent, a queue of a hundred packets.
    let there = LinkConfig::delay(Duration::from_millis(10))
        .with_rate(20_000_000, 100)
        .with_loss(0.01);
    let back = LinkConfig::delay(Duration::from_millis(10));
    let mut net = Pair::new(
        SEED,
        StackHost::new(1, SEED),
        StackHost::new(2, !SEED),
        there,
        back,
    );
    let (client, server) = (net.client, net.server);
    let stack = net.host_mut::<StackHost>(client).stack_mut();
    let watch = stack.tcp_trace_new(TraceFilter::any(), TraceBudget::new(1), 65_536)?;
    let (to, pattern) = (Family::V4.socket(2, 443), Pattern::new(SEED));
    net.spawn(server, Bulk::listen(to).receiving(pattern, BYTES));
    net.spawn(client, Bulk::connect(to).sending(pattern, BYTES));
    net.drive_apps(Duration::from_secs(600))?;
    net.drive_for(Duration::from_secs(1))?;

    let stack = net.host_mut::<StackHost>(client).stack_mut();
    let trace = stack
        .tcp_trace_begun(watch)
        .ok_or("there was no connection")?;
    let (local, peer) = stack
        .tcp_trace_ends(trace)
        .ok_or("there was no connection")?;
    let mut events = Vec::new();
    stack.tcp_trace_take(trace, &mut events);
    let mut text = qlog_header("a transfer over a simulated path", None);
    let mut connection = QlogConnection::new(0, local, peer);
    let reference = events.first().ok_or("nothing was recorded")?.at;
    for event in &events {
        connection.write(&mut text, reference, event);
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
