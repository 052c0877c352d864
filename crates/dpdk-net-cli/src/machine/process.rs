//! This process: its user, its capabilities, its CPUs and how much memory it may lock.

use dpdk_net::config::cpu_list;

use super::Machine;

/// capabilities(7): create and configure network interfaces.
pub(crate) const CAP_NET_ADMIN: u32 = 12;
/// Packet and XDP sockets.
pub(crate) const CAP_NET_RAW: u32 = 13;
/// Locking memory without a limit.
pub(crate) const CAP_IPC_LOCK: u32 = 14;

/// proc_pid_status(5), as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The effective user.
    pub(crate) uid: u32,
    capabilities: u64,
    /// The CPUs that it may run on.
    pub(crate) cpus: Vec<u32>,
}

impl Process {
    /// This process; `None` where /proc is not mounted.
    pub(crate) fn read(machine: &Machine) -> Option<Self> {
        Self::parse(&machine.text("/proc/self/status")?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            // Real, effective, saved, file system.
            uid: field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
            capabilities: u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?,
            cpus: cpu_list(field("Cpus_allowed_list:").unwrap_or_default())
                .into_iter()
                .collect(),
        })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the capability is effective.
    pub(crate) fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// Root that may make interfaces: in a container, root alone is not enough.
    pub(crate) fn is_network_admin(&self) -> bool {
        self.is_root() && self.has(CAP_NET_ADMIN)
    }
}

/// How many bytes this process may lock (RLIMIT_MEMLOCK); `None` for any number.
pub(crate) fn locked_memory(machine: &Machine) -> Option<u64> {
    let limits = machine.text("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn the_effective_user_and_capabilities_decide() {
        let status =
            |uid, caps| format!("Uid:\t1000\t{uid}\t0\t0\nCapPrm:\tffff\nCapEff:\t{caps}\n");
        let parse = |uid, caps| Process::parse(&status(uid, caps)).unwrap();
        assert!(parse(0, "0000000000001000").is_network_admin());
        assert!(!parse(0, "0000000000000fff").is_network_admin());
        assert!(!parse(7, "0000000000001000").is_network_admin());
        assert!(parse(7, "0000000000004000").has(CAP_IPC_LOCK));
        assert_eq!(Process::parse("Name:\tx\n"), None);
    }

    #[test]
    fn the_limit_of_locked_memory_is_read() {
        let fake = Fake::empty();
        assert_eq!(
            locked_memory(&fake.memlock("8388608").machine()),
            Some(8 << 20)
        );
        assert_eq!(locked_memory(&fake.memlock("unlimited").machine()), None);
    }
}
