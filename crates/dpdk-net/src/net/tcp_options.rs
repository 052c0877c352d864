//! Socket options of TCP, under the names that tokio, socket2 and Linux have for them: the same methods for a socket
//! that is not connected yet and for a connection.
//!
//! What the options mean and which values they take is the stack's business (`TcpOption`); here are the names.

use std::io;
use std::time::Duration;

use dpdk_net_stack::{
    self as stack, CongestionAlgorithm, Keepalive, TcpInfo, TcpOption, TcpOptions,
};

use super::tcp_stream::hop_limit;
use super::{TcpSocket, TcpStream};

/// When a silent connection is probed, as `socket2::TcpKeepalive`. What is not chosen is as the stack's configuration
/// has it (Linux': 2 hours, 75 s, 9 probes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct TcpKeepalive {
    time: Option<Duration>,
    interval: Option<Duration>,
    retries: Option<u32>,
}

impl TcpKeepalive {
    /// With nothing chosen.
    pub const fn new() -> Self {
        Self {
            time: None,
            interval: None,
            retries: None,
        }
    }

    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub const fn with_time(self, time: Duration) -> Self {
        Self {
            time: Some(time),
            ..self
        }
    }

    /// Time between probes (`TCP_KEEPINTVL`).
    pub const fn with_interval(self, interval: Duration) -> Self {
        Self {
            interval: Some(interval),
            ..self
        }
    }

    /// Unanswered probes before the connection fails (`TCP_KEEPCNT`), 1 to 255.
    pub const fn with_retries(self, retries: u32) -> Self {
        Self {
            retries: Some(retries),
            ..self
        }
    }

    /// The times, with what was in force for those that are not chosen.
    fn over(self, present: Keepalive) -> io::Result<Keepalive> {
        let mut times = present;
        times.idle = self.time.unwrap_or(times.idle);
        times.interval = self.interval.unwrap_or(times.interval);
        if let Some(retries) = self.retries {
            times.count =
                u8::try_from(retries).map_err(|_| invalid("keep-alive probes are 1 to 255"))?;
        }
        Ok(times)
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The octet that `IP_TOS` and `IPV6_TCLASS` take.
fn traffic_class(class: u32) -> io::Result<u8> {
    u8::try_from(class).map_err(|_| invalid("a type of service or traffic class is 0 to 255"))
}

/// The options that a socket has before and after it is connected. The type has `option(TcpOption)` to change one and
/// `options()` to read all.
macro_rules! options {
    ($type:ty) => {
        impl $type {
            /// The congestion control algorithm (`TCP_CONGESTION`).
            pub fn tcp_congestion(&self) -> io::Result<CongestionAlgorithm> {
                Ok(self.options()?.congestion.unwrap_or_default())
            }

            /// Chooses the congestion control algorithm (`TCP_CONGESTION`). It goes on with the window that there is. A
            /// name is read with `"bbr".parse()`.
            pub fn set_tcp_congestion(&self, algorithm: CongestionAlgorithm) -> io::Result<()> {
                self.option(TcpOption::Congestion(algorithm))
            }

            /// How long what was sent may be unacknowledged, if it was chosen (`TCP_USER_TIMEOUT`).
            pub fn tcp_user_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.options()?.user_timeout)
            }

            /// Sets how long what was sent may be unacknowledged, or keep-alive probes unanswered, before the connection
            /// fails with `TimedOut` (`TCP_USER_TIMEOUT`, RFC 5482). `None` is the configuration's.
            ///
            /// # Errors
            /// `InvalidInput` for less than a millisecond.
            pub fn set_tcp_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.option(TcpOption::UserTimeout(timeout))
            }

            /// Switches keep-alive on with these times (`SO_KEEPALIVE`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`).
            ///
            /// # Errors
            /// `InvalidInput` for a time of zero or above 32,767 s, and for a count that is not 1 to 255.
            pub fn set_tcp_keepalive(&self, keepalive: &TcpKeepalive) -> io::Result<()> {
                let times = keepalive.over(self.keepalive_times()?)?;
                self.option(TcpOption::Keepalive(Some(times)))
            }

            /// Silence before the first keep-alive probe (`TCP_KEEPIDLE`).
            pub fn tcp_keepalive_time(&self) -> io::Result<Duration> {
                Ok(self.keepalive_times()?.idle)
            }

            /// Time between keep-alive probes (`TCP_KEEPINTVL`).
            pub fn tcp_keepalive_interval(&self) -> io::Result<Duration> {
                Ok(self.keepalive_times()?.interval)
            }

            /// Unanswered keep-alive probes before the connection fails (`TCP_KEEPCNT`).
            pub fn tcp_keepalive_retries(&self) -> io::Result<u32> {
                Ok(self.keepalive_times()?.count.into())
            }

            /// Whether every segment is acknowledged at once (`TCP_QUICKACK`).
            pub fn quickack(&self) -> io::Result<bool> {
                Ok(self.options()?.quickack)
            }

            /// Has every segment acknowledged at once, or lets ACKs wait for something to ride on. Other than with Linux
            /// it holds until it is set again.
            pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
                self.option(TcpOption::QuickAck(quickack))
            }

            /// The type of service of IPv4 packets (`IP_TOS`), without ECN's bits.
            pub fn tos_v4(&self) -> io::Result<u32> {
                Ok(self.options()?.tos.into())
            }

