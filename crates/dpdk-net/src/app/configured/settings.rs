//! Each setting of a file, and what of the builder it is.

use std::net::SocketAddr;

use dpdk_net_config as config;
use dpdk_net_config::{Config, Destination, File, Idle, Machine, PinPolicy};
use dpdk_net_rte::log::LogLevel;
use dpdk_net_rte::port::{Offload, RssKey, RssRequest, RssTypes, Wish};
use dpdk_net_rte::{Eal, EalBuilder, IovaMode, LcoreId};
use dpdk_net_stack::{self as stack, CongestionAlgorithm, Ecn, IfAddr, Neighbor, Route, Vlan};

use super::devices::Device;
use super::flow;
use crate::app::figures::Figures;
use crate::app::{AppBuilder, ListenerConfig, PortBuilder, PrometheusConfig, Transport};
use crate::dhcp::{v4, v6};
use crate::error::Error;
use crate::idle::IdlePolicy;
use crate::pin::FlowPolicy;
use crate::runtime::RuntimeKind;

/// Memory without huge pages, where the file does not say: EAL's own default, 64 MiB, holds one queue's mbufs.
const MEMORY: u32 = 512;

/// Idle turns before a worker yields, where the file does not say.
const IDLE_TURNS: u32 = 64;

/// Sets what is given.
macro_rules! set {
    ($($to:expr => $from:expr;)*) => {
        $(
            if let Some(given) = $from {
                $to = given;
            }
        )*
    };
}

/// A runtime that a file asks for, if the program has it.
fn runtime(file: &File, wanted: config::Runtime) -> Result<RuntimeKind, Error> {
    #[allow(unreachable_patterns)]
    let feature = match wanted {
        config::Runtime::Tokio => return Ok(RuntimeKind::Tokio),
        config::Runtime::Local => return Ok(RuntimeKind::Local),
        #[cfg(feature = "smol")]
        config::Runtime::Smol => return Ok(RuntimeKind::Smol),
        #[cfg(feature = "compio")]
        config::Runtime::Compio => return Ok(RuntimeKind::Compio),
        config::Runtime::Smol => "smol",
        config::Runtime::Compio => "compio",
    };
    let message = format!("this program was built without {feature}");
    let help =
        format!("build it with dpdk-net's feature `{feature}`, or take \"tokio\" or \"local\"");
    let problem = file.refuse("workers.runtime", message, help);
    Err(problem.into())
}

/// The builder that a file stands for.
pub(super) fn builder(file: &File, machine: &Machine) -> Result<AppBuilder, Error> {
    let config = file.config();
    let mut builder = AppBuilder::new().eal(eal(file, machine));
    let networks = config.networks();
    for (index, (_, settings, network)) in networks.iter().enumerate() {
        let device = Device::of(settings, config, machine);
        let port = port(file, index, &device, settings, network)?;
        let port = port.stack(tune(config, network));
        builder = match index {
            0 => builder.first_port(port),
            _ => builder.add_port(port),
        };
    }
    let workers = &config.workers;
    if let Some(count) = workers.count {
        builder = builder.workers(count);
    }
    builder = builder.idle(match workers.idle {
        Some(Idle::Yield) => IdlePolicy::Yield {
            after: workers.idle_turns.unwrap_or(IDLE_TURNS),
        },
        _ => IdlePolicy::Spin,
    });
    if let Some(wanted) = workers.runtime {
        builder = builder.runtime(runtime(file, wanted)?);
    }
    builder = builder.flow_rules(match workers.pin {
        None | Some(PinPolicy::Prefer) => FlowPolicy::Prefer,
        Some(PinPolicy::Off) => FlowPolicy::Off,
        Some(PinPolicy::Pin) => FlowPolicy::Pin,
    });
    if let Some(flows) = workers.flows {
        builder.peers.flows = Some(flows as usize);
    }
    if let Some(bindings) = workers.bindings {
        builder.peers.bindings = bindings as usize;
    }
    if let Some(timeout) = workers.drain_timeout {
        builder = builder.drain_timeout(timeout.0);
    }
    // There in any case: a reload may want figures.
    builder = builder.subsystem(Figures::new(config.metrics.log_interval.map(|it| it.0)));
    if let Some(path) = &config.control.socket {
        builder = builder.control_socket(path);
    }
    if let Some(listen) = config.metrics.listen {
        builder = builder.prometheus(prometheus(listen.0, &config.metrics));
    }
    if config.dpdk.telemetry != Some(false) {
        builder = builder.dpdk_telemetry();
    }
    for listener in &config.listener {
        builder = builder.listener(listener_config(listener));
    }
    Ok(builder)
}

