//! From settings to a started port and a worker over it.
//!
//! Everything that can be refused without touching the machine is refused first; then EAL, port, addresses
//! and link, in DPDK's order. What fails gives back what was started before, by ownership.

use std::time::{Duration, Instant};

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::flow::{Flow, FlowRules};
use dpdk_net_rte::port::{
    DescriptorLimits, Offload, PortInfo, Started, TxOffloads, Unconfigured, Wish,
};
use dpdk_net_rte::{Eal, Mempool, Port, PortConfig, PortControl};
use dpdk_net_stack::{Config, ConfigError, IfAddr, MAX_MTU, MIN_MTU, Vlan};

use super::builder::EalSource;
use super::port::FlowEntry;
use super::run::deadline;
use super::{AppBuilder, PortBuilder};
use crate::affinity::Affinity;
use crate::device::{BURST, LINK_HEADER, SendMemory};
use crate::error::Error;
use crate::idle::IdlePolicy;
use crate::peers::{Peer, PeersConfig, PeersControl};
use crate::runtime::Runtime;
use crate::worker::{Worker, WorkerConfig};

/// How often the link is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes of payload in an mbuf that is sent from by reference.
const CHUNK: usize = 16 * 1024;

/// Mbufs that an lcore may keep for itself.
const CACHE: u32 = 256;

/// What runs when everything is up.
pub(super) struct Up<R: Runtime> {
    pub(super) worker: Worker<R>,
    pub(super) mempools: Vec<Mempool>,
    pub(super) port: Port<Started>,
    pub(super) name: String,
    /// Kept for as long as the port runs.
    pub(super) flows: Vec<Flow>,
}

/// A started port and what workers over its queues are made of.
pub(super) struct Ready {
    pub(super) port: Port<Started>,
    pub(super) info: PortInfo,
    /// What the application calls it.
    pub(super) name: String,
    /// What all workers share, if there are several.
    pub(super) peers: Option<PeersControl>,
    /// All of the port's.
    pub(super) mempools: Vec<Mempool>,
    /// A configuration for each queue, in their order.
    pub(super) workers: Vec<WorkerConfig>,
    /// Kept for as long as the port runs.
    pub(super) flows: Vec<Flow>,
}

/// What all ports of an application are told alike.
pub(super) struct Foundation<'a> {
    pub(super) eal: &'a Eal,
    pub(super) affinity: Affinity,
    pub(super) idle: IdlePolicy,
    pub(super) peers: &'a PeersConfig,
}

pub(super) fn bring_up<R: Runtime>(
    builder: AppBuilder,
    affinity: Affinity,
) -> Result<Up<R>, Error> {
    if !builder.others.is_empty() {
        return Err(Error::BadValue {
            what: "the number of ports",
            given: builder.others.len() as u64 + 1,
            expected: "`run` has one worker with one queue: several ports are served by `run_each`"
                .to_owned(),
        });
    }
    check(&builder.first)?;
    let eal = start_eal(builder.eal)?;
    let (port, info) = open(&eal, &builder.first)?;
    let common = Foundation {
        eal: &eal,
        affinity,
        idle: builder.idle,
        peers: &builder.peers,
    };
    let Ready {
        port,
        info,
        name,
        mut workers,
        mempools,
        flows,
        ..
    } = ready(&common, builder.first, port, info, 1)?;
    let worker = Worker::on(vec![workers.pop().ok_or(Error::NoPort)?])?;
    announce(&port, &info);
    Ok(Up {
        worker,
        mempools,
        port,
        name,
        flows,
    })
}

/// Says what the port is like.
pub(super) fn announce(port: &Port<Started>, info: &PortInfo) {
    tracing::info!(
        port = port.name(),
        driver = info.driver,
        queues = port.queue_counts().0,
        "started"
    );
    tracing::info!(port = port.name(), "offloads:\n{}", port.offloads());
}

/// Finds what can't be before anything is started.
pub(super) fn check(port: &PortBuilder) -> Result<(), Error> {
    port.addressing.check()?;
    let (addresses, vlans) = addresses(port)?;
    check_networks(port, &addresses, &vlans)?;
    if let Some(mtu) = port.mtu
        && !(MIN_MTU..=MAX_MTU).contains(&mtu)
    {
        return Err(Error::BadValue {
            what: "the MTU",
            given: mtu.into(),
            expected: format!("an IP MTU of {MIN_MTU} to {MAX_MTU} bytes is needed"),
        });
    }
    Ok(())
}

pub(super) fn start_eal(source: EalSource) -> Result<Eal, Error> {
    Ok(match source {
        EalSource::Started(eal) => eal,
        EalSource::Builder(builder) => builder.init()?,
        EalSource::Default => Eal::builder(program_name()).init()?,
    })
}

