//! `dpdk-net ss`: connections, listeners and UDP sockets of a running application, as ss(8) shows the kernel's.

mod filter;
mod list;

use clap::Args;
use dpdk_net::control::Client;
use serde_json::{Map, Value, json};

use self::filter::Filter;
use self::list::{Show, Socket};
use crate::failure::Result;
use crate::output;
use crate::running::Which;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net ss -t
      The TCP connections of the application that runs.
  dpdk-net ss -ti state established dst 198.18.0.0/24
      With what TCP knows of each: round trips, windows, bytes, retransmissions.
  dpdk-net ss -ltu
      What is listened on, TCP and UDP.
  dpdk-net ss -t sport = :443 --json --socket /run/web.sock
      For programs, of the application with that control socket.

Sizes in the second line are in segments where ss has segments (cwnd, ssthresh, lost), and `queue:PORT/N` is the
queue that has the connection.

Exit code: 0 when all went well, 1 when no application can be asked, 2 for a mistake on the command line.";

/// List connections and sockets of a running application, as ss does of the kernel's
///
/// Without -t or -u both are listed; without -l or -a those that are connected. The FILTER chooses by state and by
/// address, in ss's words: state NAME, exclude NAME, src and dst ADDRESS, sport and dport = :PORT.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct SsArgs {
    /// TCP
    #[arg(short, long)]
    tcp: bool,

    /// UDP
    #[arg(short, long)]
    udp: bool,

    /// Only what is listened on
    #[arg(short, long)]
    listening: bool,

    /// What is listened on too, and all states
    #[arg(short, long)]
    all: bool,

    /// What TCP knows of each connection, on a second line
    #[arg(short, long)]
    info: bool,

    /// The timer that runs: what for, when it runs out, and how often it has
    #[arg(short, long)]
    options: bool,

    /// The memory that each takes
    #[arg(short, long)]
    memory: bool,

    /// Exact rates; addresses and ports are always numbers
    #[arg(short, long)]
    numeric: bool,

    /// No header
    #[arg(short = 'H', long)]
    no_header: bool,

    /// Only sockets of this port of the application
    #[arg(long, value_name = "NAME")]
    port: Option<String>,

    /// Only sockets of the queue with this number
    #[arg(long, value_name = "N")]
    queue: Option<u16>,

    /// Write them as JSON, as the control socket tells them
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    which: Which,

    /// Which sockets: state NAME, exclude NAME, src ADDRESS, dst ADDRESS, sport = :PORT, dport = :PORT
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// The states that are listed without -a and without a filter: those of ss.
const CONNECTED: [&str; 8] = [
    "established",
    "syn-sent",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "last-ack",
    "closing",
    "syn-recv",
];

/// Prints them.
pub(crate) fn run(args: &SsArgs) -> Result {
    let filter = Filter::parse(&args.filter)?;
    let mut client = args.which.connect()?;
    let mut sockets = Vec::new();
    for kind in args.kinds(&filter) {
        let question = args.question(kind, &filter);
        sockets.extend(all_pages(&mut client, question)?);
    }
    if args.json {
        return output::print(&output::json(&sockets)?);
    }
    let sockets: Vec<Socket> = sockets.iter().map(Socket::from_json).collect();
    let show = Show {
        kinds: args.tcp == args.udp,
        header: !args.no_header,
        info: args.info,
        timers: args.options,
        memory: args.memory,
        exact: args.numeric,
    };
    output::print(&list::text(&sockets, show))
}