/// What EAL is started with.
pub(super) fn eal(file: &File, machine: &Machine) -> EalBuilder {
    let config = file.config();
    let dpdk = &config.dpdk;
    let prefix = dpdk.file_prefix.clone().unwrap_or_else(|| prefix(file));
    let mut eal = Eal::builder("dpdk-net").file_prefix(prefix);
    if let Some(lcores) = &config.workers.lcores {
        eal = eal.lcores(lcores.to_string());
    }
    if let Some(main) = config.workers.main {
        eal = eal.main_lcore(LcoreId::new(main));
    }
    let mib = |size: &config::Size| u32::try_from(size.0.div_ceil(1 << 20)).unwrap_or(u32::MAX);
    let huge = machine.hugepages(file);
    if !huge {
        eal = eal.no_huge();
    }
    match (&dpdk.memory, dpdk.socket_memory.as_slice()) {
        (Some(memory), _) => eal = eal.memory_mb(mib(memory)),
        (None, []) if !huge => eal = eal.memory_mb(MEMORY),
        (None, []) => {}
        (None, sockets) => eal = eal.socket_mem(sockets.iter().map(mib)),
    }
    if let Some(dir) = &dpdk.huge_dir {
        eal = eal.huge_dir(dir);
    }
    if dpdk.in_memory == Some(true) {
        eal = eal.in_memory();
    }
    if dpdk.shared_config == Some(false) {
        eal = eal.no_shconf();
    }
    if dpdk.single_file_segments == Some(true) {
        eal = eal.single_file_segments();
    }
    match dpdk.iova {
        Some(config::Iova::Physical) => eal = eal.iova_mode(IovaMode::Physical),
        Some(config::Iova::Virtual) => eal = eal.iova_mode(IovaMode::Virtual),
        None => {}
    }
    if dpdk.telemetry == Some(false) {
        eal = eal.no_telemetry();
    }
    if let Some(level) = config.log.dpdk {
        eal = eal.log_level(log_level(level));
    }
    let devices: Vec<Device> = config
        .port
        .iter()
        .map(|port| Device::of(port, config, machine))
        .collect();
    let on_pci: Vec<&str> = devices.iter().filter_map(Device::pci).collect();
    if dpdk
        .pci
        .unwrap_or(!on_pci.is_empty() || !dpdk.allow.is_empty())
    {
        for blocked in &dpdk.block {
            eal = eal.block(blocked);
        }
        // What nobody asked for is left to others.
        if dpdk.block.is_empty() {
            for allowed in &on_pci {
                eal = eal.allow(allowed);
            }
            for allowed in &dpdk.allow {
                eal = eal.allow(allowed);
            }
        }
    } else {
        eal = eal.no_pci();
    }
    for device in &dpdk.vdevs {
        eal = eal.vdev(device);
    }
    for device in devices.iter().filter_map(Device::vdev) {
        eal = eal.vdev(device);
    }
    eal.args(dpdk.args.iter().cloned())
}

/// The file prefix of a file that gives none: each file its own.
fn prefix(file: &File) -> String {
    let stem = std::path::Path::new(file.name()).file_stem();
    let stem = stem.map_or_else(|| "app".into(), |stem| stem.to_string_lossy());
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!(
        "dpdk-net-{}",
        stem.chars().map(plain).take(48).collect::<String>()
    )
}

fn log_level(level: config::LogLevel) -> LogLevel {
    match level {
        config::LogLevel::Emergency => LogLevel::Emergency,
        config::LogLevel::Alert => LogLevel::Alert,
        config::LogLevel::Critical => LogLevel::Critical,
        config::LogLevel::Error => LogLevel::Error,
        config::LogLevel::Warning => LogLevel::Warning,
        config::LogLevel::Notice => LogLevel::Notice,
        config::LogLevel::Info => LogLevel::Info,
        config::LogLevel::Debug => LogLevel::Debug,
    }
}