/// The port that is meant, not started yet.
pub(super) fn open(
    eal: &Eal,
    builder: &PortBuilder,
) -> Result<(Port<Unconfigured>, PortInfo), Error> {
    let port = match &builder.name {
        Some(name) => Port::open(eal, name)?,
        None => Port::open(eal, eal.ports().first().ok_or(Error::NoPort)?.id)?,
    };
    let info = port.info()?;
    Ok((port, info))
}

/// Starts the port with so many queues.
pub(super) fn ready(
    common: &Foundation<'_>,
    builder: PortBuilder,
    port: Port<Unconfigured>,
    info: PortInfo,
    count: u16,
) -> Result<Ready, Error> {
    let eal = common.eal;
    #[cfg(feature = "resolver")]
    let dns = crate::Dns::new(builder.dns.clone())?;
    let (addresses, vlans) = addresses(&builder)?;
    let name = builder.alias.clone().unwrap_or_else(|| info.name.clone());
    let mtu = builder.mtu.unwrap_or_else(|| default_mtu(&info));

    let pool = |name: &str| mempool(eal, &info, name, mtu, builder.mbufs, builder.descriptors);
    let pools = (0..count).map(|queue| pool(&queue.to_string()));
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let fallback = (count > 1).then(|| pool("all")).transpose()?;
    let mut offloads = builder.offloads;
    if vlans.is_empty() && offloads.wish(Offload::VlanStrip) == Wish::Auto {
        // There is nothing to be stripped.
        offloads = offloads.with(Offload::VlanStrip, Wish::Off);
    }
    let config = PortConfig {
        rx_descriptors: builder.descriptors,
        tx_descriptors: builder.descriptors,
        // A default is not forced on drivers that can't change theirs.
        mtu: builder.mtu,
        offloads,
        rss: builder.rss,
        ..PortConfig::queues(count)
    };
    let port = port
        .configure(&config, &pools)
        .map_err(dpdk_net_rte::Error::from)?
        .start()
        .map_err(dpdk_net_rte::Error::from)?;

    // The driver may have rounded, or keep an MTU of its own.
    let mtu = port.mtu().map_or(mtu, |actual| actual.min(mtu));

    let mac = set_address(&port, &info, builder.mac)?;
    receive_multicast(&port);
    wait_for_link(&port, builder.link_timeout);

    let mut stack = Config::new(mac);
    stack.mtu = mtu;
    stack.addresses = addresses;
    stack.vlans = vlans;
    stack.routes = builder.routes;
    builder.addressing.configure(&mut stack)?;
    getrandom::fill(&mut stack.seed).map_err(Error::Random)?;
    for tune in builder.tune {
        tune(&mut stack);
    }

    tracing::info!(port = port.name(), %mac, mtu, addresses = ?stack.addresses, vlans = ?stack.vlans, "addresses");

    let mut peers = Vec::new();
    if count > 1 {
        let ring = format!("dpdk-net-{}", info.id.get());
        let mut config = common.peers.clone().sized_for(count, &stack.tcp);
        config.count_loads |= builder.rebalance.is_some();
        peers = crate::peers::peers(eal, &ring, count, &config)?;
        let rss = port.rss();
        tracing::info!(port = port.name(), "RSS:\n{rss}");
        for warning in rss.warnings() {
            tracing::warn!(port = port.name(), "{warning}");
        }
        if let Some(peer) = peers.first() {
            peer.set_rss(&rss, port.reta().ok().flatten());
        }
    }
    let control = peers.first().map(Peer::control);
    let mut peers = peers.into_iter();
    let mut mempools: Vec<Mempool> = pools.iter().chain(&fallback).cloned().collect();
    let tx = port.offloads().tx();
    let memory = builder.send_memory / usize::from(count);
    let workers = port.take_queues()?.into_iter().zip(pools).zip(0..);
    let make = |((pair, pool), queue)| {
        let mut config = WorkerConfig::new(eal, pair, pool, stack.clone())
            .idle(common.idle)
            .blocking_affinity(Some(common.affinity));
        #[cfg(feature = "resolver")]
        {
            config = config.dns(dns.clone());
        }
        if let Some(memory) = send_memory(eal, &info, queue, tx, memory) {
            mempools.extend([memory.payload.clone(), memory.references.clone()]);
            config = config.send_memory(memory);
        }
        if let Some(pool) = &fallback {
            config = config.fallback_mempool(pool.clone());
        }
        match peers.next() {
            Some(peer) => config.peer(peer),
            None => config,
        }
    };
    let workers = workers.map(make).collect();
    let flows = make_rules(&port, builder.rules)?;
    Ok(Ready {
        workers,
        mempools,
        peers: control,
        name,
        port,
        info,
        flows,
    })
}

