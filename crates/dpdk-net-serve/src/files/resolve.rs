//! Where a path leads below the root. Blocking: for a thread that may wait.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::listing::Entry;
use crate::{Files, Symlinks};

/// The forms in which a file may lie beside itself, as `ServeFile` looks for them.
const VARIANTS: [&str; 3] = ["zst", "br", "gz"];

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file; `variants` if its compressed forms may be served for it.
    File { path: PathBuf, variants: bool },
    /// A directory without an index.
    Listing(Vec<Entry>),
    /// A directory, asked for without the slash at its end.
    NoSlash,
    /// Nothing that is served.
    Nothing,
}

/// Finds what is at `wanted`, a decoded path without dot segments; its links are followed as far as is allowed.
pub(super) fn resolve(files: &Files, wanted: &[u8]) -> io::Result<Found> {
    let segments: Vec<&OsStr> = wanted
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
        .map(OsStr::from_bytes)
        .collect();
    if segments.iter().any(|segment| is_hidden(files, segment)) {
        return Ok(Found::Nothing);
    }
    let mut path = files.root.clone();
    path.extend(&segments);
    if !is_allowed(files, &path)? {
        return Ok(Found::Nothing);
    }
    // Of a route that is not the root, its own path too may lack the slash.
    let has_slash = wanted.last() == Some(&b'/');
    let metadata = fs::metadata(&path)?;
    if metadata.is_file() {
        return Ok(if has_slash {
            Found::Nothing
        } else {
            file(files, path)
        });
    }
    // A device or a pipe could block for ever.
    if !metadata.is_dir() {
        return Ok(Found::Nothing);
    }
    if !has_slash {
        return Ok(Found::NoSlash);
    }
    if let Some(index) = &files.index {
        let index = path.join(index);
        if index.is_file() && is_allowed(files, &index)? {
            return Ok(file(files, index));
        }
    }
    if files.listing {
        entries(files, &path).map(Found::Listing)
    } else {
        Ok(Found::Nothing)
    }
}

fn is_hidden(files: &Files, name: &OsStr) -> bool {
    !files.dotfiles && name.as_bytes().first() == Some(&b'.') && name != ".well-known"
}

/// Whether the links on the way to `path` are ones that may be followed. It must exist.
fn is_allowed(files: &Files, path: &Path) -> io::Result<bool> {
    Ok(match files.symlinks {
        Symlinks::Follow => true,
        Symlinks::Within => path.canonicalize()?.starts_with(&files.root),
        Symlinks::Deny => path.canonicalize()? == path,
    })
}