fn port(
    file: &File,
    index: usize,
    device: &Device,
    settings: &config::Port,
    network: &config::Network,
) -> Result<PortBuilder, Error> {
    let mut port = PortBuilder::new(device.name());
    if let Some(alias) = settings.name.as_ref().or(settings.interface.as_ref()) {
        port = port.alias(alias);
    }
    if let Some(mtu) = settings.mtu {
        port = port.mtu(mtu);
    }
    if let Some(mac) = settings.mac {
        port = port.mac(mac);
    }
    if let Some(queues) = settings.queues {
        port = port.queues(queues);
    }
    if let Some(descriptors) = settings.descriptors {
        port = port.descriptors(descriptors);
    }
    if let Some(mbufs) = settings.mbufs {
        port = port.mbufs(mbufs);
    }
    if let Some(memory) = settings.send_memory {
        port = port.send_memory(memory.bytes());
    }
    if let Some(timeout) = settings.link_timeout {
        port = port.link_timeout(timeout.0);
    }
    for (offload, wish) in offloads(&settings.offloads) {
        port = port.offload(offload, wish);
    }
    port = port.rss(rss(&settings.rss));
    if let Some(interval) = settings.rss.rebalance {
        port = port.rebalance(interval.0);
    }
    for (at, rule) in settings.flow.iter().enumerate() {
        let made = flow::rule(rule).map_err(|error| {
            let path = format!("port[{index}].flow[{at}]");
            let help = "rules are described in the documentation of flow rules";
            Error::from(file.refuse(&path, error.to_string(), help))
        })?;
        port = port.flow_rule(made, rule.optional == Some(true));
    }
    Ok(with_network(port, network))
}

fn if_addr(cidr: &config::Cidr) -> IfAddr {
    IfAddr {
        addr: cidr.addr,
        prefix_len: cidr.prefix_len,
    }
}

fn with_network(mut port: PortBuilder, network: &config::Network) -> PortBuilder {
    for cidr in &network.addresses {
        port = port.if_addr(if_addr(cidr));
    }
    for settings in &network.vlans {
        let mut vlan = Vlan::new(settings.id);
        vlan.addresses = settings.addresses.iter().map(if_addr).collect();
        vlan.priority = settings.priority.unwrap_or(0);
        vlan.mtu = settings.mtu;
        port = port.vlan_with(vlan);
    }
    #[cfg(feature = "resolver")]
    {
        port = port.dns(dns(&network.dns));
    }
    if network.dhcp4 == Some(true) {
        let client = v4::Config::new();
        port = port.dhcp4(
            0,
            match &network.hostname {
                Some(name) => client.hostname(name),
                None => client,
            },
        );
    }
    if network.dhcp6 == Some(true) {
        port = port.dhcp6(0, v6::Config::new());
    }
    if network.slaac == Some(true) {
        port = port.slaac(0);
    }
    if let Some(timeout) = network.address_timeout {
        port = port.address_timeout(timeout.0);
    }
    port = neighbors(network)
        .into_iter()
        .fold(port, PortBuilder::neighbor);
    routes(network).into_iter().fold(port, PortBuilder::route)
}

/// How names are resolved.
#[cfg(feature = "resolver")]
pub(super) fn dns(settings: &config::Dns) -> crate::ResolverConfig {
    let mut dns = crate::ResolverConfig::with_servers(settings.servers.iter().map(|it| it.0));
    dns.search = settings.search.clone();
    set! {
        dns.hosts => settings.hosts;
        dns.timeout => settings.timeout.map(|timeout| timeout.0);
        dns.attempts => settings.attempts.map(usize::from);
    }
    dns
}

/// The neighbours of a network.
pub(super) fn neighbors(network: &config::Network) -> Vec<Neighbor> {
    let neighbors = network.neighbors.iter().map(|one| Neighbor {
        vlan: one.vlan.unwrap_or(0),
        ..Neighbor::new(one.address, one.mac)
    });
    neighbors.collect()
}

/// The routes of a network, gateways among them.
pub(super) fn routes(network: &config::Network) -> Vec<Route> {
    let gateways = network.gateways.iter().copied().map(Route::default_via);
    let routes = network.routes.iter().filter_map(|entry| match entry.to {
        Destination::Default => Some(Route {
            vlan: entry.vlan,
            ..Route::default_via(entry.via?)
        }),
        Destination::Network(to) => Some(Route {
            dest: to.addr,
            prefix_len: to.prefix_len,
            gateway: entry.via,
            vlan: entry.vlan,
        }),
    });
    gateways.chain(routes).collect()
}

