//! `ss`: connections, listeners and UDP sockets, a page at a time.

use std::net::SocketAddr;

use dpdk_net_stack::{
    ListPage, ListPlace, ListenerInfo, TcpInfo, TcpMinisocket, TcpState, TcpTimer, TcpTimerKind,
    UdpSocketInfo,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Context;
use crate::app::control_socket::command::{Command, Question, Reply, members, value};
use crate::app::control_socket::details::{details, micros};
use crate::app::control_socket::endpoint::Endpoint;
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const SS: Command = Command {
    name: "ss",
    help: "connections, or \"sockets\": \"half-open\", \"time-wait\", \"listen\" or \"udp\"; with \"info\" all that is known of each. \
           Chosen by \"states\", \"local\", \"peer\", \"port\" and \"queue\"; \"limit\" at a time, the next ones \"after\" what \"next\" said",
    run: ss,
};

/// Connections that are looked at in one critical section: the worker waits for some microseconds at most.
const AT_ONCE: usize = 256;
/// Connections that are looked at for one answer, whether they are meant or not.
const LOOKED_AT: usize = 16 * 1024;
/// Sockets in an answer at most.
const MOST: usize = 1000;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Members {
    sockets: Sockets,
    states: Option<Vec<State>>,
    local: Option<Endpoint>,
    peer: Option<Endpoint>,
    port: Option<String>,
    queue: Option<u16>,
    info: bool,
    after: Option<Cursor>,
    limit: Option<Limit>,
}

/// What kind.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Sockets {
    #[default]
    Tcp,
    /// Handshakes that are not complete.
    HalfOpen,
    /// Connections in TIME-WAIT without a socket.
    TimeWait,
    Listen,
    Udp,
}

/// A connection's state, in the words that `ss` takes.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum State {
    Closed,
    SynSent,
    SynRecv,
    Established,
    #[serde(rename = "fin-wait-1")]
    FinWait1,
    #[serde(rename = "fin-wait-2")]
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    #[serde(alias = "listen")]
    Listening,
}

impl From<TcpState> for State {
    fn from(state: TcpState) -> Self {
        match state {
            TcpState::Closed => Self::Closed,
            TcpState::SynSent => Self::SynSent,
            TcpState::SynReceived => Self::SynRecv,
            TcpState::Established => Self::Established,
            TcpState::FinWait1 => Self::FinWait1,
            TcpState::FinWait2 => Self::FinWait2,
            TcpState::CloseWait => Self::CloseWait,
            TcpState::Closing => Self::Closing,
            TcpState::LastAck => Self::LastAck,
            TcpState::TimeWait => Self::TimeWait,
        }
    }
}

/// Sockets in an answer: 1 to [`MOST`].
#[derive(Deserialize)]
#[serde(try_from = "usize")]
struct Limit(usize);

impl TryFrom<usize> for Limit {
    type Error = String;

    fn try_from(limit: usize) -> Result<Self, String> {
        match limit {
            1..=MOST => Ok(Self(limit)),
            _ => Err(format!("{limit} is not 1 to {MOST}")),
        }
    }
}

/// Where an answer ended: in the list of which queue, of all, and at which place of it.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(try_from = "String")]
struct Cursor {
    queue: usize,
    place: ListPlace,
}

impl TryFrom<String> for Cursor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('.');
        let parsed = parts.and_then(|(queue, place)| {
            Some(Self {
                queue: queue.parse().ok()?,
                place: ListPlace::new(place.parse().ok()?),
            })
        });
        parsed.ok_or_else(|| "it is what an answer had as \"next\"".to_owned())
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.queue, self.place.get())
    }
}

/// The sockets that are meant, as far as they have been found.
struct Page<'a> {
    asked: &'a Members,
    most: usize,
    found: Vec<Value>,
    /// Sockets that may still be looked at.
    looks: usize,
}

fn ss(app: &Application, question: &Question) -> Result<Reply, String> {
    let asked: Members = members(question)?;
    if let Some(name) = &asked.port
        && !app.contexts().iter().any(|ctx| ctx.port_name() == name)
    {
        return Err(format!("there is no port {name:?}"));
    }
    let after = asked.after.unwrap_or_default();
    let mut page = Page {
        most: asked.limit.as_ref().map_or(MOST, |limit| limit.0),
        found: Vec::new(),
        looks: LOOKED_AT,
        asked: &asked,
    };
    let mut next = None;
    for (queue, context) in app.contexts().iter().enumerate().skip(after.queue) {
        let meant = asked
            .port
            .as_ref()
            .is_none_or(|name| context.port_name() == name)
            && asked.queue.is_none_or(|queue| context.queue() == queue);
        if !meant {
            continue;
        }
        let from = match queue == after.queue {
            true => after.place,
            false => ListPlace::START,
        };
        let stopped = match asked.sockets {
            Sockets::Tcp => {
                let list = |from, most| context.handle().tcp_infos(from, most);
                page.all(from, list, |(id, it)| {
                    let behind = ListPlace::behind(id);
                    (behind, connection(context, &it, asked.info))
                })
            }
            Sockets::HalfOpen => {
                let list = |from, most| context.handle().tcp_half_open_infos(from, most);
                page.all(from, list, |(id, it)| {
                    (ListPlace::behind(id), minisocket(context, it))
                })
            }
            Sockets::TimeWait => {
                let list = |from, most| context.handle().tcp_time_wait_infos(from, most);
                page.all(from, list, |(id, it)| {
                    (ListPlace::behind(id), minisocket(context, it))
                })
            }
            Sockets::Udp => {
                let list = |from, most| context.handle().udp_sockets(from, most);
                page.all(from, list, |(id, it)| {
                    (ListPlace::behind(id), udp(context, &it))
                })
            }
            Sockets::Listen => {
                let list = |from, most| context.handle().listener_infos(from, most);
                page.all(from, list, |it| {
                    (ListPlace::behind(it.id), listener(context, it))
                })
            }
        };
        if let Some(place) = stopped {
            next = Some(Cursor { queue, place }.to_string());
            break;
        }
    }
    value(json!({ "sockets": page.found, "next": next }))
}

