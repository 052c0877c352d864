//! What of a changed file becomes effective while the application runs.

use std::sync::Arc;

use dpdk_net_config::{Changes, Config, File, Network};
use dpdk_net_packet::MacAddr;
use dpdk_net_stack as stack;

use super::settings;
use crate::app::{Application, Context, Subsystem, SubsystemFuture};
use crate::error::Error;

/// Takes over those of the fields that have changed.
macro_rules! take_over {
    ($to:ident from $after:expr, where $before:expr, differs; $($field:ident),*) => {{
        let (before, after) = (&$before, &$after);
        $(
            if after.$field != before.$field {
                $to.$field.clone_from(&after.$field);
            }
        )*
    }};
}

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
            let mut refused = Vec::new();
            for (index, (_, _, network)) in new.config().networks().into_iter().enumerate() {
                let name = new.port_name(index);
                let mut contexts = app.contexts().iter();
                let context = contexts.find(|ctx| ctx.queue() == 0 && ctx.port_name() == name);
                let before = old.config().networks().into_iter().enumerate();
                let mut before = before.filter(|(index, _)| old.port_name(*index) == name);
                // A port that is new takes a restart.
                if let (Some(context), Some((_, (_, _, before)))) = (context, before.next()) {
                    let port = Port {
                        context,
                        old: (old.config(), before),
                        new: (new.config(), network),
                    };
                    port.apply(&mut |error: Error| refused.push(format!("{name}: {error}")));
                }
            }
            if refused.is_empty() {
                return Ok(());
            }
            Err(refused.join("; ").into())
        })
    }
}

/// A port whose settings change.
struct Port<'a> {
    context: &'a Context,
    old: (&'a Config, &'a Network),
    new: (&'a Config, &'a Network),
}

impl Port<'_> {
    /// Changes what has changed. What is refused is told, and the rest done all the same.
    fn apply(&self, refused: &mut impl FnMut(Error)) {
        let (context, old, new) = (self.context, self.old.1, self.new.1);
        let (before, after) = (settings::routes(old), settings::routes(new));
        // The new ones first, so that there is a way at any time.
        for route in after.iter().filter(|route| !before.contains(route)) {
            context.add_route(*route).unwrap_or_else(&mut *refused);
        }
        for route in before.iter().filter(|route| !after.contains(route)) {
            // One that is not there was refused when it was to be added.
            let _ = context.remove_route(route);
        }
        let (before, after) = (settings::neighbors(old), settings::neighbors(new));
        let is_there = |one: &stack::Neighbor| {
            let mut after = after.iter();
            after.any(|other| (other.vlan, other.addr) == (one.vlan, one.addr))
        };
        for gone in before.iter().filter(|one| !is_there(one)) {
            context.remove_neighbor(gone.vlan, gone.addr);
        }
        for neighbor in after.iter().filter(|one| !before.contains(one)) {
            context
                .set_neighbor(*neighbor)
                .unwrap_or_else(&mut *refused);
        }
        #[cfg(feature = "resolver")]
        {
            let (before, after) = (settings::dns(&old.dns), settings::dns(&new.dns));
            let changed = context.dns().change(|dns| {
                take_over! { dns from after, where before, differs; servers, search, hosts, timeout, attempts }
            });
            changed.unwrap_or_else(&mut *refused);
        }
        self.reconfigure().unwrap_or_else(refused);
    }

    /// The limits and settings of TCP that can change: those that [`Stack::reconfigure`](stack::Stack::reconfigure) takes. What the
    /// file does not change stays, as somebody else may have.
    fn reconfigure(&self) -> Result<(), Error> {
        let tuned = |(config, network): (&Config, &Network)| {
            let mut tuned = stack::Config::new(MacAddr::ZERO);
            settings::tune(config, network)(&mut tuned);
            tuned
        };
        let (before, after) = (tuned(self.old), tuned(self.new));
        let (mut limits, mut tcp) = self.context.limits();
        take_over! {
            limits from after.limits, where before.limits, differs;
            neighbors, pending_per_neighbor, pending_bytes, reassembly_bytes, icmp_errors_per_second,
            echo_replies_per_second
        }
        take_over! {
            tcp from after.tcp, where before.tcp, differs;
            congestion, nodelay, keepalive, syn_retries, syn_ack_retries, connect_timeout, user_timeout,
            orphan_timeout, fin_wait2_timeout, max_connections, max_orphans, challenge_acks_per_second,
            resets_per_second
        }
        self.context.reconfigure(&limits, &tcp)
    }
}