/// What is wished of each offload that the file speaks of.
pub(super) fn offloads(settings: &config::Offloads) -> Vec<(Offload, Wish)> {
    let wishes = [
        (Offload::RxIpv4Checksum, settings.rx_ipv4_checksum),
        (Offload::RxTcpChecksum, settings.rx_tcp_checksum),
        (Offload::RxUdpChecksum, settings.rx_udp_checksum),
        (Offload::Lro, settings.lro),
        (Offload::Scatter, settings.scatter),
        (Offload::VlanStrip, settings.vlan_strip),
        (Offload::RssHash, settings.rss_hash),
        (Offload::Timestamp, settings.timestamp),
        (Offload::TxIpv4Checksum, settings.tx_ipv4_checksum),
        (Offload::TxTcpChecksum, settings.tx_tcp_checksum),
        (Offload::TxUdpChecksum, settings.tx_udp_checksum),
        (Offload::Tso, settings.tso),
        (Offload::TsoIpv6, settings.tso_ipv6),
        (Offload::UdpSegmentation, settings.udp_segmentation),
        (Offload::MultiSegs, settings.multi_segs),
        (Offload::VlanInsert, settings.vlan_insert),
        (Offload::FastFree, settings.fast_free),
    ];
    let wish = |wish| match wish {
        config::OffloadWish::Auto => Wish::Auto,
        config::OffloadWish::On => Wish::On,
        config::OffloadWish::Off => Wish::Off,
    };
    wishes
        .into_iter()
        .filter_map(|(offload, given)| Some((offload, wish(given?))))
        .collect()
}

fn rss(settings: &config::Rss) -> RssRequest {
    use dpdk_net_config::RssHash;
    let types = settings.hash.iter().map(|hash| match hash {
        RssHash::Ipv4 => RssTypes::IPV4,
        RssHash::Ipv4Fragment => RssTypes::FRAGMENT_IPV4,
        RssHash::Ipv4Tcp => RssTypes::TCP_IPV4,
        RssHash::Ipv4Udp => RssTypes::UDP_IPV4,
        RssHash::Ipv4Other => RssTypes::OTHER_IPV4,
        RssHash::Ipv6 => RssTypes::IPV6,
        RssHash::Ipv6Fragment => RssTypes::FRAGMENT_IPV6,
        RssHash::Ipv6Tcp => RssTypes::TCP_IPV6,
        RssHash::Ipv6Udp => RssTypes::UDP_IPV6,
        RssHash::Ipv6Other => RssTypes::OTHER_IPV6,
    });
    RssRequest {
        types: match settings.hash.as_slice() {
            [] => RssTypes::all(),
            _ => types.collect(),
        },
        key: match &settings.key {
            None | Some(config::RssKey::Driver) => RssKey::Driver,
            Some(config::RssKey::Microsoft) => RssKey::Microsoft,
            Some(config::RssKey::Symmetric) => RssKey::Symmetric,
            Some(config::RssKey::Bytes(bytes)) => RssKey::Bytes(bytes.clone()),
        },
    }
}

fn prometheus(listen: SocketAddr, settings: &config::Metrics) -> PrometheusConfig {
    let mut server = PrometheusConfig::new(listen);
    set! {
        server.path => settings.path.clone();
        server.transport => settings.transport.map(|transport| match transport {
            config::Transport::Kernel => Transport::Kernel,
            config::Transport::Stack => Transport::Stack,
        });
    }
    server
}

fn listener_config(settings: &config::Listener) -> ListenerConfig {
    let mut listener = ListenerConfig::tcp(&settings.name, settings.address.0);
    listener.udp = settings.protocol == Some(config::Protocol::Udp);
    listener.first_queue_only = settings.accept == Some(config::AcceptOn::First);
    listener.port = settings.port.clone();
    if let Some(backlog) = settings.backlog {
        listener.backlog = backlog;
    }
    listener
}

