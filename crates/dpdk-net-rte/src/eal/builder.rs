//! The options of the EAL as a builder, and the start itself.

use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dpdk_net_sys as sys;

use super::{Eal, FAILED, Inner, STATE, check, claim_start, explain, machine, runtime_dir};
use crate::log::LogLevel;
use crate::{Errno, Error, LcoreId};

/// How devices address memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IovaMode {
    /// Physical addresses. Needs root, to read them from the kernel.
    Physical,
    /// Virtual addresses: an IOMMU translates, or there is no hardware.
    Virtual,
}

impl IovaMode {
    pub(super) fn from_raw(raw: sys::rte_iova_mode) -> Option<Self> {
        match raw {
            sys::RTE_IOVA_PA => Some(Self::Physical),
            sys::RTE_IOVA_VA => Some(Self::Virtual),
            _ => None,
        }
    }
}

/// Options for starting DPDK; made by [`Eal::builder`]. Each method is an EAL option of the same name.
///
/// ```no_run
/// # fn main() -> Result<(), dpdk_net_rte::Error> {
/// let eal = dpdk_net_rte::Eal::builder("demo")
///     .lcores("0@0,1@0")
///     .no_huge()
///     .memory_mb(256)
///     .no_pci()
///     .vdev("net_tap0,iface=tp0")
///     .init()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `init`"]
pub struct EalBuilder {
    program: String,
    options: Vec<String>,
    lcores: Vec<String>,
    extra: Vec<String>,
    keep_affinity: bool,
}

impl EalBuilder {
    pub(super) fn new(program: String) -> Self {
        Self {
            program,
            options: Vec::new(),
            lcores: Vec::new(),
            extra: Vec::new(),
            keep_affinity: false,
        }
    }

    fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// The lcores, in the syntax of `--lcores`: `0-3`, `0,2`, or with the CPUs that they run on, `0@0,1@0`,
    /// `0@(0-1),1@(0-1)`. Without it DPDK takes one lcore for each CPU that the process may use.
    ///
    /// Called again, the lists are joined.
    pub fn lcores(mut self, list: impl Into<String>) -> Self {
        self.lcores.push(list.into());
        self
    }

    /// One lcore and the CPUs it may run on. Call it for each lcore.
    pub fn lcore_map(self, lcore: LcoreId, cpus: impl IntoIterator<Item = u32>) -> Self {
        let cpus: Vec<String> = cpus.into_iter().map(|cpu| cpu.to_string()).collect();
        self.lcores(format!("{}@({})", lcore.index(), cpus.join(",")))
    }

    /// The main lcore: the thread that calls [`EalBuilder::init`] becomes it. The first of the list by default.
    pub fn main_lcore(self, lcore: LcoreId) -> Self {
        self.option(format!("--main-lcore={}", lcore.index()))
    }

    /// Adds a virtual device: driver name, number and arguments, as in `net_tap0,iface=tp0`.
    pub fn vdev(self, device: impl fmt::Display) -> Self {
        self.option(format!("--vdev={device}"))
    }

    /// Uses this PCI device, as in `0000:01:00.0`, with arguments for its driver after a comma. Others are left alone.
    pub fn allow(self, device: impl fmt::Display) -> Self {
        self.option(format!("--allow={device}"))
    }

    /// Leaves this PCI device alone. Not together with [`EalBuilder::allow`].
    pub fn block(self, device: impl fmt::Display) -> Self {
        self.option(format!("--block={device}"))
    }

    /// Leaves the PCI bus alone.
    pub fn no_pci(self) -> Self {
        self.option("--no-pci")
    }

    /// Prefix of the files by which processes find each other: another one for each process that runs at a time.
    pub fn file_prefix(self, prefix: impl fmt::Display) -> Self {
        self.option(format!("--file-prefix={prefix}"))
    }

    /// Ordinary memory instead of huge pages. Slower, for machines that have none. Not with
    /// [`EalBuilder::in_memory`].
    pub fn no_huge(self) -> Self {
        self.option("--no-huge")
    }

