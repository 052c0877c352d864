//! Finds libdpdk, compiles the shim, runs bindgen over `shim/shim.h` and tells the linker what to take.
//!
//! Where `DOCS_RS` is set there is no DPDK: the bindings kept in `src/bindings_docs.rs` are used and
//! nothing is compiled or linked. `DPDK_NET_UPDATE_DOCS_BINDINGS=1` writes that file anew.

use std::env;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

/// Oldest and newest release the shim has been written for, as (year, month).
const OLDEST: (u32, u32) = (22, 11);
const NEWEST: (u32, u32) = (25, 11);

const REMEDY: &str = "On Debian and Ubuntu: sudo apt install libdpdk-dev pkg-config clang libclang-dev\n\
     In a checkout of dpdk-net: cargo xtask setup\n\
     DPDK elsewhere: put the directory that holds libdpdk.pc into PKG_CONFIG_PATH.";

/// What dpdk-net-rte uses and no more, as the whole of DPDK is 40,000 lines. What depends on the release (structures
/// whose fields come and go) is behind functions of the shim instead.
const FUNCTIONS: &[&str] = &[
    "dn_.*",
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|get_lcore_state|lcore_role|has_hugepages|iova_mode|get_runtime_dir)",
    "rte_eth_(allmulticast|promiscuous)_(enable|disable|get)",
    "rte_eth_dev_(close|count_avail|default_mac_addr_set|start|stop)",
    "rte_eth_dev_(get_mtu|get_name_by_port|get_port_by_name|is_valid_port|set_link_down|set_link_up|set_mtu|socket_id)",
    "rte_eth_(from_rings|macaddr_get|stats_reset|xstats_get|xstats_get_names|xstats_reset)",
    "rte_get_(main_lcore|tsc_hz)",
    "rte_lcore_to_socket_id",
    "rte_log",
    "rte_mbuf_dyn_rx_timestamp_register",
    "rte_mempool_(avail_count|free|in_use_count)",
    "rte_pktmbuf_(clone|copy|pool_create)",
    "rte_ring_(create|free)",
    "rte_socket_(count|id_by_idx)",
    "rte_strerror",
    "rte_thread_(register|unregister)",
    "rte_vdev_(init|uninit)",
    "rte_version(_.*)?",
];

const TYPES: &[&str] = &[
    "dn_.*",
    "rte_(mbuf|mempool|ring)",
    "rte_eth_(xstat|xstat_name)",
    "rte_ether_addr",
    "rte_iova_mode",
    "rte_lcore_(role|state)_t",
];

const CONSTANTS: &[&str] = &[
    "DN_.*",
    "RTE_EAL_PMD_PATH",
    "RTE_ETHER_.*",
    "RTE_ETH_(NAME_MAX_LEN|XSTATS_NAME_SIZE)",
    "RTE_LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)",
    "RTE_MAX_ETHPORTS",
];

