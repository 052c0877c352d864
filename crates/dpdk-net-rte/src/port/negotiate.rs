//! Which offloads are turned on: what is wished, less what the port does not offer, what its driver is known to do
//! wrong, and what lacks something that it needs.
//!
//! What needs what is DPDK's word (`rte_mbuf_core.h` on `RTE_MBUF_F_TX_TCP_SEG`, `rte_eth_dev_configure`), or follows
//! from what the NIC leaves behind:
//!
//! - what is segmented gets new IPv4 headers and checksums, and comes as several mbufs;
//! - the checksum of a coalesced packet is that of none of its segments: only the NIC can have verified it;
//! - the RSS hash is there where packets are hashed for RSS;
//! - mbufs that are freed unseen must be alike: one to a packet, all of one mempool.
//!
//! What does not live here: telling the driver ([`super::inner`]).

mod known;
mod outcome;
mod request;

use core::fmt;
use std::borrow::Cow;

use self::known::{Consequence, Known};
pub use self::outcome::{OffloadEntry, Offloads};
use self::request::{COUNT, Flag};
pub use self::request::{Offload, OffloadRequest, UnknownOffload, Wish};
use super::tx_rules::TxRules;
use super::{PortConfig, PortInfo, RxOffloads, TxOffloads};
use crate::Error;

/// What is known of a port's configuration when its offloads are decided on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// Whether a frame can be longer than the buffer it is received into.
    pub(super) frames_exceed_buffers: bool,
    /// Whether packets are spread over queues.
    pub(super) many_queues: bool,
    /// Whether the port hashes none of the packets that are to be spread.
    pub(super) nothing_hashed: bool,
    /// Whether each transmit queue has a receive queue's mempool to send from.
    pub(super) pools_pair_up: bool,
}

/// What one offload needs that must be on with it.
#[derive(Clone, Copy)]
enum Need {
    /// Always.
    Always(Offload),
    /// Where the port offers it: a device that has none of it does without.
    IfOffered(Offload),
}

const fn needs(offload: Offload) -> &'static [Need] {
    match offload {
        Offload::Tso => &[
            Need::Always(Offload::MultiSegs),
            Need::Always(Offload::TxTcpChecksum),
            Need::IfOffered(Offload::TxIpv4Checksum),
        ],
        Offload::TsoIpv6 => &[Need::Always(Offload::Tso)],
        Offload::UdpSegmentation => &[
            Need::Always(Offload::MultiSegs),
            Need::Always(Offload::TxUdpChecksum),
            Need::IfOffered(Offload::TxIpv4Checksum),
        ],
        Offload::Lro => &[
            Need::Always(Offload::RxTcpChecksum),
            Need::IfOffered(Offload::Scatter),
        ],
        _ => &[],
    }
}

/// A decision under way.
struct Negotiation<'a> {
    port: &'a PortInfo,
    table: &'a [Known],
    entries: [OffloadEntry; COUNT],
}

/// Decides which offloads of `port` to turn on.
///
/// # Errors
/// [`Error::InvalidArgument`] names the offload that is wished and can't be had, and says what to do.
pub(super) fn negotiate(
    config: &PortConfig,
    port: &PortInfo,
    circumstances: Circumstances,
) -> Result<Offloads, Error> {
    with_table(config, port, circumstances, known::TABLE)
}

fn with_table(
    config: &PortConfig,
    port: &PortInfo,
    circumstances: Circumstances,
    table: &[Known],
) -> Result<Offloads, Error> {
    let mut negotiation = Negotiation {
        port,
        table,
        entries: Offload::ALL.map(|offload| OffloadEntry {
            offload,
            wish: wish(config, offload),
            offered: false,
            on: false,
            why: Cow::Borrowed(""),
        }),
    };
    for offload in Offload::ALL {
        negotiation.start(offload)?;
    }
    negotiation.circumstances(circumstances)?;
    negotiation.settle()?;
    let (rx, tx) = negotiation.flags();
    let (more_rx, more_tx) = beyond(config, port)?;
    let (rx, tx) = (rx | more_rx, tx | more_tx);
    let rules = TxRules::new(port, tx, negotiation.entry(Offload::TsoIpv6).on);
    Ok(Offloads {
        port: format!("{} ({})", port.id, port.name),
        driver: port.driver.clone(),
        rx,
        tx,
        entries: negotiation.entries.into(),
        capabilities: Some(rules.capabilities()),
        refused: None,
    })
}

