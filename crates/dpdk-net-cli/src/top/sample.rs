//! What the application told at one time, and what happened between two such times.

use serde_json::Value;

use crate::running;

/// All that is asked for at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) pid: u64,
    /// Seconds since the application's start: the clock of rates.
    pub(super) uptime: f64,
    /// It is built without what counts.
    pub(super) uncounted: bool,
    pub(super) queues: Vec<Queue>,
    pub(super) ports: Vec<Port>,
}

/// A queue at one time. Counts are since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    /// `PORT/N`.
    pub(super) name: String,
    pub(super) lcore: Option<u64>,
    pub(super) cpu: Option<u64>,
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
    turns: u64,
    busy_turns: u64,
    busy_cycles: u64,
    idle_cycles: u64,
    handed_over: u64,
    retransmits: u64,
    timeouts: u64,
    opened: u64,
    pub(super) connections: u64,
    pub(super) orphans: u64,
    /// In use, and of how many.
    pub(super) pool: Option<(u64, u64)>,
    /// By cause.
    pub(super) drops: Vec<(String, u64)>,
    /// By what they are of: see [`LATENCIES`].
    latencies: [Histogram; LATENCIES.len()],
}

/// A port at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) link_up: Option<bool>,
    /// Frames that the NIC dropped, as nobody took them or there was no mbuf.
    pub(super) missed: u64,
    pub(super) errors: u64,
}

/// Times that are spread: what they are called here, and the figure that has them.
pub(super) const LATENCIES: [(&str, &str); 3] = [
    ("round trip", "dpdk_net_tcp_rtt_seconds"),
    ("wait for accept", "dpdk_net_tcp_accept_delay_seconds"),
    ("busy turn", "dpdk_net_worker_busy_turn_seconds"),
];

/// How many values were up to a bound, and above the one before.
#[derive(Debug, Clone, Default, PartialEq)]
struct Histogram(Vec<(f64, u64)>);

impl Histogram {
    fn from_json(value: &Value) -> Self {
        let buckets = value["buckets"].as_array().into_iter().flatten();
        let bucket = |pair: &Value| {
            // The last bucket has no bound.
            let bound = pair.get(0)?.as_f64().unwrap_or(f64::INFINITY);
            Some((bound, pair.get(1)?.as_u64()?))
        };
        Self(buckets.filter_map(bucket).collect())
    }

    /// What came since.
    fn since(&self, before: &Self) -> Self {
        let of = |bound: f64| before.0.iter().find(|(other, _)| *other == bound);
        let added = self.0.iter().map(|(bound, count)| {
            let old = of(*bound).map_or(0, |(_, old)| *old);
            (*bound, count.saturating_sub(old))
        });
        Self(added.filter(|(_, count)| *count > 0).collect())
    }

    fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == bound) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((*bound, *count)),
            }
        }
        self.0.sort_by(|one, other| one.0.total_cmp(&other.0));
    }

    /// What that share of the values does not exceed, in seconds.
    fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().map(|(_, count)| count).sum();
        let wanted = (all as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let mut buckets = self.0.iter();
        let found = buckets.find(|(_, count)| {
            seen += count;
            seen as f64 >= wanted
        });
        found.map(|(bound, _)| *bound)
    }
}

