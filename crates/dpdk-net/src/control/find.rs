//! Where control sockets are.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::ControlError;
use super::client::stranger;

/// The directory of those that root runs.
const SYSTEM: &str = "/run/dpdk-net";

/// Where [`find`] looks: `/run/dpdk-net`, and `dpdk-net` in the user's `XDG_RUNTIME_DIR`, where that is set.
pub fn directories() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.filter(|own| own.is_absolute());
    let own = own.map(|own| own.join("dpdk-net"));
    std::iter::once(PathBuf::from(SYSTEM)).chain(own).collect()
}

/// The socket of an application of this name where [`find`] finds it: `/run/dpdk-net/NAME.sock` for root, the same in
/// `XDG_RUNTIME_DIR/dpdk-net` for other users. The application makes the directory.
pub fn default_path(name: &str) -> PathBuf {
    let all = directories();
    let is_root = rustix::process::geteuid().is_root();
    let own = all.get(1).filter(|_| !is_root);
    let directory = own.or(all.first()).cloned().unwrap_or_default();
    directory.join(format!("{name}.sock"))
}

/// The socket of the application that runs, where there is exactly one: the `*.sock` in one of the [`directories`] on which somebody
/// listens. Those of other users than root and oneself are passed over, as [`Client::connect`](super::Client::connect) would refuse them.
///
/// # Errors
/// [`ControlError::NoneFound`], [`ControlError::Several`]; [`ControlError::Denied`] where there is one, and it is somebody else's.
pub fn find() -> Result<PathBuf, ControlError> {
    find_in(directories())
}

fn find_in(directories: Vec<PathBuf>) -> Result<PathBuf, ControlError> {
    let (mut live, mut denied) = (Vec::new(), Vec::new());
    for path in directories.iter().flat_map(|directory| sockets(directory)) {
        match UnixStream::connect(&path).map_err(|error| error.kind()) {
            // One that is not to be believed is none.
            Ok(stream) if !matches!(stranger(&stream, &path), Ok(None)) => {}
            Ok(_) => live.push(path),
            Err(ErrorKind::PermissionDenied) => denied.push(path),
            // Left behind.
            Err(_) => {}
        }
    }
    match (live.len(), denied.pop()) {
        (1, _) => Ok(live.remove(0)),
        (0, Some(path)) => Err(ControlError::Denied(path)),
        (0, None) => Err(ControlError::NoneFound(directories)),
        _ => Err(ControlError::Several(live)),
    }
}

/// The sockets of a directory, in the order of their names.
fn sockets(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_socket = |entry: &std::fs::DirEntry| {
        entry.path().extension().is_some_and(|it| it == "sock")
            && entry.file_type().is_ok_and(|kind| kind.is_socket())
    };
    let mut all: Vec<_> = entries
        .flatten()
        .filter(is_socket)
        .map(|entry| entry.path())
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_only_one_that_listens_is_found() {
        let one = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let directories = || {
            vec![
                one.path().to_owned(),
                other.path().to_owned(),
                "/nonexistent".into(),
            ]
        };
        drop(UnixListener::bind(one.path().join("ended.sock")).unwrap());
        std::fs::write(one.path().join("a-file.sock"), "").unwrap();
        let _unnamed = UnixListener::bind(one.path().join("other")).unwrap();
        let none = find_in(directories()).unwrap_err();
        assert!(
            matches!(&none, ControlError::NoneFound(all) if all.len() == 3),
            "{none}"
        );

        let path = other.path().join("web.sock");
        let _web = UnixListener::bind(&path).unwrap();
        assert_eq!(find_in(directories()).unwrap(), path);

        let second = one.path().join("dns.sock");
        let _dns = UnixListener::bind(&second).unwrap();
        let several = find_in(directories()).unwrap_err().to_string();
        let wanted = format!("{}, {}", second.display(), path.display());
        assert!(several.ends_with(&wanted), "{several}");
    }
}
