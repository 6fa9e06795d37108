//! What a path is: a file of rows by its extension or first bytes, or a folder that holds one.
//!
//! In a folder, the first of these is read, for the split that is asked for:
//! 1. parquet shards of the split (`shards`);
//! 2. `SPLIT.jsonl`;
//! 3. `metadata.jsonl` or `metadata.csv`, in the folder or in its folder `SPLIT`: pictures named by `file_name`;
//! 4. the folder's only .jsonl file.
//!
//! Not here: reading each form (`json_lines`, `csv_table`, `parquet`); fetching (`hub`); which data a task
//! has (`tasks`).

use super::csv_table::CsvTable;
use super::field_names::FieldNames;
use super::image_root::ImageRoot;
use super::json_lines::JsonLines;
use super::listed::{FoundRow, ListedRows};
use super::parquet::{KeptGroups, Shard};
use super::row::{Row, file_name};
use super::shards::{Shards, files_below, is_other_split};
use super::{DataError, Dataset};
use crate::config::{DataFields, OnBadRow};
use crate::hub::{Hub, Repository};
use crate::input_file;
use crate::processor::Markers;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the error says of a folder without any file of rows.
pub(super) const NO_ROWS: &str = "no file of rows";

/// How rows are read, whatever their source.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The folder or zip archive that relative picture paths start at; the data file's own folder without it.
    pub image_root: Option<PathBuf>,
    /// What happens at a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// What markers in the rows' texts will be; decides what is refused and what the warnings say.
    pub markers: Markers,
    /// The fields' names, where they are none of the known ones.
    pub names: DataFields,
    /// Keeps the other fields of a row with its sample.
    pub keeps_columns: bool,
}

/// Opens a file of rows (JSON lines, CSV, parquet) or a folder that holds a split.
///
/// Text is checked here; pictures are looked for when a row is fetched, or by [`Dataset::check_images`].
///
/// # Errors
/// The path is no such source; a file cannot be read or lacks a column; a row cannot be used, unless such rows are
/// skipped; or no row is left.
pub fn open(path: &Path, split: Option<&str>, options: &OpenOptions) -> Result<Dataset, DataError> {
    let files = if path.is_dir() { in_folder(path, split)? } else { vec![path.to_owned()] };
    let name = match (files.as_slice(), split) {
        ([file], _) => file_name(file),
        (_, Some(split)) => format!("{}/{split}", file_name(path)),
        (_, None) => file_name(path),
    };
    open_files(&files, (name, path), options)
}

/// As [`open`], but a name that is no path and has the form of a hub id opens a data set of the hub.
///
/// # Errors
/// Those of [`open`]; or the data set cannot be fetched.
pub fn open_anywhere(
    place: &Path,
    split: Option<&str>,
    options: &OpenOptions,
    hub: impl FnOnce() -> Hub,
) -> Result<Dataset, DataError> {
    match place.to_str().filter(|id| Repository::is_id(id) && !place.exists()) {
        None => open(place, split, options),
        Some(id) => {
            let split = split.unwrap_or("train");
            let shards = hub().parquet(&Repository::dataset(id), split)?;
            open_files(&shards, (format!("{id}/{split}"), place), options)
        }
    }
}

/// Opens questions that are compiled into the program; their pictures are under `root`.
///
/// # Errors
/// The root is neither a folder nor an archive.
pub(super) fn open_text(name: &str, text: &'static str, root: &Path) -> Result<Dataset, DataError> {
    let rows = JsonLines::of_text(Path::new(name), text).map(without_shard);
    let root = ImageRoot::open(root)?;
    let place = (name.to_owned(), Path::new(name));
    ListedRows::collect(place, root, &OpenOptions::default(), rows).map(Dataset::Listed)
}

fn open_files(
    files: &[PathBuf],
    (name, path): (String, &Path),
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    let own_folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
    let root = ImageRoot::open(options.image_root.as_deref().unwrap_or(own_folder))?;
    let rows = rows_of(files, options)?;
    ListedRows::collect((name, path), root, options, rows).map(Dataset::Listed)
}

type Rows = Box<dyn Iterator<Item = Result<FoundRow, DataError>>>;

/// The rows of files of the same form, in order.
fn rows_of(files: &[PathBuf], options: &OpenOptions) -> Result<Rows, DataError> {
    match files {
        [file] if has_extension(file, "csv") => {
            Ok(Box::new(CsvTable::open(file)?.map(without_shard)))
        }
        [file] if !is_parquet(file)? => Ok(Box::new(JsonLines::open(file)?.map(without_shard))),
        files => {
            let (kept, names) = (Arc::new(KeptGroups::default()), FieldNames::new(&options.names));
            let mut rows: Vec<Result<FoundRow, DataError>> = Vec::new();
            for file in files {
                let columns = (&names, options.keeps_columns);
                let shard = Shard::open(file, kept.clone(), columns)?;
                let found = |row| FoundRow { row, shard: Some(shard.clone()) };
                rows.extend(shard.rows()?.into_iter().map(|row| row.map(found)));
            }
            Ok(Box::new(rows.into_iter()))
        }
    }
}

fn without_shard(row: Result<Row, DataError>) -> Result<FoundRow, DataError> {
    row.map(|row| FoundRow { row, shard: None })
}

