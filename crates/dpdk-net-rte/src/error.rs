//! The one error of this crate, and DPDK's error numbers in words.
//!
//! An error says what was asked for, what came instead and what to do about it. The number that DPDK
//! returned is part of the text, never all of it.

use core::fmt;
use std::borrow::Cow;
use std::ffi::CStr;

use dpdk_net_sys as sys;

use crate::LcoreId;
use crate::flow::RefusedRule;

/// What went wrong, in which call, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DPDK lets a process start its EAL once, even if it was cleaned up since or failed.
    #[error(
        "the EAL was already started in this process ({state}): DPDK can be initialised once in a process. \
         Share the `Eal` handle by cloning it; in tests, run one process a test (cargo nextest)"
    )]
    EalAlreadyStarted {
        /// What became of the first start.
        state: &'static str,
    },

    /// An EAL option that can't work, found before DPDK was asked.
    #[error("{option}: {problem}. {remedy}")]
    EalOption {
        /// The option as DPDK spells it, with its value.
        option: String,
        /// What is wrong with it.
        problem: String,
        /// What to do instead.
        remedy: Cow<'static, str>,
    },

    /// The machine, or this process on it, lacks what was asked for.
    #[error("{missing}. {remedy}")]
    Environment {
        /// What is missing and what wanted it.
        missing: String,
        /// How to get it, or how to do without.
        remedy: Cow<'static, str>,
    },

    /// `rte_eal_init` failed. The EAL can't be started again in this process.
    #[error("DPDK's EAL did not start: {errno}{}. {remedy}", LogTail(.log))]
    EalInit {
        /// What `rte_errno` said.
        errno: Errno,
        /// The last warnings and errors that DPDK logged while starting.
        log: Vec<String>,
        /// What to do about it.
        remedy: Cow<'static, str>,
    },

    /// DPDK started, and a device that was asked for did not come up. DPDK is cleaned up again.
    #[error("device {device} did not come up{}. {remedy}", LogTail(.log))]
    DeviceFailed {
        /// Its name.
        device: String,
        /// The last warnings and errors that DPDK logged while starting.
        log: Vec<String>,
        /// What to do about it.
        remedy: Cow<'static, str>,
    },

    /// A DPDK function failed.
    #[error("{subject}: {function} failed: {errno}{}{remedy}", if .remedy.is_empty() { "" } else { ". " })]
    Dpdk {
        /// The function.
        function: &'static str,
        /// What it was called for, as in `port 0 (net_tap0)`.
        subject: String,
        /// Its error.
        errno: Errno,
        /// What to do about it; may be empty.
        remedy: Cow<'static, str>,
    },

    /// An argument that this crate refuses before DPDK sees it.
    #[error("{what}: {problem}")]
    InvalidArgument {
        /// The argument, as in `rx_queues of port 0 (net_tap0)`.
        what: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },

    /// The lcore is running another function.
    #[error("{lcore} is running another function: wait for it, or launch on an idle lcore")]
    LcoreBusy {
        /// The lcore that was asked for.
        lcore: LcoreId,
    },

    /// Functions can be launched on worker lcores only.
    #[error(
        "{lcore} is not a worker: functions are launched on the lcores of `--lcores` other than the main one. \
         Give the EAL more lcores, or call the function directly on the main lcore"
    )]
    NotAWorker {
        /// The lcore that was asked for.
        lcore: LcoreId,
    },

    /// A function waited for the lcore that it runs on.
    #[error("{lcore} would wait for itself: wait from another lcore or thread")]
    WaitForSelf {
        /// The lcore.
        lcore: LcoreId,
    },

    /// No worker lcore matched.
    #[error(
        "no worker lcore {criteria}: give the EAL more lcores (`lcores(\"0-3\")`, or several on a core: `lcores(\"0@0,1@0\")`)"
    )]
    NoWorkers {
        /// What was looked for, as in `on NUMA socket 1`.
        criteria: String,
    },

    /// A launched function panicked. The lcore is idle again.
    #[error("the function launched on {lcore} panicked: {message}")]
    Panicked {
        /// Where it ran.
        lcore: LcoreId,
        /// The panic's message.
        message: String,
    },

    /// The thread is an lcore already, or already registered.
    #[error(
        "this thread is already {lcore}: only a thread that is not an lcore can register, and only once"
    )]
    AlreadyLcore {
        /// What it is.
        lcore: LcoreId,
    },

    /// There is no such port.
    #[error("there is no {port}; DPDK has {}", if .known.is_empty() { "none: give the EAL a virtual device (`vdev(\"net_tap0\")`) or bind a NIC to vfio-pci" } else { .known })]
    NoSuchPort {
        /// The port that was asked for.
        port: String,
        /// The ports that there are.
        known: String,
    },

    /// A port can be opened once at a time.
    #[error("{port} is open already: drop its handles and queues first, or share a `PortControl`")]
    PortAlreadyOpen {
        /// The port.
        port: String,
    },

    /// The port has to be configured for this.
    #[error("{port} is not configured yet: configure it before {wanted}")]
    NotConfigured {
        /// The port.
        port: String,
        /// What was wanted, as in `its MTU changes`.
        wanted: &'static str,
    },

    /// The port has to be started for this.
    #[error("{port} is not started: start it before {wanted}")]
    NotStarted {
        /// The port.
        port: String,
        /// What was wanted, as in `it gets flow rules`.
        wanted: &'static str,
    },

    /// A driver refuses a flow rule, or has none.
    #[error("{0}")]
    FlowRule(Box<RefusedRule>),

    /// The port has fewer queues.
    #[error(
        "{port} has no {direction} queue {queue}: it was configured with {count}, numbered from 0"
    )]
    NoSuchQueue {
        /// The port.
        port: String,
        /// The queue that was asked for.
        queue: u16,
        /// `receive` or `transmit`.
        direction: &'static str,
        /// How many there are.
        count: usize,
    },

    /// A queue has one owner.
    #[error(
        "{direction} queue {queue} of {port} is taken: a queue has one owner, who gives it back by dropping it"
    )]
    QueueTaken {
        /// The port.
        port: String,
        /// The queue.
        queue: u16,
        /// `receive` or `transmit`.
        direction: &'static str,
    },

    /// A port can't be stopped while its queues are out.
    #[error(
        "{port} can't be stopped: {rx} receive and {tx} transmit queues are in use; drop them first"
    )]
    QueuesInUse {
        /// The port.
        port: String,
        /// Receive queues that are out.
        rx: usize,
        /// Transmit queues that are out.
        tx: usize,
    },

    /// An mbuf has less room, or less data, than an operation on it wants.
    #[error("{operation} of {asked} on an mbuf that allows {available}")]
    MbufRoom {
        /// The operation: `append`, `prepend`, `trim`, `adj` or `linearize` in bytes, `chain` in segments.
        operation: &'static str,
        /// How much was asked for.
        asked: usize,
        /// How much there is.
        available: usize,
    },
}

