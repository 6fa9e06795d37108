//! A file of records, one JSON object a line: appended to, cut back on resuming, read.
//! Not here: what the records are (`metrics`, `records`); reading on where a file has grown (`follow`).
//!
//! Lines are in the order of their `update`. That makes the state after any update a prefix of
//! the file, so that cutting it is one truncation, which no interruption can leave half done. A file in which a line is out of
//! place is left as it is, unless a repair is asked for: then what was there is kept beside it.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::continuity::{Continuity, Expected};
use super::durable::{failed, replace};
use super::error::RunFolderError;
use super::manifest::{Growing, Manifest};
use crate::out_file::with_ending;

/// The ending of the copy of a file that was repaired.
const BEFORE_REPAIR: &str = ".before-repair";

/// A file of records, open for appending.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    written: Growing,
}

/// What every record has.
#[derive(Deserialize)]
struct Stamp {
    update: u64,
}

impl JsonLines {
    /// Opens the file as it was after an update; all that comes later is cut off.
    ///
    /// - `last_update`: the update of the checkpoint that the run continues from; `None` where it
    ///   starts over, which empties the file
    /// - `expected`: how many records of an update there are
    /// - `saved`: what the file was when the checkpoint was saved; `None` where that was not written down
    /// - `repairs`: what is out of place is left out, and a copy of the file kept, instead of an error
    /// - returns what was cut off or left out besides, in words, where that is anything
    ///
    /// # Errors
    /// The file cannot be read or written, or what is to stay is not the records of all updates up to the last.
    pub(super) fn resume(
        path: &Path,
        last_update: Option<u64>,
        expected: Expected,
        saved: Option<&Manifest>,
        repairs: bool,
    ) -> Result<(Self, Vec<String>), RunFolderError> {
        let Some(last_update) = last_update else {
            let is_empty = path.metadata().map_or(true, |found| found.len() == 0);
            let note = (!is_empty).then(|| {
                format!(
                    "{}: emptied, since the run has no checkpoint and starts over",
                    path.display()
                )
            });
            return Ok((Self::open_cut(path, 0)?, note.into_iter().collect()));
        };
        let mut found = Found::read(path, Continuity::new(last_update, expected))?;
        if let Some(saved) = saved.filter(|_| found.problems.is_empty())
            && !saved.begins(path)?
        {
            let line = found.kept.len().max(1) as u64;
            let changed =
                format!("up to here the file is not as it was after update {last_update}");
            found.problems.push(Problem { line, found: changed });
        }
        let mut notes = found.cut_note(path, last_update).into_iter().collect::<Vec<_>>();
        if let Some(Problem { line, found }) = found.problems.first().filter(|_| !repairs) {
            let (path, line, found) = (path.to_owned(), *line, found.clone());
            return Err(RunFolderError::Record { path, line, found });
        }
        let name = path.display();
        notes.extend(found.problems.iter().map(|of| format!("{name}:{}: {}", of.line, of.found)));
        if found.leaves_out {
            let copy = found.repair(path)?;
            notes.push(format!("{name}: repaired; as it was before: {}", copy.display()));
        }
        Ok((Self::open_cut(path, found.kept_bytes())?, notes))
    }

    fn open_cut(path: &Path, bytes: u64) -> Result<Self, RunFolderError> {
        let opened = File::options().create(true).append(true).open(path);
        let file = opened.map_err(failed("write", path))?;
        file.set_len(bytes).map_err(failed("cut", path))?;
        let written = File::open(path).and_then(Growing::of).map_err(failed("read", path))?;
        Ok(Self { path: path.to_owned(), file, written })
    }