    /// No files at all: neither shared configuration nor hugetlbfs. Such processes need no prefix of their own. The
    /// memory is huge pages all the same: where there are none, [`EalBuilder::no_huge`], which this does not go with,
    /// and [`EalBuilder::no_shconf`].
    pub fn in_memory(self) -> Self {
        self.option("--in-memory")
    }

    /// No shared configuration files: secondary processes can't attach.
    pub fn no_shconf(self) -> Self {
        self.option("--no-shconf")
    }

    /// No telemetry socket.
    pub fn no_telemetry(self) -> Self {
        self.option("--no-telemetry")
    }

    /// Memory to reserve at start, in MiB. Not together with [`EalBuilder::socket_mem`].
    pub fn memory_mb(self, mebibytes: u32) -> Self {
        self.option("-m").option(mebibytes.to_string())
    }

    /// Memory to reserve at start on each NUMA socket from 0 on, in MiB.
    pub fn socket_mem(self, mebibytes: impl IntoIterator<Item = u32>) -> Self {
        let list: Vec<String> = mebibytes.into_iter().map(|mb| mb.to_string()).collect();
        self.option(format!("--socket-mem={}", list.join(",")))
    }

    /// The hugetlbfs mount to use.
    pub fn huge_dir(self, dir: impl AsRef<Path>) -> Self {
        self.option(format!("--huge-dir={}", dir.as_ref().display()))
    }

    /// Few large files instead of one for each huge page; virtio-user and memif zero-copy need it.
    pub fn single_file_segments(self) -> Self {
        self.option("--single-file-segments")
    }

    /// How devices address memory. DPDK chooses by default.
    pub fn iova_mode(self, mode: IovaMode) -> Self {
        self.option(match mode {
            IovaMode::Physical => "--iova-mode=pa",
            IovaMode::Virtual => "--iova-mode=va",
        })
    }

    /// How much DPDK logs. Its log goes to `tracing` with target `dpdk`, whose filter applies on top.
    pub fn log_level(self, level: LogLevel) -> Self {
        self.option(format!("--log-level={}", level as u32))
    }

    /// How much the components of DPDK whose name matches `pattern` log, as in `pmd.net.tap*`.
    pub fn log_level_of(self, pattern: impl fmt::Display, level: LogLevel) -> Self {
        self.option(format!("--log-level={pattern}:{}", level as u32))
    }

    /// An argument passed to the EAL as it is. DPDK trusts it: `-d` runs the code of the library that it names.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.extra.push(argument.into());
        self
    }

    /// Arguments passed to the EAL as they are.
    pub fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.extra.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Gives the calling thread back the CPUs it had: `init` pins it to those of the main lcore otherwise, and threads
    /// that it starts inherit that.
    pub fn keep_affinity(mut self) -> Self {
        self.keep_affinity = true;
        self
    }

    /// The arguments that `rte_eal_init` will get, without the program's name.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if !self.lcores.is_empty() {
            arguments.push(format!("--lcores={}", self.lcores.join(",")));
        }
        arguments.extend(self.options.iter().cloned());
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// Starts DPDK. The calling thread becomes the main lcore and is pinned to its CPU (see
    /// [`EalBuilder::keep_affinity`]).
    ///
    /// # Errors
    ///
    /// What can be told beforehand is, and leaves the process free to try again: malformed or contradictory options,
    /// no huge pages, no privilege, no `/dev/net/tun`. Past that, DPDK's own failure ([`Error::EalInit`]), or that of a
    /// virtual device ([`Error::DeviceFailed`]), is explained with what DPDK logged, and the process can't start the
    /// EAL any more ([`Error::EalAlreadyStarted`]).
    pub fn init(self) -> Result<Eal, Error> {
        let arguments = self.arguments();
        check::options(&self.program, &arguments)?;
        machine::check(&arguments)?;
        let argv = argv(&self.program, &arguments)?;
        claim_start()?;
        let log = match start(argv, self.keep_affinity) {
            Ok(log) => log,
            Err((errno, log)) => {
                STATE.store(FAILED, Ordering::Release);
                return Err(explain::failed_start(&arguments, errno, log));
            }
        };
        let eal = Eal {
            inner: Arc::new(Inner {
                program: self.program,
                arguments,
            }),
        };
        match explain::missing_device(eal.arguments(), &log) {
            Some(error) => Err(error),
            None => Ok(eal),
        }
    }
}

