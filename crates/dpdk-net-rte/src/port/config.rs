//! What is asked of a port, and whether it can give it: everything that can be refused is refused here, in
//! words, before DPDK sees it.

use super::negotiate::{Circumstances, negotiate, without_optional};
use super::rss::RssPlan;
use super::{OffloadRequest, Offloads, PortInfo, RssRequest, RxOffloads, TxOffloads};
use crate::{Error, Mempool};

/// The standard MTU of Ethernet.
const ETHERNET_MTU: u16 = 1500;

/// What is asked of a port. Starts with one queue each way and what the driver recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues, at least 1. Default: 1. With more than one, packets are spread by RSS where the port can do that
    /// ([`PortConfig::rss`]).
    pub rx_queues: u16,
    /// Transmit queues, at least 1. Default: 1.
    pub tx_queues: u16,
    /// Descriptors a receive queue; `None` takes what the driver recommends, else 1024.
    pub rx_descriptors: Option<u16>,
    /// Descriptors a transmit queue; `None` takes what the driver recommends, else 1024.
    pub tx_descriptors: Option<u16>,
    /// Bytes of IP packet that a frame carries; `None` takes 1500, or less where the port can't.
    pub mtu: Option<u16>,
    /// How packets are spread over several receive queues.
    pub rss: RssRequest,
    /// What is wished of each offload. Default: [`OffloadRequest::NONE`].
    pub offloads: OffloadRequest,
    /// By flag, receive offloads that the port must have, as [`Wish::On`](super::Wish::On).
    pub rx_offloads: RxOffloads,
    /// By flag, receive offloads to turn on where the port has them, as [`Wish::Auto`](super::Wish::Auto).
    pub rx_offloads_if_offered: RxOffloads,
    /// By flag, transmit offloads that the port must have.
    pub tx_offloads: TxOffloads,
    /// By flag, transmit offloads to turn on where the port has them.
    pub tx_offloads_if_offered: TxOffloads,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: None,
            tx_descriptors: None,
            mtu: None,
            rss: RssRequest::default(),
            offloads: OffloadRequest::NONE,
            rx_offloads: RxOffloads::empty(),
            rx_offloads_if_offered: RxOffloads::empty(),
            tx_offloads: TxOffloads::empty(),
            tx_offloads_if_offered: TxOffloads::empty(),
        }
    }
}

impl PortConfig {
    /// `n` receive and `n` transmit queues, the rest by default.
    pub fn queues(n: u16) -> Self {
        Self {
            rx_queues: n,
            tx_queues: n,
            ..Self::default()
        }
    }
}

/// A configuration that a port can take.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    pub(super) rx_descriptors: u16,
    pub(super) tx_descriptors: u16,
    pub(super) mtu: u16,
    /// Whether the user asked for this MTU.
    pub(super) set_mtu: bool,
    pub(super) offloads: Offloads,
    pub(super) circumstances: Circumstances,
    pub(super) rss: RssPlan,
}

impl PortConfig {
    /// Checks the configuration against the port and the pools.
    pub(super) fn plan(&self, port: &PortInfo, pools: &[Mempool]) -> Result<Plan, Error> {
        let rx_queues = queue_count(port, "rx_queues", self.rx_queues, port.max_rx_queues)?;
        let tx_queues = queue_count(port, "tx_queues", self.tx_queues, port.max_tx_queues)?;
        if pools.len() != 1 && pools.len() != usize::from(rx_queues) {
            return Err(invalid(
                port,
                "mempools",
                format!(
                    "{} given for {rx_queues} receive queues: give one for all or one for each",
                    pools.len()
                ),
            ));
        }
        let descriptors =
            |name: &str, asked: Option<u16>, limits: super::DescriptorLimits| match asked {
                None => Ok(limits.choose()),
                Some(asked) => match limits.problem(asked) {
                    None => Ok(asked),
                    Some(problem) => Err(invalid(port, name, problem)),
                },
            };
        let mtu = self
            .mtu
            .unwrap_or_else(|| ETHERNET_MTU.clamp(port.min_mtu, port.max_mtu));
        check_mtu(port, mtu)?;
        let circumstances = Circumstances {
            frames_exceed_buffers: pools
                .iter()
                .any(|pool| rx_room(pool) < longest_frame(port, mtu)),
            many_queues: rx_queues > 1,
            nothing_hashed: self.rss.hashed_by(port).is_empty(),
            pools_pair_up: pools.len() == 1 || tx_queues <= rx_queues,
        };
        let offloads = negotiate(self, port, circumstances)?;
        check_buffers(port, mtu, offloads.rx(), pools)?;

        Ok(Plan {
            rx_queues,
            tx_queues,
            rx_descriptors: descriptors(
                "rx_descriptors",
                self.rx_descriptors,
                port.rx_descriptors,
            )?,
            tx_descriptors: descriptors(
                "tx_descriptors",
                self.tx_descriptors,
                port.tx_descriptors,
            )?,
            mtu,
            set_mtu: self.mtu.is_some(),
            rss: self.rss.plan(
                port,
                rx_queues,
                offloads.rx().contains(RxOffloads::RSS_HASH),
            )?,
            offloads,
            circumstances,
        })
    }
}

