//! A network namespace of its own for a test, with the loopback interface up.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{COMMAND_TIMEOUT, Output, Process, require_root, run, unique_name};

/// A network namespace, deleted when dropped. Interfaces in it that are not physical go with it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace. The error begins with `needs root:` where the privilege is missing.
    pub fn new() -> io::Result<Self> {
        require_root("a network namespace")?;
        let netns = Self {
            name: unique_name("dn"),
        };
        run(&["ip", "netns", "add", &netns.name], COMMAND_TIMEOUT)?;
        netns.up("lo")?;
        Ok(netns)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, for `setns` or a device argument.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a program in it to its end; see [`run`](super::run).
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S], timeout: Duration) -> io::Result<Output> {
        run(&self.within(command), timeout)
    }

    /// Starts a program in it.
    pub fn start<S: AsRef<OsStr>>(&self, command: &[S]) -> io::Result<Process> {
        // `ip netns exec` becomes the program: its process id is the program's.
        Process::start(&self.within(command))
    }

    /// Runs `ip` in it.
    pub fn ip(&self, args: &[&str]) -> io::Result<Output> {
        let command = [&["ip", "-n", &self.name], args].concat();
        run(&command, COMMAND_TIMEOUT)
    }

    /// Sets an interface up.
    pub fn up(&self, interface: &str) -> io::Result<()> {
        self.ip(&["link", "set", interface, "up"]).map(drop)
    }

    /// Gives an interface an address such as `198.18.0.1/24` or `fd00::1/64`, usable at once (no duplicate address detection).
    pub fn add_address(&self, interface: &str, address: &str) -> io::Result<()> {
        let mut args = vec!["addr", "add", address, "dev", interface];
        if address.contains(':') {
            args.push("nodad");
        }
        self.ip(&args).map(drop)
    }

    /// Moves an interface from the namespace of this process into this one.
    pub fn adopt(&self, interface: &str) -> io::Result<()> {
        run(
            &["ip", "link", "set", interface, "netns", &self.name],
            COMMAND_TIMEOUT,
        )
        .map(drop)
    }

    /// Moves the calling thread into it, for the rest of the thread's life: sockets and devices that it makes are of this
    /// namespace.
    pub fn enter(&self) -> io::Result<()> {
        let file = File::open(self.path())?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Runs `work` on a thread of its own within it: the kernel's sockets of this namespace, without a program.
    ///
    /// # Panics
    /// In that thread, if it can't enter.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = self.path();
        thread::spawn(move || {
            let entered = File::open(&path).and_then(|file| {
                Ok(move_into_link_name_space(
                    file.as_fd(),
                    Some(LinkNameSpaceType::Network),
                )?)
            });
            if let Err(error) = entered {
                panic!("cannot enter {path}: {error}");
            }
            work()
        })
    }

    /// Sets a kernel variable of this namespace, such as `net.ipv4.tcp_congestion_control`.
    pub fn sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        self.run(
            &["sysctl", "-qw", &format!("{name}={value}")],
            COMMAND_TIMEOUT,
        )
        .map(drop)
    }

    fn within<'a, S: AsRef<OsStr>>(&'a self, command: &'a [S]) -> Vec<&'a OsStr> {
        let prefix = ["ip", "netns", "exec", &self.name].map(OsStr::new);
        prefix
            .into_iter()
            .chain(command.iter().map(AsRef::as_ref))
            .collect()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Programs left in it are guarded by their own `Process`; the name goes at once, the namespace with the last of them.
        let _ = run(&["ip", "netns", "del", &self.name], COMMAND_TIMEOUT);
    }
}