            /// Sets the type of service of IPv4 packets (`IP_TOS`): the upper six bits are the DSCP, the lower two are
            /// ECN's and passed over.
            ///
            /// # Errors
            /// `InvalidInput` above 255.
            pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
                self.option(TcpOption::Tos(traffic_class(tos)?))
            }

            /// The traffic class of IPv6 packets (`IPV6_TCLASS`), without ECN's bits.
            pub fn tclass_v6(&self) -> io::Result<u32> {
                self.tos_v4()
            }

            /// Sets the traffic class of IPv6 packets (`IPV6_TCLASS`), as [`set_tos_v4`](Self::set_tos_v4).
            pub fn set_tclass_v6(&self, tclass: u32) -> io::Result<()> {
                self.set_tos_v4(tclass)
            }

            /// What may be received and not read, in bytes (`SO_RCVBUF`): the present bound, which grows with use where
            /// none was set.
            pub fn recv_buffer_size(&self) -> io::Result<u32> {
                Ok(self.options()?.recv_buffer.unwrap_or_default())
            }

            /// Sets what may be received and not read (`SO_RCVBUF`), in bytes of payload; it is not tuned any more. Set
            /// before the connection is made, it decides the window scale too. Less than 2 KiB is taken for that.
            ///
            /// # Errors
            /// `InvalidInput` for 0 and from 1 GiB on.
            pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
                self.option(TcpOption::RecvBuffer(size))
            }

            /// What may be written and not acknowledged, in bytes (`SO_SNDBUF`): the present bound, which grows with use
            /// where none was set.
            pub fn send_buffer_size(&self) -> io::Result<u32> {
                Ok(self.options()?.send_buffer.unwrap_or_default())
            }

            /// Sets what may be written and not acknowledged (`SO_SNDBUF`), in bytes; it is not tuned any more. Less than
            /// 2 KiB is taken for that.
            ///
            /// # Errors
            /// `InvalidInput` for 0 and from 1 GiB on.
            pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
                self.option(TcpOption::SendBuffer(size))
            }

            /// Bytes of data in a full segment (`TCP_MAXSEG`): the present figure of a connection, else the one to be
            /// offered.
            pub fn tcp_mss(&self) -> io::Result<u32> {
                Ok(self.options()?.max_segment.unwrap_or_default().into())
            }

            /// Bounds the data in a segment (`TCP_MAXSEG`), 88 to 32,767 bytes. Set before the connection is made, the
            /// peer is told to keep to it too.
            ///
            /// # Errors
            /// `InvalidInput` for other values.
            pub fn set_tcp_mss(&self, mss: u32) -> io::Result<()> {
                let mss = u16::try_from(mss).unwrap_or(u16::MAX);
                self.option(TcpOption::MaxSegment(mss))
            }

            /// The bound on the rate of sending (`SO_MAX_PACING_RATE`), in bytes a second.
            pub fn max_pacing_rate(&self) -> io::Result<Option<u64>> {
                Ok(self.options()?.max_pacing_rate)
            }

            /// Bounds the rate of sending (`SO_MAX_PACING_RATE`), in bytes a second, whatever the congestion control;
            /// `None` is no bound.
            ///
            /// # Errors
            /// `InvalidInput` for 0.
            pub fn set_max_pacing_rate(&self, rate: Option<u64>) -> io::Result<()> {
                self.option(TcpOption::MaxPacingRate(rate))
            }

            /// The bound on what was written and not sent yet (`TCP_NOTSENT_LOWAT`), in bytes.
            pub fn tcp_notsent_lowat(&self) -> io::Result<Option<u32>> {
                Ok(self.options()?.notsent_lowat)
            }

            /// Bounds what was written and not sent yet (`TCP_NOTSENT_LOWAT`), in bytes: what is written late is fresh.
            /// A writer is woken at half of it. `None` is no bound.
            ///
            /// # Errors
            /// `InvalidInput` for 0.
            pub fn set_tcp_notsent_lowat(&self, bytes: Option<u32>) -> io::Result<()> {
                self.option(TcpOption::NotsentLowat(bytes))
            }
        }
    };
}

options!(TcpStream);
options!(TcpSocket);

impl TcpStream {
    pub(super) fn option(&self, option: TcpOption) -> io::Result<()> {
        self.socket()
            .call(|state, id| state.stack.tcp_set_option(id, option))
    }

    pub(super) fn options(&self) -> io::Result<TcpOptions> {
        self.socket().call(|state, id| state.stack.tcp_options(id))
    }

    /// The times of keep-alive, or those that it would have.
    fn keepalive_times(&self) -> io::Result<Keepalive> {
        self.socket().call(|state, id| {
            let times = state.stack.tcp_options(id)?.keepalive;
            Ok::<_, stack::Error>(times.unwrap_or(state.stack.tcp_default_keepalive()))
        })
    }

    /// What the connection tells of itself, as the kernel's `TCP_INFO`: round-trip time, windows, losses, rates.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.socket().call(|state, id| state.stack.tcp_info(id))
    }

    /// Whether keep-alive probes are on (`SO_KEEPALIVE`).
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(self.options()?.keepalive.is_some())
    }

    /// Switches keep-alive probes (`SO_KEEPALIVE`) on, with the configuration's times, or off.
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        self.socket()
            .call(|state, id| state.stack.tcp_set_keepalive(id, on))
    }
}

impl TcpSocket {
    pub(super) fn option(&self, option: TcpOption) -> io::Result<()> {
        self.change(|options| options.set(option))
    }

    /// What is chosen, and for the rest what is in force.
    fn options(&self) -> io::Result<TcpOptions> {
        Ok(self.with_defaults())
    }

    fn keepalive_times(&self) -> io::Result<Keepalive> {
        Ok(self.chosen().keepalive.unwrap_or(self.default_keepalive()))
    }

    /// The time to live (hop limit) of what is sent.
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(self.options()?.ttl.unwrap_or(64).into())
    }

    /// Sets the time to live (hop limit) of what is sent, the SYN included: 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.option(TcpOption::Ttl(hop_limit(ttl)?))
    }
}
