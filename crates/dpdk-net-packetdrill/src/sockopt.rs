//! Socket options, as bytes of the layout that Linux gives them on this machine. One that the stack does not have is
//! `ENOPROTOOPT`, so that a script that needs it fails where it asks for it.

use dpdk_net_stack::{CaState, Duration, Keepalive, TcpInfo, TcpOption, TcpState};

use crate::errno::Errno;
use crate::host::{Host, Kind, Settings};

const INT: usize = size_of::<libc::c_int>();
/// `struct tcp_info` of Linux, up to and including the counters of AccECN. packetdrill wants all that it knows.
const TCP_INFO_LEN: usize = 280;
/// `TCP_NOTSENT_LOWAT`, from `include/uapi/linux/tcp.h`.
const TCP_NOTSENT_LOWAT: i32 = 25;
/// `TCP_CC_INFO`, from the same.
const TCP_CC_INFO: i32 = 26;
/// `SO_MEMINFO`, from `include/uapi/asm-generic/socket.h`.
const SO_MEMINFO: i32 = 55;
/// `SO_MAX_PACING_RATE`, from `include/uapi/asm-generic/socket.h`.
const SO_MAX_PACING_RATE: i32 = 47;
/// Linux' word for a slow start threshold or a pacing rate that is none.
const NO_THRESHOLD: u32 = 0x7fff_ffff;

fn int(bytes: &[u8]) -> Result<i32, Errno> {
    let bytes = bytes.get(..INT).ok_or(Errno(libc::EINVAL))?;
    Ok(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn flag(bytes: &[u8]) -> Result<bool, Errno> {
    Ok(int(bytes)? != 0)
}

/// A number that must not be negative.
fn size(bytes: &[u8]) -> Result<u32, Errno> {
    u32::try_from(int(bytes)?).map_err(|_| Errno(libc::EINVAL))
}

/// A `struct timeval` of two 64-bit words; zero is no bound.
fn timeval(bytes: &[u8]) -> Result<Option<Duration>, Errno> {
    let word = |at: usize| -> Result<u64, Errno> {
        let bytes = bytes.get(at..at + 8).ok_or(Errno(libc::EINVAL))?;
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| Errno(libc::EINVAL))?;
        u64::try_from(i64::from_ne_bytes(bytes)).map_err(|_| Errno(libc::EDOM))
    };
    let (secs, micros) = (word(0)?, word(8)?);
    if micros >= 1_000_000 {
        return Err(Errno(libc::EDOM));
    }
    let time = Duration::from_secs(secs) + Duration::from_micros(micros);
    Ok((!time.is_zero()).then_some(time))
}

fn timeval_bytes(time: Option<Duration>) -> Vec<u8> {
    let time = time.unwrap_or_default();
    let mut bytes = time.as_secs().to_ne_bytes().to_vec();
    bytes.extend(u64::from(time.subsec_micros()).to_ne_bytes());
    bytes
}

/// A rate as an `int` or as 64 bits; all ones is no limit.
fn rate(bytes: &[u8]) -> Result<Option<u64>, Errno> {
    if let Some(bytes) = bytes.get(..8) {
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| Errno(libc::EINVAL))?;
        let rate = u64::from_ne_bytes(bytes);
        return Ok((rate != u64::MAX).then_some(rate));
    }
    let rate = int(bytes)?.cast_unsigned();
    Ok((rate != u32::MAX).then_some(rate.into()))
}

/// Linux' number of a state, from `include/net/tcp_states.h`.
pub fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::Established => 1,
        TcpState::SynSent => 2,
        TcpState::SynReceived => 3,
        TcpState::FinWait1 => 4,
        TcpState::FinWait2 => 5,
        TcpState::TimeWait => 6,
        TcpState::CloseWait => 8,
        TcpState::LastAck => 9,
        TcpState::Closing => 11,
        _ => CLOSE,
    }
}

