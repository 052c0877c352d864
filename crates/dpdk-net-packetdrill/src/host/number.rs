//! Descriptor numbers. They are numbers of this process, each taken by a file that does nothing: packetdrill opens files of its
//! own beside our sockets, and at the end of a script it closes the sockets that the script has left open with the C
//! library's `close`, which must find something to close.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use crate::errno::Errno;

/// What the numbers are copies of: a socket that nothing can be sent to, so that a call which misses this library fails.
#[derive(Debug)]
pub(crate) struct Numbers {
    model: File,
    inode: u64,
}

/// A number that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Number {
    file: Option<File>,
    fd: i32,
    inode: u64,
}

fn errno(error: &std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EMFILE))
}

impl Numbers {
    pub(crate) fn new() -> Result<Self, Errno> {
        let socket = UnixDatagram::unbound().map_err(|error| errno(&error))?;
        let model = File::from(OwnedFd::from(socket));
        let inode = model.metadata().map_err(|error| errno(&error))?.ino();
        Ok(Numbers { model, inode })
    }

    /// Takes the lowest number that is free in the process.
    pub(crate) fn take(&self) -> Result<Number, Errno> {
        let file = self.model.try_clone().map_err(|error| errno(&error))?;
        Ok(Number {
            fd: file.as_raw_fd(),
            file: Some(file),
            inode: self.inode,
        })
    }
}

impl Number {
    pub(crate) fn get(&self) -> i32 {
        self.fd
    }

    /// Somebody else has closed it, and it was taken anew: it is not to be closed with this.
    pub(crate) fn forget(mut self) {
        if let Some(file) = self.file.take() {
            let _ = file.into_raw_fd();
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else {
            return;
        };
        // Closed behind our back, and perhaps opened again for something else: no longer ours to close.
        if !file.metadata().is_ok_and(|now| now.ino() == self.inode) {
            let _ = file.into_raw_fd();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_process() {
        let numbers = Numbers::new().unwrap();
        let (a, b) = (numbers.take().unwrap(), numbers.take().unwrap());
        let file = File::open("/dev/null").unwrap();
        let mut all = [a.get(), b.get(), file.as_raw_fd()];
        all.sort_unstable();
        assert!(all[0] > 2 && all[0] < all[1] && all[1] < all[2], "{all:?}");
        let freed = a.get();
        drop(a);
        assert_eq!(numbers.take().unwrap().get(), freed);
    }

    /// As packetdrill does at the end of a script.
    #[allow(unsafe_code)]
    fn close(fd: i32) {
        // SAFETY: an open descriptor; that another owns it too is what the test is about.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }

    #[test]
    fn what_somebody_else_has_closed_is_not_closed_again() {
        let numbers = Numbers::new().unwrap();
        let number = numbers.take().unwrap();
        let fd = number.get();
        close(fd);
        let other = File::open("/dev/null").unwrap();
        assert_eq!(other.as_raw_fd(), fd, "the lowest free number");
        drop(number);
        assert!(other.metadata().is_ok(), "the other file is still open");
        // Also if it is one of ours that has the number next.
        let number = numbers.take().unwrap();
        close(number.get());
        let other = numbers.take().unwrap();
        assert_eq!(other.get(), number.get());
        number.forget();
        assert!(other.file.as_ref().unwrap().metadata().is_ok());
    }
}
