//! What the control socket tells of figures, flattened.

use serde_json::Value;

/// Whose names figures have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Own,
    Linux,
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// With its labels, but for those that it is summed over: `dpdk_net_queue_drops_total{queue="0",cause="tcp_checksum"}`.
    pub(super) name: String,
    pub(super) value: f64,
    /// Whether it only grows, so that it has a rate.
    pub(super) counts: bool,
}

/// Those of an answer: of each metric that queues have the sum over these, or each sample by itself. What is of a port, a mempool or the
/// process is told by itself always: sums of what drivers count, or of speeds, say nothing. Of histograms the number and the sum of what
/// they have.
pub(super) fn read(families: &Value, names: Names, apart: bool) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut add = |name: String, value: f64, counts: bool| {
        // Several of ours are one of Linux': those of IPv4 and IPv6, say.
        match figures.iter_mut().rev().find(|known| known.name == name) {
            Some(known) => known.value += value,
            None => figures.push(Figure {
                name,
                value,
                counts,
            }),
        }
    };
    for family in families.as_array().into_iter().flatten() {
        let name = match names {
            Names::Own => family["name"].as_str(),
            Names::Linux => family["linux"].as_str(),
        };
        let Some(name) = name else {
            continue;
        };
        let counts = family["type"] != "gauge";
        for sample in family["samples"].as_array().into_iter().flatten() {
            let is_summed = !apart && sample["labels"]["queue"].is_string();
            let labels = match is_summed || names == Names::Linux {
                true => String::new(),
                false => labels(&sample["labels"]),
            };
            let value = &sample["value"];
            match value.as_f64() {
                Some(value) => add(format!("{name}{labels}"), value, counts),
                None => {
                    for part in ["count", "sum"] {
                        let value = value[part].as_f64().unwrap_or(0.0);
                        add(format!("{name}_{part}{labels}"), value, true);
                    }
                }
            }
        }
    }
    figures
}

/// As Prometheus writes them.
fn labels(labels: &Value) -> String {
    let all = labels.as_object().into_iter().flatten();
    let all: Vec<String> = all.map(|(name, value)| format!("{name}={value}")).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_queues_have_is_summed() {
        let of_port = |port: &str, name: &str, value: u64| json!({ "labels": { "name": name, "port": port }, "value": value });
        let families = json!([
            { "name": "dpdk_net_port_xstat", "type": "gauge", "linux": null,
              "samples": [of_port("a", "rx_good", 1), of_port("a", "tx_good", 2), of_port("b", "rx_good", 4)] },
            { "name": "dpdk_net_port_link_speed_bytes", "type": "gauge", "linux": null, "samples": [
                { "labels": { "port": "a" }, "value": 1_250_000_000 }, { "labels": { "port": "b" }, "value": 1_250_000_000 },
            ] },
            { "name": "dpdk_net_uptime_seconds", "type": "gauge", "linux": null, "samples": [{ "labels": {}, "value": 7 }] },
        ]);
        assert_eq!(
            told(read(&families, Names::Own, false)),
            [
                "dpdk_net_port_xstat{name=\"rx_good\",port=\"a\"} 1 false",
                "dpdk_net_port_xstat{name=\"tx_good\",port=\"a\"} 2 false",
                "dpdk_net_port_xstat{name=\"rx_good\",port=\"b\"} 4 false",
                "dpdk_net_port_link_speed_bytes{port=\"a\"} 1250000000 false",
                "dpdk_net_port_link_speed_bytes{port=\"b\"} 1250000000 false",
                "dpdk_net_uptime_seconds 7 false",
            ]
        );
    }

    fn families() -> Value {
        json!([
            { "name": "dpdk_net_tcp_retransmits_total", "type": "counter", "linux": "TcpRetransSegs", "samples": [
                { "labels": { "port": "p", "queue": "0" }, "value": 3 }, { "labels": { "port": "p", "queue": "1" }, "value": 4 },
            ] },
            { "name": "dpdk_net_tcp_connections", "type": "gauge", "linux": null, "samples": [{ "labels": {}, "value": 1.5 }] },
            { "name": "dpdk_net_worker_busy_turn_seconds", "type": "histogram", "linux": null, "samples": [
                { "labels": { "queue": "0" }, "value": { "count": 2, "sum": 0.5, "buckets": [[0.25, 2]] } },
            ] },
        ])
    }

    fn told(figures: Vec<Figure>) -> Vec<String> {
        figures
            .iter()
            .map(|it| format!("{} {} {}", it.name, it.value, it.counts))
            .collect()
    }

    #[test]
    fn samples_are_summed_or_told_apart() {
        assert_eq!(
            told(read(&families(), Names::Own, false)),
            [
                "dpdk_net_tcp_retransmits_total 7 true",
                "dpdk_net_tcp_connections 1.5 false",
                "dpdk_net_worker_busy_turn_seconds_count 2 true",
                "dpdk_net_worker_busy_turn_seconds_sum 0.5 true",
            ]
        );
        let apart = told(read(&families(), Names::Own, true));
        assert_eq!(
            apart[1],
            "dpdk_net_tcp_retransmits_total{port=\"p\",queue=\"1\"} 4 true"
        );
        assert_eq!(apart[2], "dpdk_net_tcp_connections 1.5 false");
    }

    #[test]
    fn names_of_linux_are_there_where_it_has_one() {
        assert_eq!(
            told(read(&families(), Names::Linux, false)),
            ["TcpRetransSegs 7 true"]
        );
    }
}
