//! Where a capture goes: a file, one after the other by size or time, or standard output.
//!
//! Names and limits are tcpdump's. Each file is whole: it begins with what describes the capture and its interfaces.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local};
use dpdk_net::packet::pcapng::{Block, kind};

use crate::failure::{Failure, Result};
use crate::whole::Whole;

/// When the next file begins, and how files are called.
#[derive(Clone, Debug, Default)]
pub(super) struct Rotation {
    /// Bytes after which a frame goes to the next file.
    pub(super) size: Option<u64>,
    /// Time after which it does.
    pub(super) period: Option<Duration>,
    /// How many files there may be. By size, the oldest is overwritten then; by time alone, the capture ends.
    pub(super) count: Option<u32>,
}

/// What a file is called: by the time that it is begun at, and by its number.
#[derive(Debug)]
struct Naming {
    pattern: String,
    by_time: bool,
    by_size: bool,
    /// Digits of the number.
    width: usize,
}

impl Naming {
    fn new(pattern: &str, rotation: &Rotation) -> Result<Self> {
        let by_time = rotation.period.is_some();
        if by_time && StrftimeItems::new(pattern).any(|item| item == Item::Error) {
            return Err(Failure::usage(
                format!("--write {pattern}: no format of a time"),
                "with --rotate-seconds the name is one of strftime, as in trace-%Y%m%d-%H%M%S.pcapng",
            ));
        }
        let last = rotation.count.map(|count| count.saturating_sub(1));
        Ok(Self {
            pattern: pattern.to_owned(),
            by_time,
            by_size: rotation.size.is_some(),
            width: last.map_or(0, |last| last.to_string().len()),
        })
    }

    fn name(&self, at: DateTime<Local>, number: u32) -> PathBuf {
        let mut name = match self.by_time {
            true => at.format(&self.pattern).to_string(),
            false => self.pattern.clone(),
        };
        // The first of files without a limit has none.
        if self.by_size && (number > 0 || self.width > 0) {
            name += &format!("{number:0width$}", width = self.width);
        }
        PathBuf::from(name)
    }
}

/// Bytes that are written at once, about.
const WRITE: usize = 64 * 1024;

/// The file that is written.
struct Open {
    out: Whole,
    /// Blocks that are to be written.
    blocks: Vec<u8>,
    since: Instant,
}

impl Open {
    fn len(&self) -> u64 {
        self.out.len() + self.blocks.len() as u64
    }

    fn flush(&mut self) -> Result {
        let written = self.out.write(&self.blocks);
        self.blocks.clear();
        written.map_err(|error| Failure::new(format!("cannot write the capture: {error}"), ""))
    }
}

/// What blocks are written to.
pub(super) struct Files {
    /// `None` for standard output.
    naming: Option<Naming>,
    rotation: Rotation,
    /// What each file begins with.
    head: Vec<u8>,
    open: Option<Open>,
    /// The number of the open file since the begin, or of its slice of time.
    number: u32,
    /// Files that were begun for the time.
    slices: u32,
}

impl Files {
    /// # Errors
    /// A name that is no format of times where there has to be one.
    pub(super) fn new(name: &str, rotation: Rotation) -> Result<Self> {
        let naming = (name != "-").then(|| Naming::new(name, &rotation));
        Ok(Self {
            naming: naming.transpose()?,
            rotation,
            head: Vec::new(),
            open: None,
            number: 0,
            slices: 0,
        })
    }

