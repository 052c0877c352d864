//! Opening what lies below a directory, and nothing else, whatever becomes of names and links meanwhile: what is known of a file
//! is read from its descriptor, and nothing is opened by a path that was looked at before. Blocking: for a thread that may wait.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

use crate::{Files, Symlinks};

/// How it is opened: a pipe is not waited for, and a terminal not taken.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
/// How a directory on the way is.
const STEP: OFlags = OFlags::PATH
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::DIRECTORY);

/// A directory, and how far links lead out of it.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    /// Without links.
    path: PathBuf,
    symlinks: Symlinks,
}

impl Root {
    /// The root as it is now: another one may have been put in its place.
    pub(super) fn open(files: &Files) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        Ok(Self {
            fd: open(&files.root, flags, Mode::empty())?,
            path: files.root.clone(),
            symlinks: files.symlinks,
        })
    }

    /// Opens what is at a path below it, which has names alone. `None` if a link leads where it may not, or it is nothing that can
    /// be read, as a socket.
    pub(super) fn at(&self, path: &Path) -> io::Result<Option<File>> {
        let opened = match self.symlinks {
            Symlinks::Follow => openat(&self.fd, or_here(path), READ, Mode::empty()),
            Symlinks::Deny => self.without_links(path),
            Symlinks::Within => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match openat2(&self.fd, or_here(path), READ, Mode::empty(), resolve) {
                    // A link has left the root, perhaps to come back: then its end is below, by a way without links. So it is also
                    // found where the kernel has no such call (before 5.6), forbids it, or was disturbed.
                    Err(Errno::XDEV | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                        let end = self.path.join(path).canonicalize()?;
                        match end.strip_prefix(&self.path) {
                            Ok(end) => self.without_links(end),
                            Err(_) => return Ok(None),
                        }
                    }
                    opened => opened,
                }
            }
        };
        match opened {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what is at a path, if there is no link in it.
    fn without_links(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.fd, or_here(path), READ, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.step_by_step(path),
            opened => opened,
        }
    }

    /// As [`without_links`](Self::without_links), by calls that every kernel has.
    fn step_by_step(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let mut names = path.iter();
        let last = names.next_back().unwrap_or(".".as_ref());
        let mut at: Option<OwnedFd> = None;
        for name in names {
            let from = at.as_ref().unwrap_or(&self.fd);
            at = Some(openat(from, name, STEP, Mode::empty())?);
        }
        let from = at.as_ref().unwrap_or(&self.fd);
        openat(from, last, READ | OFlags::NOFOLLOW, Mode::empty())
    }
}

/// The root's own path has no name.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn tree() -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/a"), "a").unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        (directory, Files::new(root))
    }

    fn text(file: Option<File>) -> Option<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn links_that_end_below_the_root_are_followed_whichever_way_they_go() {
        let (_directory, files) = tree();
        symlink("sub/a", files.root.join("relative")).unwrap();
        symlink(files.root.join("sub/a"), files.root.join("absolute")).unwrap();
        symlink("../root/sub", files.root.join("around")).unwrap();
        symlink("../secret", files.root.join("out")).unwrap();
        symlink("me", files.root.join("me")).unwrap();
        symlink("/proc/self/root", files.root.join("magic")).unwrap();
        let root = Root::open(&files).unwrap();
        let at = |path: &str| root.at(Path::new(path)).map(text);
        for path in ["sub/a", "relative", "absolute", "around/a"] {
            assert_eq!(at(path).unwrap().as_deref(), Some("a"), "{path}");
        }
        for path in ["out", "me", "magic/etc/passwd"] {
            assert_eq!(at(path).unwrap(), None, "{path}");
        }
        assert!(root.at(Path::new("")).unwrap().is_some());
    }

    #[test]
    fn the_way_for_old_kernels_finds_the_same_and_no_link() {
        let (_directory, files) = tree();
        symlink("a", files.root.join("sub/link")).unwrap();
        symlink("sub", files.root.join("other")).unwrap();
        let root = Root::open(&files).unwrap();
        for path in ["sub/a", "sub", "", "sub/link", "other/a", "none", "sub/a/b"] {
            let path = Path::new(path);
            let (old, new) = (root.step_by_step(path), root.without_links(path));
            assert_eq!(old.is_ok(), new.is_ok(), "{path:?}: {old:?} {new:?}");
        }
        assert_eq!(
            root.step_by_step(Path::new("sub/link")).unwrap_err(),
            Errno::LOOP
        );
    }

    #[test]
    fn a_name_that_becomes_a_link_at_any_moment_never_leads_out() {
        let (_directory, files) = tree();
        let name = files.root.join("sub/b");
        let (kept, link) = (files.root.join("kept"), files.root.join("link"));
        fs::write(&kept, "b").unwrap();
        symlink("../../secret", &link).unwrap();
        let root = Root::open(&files).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for from in [&kept, &link] {
                        let next = files.root.join("next");
                        match fs::read_link(from) {
                            Ok(target) => symlink(target, &next).unwrap(),
                            Err(_) => fs::hard_link(from, &next).unwrap(),
                        }
                        fs::rename(&next, &name).unwrap();
                    }
                }
            });
            let mut seen = [0; 2];
            for _ in 0..5_000 {
                // It is not there at first.
                match root.at(Path::new("sub/b")).map(text) {
                    Ok(Some(text)) => {
                        assert_eq!(text, "b");
                        seen[0] += 1;
                    }
                    Ok(None) => seen[1] += 1,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(seen[0] + seen[1] > 0);
        });
    }
}
