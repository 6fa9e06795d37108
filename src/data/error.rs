//! What can be wrong with data: each error names the file, the row and the field.
//!
//! Not here: what is wrong with a picture's bytes (`processor`).

use super::row::Place;
use crate::hub::HubError;
use crate::printable::count;
use crate::processor::ProcessorError;
use std::borrow::Cow;
use std::path::PathBuf;

/// Why a sample, a data set or a task is not there.
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
    /// A row is not UTF-8 text.
    #[error(
        "{place}: found bytes that are not UTF-8, expected a JSON object\nhint: data files hold one JSON object a line, as text"
    )]
    NotText {
        /// The row.
        place: Place,
    },
    /// A row does not have the file's form.
    #[error("{place}: broken {format}: {found}\nhint: each line holds one whole row")]
    BrokenRow {
        /// The row.
        place: Place,
        /// The file's form.
        format: &'static str,
        /// What the parser found.
        found: String,
    },
    /// A line that is longer than any row; what follows in the file is not read.
    #[error(
        "{place}: found more than {most} bytes, expected a row\nhint: each line holds one JSON object; pictures stand in files of their own"
    )]
    LongLine {
        /// The line.
        place: Place,
        /// The most that a line may have.
        most: u64,
    },
    /// A text of a row that is longer than any model reads.
    #[error(
        "{place}: field `{field}`: found a text of {bytes} bytes, expected at most {most}\nhint: a model reads some ten thousand words; split the row, or leave it out"
    )]
    LongText {
        /// The row.
        place: Place,
        /// The field.
        field: String,
        /// The text's length.
        bytes: usize,
        /// The most that is taken.
        most: usize,
    },
    /// A field is missing, or holds what it may not.
    #[error("{place}: field `{field}`: found {found}, expected {expected}\nhint: {hint}")]
    BadField {
        /// The row.
        place: Place,
        /// The field; where several names will do, all of them.
        field: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: Cow<'static, str>,
        /// What to do.
        hint: Cow<'static, str>,
    },
    /// A row names a picture that does not exist.
    #[error("{place}: field `{field}`: found no file {looked_for}, expected a picture below {}\nhint: relative paths start there; name another folder, or a zip archive, as the image root if they should not", root.display())]
    MissingImage {
        /// The row.
        place: Place,
        /// The field that names the picture.
        field: String,
        /// The folder or archive that relative paths start at.
        root: PathBuf,
        /// The paths under it that were looked for, in this order.
        looked_for: String,
    },
    /// A table lacks a column that every row needs.
    #[error("{}: found the columns [{found}], expected `{expected}`\nhint: rename the column that holds it", path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The columns there are.
        found: String,
        /// The names that will do.
        expected: String,
    },
    /// A column has a type that no row can use.
    #[error("{}: column `{column}`: found {found}, expected {expected}\nhint: write the column again with that type, or under another name if it means something else", path.display())]
    BadColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What it should be.
        expected: Cow<'static, str>,
    },
    /// A file that should be in the parquet format is not, or is damaged.
    #[error("{}: found {found}, expected a whole parquet file\nhint: the file may have been cut short; get it again", path.display())]
    BadParquet {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        found: String,
    },
    /// One of the files that a split was cut into is not there.
    #[error("{}: found no {shard}, expected all {n_shards} shards\nhint: the download may be incomplete; get the missing file", path.display())]
    MissingShard {
        /// The folder.
        path: PathBuf,
        /// The missing file.
        shard: String,
        /// How many there should be.
        n_shards: usize,
    },
    /// A path is none of the sources that can be read, or does not say which.
    #[error("{}: found {found}, expected {expected}\nhint: name the file itself", path.display())]
    UnknownSource {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// An archive cannot be used at all.
    #[error("{}: found {found}, expected a zip archive of pictures\nhint: get the archive again, or unpack it and name the folder", path.display())]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// An entry of an archive cannot be used, or should not be.
    #[error("{}: entry `{entry}`: found {found}, expected a picture file\nhint: {hint}", path.display())]
    BadArchiveEntry {
        /// The archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A row has boxes to be written in the model's unit, and pictures of several sizes.
    #[error(
        "found {pictures} pictures of different sizes, expected one size: which of them a box is in cannot be known\nhint: leave data.boxes out, and write boxes in the model's own unit"
    )]
    BoxesOfSeveral {
        /// The row's pictures.
        pictures: usize,
    },
    /// A file has too few rows for some of them to be held out.
    #[error(
        "{name}: found {}, expected at least 2 rows, as some are held out to measure the run on\nhint: name other questions as eval.data, or set data.hold_out = 0.0",
        count(*n_rows, "row")
    )]
    TooFewRows {
        /// The data set.
        name: String,
        /// How many it has.
        n_rows: usize,
    },
    /// A file has no row.
    #[error("{}: found no row, expected at least one\nhint: check that this is the right data file", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// The hub does not give what was asked for.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A task's own data cannot be obtained.
    #[error(
        "task `{task}`: {source}\nhint: pass your copy with --data, or use `{drawn}`, which needs no data"
    )]
    NotFetched {
        /// The task.
        task: &'static str,
        /// Its drawn twin.
        drawn: &'static str,
        /// Why.
        source: Box<DataError>,
    },
    /// A repository holds no archive of pictures.
    #[error(
        "{repository}: found no .zip file, expected an archive of pictures\nhint: pass an archive or a folder of them with --data"
    )]
    NoPictures {
        /// The repository.
        repository: String,
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
        "unknown split `{found}`, expected train, test or shifted\nhint: `test` holds rows like the training rows, `shifted` rows that look different"
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

impl DataError {
    /// Whether something is merely missing from the hub's cache while fetching was not allowed.
    pub fn is_not_cached(&self) -> bool {
        match self {
            Self::Hub(source) => matches!(source, HubError::Offline { .. }),
            Self::NotFetched { source, .. } => source.is_not_cached(),
            _ => false,
        }
    }

    /// The row at fault, if it is a single one: without it, the rest of its file can be used.
    pub fn bad_row(&self) -> Option<&Place> {
        match self {
            Self::NotText { place }
            | Self::BrokenRow { place, .. }
            | Self::BadField { place, .. }
            | Self::LongText { place, .. }
            | Self::MissingImage { place, .. } => Some(place),
            _ => None,
        }
    }
}
