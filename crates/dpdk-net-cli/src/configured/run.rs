//! `dpdk-net run`: a server of static files and a reverse proxy, from a file alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use dpdk_net::config::{Config, File, Machine};
use dpdk_net::net::TcpStream;
use dpdk_net::tls::{TlsListener, TlsStream};
use dpdk_net::{ConfiguredApp, Context, Error};
use dpdk_net_serve::{Limits, SiteService, serve, serve_with_last};
use futures_util::future::{Either, join_all};
use futures_util::{FutureExt, Stream, stream};

use super::{fail, site, tell};
use crate::failure::{Failure, Result};
use crate::output::When;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net run dpdk-net.toml
      Serves what the file's [[route]] say on its [[listener]]. SIGHUP has the file and its certificates read again; SIGTERM and Ctrl-C end
      it once open requests are answered, at most after [workers] drain_timeout.
  DPDK_NET__LOG__FILTER=debug dpdk-net run dpdk-net.toml
      With a setting from the environment over the file's.

A file for a TAP device, which needs root and nothing else:
  [[port]]
  vdev = \"net_tap0,iface=tp0\"
  [network]
  addresses = [\"198.18.0.2/24\"]
  [[listener]]
  name = \"http\"
  address = \"[::]:80\"
  [[route]]
  files = { root = \"/srv/www\" }

Exit code: 0 when it was ended by a signal, 1 for mistakes in the file or what the machine does not have, 2 for a
mistake on the command line.";

/// Serve files and pass requests on, as a configuration file says
///
/// The file alone brings everything up: DPDK, ports, lcores, queues, addresses, listeners, and what is served.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct RunArgs {
    /// The TOML or JSON file
    file: PathBuf,
}

/// Serves until a signal ends it.
pub(crate) fn run(args: &RunArgs, color: When) -> Result<ExitCode> {
    let file = File::read(&args.file).map_err(|problems| {
        tell(&problems, color);
        Failure::told()
    })?;
    let config = file.config().clone();
    let mut problems = site::check(&file);
    if site::served(&config).is_empty() {
        let help = "[[listener]] name = \"http\", address = \"[::]:80\" and [[route]] files = { root = \"/srv/www\" }, say";
        problems.push(file.refuse("route", "there is nothing to serve", help));
    }
    if let Err(problems) = File::refused(problems) {
        tell(&problems, color);
        return Err(Failure::told());
    }
    let app = ConfiguredApp::new(file, Machine::this()).map_err(|error| fail(error, color))?;
    let served = AtomicUsize::new(0);
    let queues = app.run(async |ctx| serve_queue(&ctx, &config, &served).await);
    match queues {
        Ok(queues) => {
            for outcome in queues {
                match outcome {
                    Ok(Ok(())) | Err(Error::Stopped { .. }) => {}
                    Ok(Err(why)) => return Err(Failure::new(why, "")),
                    Err(error) => return Err(fail(error, color)),
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Error::Stopped { .. }) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(fail(error, color)),
    }
}

/// The clients of a listener that are shaking hands when it ends.
fn handshakes(listener: TlsListener) -> impl Stream<Item = (TlsStream, SocketAddr)> {
    stream::unfold(listener.into_handshakes(), |mut handshakes| async move {
        let accepted = handshakes.next().await?;
        Some((accepted, handshakes))
    })
}

/// Serves everything that listens on one queue, until the application ends.
async fn serve_queue(
    ctx: &Context,
    config: &Config,
    served: &AtomicUsize,
) -> std::result::Result<(), String> {
    let drain = config.workers.drain_timeout;
    let limits = Limits {
        drain: drain.map_or(Limits::default().drain, |timeout| timeout.0),
        ..Limits::default()
    };
    let mut servers = Vec::new();
    for name in site::served(config) {
        // It may be another port's, or the first queue's alone.
        let listener = match site::is_https(config, name) {
            true => ctx.tls_listener(name).map(Either::Left),
            false => ctx.listener(name).map(Either::Right),
        };
        let Ok(listener) = listener else {
            continue;
        };
        let made = site::site(config, name).await;
        let service = made.map_err(|error| error.to_string()).and_then(|site| {
            let connect = |upstream| TcpStream::connect(upstream);
            SiteService::new(site, connect).map_err(|error| error.to_string())
        });
        let service = service.inspect_err(|_| ctx.request_shutdown())?;
        if served.fetch_add(1, Ordering::Relaxed) == 0 {
            let addresses = ctx.addresses();
            tracing::info!(port = ctx.port_name(), ?addresses, "serving");
        }
        let (limits, shutdown) = (limits.clone(), ctx.shutdown());
        servers.push(match listener {
            Either::Left(tls) => {
                serve_with_last(tls, service, limits, shutdown, handshakes).left_future()
            }
            Either::Right(tcp) => serve(tcp, service, limits, shutdown).right_future(),
        });
    }
    if servers.is_empty() {
        // What comes to this queue is for others.
        ctx.shutdown().await;
    }
    join_all(servers).await;
    Ok(())
}
