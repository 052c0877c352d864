//! What of a changed file becomes effective while the application runs.

use std::sync::Arc;

use dpdk_net_config::{Changes, Config, File, Network};
use dpdk_net_packet::MacAddr;
use dpdk_net_stack as stack;

use super::settings;
use crate::app::{Application, Context, Subsystem, SubsystemFuture};
use crate::error::Error;

/// Brings the settings of a file that can change to the stacks.
pub(super) struct Live {
    /// The file whose settings hold.
    applied: Arc<File>,
}

impl Live {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { applied: file }
    }
}

impl Subsystem for Live {
    fn name(&self) -> &str {
        "settings"
    }

    fn start<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    fn reload<'a>(&'a mut self, app: &'a Application, _: &'a Changes) -> SubsystemFuture<'a> {
        Box::pin(async move {
            let Some(new) = app.file() else {
                return Ok(());
            };
            let old = std::mem::replace(&mut self.applied, new.clone());
            let networks = old.config().networks().into_iter();
            let networks = networks.zip(new.config().networks());
            for (index, ((_, _, old), (_, _, network))) in networks.enumerate() {
                let name = new.port_name(index);
                let mut contexts = app.contexts().iter();
                let context = contexts.find(|ctx| ctx.queue() == 0 && ctx.port_name() == name);
                if let Some(context) = context {
                    apply(context, new.config(), old, network)?;
                }
            }
            Ok(())
        })
    }
}

/// Changes one port. The first thing that is refused is told; what came before it holds.
fn apply(context: &Context, config: &Config, old: &Network, new: &Network) -> Result<(), Error> {
    let (before, after) = (settings::routes(old), settings::routes(new));
    for route in before.iter().filter(|route| !after.contains(route)) {
        context.remove_route(route)?;
    }
    for route in after.iter().filter(|route| !before.contains(route)) {
        context.add_route(*route)?;
    }
    let (before, after) = (settings::neighbors(old), settings::neighbors(new));
    let is_there = |one: &stack::Neighbor| {
        after
            .iter()
            .any(|other| (other.vlan, other.addr) == (one.vlan, one.addr))
    };
    for gone in before.iter().filter(|one| !is_there(one)) {
        context.remove_neighbor(gone.vlan, gone.addr);
    }
    for neighbor in after.iter().filter(|one| !before.contains(one)) {
        context.set_neighbor(*neighbor)?;
    }
    #[cfg(feature = "resolver")]
    context.dns().change(|dns| *dns = settings::dns(&new.dns))?;
    reconfigure(context, config, new)
}

/// Takes over what is named, and leaves the rest as it is.
macro_rules! take_over {
    ($to:ident from $from:expr; $($field:ident),*) => {
        $($to.$field.clone_from(&$from.$field);)*
    };
}

/// The limits and settings of TCP that can change: those that [`Stack::reconfigure`](stack::Stack::reconfigure) takes.
fn reconfigure(context: &Context, config: &Config, network: &Network) -> Result<(), Error> {
    let mut wanted = stack::Config::new(MacAddr::ZERO);
    settings::tune(config, network)(&mut wanted);
    let (mut limits, mut tcp) = context.limits();
    take_over! {
        limits from wanted.limits;
        neighbors, pending_per_neighbor, pending_bytes, reassembly_bytes, icmp_errors_per_second,
        echo_replies_per_second
    }
    take_over! {
        tcp from wanted.tcp;
        congestion, nodelay, keepalive, syn_retries, syn_ack_retries, connect_timeout, user_timeout, orphan_timeout,
        fin_wait2_timeout, max_connections, max_orphans, challenge_acks_per_second, resets_per_second
    }
    context.reconfigure(&limits, &tcp)
}