/// What the configuration wishes of an offload, by name or by flag.
fn wish(config: &PortConfig, offload: Offload) -> Wish {
    let by_name = config.offloads.wish(offload);
    let required = offload.is_in(config.rx_offloads, config.tx_offloads);
    let if_offered = offload.is_in(config.rx_offloads_if_offered, config.tx_offloads_if_offered);
    match by_name {
        // One flag stands for both.
        _ if required && offload != Offload::TsoIpv6 => Wish::On,
        Wish::Off if required || if_offered => Wish::Auto,
        by_name => by_name,
    }
}

impl Negotiation<'_> {
    fn entry(&self, offload: Offload) -> &OffloadEntry {
        &self.entries[offload.index()]
    }

    fn entry_mut(&mut self, offload: Offload) -> &mut OffloadEntry {
        &mut self.entries[offload.index()]
    }

    fn turn(&mut self, offload: Offload, on: bool, why: impl Into<Cow<'static, str>>) {
        let entry = self.entry_mut(offload);
        entry.on = on;
        entry.why = why.into();
    }

    fn error(&self, offload: Offload, problem: impl fmt::Display) -> Error {
        Error::InvalidArgument {
            what: format!("offload {offload} of {} ({})", self.port.id, self.port.name),
            problem: problem.to_string(),
        }
    }

    /// What one offload would be by itself.
    fn start(&mut self, offload: Offload) -> Result<(), Error> {
        let known = known::find(self.table, &self.port.driver, offload);
        let flagged = offload.is_in(self.port.rx_offloads, self.port.tx_offloads);
        let never = known.filter(|known| known.consequence == Consequence::Never);
        let offered = flagged && never.is_none();
        let reason = known.map_or("", |known| known.reason);
        let wish = self.entry(offload).wish;
        self.entry_mut(offload).offered = offered;
        match wish {
            Wish::Off => self.turn(offload, false, "not wanted"),
            Wish::On if !offered => {
                let (asked, has) = match offload.flag() {
                    Flag::Rx(flag) => (format!("{flag:?}"), format!("{:?}", self.port.rx_offloads)),
                    Flag::Tx(flag) => (format!("{flag:?}"), format!("{:?}", self.port.tx_offloads)),
                };
                let driver = &self.port.driver;
                let problem = match never {
                    Some(_) => {
                        format!("driver {driver} can't: {reason}; wish `auto` or `off` for it")
                    }
                    None => format!(
                        "driver {driver} does not offer {asked}: it has {has}; wish `auto` or `off` for it"
                    ),
                };
                return Err(self.error(offload, problem));
            }
            _ if !offered => {
                let why = if reason.is_empty() {
                    "not offered"
                } else {
                    reason
                };
                self.turn(offload, false, why);
            }
            Wish::Auto if known.is_some_and(|known| known.consequence == Consequence::Avoid) => {
                self.turn(offload, false, format!("known to be broken: {reason}"));
            }
            Wish::Auto | Wish::On => self.turn(offload, true, reason),
        }
        Ok(())
    }

    /// What is of use, and what can be, in these circumstances.
    fn circumstances(&mut self, circumstances: Circumstances) -> Result<(), Error> {
        let auto = |entry: &OffloadEntry| entry.on && entry.wish == Wish::Auto;
        if auto(self.entry(Offload::Scatter)) && !circumstances.frames_exceed_buffers {
            self.turn(
                Offload::Scatter,
                false,
                "of no use: a frame fits its buffer",
            );
        }
        if self.entry(Offload::RssHash).on {
            if circumstances.nothing_hashed {
                let why = "nothing is hashed: the port can't, or it is not to";
                if self.entry(Offload::RssHash).wish == Wish::On {
                    return Err(self.error(
                        Offload::RssHash,
                        format!("{why}: wish `auto` or `off` for it"),
                    ));
                }
                self.turn(Offload::RssHash, false, why);
            } else if auto(self.entry(Offload::RssHash)) && !circumstances.many_queues {
                self.turn(Offload::RssHash, false, "of no use: there is one queue");
            }
        }
        if !self.entry(Offload::FastFree).on {
            return Ok(());
        }
        if auto(self.entry(Offload::FastFree)) {
            let why =
                "only where it is asked for: what is sent must be of one mbuf and one mempool";
            self.turn(Offload::FastFree, false, why);
            return Ok(());
        }
        if !circumstances.pools_pair_up {
            let problem = "there are more transmit queues than receive queues, with a mempool each: \
                           give as many, or one mempool for all";
            return Err(self.error(Offload::FastFree, problem));
        }
        if self.entry(Offload::MultiSegs).wish == Wish::On {
            let problem = "it excludes multi-segs, which is wished too: wish one of them only";
            return Err(self.error(Offload::FastFree, problem));
        }
        if self.entry(Offload::MultiSegs).on {
            self.turn(Offload::MultiSegs, false, "excluded by fast-free");
        }
        Ok(())
    }

    /// Turns on what is needed and on wish, and off what lacks something, until nothing changes.
    fn settle(&mut self) -> Result<(), Error> {
        // Twice: one need (tso-ipv6) is of an offload that has needs itself.
        for offload in Offload::ALL.into_iter().chain(Offload::ALL) {
            for need in needs(offload) {
                let (needed, only_if_offered) = match *need {
                    Need::Always(needed) => (needed, false),
                    Need::IfOffered(needed) => (needed, true),
                };
                let (entry, there) = (self.entry(offload), self.entry(needed));
                if !entry.on || there.on || only_if_offered && !there.offered {
                    continue;
                }
                // Off only as nobody had a use for it.
                let excluded = needed == Offload::MultiSegs && self.entry(Offload::FastFree).on;
                let spared = there.offered && there.wish == Wish::Auto && !excluded;
                if spared && (entry.wish == Wish::On || needed == Offload::Scatter) {
                    self.turn(needed, true, format!("needed by {offload}"));
                } else if entry.wish == Wish::On {
                    let why = there.why.clone();
                    return Err(self.error(
                        offload,
                        format!(
                            "it needs {needed}, which is off ({why}): turn that on too, or this off"
                        ),
                    ));
                } else {
                    let why = format!("needs {needed}, which is off");
                    self.turn(offload, false, why);
                }
            }
        }
        Ok(())
    }

    /// The flags of what is on.
    fn flags(&self) -> (RxOffloads, TxOffloads) {
        let mut flags = (RxOffloads::empty(), TxOffloads::empty());
        for entry in self.entries.iter().filter(|entry| entry.on) {
            let (rx, tx) = flags_of(entry.offload);
            flags.0 |= rx;
            flags.1 |= tx;
        }
        flags
    }
}