    /// Writes one record in one piece, so that a concurrent reader sees whole lines.
    ///
    /// # Errors
    /// The file cannot be written, or the record is not expressible as JSON.
    pub fn append<T: Serialize>(&mut self, record: &T) -> Result<(), RunFolderError> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Writes several records in one piece.
    ///
    /// # Errors
    /// As [`JsonLines::append`].
    pub fn append_all<T: Serialize>(&mut self, records: &[T]) -> Result<(), RunFolderError> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|source| RunFolderError::Json { path: self.path.clone(), source })?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(failed("write", &self.path))?;
        self.written.add(&lines);
        Ok(())
    }

    /// Where the file is, and what was written into it, which is not read again.
    ///
    /// # Errors
    /// The file is gone, or is shorter than that.
    pub(super) fn written(&self) -> Result<(&Path, &Growing), RunFolderError> {
        let (path, expected) = (self.path.as_path(), self.written.bytes());
        let found = path.metadata().map_err(failed("read", path))?.len();
        if found < expected {
            let cut = format!("{found} bytes, expected the {expected} that were written");
            return Err(failed("read", path)(Error::new(ErrorKind::InvalidData, cut)));
        }
        Ok((path, &self.written))
    }

    /// Waits until all lines are on the disk; to be called before a checkpoint that relies on them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sync(&self) -> Result<(), RunFolderError> {
        self.file.sync_all().map_err(failed("write", &self.path))
    }
}

/// All finished records of a file; none where there is no such file.
///
/// # Errors
/// The file cannot be read, or a finished line is not such a record.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, RunFolderError> {
    let mut records = Vec::new();
    visit(path, |record| {
        records.push(record);
        true
    })?;
    Ok(records)
}

/// Something in a file that is not as it should be.
struct Problem {
    line: u64,
    found: String,
}

/// What a file holds beside a checkpoint.
#[derive(Default)]
struct Found {
    /// Where the lines that stay begin and end.
    kept: Vec<[u64; 2]>,
    /// Lines after the checkpoint, and the last of their updates.
    n_after: u64,
    last_after: u64,
    /// Whether the file ends within a line.
    has_unfinished_line: bool,
    /// Whether a finished line is no record or out of place; what is missing is no line.
    leaves_out: bool,
    problems: Vec<Problem>,
}

impl Found {
    fn read(path: &Path, mut continuity: Continuity) -> Result<Self, RunFolderError> {
        let mut found = Self::default();
        let mut n_lines = 0;
        let mut begin = 0;
        each_line(path, Place::default(), |Place { line, end }, text| {
            n_lines = line;
            let mut problem = |found_here: String| {
                found.problems.push(Problem { line, found: found_here });
            };
            match serde_json::from_slice::<Stamp>(text) {
                Err(error) => {
                    found.leaves_out = true;
                    problem(no_record(&error));
                }
                Ok(Stamp { update }) => {
                    if let Some(lacking) = continuity.lacking_before(update) {
                        problem(lacking);
                    }
                    match continuity.takes(update) {
                        Err(out_of_place) => {
                            found.leaves_out = true;
                            problem(out_of_place);
                        }
                        Ok(true) => {
                            found.kept.push([begin, end]);
                        }
                        Ok(false) => {
                            found.n_after += 1;
                            found.last_after = update;
                        }
                    }
                }
            }
            begin = end;
            Ok(true)
        })?;
        found.has_unfinished_line = path.metadata().is_ok_and(|file| file.len() > begin);
        if let Some(lacking) = continuity.lacking() {
            found.problems.push(Problem { line: n_lines + 1, found: lacking });
        }
        Ok(found)
    }

    /// Bytes of the lines that stay.
    fn kept_bytes(&self) -> u64 {
        self.kept.iter().map(|[begin, end]| end - begin).sum()
    }

    fn cut_note(&self, path: &Path, last_update: u64) -> Option<String> {
        let cut = match (self.n_after, self.has_unfinished_line) {
            (0, false) => return None,
            (0, true) => "an unfinished line is".to_owned(),
            (1, _) => {
                format!("1 line after update {last_update}, of update {}, is", self.last_after)
            }
            (n, _) => {
                let last = self.last_after;
                format!("{n} lines after update {last_update}, the last of update {last}, are")
            }
        };
        let name = path.display();
        Some(format!(
            "{name}: {cut} cut off: the run goes on from {last_update} and writes it again"
        ))
    }

