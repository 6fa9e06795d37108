//! The file of an evaluation's answers, written as they come and whole at the end.
//! Not here: the answers (`answer`), asking (`ask`).
//!
//! During an evaluation its answers are in `FILE.partial`, whose first line says which evaluation it is. An
//! interrupted evaluation is continued from there by the same command. At the end the answers are put in the data's
//! order, the file appears under its own name by a rename, and the partial one is removed. A device or a pipe gets the
//! answers at the end; until then none are kept.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::answer::Answer;
use crate::input_file;
use crate::out_file::{self, Destination, with_ending};

/// The key of an identity under which the version of the program's numbers is.
const VERSION: &str = "version";

/// What is wrong with a file of answers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswersFileError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}\nhint: check free space and permissions", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The partial file belongs to another evaluation.
    #[error(
        "{}: holds the answers of an unfinished evaluation with {key} = {found}, expected {expected}\n\
         hint: finish that one with its own flags, name another file, or delete this one",
        path.display()
    )]
    OtherEvaluation {
        /// The file.
        path: PathBuf,
        /// The first thing in which the two differ.
        key: String,
        /// What the file says of it.
        found: String,
        /// What this evaluation says.
        expected: String,
    },
    /// The partial file was begun by a version that would have answered otherwise, or that did not write down all that
    /// decides answers.
    #[error(
        "{}: holds the answers of an unfinished evaluation by another version of this program, expected this one's\n\
         hint: name another file, or delete this one: its questions are asked again",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
    },
    /// A line is not an answer.
    #[error("{}: line {row}: {found}, expected an answer of `othink eval`\nhint: name a file that `othink eval --out` has written", path.display())]
    NotAnAnswer {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        row: usize,
        /// What the parser found.
        found: String,
    },
}

/// A file of answers that is being written.
#[derive(Debug)]
pub struct AnswersFile {
    path: PathBuf,
    /// None where the path leads to a device or a pipe.
    partial: Option<PartialFile>,
}

/// Where answers are kept until the evaluation ends.
#[derive(Debug)]
struct PartialFile {
    path: PathBuf,
    /// Its first line.
    identity: String,
    /// Bytes up to the end of its last whole line.
    good_bytes: u64,
    /// The file, once there is something to write.
    file: Option<File>,
}

impl AnswersFile {
    /// Begins a new file, or continues the partial one of an interrupted evaluation, whose answers are returned. Nothing
    /// is written before the first answer.
    ///
    /// - `identity`: everything that decides the answers, as a JSON object; an interrupted evaluation and the one that
    ///   continues it have the same
    ///
    /// # Errors
    /// The partial file is of another evaluation, damaged, or cannot be read.
    pub fn open(
        path: &Path,
        identity: &Map<String, Value>,
    ) -> Result<(Self, Vec<Answer>), AnswersFileError> {
        let destination = Destination::of(path).map_err(failed("read", path))?;
        let path = path.to_owned();
        let Destination::File(own) = destination else {
            return Ok((Self { path, partial: None }, Vec::new()));
        };
        let partial = partial_of(&own);
        let (answers, good_bytes) = match File::open(&partial) {
            Ok(file) => read_partial(&partial, file, identity)?,
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), 0),
            Err(error) => return Err(failed("read", &partial)(error)),
        };
        let identity = Value::Object(identity.clone()).to_string();
        let partial = PartialFile { path: partial, identity, good_bytes, file: None };
        Ok((Self { path, partial: Some(partial) }, answers))
    }

    /// Appends an answer; in a regular file it is kept whatever happens afterwards.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, answer: &Answer) -> Result<(), AnswersFileError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let written = lines(std::slice::from_ref(answer)).and_then(|line| partial.append(&line));
        written.map_err(failed("write", &partial.path))
    }

    /// Writes all answers under the file's own name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self, answers: &[Answer]) -> Result<(), AnswersFileError> {
        let Self { path, partial } = self;
        let written = lines(answers).and_then(|lines| out_file::write(&path, &lines));
        written.map_err(failed("write", &path))?;
        match partial {
            Some(PartialFile { path, file, good_bytes, .. })
                if file.is_some() || good_bytes > 0 =>
            {
                drop(file);
                fs::remove_file(&path).map_err(failed("remove", &path))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Where the answers to a file are kept until the evaluation ends.
pub fn partial_of(file: &Path) -> PathBuf {
    with_ending(file, ".partial")
}

impl PartialFile {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            unopened => unopened.insert(begin(&self.path, self.good_bytes, &self.identity)?),
        };
        file.write_all(line)
    }
}

/// Opens the partial file, cut to its whole lines, or with its first line if it is new.
fn begin(partial: &Path, good_bytes: u64, identity: &str) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).open(partial)?;
    file.set_len(good_bytes)?;
    if good_bytes == 0 {
        writeln!(file, "{identity}")?;
    }
    Ok(file)
}

/// The answers in a finished file.
///
/// # Errors
/// The file cannot be read, or a line is not an answer.
pub fn read_answers(path: &Path) -> Result<Vec<Answer>, AnswersFileError> {
    let file = input_file::open(path).map_err(failed("read", path))?;
    let mut answers = Vec::new();
    for (idx, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(failed("read", path))?;
        if !line.trim().is_empty() {
            answers.push(parse(path, idx + 1, &line)?);
        }
    }
    Ok(answers)
}

