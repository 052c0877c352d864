//! Examples of Redis and PostgreSQL against redis-cli, redis-benchmark, redis-server and PostgreSQL.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{Bed, Directory, HOSTS, KERNEL_HOSTS, START, stop};
use dpdk_net_testkit::bed::Process;

/// Commands whose answers are the same each time, in redis-cli's words.
const COMMANDS: &str = r#"
PING
PING hello
ECHO "two words"
FLUSHALL
SET k v
GET k
GET none
SET k w NX
SET none w XX
GET k
SET k w XX GET
GET k
SET k w EX 100
TTL k
SET k x KEEPTTL
TTL k
SET k y PX 1500
PTTL none
TTL none
SET k w
TTL k
SET k w EX 0
SET k w EX
SET k w NX XX
SET k w EX nothing
EXPIRE k 50
TTL k
EXPIRE none 50
EXPIRE k -1
EXISTS k
MSET a 1 b 2 c 3
MGET a b none c
MSET a
EXISTS a b none a
INCR a
INCRBY a 40
DECR b
DECRBY b 7
DECRBY b -9223372036854775808
INCRBY a 9223372036854775807
INCR fresh
SET text abc
INCR text
APPEND text def
APPEND new xyz
STRLEN text
GET text
DEL a b none
EXISTS a
LPUSH list 3 2 1
RPUSH list 4
LRANGE list 0 -1
LRANGE list -2 -1
LRANGE list 1 1
LRANGE list 5 9
LRANGE list -100 100
LLEN list
LPOP list
RPOP list
LPOP list 5
LPOP list
EXISTS list
LPUSH text 1
GET set
SADD set member
SADD set member
SMEMBERS set
GET set
HSET hash field value
HSET hash field other
HGET hash field
HGET hash none
HGETALL hash
HSET hash field
INCR hash
GET
CLIENT SETNAME tester
CLIENT GETNAME
SELECT 0
SELECT 17
CONFIG GET appendonly
"#;

/// What comes over the wire, byte for byte; each ends the connection.
const BYTES: [&str; 12] = [
    r"PING\r\nQUIT\r\n",
    "set inline \"two words\"\\r\\nGET inline\\r\\nQUIT\\r\\n",
    r"\r\n\r\nPING\nQUIT\r\n",
    r"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nQUIT\r\n",
    r"*0\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\n",
    r"*3\r\n$3\r\nSET\r\n$3\r\nbin\r\n$4\r\n\0\r\n\377\r\n*2\r\n$3\r\nGET\r\n$3\r\nbin\r\nQUIT\r\n",
    r"*2\r\n$5\r\nHELLO\r\n$1\r\n9\r\nQUIT\r\n",
    r"*1\r\n*1\r\n$4\r\nPING\r\n",
    r"*1\r\n$-5\r\n",
    r"*1\r\n$99999999999999999999\r\n",
    r"*99999999999\r\n",
    "PING \"open\\r\\n",
];

fn redis_cli(bed: &Bed, arguments: &str, commands: &str) -> String {
    bed.shell(&format!(
        "timeout 50 redis-cli {arguments} <<'END'\n{commands}END"
    ))
}

/// What a server sends back for these bytes, until it closes.
fn bytes(bed: &Bed, to: &str, bytes: &str) -> String {
    bed.shell(&format!(
        "printf '{bytes}' | socat -t 20 - 'TCP:{to}' | od -c"
    ))
}

fn redis_server(bed: &Bed, directory: &Directory) -> Process {
    let root = directory.path();
    let command = [
        "redis-server",
        "--port",
        "6380",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        root,
    ];
    let mut server = bed.netns().start(&command).unwrap();
    server.wait_for("Ready to accept", START).unwrap();
    server
}

#[test]
fn redis_answers_as_redis_server_does_in_both_versions_of_the_protocol() {
    let bed = Bed::tap();
    let mut ours = bed.start("17_redis", &[]);
    ours.wait_for("redis on", START).unwrap();
    let directory = Directory::new();
    let theirs = redis_server(&bed, &directory);
    for version in ["-2", "-3"] {
        let expected = redis_cli(&bed, &format!("{version} -p 6380"), COMMANDS);
        for host in HOSTS {
            let host = host.trim_matches(['[', ']']);
            let told = redis_cli(&bed, &format!("{version} -h {host}"), COMMANDS);
            assert_eq!(told, expected, "{host} {version}");
        }
    }
    for request in BYTES {
        let expected = bytes(&bed, "127.0.0.1:6380", request);
        for host in HOSTS {
            let told = bytes(&bed, &format!("{host}:6379"), request);
            assert_eq!(told, expected, "{host} {request}");
        }
    }
    // What a client library asks first.
    let hello = redis_cli(
        &bed,
        "-3 -h 198.18.0.2",
        "HELLO 3 SETNAME me\nCLIENT GETNAME\n",
    );
    assert!(
        hello.contains("proto 3") && hello.ends_with("me\n"),
        "{hello}"
    );
    let info = redis_cli(&bed, "-h 198.18.0.2", "INFO\n");
    assert!(info.contains("redis_version:"), "{info}");
    drop(theirs);
    stop(ours);
}

