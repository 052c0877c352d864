//! Settings from environment variables, over those of a file.

use dpdk_net_config::{File, Format, PREFIX, Problems};
use serde_json::{Value as Json, json};

const FILE: &str = r#"
[[port]]
vdev = "net_tap0"
mtu = 1500

[network]
addresses = ["198.18.0.2/24"]

[tcp]
sack = false
"#;

fn read_over(file: &str, variables: &[(&str, &str)]) -> Result<File, Problems> {
    let owned = variables.iter().map(|(name, text)| {
        let name = format!("{PREFIX}{name}");
        (name, (*text).to_owned())
    });
    File::parse("net.toml", file, Format::Toml, owned)
}

fn read(variables: &[(&str, &str)]) -> Json {
    let read = read_over(FILE, variables);
    read.unwrap_or_else(|problems| panic!("{problems}"))
        .to_json()
}

fn told(variables: &[(&str, &str)]) -> String {
    read_over(FILE, variables)
        .expect_err("it is taken")
        .to_string()
}

#[test]
fn a_variable_wins_over_the_file_and_names_are_of_any_case() {
    let json = read(&[
        ("TCP__SACK", "true"),
        ("tcp__Time_Wait", "30s"),
        ("PORT__0__MTU", "9000"),
    ]);
    assert_eq!(json["tcp"], json!({ "sack": true, "time_wait": "30 s" }));
    assert_eq!(json["port"][0]["mtu"], 9000);
    assert_eq!(json["port"][0]["vdev"], "net_tap0");
}

#[test]
fn sections_and_lists_are_made_where_there_are_none() {
    let json = read(&[
        ("LOG__FILTER", "debug"),
        ("LISTENER__0__NAME", "http"),
        ("LISTENER__0__ADDRESS", "[::]:80"),
        ("NETWORK__DNS__SERVERS__0", "198.18.0.1"),
    ]);
    assert_eq!(json["log"]["filter"], "debug");
    assert_eq!(
        json["listener"],
        json!([{ "name": "http", "address": "[::]:80" }])
    );
    assert_eq!(json["network"]["dns"]["servers"], json!(["198.18.0.1"]));
}

#[test]
fn the_number_after_the_last_adds_to_a_list() {
    let more: Vec<(String, String)> = (1..12)
        .map(|n| {
            (
                format!("NETWORK__ADDRESSES__{n}"),
                format!("198.18.{n}.2/24"),
            )
        })
        .collect();
    // In the order of names 10 and 11 would come before 2.
    let more: Vec<_> = more.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let json = read(&more);
    let addresses = json["network"]["addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 12);
    assert_eq!(addresses[11], "198.18.11.2/24");
}

#[test]
fn a_whole_list_or_table_is_written_as_in_toml_and_its_parts_come_after_it() {
    let json = read(&[
        ("NETWORK__GATEWAYS", "[\"198.18.0.1\"]"),
        ("TCP", "{ nodelay = true, sack = true }"),
        ("TCP__SACK", "false"),
        ("APP", "{ greeting = \"hello\", numbers = [1, 2.5, 1_000] }"),
    ]);
    assert_eq!(json["network"]["gateways"], json!(["198.18.0.1"]));
    assert_eq!(json["tcp"], json!({ "nodelay": true, "sack": false }));
    assert_eq!(
        json["app"],
        json!({ "greeting": "hello", "numbers": [1, 2.5, 1000] })
    );
}

#[test]
fn a_whole_file_may_be_variables() {
    let variables = [("PORT__0__VDEV", "net_tap0"), ("NETWORK__DHCP4", "true")];
    let file = read_over("", &variables).unwrap();
    assert_eq!(
        file.place("network.dhcp4").to_string(),
        "$DPDK_NET__NETWORK__DHCP4:1:1"
    );
}

#[test]
fn what_does_not_begin_with_the_prefix_is_none_of_ours() {
    let variables = [
        ("DPDK_NET_GOODPUT", "x"),
        ("dpdk_net__TCP__SACK", "x"),
        ("PATH", ""),
    ];
    let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert!(File::parse("net.toml", FILE, Format::Toml, variables).is_ok());
}

#[test]
fn wrong_names_are_told_with_what_was_meant() {
    insta::assert_snapshot!(told(&[
        ("TPC__TIME_WAIT", "30s"),
        ("TCP__TIMEWAIT", "30s"),
        ("TCP_TIME_WAIT", "30s"),
        ("PORT__0__MUT", "1500"),
    ]));
}

#[test]
fn names_that_lead_nowhere_are_told() {
    insta::assert_snapshot!(told(&[
        ("", "1"),
        ("TCP____SACK", "true"),
        ("PORT__2__MTU", "1500"),
        ("PORT__FIRST__MTU", "1500"),
        ("PORT__0__MTU__MAX", "1500"),
        ("NETWORK__DNS__SERVERS__99999999999999999999", "198.18.0.1"),
    ]));
}

#[test]
fn wrong_values_are_told_with_the_variable() {
    insta::assert_snapshot!(told(&[
        ("TCP__SACK", "yes"),
        ("TCP__TIME_WAIT", "30"),
        ("PORT__0__MTU", "99"),
        ("PORT__0__NAME", "7"),
        ("NETWORK__ADDRESSES", "198.18.0.2/24"),
    ]));
}

#[test]
fn an_empty_value_is_refused() {
    insta::assert_snapshot!(told(&[("LOG__FILE", ""), ("TCP__SACK", "  ")]));
}

#[test]
fn one_setting_by_two_names_is_refused() {
    insta::assert_snapshot!(told(&[("TCP__NODELAY", "true"), ("tcp__nodelay", "false")]));
}

#[test]
fn what_contradicts_the_file_shows_both() {
    insta::assert_snapshot!(told(&[("PORT__0__INTERFACE", "eth1")]));
}

#[test]
fn a_file_that_is_no_table_is_not_replaced() {
    let variables = [("PORT__0__VDEV", "net_tap0"), ("NETWORK__DHCP4", "true")];
    let variables = variables.map(|(name, text)| (format!("{PREFIX}{name}"), text.to_owned()));
    let problems = File::parse("net.json", "[]", Format::Json, variables).unwrap_err();
    let found: Vec<_> = problems.iter().map(|one| one.kind()).collect();
    assert_eq!(found, ["wrong-type"]);
}
