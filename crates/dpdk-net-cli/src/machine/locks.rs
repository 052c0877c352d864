//! Which of DPDK's files somebody uses: the locks and the sockets that the kernel knows of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Machine;

/// What is in use, asked once.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    /// Inode numbers of locked files (`MAJOR:MINOR:INODE` of proc_locks(5), without the device).
    locked: Vec<u64>,
    /// Paths of bound sockets.
    sockets: Vec<String>,
}

impl InUse {
    /// Reads /proc/locks and /proc/net/unix. `None` if either is out of reach: then nobody can tell.
    pub(crate) fn read(machine: &Machine) -> Option<Self> {
        let locks = machine.text("/proc/locks")?;
        let sockets = machine.text("/proc/net/unix")?;
        let inode = |line: &str| {
            let device = line
                .split_whitespace()
                .find(|word| word.matches(':').count() == 2)?;
            device.rsplit_once(':')?.1.parse().ok()
        };
        Some(Self {
            locked: locks.lines().filter_map(inode).collect(),
            sockets: sockets
                .lines()
                .filter_map(|line| line.split_whitespace().nth(7))
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether somebody holds a lock on the file.
    pub(crate) fn is_locked(&self, file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|metadata| self.locked.contains(&metadata.ino()))
    }

    /// Whether a socket below the directory is bound by somebody.
    pub(crate) fn has_socket_below(&self, directory: &Path) -> bool {
        self.sockets
            .iter()
            .any(|socket| Path::new(socket).starts_with(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn locks_are_told_by_inode_and_sockets_by_path() {
        let fake = Fake::empty();
        assert!(InUse::read(&fake.machine()).is_none());
        fake.file("/run/a", "").file("/run/b", "");
        let inode = fs::metadata(fake.at("/run/a")).unwrap().ino();
        fake.file(
            "/proc/locks",
            &format!("1: POSIX  ADVISORY  WRITE 77 00:19:{inode} 0 EOF\n"),
        );
        fake.file(
            "/proc/net/unix",
            "Num RefCount Protocol Flags Type St Inode Path\n0000: 00000002 00000000 00010000 0005 01 99 /run/dpdk/x/s\n",
        );
        let in_use = InUse::read(&fake.machine()).unwrap();
        assert!(in_use.is_locked(&fake.at("/run/a")));
        assert!(!in_use.is_locked(&fake.at("/run/b")));
        assert!(in_use.has_socket_below(Path::new("/run/dpdk/x")));
        assert!(!in_use.has_socket_below(Path::new("/run/dpdk/xx")));
    }
}