impl Error {
    /// A failure that a function returned as `-errno`, or as -1 with `rte_errno` set.
    pub(crate) fn from_rc(function: &'static str, subject: impl Into<String>, rc: i32) -> Self {
        let errno = if rc < -1 { Errno(-rc) } else { Errno::last() };
        Self::from_errno(function, subject, errno)
    }

    /// A failure whose cause is in `rte_errno`, as of functions that return a null pointer.
    pub(crate) fn last(function: &'static str, subject: impl Into<String>) -> Self {
        Self::from_errno(function, subject, Errno::last())
    }

    /// A failure with its cause in hand.
    pub(crate) fn from_errno(
        function: &'static str,
        subject: impl Into<String>,
        errno: Errno,
    ) -> Self {
        Self::Dpdk {
            function,
            subject: subject.into(),
            errno,
            remedy: Cow::Borrowed(""),
        }
    }

    /// Says what to do about a [`Error::Dpdk`] or [`Error::EalInit`]; others are left as they are.
    pub(crate) fn with_remedy(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        if let Self::Dpdk { remedy, .. } | Self::EalInit { remedy, .. } = &mut self {
            *remedy = text.into();
        }
        self
    }

    /// The error number, where DPDK gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Dpdk { errno, .. } | Self::EalInit { errno, .. } => Some(*errno),
            Self::FlowRule(refused) => Some(refused.errno),
            _ => None,
        }
    }
}

/// The log lines that go with an error, on lines of their own.
struct LogTail<'a>(&'a [String]);

impl fmt::Display for LogTail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().enumerate() {
            let lead = if index == 0 { "; DPDK says: " } else { "; " };
            // The sentence that follows brings its own full stop.
            write!(f, "{lead}{}", line.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

/// An error number of DPDK: those of the C library, and a few of DPDK's own from 1001 on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// `rte_errno` of the calling thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local of the calling thread; needs no EAL.
        Self(unsafe { sys::dn_rte_errno() })
    }

    /// The symbolic name, as in `EBUSY`, for those that DPDK returns.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::ENXIO => "ENXIO",
            libc::E2BIG => "E2BIG",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::EMFILE => "EMFILE",
            libc::ENOSPC => "ENOSPC",
            libc::EROFS => "EROFS",
            libc::ERANGE => "ERANGE",
            libc::ENAMETOOLONG => "ENAMETOOLONG",
            libc::ENOSYS => "ENOSYS",
            libc::EPROTO => "EPROTO",
            libc::EOVERFLOW => "EOVERFLOW",
            libc::ENOTSUP => "ENOTSUP",
            libc::ENOBUFS => "ENOBUFS",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::EALREADY => "EALREADY",
            1001 => "E_RTE_SECONDARY",
            1002 => "E_RTE_NO_CONFIG",
            _ => return None,
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("no error number given");
        }
        // SAFETY: returns a pointer to a string of the calling thread, valid until its next call here.
        let text = unsafe { CStr::from_ptr(sys::rte_strerror(self.0)) };
        match self.name() {
            Some(name) => write!(f, "{} ({name})", text.to_string_lossy()),
            None => write!(f, "{} (errno {})", text.to_string_lossy(), self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_shown_in_words_with_its_name() {
        assert_eq!(
            Errno(libc::EBUSY).to_string(),
            "Device or resource busy (EBUSY)"
        );
        assert!(Errno(1001).to_string().contains("E_RTE_SECONDARY"));
        assert!(Errno(4242).to_string().contains("4242"));
    }

    #[test]
    fn a_remedy_follows_the_cause() {
        let error = Error::from_rc("rte_eth_dev_start", "port 0 (net_tap0)", -libc::ENOMEM);
        assert_eq!(
            error.to_string(),
            "port 0 (net_tap0): rte_eth_dev_start failed: Cannot allocate memory (ENOMEM)"
        );
        let error = error.with_remedy("Give the EAL more memory");
        assert!(
            error
                .to_string()
                .ends_with("(ENOMEM). Give the EAL more memory")
        );
    }
}