/// Makes the flow rules that were asked for.
fn make_rules(port: &Port<Started>, entries: Vec<FlowEntry>) -> Result<Vec<Flow>, Error> {
    let mut flows = Vec::new();
    for entry in entries {
        match port.create_flow(&entry.rule) {
            Ok(flow) => flows.push(flow),
            Err(error) if entry.optional => {
                tracing::warn!(port = port.name(), %error, "an optional flow rule was refused");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(flows)
}

/// All addresses, those given as text parsed: the port's own and those in VLANs.
fn addresses(builder: &PortBuilder) -> Result<(Vec<IfAddr>, Vec<Vlan>), Error> {
    let parsed = |text: &String| {
        text.parse()
            .map_err(|error: ConfigError| Error::BadAddress {
                what: "the address",
                given: text.clone(),
                why: error.to_string(),
            })
    };
    let mut addresses = builder.if_addrs.clone();
    for text in &builder.addresses {
        addresses.push(parsed(text)?);
    }
    let mut vlans = builder.vlans.clone();
    for (at, text) in &builder.vlan_addresses {
        let address = parsed(text)?;
        if let Some(vlan) = vlans.get_mut(*at) {
            vlan.addresses.push(address);
        }
    }
    if !builder.addressing.brings_some()
        && addresses.is_empty()
        && vlans.iter().all(|vlan| vlan.addresses.is_empty())
    {
        return Err(Error::NoAddress);
    }
    Ok((addresses, vlans))
}

/// Lets the stack look at the networks before anything is started, unless they are still to be changed. What depends on the
/// port is looked at again.
fn check_networks(
    builder: &PortBuilder,
    addresses: &[IfAddr],
    vlans: &[Vlan],
) -> Result<(), Error> {
    if !builder.tune.is_empty() {
        return Ok(());
    }
    let mut config = Config::new(MacAddr([2, 0, 0, 0, 0, 1]));
    config.mtu = builder.mtu.unwrap_or(MAX_MTU).clamp(MIN_MTU, MAX_MTU);
    config.addresses = addresses.to_vec();
    config.vlans = vlans.to_vec();
    config.routes = builder.routes.clone();
    builder.addressing.configure(&mut config)?;
    config
        .validate()
        .map_err(|error| Error::Stack(error.into()))
}

/// EAL's name for the program, for its logs and its list of arguments.
fn program_name() -> String {
    std::env::args_os()
        .next()
        .as_deref()
        .map(std::path::Path::new)
        .and_then(|path| path.file_name()?.to_str().map(str::to_owned))
        .unwrap_or_else(|| "dpdk-net".to_owned())
}

/// What the port is configured with where the user did not say: Ethernet's, within what port and stack take.
fn default_mtu(info: &PortInfo) -> u16 {
    1500.clamp(info.min_mtu, info.max_mtu.max(info.min_mtu))
        .clamp(MIN_MTU, MAX_MTU)
}

/// A pool for both directions: both rings full, a burst in hand each way, the lcore's cache, and as much
/// again as a ring so that a burst of sends does not starve reception.
fn mempool(
    eal: &Eal,
    info: &PortInfo,
    name: &str,
    mtu: u16,
    mbufs: Option<u32>,
    descriptors: Option<u16>,
) -> Result<Mempool, Error> {
    let ring =
        |limits: DescriptorLimits| u32::from(descriptors.or(limits.recommended).unwrap_or(1024));
    let (rx, tx) = (ring(info.rx_descriptors), ring(info.tx_descriptors));
    let least = rx + tx + 4 * BURST as u32 + CACHE * 3 / 2 + rx.max(tx);
    let capacity = mbufs.unwrap_or(least.next_power_of_two() - 1);
    let fewest = rx + 2 * BURST as u32;
    if capacity < fewest {
        return Err(Error::BadValue {
            what: "the number of mbufs",
            given: capacity.into(),
            expected: format!(
                "{fewest} are needed at least, for {rx} RX descriptors and a burst each way: ask for more mbufs or fewer descriptors"
            ),
        });
    }
    let frame = usize::from(mtu) + LINK_HEADER.max(info.frame_overhead as usize);
    let room = frame
        .max(2048)
        .max(info.min_rx_buffer as usize)
        .next_multiple_of(64);
    Ok(
        Mempool::builder(eal, format!("dpdk-net-{}-{name}", info.id.get()))
            .capacity(capacity)
            .cache_size(CACHE)
            .data_room(room + Mempool::HEADROOM)
            .socket(info.socket)
            .build()?,
    )
}

/// Pools for payload that is sent by reference: `bytes` of it, and a reference for each mbuf that a full ring and a burst can
/// have. Where memory does not suffice payload is copied, which always works.
fn send_memory(
    eal: &Eal,
    info: &PortInfo,
    queue: u16,
    offloads: TxOffloads,
    bytes: usize,
) -> Option<SendMemory> {
    if bytes == 0 || !offloads.contains(TxOffloads::MULTI_SEGS) {
        return None;
    }
    let chunks = u32::try_from(bytes / CHUNK).unwrap_or(u32::MAX).max(16);
    let pool = |name: &str, capacity: u32, data_room: usize, cache: u32| {
        Mempool::builder(eal, format!("dpdk-net-{name}-{}-{queue}", info.id.get()))
            .capacity(capacity)
            .cache_size(cache.min(capacity / 4))
            .data_room(data_room)
            .socket(info.socket)
            .build()
    };
    let ring = u32::from(info.tx_descriptors.recommended.unwrap_or(1024));
    let made = pool("payload", chunks, CHUNK, 32).and_then(|payload| {
        let references = pool("refs", 2 * ring + 1024 - 1, Mempool::HEADROOM, CACHE)?;
        Ok(SendMemory {
            payload,
            references,
        })
    });
    match made {
        Ok(memory) => Some(memory),
        Err(error) => {
            tracing::warn!(%error, "no memory to send by reference from: payload is copied into each frame");
            None
        }
    }
}

/// Whether the driver keeps one MAC address for both ends of the link, and receives whatever the other sends.
///
/// The TAP driver gives the port the address of the kernel's interface and sets both. The kernel, and we, take
/// frames from one's own address for echoes, so the port's end needs another.
fn shares_address_with_peer(info: &PortInfo) -> bool {
    info.driver == "net_tap"
}

/// The port's own MAC address; a neighbouring one where that belongs to the other end; or a random one where the
/// device has none. Both are locally administered (IEEE 802 section 8.4).
fn own_address(info: &PortInfo) -> Result<MacAddr, Error> {
    let has_one = info.mac.is_unicast();
    if has_one && !shares_address_with_peer(info) {
        return Ok(info.mac);
    }
    let mut bytes = info.mac.octets();
    if has_one {
        bytes[5] ^= 1;
    } else {
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
    }
    bytes[0] = bytes[0] & 0xfc | 0x02;
    Ok(MacAddr(bytes))
}

/// Sets the port's MAC address if one is wished for; returns the one to use.
fn set_address(
    port: &PortControl,
    info: &PortInfo,
    wish: Option<MacAddr>,
) -> Result<MacAddr, Error> {
    let Some(mac) = wish else {
        return own_address(info);
    };
    if mac == info.mac || shares_address_with_peer(info) {
        return Ok(mac);
    }
    if let Err(error) = port.set_mac(mac) {
        tracing::info!(port = port.name(), %mac, %error, "the port keeps its MAC address; receiving for all");
        if let Err(error) = port.set_promiscuous(true) {
            tracing::warn!(port = port.name(), %mac, %error, "frames for this MAC address may not be received");
        }
    }
    Ok(mac)
}

/// IPv6 resolves neighbours by multicast (RFC 4861 section 7.2): it must come in.
fn receive_multicast(port: &PortControl) {
    let Err(error) = port.set_allmulticast(true) else {
        return;
    };
    let Err(promiscuous) = port.set_promiscuous(true) else {
        return;
    };
    if is_unsupported(&error) && is_unsupported(&promiscuous) {
        // Nothing to command means, as a rule, nothing that filters: virtio without a control queue receives
        // all that the other end sends.
        tracing::info!(
            port = port.name(),
            "the device has no receive modes: multicast comes in if the other end sends it"
        );
    } else {
        tracing::warn!(
            port = port.name(),
            allmulticast = %error,
            %promiscuous,
            "multicast may not be received: IPv6 neighbours may not find this port"
        );
    }
}

fn is_unsupported(error: &dpdk_net_rte::Error) -> bool {
    error.errno().and_then(dpdk_net_rte::Errno::name) == Some("ENOTSUP")
}

/// Waits for the link, at most for `limit`. Without it the application starts all the same: a cable may be
/// plugged in later.
fn wait_for_link(port: &PortControl, limit: Duration) {
    let end = deadline(limit);
    loop {
        match port.link() {
            Ok(link) if link.up => return,
            Ok(_) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(_) => {
                tracing::warn!(
                    port = port.name(),
                    "no link after {limit:?}; starting without"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(port = port.name(), %error, "the link's state is unknown");
                return;
            }
        }
    }
}