#[test]
fn redis_keys_end_when_their_time_is_over() {
    let bed = Bed::tap();
    let mut server = bed.start("17_redis", &[]);
    server.wait_for("redis on", START).unwrap();
    let cli = "redis-cli -h 198.18.0.2";
    bed.shell(&format!(
        "{cli} SET short x PX 50; {cli} SET long x EX 1000"
    ));
    let wait = format!("for i in $(seq 100); do [ $({cli} EXISTS short) = 0 ] && break; done");
    let told = bed.shell(&format!(
        "{wait}; {cli} MGET short long; {cli} TTL short; {cli} DBSIZE"
    ));
    assert_eq!(told, "\nx\n-2\n1\n");
    stop(server);
}

fn redis_benchmark(bed: &Bed, requests: u32) {
    let mut server = bed.start("17_redis", &[]);
    server.wait_for("redis on", START).unwrap();
    let tests = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,lrange_100,mset";
    for host in HOSTS {
        let host = host.trim_matches(['[', ']']);
        let told = bed.shell(&format!(
            "redis-benchmark -h {host} -n {requests} -c 20 -P 8 -r 1000 -t {tests} --csv 2>&1"
        ));
        for name in [
            "PING_INLINE",
            "PING_MBULK",
            "GET",
            "HSET",
            "LRANGE_100 (first 100 elements)",
            "MSET (10 keys)",
        ] {
            assert!(
                told.contains(&format!("\n\"{name}\"")),
                "{name} in:\n{told}"
            );
        }
        assert!(!told.to_lowercase().contains("err"), "{told}");
        // Each of the increments was made once.
        let told = bed.shell(&format!("redis-cli -h {host} FLUSHALL; redis-benchmark -h {host} -n {requests} -c 7 -P 8 -q INCR sum >&2; redis-cli -h {host} GET sum"));
        assert_eq!(told, format!("OK\n{requests}\n"));
    }
    stop(server);
}

#[test]
fn redis_serves_redis_benchmark_with_pipelines() {
    redis_benchmark(&Bed::tap(), 10_000);
}

#[test]
fn redis_serves_redis_benchmark_where_one_frame_in_a_hundred_is_lost() {
    redis_benchmark(&Bed::lossy(0.01), 1_000);
}

#[test]
fn redis_bounds_what_clients_can_make_grow() {
    let bed = Bed::tap();
    let mut server = bed.start(
        "17_redis",
        &[
            "--max-request",
            "100000",
            "--max-memory",
            "500000",
            "--max-reply",
            "300000",
            "--max-clients",
            "3",
        ],
    );
    server.wait_for("redis on", START).unwrap();
    let cli = "redis-cli -h 198.18.0.2";
    let value = "head -c 90000 /dev/zero | tr '\\0' x";
    // Values up to the limit of memory; then none, but what makes room goes on.
    let set = format!("for i in 1 2 3 4 5 6 7; do {value} | {cli} -x SET $i; done 2>&1");
    let told = bed.shell(&set);
    assert_eq!(told.matches("OK\n").count(), 5, "{told}");
    assert_eq!(told.matches("OOM command not allowed").count(), 2, "{told}");
    assert_eq!(bed.shell(&format!("{cli} DEL 1")), "1\n");
    assert_eq!(bed.shell(&format!("{value} | {cli} -x SET 8")), "OK\n");
    // A reply that would be larger than it may.
    let told = bed.shell(&format!("{cli} MGET 2 3 4 5 2>&1"));
    assert!(told.contains("ERR the reply is larger"), "{told}");
    // A request that would be.
    let told =
        bed.shell(r"printf '*2\r\n$4\r\nECHO\r\n$100000\r\n' | socat -t 20 - TCP:198.18.0.2:6379");
    assert_eq!(told, "-ERR Protocol error: invalid bulk length\r\n");
    // A name is kept for as long as its client stays.
    for (length, answer) in [
        (256, "OK"),
        (257, "ERR Client names have at most 256 bytes"),
    ] {
        let name = "n".repeat(length);
        let told = bed.shell(&format!("{cli} CLIENT SETNAME {name} 2>&1"));
        assert_eq!(told.trim_end(), answer);
        let told = bed.shell(&format!("{cli} HELLO 3 SETNAME {name} 2>&1"));
        assert_eq!(told.contains("dpdk-net example"), length == 256, "{told}");
        assert_eq!(told.contains("ERR Client names"), length == 257, "{told}");
    }
    // A line without an end.
    let told =
        bed.shell("head -c 70000 /dev/zero | tr '\\0' x | socat -t 20 - TCP:198.18.0.2:6379");
    assert_eq!(told, "-ERR Protocol error: too big inline request\r\n");
    // Three clients, and no fourth; then again once they are gone.
    let busy = "for i in 1 2 3; do socat -u TCP:198.18.0.2:6379 - & done; sleep 1";
    let told = bed.shell(&format!(
        "{busy}; echo PING | timeout 20 socat -t 5 - TCP:198.18.0.2:6379; kill %1 %2 %3"
    ));
    assert_eq!(told, "-ERR max number of clients reached\r\n");
    let again = format!(
        "for i in $(seq 100); do [ \"$({cli} PING 2>&1)\" = PONG ] && echo served && break; sleep 0.1; done"
    );
    assert_eq!(bed.shell(&again), "served\n");
    stop(server);
}

