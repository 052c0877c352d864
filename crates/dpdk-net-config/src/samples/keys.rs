//! The table of [`samples`](super::samples): a frame, a key's path, and a value in TOML.

/// A port with an address.
const PORT: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
"#;

/// A port with an address, at which figures are served.
const SCRAPED: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
metrics.listen = "198.18.0.2:9464"
"#;

/// A port without a device.
const BARE: &str = r#"
network.addresses[0] = "198.18.0.2/24"
"#;

/// A port over an interface of the kernel.
const INTERFACE: &str = r#"
port[0].interface = "eth1"
network.addresses[0] = "198.18.0.2/24"
"#;

/// A port without an address.
const NETLESS: &str = r#"
port[0].vdev = "net_tap0"
"#;

/// A port that asks for its address.
const DHCP: &str = r#"
port[0].vdev = "net_tap0"
network.dhcp4 = true
"#;

/// A rule that has a fate.
const RULE: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
port[0].flow[0].pass = true
"#;

/// One for IPv4.
const RULE4: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
port[0].flow[0].pass = true
port[0].flow[0].ipv4 = {}
"#;

/// One for IPv6.
const RULE6: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
port[0].flow[0].pass = true
port[0].flow[0].ipv6 = {}
"#;

/// A rule that has none.
const FATELESS: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
port[0].flow[0].ipv4 = {}
"#;

/// A route.
const ROUTE: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
network.routes[0].to = "10.0.0.0/8"
"#;

/// A VLAN.
const VLAN: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
network.vlans[0].id = 100
"#;

/// A route, and a VLAN.
const ROUTE_VLAN: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
network.routes[0].to = "10.0.0.0/8"
network.vlans[0].id = 100
"#;

/// A neighbour.
const NEIGHBOR: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
network.neighbors[0].address = "198.18.0.8"
network.neighbors[0].mac = "02:00:5e:10:00:08"
"#;

/// A neighbour, and a VLAN.
const NEIGHBOR_VLAN: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
network.neighbors[0].address = "198.18.0.8"
network.neighbors[0].mac = "02:00:5e:10:00:08"
network.vlans[0].id = 100
"#;

/// Workers that yield.
const YIELD: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
workers.idle = "yield"
"#;

/// A listener.
const LISTENER: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "http"
listener[0].address = "[::]:80"
"#;

/// A listener with TLS.
const TLS: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "https"
listener[0].address = "[::]:443"
listener[0].tls.certificate = "own.pem"
listener[0].tls.key = "own-key.pem"
"#;

/// One with two certificates.
const TLS_MORE: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "https"
listener[0].address = "[::]:443"
listener[0].tls.certificate = "own.pem"
listener[0].tls.key = "own-key.pem"
listener[0].tls.more[0].certificate = "other.pem"
listener[0].tls.more[0].key = "other-key.pem"
"#;

/// One that asks for certificates.
const TLS_CLIENTS: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "https"
listener[0].address = "[::]:443"
listener[0].tls.certificate = "own.pem"
listener[0].tls.key = "own-key.pem"
listener[0].tls.client_ca = "ca.pem"
"#;

/// A route of `dpdk-net run`.
const STATUS: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "http"
listener[0].address = "[::]:80"
route[0].status = 404
"#;

/// One that serves files.
const FILES: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "http"
listener[0].address = "[::]:80"
route[0].files.root = "/srv/www"
"#;

/// One that sends elsewhere.
const REDIRECT: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "http"
listener[0].address = "[::]:80"
route[0].redirect.to = "/new"
"#;

/// One that passes on.
const PROXY: &str = r#"
port[0].vdev = "net_tap0"
network.addresses[0] = "198.18.0.2/24"
listener[0].name = "http"
listener[0].address = "[::]:80"
route[0].proxy.upstreams[0] = "http://198.18.0.1:8080"
"#;