/// A socket, as far as it decides whether it is meant, and how it is told.
struct Listed<'a> {
    state: State,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    tell: Box<dyn FnOnce() -> Value + 'a>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.most || self.looks == 0
    }

    /// Takes a socket in, if it is meant.
    fn take(&mut self, it: Listed<'_>) {
        self.looks -= 1;
        let Members {
            states,
            local,
            peer,
            ..
        } = self.asked;
        let meant = states.as_ref().is_none_or(|all| all.contains(&it.state))
            && local.is_none_or(|local| local.matches(it.local))
            && peer.is_none_or(|peer| it.peer.is_some_and(|it| peer.matches(it)));
        if meant {
            self.found.push((it.tell)());
        }
    }

    /// Sockets of a queue, as `list` has them from a place on; what each one is, and the place behind it, `read` tells. Where it stopped,
    /// unless it came to the end.
    fn all<'a, T>(
        &mut self,
        mut from: ListPlace,
        list: impl Fn(ListPlace, usize) -> ListPage<T>,
        read: impl Fn(T) -> (ListPlace, Listed<'a>),
    ) -> Option<ListPlace> {
        loop {
            if self.is_full() {
                return Some(from);
            }
            let page = list(from, AT_ONCE.min(self.looks));
            // Places where nothing is take a while too, many together.
            self.looks -= usize::from(page.entries.is_empty());
            for it in page.entries {
                if self.is_full() {
                    return Some(from);
                }
                let (behind, it) = read(it);
                from = behind;
                self.take(it);
            }
            from = page.next?;
        }
    }
}

fn connection<'a>(context: &'a Context, it: &TcpInfo, with_details: bool) -> Listed<'a> {
    let it = *it;
    let state = State::from(it.state);
    let tell = move || {
        let mut socket = json!({
            "protocol": "tcp",
            "port": context.port_name(),
            "queue": context.queue(),
            "state": state,
            "local": it.local,
            "peer": it.peer,
            "recv_queue": it.recv_queue,
            "send_queue": it.send_queue,
            "timer": it.timer.map(timer),
        });
        if with_details {
            socket["info"] = details(&it);
        }
        socket
    };
    Listed {
        state,
        local: it.local,
        peer: Some(it.peer),
        tell: Box::new(tell),
    }
}

fn minisocket(context: &Context, it: TcpMinisocket) -> Listed<'_> {
    let state = State::from(it.state);
    let tell = move || {
        json!({
            "protocol": "tcp",
            "port": context.port_name(),
            "queue": context.queue(),
            "state": state,
            "local": it.local,
            "peer": it.peer,
            "recv_queue": 0,
            "send_queue": 0,
            "timer": it.timer.map(timer),
        })
    };
    Listed {
        state,
        local: it.local,
        peer: Some(it.peer),
        tell: Box::new(tell),
    }
}

/// In ss(8)'s words.
fn timer(it: TcpTimer) -> Value {
    let kind = match it.kind {
        TcpTimerKind::On => "on",
        TcpTimerKind::Keepalive => "keepalive",
        TcpTimerKind::TimeWait => "timewait",
        TcpTimerKind::Persist => "persist",
        _ => "unknown",
    };
    json!({ "kind": kind, "expires_us": micros(it.expires), "retransmits": it.retransmits })
}

/// With the queues as ss(8) has them: connections that wait to be accepted, and how many may.
fn listener(context: &Context, it: ListenerInfo) -> Listed<'_> {
    let tell = move || {
        json!({
            "protocol": "tcp",
            "port": context.port_name(),
            "queue": context.queue(),
            "state": State::Listening,
            "local": it.local,
            "peer": null,
            "recv_queue": it.accept_queue,
            "send_queue": it.backlog,
            "half_open": it.half_open,
            "only_v6": it.only_v6,
            "dropped": it.dropped,
        })
    };
    Listed {
        state: State::Listening,
        local: it.local,
        peer: None,
        tell: Box::new(tell),
    }
}

/// A UDP socket is established or closed, as ss(8) has it: connected or not.
fn udp<'a>(context: &'a Context, it: &UdpSocketInfo) -> Listed<'a> {
    let it = *it;
    let state = match it.peer {
        Some(_) => State::Established,
        None => State::Closed,
    };
    let tell = move || {
        json!({
            "protocol": "udp",
            "port": context.port_name(),
            "queue": context.queue(),
            "state": state,
            "local": it.local,
            "peer": it.peer,
            "recv_queue": it.recv_queue,
            "send_queue": 0,
            "recv_datagrams": it.recv_datagrams,
            "recv_limit": it.recv_limit,
            "dropped": it.dropped,
        })
    };
    Listed {
        state,
        local: it.local,
        peer: it.peer,
        tell: Box::new(tell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        let cursor = Cursor {
            queue: 3,
            place: ListPlace::new(1 << 31),
        };
        assert_eq!(Cursor::try_from(cursor.to_string()), Ok(cursor));
        for text in ["", "1", "1.", ".1", "1.2.3", "-1.2", "a.b"] {
            assert!(Cursor::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn states_have_the_names_that_ss_takes() {
        let name = |state: TcpState| serde_json::to_value(State::from(state)).unwrap();
        assert_eq!(name(TcpState::FinWait1), "fin-wait-1");
        assert_eq!(name(TcpState::SynReceived), "syn-recv");
        assert_eq!(name(TcpState::LastAck), "last-ack");
    }
}
