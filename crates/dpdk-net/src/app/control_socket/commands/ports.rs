//! `ports`: devices, links and addresses.

use serde_json::{Value, json};

use crate::app::Context;
use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const PORTS: Command = Command {
    name: "ports",
    help: "each port: its device, link and addresses",
    run: ports,
};

fn ports(app: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    let all = app.contexts().iter();
    value(all.filter(|ctx| ctx.queue() == 0).map(port).collect())
}

fn port(context: &Context) -> Value {
    let control = context.port();
    let link = control.link().ok();
    json!({
        "port": context.port_name(),
        "device": control.name(),
        "mac": control.mac().ok().map(|mac| mac.to_string()),
        "mtu": control.mtu().ok(),
        "queues": control.queue_counts().0,
        "link_up": link.map(|link| link.up),
        "addresses": context.addresses(),
    })
}
