//! `dpdk-net check` and `schema`: what is told of a file, where, and with which exit code.

use std::fs;
use std::process::{Command, Output};

use dpdk_net_testkit::bed::file_prefix;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dpdk-net");

const GOOD: &str = "[[port]]\nvdev = \"net_null0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\n\
                    [tcp]\ntime_wait = \"60 s\"\n";

/// Runs it with a file of this text; the environment's settings are `KEY=VALUE`.
fn check(text: &str, options: &[&str], environment: &[&str]) -> Output {
    check_named("net.toml", text, options, environment)
}

fn check_named(name: &str, text: &str, options: &[&str], environment: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("check").args(options).arg(&file);
    command.envs(environment.iter().filter_map(|it| it.split_once('=')));
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn of_a_good_file_the_plan_is_shown_and_the_code_is_0() {
    let output = check(GOOD, &[], &[]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    assert!(stdout(&output).contains("net_null0"), "{}", stdout(&output));
    let output = check(GOOD, &["--no-machine"], &[]);
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    assert_eq!(stdout(&output), "nothing is wrong with the file\n");
}

#[test]
fn all_that_is_wrong_is_told_on_stderr_and_the_code_is_1() {
    let bad = GOOD.replace("time_wait", "timewait").replace(".2/24", ".2");
    for options in [&[][..], &["--no-machine"], &["--json"], &["--probe"]] {
        let output = check(&bad, options, &[]);
        assert_eq!((code(&output), stdout(&output)), (1, String::new()));
        let told = stderr(&output);
        for part in ["net.toml:4:", "did you mean `time_wait`?", "2 problems"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    let route = "[[listener]]\nname = \"a\"\naddress = \":80\"\n[[route]]\nfiles = { root = \"/nonesuch\" }\n";
    let output = check(&format!("{GOOD}{route}"), &["--no-machine"], &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("/nonesuch is not a directory"));
}

#[test]
fn what_may_not_be_meant_so_is_a_warning_and_no_failure() {
    let text = format!("{GOOD}[dpdk]\nblock = [\"0000:02:00.0\"]\n");
    for options in [&[][..], &["--no-machine"], &["--json"]] {
        let output = check(&text, options, &[]);
        assert_eq!(code(&output), 0);
        let told = stderr(&output);
        for part in ["net.toml:8:", "nothing is blocked", "1 warning"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!stdout(&output).contains("blocked"));
    }
}

#[test]
fn what_the_machine_lacks_is_left_out_without_it() {
    let absent = GOOD.replace("vdev = \"net_null0\"", "interface = \"nonesuch\"");
    let output = check(&absent, &[], &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("no interface nonesuch"));
    assert_eq!(code(&check(&absent, &["--no-machine"], &[])), 0);
    let both = check(GOOD, &["--no-machine", "--probe"], &[]);
    assert_eq!(code(&both), 2, "one contradicts the other");
}

#[test]
fn the_environment_goes_over_the_file_and_json_shows_it() {
    for options in [&["--json"][..], &["--json", "--no-machine"]] {
        let output = check(GOOD, options, &["DPDK_NET__TCP__TIME_WAIT=30s"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["tcp"]["time_wait"], "30 s");
        assert_eq!(json["port"][0]["vdev"], "net_null0");
    }
    let output = check(GOOD, &[], &["DPDK_NET__TCP__TIMEWAIT=30s"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("DPDK_NET__TCP__TIMEWAIT"));
}

#[test]
fn a_probe_tells_which_line_asks_for_more_than_the_port_has() {
    let file = |queues: u16| {
        format!(
            "[dpdk]\nhugepages = false\nmemory = \"256 MiB\"\nshared_config = false\ntelemetry = false\n\
             file_prefix = \"{}\"\n[workers]\nlcores = \"0@0,1@0\"\n{}",
            file_prefix(),
            GOOD.replace(
                "net_null0\"\n",
                &format!("net_null0\"\nqueues = {queues}\n")
            )
        )
    };
    let output = check(&file(2), &["--probe"], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("\nProbed:\n"),
        "{}",
        stdout(&output)
    );
    let output = check(&file(1000), &["--probe"], &[]);
    assert_eq!(code(&output), 1);
    let told = stderr(&output);
    for part in ["can't have 1000 queues", "queues = 1000", "net.toml:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn the_schema_is_json_that_knows_the_sections() {
    let output = Command::new(PROGRAM).arg("schema").output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let known = schema["properties"].as_object().unwrap();
    for section in [
        "dpdk", "port", "network", "workers", "tcp", "listener", "route", "log",
    ] {
        assert!(known.contains_key(section), "{section}");
    }
}

#[test]
fn nothing_is_wrong_with_the_examples() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config");
    let directories = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Their directories are those of another machine.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/srv/", &format!("{}/", directories.path().display()));
        for name in ["www", "static"] {
            fs::create_dir_all(directories.path().join(name)).unwrap();
        }
        let output = check_named(name, &text, &["--no-machine"], &[]);
        assert_eq!(code(&output), 0, "{}: {}", path.display(), stderr(&output));
        checked += 1;
    }
    assert!(checked > 5, "they are elsewhere");
}

#[test]
fn routes_on_another_runtime_than_tokios_are_refused() {
    let site = "[[listener]]\nname = \"http\"\naddress = \"[::]:80\"\n\
                [[route]]\nstatus = 204\n[workers]\nruntime = ";
    let refused = check(&format!("{GOOD}{site}\"local\"\n"), &["--no-machine"], &[]);
    assert_eq!(code(&refused), 1);
    let told = stderr(&refused);
    for part in [
        "net.toml:13:",
        "on tokio's runtime alone",
        "leave the key out",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let taken = check(&format!("{GOOD}{site}\"tokio\"\n"), &["--no-machine"], &[]);
    assert_eq!((code(&taken), stderr(&taken)), (0, String::new()));
}