fn flags_of(offload: Offload) -> (RxOffloads, TxOffloads) {
    match offload.flag() {
        Flag::Rx(flag) => (flag, TxOffloads::empty()),
        Flag::Tx(flag) => (RxOffloads::empty(), flag),
    }
}

/// Flags that no [`Offload`] stands for, as they were asked for.
fn beyond(config: &PortConfig, port: &PortInfo) -> Result<(RxOffloads, TxOffloads), Error> {
    let (mut named_rx, mut named_tx) = (RxOffloads::empty(), TxOffloads::empty());
    for offload in Offload::ALL {
        let (rx, tx) = flags_of(offload);
        named_rx |= rx;
        named_tx |= tx;
    }
    let rx_offered = port.rx_offloads - RxOffloads::FORBIDDEN - named_rx;
    let tx_offered = port.tx_offloads - TxOffloads::FORBIDDEN - named_tx;
    let rx_lacking = config.rx_offloads - rx_offered - named_rx;
    let tx_lacking = config.tx_offloads - tx_offered - named_tx;
    let (name, lacking, has) = if !rx_lacking.is_empty() {
        (
            "rx_offloads",
            format!("{rx_lacking:?}"),
            format!("{:?}", port.rx_offloads),
        )
    } else if !tx_lacking.is_empty() {
        (
            "tx_offloads",
            format!("{tx_lacking:?}"),
            format!("{:?}", port.tx_offloads),
        )
    } else {
        return Ok((
            (config.rx_offloads | config.rx_offloads_if_offered) & rx_offered,
            (config.tx_offloads | config.tx_offloads_if_offered) & tx_offered,
        ));
    };
    Err(Error::InvalidArgument {
        what: format!("{name} of {} ({})", port.id, port.name),
        problem: format!(
            "the port does not offer {lacking}: it has {has}; do without, or ask in `{name}_if_offered`"
        ),
    })
}