    /// Replaces the file by the lines that stay; where its copy is.
    fn repair(&self, path: &Path) -> Result<PathBuf, RunFolderError> {
        let whole = std::fs::read(path).map_err(failed("read", path))?;
        let mut copy = with_ending(path, BEFORE_REPAIR);
        for n in 2.. {
            if !copy.exists() {
                break;
            }
            copy = with_ending(path, &format!("{BEFORE_REPAIR}-{n}"));
        }
        std::fs::copy(path, &copy).map_err(failed("write", &copy))?;
        let mut kept = Vec::new();
        for [begin, end] in &self.kept {
            kept.extend_from_slice(&whole[*begin as usize..*end as usize]);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        replace(folder, &path.file_name().unwrap_or_default().to_string_lossy(), &kept)?;
        Ok(copy)
    }
}

fn no_record(error: &serde_json::Error) -> String {
    format!("{error}, expected a record: one JSON object with a whole number `update`")
}

/// Calls `see` with each finished line's record, until it returns false.
///
/// # Errors
/// As [`read`], up to there.
pub fn visit<T: DeserializeOwned>(
    path: &Path,
    mut see: impl FnMut(T) -> bool,
) -> Result<(), RunFolderError> {
    each_line(path, Place::default(), |place, text| Ok(see(record(path, place, text)?)))
}

/// The record of a finished line.
pub(super) fn record<T: DeserializeOwned>(
    path: &Path,
    place: Place,
    text: &[u8],
) -> Result<T, RunFolderError> {
    serde_json::from_slice(text).map_err(|error| RunFolderError::Record {
        path: path.to_owned(),
        line: place.line,
        found: no_record(&error),
    })
}

/// A line of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Its number, from 1; 0 before the first.
    pub(super) line: u64,
    /// Bytes up to its end.
    pub(super) end: u64,
}

