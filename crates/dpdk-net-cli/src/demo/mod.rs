//! `dpdk-net demo`: a web site and the small services on a DPDK port, with the kernel at the other end.
//!
//! The order is what keeps a machine clean: check the command line, check the machine, get the rights, check
//! the network, and only then make something. What is made is undone by whoever owns it: the TAP by the kernel
//! when the port closes, a veth pair by its guard, DPDK's directory at the end of [`run`].

mod args;
mod banner;
mod cidr;
mod control;
mod device;
mod figures;
mod kernel;
pub(crate) mod namespace;
mod preflight;
mod services;
mod site;

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::rte::{Eal, EalBuilder};
use dpdk_net::{App, Context, IdlePolicy};
use rustix::thread::{CpuSet, sched_getaffinity};
use tokio::sync::watch;

pub(crate) use self::args::DemoArgs;
use self::control::ControlPlace;
use self::device::Device;
use self::figures::Figures;
use self::kernel::{Aside, VethPair};
use self::namespace::Place;
use self::services::{Datagrams, Listener, Service};
use crate::failure::{Failure, Result};
use crate::machine::runtime_directory;

/// Turns without work after which the worker lets others have its CPU. The clients run on this machine too.
const YIELD_AFTER: u32 = 256;

/// Runs the demo to its end.
pub(crate) fn run(args: DemoArgs) -> Result {
    let args = args.checked()?;
    let cpu = polling_cpu(args.lcore)?;
    preflight::machine(&args)?;
    let place = namespace::enter(&args)?;
    preflight::network(&args)?;

    let aside = Aside::start()?;
    let _pair = match args.device {
        Device::Veth => Some(VethPair::create(&args.interface)?),
        _ => None,
    };
    let ended = serve(&args, place, cpu, aside);
    remove_runtime_directory(&args.file_prefix);
    ended
}

fn serve(args: &DemoArgs, place: Place, cpu: u16, aside: Aside) -> Result {
    let mut app = App::builder()
        .eal(eal(args, cpu))
        .port(args.device.port_name())
        .drain_timeout(args.drain_timeout());
    for address in &args.addresses {
        app = app.address(address.to_string());
    }
    for gateway in &args.gateways {
        app = app.gateway(*gateway);
    }
    let control = ControlPlace::find(&args.file_prefix);
    let socket = control.as_ref().map(|place| place.path().to_owned());
    if let Some(socket) = &socket {
        app = app.control_socket(socket);
    }
    if let Some(mtu) = args.mtu {
        app = app.mtu(mtu);
    }
    if !matches!(args.device, Device::Pci(_)) {
        app = app.idle(IdlePolicy::Yield { after: YIELD_AFTER });
    }
    let program = args.clone();
    match app.run(move |context| serve_on(context, program, (place, cpu, socket), aside)) {
        Ok(ended) => ended,
        // The connections that were left after the drain timeout were reset: an end in good order.
        Err(dpdk_net::Error::Stopped { .. }) => Ok(()),
        Err(error) => Err(Failure::new(
            error.to_string(),
            args.device.remedy().unwrap_or_default(),
        )),
    }
}

/// The application, on the worker: everything here runs beside the stack on the polling core.
async fn serve_on(
    context: Context,
    args: DemoArgs,
    (place, cpu, socket): (Place, u16, Option<PathBuf>),
    aside: Aside,
) -> Result {
    if args.device.has_kernel_end() {
        let interface = args.interface.clone();
        let (peers, private) = (args.peer_addresses.clone(), place == Place::Namespace);
        aside
            .run(move || kernel::configure(&interface, &peers, private))
            .await?;
    }

    let (stop, stopped) = watch::channel(false);
    if !args.no_small_services {
        for service in Service::ALL {
            let listener = TcpListener::bind(any(service.port()))
                .await
                .map_err(|e| cannot_listen(service.port(), &e))?;
            let socket = UdpSocket::bind(any(service.port()))
                .await
                .map_err(|e| cannot_listen(service.port(), &e))?;
            tokio::spawn(services::serve_tcp(listener, service, stopped.clone()));
            tokio::spawn(services::serve_udp(socket, service));
        }
    }
    let listener = TcpListener::bind(any(args.http_port))
        .await
        .map_err(|e| cannot_listen(args.http_port, &e))?;

    let (port, addresses) = (
        args.device.port_name(),
        args.addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    );
    let source = context.clone();
    let site = site::router(Arc::new(move || {
        Figures::new(&source.stats(), &port, &addresses)
    }));

    banner::print(&args, place, cpu, socket.as_deref());
    let shutdown = context.shutdown();
    let graceful = async move {
        shutdown.await;
        // Connections of the small services have no end of their own.
        stop.send_replace(true);
    };
    axum::serve(listener, site)
        .with_graceful_shutdown(graceful)
        .await
        .map_err(|error| Failure::new(format!("the web site ended: {error}"), ""))
}

fn any(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn cannot_listen(port: u16, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot listen on port {port}: {error}"),
        "choose another --http-port, or leave out the small services with --no-small-services",
    )
}

fn eal(args: &DemoArgs, cpu: u16) -> EalBuilder {
    // One lcore, whatever the number of its CPU: DPDK's lcore ids end before some machines' CPUs do.
    let mut eal = Eal::builder("dpdk-net-demo")
        .lcores(format!("0@{cpu}"))
        .file_prefix(&args.file_prefix)
        .memory_mb(args.memory)
        // Nobody attaches to the demo, and so no file of DPDK's is left when it is killed.
        .no_telemetry();
    eal = if args.wants_hugepages() {
        eal.in_memory()
    } else {
        eal.no_huge().no_shconf()
    };
    eal = match &args.device {
        Device::Pci(address) => eal.allow(address),
        _ => eal.no_pci(),
    };
    if let Some(vdev) = args.device.vdev(&args.interface) {
        eal = eal.vdev(vdev);
    }
    eal
}

/// The CPU to poll on: the one asked for, or the last that this process may use, since the first often serves
/// the machine's interrupts.
fn polling_cpu(wanted: Option<u16>) -> Result<u16> {
    let allowed = sched_getaffinity(None).map_err(|error| {
        Failure::new(
            format!("cannot tell which CPUs this process may use: {error}"),
            "",
        )
    })?;
    let cpus: Vec<u16> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .filter_map(|cpu| u16::try_from(cpu).ok())
        .collect();
    match (wanted, cpus.last()) {
        (None, Some(last)) => Ok(*last),
        (Some(cpu), _) if cpus.contains(&cpu) => Ok(cpu),
        (wanted, _) => Err(Failure::usage(
            format!(
                "--lcore {}: this process may not use that CPU",
                wanted.unwrap_or(0)
            ),
            format!(
                "it may use: {}",
                cpus.iter()
                    .map(u16::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )),
    }
}

/// DPDK makes a directory for each file prefix and leaves it there, empty in our case.
fn remove_runtime_directory(prefix: &str) {
    let dpdk = runtime_directory();
    // Fails, as it should, where another DPDK program has files.
    if fs::remove_dir(dpdk.join(prefix)).is_ok() {
        let _ = fs::remove_dir(dpdk);
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

impl Datagrams for UdpSocket {
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Self::recv_from(self, buffer).await
    }

    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        Self::send_to(self, datagram, to).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_not_ours_is_refused() {
        let cpu = polling_cpu(None).unwrap();
        assert_eq!(polling_cpu(Some(cpu)), Ok(cpu));
        let failure = polling_cpu(Some(u16::MAX)).unwrap_err();
        assert!(
            failure.to_string().contains("it may use:") && failure.exit_code() == 2,
            "{failure}"
        );
    }
}