/// By the extension; where that says nothing, by the first bytes, since the hub's cache names files by hash.
fn is_parquet(file: &Path) -> Result<bool, DataError> {
    if has_extension(file, "parquet") {
        return Ok(true);
    }
    let unreadable = |source| DataError::Unreadable { path: file.to_owned(), source };
    let mut start = Vec::new();
    let opened = input_file::open(file).map_err(unreadable)?;
    opened.take(4).read_to_end(&mut start).map_err(unreadable)?;
    if start.starts_with(b"PK\x03\x04") {
        return Err(DataError::UnknownSource {
            path: file.to_owned(),
            found: "a zip archive".to_owned(),
            expected: "a file of rows; an archive of pictures is named as the image root"
                .to_owned(),
        });
    }
    Ok(start == b"PAR1")
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The files of a folder that hold the rows of a split.
fn in_folder(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let shards = Shards::find(folder)?;
    if let Some(files) = shards.of(split)? {
        return Ok(files);
    }
    let own = split.map(|split| folder.join(format!("{split}.jsonl")));
    let listings = split.map(|split| folder.join(split)).into_iter().chain([folder.to_owned()]);
    let metadata = listings
        .flat_map(|folder| ["metadata.jsonl", "metadata.csv"].map(|name| folder.join(name)));
    if let Some(file) = own.into_iter().chain(metadata).find(|file| file.is_file()) {
        return Ok(vec![file]);
    }
    let json_lines = files_below(folder, "jsonl", 0)?;
    if let [only] = json_lines.as_slice()
        && !is_other_split(file_name(only).trim_end_matches(".jsonl"), split)
    {
        return Ok(json_lines);
    }
    let mut found: Vec<String> = json_lines.iter().map(|file| file_name(file)).collect();
    found.extend(shards.names().iter().map(|split| format!("parquet files of `{split}`")));
    if found.is_empty() {
        found.push(NO_ROWS.to_owned());
    }
    let expected = split.map_or_else(
        || "a single .jsonl file, metadata.jsonl, or parquet files of one split".to_owned(),
        |split| format!("parquet files of `{split}`, {split}.jsonl, or metadata.jsonl"),
    );
    Err(DataError::UnknownSource { path: folder.to_owned(), found: found.join(", "), expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const ROW: &str = "{\"problem\":\"?\",\"solution\":1}";

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    fn skipping() -> OpenOptions {
        OpenOptions { on_bad_row: OnBadRow::Skip, ..OpenOptions::default() }
    }

    #[test]
    fn the_first_file_that_holds_the_split_is_read() {
        let metadata = "file_name,problem,solution\na.png,?,7\n";
        let folder =
            folder(&[("test.jsonl", ROW), ("train/metadata.csv", metadata), ("train/a.png", "")]);
        let open = |split| open(folder.path(), split, &OpenOptions::default());
        assert_eq!(open(Some("test")).unwrap().name(), "test.jsonl");
        let train = open(Some("train")).unwrap();
        assert_eq!(train.name(), "metadata.csv");
        assert_eq!(
            train.get(0).unwrap().images[0].to_string(),
            folder.path().join("train/a.png").display().to_string()
        );
        assert_eq!(train.get(0).unwrap().id, "metadata.csv:1");
        let message = open(Some("shifted")).unwrap_err().to_string();
        assert!(
            message.contains("found test.jsonl, expected parquet files of `shifted`"),
            "{message}"
        );
    }

    #[test]
    fn a_file_is_told_by_its_first_bytes_where_its_name_says_nothing() {
        let folder = folder(&[("blob", ROW), ("zip", "PK\u{3}\u{4}"), ("cut", "PAR1")]);
        let open = |file| open(&folder.path().join(file), None, &OpenOptions::default());
        assert_eq!(open("blob").unwrap().len(), 1);
        assert!(open("zip").unwrap_err().to_string().contains("named as the image root"));
        assert!(open("cut").unwrap_err().to_string().contains("expected a whole parquet file"));
        assert!(matches!(open("nowhere"), Err(DataError::Unreadable { .. })));
    }

    #[test]
    fn a_picture_folder_whose_list_calls_them_otherwise_is_refused() {
        let metadata = "file,problem,solution,score\na.png,?,7,0.5\n";
        let folder = folder(&[("train/metadata.csv", metadata), ("train/a.png", "")]);
        let open = || open(folder.path(), Some("train"), &OpenOptions::default());
        let message = open().unwrap_err().to_string();
        let found = "metadata.csv: row 1: field `file`: found the picture file a.png";
        assert!(message.contains(found), "{message}");
        let renamed = metadata.replace("file,", "file_name,");
        std::fs::write(folder.path().join("train/metadata.csv"), renamed).unwrap();
        let dataset = open().unwrap();
        assert!(dataset.remarks()[0].starts_with("fields `score` in the row metadata.csv:1"));
    }

    #[test]
    fn bad_rows_are_skipped_counted_and_listed() {
        let bad = "{\"problem\":\"?\",\"solution\":\"\"}\n{\n{\"problem\":\"?\",\"solution\":1,\"image\":\"../a.png\"}";
        let folder = folder(&[("a.jsonl", &format!("{bad}\n{ROW}\n")), ("b.jsonl", bad)]);
        let path = folder.path().join("a.jsonl");
        let message = open(&path, None, &OpenOptions::default()).unwrap_err().to_string();
        assert!(
            message.contains("a.jsonl: line 1: field `solution`: found empty text"),
            "{message}"
        );
        let dataset = open(&path, None, &skipping()).unwrap();
        assert_eq!((dataset.len(), dataset.get(0).unwrap().id.as_str()), (1, "a.jsonl:4"));
        let lines: Vec<usize> =
            dataset.left_out().iter().map(|error| error.bad_row().unwrap().row).collect();
        assert_eq!(lines, [1, 2, 3]);
        assert!(dataset.left_out()[2].to_string().contains("`..` in the path ../a.png"));
        // If no row is left, the error says why the first was skipped.
        let error = open(&folder.path().join("b.jsonl"), None, &skipping()).unwrap_err();
        assert!(error.to_string().contains("b.jsonl: line 1: field `solution`"), "{error}");
    }
}