/// `TCP_CLOSE` and `TCP_LISTEN`.
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// What a name means for a TCP socket, if it is an option of TCP's.
fn tcp_option(
    settings: &Settings,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<Option<TcpOption>, Errno> {
    let invalid = |_| Errno(libc::EINVAL);
    Ok(Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => TcpOption::ReuseAddr(flag(value)?),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
            TcpOption::Keepalive(flag(value)?.then_some(settings.keepalive_times))
        }
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = flag(value)?;
            let time = size(value.get(INT..).unwrap_or_default())?;
            TcpOption::Linger(on.then(|| Duration::from_secs(time.into())))
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
            TcpOption::RecvBuffer(size(value)?.max(1))
        }
        (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
            TcpOption::SendBuffer(size(value)?.max(1))
        }
        (libc::SOL_SOCKET, SO_MAX_PACING_RATE) => TcpOption::MaxPacingRate(rate(value)?),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => TcpOption::NoDelay(flag(value)?),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => TcpOption::QuickAck(flag(value)?),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            TcpOption::MaxSegment(u16::try_from(int(value)?).map_err(invalid)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
            let time = Duration::from_millis(size(value)?.into());
            TcpOption::UserTimeout((!time.is_zero()).then_some(time))
        }
        (libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT) => {
            let bytes = int(value)?.cast_unsigned();
            TcpOption::NotsentLowat((bytes != 0 && bytes != u32::MAX).then_some(bytes))
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let end = value.iter().position(|&byte| byte == 0);
            let name = String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]);
            let found = name.parse().map_err(|_| Errno(libc::ENOENT))?;
            TcpOption::Congestion(found)
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            TcpOption::Ttl(match int(value)? {
                -1 => 64,
                ttl => u8::try_from(ttl).map_err(invalid)?,
            })
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            // One byte will do for IP_TOS.
            let tos = match value {
                [tos] => *tos,
                _ => int(value)? as u8,
            };
            TcpOption::Tos(tos)
        }
        _ => return Ok(None),
    }))
}

