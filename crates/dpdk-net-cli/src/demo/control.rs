//! Where the demo's control socket is: `ss`, `stats`, `top`, `capture` and `trace` ask there.
//!
//! As root it is where the tool looks by itself. Without root `/run` can't be written, and the user's own directory is taken, or, where
//! there is none, one that is made for it. What is made is removed.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The socket's place. The application makes the socket, for its owner alone.
#[derive(Debug)]
pub(super) struct ControlPlace {
    path: PathBuf,
    /// A directory that was made for it.
    made: Option<PathBuf>,
}

impl ControlPlace {
    /// A place for the socket of this name. `None` where there is none: the demo does without.
    pub(super) fn find(name: &str) -> Option<Self> {
        let aside = std::env::temp_dir().join(format!("dpdk-net-demo-{}", std::process::id()));
        Self::among(dpdk_net::control::directories(), aside, name)
    }

    /// In the first of these directories that can be had and written, or in one `aside`, which is not there yet.
    fn among(directories: Vec<PathBuf>, aside: PathBuf, name: &str) -> Option<Self> {
        let place = |(directory, made): (PathBuf, bool)| Self {
            path: directory.join(format!("{name}.sock")),
            made: made.then_some(directory),
        };
        let mut had = directories.into_iter().filter_map(|directory| {
            let made = make(&directory, 0o755)?;
            Some((directory, made))
        });
        let (first, own) = (had.next(), || {
            // What another user has put there is not ours.
            (make(&aside, 0o700)?).then_some((aside, true))
        });
        first.or_else(own).map(place)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlPlace {
    fn drop(&mut self) {
        // Fails, as it should, where another application has its socket there.
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made);
        }
    }
}

/// Whether the directory was made; `None` where it can't be had, or not be written.
fn make(directory: &Path, mode: u32) -> Option<bool> {
    let made = match DirBuilder::new().mode(mode).create(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(_) => return None,
    };
    let writable = access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    writable.then_some(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_directory_that_can_be_had_is_taken_and_what_was_made_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let (none, there, new) = (at("nowhere/dpdk-net"), at("there"), at("new"));
        fs::create_dir(&there).unwrap();

        let place = ControlPlace::among(vec![none.clone(), there.clone()], new.clone(), "x");
        assert_eq!(place.unwrap().path(), there.join("x.sock"));
        assert!(there.exists(), "it is not ours");

        let place = ControlPlace::among(vec![none.clone(), new.clone()], there.clone(), "x");
        let place = place.unwrap();
        assert_eq!(place.path(), new.join("x.sock"));
        drop(place);
        assert!(!new.exists());

        let aside = ControlPlace::among(vec![none.clone()], new.clone(), "x").unwrap();
        let mode = fs::metadata(&new).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(aside);
        // A directory that somebody has laid out is not taken.
        assert!(ControlPlace::among(vec![none], there, "x").is_none());
    }
}
