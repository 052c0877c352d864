//! What tests of devices with a kernel's end need of it: root, /dev/net/tun and a network of their own.

use std::process::Command;

/// Moves this thread into a network namespace of its own, so that interfaces are seen by nobody and vanish with it. False, and
/// said so, where no TAP device can be made: there is nothing to test then.
pub(crate) fn own_network() -> bool {
    // SAFETY: geteuid() has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_ok();
    if !(root && tun) {
        eprintln!("skipped: needs root and /dev/net/tun");
        return false;
    }
    // SAFETY: changes the namespace of the calling thread, the only one so far that matters.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "unshare: {}", std::io::Error::last_os_error());
    true
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(status.success(), "ip {args}");
}
