//! What holds for every file: nothing panics, also where it is told what is wrong, and what is shown is what was read.

use dpdk_net_config::samples::samples;
use dpdk_net_config::{Changes, Cidr, File, Format, Lcores, PREFIX, Problems, Size, Time};
use proptest::prelude::*;
use toml::{Table, Value};

/// Reads a text, and if it is refused, writes why: that must not panic either.
fn read(text: &str, format: Format, variables: Vec<(String, String)>) -> Option<File> {
    let told = |problems: Problems| {
        assert!(problems.len() >= 1);
        for problem in problems.iter().take(100) {
            let (line, column) = problem.place().map_or((1, 1), |place| place.line_column());
            assert!(line >= 1 && column >= 1);
        }
        assert!(!problems.to_string().is_empty() && !problems.render(true, 20).is_empty());
        let mut messages = problems.iter().map(|problem| problem.message());
        assert!(messages.all(|message| message.len() < 8_000 && !message.contains('\u{1b}')));
    };
    File::parse("x", text, format, variables).map_err(told).ok()
}

fn formats() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Toml), Just(Format::Json)]
}

/// Texts to begin with: of the corpus of broken files, and of good ones in both formats.
fn seeds() -> Vec<(String, Format)> {
    let mut all: Vec<(String, Format)> = samples()
        .iter()
        .flat_map(|sample| {
            let json: serde_json::Value = toml::from_str(&sample.toml).unwrap();
            [
                (sample.toml.clone(), Format::Toml),
                (json.to_string(), Format::Json),
            ]
        })
        .collect();
    let mut paths: Vec<_> = std::fs::read_dir("tests/broken")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // The order of a directory differs between machines.
    paths.sort();
    for path in paths {
        if let Ok(text) = std::fs::read_to_string(&path) {
            let format = Format::of(&path.display().to_string(), &text);
            all.push((text, format));
        }
    }
    all
}

/// One change: where, in shares of the text, how much of it goes, and what comes instead.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let pieces = prop::sample::select(vec![
        "",
        "\"",
        "[",
        "]",
        "[[",
        "{",
        "}",
        ",",
        "=",
        ":",
        ".",
        "\n",
        "\r\n",
        "\t",
        "#",
        "0",
        "-1",
        "1e999",
        "null",
        "true",
        "port",
        "network",
        "\u{feff}",
        "\u{1f600}",
        "\u{0}",
        "é",
        "\\u",
        "99999999999999999999999999999999999999999",
        "[[[[[[[[[[[[",
    ]);
    (
        any::<prop::sample::Index>(),
        0_usize..12,
        pieces.prop_map(str::to_owned),
    )
}

fn changed(text: &str, changes: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, less, more) in changes {
        let at = at.index(chars.len() + 1);
        let end = (at + less).min(chars.len());
        chars.splice(at..end, more.chars());
    }
    chars.into_iter().collect()
}

