//! What can be wrong with data: each error names the file, the row and the field.
//!
//! Not here: what is wrong with a picture's bytes (`processor`).

use crate::processor::ProcessorError;
use std::path::PathBuf;

/// Why a sample, a data set or a task is not there. Rows are lines of the file, counted from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be opened or read.
    #[error("{}: cannot be read: {source}\nhint: check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is not UTF-8 text.
    #[error("{}: line {row}: found bytes that are not UTF-8, expected a JSON object\nhint: data files hold one JSON object a line, as text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line.
        row: usize,
    },
    /// A line is not JSON.
    #[error("{}: line {row}: broken JSON: {found}\nhint: each line holds one whole JSON object", path.display())]
    BrokenJson {
        /// The file.
        path: PathBuf,
        /// The line.
        row: usize,
        /// What the parser found.
        found: String,
    },
    /// A field is missing, or holds what it may not.
    #[error("{}: line {row}: field `{field}`: found {found}, expected {expected}\nhint: {hint}", path.display())]
    BadField {
        /// The file.
        path: PathBuf,
        /// The line.
        row: usize,
        /// The field; where several names will do, all of them.
        field: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A row names a picture file that does not exist.
    #[error("{}: line {row}: field `{field}`: found no file at {}, expected a picture\nhint: relative paths start at {}; name another folder as the image root if they should not", path.display(), image.display(), root.display())]
    MissingImage {
        /// The data file.
        path: PathBuf,
        /// The line.
        row: usize,
        /// The field that names the picture.
        field: &'static str,
        /// The picture's path as it was looked for.
        image: PathBuf,
        /// The folder that relative paths start at.
        root: PathBuf,
    },
    /// A file has no row.
    #[error("{}: found no row, expected at least one JSON object on a line\nhint: check that this is the data file you mean", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A folder does not say which of its files to read.
    #[error("{}: found {found}, expected a file `{split}.jsonl` or a single .jsonl file\nhint: name the file itself", path.display())]
    NoDataFile {
        /// The folder.
        path: PathBuf,
        /// The split that was asked for.
        split: &'static str,
        /// What the folder holds instead.
        found: String,
    },
    /// A task has data of its own nowhere, and none was given.
    #[error(
        "task `{task}`: found no data file, expected one, since it is not drawn\nhint: pass a JSON-lines file or its folder with --data, or use `{drawn}`, which needs none"
    )]
    NeedsData {
        /// The task.
        task: &'static str,
        /// Its drawn twin.
        drawn: &'static str,
    },
    /// A task has no such split.
    #[error(
        "task `{task}`: found no `{split}` split, expected train or test\nhint: only the drawn tasks have a shifted split"
    )]
    NoSuchSplit {
        /// The task.
        task: &'static str,
        /// The split.
        split: &'static str,
    },
    /// No task has this name.
    #[error("unknown task `{found}`, expected one of {known}\nhint: {hint}")]
    UnknownTask {
        /// The name.
        found: String,
        /// All names there are.
        known: String,
        /// The nearest known name, or what else to do.
        hint: String,
    },
    /// No split has this name.
    #[error(
        "unknown split `{found}`, expected train, test or shifted\nhint: `test` holds rows like those for training, `shifted` different ones"
    )]
    UnknownSplit {
        /// The name.
        found: String,
    },
    /// A template is neither a known name nor a text with a place for the question.
    #[error(
        "template `{found}`: found no known name and no `{{problem}}` in it, expected one of {known} or a text with `{{problem}}` where the question goes\nhint: for example \"{{problem}} Answer in <answer> </answer> tags.\""
    )]
    BadTemplate {
        /// The template.
        found: String,
        /// All names there are.
        known: String,
    },
    /// Drawn pictures cannot have this size.
    #[error(
        "image size {found}: found {found} pixels a side, expected {least} to {most}\nhint: 112 is the default"
    )]
    BadImageSize {
        /// The size.
        found: u32,
        /// The smallest that is drawn.
        least: u32,
        /// The largest that is drawn.
        most: u32,
    },
    /// A row was asked for that is not there.
    #[error(
        "{name}: found no row {idx}, expected an index below {n_rows}\nhint: rows are counted from 0"
    )]
    OutOfRange {
        /// The data set.
        name: String,
        /// The index.
        idx: usize,
        /// The number of rows.
        n_rows: usize,
    },
    /// A sample cannot be made into a prompt.
    #[error("sample {sample}: {source}")]
    Unusable {
        /// The sample's identifier: its data and its row.
        sample: String,
        /// What is wrong with its pictures or its text.
        source: Box<DataError>,
    },
    /// A picture or a text that the processor cannot use.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
}