/// The configuration without what nobody insisted on, for a driver that refuses more; none where there is nothing to
/// leave out.
pub(super) fn without_optional(
    config: &PortConfig,
    offloads: &Offloads,
    circumstances: Circumstances,
) -> Option<PortConfig> {
    let insisted = |offload: Offload| wish(config, offload) == Wish::On;
    let needed = |offload: Offload| {
        let by_wish = Offload::ALL.into_iter().any(|other| {
            insisted(other)
                && needs(other).iter().any(|need| {
                    let (Need::Always(needed) | Need::IfOffered(needed)) = need;
                    *needed == offload
                })
        });
        by_wish || offload == Offload::Scatter && circumstances.frames_exceed_buffers
    };
    let mut less = PortConfig {
        rx_offloads_if_offered: RxOffloads::empty(),
        tx_offloads_if_offered: TxOffloads::empty(),
        ..config.clone()
    };
    let mut left_out = offloads
        .rx
        .intersects(config.rx_offloads_if_offered - config.rx_offloads)
        || offloads
            .tx
            .intersects(config.tx_offloads_if_offered - config.tx_offloads);
    for entry in offloads.iter().filter(|entry| entry.wish == Wish::Auto) {
        let wish = if entry.on && needed(entry.offload) {
            Wish::On
        } else {
            left_out |= entry.on;
            Wish::Off
        };
        less.offloads = less.offloads.with(entry.offload, wish);
    }
    left_out.then_some(less)
}

impl Offloads {
    /// Says that the driver took this after it had refused `more`.
    pub(super) fn after_refusal_of(mut self, more: &Self, error: &Error) -> Self {
        for (entry, before) in self.entries.iter_mut().zip(&more.entries) {
            entry.wish = before.wish;
            if before.on && !entry.on {
                entry.why =
                    "left out: the driver refused to be configured with all that was wanted".into();
            } else {
                entry.why = before.why.clone();
            }
        }
        self.refused = Some(error.to_string());
        self
    }

    /// Warns of what is on by wish although it is known to be done wrong, and of what the driver refused.
    pub(super) fn warn(&self) {
        for entry in self.iter().filter(|entry| entry.on) {
            let known = known::find(known::TABLE, &self.driver, entry.offload);
            if known.is_some_and(|known| known.consequence == Consequence::Avoid) {
                tracing::warn!(
                    port = self.port,
                    driver = self.driver,
                    offload = %entry.offload,
                    reason = %entry.why,
                    "an offload that this driver is known to do wrong is on, as it is wished"
                );
            }
        }
        if let Some(error) = self.refused() {
            tracing::warn!(
                port = self.port,
                driver = self.driver,
                error,
                "the driver offers more offloads than it takes: those that nobody insists on are off"
            );
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