/// Settings of several samples in one file, those that get along with each other.
fn combined() -> impl Strategy<Value = String> {
    let sections = [
        "tcp.",
        "udp.",
        "limits.",
        "log.",
        "metrics.",
        "network.dns.",
        "app",
        "port[0].offloads.",
        "port[0].rss.",
    ];
    let some: Vec<_> = samples()
        .iter()
        .filter(|sample| {
            sections
                .iter()
                .any(|section| sample.path.starts_with(section))
        })
        .collect();
    prop::sample::subsequence(some, 0..40).prop_map(|some| {
        let mut file = Value::Table(samples()[0].toml.parse().unwrap());
        for sample in some {
            merge(&mut file, sample.toml.parse::<Table>().unwrap().into());
        }
        // These are of either kind alone.
        let offloads = file["port"][0]
            .get_mut("offloads")
            .and_then(Value::as_table_mut);
        if let Some(offloads) = offloads {
            offloads.remove("tso");
            offloads.remove("multi_segs");
        }
        toml::to_string(&file).unwrap()
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Table(into), Value::Table(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(own) => merge(own, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            for (own, value) in into.iter_mut().zip(from) {
                merge(own, value);
            }
        }
        (into, from) => *into = from,
    }
}

/// What a file shows is what was read, in either format.
fn round_trip(file: &File) {
    let json = file.to_json();
    let toml = toml::to_string(&json).unwrap();
    for (text, format) in [(json.to_string(), Format::Json), (toml, Format::Toml)] {
        let again = File::parse("again", &text, format, []);
        let again = again.unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        assert_eq!(again.config(), file.config(), "{text}");
        assert!(Changes::between(file, &again).is_empty());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), format in formats()) {
        read(&String::from_utf8_lossy(&bytes), format, Vec::new());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", format in formats()) {
        read(&text, format, Vec::new());
    }

    #[test]
    fn no_changed_file_panics(
        (text, format) in prop::sample::select(seeds()),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        read(&changed(&text, &changes), format, Vec::new());
    }

    #[test]
    fn no_variables_panic(
        sample in prop::sample::select(samples()),
        variables in prop::collection::vec(("[A-Z0-9_]{0,30}|(TCP|PORT|NETWORK|APP)(__[A-Z0-9]{1,8}){0,4}", "\\PC{0,30}|[0-9\\[\\]{}\"=, ]{0,12}"), 0..6),
    ) {
        let variables = variables.into_iter().map(|(name, text)| (format!("{PREFIX}{name}"), text));
        read(&sample.toml, Format::Toml, variables.collect());
    }

    #[test]
    fn what_a_file_shows_is_what_was_read(text in combined()) {
        let file = read(&text, Format::Toml, Vec::new());
        prop_assert!(file.is_some(), "{}", text);
        round_trip(&file.unwrap());
    }

    #[test]
    fn sizes_are_read_as_they_are_shown(bytes in any::<u64>(), shift in 0..64_u32) {
        let size = Size(bytes >> shift << (shift / 2));
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn times_are_read_as_they_are_shown(nanos in any::<u64>(), unit in prop::sample::select(vec![1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000])) {
        let time = Time(std::time::Duration::from_nanos(nanos / unit * unit));
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn lcores_are_read_as_they_are_shown(maps in prop::collection::btree_map(0..1024_u32, prop::collection::vec(0..1024_u32, 1..4), 1..9)) {
        let text: Vec<String> = maps
            .iter()
            .map(|(lcore, cpus)| {
                let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
                format!("{lcore}@({})", cpus.join(","))
            })
            .collect();
        let lcores: Lcores = text.join(", ").parse().unwrap();
        prop_assert_eq!(lcores.to_string().parse(), Ok(lcores));
    }

    #[test]
    fn networks_are_read_as_they_are_shown(addr in any::<std::net::IpAddr>(), len in 0..=128_u8) {
        let prefix_len = if addr.is_ipv4() { len.min(32) } else { len };
        let cidr = Cidr { addr, prefix_len };
        prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
        prop_assert!(cidr.contains(addr));
    }

    #[test]
    fn no_text_panics_as_a_value(text in "\\PC{0,40}|[0-9._ ]{0,30}[a-zA-Zµ]{0,6}|[0-9@(),-]{0,20}|[0-9a-f:./]{0,40}") {
        let _ = text.parse::<Size>();
        let _ = text.parse::<Time>();
        let _ = text.parse::<Lcores>();
        let _ = text.parse::<Cidr>();
        let _ = text.parse::<dpdk_net_config::Destination>();
        let _ = text.parse::<dpdk_net_config::PciAddress>();
        let _ = text.parse::<dpdk_net_config::RssKey>();
    }
}

#[test]
fn each_sample_shows_what_was_read() {
    for sample in samples() {
        round_trip(&read(&sample.toml, Format::Toml, Vec::new()).unwrap());
    }
}

/// What takes time of the square of a file's size would not end.
#[test]
fn large_files_are_told_of_as_well() {
    const MANY: usize = 60_000;
    let lines = |line: &dyn Fn(usize) -> String| (0..MANY).map(line).collect::<Vec<_>>();
    let port = "[[port]]\nvdev = \"net_tap0\"\n[network]\n";
    let unknown = lines(&|n| format!("key{n} = {n}")).join("\n");
    let same = vec!["\"198.18.0.2/24\""; MANY].join(", ");
    let different = lines(&|n| format!("\"10.{}.{}.1/16\"", n >> 8, n & 255)).join(", ");
    for text in [
        format!("{port}{unknown}"),
        format!("{port}x = \n{unknown}"),
        unknown.clone(),
        format!("{port}addresses = [{same}]"),
        format!("{port}addresses = [{different}]"),
    ] {
        read(&text, Format::Toml, Vec::new());
    }
    let long = "x".repeat(MANY);
    for value in [format!("\"{long}\""), format!("\"198.18.0.2/{long}\"")] {
        read(
            &format!("{port}addresses = [{value}]"),
            Format::Toml,
            Vec::new(),
        );
        read(
            &format!("{port}\"\\u001b{long}\" = 1"),
            Format::Toml,
            Vec::new(),
        );
    }
    let properties = lines(&|n| format!("\"key{n}\": {n}")).join(", ");
    read(
        &format!("{{ {properties}, {properties} }}"),
        Format::Json,
        Vec::new(),
    );
}

#[test]
fn nesting_has_an_end() {
    for (open, close) in [("[", "]"), ("{ \"a\": ", "}"), ("{ a = ", "}")] {
        for depth in [79, 200, 511, 100_000] {
            let nested = format!("{}{}", open.repeat(depth), close.repeat(depth));
            read(
                &format!("{{ \"app\": {nested} }}"),
                Format::Json,
                Vec::new(),
            );
            read(&format!("app = {nested}"), Format::Toml, Vec::new());
            read("", Format::Toml, vec![(format!("{PREFIX}APP"), nested)]);
        }
        let dotted = format!("a{} = 1", ".a".repeat(100_000));
        read(&dotted, Format::Toml, Vec::new());
    }
    let name = format!("{PREFIX}APP{}", "__A".repeat(100_000));
    read("", Format::Toml, vec![(name, "1".to_owned())]);
}
