//! The commands, one noun a file.

pub(super) mod capture;
#[cfg(feature = "config")]
pub(super) mod config;
pub(super) mod help;
#[cfg(feature = "config")]
pub(super) mod log;
pub(super) mod neigh;
pub(super) mod ports;
pub(super) mod queues;
pub(super) mod route;
pub(super) mod shutdown;
pub(super) mod ss;
pub(super) mod stats;
pub(super) mod trace;
pub(super) mod version;

use crate::app::Context;
use crate::app::subsystem::Application;

/// The first queues of the ports, whose stacks know what those of the others know too: of all ports, or of the one that has this name.
fn first_queues<'a>(
    app: &'a Application,
    port: Option<&'a str>,
) -> Result<impl Iterator<Item = &'a Context>, String> {
    let all = || app.contexts().iter().filter(|ctx| ctx.queue() == 0);
    if let Some(name) = port
        && !all().any(|ctx| ctx.port_name() == name)
    {
        let names: Vec<_> = all().map(Context::port_name).collect();
        return Err(format!("there is no port {name:?}: {}", names.join(", ")));
    }
    Ok(all().filter(move |ctx| port.is_none_or(|name| ctx.port_name() == name)))
}
