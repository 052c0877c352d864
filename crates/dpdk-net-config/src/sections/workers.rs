//! `[workers]`, `[metrics]`, `[control]` and `[log]`: what runs where, and what is told of it.

use std::path::PathBuf;

use crate::decode::section;
use crate::lcores::Lcores;
use crate::sections::ListenAddr;
use crate::value::{Time, choice};

choice! {
    /// What a worker does when there is nothing to do.
    pub enum Idle {
        /// Polls again at once: the lowest latency, for a core of its own.
        Spin = "spin",
        /// Lets other threads have the core after some turns: for a core that is shared.
        Yield = "yield",
    }
}

choice! {
    /// The async runtime of a worker.
    pub enum Runtime {
        /// tokio's current-thread runtime.
        Tokio = "tokio",
        /// Our own executor, without kernel sockets: the least work between two turns.
        Local = "local",
        /// async-executor, where the program is built with `smol`.
        Smol = "smol",
        /// compio's runtime, where the program is built with `compio`.
        Compio = "compio",
    }
}

choice! {
    /// Whether connections and ports are pinned to queues by flow rules.
    pub enum PinPolicy {
        /// They are not: what comes to the wrong queue is handed over.
        Off = "off",
        /// They are, and what the port refuses is handed over.
        Prefer = "prefer",
        /// They are, and a refusal is an error.
        Pin = "pin",
    }
}

section! {
    /// Lcores, and what runs on them.
    pub struct Workers: Default {
        /// The lcores, as EAL's `--lcores` has them: `0-3,5`, or with the CPUs that they run on, `0@2,1@3`.
        opt lcores: Lcores { default: "one for each CPU that the process may use" };
        /// The lcore of the calling thread, one of `lcores`.
        opt main: u32 { range: Some((0, 1023)), default: "the first" };
        /// Workers at most; the other lcores have nothing to do.
        opt count: u16 { range: Some((1, 1024)), default: "as many as there are lcores or queues, whichever is less" };
        /// The async runtime: what the program is written for.
        opt runtime: Runtime { default: "tokio" };
        /// What a worker does when there is nothing to do.
        opt idle: Idle { default: "spin" };
        /// Turns in a row that found nothing before the core is yielded, with `idle = "yield"`.
        opt idle_turns: u32 { range: Some((0, u32::MAX as u64)), default: "64" };
        /// Whether connections and ports are pinned to queues by flow rules.
        opt pin: PinPolicy { default: "prefer" };
        /// Flows of several workers whose packets find their worker wherever they come in: 16 to 32 bytes each.
        opt flows: u32 { range: Some((1024, 1 << 28)) };
        /// Listeners and bound UDP sockets of which the same holds.
        opt bindings: u32 { range: Some((64, 1 << 24)), default: "4096" };
        /// How long connections have to finish once the application ends; then they are reset.
        opt drain_timeout: Time { range: Some((0, 31_536_000_000_000)), default: "10 s" };
    }
}

choice! {
    /// Over what figures are served.
    pub enum Transport {
        /// The kernel's sockets.
        Kernel = "kernel",
        /// The application's own stack, at the first queue of the port that has the address.
        Stack = "stack",
    }
}

section! {
    /// Figures.
    pub struct Metrics: Default {
        /// Where they are served to Prometheus over HTTP; who can connect can read them. Nowhere by default.
        opt listen: ListenAddr;
        /// The path.
        opt path: String { default: "/metrics" };
        /// Over what: `stack` has to have the address.
        opt transport: Transport { default: "kernel" };
        /// How often the figures of each queue are written to the log. Not at all by default.
        opt log_interval: Time { range: Some((100_000, 86_400_000_000)), live: true };
    }
}

section! {
    /// Questions to the running application.
    pub struct Control: Default {
        /// The Unix socket by which they come, for the user that runs it and for root. None by default.
        opt socket: PathBuf;
    }
}

choice! {
    /// How lines of the log look.
    pub enum LogFormat {
        /// For people, a line each.
        Text = "text",
        /// For people, several lines each.
        Pretty = "pretty",
        /// For programs: a JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How much DPDK logs.
    pub enum LogLevel {
        /// Nothing but emergencies.
        Emergency = "emergency",
        /// Alerts.
        Alert = "alert",
        /// Critical conditions.
        Critical = "critical",
        /// Errors.
        Error = "error",
        /// Warnings.
        Warning = "warning",
        /// Notices.
        Notice = "notice",
        /// Information.
        Info = "info",
        /// Everything.
        Debug = "debug",
    }
}

section! {
    /// The log.
    pub struct Log: Default {
        /// What is logged, as tracing's filters say it: `info`, `warn,dpdk_net=debug`.
        opt filter: String { default: "info", live: true };
        /// How lines look.
        opt format: LogFormat { default: "text" };
        /// The file that it is appended to. Standard error by default.
        opt file: PathBuf;
        /// Whether `dpdk-net run` writes a line for each request.
        opt access: bool { default: "false" };
        /// How much DPDK logs; the filter, where it is `dpdk`, applies on top.
        opt dpdk: LogLevel { default: "notice" };
    }
}