    /// Writes a block; `false` where there may be no further file for it.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub(super) fn write(&mut self, block: &Block<'_>) -> Result<bool> {
        if matches!(block.kind, kind::SECTION | kind::INTERFACE) {
            self.head.extend(block.bytes);
        }
        if block.kind == kind::PACKET && !self.make_room()? {
            return Ok(false);
        }
        if self.open.is_none() {
            self.begin()?;
            if block.kind != kind::PACKET {
                // It is in the head.
                return Ok(true);
            }
        }
        self.append(block.bytes)?;
        Ok(true)
    }

    /// Has what was written be in the file.
    pub(super) fn flush(&mut self) -> Result {
        match &mut self.open {
            Some(open) => open.flush(),
            None => Ok(()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result {
        if let Some(open) = &mut self.open {
            open.blocks.extend(bytes);
            if open.blocks.len() >= WRITE {
                open.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the file where it is full, or its time over. `false` where there may be no other.
    fn make_room(&mut self) -> Result<bool> {
        let Some(open) = &self.open else {
            return Ok(true);
        };
        let Rotation {
            size,
            period,
            count,
        } = self.rotation;
        if period.is_some_and(|period| open.since.elapsed() >= period) {
            self.slices += 1;
            if size.is_none() && count.is_some_and(|count| self.slices >= count) {
                return Ok(false);
            }
            self.flush()?;
            (self.open, self.number) = (None, 0);
        } else if size.is_some_and(|size| open.len() > size) {
            self.flush()?;
            self.open = None;
            self.number = match count {
                Some(count) => (self.number + 1) % count.max(1),
                None => self.number + 1,
            };
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result {
        let path = match &self.naming {
            None => PathBuf::from("-"),
            Some(naming) => naming.name(Local::now(), self.number),
        };
        let cannot = |path: &Path, error: io::Error| {
            Failure::new(format!("cannot write {}: {error}", path.display()), "")
        };
        self.open = Some(Open {
            out: Whole::create(&path).map_err(|error| cannot(&path, error))?,
            blocks: Vec::new(),
            since: Instant::now(),
        });
        let head = std::mem::take(&mut self.head);
        self.append(&head)?;
        self.head = head;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use dpdk_net::packet::pcapng;

    use super::*;

    fn naming(pattern: &str, size: bool, period: bool, count: Option<u32>) -> Naming {
        let rotation = Rotation {
            size: size.then_some(1),
            period: period.then_some(Duration::from_secs(1)),
            count,
        };
        Naming::new(pattern, &rotation).unwrap()
    }

    #[test]
    fn files_are_called_as_tcpdump_calls_them() {
        let at = Local.with_ymd_and_hms(2026, 11, 29, 1, 2, 3).unwrap();
        let name = |naming: Naming, number| naming.name(at, number).display().to_string();
        assert_eq!(name(naming("x%d", false, false, None), 0), "x%d");
        assert_eq!(name(naming("x", true, false, None), 0), "x");
        assert_eq!(name(naming("x", true, false, None), 12), "x12");
        assert_eq!(name(naming("x", true, false, Some(101)), 7), "x007");
        assert_eq!(name(naming("x", true, false, Some(10)), 0), "x0");
        assert_eq!(
            name(naming("x-%F-%H%M%S", false, true, None), 0),
            "x-2026-11-29-010203"
        );
        assert_eq!(name(naming("x%S.", true, true, Some(5)), 4), "x03.4");
        let refused = Files::new(
            "x%Q",
            Rotation {
                period: Some(Duration::from_secs(1)),
                ..Rotation::default()
            },
        );
        assert_eq!(refused.err().map(|failure| failure.exit_code()), Some(2));
    }

    /// Blocks of a capture with so many frames of 100 bytes, whose first byte counts them.
    fn blocks(frames: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        pcapng::section(&mut bytes, "", "", "a test");
        pcapng::interface(&mut bytes, &pcapng::Interface::default());
        for index in 0..frames {
            let mut data = [0; 100];
            data[0] = index;
            let packet = pcapng::Packet {
                interface: 0,
                nanos: 0,
                original_len: 100,
                data: &data,
                direction: pcapng::Direction::In,
                queue: 0,
                lost: 0,
                comment: None,
            };
            pcapng::packet(&mut bytes, &packet);
        }
        pcapng::statistics(&mut bytes, 0, &pcapng::Statistics::default());
        bytes
    }

    /// The kinds of a file's blocks, a frame by its number.
    fn kinds(file: &[u8]) -> Vec<String> {
        let (mut rest, mut kinds) = (file, Vec::new());
        while let Some(block) = Block::first(rest).unwrap() {
            kinds.push(match block.kind {
                kind::SECTION => "section".to_owned(),
                kind::INTERFACE => "interface".to_owned(),
                kind::PACKET => block.bytes[28].to_string(),
                _ => "statistics".to_owned(),
            });
            rest = &rest[block.bytes.len()..];
        }
        assert!(rest.is_empty());
        kinds
    }

    fn write(files: &mut Files, bytes: &[u8], mut between: impl FnMut(u32)) -> bool {
        let mut rest = bytes;
        while let Some(block) = Block::first(rest).unwrap() {
            between(block.kind);
            if !files.write(&block).unwrap() {
                files.flush().unwrap();
                return false;
            }
            rest = &rest[block.bytes.len()..];
        }
        files.flush().unwrap();
        true
    }

    #[test]
    fn by_size_each_file_is_whole_and_the_oldest_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("x");
        let read = |suffix: &str| {
            let name = format!("{}{suffix}", name.display());
            std::fs::read(name).ok().map(|file| kinds(&file))
        };
        // The head has 76 bytes, a frame 152: two fill a file of 300.
        let rotation = Rotation {
            size: Some(300),
            ..Rotation::default()
        };
        let mut files = Files::new(name.to_str().unwrap(), rotation.clone()).unwrap();
        assert!(write(&mut files, &blocks(5), |_| ()));
        assert_eq!(read("").unwrap(), ["section", "interface", "0", "1"]);
        assert_eq!(read("1").unwrap(), ["section", "interface", "2", "3"]);
        assert_eq!(
            read("2").unwrap(),
            ["section", "interface", "4", "statistics"]
        );

        let ring = Rotation {
            count: Some(2),
            ..rotation
        };
        let name = directory.path().join("ring");
        let read =
            |suffix: &str| kinds(&std::fs::read(format!("{}{suffix}", name.display())).unwrap());
        let mut files = Files::new(name.to_str().unwrap(), ring).unwrap();
        assert!(write(&mut files, &blocks(5), |_| ()));
        assert_eq!(read("0"), ["section", "interface", "4", "statistics"]);
        assert_eq!(read("1"), ["section", "interface", "2", "3"]);
        assert!(!name.exists());
    }

    #[test]
    fn by_time_alone_the_capture_ends_after_so_many_files() {
        let directory = tempfile::tempdir().unwrap();
        // A name of its own for each; each frame is too late for the file before it.
        let name = directory.path().join("%s-%f");
        let rotation = Rotation {
            period: Some(Duration::ZERO),
            count: Some(3),
            ..Rotation::default()
        };
        let mut files = Files::new(name.to_str().unwrap(), rotation).unwrap();
        assert!(!write(&mut files, &blocks(5), |_| ()));
        let written = std::fs::read_dir(directory.path()).unwrap();
        let mut written: Vec<_> = written.map(|file| file.unwrap().path()).collect();
        written.sort();
        let kinds: Vec<_> = written
            .iter()
            .map(|file| kinds(&std::fs::read(file).unwrap()))
            .collect();
        let head = ["section", "interface"];
        assert_eq!(
            kinds,
            [
                head.to_vec(),
                [&head[..], &["0"]].concat(),
                [&head[..], &["1"]].concat()
            ]
        );
    }

    #[test]
    fn a_capture_without_frames_is_a_file_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("x");
        let mut files = Files::new(name.to_str().unwrap(), Rotation::default()).unwrap();
        assert!(write(&mut files, &blocks(0), |_| ()));
        let file = std::fs::read(&name).unwrap();
        assert_eq!(kinds(&file), ["section", "interface", "statistics"]);
    }
}