/// What a file tells the stack.
pub(super) fn tune(
    config: &Config,
    network: &config::Network,
) -> impl Fn(&mut stack::Config) + use<> {
    let (tcp, udp, limits) = (
        config.tcp.clone(),
        config.udp.clone(),
        config.limits.clone(),
    );
    let dad = network.duplicate_detection;
    move |stack| {
        set! { stack.dad => dad; }
        tune_tcp(&tcp, &mut stack.tcp);
        let time = |time: Option<config::Time>| time.map(|time| time.0);
        let bytes = |size: Option<config::Size>| size.map(config::Size::bytes);
        let count = |count: Option<u32>| count.map(|count| count as usize);
        set! {
            stack.udp.recv_queue_bytes => bytes(udp.recv_queue_bytes);
            stack.udp.max_sockets => count(udp.max_sockets);
            stack.udp.ephemeral_first => udp.ephemeral_first;
            stack.udp.ephemeral_last => udp.ephemeral_last;
            stack.limits.neighbors => count(limits.neighbors);
            stack.limits.pending_per_neighbor => count(limits.pending_per_neighbor);
            stack.limits.pending_bytes => bytes(limits.pending_bytes);
            stack.limits.reassembly_bytes => bytes(limits.reassembly_bytes);
            stack.limits.reassembly_timeout => time(limits.reassembly_timeout);
            stack.limits.icmp_errors_per_second => limits.icmp_errors_per_second;
            stack.limits.echo_replies_per_second => limits.echo_replies_per_second;
            stack.limits.reply_queue => count(limits.reply_queue);
            stack.limits.reply_queue_bytes => bytes(limits.reply_queue_bytes);
        }
    }
}

fn tune_tcp(tcp: &config::Tcp, stack: &mut stack::TcpConfig) {
    let time = |time: Option<config::Time>| time.map(|time| time.0);
    let bytes = |size: Option<config::Size>| size.map(config::Size::bytes);
    let count = |count: Option<u32>| count.map(|count| count as usize);
    set! {
        stack.recv_buffer => bytes(tcp.recv_buffer);
        stack.recv_window => bytes(tcp.recv_window);
        stack.send_buffer => bytes(tcp.send_buffer);
        stack.send_room => bytes(tcp.send_room);
        stack.buffer_growth => bytes(tcp.buffer_growth);
        stack.congestion => tcp.congestion.map(|algorithm| match algorithm {
            config::Congestion::Cubic => CongestionAlgorithm::Cubic,
            config::Congestion::Reno => CongestionAlgorithm::NewReno,
            config::Congestion::Bbr => CongestionAlgorithm::Bbr,
        });
        stack.ecn => tcp.ecn.map(|ecn| match ecn {
            config::Ecn::Off => Ecn::Off,
            config::Ecn::Request => Ecn::Request,
            config::Ecn::Accept => Ecn::Accept,
        });
        stack.sack => tcp.sack;
        stack.timestamps => tcp.timestamps;
        stack.nodelay => tcp.nodelay;
        stack.initial_rto => time(tcp.initial_rto);
        stack.min_rto => time(tcp.min_rto);
        stack.max_rto => time(tcp.max_rto);
        stack.peer_ack_delay => time(tcp.peer_ack_delay);
        stack.syn_retries => tcp.syn_retries;
        stack.syn_queue => count(tcp.syn_queue);
        stack.syn_ack_retries => tcp.syn_ack_retries;
        stack.connect_timeout => time(tcp.connect_timeout);
        stack.user_timeout => time(tcp.user_timeout);
        stack.orphan_timeout => time(tcp.orphan_timeout);
        stack.fin_wait2_timeout => time(tcp.fin_wait2_timeout);
        stack.time_wait => time(tcp.time_wait);
        stack.max_time_wait => count(tcp.max_time_wait);
        stack.max_connections => count(tcp.max_connections);
        stack.max_orphans => count(tcp.max_orphans);
        stack.challenge_acks_per_second => tcp.challenge_acks_per_second;
        stack.resets_per_second => tcp.resets_per_second;
        stack.ack_delay => time(tcp.ack_delay);
        stack.keepalive.idle => time(tcp.keepalive.idle);
        stack.keepalive.interval => time(tcp.keepalive.interval);
        stack.keepalive.count => tcp.keepalive.count;
        stack.ephemeral_first => tcp.ephemeral_first;
        stack.ephemeral_last => tcp.ephemeral_last;
    }
}
