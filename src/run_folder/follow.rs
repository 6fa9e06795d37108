//! A file of records that a run appends to, read again and again: each time what was added.
//! Not here: the file's format and writing it (`json_lines`).
//!
//! A resumed run cuts its files before it goes on. So the last line that was read must still be where it was; where it is
//! not, everything is read anew.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::durable::failed;
use super::error::RunFolderError;
use super::json_lines::{Place, each_line, record};

/// A reader of a file of records that grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    last: Place,
    /// The text of the last line that was read.
    last_text: Vec<u8>,
}

impl Follower {
    /// Of a file, of which nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), last: Place::default(), last_text: Vec::new() }
    }

    /// Adds the finished records that `records` lacks; where the file was cut or replaced, all are read anew.
    ///
    /// - `trim`: takes from each new record what need not be kept
    /// - returns whether `records` is another than before
    ///
    /// # Errors
    /// The file cannot be read, or a finished line is not such a record. What came before it is in `records`.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        records: &mut Vec<T>,
        trim: impl Fn(&mut T),
    ) -> Result<bool, RunFolderError> {
        let is_anew = !self.last_is_there().map_err(failed("read", &self.path))?;
        if is_anew {
            records.clear();
            *self = Self::new(&self.path);
        }
        let n_before = records.len();
        let Self { path, last, last_text } = self;
        each_line(path, *last, |place, text| {
            let mut record = record(path, place, text)?;
            trim(&mut record);
            records.push(record);
            *last = place;
            text.clone_into(last_text);
            Ok(true)
        })?;
        Ok(is_anew || records.len() > n_before)
    }

    /// Whether the last line that was read is where it was.
    fn last_is_there(&self) -> std::io::Result<bool> {
        if self.last.end == 0 {
            return Ok(true);
        }
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let mut expected = self.last_text.clone();
        expected.push(b'\n');
        let begin = self.last.end - expected.len() as u64;
        if file.metadata()?.len() < self.last.end {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(begin))?;
        let mut found = vec![0; expected.len()];
        file.read_exact(&mut found)?;
        Ok(found == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records are their lines' numbers.
    fn follow(follower: &mut Follower, records: &mut Vec<u64>) -> bool {
        follower.read(records, |_| ()).unwrap()
    }

    #[test]
    fn what_was_added_is_added_and_an_unfinished_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let (mut follower, mut records) = (Follower::new(&path), Vec::new());
        assert!(!follow(&mut follower, &mut records), "there is no such file yet");
        std::fs::write(&path, "1\n2\n3").unwrap();
        assert!(follow(&mut follower, &mut records));
        assert_eq!(records, [1, 2]);
        // Were it read from the beginning again, 1 and 2 would be there twice.
        std::fs::write(&path, "1\n2\n34\n").unwrap();
        assert!(follow(&mut follower, &mut records));
        assert_eq!(records, [1, 2, 34]);
        assert!(!follow(&mut follower, &mut records), "nothing was added");
    }

    #[test]
    fn file_that_was_cut_or_replaced_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let (mut follower, mut records) = (Follower::new(&path), Vec::new());
        for (text, expected) in [
            ("1\n2\n3\n", vec![1, 2, 3]),
            ("1\n2\n", vec![1, 2]),
            ("1\n5\n6\n7\n", vec![1, 5, 6, 7]),
            ("", vec![]),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(follow(&mut follower, &mut records), "{text}");
            assert_eq!(records, expected);
        }
        std::fs::write(&path, "8\n").unwrap();
        assert!(follow(&mut follower, &mut records));
        std::fs::remove_file(&path).unwrap();
        assert!(follow(&mut follower, &mut records) && records.is_empty());
    }

    #[test]
    fn line_that_is_no_record_is_named_by_its_number_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let (mut follower, mut records) = (Follower::new(&path), Vec::new());
        std::fs::write(&path, "1\n2\n").unwrap();
        follow(&mut follower, &mut records);
        std::fs::write(&path, "1\n2\n3\nno\n").unwrap();
        let error = follower.read(&mut records, |_: &mut u64| ()).unwrap_err();
        assert!(error.to_string().contains("a.jsonl:4: "), "{error}");
    }
}