fn argv(program: &str, arguments: &[String]) -> Result<Vec<CString>, Error> {
    std::iter::once(program)
        .chain(arguments.iter().map(String::as_str))
        .map(|argument| {
            CString::new(argument).map_err(|_| Error::EalOption {
                option: argument.escape_default().to_string(),
                problem: "contains a NUL byte".into(),
                remedy: "Leave it out".into(),
            })
        })
        .collect()
}

/// Calls `rte_eal_init`, and returns what DPDK warned of.
fn start(argv: Vec<CString>, keep_affinity: bool) -> Result<Vec<String>, (Errno, Vec<String>)> {
    crate::log::redirect();
    // What is remembered now is not about this start.
    crate::log::take_recent();
    let affinity = keep_affinity.then(Affinity::of_this_thread).flatten();

    runtime_dir::remove_at_exit();
    // DPDK keeps pointers into its arguments: they live as long as the process. This happens once.
    let mut pointers: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
    let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak();
    // SAFETY: `pointers` holds `count` writable NUL-terminated strings and a final null pointer, all of which live for
    // ever. `claim_start` has made sure that this is the only call in this process.
    let rc = unsafe { sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    let errno = Errno::last();

    if let Some(affinity) = affinity {
        affinity.restore();
    }
    // Also of a start that failed: the directory is made early.
    runtime_dir::remember();
    let log = crate::log::take_recent();
    if rc < 0 { Err((errno, log)) } else { Ok(log) }
}

/// The CPUs that a thread may run on.
struct Affinity(libc::cpu_set_t);

impl Affinity {
    fn of_this_thread() -> Option<Self> {
        // SAFETY: an all-zero cpu_set_t is the empty set.
        let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
        // SAFETY: `set` is writable and of the size given; 0 is the calling thread.
        let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
        (rc == 0).then_some(Self(set))
    }

    fn restore(&self) {
        // SAFETY: the set is valid and of the size given; 0 is the calling thread.
        let rc = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
        if rc != 0 {
            let error = std::io::Error::last_os_error();
            tracing::warn!(target: "dpdk", "the thread that started DPDK stays pinned to the main lcore: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_written_as_dpdk_reads_it() {
        let builder = EalBuilder::new("test".into())
            .lcores("0@0")
            .lcore_map(LcoreId::new(2), [0, 1])
            .main_lcore(LcoreId::new(2))
            .vdev("net_null0,size=64")
            .block("0000:01:00.0")
            .file_prefix("one")
            .no_huge()
            .no_shconf()
            .no_telemetry()
            .memory_mb(64)
            .huge_dir("/mnt/huge")
            .single_file_segments()
            .iova_mode(IovaMode::Virtual)
            .log_level(LogLevel::Debug)
            .log_level_of("pmd.net.tap*", LogLevel::Error)
            .arg("--legacy-mem")
            .args(["--match-allocations"]);
        assert_eq!(
            builder.arguments(),
            [
                "--lcores=0@0,2@(0,1)",
                "--main-lcore=2",
                "--vdev=net_null0,size=64",
                "--block=0000:01:00.0",
                "--file-prefix=one",
                "--no-huge",
                "--no-shconf",
                "--no-telemetry",
                "-m",
                "64",
                "--huge-dir=/mnt/huge",
                "--single-file-segments",
                "--iova-mode=va",
                "--log-level=8",
                "--log-level=pmd.net.tap*:4",
                "--legacy-mem",
                "--match-allocations",
            ]
        );
        let builder = EalBuilder::new("test".into())
            .allow("0000:01:00.0")
            .no_pci()
            .in_memory()
            .socket_mem([64, 0])
            .iova_mode(IovaMode::Physical);
        assert_eq!(
            builder.arguments(),
            [
                "--allow=0000:01:00.0",
                "--no-pci",
                "--in-memory",
                "--socket-mem=64,0",
                "--iova-mode=pa",
            ]
        );
    }
}
