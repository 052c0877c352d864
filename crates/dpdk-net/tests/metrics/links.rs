//! A link that goes down and comes back is told by whoever tells of links: the log, the metrics and the control socket.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dpdk_net::Context;
use dpdk_net::control::Client;
use dpdk_net_testkit::bed::Netns;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::common::kernel::{app_facing_kernel, eal_facing_kernel, kernel_up};
use crate::figure;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the log was told of links: the port, and whether its link is up.
#[derive(Clone, Default)]
struct Changes(Arc<Mutex<Vec<(String, bool)>>>);

impl Subscriber for Changes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "dpdk_net::link"
    }

    fn event(&self, event: &Event<'_>) {
        let mut change = Change::default();
        event.record(&mut change);
        let told = (change.port.unwrap(), change.up.unwrap());
        self.0.lock().unwrap().push(told);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Change {
    port: Option<String>,
    up: Option<bool>,
}

impl Visit for Change {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "up" {
            self.up = Some(value);
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "port" {
            self.port = Some(value.to_owned());
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// What the control socket says of the port's link, in both places.
async fn told_by_control(socket: &std::path::Path) -> [bool; 2] {
    let socket = socket.to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(socket).unwrap();
        let ports = client.ask(&json!({ "command": "ports" })).unwrap();
        let queues = client.ask(&json!({ "command": "queues" })).unwrap();
        [&ports[0], &queues["ports"][0]].map(|port| port["link_up"].as_bool().unwrap())
    });
    asking.await.unwrap()
}

fn told_by_metrics(ctx: &Context) -> bool {
    let families = ctx.metrics().gather();
    let up = figure(
        &families,
        "dpdk_net_port_link_up",
        &[("port", ctx.port_name())],
    );
    up == 1
}

/// Waits until all say that the link is so, and the log has been told of as many changes.
async fn until(ctx: &Context, socket: &std::path::Path, changes: &Changes, wanted: &[bool]) {
    let begun = Instant::now();
    let up = *wanted.last().unwrap_or(&true);
    loop {
        let told = changes.0.lock().unwrap().clone();
        assert!(
            told.iter().all(|(port, _)| port == ctx.port_name()),
            "{told:?}"
        );
        let told: Vec<bool> = told.into_iter().map(|(_, up)| up).collect();
        let now = (told_by_metrics(ctx), told_by_control(socket).await);
        if now == (up, [up; 2]) && told == wanted {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{now:?} {told:?}, not {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_link_that_goes_down_and_comes_back_is_told_to_all_who_ask() {
    let changes = Changes::default();
    tracing::subscriber::set_global_default(changes.clone()).unwrap();
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = eal_facing_kernel("net_tap0,iface=tp0");
    kernel_up(&netns, "tp0");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("links.sock");
    app_facing_kernel(eal)
        .control_socket(&socket)
        .run(async |ctx| {
            // An answer comes from the thread that looks at links: it has looked once, at a link that is up.
            until(&ctx, &socket, &changes, &[]).await;
            netns.ip(&["link", "set", "tp0", "down"]).unwrap();
            until(&ctx, &socket, &changes, &[false]).await;
            netns.ip(&["link", "set", "tp0", "up"]).unwrap();
            until(&ctx, &socket, &changes, &[false, true]).await;
        })
        .unwrap();
}