/// Calls `see` with each finished line after a place, and its text, until it returns false.
pub(super) fn each_line(
    path: &Path,
    after: Place,
    mut see: impl FnMut(Place, &[u8]) -> Result<bool, RunFolderError>,
) -> Result<(), RunFolderError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    file.seek(SeekFrom::Start(after.end)).map_err(failed("read", path))?;
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    let mut place = after;
    loop {
        text.clear();
        place.end += reader.read_until(b'\n', &mut text).map_err(failed("read", path))? as u64;
        place.line += 1;
        let Some((b'\n', text)) = text.split_last() else { return Ok(()) };
        if !see(place, text)? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One record of each update from 1 on.
    fn resumed(
        text: &str,
        last: Option<u64>,
        repairs: bool,
    ) -> (String, Result<Vec<String>, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        let expected = |update| usize::from(update > 0)..=usize::from(update > 0);
        let resumed = JsonLines::resume(&path, last, &expected, None, repairs);
        let told = |text: &str| text.replace(&folder.path().display().to_string(), "");
        let notes = match resumed {
            Ok((mut lines, notes)) => {
                lines.append(&serde_json::json!({"update": 99})).unwrap();
                Ok(notes.iter().map(|note| told(note)).collect())
            }
            Err(error) => Err(told(&error.to_string())),
        };
        (std::fs::read_to_string(&path).unwrap(), notes)
    }

    fn lines(updates: &[u64]) -> String {
        let lines: Vec<String> =
            updates.iter().map(|update| format!("{{\"update\":{update}}}\n")).collect();
        lines.concat()
    }

    #[test]
    fn what_stays_are_the_updates_up_to_the_checkpoint_and_what_is_cut_is_said() {
        let (text, notes) = resumed(&lines(&[1, 2]), Some(2), false);
        assert_eq!((text, notes), (lines(&[1, 2, 99]), Ok(vec![])));
        let (text, notes) = resumed(&(lines(&[1, 2, 3, 4]) + "{\"upd"), Some(2), false);
        assert_eq!(text, lines(&[1, 2, 99]));
        let note = &notes.unwrap()[0];
        assert!(
            note.starts_with(
                "/metrics.jsonl: 2 lines after update 2, the last of update 4, are cut"
            ),
            "{note}"
        );
        let (text, notes) = resumed(&(lines(&[1, 2]) + "{\"upd"), Some(2), false);
        assert_eq!(text, lines(&[1, 2, 99]));
        let note = &notes.unwrap()[0];
        assert!(note.starts_with("/metrics.jsonl: an unfinished line is cut off"), "{note}");
        let (text, notes) = resumed(&lines(&[1]), None, false);
        assert_eq!(text, lines(&[99]));
        assert!(notes.unwrap()[0].starts_with("/metrics.jsonl: emptied"));
        assert_eq!(resumed("", None, false).1, Ok(vec![]));
    }

    #[test]
    fn a_line_out_of_place_is_named_and_left_unless_repaired() {
        let damaged = lines(&[1, 2]) + "{\"update\": 3,,}\n" + &lines(&[4]);
        for (text, place, repaired) in [
            (
                lines(&[1, 2, 2, 3, 4]),
                ":3: one more record of update 2, expected 1",
                vec![1, 2, 3, 4, 99],
            ),
            (
                lines(&[1, 2, 3, 1, 4]),
                ":4: a record of update 1, expected one of update 3",
                vec![1, 2, 3, 4, 99],
            ),
            (
                lines(&[0, 1, 2, 3, 4]),
                ":1: one more record of update 0, expected 0",
                vec![1, 2, 3, 4, 99],
            ),
            (
                lines(&[1, 2, 3, 4, 7, 4]),
                ":6: a record of update 4, expected one of update 7",
                vec![1, 2, 3, 4, 99],
            ),
            (damaged, ":3: ", vec![1, 2, 4, 99]),
        ] {
            let (left, error) = resumed(&text, Some(4), false);
            assert_eq!(left, text, "an error changes nothing");
            let error = error.unwrap_err();
            assert!(error.starts_with(&format!("/metrics.jsonl{place}")), "{error}");
            assert!(error.contains("--repair"), "{error}");
            let (left, notes) = resumed(&text, Some(4), true);
            assert_eq!(left, lines(&repaired));
            let notes = notes.unwrap();
            assert!(notes.iter().any(|note| note.contains(place)), "{notes:?}");
            let is_copied = notes.last().unwrap().ends_with(": /metrics.jsonl.before-repair");
            assert!(is_copied, "{notes:?}");
        }
    }

    #[test]
    fn a_gap_is_named_and_where_a_repair_is_asked_for_the_run_goes_on_with_the_file_as_it_is() {
        for (updates, place) in [
            ([1, 3, 4], ":2: 0 records of update 2, expected 1"),
            ([1, 2, 3], ":4: 0 records of update 4, expected 1"),
        ] {
            let text = lines(&updates);
            let (left, error) = resumed(&text, Some(4), false);
            assert_eq!(left, text, "an error changes nothing");
            assert!(error.unwrap_err().starts_with(&format!("/metrics.jsonl{place}\n")));
            let (left, notes) = resumed(&text, Some(4), true);
            assert_eq!(left, text + &lines(&[99]));
            assert_eq!(notes, Ok(vec![format!("/metrics.jsonl{place}")]));
        }
    }

    #[test]
    fn a_record_that_is_another_than_at_the_checkpoint_is_told_unless_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluations.jsonl");
        let resume = |saved: &Manifest, repairs| {
            JsonLines::resume(&path, Some(2), &|_| 0..=1, Some(saved), repairs)
        };
        std::fs::write(&path, "{\"update\":1,\"n\":4}\n").unwrap();
        let growing = File::open(&path).and_then(Growing::of).unwrap();
        let saved = Manifest::of_growing([(path.as_path(), &growing)]);
        // What was written after the checkpoint was saved.
        std::fs::write(&path, "{\"update\":1,\"n\":4}\n{\"update\":2,\"n\":4}\n").unwrap();
        assert_eq!(resume(&saved, false).unwrap().1, [""; 0]);
        for changed in ["{\"update\":1,\"n\":5}\n", ""] {
            std::fs::write(&path, changed).unwrap();
            let error = resume(&saved, false).unwrap_err().to_string();
            assert!(error.contains("evaluations.jsonl:1: up to here the file is not"), "{error}");
            assert_eq!(resume(&saved, true).unwrap().1.len(), 1);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), changed);
        }
    }

    #[test]
    fn each_repair_keeps_a_copy_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let copy = |ending: &str| std::fs::read_to_string(with_ending(&path, ending));
        for updates in [[2, 1], [1, 1]] {
            std::fs::write(&path, lines(&updates)).unwrap();
            JsonLines::resume(&path, Some(1), &|update| 0..=usize::from(update > 0), None, true)
                .unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                lines(&[1]).repeat(usize::from(updates[0] == 1))
            );
        }
        assert_eq!(copy(".before-repair").unwrap(), lines(&[2, 1]));
        assert_eq!(copy(".before-repair-2").unwrap(), lines(&[1, 1]));
    }
}
