//! A subsystem that tells the log when a port's link goes down or comes back.

use std::time::Duration;

use super::Context;
use super::subsystem::{Application, Subsystem, SubsystemFuture};

/// How often the links are looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Looks at the links.
#[derive(Debug)]
pub(super) struct Links;

impl Subsystem for Links {
    fn name(&self) -> &str {
        "links"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        let app = app.clone();
        Box::pin(async move {
            tokio::task::spawn_local(watch(app));
            Ok(())
        })
    }
}

async fn watch(app: Application) {
    let ports = app.contexts().iter().filter(|ctx| ctx.queue() == 0);
    let mut ports: Vec<(&Context, Option<bool>)> = ports.map(|ctx| (ctx, None)).collect();
    loop {
        for (ctx, known) in &mut ports {
            let Ok(link) = ctx.port().link() else {
                continue;
            };
            if known.replace(link.up).is_some_and(|was| was != link.up) {
                let (port, up) = (ctx.port_name(), link.up);
                tracing::info!(target: "dpdk_net::link", port, up, "the link has changed");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
