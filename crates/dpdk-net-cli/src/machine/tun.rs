//! /dev/net/tun, through which TAP interfaces are made.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use super::Machine;
use crate::failure::{Failure, Result};

/// Where Linux has it.
pub(crate) const TUN: &str = "/dev/net/tun";

/// The device node is there, its driver is not.
const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

/// Whether this process can open it.
pub(crate) fn check(machine: &Machine) -> Result {
    open(&machine.at(TUN))
}

fn open(path: &Path) -> Result {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound)
                || error.raw_os_error() == Some(ENODEV) =>
        {
            Err(Failure::new(
                format!("{TUN} is missing, so no TAP device can be made"),
                "load the driver: modprobe tun\n(in a container: start it with --device /dev/net/tun --cap-add NET_ADMIN)",
            ))
        }
        Err(error) => Err(Failure::new(
            format!("{TUN} cannot be opened: {error}"),
            "run the demo as root, or let everybody open it, as is usual: chmod 0666 /dev/net/tun",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn a_missing_device_names_the_driver() {
        let failure = check(&Fake::empty().machine()).unwrap_err();
        assert!(failure.to_string().contains("modprobe tun"), "{failure}");
        assert_eq!(check(&Fake::good().machine()), Ok(()));
    }

    #[test]
    fn one_that_cannot_be_opened_says_why() {
        let fake = Fake::empty();
        fake.directory(TUN);
        let failure = check(&fake.machine()).unwrap_err();
        assert!(
            failure.to_string().contains("cannot be opened"),
            "{failure}"
        );
    }
}