/// A compressed form that is a link to elsewhere is none: then the file is served as it is.
fn file(files: &Files, path: PathBuf) -> Found {
    let variants = VARIANTS.iter().all(|extension| {
        let mut variant = OsString::from(&path);
        variant.push(".");
        variant.push(extension);
        match is_allowed(files, Path::new(&variant)) {
            Ok(allowed) => allowed,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    });
    Found::File { path, variants }
}

/// What a listing shows: no more than fits a page, and nothing that would not be served.
fn entries(files: &Files, directory: &Path) -> io::Result<Vec<Entry>> {
    const MOST: usize = 10_000;
    let mut entries: Vec<Entry> = fs::read_dir(directory)?
        .flatten()
        .filter(|entry| !is_hidden(files, &entry.file_name()))
        .filter(|entry| is_allowed(files, &entry.path()).unwrap_or(false))
        .filter_map(|entry| {
            let metadata = fs::metadata(entry.path()).ok()?;
            let size = metadata.is_file().then_some(metadata.len());
            (size.is_some() || metadata.is_dir()).then(|| Entry {
                name: entry.file_name(),
                size,
            })
        })
        .take(MOST)
        .collect();
    entries.sort_by(|a, b| (a.size.is_some(), &a.name).cmp(&(b.size.is_some(), &b.name)));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// `root` with a file, a directory and links that stay, lead out and lead nowhere; `secret` lies beside it.
    fn tree() -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("sub/empty")).unwrap();
        fs::write(root.join("a.txt"), "a").unwrap();
        fs::write(root.join("sub/index.html"), "sub").unwrap();
        fs::write(root.join(".env"), "key").unwrap();
        fs::create_dir(root.join(".well-known")).unwrap();
        fs::write(root.join(".well-known/x"), "x").unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        symlink("a.txt", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        (directory, Files::new(root))
    }

    fn found(files: &Files, path: &str) -> String {
        match resolve(files, path.as_bytes()) {
            Ok(Found::File { path, .. }) => {
                let path = path.strip_prefix(&files.root).unwrap();
                path.display().to_string()
            }
            Ok(Found::Listing(entries)) => format!("{} entries", entries.len()),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    #[test]
    fn paths_lead_to_files_indexes_and_nothing() {
        let (_directory, mut files) = tree();
        for (path, expected) in [
            ("/a.txt", "a.txt"),
            ("/a.txt/", "Nothing"),
            ("/a.txt/b", "NotADirectory"),
            ("/none", "NotFound"),
            ("/sub", "NoSlash"),
            ("/sub/", "sub/index.html"),
            ("/sub/empty/", "Nothing"),
            ("", "NoSlash"),
            ("/", "Nothing"),
            ("/.env", "Nothing"),
            ("/.well-known/x", ".well-known/x"),
        ] {
            assert_eq!(found(&files, path), expected, "{path}");
        }
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(found(&files, &long), "InvalidFilename");
        files.dotfiles = true;
        assert_eq!(found(&files, "/.env"), ".env");
        files.index = Some("a.txt".into());
        assert_eq!(found(&files, "/"), "a.txt");
    }

    #[test]
    fn links_are_followed_as_far_as_is_allowed() {
        let (_directory, mut files) = tree();
        for (symlinks, inside, outside) in [
            (Symlinks::Within, "inside", "Nothing"),
            (Symlinks::Follow, "inside", "outside"),
            (Symlinks::Deny, "Nothing", "Nothing"),
        ] {
            files.symlinks = symlinks;
            assert_eq!(found(&files, "/inside"), inside, "{symlinks:?}");
            assert_eq!(found(&files, "/outside"), outside, "{symlinks:?}");
            assert_eq!(found(&files, "/dangling"), "NotFound");
            let through = found(&files, "/etc/passwd");
            assert_eq!(through == "etc/passwd", symlinks == Symlinks::Follow);
        }
    }

    #[test]
    fn an_index_and_a_compressed_form_that_lead_out_are_not_served() {
        let (_directory, files) = tree();
        symlink("../../secret", files.root.join("sub/index.htm")).unwrap();
        let files = Files {
            index: Some("index.htm".into()),
            ..files
        };
        assert_eq!(found(&files, "/sub/"), "Nothing");
        let variants = || match resolve(&files, b"/a.txt").unwrap() {
            Found::File { variants, .. } => variants,
            other => panic!("{other:?}"),
        };
        assert!(variants());
        symlink("../secret", files.root.join("a.txt.gz")).unwrap();
        assert!(!variants());
    }

    #[test]
    fn a_listing_shows_what_would_be_served() {
        let (_directory, files) = tree();
        let files = Files {
            listing: true,
            ..files
        };
        let Found::Listing(entries) = resolve(&files, b"/").unwrap() else {
            panic!("a listing");
        };
        let names: Vec<_> = entries
            .iter()
            .map(|entry| entry.name.to_str().unwrap())
            .collect();
        assert_eq!(names, [".well-known", "sub", "a.txt", "inside"]);
        assert_eq!(found(&files, "/sub/empty/"), "0 entries");
    }

    #[test]
    fn a_pipe_is_not_opened() {
        let (_directory, files) = tree();
        let pipe = files.root.join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap();
        assert!(made.success());
        assert_eq!(found(&files, "/pipe"), "Nothing");
    }
}