fn main() {
    for file in [
        "build.rs",
        "shim/shim.h",
        "shim/shim.c",
        "shim/control.h",
        "shim/control.c",
        "shim/flow.h",
        "shim/flow.c",
        "shim/telemetry.h",
        "shim/telemetry.c",
        "src/bindings_docs.rs",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in [
        "DOCS_RS",
        "DPDK_NET_UPDATE_DOCS_BINDINGS",
        "PKG_CONFIG_PATH",
    ] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rustc-check-cfg=cfg(dpdk_net_docs)");
    if env::var_os("DOCS_RS").is_some() {
        println!("cargo::rustc-cfg=dpdk_net_docs");
        return;
    }
    if let Err(message) = build() {
        // `cargo::error` is what cargo prints in red; the exit code stops the build.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let library = probe(false)?;
    check_version(&library.version)?;
    let cflags = cflags(&library);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run through cargo")?);

    // The shim before DPDK's own `-l` lines: ld.bfd resolves from left to right.
    compile_shim(&library)?;
    probe(true)?;
    // pkg-config leaves driver libraries out: rte_vdev_init and rte_eth_from_rings live in these.
    println!("cargo::rustc-link-lib=rte_bus_vdev");
    println!("cargo::rustc-link-lib=rte_net_ring");

    let bindings = bindings(&cflags, &library.version)?;
    bindings
        .write_to_file(out.join("bindings.rs"))
        .map_err(|error| format!("cannot write the bindings to {}: {error}", out.display()))?;
    if env::var_os("DPDK_NET_UPDATE_DOCS_BINDINGS").is_some() {
        bindings
            .write_to_file("src/bindings_docs.rs")
            .map_err(|error| format!("cannot write src/bindings_docs.rs: {error}"))?;
    }
    println!("cargo::metadata=version={}", library.version);
    Ok(())
}

fn probe(emit: bool) -> Result<pkg_config::Library, String> {
    pkg_config::Config::new()
        .cargo_metadata(emit)
        .print_system_libs(false)
        .probe("libdpdk")
        .map_err(|error| {
            // The crate's own text is a page of advice about PKG_CONFIG_PATH; what pkg-config said is enough.
            let cause = match &error {
                pkg_config::Error::Failure { output, .. }
                | pkg_config::Error::ProbeFailure { output, .. } => {
                    let text = String::from_utf8_lossy(&output.stderr);
                    format!("pkg-config says: {}", text.trim().replace('\n', " "))
                }
                pkg_config::Error::Command { command, cause } => {
                    format!("`{command}` can't be run: {cause}")
                }
                other => other.to_string(),
            };
            format!(
                "libdpdk was not found: dpdk-net-sys needs DPDK {}.{} to {}.{} with its headers.\n{REMEDY}\n{cause}",
                OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
            )
        })
}

/// 22.11.11, 25.11.0-rc1, ...: the first two numbers are the release.
fn check_version(version: &str) -> Result<(), String> {
    let mut numbers = version.split(['.', '-', '~']).map(str::parse::<u32>);
    let (Some(Ok(year)), Some(Ok(month))) = (numbers.next(), numbers.next()) else {
        return Err(format!(
            "libdpdk says its version is {version:?}, which is not YEAR.MONTH.\n{REMEDY}"
        ));
    };
    if (year, month) < OLDEST {
        return Err(format!(
            "libdpdk {version} is too old: dpdk-net-sys needs {}.{} to {}.{}.\n{REMEDY}",
            OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
        ));
    }
    if (year, month) > NEWEST {
        println!(
            "cargo::warning=libdpdk {version} is newer than {}.{}, the newest release dpdk-net-sys was written for",
            NEWEST.0, NEWEST.1
        );
    }
    Ok(())
}

/// What pkg-config's crate does not parse out (`-march`, `-include`) matters here, so ask for all flags.
fn cflags(library: &pkg_config::Library) -> Vec<String> {
    let mut flags: Vec<String> = library
        .include_paths
        .iter()
        .map(|path| format!("-I{}", path.display()))
        .collect();
    flags.extend(["-include".into(), "rte_config.h".into()]);
    if let Some(march) = march() {
        flags.push(march);
    }
    flags
}

/// The instruction set DPDK was built for: its inline functions need at least that.
fn march() -> Option<String> {
    let pkg_config = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = std::process::Command::new(pkg_config)
        .args(["--cflags-only-other", "libdpdk"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .split_whitespace()
        .find(|flag| flag.starts_with("-march="))
        .map(str::to_owned)
}

fn compile_shim(library: &pkg_config::Library) -> Result<(), String> {
    let mut build = cc::Build::new();
    build
        .files([
            "shim/shim.c",
            "shim/control.c",
            "shim/flow.c",
            "shim/telemetry.c",
        ])
        .include("shim")
        .force_frame_pointer(false)
        .opt_level(3);
    build.define("ALLOW_EXPERIMENTAL_API", None);
    for path in &library.include_paths {
        // As system headers: DPDK's inline functions are not ours to warn about.
        build.flag("-isystem").flag(path.display().to_string());
    }
    build.flag("-include").flag("rte_config.h");
    if let Some(march) = march() {
        build.flag(march);
    }
    build
        .warnings(true)
        .extra_warnings(true)
        .flag_if_supported("-Wno-unused-parameter")
        .try_compile("dpdk_net_shim")
        .map_err(|error| {
            format!(
                "the C shim over libdpdk {} does not compile.\n{REMEDY}\ncc: {error}",
                library.version
            )
        })
}

fn bindings(cflags: &[String], version: &str) -> Result<bindgen::Bindings, String> {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(cflags)
        .clang_arg("-DALLOW_EXPERIMENTAL_API")
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(false)
        .merge_extern_blocks(true)
        // Field paths differ between releases: read through DN_MBUF_OFF_* and DN_MEMPOOL_OFF_*.
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        .opaque_type("rte_ring")
        .opaque_type("rte_flow")
        // Parts of the opaque ones that would come along.
        .blocklist_type(
            "(rte_mbuf|rte_ring|rte_mempool)__.*|rte_ring_.*headtail|__rte_ring_.*|rte_mbuf_sched",
        );
    for pattern in FUNCTIONS {
        builder = builder.allowlist_function(pattern);
    }
    for pattern in TYPES {
        builder = builder.allowlist_type(pattern);
    }
    for pattern in CONSTANTS {
        builder = builder.allowlist_var(pattern);
    }
    // bindgen panics where libclang can't be loaded: its text is kept for the error, without the backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let generated = std::panic::catch_unwind(AssertUnwindSafe(|| builder.generate()));
    drop(std::panic::take_hook());
    let cause = match generated {
        Ok(Ok(bindings)) => return Ok(bindings),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "it panicked".to_owned(),
        },
    };
    Err(format!(
        "bindgen can't read the headers of libdpdk {version}; it needs libclang.\n{REMEDY}\nbindgen: {cause}"
    ))
}