impl Plan {
    /// What to try after a driver refused this one for its offloads, as far as can be told; none where it is not them,
    /// or where there is nothing to do without.
    pub(super) fn after_refusal(
        &self,
        config: &PortConfig,
        port: &PortInfo,
        pools: &[Mempool],
        error: &Error,
    ) -> Option<Self> {
        if !is_refusal(error) {
            return None;
        }
        let less = without_optional(config, &self.offloads, self.circumstances)?;
        let mut plan = less.plan(port, pools).ok()?;
        plan.offloads = plan.offloads.after_refusal_of(&self.offloads, error);
        Some(plan)
    }

    /// Less of RSS, for a driver that refuses it: first without our key, then without RSS. None where there was none,
    /// or where its hash is wished.
    pub(super) fn less_rss(&self, error: &Error) -> Option<RssPlan> {
        let hash = self.offloads.rx().contains(RxOffloads::RSS_HASH);
        if !is_refusal(error) || self.rss.types().is_empty() || hash && self.rss.key().is_none() {
            return None;
        }
        Some(self.rss.less())
    }
}

/// Whether asking for less can help: what a driver lacks memory for, or can't do now, it would do as little then.
fn is_refusal(error: &Error) -> bool {
    let other = [libc::ENOMEM, libc::EBUSY, libc::ENODEV, libc::EIO];
    error.errno().is_some_and(|errno| !other.contains(&errno.0))
}

fn queue_count(port: &PortInfo, name: &str, asked: u16, most: u16) -> Result<u16, Error> {
    if (1..=most).contains(&asked) {
        return Ok(asked);
    }
    let problem = if asked == 0 {
        "0 asked for: a port needs at least 1".into()
    } else {
        format!(
            "{asked} asked for, driver {} has at most {most} here: ask for 1 to {most}, or give the device more \
             (a vdev takes its number of queues as an argument)",
            port.driver
        )
    };
    Err(invalid(port, name, problem))
}

/// Whether the port takes this MTU.
pub(super) fn check_mtu(port: &PortInfo, mtu: u16) -> Result<(), Error> {
    if port.mtu_range().contains(&mtu) {
        return Ok(());
    }
    Err(invalid(
        port,
        "mtu",
        format!(
            "{mtu} bytes: driver {} takes {} to {}",
            port.driver, port.min_mtu, port.max_mtu
        ),
    ))
}

/// Bytes of a received frame that one mbuf of the pool holds.
fn rx_room(pool: &Mempool) -> usize {
    pool.data_room().saturating_sub(Mempool::HEADROOM)
}

/// Bytes of the longest frame of this MTU.
fn longest_frame(port: &PortInfo, mtu: u16) -> usize {
    usize::from(mtu) + port.frame_overhead as usize
}

/// Whether a frame of this MTU fits the mbufs it will be received into.
pub(super) fn check_buffers(
    port: &PortInfo,
    mtu: u16,
    offloads: RxOffloads,
    pools: &[Mempool],
) -> Result<(), Error> {
    for pool in pools {
        let room = rx_room(pool);
        let frame = longest_frame(port, mtu);
        // One byte is what a copy needs to get on; mbufs without a buffer are for references.
        let least = (port.min_rx_buffer as usize).max(1);
        if room < least {
            return Err(invalid(
                port,
                &format!("mempool {:?}", pool.name()),
                format!(
                    "{room} bytes of data room behind the headroom, the driver wants at least {least}: \
                     make the pool with data_room({}) or more",
                    least + Mempool::HEADROOM
                ),
            ));
        }
        if room < frame && !offloads.contains(RxOffloads::SCATTER) {
            let or_scatter = if port.rx_offloads.contains(RxOffloads::SCATTER) {
                ", or turn RxOffloads::SCATTER on"
            } else {
                ""
            };
            return Err(invalid(
                port,
                &format!("mempool {:?}", pool.name()),
                format!(
                    "{room} bytes of data room behind the headroom, a frame of MTU {mtu} has {frame}: \
                     make the pool with data_room({}) or more, or lower the MTU{or_scatter}",
                    frame + Mempool::HEADROOM
                ),
            ));
        }
    }
    Ok(())
}

fn invalid(port: &PortInfo, name: &str, problem: String) -> Error {
    Error::InvalidArgument {
        what: format!("{name} of {} ({})", port.id, port.name),
        problem,
    }
}