impl SsArgs {
    /// What is to be asked for.
    fn kinds(&self, filter: &Filter) -> Vec<&'static str> {
        let wants = |state| {
            filter
                .states
                .as_ref()
                .is_some_and(|all| all.contains(&state))
        };
        let (tcp, udp) = (self.tcp || !self.udp, self.udp || !self.tcp);
        let listening = self.listening || self.all || wants("listening");
        let mut kinds = Vec::new();
        // Which states are meant without a filter: all with -a, otherwise those of connections, TIME-WAIT left out.
        let lists = |state| match &filter.states {
            Some(_) => wants(state),
            None => self.all || CONNECTED.contains(&state),
        };
        if tcp && !self.listening {
            kinds.push("tcp");
            if lists("syn-recv") {
                kinds.push("half-open");
            }
            if lists("time-wait") {
                kinds.push("time-wait");
            }
        }
        if tcp && listening && (filter.states.is_none() || wants("listening")) {
            kinds.push("listen");
        }
        if udp {
            kinds.push("udp");
        }
        kinds
    }

    fn question(&self, kind: &str, filter: &Filter) -> Map<String, Value> {
        let mut question = Map::new();
        question.insert("command".into(), "ss".into());
        question.insert("sockets".into(), kind.into());
        filter.put(&mut question);
        if let Some(port) = &self.port {
            question.insert("port".into(), port.clone().into());
        }
        if let Some(queue) = self.queue {
            question.insert("queue".into(), queue.into());
        }
        let states = match (&filter.states, kind) {
            (_, "listen" | "half-open" | "time-wait") => None,
            (Some(states), _) => Some(
                states
                    .iter()
                    .copied()
                    .filter(|it| *it != "listening")
                    .collect(),
            ),
            // A UDP socket is connected or not, and listens in the latter case.
            (None, "udp") if self.listening => Some(vec!["closed"]),
            (None, "udp") if !self.all => Some(vec!["established"]),
            (None, "tcp") if !self.all => Some(CONNECTED.to_vec()),
            (None, _) => None,
        };
        if let Some(states) = states {
            question.insert("states".into(), json!(states));
        }
        if kind == "tcp" && (self.info || self.memory || self.json) {
            question.insert("info".into(), true.into());
        }
        question
    }
}

/// The sockets of all pages of an answer.
fn all_pages(client: &mut Client, mut question: Map<String, Value>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    loop {
        let mut answer = client.ask(&Value::Object(question.clone()))?;
        if let Some(Value::Array(page)) = answer.get_mut("sockets") {
            all.append(page);
        }
        match answer.get("next") {
            None | Some(Value::Null) => return Ok(all),
            Some(next) => question.insert("after".into(), next.clone()),
        };
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SsArgs,
    }

    fn questions(line: &str) -> Vec<Value> {
        let args = Line::parse_from(line.split(' ')).args;
        let filter = Filter::parse(&args.filter).unwrap();
        let kinds = args.kinds(&filter).into_iter();
        kinds
            .map(|kind| args.question(kind, &filter).into())
            .collect()
    }

    #[test]
    fn options_ask_for_what_they_ask_ss_for() {
        let kinds = |line| {
            let all = questions(line).into_iter();
            let all = all.map(|it| it["sockets"].as_str().unwrap().to_owned());
            all.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kinds("ss"), "tcp half-open udp");
        assert_eq!(kinds("ss -t"), "tcp half-open");
        assert_eq!(kinds("ss -ta"), "tcp half-open time-wait listen");
        assert_eq!(kinds("ss -t state time-wait"), "tcp time-wait");
        assert_eq!(kinds("ss -t state established"), "tcp");
        assert_eq!(kinds("ss -lt"), "listen");
        assert_eq!(kinds("ss -ltu"), "listen udp");
        assert_eq!(kinds("ss -tu"), "tcp half-open udp");
        assert_eq!(kinds("ss -t state listening"), "tcp listen");
    }

    #[test]
    fn states_of_the_filter_take_the_place_of_those_of_options() {
        assert_eq!(questions("ss -t")[0]["states"], json!(CONNECTED));
        assert_eq!(questions("ss -ta")[0]["states"], Value::Null);
        assert_eq!(
            questions("ss -t state time-wait")[0]["states"],
            json!(["time-wait"])
        );
        assert_eq!(questions("ss -u")[0]["states"], json!(["established"]));
        assert_eq!(questions("ss -ul")[0]["states"], json!(["closed"]));
        let with = &questions("ss -ti --port web --queue 1 dst 198.18.0.1")[0];
        assert_eq!(with["peer"], "198.18.0.1");
        assert_eq!((&with["port"], &with["queue"]), (&json!("web"), &json!(1)));
        assert_eq!(with["info"], true);
    }
}
