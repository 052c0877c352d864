//! Where a path leads below the root. Blocking: for a thread that may wait.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, fstat, statat};

use super::beneath::Root;
use super::listing::Entry;
use super::regular::Regular;
use crate::Files;

/// What is at a path.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file.
    File(Box<Regular>),
    /// A directory without an index.
    Listing(Vec<Entry>),
    /// A directory, asked for without the slash at its end.
    NoSlash,
    /// Nothing that is served.
    Nothing,
}

/// Finds what is at `wanted`, a decoded path without dot segments; its links are followed as far as is allowed.
pub(super) fn resolve(files: &Files, wanted: &[u8]) -> io::Result<Found> {
    let segments = || {
        let all = wanted.split(|byte| *byte == b'/');
        all.filter(|segment| !segment.is_empty())
            .map(OsStr::from_bytes)
    };
    if segments().any(|segment| is_hidden(files, segment)) {
        return Ok(Found::Nothing);
    }
    let path: PathBuf = segments().collect();
    let root = Root::open(files)?;
    let Some(found) = root.at(&path)? else {
        return Ok(Found::Nothing);
    };
    // Of a route that is not the root, its own path too may lack the slash.
    let has_slash = wanted.last() == Some(&b'/');
    if !found.metadata()?.is_dir() {
        return Ok(match Regular::new(root, path, found)? {
            Some(file) if !has_slash => Found::File(file.into()),
            _ => Found::Nothing,
        });
    }
    if !has_slash {
        return Ok(Found::NoSlash);
    }
    if let Some(index) = &files.index {
        let index = path.join(index);
        // One that is a directory, or leads elsewhere, is none.
        if let Ok(Some(file)) = root.at(&index)
            && file.metadata()?.is_file()
        {
            let file = Regular::new(root, index, file)?;
            return Ok(file.map_or(Found::Nothing, |file| Found::File(file.into())));
        }
    }
    if files.listing {
        entries(files, &root, &path, &found).map(Found::Listing)
    } else {
        Ok(Found::Nothing)
    }
}

fn is_hidden(files: &Files, name: &OsStr) -> bool {
    !files.dotfiles && name.as_bytes().first() == Some(&b'.') && name != ".well-known"
}

/// What a listing of the directory at a path shows: no more than fits a page, and nothing that would not be served.
fn entries(files: &Files, root: &Root, path: &Path, directory: &File) -> io::Result<Vec<Entry>> {
    const MOST: usize = 10_000;
    let shown = |entry: rustix::fs::DirEntry| {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if matches!(name.as_bytes(), b"." | b"..") || is_hidden(files, name) {
            return None;
        }
        let stat = match entry.file_type() {
            FileType::Symlink | FileType::Unknown => {
                fstat(root.at(&path.join(name)).ok()??).ok()?
            }
            _ => statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?,
        };
        let size = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(u64::try_from(stat.st_size).ok()?),
            FileType::Directory => None,
            _ => return None,
        };
        let name = name.to_owned();
        Some(Entry { name, size })
    };
    let all = Dir::read_from(directory)?.flatten();
    let mut entries: Vec<Entry> = all.filter_map(shown).take(MOST).collect();
    entries.sort_by(|a, b| (a.size.is_some(), &a.name).cmp(&(b.size.is_some(), &b.name)));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Symlinks;

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
            Ok(Found::File(file)) => file.path().display().to_string(),
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
            let dangling = match symlinks {
                Symlinks::Deny => "Nothing",
                _ => "NotFound",
            };
            assert_eq!(found(&files, "/dangling"), dangling);
            let through = found(&files, "/etc/passwd");
            assert_eq!(through == "etc/passwd", symlinks == Symlinks::Follow);
        }
    }

    #[test]
    fn an_index_that_leads_out_is_not_served() {
        let (_directory, files) = tree();
        symlink("../../secret", files.root.join("sub/index.htm")).unwrap();
        let files = Files {
            index: Some("index.htm".into()),
            ..files
        };
        assert_eq!(found(&files, "/sub/"), "Nothing");
    }

    #[test]
    fn a_root_that_was_put_in_the_place_of_another_is_the_one_that_is_served() {
        let (_directory, files) = tree();
        let old = files.root.with_extension("old");
        fs::rename(&files.root, old).unwrap();
        fs::create_dir(&files.root).unwrap();
        fs::write(files.root.join("b.txt"), "b").unwrap();
        assert_eq!(found(&files, "/b.txt"), "b.txt");
        assert_eq!(found(&files, "/a.txt"), "NotFound");
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
