//! `route`: where packets go.

use dpdk_net_stack::{Duration, Origin, RouteInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::first_queues;
use crate::app::control_socket::command::{Command, Question, Reply, members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const ROUTE: Command = Command {
    name: "route",
    help: "the routes of each port in the order of precedence, or of one \"port\"",
    run: route,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    port: Option<String>,
}

fn route(app: &Application, question: &Question) -> Result<Reply, String> {
    let Members { port } = members(question)?;
    let mut all = Vec::new();
    for context in first_queues(app, port.as_deref())? {
        let routes = context.handle().routes();
        all.extend(routes.iter().map(|it| entry(context.port_name(), it)));
    }
    value(all.into())
}

fn entry(port: &str, it: &RouteInfo) -> Value {
    let lifetime = (it.lifetime != Duration::MAX).then_some(it.lifetime.as_secs());
    json!({
        "port": port,
        "to": format!("{}/{}", it.route.dest, it.route.prefix_len),
        "via": it.route.gateway,
        "vlan": it.route.vlan.unwrap_or(0),
        "origin": origin(it.origin),
        "lifetime_s": lifetime,
    })
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Configured => "configured",
        Origin::Leased => "dhcp",
        Origin::OnLink => "link",
        Origin::Advertised => "ra",
        _ => "unknown",
    }
}
