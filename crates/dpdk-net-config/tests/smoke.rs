//! A file's life in short.

use dpdk_net_config::{File, Format};

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[[port]]\nvdev = \"net_tap0\"\nmtu = 99\n[network]\naddresses = [\"198.18.0.2/24\"]\ngateways = [\"10.0.0.1\"]\n";
    let problems = File::parse("a.toml", text, Format::Toml, []).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| problem.path()).collect();
    assert_eq!(found, ["port[0].mtu", "network.gateways[0]"]);
}