fn parse(path: &Path, row: usize, line: &str) -> Result<Answer, AnswersFileError> {
    serde_json::from_str(line).map_err(|error| AnswersFileError::NotAnAnswer {
        path: path.to_owned(),
        row,
        found: error.to_string(),
    })
}

/// The answers of a partial file, and the bytes up to the end of its last whole line.
fn read_partial(
    path: &Path,
    file: File,
    identity: &Map<String, Value>,
) -> Result<(Vec<Answer>, u64), AnswersFileError> {
    let (mut answers, mut good_bytes) = (Vec::new(), 0);
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    for row in 1.. {
        line.clear();
        let n_bytes = lines.read_line(&mut line).map_err(failed("read", path))?;
        if !line.ends_with('\n') {
            break;
        }
        if row == 1 {
            require_same(path, &line, identity)?;
        } else {
            answers.push(parse(path, row, &line)?);
        }
        good_bytes += n_bytes as u64;
    }
    Ok((answers, good_bytes))
}

fn require_same(
    path: &Path,
    line: &str,
    identity: &Map<String, Value>,
) -> Result<(), AnswersFileError> {
    let found: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    if found == *identity {
        return Ok(());
    }
    let spell = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    if found.get(VERSION) != identity.get(VERSION) {
        return Err(AnswersFileError::OtherVersion { path: path.to_owned() });
    }
    let mut keys = [identity, &found].into_iter().flat_map(Map::keys);
    let key = keys.find(|key| found.get(*key) != identity.get(*key));
    let key = key.map_or("its first line", String::as_str);
    Err(AnswersFileError::OtherEvaluation {
        path: path.to_owned(),
        key: key.to_owned(),
        found: spell(found.get(key)),
        expected: spell(identity.get(key)),
    })
}

fn lines(answers: &[Answer]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for answer in answers {
        serde_json::to_writer(&mut lines, answer)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AnswersFileError {
    move |source| AnswersFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(samples: u32) -> Map<String, Value> {
        [("task".to_owned(), "vc".into()), ("samples".to_owned(), samples.into())]
            .into_iter()
            .collect()
    }

    fn answer(row: usize) -> Answer {
        Answer {
            id: format!("rows.jsonl:{row}"),
            row,
            sample_idx: 0,
            problem: "?".to_owned(),
            solution: "7".to_owned(),
            completion: "<answer> 7 </answer>".to_owned(),
            answer: Some("7".to_owned()),
            accuracy: 1.0,
            answer_tag: 1.0,
            format: 0.0,
            components: [("box_iou".to_owned(), 0.5)].into(),
            reason: "same number".to_owned(),
            is_graded: true,
            n_tokens: 3,
            is_truncated: false,
        }
    }

    #[test]
    fn interrupted_file_is_continued_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let identity = identity(1);
        let (mut file, given) = AnswersFile::open(&path, &identity).unwrap();
        assert!(given.is_empty());
        file.append(&answer(4)).unwrap();
        file.append(&answer(0)).unwrap();
        file.partial.as_mut().unwrap().append(b"{\"id\": \"half a li").unwrap();
        drop(file);
        assert!(!path.exists(), "nothing stands under its own name before the end");

        let (mut file, given) = AnswersFile::open(&path, &identity).unwrap();
        assert_eq!(given, [answer(4), answer(0)]);
        file.append(&answer(2)).unwrap();
        file.finish(&[answer(0), answer(2), answer(4)]).unwrap();
        assert_eq!(read_answers(&path).unwrap(), [answer(0), answer(2), answer(4)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the partial file is gone");
    }

    #[test]
    fn partial_file_of_another_evaluation_is_kept_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let (mut file, _) = AnswersFile::open(&path, &identity(1)).unwrap();
        file.append(&answer(0)).unwrap();
        drop(file);
        let other = AnswersFile::open(&path, &identity(8)).unwrap_err();
        let message = other.to_string();
        assert!(message.contains("samples = 1, expected 8\nhint: "), "{message}");
        let (_, given) = AnswersFile::open(&path, &identity(1)).unwrap();
        assert_eq!(given.len(), 1);
    }

    #[test]
    fn partial_file_of_an_older_version_is_told_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        let partial = with_ending(&path, ".partial");
        let mut now = identity(1);
        now.insert(VERSION.to_owned(), 1.into());
        let older = Value::Object(identity(1)).to_string();
        for begun in [older.as_str(), "[]", "half a li", "{}"] {
            let text = format!("{begun}\n");
            fs::write(&partial, &text).unwrap();
            let message = AnswersFile::open(&path, &now).unwrap_err().to_string();
            assert!(message.contains("by another version of this program"), "{message}");
            assert_eq!(fs::read_to_string(&partial).unwrap(), text);
        }
    }

    #[test]
    fn line_that_is_no_answer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        fs::write(&path, "\n{\"completion\": \"7\"}\n").unwrap();
        let message = read_answers(&path).unwrap_err().to_string();
        assert!(message.contains("answers.jsonl: line 2: missing field"), "{message}");
    }
}
