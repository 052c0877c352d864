//! Where the socket is: who binds there, and who takes it away again.
//!
//! A process that binds holds a lock on a file beside the socket, so that of two that start at once one is refused, and neither takes the
//! other's socket for one that was left behind. The kernel lets go of the lock whatever becomes of the process.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that is bound. It stays when this is dropped; [`leave`](Self::leave) takes it away.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    socket: Inode,
    lock: PathBuf,
    /// Held for as long as this is.
    _locked: File,
}

/// What tells a file from all others.
type Inode = (u64, u64);

fn inode(file: &Metadata) -> Inode {
    (file.dev(), file.ino())
}

impl Place {
    /// Binds, in the place of a socket that nobody listens on any more. What else is there is left alone. A directory `dpdk-net`, where
    /// sockets are looked for, is made.
    pub(super) fn take(path: &Path) -> io::Result<(Self, UnixListener)> {
        if let Some(parent) = path.parent()
            && parent.ends_with("dpdk-net")
        {
            // Whatever the umask is: who may write here can answer in the place of the application.
            match DirBuilder::new().mode(0o755).create(parent) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let mut lock = OsString::from(path);
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let locked = locked(&lock)?;
        let bound = bind(path).and_then(|listener| {
            let socket = inode(&std::fs::symlink_metadata(path)?);
            Ok((listener, socket))
        });
        let (listener, socket) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let _ = std::fs::remove_file(&lock);
                return Err(error);
            }
        };
        let place = Self {
            path: path.to_owned(),
            socket,
            lock,
            _locked: locked,
        };
        Ok((place, listener))
    }

    /// Takes the socket away, unless somebody has put another one there.
    pub(super) fn leave(self) -> io::Result<()> {
        let removed = match std::fs::symlink_metadata(&self.path) {
            Ok(there) if inode(&there) == self.socket => std::fs::remove_file(&self.path),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        // Still locked: who has opened it meanwhile finds that it is gone, and makes a new one.
        std::fs::remove_file(&self.lock).and(removed)
    }
}

fn in_use() -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, "another process listens there")
}

/// The lock, held.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let no_links = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.mode(0o600).custom_flags(no_links).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it may have removed it between the two; then it is a lock on nothing.
        let there = std::fs::symlink_metadata(path);
        let own = inode(&file.metadata()?);
        if there.is_ok_and(|there| inode(&there) == own) {
            return Ok(file);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        // One that takes no lock.
        Ok(_) => return Err(in_use()),
        // A file that is no socket refuses too.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            let there = std::fs::symlink_metadata(path);
            if there.is_ok_and(|there| there.file_type().is_socket()) {
                std::fs::remove_file(path)?;
            }
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Who connects before this is told apart by its credentials.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// What is in a directory, by name.
    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_place_is_one_process_s_and_nothing_is_left_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        let (place, listener) = Place::take(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files(directory.path()), ["web.sock", "web.sock.lock"]);
        let refused = Place::take(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "{refused}");
        // One that does not listen yet, or any more, has its place all the same.
        drop(listener);
        let refused = Place::take(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "{refused}");
        place.leave().unwrap();
        assert_eq!(files(directory.path()), [] as [&str; 0]);
        Place::take(&path).unwrap().0.leave().unwrap();
    }

    #[test]
    fn of_two_that_come_at_once_to_what_was_left_behind_one_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        for round in 0..200 {
            drop(UnixListener::bind(&path).unwrap());
            let barrier = Barrier::new(2);
            let one = || {
                barrier.wait();
                Place::take(&path)
            };
            let both = std::thread::scope(|scope| {
                let other = scope.spawn(one);
                [one(), other.join().unwrap()]
            });
            let mut taken = both.into_iter().flatten();
            let (place, _listener) = taken.next().expect("one of them");
            assert!(taken.next().is_none(), "round {round}: both");
            assert!(UnixStream::connect(&path).is_ok(), "round {round}");
            place.leave().unwrap();
        }
    }

    #[test]
    fn what_somebody_else_has_put_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.sock");
        let (place, _listener) = Place::take(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        place.leave().unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        // It takes no lock, and is not driven away.
        let refused = Place::take(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "{refused}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "no socket").unwrap();
        assert!(Place::take(&path).is_err());
        assert_eq!(files(directory.path()), ["web.sock"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"no socket");
    }
}