/// A PostgreSQL cluster of its own, on the kernel's side.
struct Postgres {
    server: Process,
    _directory: Directory,
}

impl Postgres {
    fn start(bed: &Bed) -> Self {
        let directory = Directory::new();
        let root = directory.path();
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(directory.0.join("password"), "secret\n").unwrap();
        // It refuses to run as root.
        let user = "setpriv --reuid=postgres --regid=postgres --init-groups";
        let programs = "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)";
        bed.shell(&format!(
            "{programs}; cd {root}; chown postgres:postgres . password
             {user} $bin/initdb -D data -U tester --pwfile=password -A scram-sha-256 --no-sync -E UTF8 --locale=C >&2
             echo 'host all all all scram-sha-256' >> data/pg_hba.conf"
        ));
        let settings = "-c listen_addresses='*' -c fsync=off -c shared_buffers=8MB -c autovacuum=off -c jit=off";
        let command = format!(
            "{programs}; cd {root}; exec {user} $bin/postgres -D data -p 5433 -k {root} {settings}"
        );
        let mut server = bed.netns().start(&["bash", "-c", &command]).unwrap();
        server
            .wait_for("ready to accept connections", START)
            .unwrap();
        Self {
            server,
            _directory: directory,
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes are not of one group; on this signal it ends them itself.
        if self.server.signal("INT").is_ok() {
            let _ = self.server.wait(Duration::from_secs(10));
        }
    }
}

fn postgres_client_works(bed: &Bed) {
    let _postgres = Postgres::start(bed);
    for host in KERNEL_HOSTS {
        let server = format!("{host}:5433");
        let arguments = ["--user", "tester", "--password", "secret", &server];
        let mut client = bed.start("18_postgres", &arguments);
        let status = client.wait(Duration::from_secs(50)).unwrap();
        assert!(
            status.is_some_and(|status| status.success()),
            "{host}: {}{}",
            client.stdout(),
            client.stderr()
        );
        let told = client.stdout();
        for expected in [
            "PostgreSQL 1",
            "copied 10000\n",
            "read 10000\n",
            "asked at once 1000\n",
            "changed 10000, taken back 10000\n",
            "a value of 5000000 bytes\n",
        ] {
            assert!(told.contains(expected), "{expected} in {told}");
        }
    }
}

#[test]
fn the_postgres_client_copies_streams_and_pipelines() {
    postgres_client_works(&Bed::tap());
}

#[test]
fn the_postgres_client_works_where_one_frame_in_a_hundred_is_lost() {
    postgres_client_works(&Bed::lossy(0.01));
}

#[test]
fn the_postgres_client_says_why_it_was_not_let_in() {
    let bed = Bed::tap();
    let _postgres = Postgres::start(&bed);
    for (arguments, why) in [
        (
            ["--user", "tester", "--password", "wrong", "198.18.0.1:5433"],
            "password authentication failed",
        ),
        (
            [
                "--user",
                "tester",
                "--password",
                "secret",
                "198.18.0.1:5434",
            ],
            "cannot connect to 198.18.0.1:5434",
        ),
    ] {
        let mut client = bed.start("18_postgres", &arguments);
        let status = client.wait(Duration::from_secs(40)).unwrap().unwrap();
        assert!(!status.success());
        let told = client.stderr();
        assert!(told.contains(why), "{told}");
    }
}