impl Sample {
    /// Of the answers to `queues` and to `stats`, asked for the [`LATENCIES`].
    pub(super) fn from_json(answer: &Value, stats: &Value) -> Self {
        let mut queues: Vec<Queue> = list(&answer["queues"]).map(Queue::from_json).collect();
        for family in list(stats) {
            let at = LATENCIES
                .iter()
                .position(|(_, name)| family["name"] == *name);
            let Some(at) = at else {
                continue;
            };
            for sample in list(&family["samples"]) {
                let label = |name: &str| sample["labels"][name].as_str().unwrap_or("").to_owned();
                let name = format!("{}/{}", label("port"), label("queue"));
                let queue = queues.iter_mut().find(|queue| queue.name == name);
                if let Some(place) = queue.and_then(|queue| queue.latencies.get_mut(at)) {
                    *place = Histogram::from_json(&sample["value"]);
                }
            }
        }
        Self {
            pid: answer["pid"].as_u64().unwrap_or(0),
            uptime: answer["uptime_s"].as_f64().unwrap_or(0.0),
            uncounted: running::is_uncounted(answer),
            queues,
            ports: list(&answer["ports"]).map(Port::from_json).collect(),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Queue {
    fn from_json(queue: &Value) -> Self {
        let count = |name: &str| queue[name].as_u64().unwrap_or(0);
        let pool = &queue["mempool"];
        let drops = queue["drops"].as_object().into_iter().flatten();
        Self {
            name: format!(
                "{}/{}",
                queue["port"].as_str().unwrap_or(""),
                count("queue")
            ),
            lcore: queue["lcore"].as_u64(),
            cpu: queue["cpu"].as_u64(),
            rx_frames: count("rx_frames"),
            rx_bytes: count("rx_bytes"),
            tx_frames: count("tx_frames"),
            tx_bytes: count("tx_bytes"),
            turns: count("turns"),
            busy_turns: count("busy_turns"),
            busy_cycles: count("busy_cycles"),
            idle_cycles: count("idle_cycles"),
            handed_over: count("handed_over"),
            retransmits: count("tcp_retransmits"),
            timeouts: count("tcp_timeouts"),
            opened: count("tcp_active_opens") + count("tcp_passive_opens"),
            connections: count("connections"),
            orphans: count("orphans"),
            pool: pool["in_use"].as_u64().zip(pool["capacity"].as_u64()),
            drops: drops
                .map(|(cause, count)| (cause.clone(), count.as_u64().unwrap_or(0)))
                .collect(),
            latencies: Default::default(),
        }
    }
}

impl Port {
    fn from_json(port: &Value) -> Self {
        let count = |name: &str| port[name].as_u64().unwrap_or(0);
        Self {
            name: port["port"].as_str().unwrap_or("").to_owned(),
            link_up: port["link_up"].as_bool(),
            missed: count("rx_missed") + count("rx_no_mbuf"),
            errors: count("rx_errors") + count("tx_errors"),
        }
    }
}

/// What happened on a queue, a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) rx_frames: f64,
    pub(super) rx_bits: f64,
    pub(super) tx_frames: f64,
    pub(super) tx_bits: f64,
    /// Share of the time that there was something to do, 0 to 1.
    pub(super) load: f64,
    /// Cycles of busy turns for each frame that came or went.
    pub(super) cycles_per_frame: Option<f64>,
    pub(super) drops: f64,
    pub(super) handed_over: f64,
    pub(super) retransmits: f64,
    pub(super) timeouts: f64,
    pub(super) opened: f64,
    /// By cause, those that happened.
    pub(super) drop_causes: Vec<(String, f64)>,
    latencies: [Histogram; LATENCIES.len()],
}

impl Rates {
    /// Between two times, so many seconds apart.
    pub(super) fn between(before: &Queue, now: &Queue, seconds: f64) -> Self {
        let seconds = seconds.max(1e-6);
        let rate = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
        let share = |busy: u64, idle: u64| {
            let all = busy + idle;
            if all == 0 {
                0.0
            } else {
                busy as f64 / all as f64
            }
        };
        let added = |old: u64, new: u64| new.saturating_sub(old);
        let busy = added(before.busy_cycles, now.busy_cycles);
        let idle = added(before.idle_cycles, now.idle_cycles);
        let turns = added(before.turns, now.turns);
        let busy_turns = added(before.busy_turns, now.busy_turns);
        let frames =
            added(before.rx_frames, now.rx_frames) + added(before.tx_frames, now.tx_frames);
        let mut drop_causes: Vec<(String, f64)> = now
            .drops
            .iter()
            .map(|(cause, count)| {
                let old = before.drops.iter().find(|(known, _)| known == cause);
                (cause.clone(), rate(old.map_or(0, |(_, old)| *old), *count))
            })
            .collect();
        drop_causes.sort_by(|one, other| other.1.total_cmp(&one.1));
        let latency = |at: usize| match (now.latencies.get(at), before.latencies.get(at)) {
            (Some(now), Some(before)) => now.since(before),
            _ => Histogram::default(),
        };
        Self {
            rx_frames: rate(before.rx_frames, now.rx_frames),
            rx_bits: 8.0 * rate(before.rx_bytes, now.rx_bytes),
            tx_frames: rate(before.tx_frames, now.tx_frames),
            tx_bits: 8.0 * rate(before.tx_bytes, now.tx_bytes),
            // Where cycles are not counted, turns are.
            load: match busy + idle {
                0 => share(busy_turns, turns.saturating_sub(busy_turns)),
                _ => share(busy, idle),
            },
            cycles_per_frame: (frames > 0 && busy > 0).then(|| busy as f64 / frames as f64),
            drops: drop_causes.iter().map(|(_, rate)| rate).sum(),
            handed_over: rate(before.handed_over, now.handed_over),
            retransmits: rate(before.retransmits, now.retransmits),
            timeouts: rate(before.timeouts, now.timeouts),
            opened: rate(before.opened, now.opened),
            drop_causes,
            latencies: std::array::from_fn(latency),
        }
    }

    /// Adds those of another queue; the load becomes the sum of loads.
    pub(super) fn add(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bits += other.rx_bits;
        self.tx_frames += other.tx_frames;
        self.tx_bits += other.tx_bits;
        self.load += other.load;
        self.drops += other.drops;
        self.handed_over += other.handed_over;
        self.retransmits += other.retransmits;
        self.timeouts += other.timeouts;
        self.opened += other.opened;
        for (own, other) in self.latencies.iter_mut().zip(&other.latencies) {
            own.add(other);
        }
    }

    /// What half, and what 99 of 100 of one of the [`LATENCIES`] did not exceed, in seconds.
    pub(super) fn latency(&self, which: usize) -> Option<(f64, f64)> {
        let values = self.latencies.get(which)?;
        values.quantile(0.5).zip(values.quantile(0.99))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_of_what_was_added() {
        let at = |frames: u64, busy: u64, drops: u64| {
            let answer = json!({ "pid": 7, "uptime_s": 1.0, "ports": [], "queues": [{
                "port": "p", "queue": 0, "rx_frames": frames, "rx_bytes": 100 * frames, "tx_frames": 0,
                "busy_cycles": busy, "idle_cycles": 3 * busy, "drops": { "tcp_checksum": drops },
            }] });
            Sample::from_json(&answer, &json!([])).queues.remove(0)
        };
        let rates = Rates::between(&at(10, 100, 0), &at(30, 500, 4), 2.0);
        assert_eq!(rates.rx_frames, 10.0);
        assert_eq!(rates.rx_bits, 8000.0);
        assert_eq!(rates.load, 0.25);
        assert_eq!(rates.cycles_per_frame, Some(20.0));
        assert_eq!(rates.drop_causes, [("tcp_checksum".to_owned(), 2.0)]);
        // Counted anew, by an application that was started anew: nothing below zero.
        assert_eq!(
            Rates::between(&at(30, 500, 4), &at(10, 100, 0), 1.0).rx_frames,
            0.0
        );
    }

    #[test]
    fn quantiles_are_of_what_came_between() {
        let of = |buckets: Value| Histogram::from_json(&json!({ "buckets": buckets }));
        let before = of(json!([[0.001, 100]]));
        let now = of(json!([[0.001, 101], [0.002, 97], [0.5, 1], [null, 1]]));
        let since = now.since(&before);
        assert_eq!(since.quantile(0.5), Some(0.002));
        assert_eq!(since.quantile(0.99), Some(0.5));
        assert_eq!(since.quantile(1.0), Some(f64::INFINITY));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_no_answer_of_ours_is_an_empty_sample() {
        for odd in [
            json!(null),
            json!([]),
            json!({ "queues": 7, "ports": "none", "pid": -1 }),
        ] {
            let sample = Sample::from_json(&odd, &odd);
            assert!(sample.queues.is_empty() && sample.ports.is_empty());
        }
    }
}
