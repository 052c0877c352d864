//! A file that is whole whatever happens to it: it is given whole records, and what it could not take all of is taken back.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Stdout, Write};
use std::path::Path;

use crate::output;

/// A file, or standard output.
#[derive(Debug)]
pub(crate) struct Whole {
    out: Out,
    /// Bytes of whole records.
    len: u64,
}

#[derive(Debug)]
enum Out {
    File(File),
    Stdout(Stdout),
}

impl Whole {
    /// Makes a file for its owner alone, or empties one that is there; `-` is standard output.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let out = match path.as_os_str() == "-" {
            true => Out::Stdout(io::stdout()),
            false => Out::File(output::private_file(path)?),
        };
        Ok(Self { out, len: 0 })
    }

    /// Bytes that are in it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds whole records.
    ///
    /// # Errors
    /// What the system says. Of these records a file has none then.
    pub(crate) fn write(&mut self, records: &[u8]) -> io::Result<()> {
        let written = match &mut self.out {
            Out::File(file) => file.write_all(records),
            Out::Stdout(stdout) => stdout.write_all(records).and_then(|()| stdout.flush()),
        };
        match written {
            Ok(()) => self.len += records.len() as u64,
            Err(_) => self.take_back(),
        }
        written
    }

    /// A device or a pipe gives nothing back: the error is told all the same.
    fn take_back(&mut self) {
        if let Out::File(file) = &mut self.out {
            let _ = file.set_len(self.len);
            let _ = file.seek(SeekFrom::Start(self.len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_in_part_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let mut whole = Whole::create(&path).unwrap();
        whole.write(b"one\n").unwrap();
        // As a full disk leaves it.
        let Out::File(file) = &mut whole.out else {
            panic!("it is a file");
        };
        file.write_all(b"tw").unwrap();
        whole.take_back();
        whole.write(b"three\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\nthree\n");
        assert_eq!(whole.len(), 10);
    }

    #[test]
    fn what_can_not_be_written_is_told() {
        let mut full = Whole::create(Path::new("/dev/full")).unwrap();
        let error = full.write(b"one\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.len(), 0);
    }
}