/// Frame, path, value. Values are written as they are shown.
#[rustfmt::skip] // A line a key.
pub(super) const KEYS: &[(&str, &str, &str)] = &[
    (PORT, "dpdk.file_prefix", r#""web""#),
    (PORT, "dpdk.memory", r#""512 MiB""#),
    (PORT, "dpdk.socket_memory[0]", r#""256 MiB""#),
    (PORT, "dpdk.hugepages", "false"),
    (PORT, "dpdk.huge_dir", r#""/dev/hugepages""#),
    (PORT, "dpdk.in_memory", "true"),
    (PORT, "dpdk.shared_config", "false"),
    (PORT, "dpdk.single_file_segments", "true"),
    (PORT, "dpdk.iova", r#""va""#),
    (PORT, "dpdk.telemetry", "false"),
    (PORT, "dpdk.pci", "false"),
    (PORT, "dpdk.allow[0]", r#""0000:02:00.0""#),
    (PORT, "dpdk.block[0]", r#""0000:02:00.0""#),
    (PORT, "dpdk.vdevs[0]", r#""net_ring0""#),
    (PORT, "dpdk.args[0]", r#""-v""#),
    (PORT, "port[0].name", r#""wan""#),
    (PORT, "port[0].vdev", r#""net_tap0,iface=tp0""#),
    (PORT, "port[0].mtu", "9000"),
    (PORT, "port[0].mac", r#""02:00:5e:10:00:01""#),
    (PORT, "port[0].queues", "4"),
    (PORT, "port[0].descriptors", "512"),
    (PORT, "port[0].mbufs", "8192"),
    (PORT, "port[0].send_memory", r#""16 MiB""#),
    (PORT, "port[0].link_timeout", r#""10 s""#),
    (BARE, "port[0].pci", r#""0000:01:00.0""#),
    (BARE, "port[0].interface", r#""eth1""#),
    (INTERFACE, "port[0].driver", r#""af_xdp""#),
    (PORT, "port[0].offloads.rx_ipv4_checksum", r#""off""#),
    (PORT, "port[0].offloads.rx_tcp_checksum", r#""off""#),
    (PORT, "port[0].offloads.rx_udp_checksum", r#""off""#),
    (PORT, "port[0].offloads.lro", r#""on""#),
    (PORT, "port[0].offloads.scatter", r#""off""#),
    (PORT, "port[0].offloads.vlan_strip", r#""on""#),
    (PORT, "port[0].offloads.rss_hash", r#""off""#),
    (PORT, "port[0].offloads.timestamp", r#""on""#),
    (PORT, "port[0].offloads.tx_ipv4_checksum", r#""off""#),
    (PORT, "port[0].offloads.tx_tcp_checksum", r#""off""#),
    (PORT, "port[0].offloads.tx_udp_checksum", r#""off""#),
    (PORT, "port[0].offloads.tso", r#""off""#),
    (PORT, "port[0].offloads.tso_ipv6", r#""off""#),
    (PORT, "port[0].offloads.udp_segmentation", r#""off""#),
    (PORT, "port[0].offloads.multi_segs", r#""off""#),
    (PORT, "port[0].offloads.vlan_insert", r#""off""#),
    (PORT, "port[0].offloads.fast_free", r#""on""#),
    (PORT, "port[0].rss.hash[0]", r#""ipv4-tcp""#),
    (PORT, "port[0].rss.key", r#""symmetric""#),
    (PORT, "port[0].rss.rebalance", r#""100 ms""#),
    (RULE, "port[0].flow[0].direction", r#""egress""#),
    (RULE, "port[0].flow[0].group", "1"),
    (RULE, "port[0].flow[0].priority", "7"),
    (RULE, "port[0].flow[0].ethernet.dst", r#""02:00:5e:10:00:01""#),
    (RULE, "port[0].flow[0].ethernet.src", r#""02:00:5e:10:00:02/ff:ff:ff:00:00:00""#),
    (RULE, "port[0].flow[0].ethernet.ether_type", r#""2048""#),
    (RULE, "port[0].flow[0].vlan[0].id", r#""100-199""#),
    (RULE, "port[0].flow[0].vlan[0].priority", "5"),
    (RULE, "port[0].flow[0].vlan[0].ether_type", r#""2048""#),
    (RULE, "port[0].flow[0].ipv4.src", r#""10.0.0.0/255.0.0.0""#),
    (RULE, "port[0].flow[0].ipv4.dst", r#""198.18.0.2""#),
    (RULE, "port[0].flow[0].ipv4.protocol", r#""6""#),
    (RULE, "port[0].flow[0].ipv4.tos", r#""16/252""#),
    (RULE, "port[0].flow[0].ipv4.ttl", r#""1-64""#),
    (RULE, "port[0].flow[0].ipv4.fragment", "true"),
    (RULE, "port[0].flow[0].ipv6.src", r#""fd00::1""#),
    (RULE, "port[0].flow[0].ipv6.dst", r#""fd00::1-fd00::9""#),
    (RULE, "port[0].flow[0].ipv6.next_header", r#""17""#),
    (RULE, "port[0].flow[0].ipv6.hop_limit", r#""255""#),
    (RULE, "port[0].flow[0].ipv6.fragment", "false"),
    (RULE, "port[0].flow[0].count", "true"),
    (RULE, "port[0].flow[0].mark", "66"),
    (RULE, "port[0].flow[0].optional", "true"),
    (RULE4, "port[0].flow[0].tcp.src_port", r#""1024-65535""#),
    (RULE4, "port[0].flow[0].tcp.dst_port", r#""443""#),
    (RULE4, "port[0].flow[0].tcp.flags", r#""2/18""#),
    (RULE4, "port[0].flow[0].udp.src_port", r#""53""#),
    (RULE4, "port[0].flow[0].udp.dst_port", r#""4000-4999""#),
    (RULE4, "port[0].flow[0].icmp.kind", r#""8""#),
    (RULE4, "port[0].flow[0].icmp.code", r#""0""#),
    (RULE6, "port[0].flow[0].icmpv6.kind", r#""128""#),
    (RULE6, "port[0].flow[0].icmpv6.code", r#""0""#),
    (FATELESS, "port[0].flow[0].queue", "1"),
    (FATELESS, "port[0].flow[0].queues[0]", "0"),
    (FATELESS, "port[0].flow[0].discard", "true"),
    (FATELESS, "port[0].flow[0].jump", "1"),
    (FATELESS, "port[0].flow[0].pass", "true"),
    (PORT, "network.dhcp4", "true"),
    (PORT, "network.dhcp6", "true"),
    (PORT, "network.slaac", "true"),
    (PORT, "network.address_timeout", r#""1 min""#),
    (PORT, "network.duplicate_detection", "false"),
    (PORT, "network.gateways[0]", r#""198.18.0.1""#),
    (NETLESS, "network.addresses[0]", r#""fd00:198:18::2/64""#),
    (DHCP, "network.hostname", r#""web1""#),
    (PORT, "network.routes[0].to", r#""10.0.0.0/8""#),
    (ROUTE, "network.routes[0].via", r#""198.18.0.1""#),
    (ROUTE_VLAN, "network.routes[0].vlan", "100"),
    (NEIGHBOR, "network.neighbors[0].address", r#""198.18.0.9""#),
    (NEIGHBOR, "network.neighbors[0].mac", r#""02:00:5e:10:00:09""#),
    (NEIGHBOR_VLAN, "network.neighbors[0].vlan", "100"),
    (VLAN, "network.vlans[0].id", "200"),
    (VLAN, "network.vlans[0].addresses[0]", r#""198.18.200.2/24""#),
    (VLAN, "network.vlans[0].priority", "5"),
    (VLAN, "network.vlans[0].mtu", "1400"),
    (PORT, "network.dns.servers[0]", r#""198.18.0.1""#),
    (PORT, "network.dns.search[0]", r#""example.com""#),
    (PORT, "network.dns.hosts", "false"),
    (PORT, "network.dns.timeout", r#""2 s""#),
    (PORT, "network.dns.attempts", "3"),
    (PORT, "tcp.recv_buffer", r#""1 MiB""#),
    (PORT, "tcp.recv_window", r#""128 KiB""#),
    (PORT, "tcp.send_buffer", r#""1 MiB""#),
    (PORT, "tcp.send_room", r#""128 KiB""#),
    (PORT, "tcp.buffer_growth", r#""2 GiB""#),
    (PORT, "tcp.congestion", r#""bbr""#),
    (PORT, "tcp.ecn", r#""request""#),
    (PORT, "tcp.sack", "false"),
    (PORT, "tcp.timestamps", "false"),
    (PORT, "tcp.nodelay", "true"),
    (PORT, "tcp.initial_rto", r#""2 s""#),
    (PORT, "tcp.min_rto", r#""200 ms""#),
    (PORT, "tcp.max_rto", r#""2 min""#),
    (PORT, "tcp.peer_ack_delay", r#""25 ms""#),
    (PORT, "tcp.syn_retries", "3"),
    (PORT, "tcp.syn_queue", "512"),
    (PORT, "tcp.syn_ack_retries", "2"),
    (PORT, "tcp.connect_timeout", r#""30 s""#),
    (PORT, "tcp.user_timeout", r#""5 min""#),
    (PORT, "tcp.orphan_timeout", r#""10 s""#),
    (PORT, "tcp.fin_wait2_timeout", r#""20 s""#),
    (PORT, "tcp.time_wait", r#""30 s""#),
    (PORT, "tcp.max_time_wait", "1000"),
    (PORT, "tcp.max_connections", "100000"),
    (PORT, "tcp.max_orphans", "100"),
    (PORT, "tcp.challenge_acks_per_second", "100"),
    (PORT, "tcp.resets_per_second", "100"),
    (PORT, "tcp.ack_delay", r#""20 ms""#),
    (PORT, "tcp.keepalive.idle", r#""10 min""#),
    (PORT, "tcp.keepalive.interval", r#""30 s""#),
    (PORT, "tcp.keepalive.count", "5"),
    (PORT, "tcp.ephemeral_first", "2048"),
    (PORT, "tcp.ephemeral_last", "32767"),
    (PORT, "udp.recv_queue_bytes", r#""1 MiB""#),
    (PORT, "udp.max_sockets", "1000"),
    (PORT, "udp.ephemeral_first", "40000"),
    (PORT, "udp.ephemeral_last", "50000"),
    (PORT, "limits.neighbors", "1024"),
    (PORT, "limits.pending_per_neighbor", "16"),
    (PORT, "limits.pending_bytes", r#""1 MiB""#),
    (PORT, "limits.reassembly_bytes", r#""1 MiB""#),
    (PORT, "limits.reassembly_timeout", r#""10 s""#),
    (PORT, "limits.icmp_errors_per_second", "100"),
    (PORT, "limits.echo_replies_per_second", "1000"),
    (PORT, "limits.reply_queue", "256"),
    (PORT, "limits.reply_queue_bytes", r#""1 MiB""#),
    (PORT, "workers.lcores", r#""0@2,1@(3,4)""#),
    (PORT, "workers.main", "1"),
    (PORT, "workers.count", "2"),
    (PORT, "workers.runtime", r#""local""#),
    (PORT, "workers.idle", r#""yield""#),
    (PORT, "workers.pin", r#""off""#),
    (PORT, "workers.flows", "65536"),
    (PORT, "workers.bindings", "1024"),
    (PORT, "workers.drain_timeout", r#""30 s""#),
    (YIELD, "workers.idle_turns", "1000"),
    (LISTENER, "listener[0].name", r#""https""#),
    (LISTENER, "listener[0].address", r#""198.18.0.2:443""#),
    (LISTENER, "listener[0].protocol", r#""udp""#),
    (LISTENER, "listener[0].backlog", "4096"),
    (LISTENER, "listener[0].accept", r#""first""#),
    (LISTENER, "listener[0].port", r#""net_tap0""#),
    (TLS, "listener[0].tls.certificate", r#""cert.pem""#),
    (TLS, "listener[0].tls.key", r#""key.pem""#),
    (TLS_MORE, "listener[0].tls.more[0].certificate", r#""shop.pem""#),
    (TLS_MORE, "listener[0].tls.more[0].key", r#""shop-key.pem""#),
    (TLS, "listener[0].tls.client_ca", r#""ca.pem""#),
    (TLS_CLIENTS, "listener[0].tls.client_certificates", r#""optional""#),
    (TLS, "listener[0].tls.alpn[0]", r#""http/1.1""#),
    (STATUS, "route[0].listener", r#""http""#),
    (STATUS, "route[0].host", r#""example.com""#),
    (STATUS, "route[0].path", r#""/api""#),
    (LISTENER, "route[0].files.root", r#""/srv/www""#),
    (LISTENER, "route[0].redirect.to", r#""https://example.com/""#),
    (LISTENER, "route[0].status", "404"),
    (LISTENER, "route[0].proxy.upstreams[0]", r#""http://198.18.0.1:8080""#),
    (FILES, "route[0].files.index", r#""home.html""#),
    (FILES, "route[0].files.listing", "true"),
    (REDIRECT, "route[0].redirect.status", "301"),
    (PROXY, "route[0].proxy.connect_timeout", r#""1 s""#),
    (PROXY, "route[0].proxy.response_timeout", r#""30 s""#),
    (PROXY, "route[0].proxy.body_limit", r#""10 MiB""#),
    (PORT, "metrics.listen", r#""127.0.0.1:9464""#),
    (SCRAPED, "metrics.path", r#""/figures""#),
    (SCRAPED, "metrics.transport", r#""stack""#),
    (PORT, "metrics.log_interval", r#""10 s""#),
    (PORT, "control.socket", r#""/run/dpdk-net.sock""#),
    (PORT, "log.filter", r#""warn,dpdk_net=debug""#),
    (PORT, "log.format", r#""json""#),
    (PORT, "log.file", r#""/var/log/dpdk-net.log""#),
    (PORT, "log.access", "true"),
    (PORT, "log.dpdk", r#""debug""#),
    (PORT, "app", r#"{ greeting = "hello", workers = [1, 2] }"#),
];
