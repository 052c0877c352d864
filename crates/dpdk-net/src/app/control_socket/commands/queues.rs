//! `queues`: what each queue carries and drops, and how busy its worker is.

use dpdk_net_stack::metrics::ENABLED;
use serde_json::{Map, Value, json};

use crate::app::Context;
use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::queue_figures::QueueFigures;
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const QUEUES: Command = Command {
    name: "queues",
    help: "each queue: its worker, frames, drops by cause, mempool and connections; each port's own figures",
    run: queues,
};

fn queues(app: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    let all = app.contexts();
    let uptime = all.first().map(|ctx| ctx.shared().uptime().as_secs_f64());
    value(json!({
        "uptime_s": uptime,
        "pid": std::process::id(),
        "counted": ENABLED,
        "queues": all.iter().map(queue).collect::<Vec<_>>(),
        "ports": all.iter().filter(|ctx| ctx.queue() == 0).map(port).collect::<Vec<_>>(),
    }))
}

fn queue(context: &Context) -> Value {
    let QueueFigures {
        figures,
        drops,
        pool,
    } = QueueFigures::of(context);
    let thread = context.handle().thread();
    let mut queue = object(figures);
    queue.extend([
        ("port".to_owned(), context.port_name().into()),
        ("queue".to_owned(), context.queue().into()),
        ("lcore".to_owned(), thread.lcore.map(|it| it.index()).into()),
        ("cpu".to_owned(), thread.cpu().into()),
        ("drops".to_owned(), object(drops).into()),
        (
            "mempool".to_owned(),
            pool.map(|it| json!({ "name": it.name, "capacity": it.capacity, "in_use": it.in_use }))
                .into(),
        ),
    ]);
    queue.into()
}

/// What the NIC counts by itself.
fn port(context: &Context) -> Value {
    let stats = context.port().stats().ok();
    json!({
        "port": context.port_name(),
        "link_up": context.port().link().ok().map(|link| link.up),
        "rx_missed": stats.map(|it| it.rx_missed),
        "rx_errors": stats.map(|it| it.rx_errors),
        "tx_errors": stats.map(|it| it.tx_errors),
        "rx_no_mbuf": stats.map(|it| it.rx_no_mbuf),
    })
}

fn object(figures: Vec<(&'static str, u64)>) -> Map<String, Value> {
    let figures = figures.into_iter();
    figures
        .map(|(name, it)| (name.to_owned(), it.into()))
        .collect()
}