impl Host {
    /// `setsockopt`.
    pub fn set_option(
        &mut self,
        fd: i32,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        let descriptor = self.fds.get_mut(fd)?;
        if matches!(descriptor.kind, Kind::Epoll(_)) {
            return Err(Errno(libc::ENOTSOCK));
        }
        let settings = &mut descriptor.settings;
        if let Some(option) = tcp_option(settings, level, name, value)? {
            return self.change(fd, option);
        }
        let second = |value| match int(value)? {
            seconds @ 1..=32_767 => Ok(Duration::from_secs(seconds.unsigned_abs().into())),
            _ => Err(Errno(libc::EINVAL)),
        };
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => {
                settings.broadcast = flag(value)?;
                let broadcast = settings.broadcast;
                if let Kind::Udp { id: Some(id) } = descriptor.kind {
                    self.stack_mut().udp_set_broadcast(id, broadcast)?;
                }
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => settings.recv_timeout = timeval(value)?,
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => settings.send_timeout = timeval(value)?,
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => settings.only_v6 = flag(value)?,
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => {
                settings.keepalive_times.idle = second(value)?;
                return self.change_keepalive(fd);
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => {
                settings.keepalive_times.interval = second(value)?;
                return self.change_keepalive(fd);
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => {
                let count = u8::try_from(int(value)?).ok();
                let count = count.filter(|count| (1..=127).contains(count));
                settings.keepalive_times.count = count.ok_or(Errno(libc::EINVAL))?;
                return self.change_keepalive(fd);
            }
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        }
        Ok(())
    }

    fn change_keepalive(&mut self, fd: i32) -> Result<(), Errno> {
        let settings = &self.fds.get(fd)?.settings;
        if settings.tcp.keepalive.is_none() {
            return Ok(());
        }
        let times = settings.keepalive_times;
        self.change(fd, TcpOption::Keepalive(Some(times)))
    }

    /// Changes an option of a socket, and of what it stands for in the stack.
    fn change(&mut self, fd: i32, option: TcpOption) -> Result<(), Errno> {
        let descriptor = self.fds.get_mut(fd)?;
        descriptor.settings.tcp.set(option)?;
        match (&descriptor.kind, option) {
            (&Kind::Tcp { id, .. }, option) => {
                self.stack_mut().tcp_set_option(id, option)?;
                self.run();
            }
            (&Kind::Listener(id), option) => {
                self.stack_mut().tcp_listener_set_option(id, option)?;
            }
            (&Kind::Udp { id: Some(id) }, TcpOption::Ttl(ttl)) => {
                self.stack_mut().udp_set_ttl(id, ttl)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// `getsockopt`: the value; the caller cuts it to the room there is.
    pub fn option(&mut self, fd: i32, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        let descriptor = self.fds.get(fd)?;
        let settings = descriptor.settings.clone();
        let tcp = match descriptor.kind {
            Kind::Tcp { id, .. } => Some(id),
            Kind::Epoll(_) => return Err(Errno(libc::ENOTSOCK)),
            _ => None,
        };
        let listening = matches!(descriptor.kind, Kind::Listener(_));
        let datagram = matches!(descriptor.kind, Kind::Udp { .. });
        let v6 = descriptor.v6;
        let options = tcp
            .and_then(|id| self.stack().tcp_options(id).ok())
            .unwrap_or(settings.tcp);
        let config = &self.config().tcp;
        let Keepalive {
            idle,
            interval,
            count,
        } = settings.keepalive_times;
        // Linux tells twice what was asked for: the other half is for its own records.
        let buffer = |set: Option<u32>, default: usize| -> i32 {
            let size = set.map_or(default as u64, u64::from);
            i32::try_from(size * 2).unwrap_or(i32::MAX)
        };
        let value: i32 = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => {
                let error = match (tcp, &descriptor.kind) {
                    (Some(id), _) => self.stack_mut().tcp_take_error(id),
                    (None, &Kind::Udp { id: Some(id) }) => self.stack_mut().udp_take_error(id),
                    _ => None,
                };
                error.map_or(0, |error| Errno::from(error).0)
            }
            (libc::SOL_SOCKET, libc::SO_TYPE) if datagram => libc::SOCK_DGRAM,
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) if datagram => libc::IPPROTO_UDP,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_TCP,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) if v6 => libc::AF_INET6,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => libc::AF_INET,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => listening.into(),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => options.reuseaddr.into(),
            (libc::SOL_SOCKET, libc::SO_BROADCAST) => settings.broadcast.into(),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => options.keepalive.is_some().into(),
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => buffer(options.recv_buffer, config.recv_window),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => buffer(options.send_buffer, config.send_room),
            (libc::SOL_SOCKET, SO_MAX_PACING_RATE) => {
                let rate = options.max_pacing_rate.unwrap_or(u64::MAX);
                return Ok(rate.to_ne_bytes().to_vec());
            }
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let mut bytes = i32::from(options.linger.is_some()).to_ne_bytes().to_vec();
                let time = options.linger.unwrap_or_default().as_secs() as i32;
                bytes.extend(time.to_ne_bytes());
                return Ok(bytes);
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => {
                return Ok(timeval_bytes(settings.recv_timeout));
            }
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => {
                return Ok(timeval_bytes(settings.send_timeout));
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => {
                options.nodelay.unwrap_or(config.nodelay).into()
            }
            (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => options.quickack.into(),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                let sent = tcp.and_then(|id| self.stack().tcp_info(id).ok());
                sent.map_or(options.max_segment.unwrap_or(536), |info| info.snd_mss)
                    .into()
            }
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                options.user_timeout.unwrap_or_default().as_millis() as i32
            }
            (libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT) => {
                options.notsent_lowat.unwrap_or(0).cast_signed()
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
                let name = options.congestion.unwrap_or(config.congestion).to_string();
                // TCP_CA_NAME_MAX bytes, filled up with zeros.
                let mut bytes = name.into_bytes();
                bytes.resize(16, 0);
                return Ok(bytes);
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => idle.as_secs() as i32,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => interval.as_secs() as i32,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => count.into(),
            (libc::IPPROTO_TCP, libc::TCP_INFO) => {
                let mut bytes = vec![0; TCP_INFO_LEN];
                match tcp.and_then(|id| self.stack().tcp_info(id).ok()) {
                    Some(info) => fill(&mut bytes, &info),
                    None if listening => bytes[0] = LISTEN,
                    None => bytes[0] = CLOSE,
                }
                return Ok(bytes);
            }
            // As Linux has it for CUBIC: nothing to tell is no error.
            (libc::IPPROTO_TCP, TCP_CC_INFO) => return Ok(Vec::new()),
            (libc::SOL_SOCKET, SO_MEMINFO) => {
                let queues = self.queues(fd).unwrap_or_default();
                // `SK_MEMINFO_RMEM_ALLOC` and so on, from `include/uapi/linux/sock_diag.h`.
                let mut words = [0u32; 9];
                words[0] = queues.received;
                words[1] = buffer(options.recv_buffer, config.recv_window).cast_unsigned();
                words[3] = buffer(options.send_buffer, config.send_room).cast_unsigned();
                words[5] = queues.unacknowledged;
                return Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect());
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                options.ttl.unwrap_or(64).into()
            }
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                options.tos.into()
            }
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => settings.only_v6.into(),
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        };
        Ok(value.to_ne_bytes().to_vec())
    }
}

/// Writes the fields where `struct tcp_info` has them, in its units: windows in segments, times in microseconds or, for the
/// age of events, in milliseconds. What the stack does not count stays zero.
fn fill(bytes: &mut [u8], info: &TcpInfo) {
    let mss = u32::from(info.snd_mss).max(1);
    let segments = |bytes: u32| bytes.div_ceil(mss);
    bytes[0] = state_number(info.state);
    bytes[1] = match info.ca_state {
        CaState::Open => 0,
        CaState::Disorder => 1,
        CaState::Cwr => 2,
        CaState::Recovery => 3,
        _ => 4,
    };
    bytes[2] = info.backoff;
    bytes[3] = info.probes;
    bytes[4] = info.backoff;
    let window_scale = info.snd_wscale != 0 || info.rcv_wscale != 0;
    bytes[5] = u8::from(info.timestamps)
        | u8::from(info.sack) << 1
        | u8::from(window_scale) << 2
        | u8::from(info.ecn) << 3;
    bytes[6] = info.snd_wscale | info.rcv_wscale << 4;
    bytes[7] = u8::from(info.delivery_rate_app_limited);
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let threshold = info.snd_ssthresh.map_or(NO_THRESHOLD, segments);
    let words: [(usize, u32); 28] = [
        (8, micros(info.rto)),
        (12, micros(info.ato)),
        (16, info.snd_mss.into()),
        (20, info.rcv_mss.into()),
        (24, info.unacked),
        (28, info.sacked),
        // Linux counts what was sent again among the lost until it is acknowledged.
        (32, segments(info.lost) + info.retrans),
        (36, info.retrans),
        (44, info.last_data_sent.map_or(0, millis)),
        (52, millis(info.last_heard)),
        (56, millis(info.last_heard)),
        (68, micros(info.rtt)),
        (72, micros(info.rttvar)),
        (76, threshold),
        (80, info.snd_cwnd / mss),
        (84, info.advmss.into()),
        (96, info.rcv_space),
        (100, info.total_retrans),
        (136, info.segs_out),
        (140, info.segs_in),
        (144, info.notsent_bytes),
        (148, micros(info.min_rtt)),
        (156, info.data_segs_out),
        (
            192,
            u32::try_from(info.bytes_acked / u64::from(mss)).unwrap_or(u32::MAX),
        ),
        (216, info.dsack_dups),
        (220, info.reordering_seen.into()),
        (228, info.snd_wnd),
        (232, info.rcv_wnd),
    ];
    for (at, word) in words {
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    let busy = u64::try_from(info.busy_time.as_micros()).unwrap_or(u64::MAX);
    let longs: [(usize, u64); 8] = [
        (104, info.pacing_rate.unwrap_or(u64::MAX)),
        (112, info.max_pacing_rate.unwrap_or(u64::MAX)),
        (120, info.bytes_acked),
        (128, info.bytes_received),
        (160, info.delivery_rate.unwrap_or(0)),
        (168, busy),
        (200, info.bytes_sent),
        (208, info.bytes_retrans),
    ];
    for (at, long) in longs {
        bytes[at..at + 8].copy_from_slice(&long.to_ne_bytes());
    }
}
