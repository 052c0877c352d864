//! What of a change becomes effective while the application runs.

use std::collections::BTreeSet;

use dpdk_net_config::samples::samples;
use dpdk_net_config::{Changes, File, Format};
use toml::{Table, Value};

/// Keys, and sections all of whose keys, a reload makes effective.
const LIVE: &[&str] = &[
    "tcp.congestion",
    "tcp.nodelay",
    "tcp.keepalive",
    "tcp.syn_retries",
    "tcp.syn_ack_retries",
    "tcp.connect_timeout",
    "tcp.user_timeout",
    "tcp.orphan_timeout",
    "tcp.fin_wait2_timeout",
    "tcp.max_connections",
    "tcp.max_orphans",
    "tcp.challenge_acks_per_second",
    "tcp.resets_per_second",
    "limits.neighbors",
    "limits.pending_per_neighbor",
    "limits.pending_bytes",
    "limits.reassembly_bytes",
    "limits.icmp_errors_per_second",
    "limits.echo_replies_per_second",
    "network.dns",
    "network.gateways",
    "network.routes",
    "network.neighbors",
    "metrics.log_interval",
    "log.filter",
];

/// Keys without which their samples' files are not complete: they can't be taken away.
const NEEDED: usize = 28;

fn parse(text: &str) -> File {
    let read = File::parse("a.toml", text, Format::Toml, []);
    read.unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn is_live(path: &str) -> bool {
    let path = path.strip_prefix("port[0].").unwrap_or(path);
    LIVE.iter().any(|live| {
        let rest = path.strip_prefix(live);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// The file without a key, or without the list that it is an element of.
fn without(toml: &str, path: &str) -> String {
    let mut file: Value = toml.parse::<Table>().unwrap().into();
    let apart = path
        .trim_end_matches("[0]")
        .replace('[', ".")
        .replace(']', "");
    let mut steps: Vec<&str> = apart.split('.').collect();
    let last = steps.pop().unwrap();
    let mut node = &mut file;
    for step in steps {
        node = match node {
            Value::Table(table) => &mut table[step],
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            _ => panic!("{path}"),
        };
    }
    node.as_table_mut().unwrap().remove(last);
    toml::to_string(&file).unwrap()
}

#[test]
fn each_live_key_is_live_and_each_other_takes_a_restart() {
    let mut needed = BTreeSet::new();
    for sample in samples() {
        let path = sample.path.as_str();
        let less = without(&sample.toml, path);
        let Ok(old) = File::parse("a.toml", &less, Format::Toml, []) else {
            needed.insert(path);
            continue;
        };
        let changes = Changes::between(&old, &parse(&sample.toml));
        let (one, none) = match is_live(path) {
            true => (&changes.live, &changes.restart),
            false => (&changes.restart, &changes.live),
        };
        assert_eq!((one.len(), none.len()), (1, 0), "{path}: {changes:?}");
        // Of an optional table that was not there it is the table that changed.
        let changed = &one[0].path;
        assert!(path.starts_with(changed.as_str()), "{path}: {changes:?}");
    }
    assert_eq!(needed.len(), NEEDED, "{needed:#?}");
}

const FILE: &str = r#"
[[port]]
vdev = "net_tap0"

[[port.flow]]
ipv4 = {}
queue = 0

[network]
addresses = ["198.18.0.2/24"]
gateways = ["198.18.0.1"]

[[network.routes]]
to = "10.0.0.0/8"
via = "198.18.0.1"

[[network.vlans]]
id = 100
addresses = ["198.18.100.2/24"]

[tcp]
user_timeout = "1 min"
"#;

fn change(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
    assert!(FILE.contains(from), "{from}");
    let changes = Changes::between(&parse(FILE), &parse(&FILE.replace(from, to)));
    let texts =
        |changes: &[dpdk_net_config::Change]| changes.iter().map(|one| one.to_string()).collect();
    (texts(&changes.live), texts(&changes.restart))
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_live_list_of_tables_changes_as_a_whole() {
    let (live, restart) = change("10.0.0.0/8", "10.0.0.0/16");
    assert_eq!(live.len(), 1);
    assert!(live[0].starts_with("network.routes: from [{"), "{live:?}");
    assert_eq!(restart, none());
}

#[test]
fn a_table_of_another_list_changes_key_by_key() {
    let (live, restart) = change("queue = 0", "queue = 1");
    assert_eq!(
        (live, restart),
        (none(), vec!["port[0].flow[0].queue: from 0 to 1".into()])
    );
    let (live, restart) = change("id = 100", "id = 100\npriority = 5");
    assert_eq!(
        (live, restart),
        (
            none(),
            vec!["network.vlans[0].priority: from the default to 5".into()]
        )
    );
}

#[test]
fn a_list_that_grows_changes_as_a_whole() {
    let more = "[network]\naddresses = [\"198.18.0.3/24\", ";
    let (live, restart) = change("[network]\naddresses = [", more);
    assert_eq!(live, none());
    assert_eq!(restart.len(), 1);
    assert!(restart[0].starts_with("network.addresses: from [\"198.18.0.2/24\"] to "));
}

#[test]
fn how_a_value_is_written_is_no_change() {
    let (live, restart) = change("\"1 min\"", "\"60s\"");
    assert_eq!((live, restart), (none(), none()));
    assert!(Changes::between(&parse(FILE), &parse(FILE)).is_empty());
}

#[test]
fn both_kinds_of_changes_are_told_apart() {
    let new = FILE
        .replace("\"1 min\"", "\"30 s\"")
        .replace("net_tap0", "net_tap1");
    let changes = Changes::between(&parse(FILE), &parse(&new));
    assert_eq!(
        changes.live[0].to_string(),
        "tcp.user_timeout: from \"1 min\" to \"30 s\""
    );
    assert_eq!(
        changes.restart[0].to_string(),
        "port[0].vdev: from \"net_tap0\" to \"net_tap1\""
    );
}
