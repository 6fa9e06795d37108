//! Short fingerprints of texts, files, models and rows: the same contents have the same fingerprint.
//! Not here: what else decides an evaluation (`evaluation`) or a run (`run`).
//!
//! | what | counts by | is read |
//! |---|---|---|
//! | texts of rows | the texts | at every start, as they are in memory anyway |
//! | pictures in files | their contents | in full, again once any of the files has changed |
//! | pictures in parquet | their contents | in full, again once a parquet file has changed |
//! | pictures in an archive | size and CRC-32 in its directory | the directory, at every start |
//! | weights, recorded completions | their contents | in full, again once the file has changed |
//! | a model's other files | their contents | at every start |
//!
//! Whether a file has changed is what `kept` knows. Paths and times decide nothing else: the same contents have the same
//! fingerprint in another folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::OnBadRow;
use crate::data::{DataError, Dataset, Demonstration, ImageSource, ListedRows, Sample};
use crate::input_file;
use crate::model::error::ModelError;
use crate::model::files::ModelFiles;
use crate::model::weights::weight_files;
use crate::run_folder::RunFolderError;
use crate::run_folder::checkpoint::Damage;
use crate::run_folder::manifest::Manifest;

use super::IdentityError;
use super::kept::{FilesState, Kept};

/// Small files that decide what a model answers; of `generation_config.json` only the stop tokens do.
const SIDE_FILES: [&str; 7] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.json",
    "chat_template.jinja",
];
/// Bytes that one thread hashes at a time, and that are in memory at a time.
const PIECE_BYTES: usize = 1 << 20;
const BLOCK_BYTES: u64 = 32 << 20;
/// Rows whose pictures are hashed at a time, on all threads.
const BLOCK_ROWS: usize = 64;

/// The first 64 bits of a text's SHA-256, in hex: enough to name a folder, not to resist an attacker.
pub fn of_text(text: &str) -> String {
    short(Sha256::digest(text).as_slice())
}

/// The fingerprint of a file's contents.
///
/// # Errors
/// It cannot be read.
pub fn of_file(kept: &Kept, path: &Path) -> std::io::Result<String> {
    let state = FilesState::of("contents".to_owned(), vec![path.to_owned()]);
    kept.or_compute(&state, || Ok(short(&of_contents(File::open(path)?)?)))
}

/// The fingerprints of a model's files, by their names, independent of their folder.
///
/// # Errors
/// A file cannot be read, or the model is a checkpoint that is not [whole](require_whole).
pub fn of_model(kept: &Kept, files: &ModelFiles) -> Result<BTreeMap<String, Value>, IdentityError> {
    require_whole(kept, files)?;
    let mut found = BTreeMap::new();
    for name in SIDE_FILES.map(str::to_owned).into_iter().chain(weight_files(files)?) {
        let failed = |source| ModelError::Read { file: files.describe(&name), source };
        let Some(file) = files.open(&name).map_err(failed)? else { continue };
        let contents = match files.path(&name) {
            Some(path) if !SIDE_FILES.contains(&name.as_str()) => of_file(kept, &path),
            _ => of_contents(file.reader).map(|contents| short(&contents)),
        };
        let contents = contents.map_err(failed)?;
        found.insert(name, Value::String(contents));
    }
    found.insert("stop tokens".to_owned(), stop_tokens(files)?);
    Ok(found)
}

/// Compares a checkpoint's model with the checkpoint's own list of sizes and checksums; any other model is taken as it is.
///
/// # Errors
/// A file is not what the list says, or cannot be read.
pub fn require_whole(kept: &Kept, files: &ModelFiles) -> Result<(), IdentityError> {
    for folder in files.folders() {
        let Some(manifest) = Manifest::of_model(folder)? else { continue };
        let state = FilesState::of("as listed".to_owned(), manifest.paths(folder));
        let damaged = |found| RunFolderError::Damaged(Damage { path: folder.to_owned(), found });
        kept.or_compute(&state, || {
            manifest.check(folder).map_err(damaged).map(|()| of_text("as listed"))
        })?;
    }
    Ok(())
}

/// The stop tokens as `generation_config.json` has them; null where it has none.
fn stop_tokens(files: &ModelFiles) -> Result<Value, ModelError> {
    let name = "generation_config.json";
    let failed = |source| ModelError::Read { file: files.describe(name), source };
    let Some(bytes) = files.read(name).map_err(failed)? else { return Ok(Value::Null) };
    let config: Value = serde_json::from_slice(&bytes)
        .map_err(|error| failed(Error::new(ErrorKind::InvalidData, error)))?;
    Ok(config.get("eos_token_id").cloned().unwrap_or_default())
}

/// The fingerprints of rows, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsFingerprint {
    /// Their identifiers, questions and solutions, and the other fields where a reward command is given them.
    pub texts: String,
    /// Their pictures.
    pub pictures: String,
    /// What supervised training teaches of them.
    pub demonstrations: String,
}

/// The fingerprints of the first `n` rows. Drawn rows are a pure function of their description, which stands for them.
///
/// - `on_bad_row`: whether a row whose pictures cannot be read is an error or one that will be left out
///
/// # Errors
/// A picture cannot be read.
pub fn of_rows(
    kept: &Kept,
    dataset: &Dataset,
    n: usize,
    on_bad_row: OnBadRow,
) -> Result<RowsFingerprint, DataError> {
    let rows = match dataset {
        Dataset::Drawn(rows) => {
            let drawn = || rows.describe();
            return Ok(RowsFingerprint {
                texts: drawn(),
                pictures: drawn(),
                demonstrations: drawn(),
            });
        }
        Dataset::Listed(rows) => rows,
    };
    let (mut texts, mut demonstrations) = (Sha256::new(), Sha256::new());
    for row in rows.texts().take(n) {
        texts.update(of_fields(&[&row.id, &row.problem, &row.solution]));
        // There are none unless a reward reads them.
        if !row.columns.is_empty() {
            let columns = serde_json::to_string(row.columns.as_ref()).unwrap_or_default();
            texts.update(of_fields(&["columns", &columns]));
        }
        demonstrations.update(of_demonstration(row.demonstration.as_ref()));
    }
    let places = PicturePlaces::of(rows, n, on_bad_row);
    let state = FilesState::of(places.layout, places.files);
    let pictures = if let Some(found) = kept.find(&state) {
        found
    } else {
        let read = of_pictures(dataset, n, on_bad_row)?;
        // What a parquet file names outside of itself is known only when it is read.
        if !places.has_stored || read.are_all_stored {
            kept.keep(&state, &read.fingerprint);
        }
        read.fingerprint
    };
    let [texts, demonstrations] = [texts, demonstrations].map(|hash| short(&hash.finalize()));
    Ok(RowsFingerprint { texts, pictures, demonstrations })
}

/// Where the pictures of rows are, found without reading them.
struct PicturePlaces {
    /// Which row has which of the files, and all that an archive's directory says, as a hash.
    layout: String,
    files: Vec<PathBuf>,
    /// Whether some are in parquet files.
    has_stored: bool,
}

impl PicturePlaces {
    fn of(rows: &ListedRows, n: usize, on_bad_row: OnBadRow) -> Self {
        let mut layout = Sha256::new_with_prefix(format!("pictures, {on_bad_row:?}"));
        let (mut files, mut has_stored) = (Vec::new(), false);
        for (idx, row) in rows.texts().take(n).enumerate() {
            if let Some(shard) = rows.stored_in(idx) {
                has_stored = true;
                layout.update(of_fields(&["stored", &row.id]));
                if files.last().is_none_or(|last: &PathBuf| last != shard) {
                    files.push(shard.to_owned());
                }
                continue;
            }
            let Some(Ok(images)) = rows.images(idx) else {
                layout.update(of_fields(&["absent"]));
                continue;
            };
            layout.update(of_fields(&["named", &images.len().to_string()]));
            for image in images {
                match image {
                    ImageSource::File(path) => files.push(path),
                    ImageSource::Archived { archive, entry_idx } => {
                        let found = archive.checksum(entry_idx).ok();
                        layout.update(of_fields(&["archived", &format!("{found:?}")]));
                    }
                    ImageSource::Encoded { .. } | ImageSource::Drawn(_) => {}
                }
            }
        }
        Self { layout: short(&layout.finalize()), files, has_stored }
    }
}

type Sha = sha2::digest::Output<Sha256>;

/// What was found by reading every picture.
struct PicturesRead {
    fingerprint: String,
    /// Whether every row was read from the parquet file that it is in.
    are_all_stored: bool,
}

fn of_pictures(
    dataset: &Dataset,
    n: usize,
    on_bad_row: OnBadRow,
) -> Result<PicturesRead, DataError> {
    let (mut whole, mut are_all_stored) = (Sha256::new(), true);
    for start in (0..n).step_by(BLOCK_ROWS) {
        // Fetched in order, as pictures stored in large groups are read fastest; hashed on all threads.
        let fetched = start..n.min(start + BLOCK_ROWS);
        let fetched: Vec<_> = fetched.map(|idx| dataset.get(idx)).collect();
        are_all_stored &= fetched.iter().all(|row| {
            let is_stored = |image: &ImageSource| matches!(image, ImageSource::Encoded { .. });
            row.as_ref().is_ok_and(|row| row.images.iter().all(is_stored))
        });
        let of_row = |row: Result<Sample, DataError>| -> Result<Sha, DataError> {
            let mut pictures = Sha256::new();
            for picture in &row?.images {
                pictures.update(of_picture(picture)?);
            }
            Ok(pictures.finalize())
        };
        let rows: Vec<_> = fetched.into_par_iter().map(of_row).collect();
        for row in rows {
            whole.update(match (row, on_bad_row) {
                (Ok(row), _) => row,
                (Err(_), OnBadRow::Skip) => Sha256::digest("left out"),
                (Err(error), OnBadRow::Fail) => return Err(error),
            });
        }
    }
    Ok(PicturesRead { fingerprint: short(&whole.finalize()), are_all_stored })
}

fn of_demonstration(demonstration: Option<&Demonstration>) -> Sha {
    match demonstration {
        None => of_fields(&[]),
        Some(Demonstration::Completion(text)) => of_fields(&["completion", text]),
        Some(Demonstration::Reasoning(text)) => of_fields(&["reasoning", text]),
    }
}

/// Each field with its length before it, so that text moved from one field to the next changes the hash.
fn of_fields(fields: &[&str]) -> Sha {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize()
}

fn of_picture(picture: &ImageSource) -> Result<Sha, DataError> {
    match picture {
        ImageSource::File(path) => input_file::open(path)
            .and_then(of_contents)
            .map_err(|source| DataError::Unreadable { path: path.clone(), source }),
        ImageSource::Encoded { bytes, .. } => {
            let failed =
                |source| DataError::Unreadable { path: picture.to_string().into(), source };
            of_contents(bytes.as_ref()).map_err(failed)
        }
        // The archive's directory has size and CRC-32, so the bytes are not read.
        ImageSource::Archived { archive, entry_idx } => {
            let (bytes, crc32) = archive.checksum(*entry_idx)?;
            let hash = Sha256::new().chain_update(bytes.to_le_bytes());
            Ok(hash.chain_update(crc32.to_le_bytes()).finalize())
        }
        ImageSource::Drawn(pixels) => Ok(Sha256::digest(pixels.as_raw())),
    }
}

/// The SHA-256 of the SHA-256 of every piece, so that all threads work at a file of gigabytes.
fn of_contents(mut reader: impl Read) -> std::io::Result<Sha> {
    let mut whole = Sha256::new();
    let mut block = Vec::new();
    loop {
        block.clear();
        if reader.by_ref().take(BLOCK_BYTES).read_to_end(&mut block)? == 0 {
            return Ok(whole.finalize());
        }
        let pieces: Vec<Sha> = block.par_chunks(PIECE_BYTES).map(Sha256::digest).collect();
        for piece in pieces {
            whole.update(piece);
        }
    }
}

fn short(hash: &[u8]) -> String {
    let first = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::{DrawnRows, DrawnTask, OpenOptions, Split, open};
    use crate::model::source::TINY;

    /// A folder that keeps nothing, as it is a file.
    fn kept() -> Kept {
        Kept::at(Path::new("Cargo.toml"))
    }

    #[test]
    fn a_text_has_the_beginning_of_its_sha256() {
        // printf abc | sha256sum
        assert_eq!(of_text("abc"), "ba7816bf8f01cfea");
    }

    /// The built-in model in a folder of its own.
    fn copied() -> (tempfile::TempDir, ModelFiles) {
        let folder = tempfile::tempdir().unwrap();
        for file in TINY {
            std::fs::write(folder.path().join(file.name), file.bytes).unwrap();
        }
        let files = ModelFiles::Folder(folder.path().to_owned());
        (folder, files)
    }

    #[test]
    fn a_model_is_the_same_wherever_it_lies_until_one_bit_of_a_file_changes() {
        let (folder, files) = copied();
        let builtin = of_model(&kept(), &ModelFiles::Builtin(TINY)).unwrap();
        assert_eq!(of_model(&kept(), &files).unwrap(), builtin);
        for name in ["config.json", "tokenizer.json", "chat_template.json", "model.safetensors"] {
            let path = folder.path().join(name);
            let before = std::fs::read(&path).unwrap();
            for at in [before.len() / 3, before.len() - 1] {
                let mut bytes = before.clone();
                bytes[at] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let found = of_model(&kept(), &files).unwrap();
                let differ: Vec<_> =
                    found.iter().filter(|(key, of)| builtin[*key] != **of).collect();
                assert!(matches!(differ[..], [(key, _)] if key == name), "{name}: {differ:?}");
            }
            std::fs::write(&path, before).unwrap();
        }
        std::fs::write(folder.path().join("chat_template.jinja"), "").unwrap();
        assert_ne!(of_model(&kept(), &files).unwrap(), builtin);
    }

    #[test]
    fn of_the_generation_settings_the_stop_tokens_alone_count() {
        let (folder, files) = copied();
        let set = |json: &str| {
            std::fs::write(folder.path().join("generation_config.json"), json).unwrap();
            of_model(&kept(), &files).unwrap()
        };
        let first = set(r#"{"eos_token_id": [5, 7], "top_k": 1}"#);
        assert_eq!(first["stop tokens"], serde_json::json!([5, 7]));
        assert_eq!(set(r#"{"eos_token_id": [5, 7]}"#), first);
        assert_ne!(set(r#"{"eos_token_id": [5]}"#), first);
    }

    #[test]
    fn the_weights_that_are_loaded_are_those_that_count() {
        let (folder, files) = copied();
        let before = of_model(&kept(), &files).unwrap();
        // Beside a file of all tensors an index is not read.
        let index = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(of_model(&kept(), &files).unwrap(), before);
    }

    /// Longer than a block, so that the order of blocks counts as well.
    #[test]
    fn every_byte_of_a_long_file_counts() {
        let mut bytes: Vec<u8> = (0..BLOCK_BYTES + 12_345).map(|i| ((i * i) >> 7) as u8).collect();
        let before = of_contents(bytes.as_slice()).unwrap();
        for at in [0, PIECE_BYTES + 1, BLOCK_BYTES as usize - 1, bytes.len() - 1] {
            bytes[at] ^= 0x10;
            assert_ne!(of_contents(bytes.as_slice()).unwrap(), before, "{at}");
            bytes[at] ^= 0x10;
        }
        assert_ne!(of_contents(&bytes[1..]).unwrap(), before);
    }

    fn opened(folder: &Path, rows: &str, on_bad_row: OnBadRow) -> Dataset {
        let path = folder.join("rows.jsonl");
        std::fs::write(&path, rows).unwrap();
        let root = folder.join("pictures.zip");
        let image_root = root.exists().then_some(root);
        open(&path, None, &OpenOptions { image_root, on_bad_row, ..OpenOptions::default() })
            .unwrap()
    }

    const ROW: &str = r#"{"problem":"a","solution":"b","thinking":"c","image":"p.png"}"#;

    #[test]
    fn rows_are_what_they_hold_in_their_order_and_as_many_as_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.png"), "one").unwrap();
        std::fs::write(folder.path().join("q.png"), "one").unwrap();
        std::fs::write(folder.path().join("r.png"), "two").unwrap();
        let of = |rows: &[&str], n| {
            of_rows(
                &kept(),
                &opened(folder.path(), &rows.join("\n"), OnBadRow::Fail),
                n,
                OnBadRow::Fail,
            )
            .unwrap()
        };
        let first = of(&[ROW], 1);
        let differ = |row: &str| {
            let found = of(&[row], 1);
            let RowsFingerprint { texts, pictures, demonstrations } = &first;
            [
                &found.texts != texts,
                &found.pictures != pictures,
                &found.demonstrations != demonstrations,
            ]
        };
        assert_eq!(differ(ROW), [false; 3]);
        assert_eq!(differ(&ROW.replace("p.png", "q.png")), [false; 3], "the same picture");
        assert_eq!(differ(&ROW.replace("p.png", "r.png")), [false, true, false]);
        assert_eq!(differ(&ROW.replace("\"a\"", "\"x\"")), [true, false, false]);
        assert_eq!(differ(&ROW.replace("\"b\"", "\"x\"")), [true, false, false]);
        assert_eq!(differ(&ROW.replace("\"c\"", "\"x\"")), [false, false, true]);
        assert_eq!(differ(&ROW.replace("thinking", "completion")), [false, false, true]);
        let moved = ROW.replace("\"a\"", "\"ab\"").replace("\"b\"", "\"\"");
        assert!(!moved.contains("\"b\"") && differ(&ROW.replace("\"a\"", "\"ab\""))[0]);
        let other = &ROW.replace("\"a\"", "\"x\"");
        assert_eq!(of(&[ROW, other], 1), first);
        assert_ne!(of(&[ROW, other], 2), of(&[other, ROW], 2));
        // More rows than a block.
        let many: Vec<&str> = std::iter::repeat_n(ROW, BLOCK_ROWS + 2).collect();
        let mut last = many.clone();
        *last.last_mut().unwrap() = other;
        assert_ne!(of(&many, many.len()), of(&last, many.len()));
    }

    #[test]
    fn pictures_of_an_archive_count_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let pack = |contents: &[u8]| {
            let file = File::create(folder.path().join("pictures.zip")).unwrap();
            let mut writer = ::zip::ZipWriter::new(file);
            let options = ::zip::write::SimpleFileOptions::default();
            writer.start_file("p.png", options).unwrap();
            std::io::Write::write_all(&mut writer, contents).unwrap();
            writer.finish().unwrap();
            of_rows(&kept(), &opened(folder.path(), ROW, OnBadRow::Fail), 1, OnBadRow::Fail)
                .unwrap()
        };
        let first = pack(b"one");
        assert_eq!(pack(b"one"), first);
        let second = pack(b"two");
        assert_eq!(second.texts, first.texts);
        assert_ne!(second.pictures, first.pictures);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_an_error_unless_it_will_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = opened(folder.path(), ROW, OnBadRow::Skip);
        assert!(of_rows(&kept(), &dataset, 1, OnBadRow::Fail).is_err());
        let absent = of_rows(&kept(), &dataset, 1, OnBadRow::Skip).unwrap();
        std::fs::write(folder.path().join("p.png"), "one").unwrap();
        assert_ne!(of_rows(&kept(), &dataset, 1, OnBadRow::Skip).unwrap(), absent);
    }

    #[test]
    fn drawn_rows_are_what_they_are_described_by() {
        let of = |seed| {
            let rows = DrawnRows::new(DrawnTask::VisualCounting, Split::Test, seed, 112).unwrap();
            of_rows(&kept(), &Dataset::Drawn(rows), 3, OnBadRow::Fail).unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    /// What was kept in a folder, each replaced by another fingerprint.
    fn tampered(folder: &Path) -> usize {
        let kept = std::fs::read_dir(folder.join("fingerprints")).unwrap();
        kept.map(|entry| std::fs::write(entry.unwrap().path(), "0123456789abcdef\n").unwrap())
            .count()
    }

    #[test]
    fn weights_and_pictures_that_have_not_changed_are_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        // Files of the repository, which nothing changes during this test.
        let golden = Path::new("tests/golden/micro");
        let files = ModelFiles::Folder(golden.join("policy"));
        let read = of_model(&kept, &files).unwrap();
        assert_eq!(of_model(&kept, &files).unwrap(), read);
        assert_eq!(tampered(folder.path()), 1);
        let found = of_model(&kept, &files).unwrap();
        let differ: Vec<_> = found.iter().filter(|(key, of)| read[*key] != **of).collect();
        assert!(matches!(differ[..], [(key, _)] if key == "model.safetensors"), "{differ:?}");

        let rows = |picture: &str| {
            let path = folder.path().join("rows.jsonl");
            std::fs::write(&path, ROW.replace("p.png", picture)).unwrap();
            let image_root = Some(golden.join("images"));
            let options = OpenOptions { image_root, ..OpenOptions::default() };
            let rows = open(&path, None, &options).unwrap();
            of_rows(&kept, &rows, 1, OnBadRow::Fail).unwrap()
        };
        let read = rows("square.png");
        assert_eq!(tampered(folder.path()), 2);
        let found = rows("square.png");
        assert_ne!(found.pictures, read.pictures);
        assert_eq!(found.texts, read.texts);
    }

    #[test]
    fn pictures_in_parquet_are_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        let rows = listed(Path::new("tests/golden/datasets/paged"));
        let of = || of_rows(&kept, &rows, rows.len(), OnBadRow::Fail).unwrap();
        let read = of();
        assert_eq!(tampered(folder.path()), 1);
        assert_ne!(of().pictures, read.pictures);
    }

    fn listed(path: &Path) -> Dataset {
        let rows = open(path, Some("train"), &OpenOptions::default()).unwrap();
        assert!(matches!(&rows, Dataset::Listed(rows) if rows.stored_in(0).is_some()));
        rows
    }

    /// A row whose picture column holds the name of a file and no bytes.
    fn write_naming_parquet(path: &Path) {
        use parquet::data_type::{ByteArray, ByteArrayType};
        let schema = "message rows { required binary problem (UTF8); required binary solution (UTF8); \
                      required group image { optional binary bytes; optional binary path (UTF8); } }";
        let schema = parquet::schema::parser::parse_message_type(schema).unwrap();
        let file = File::create(path).unwrap();
        let mut writer =
            parquet::file::writer::SerializedFileWriter::new(file, schema.into(), Arc::default())
                .unwrap();
        let mut group = writer.next_row_group().unwrap();
        for value in [Some("a"), Some("b"), None, Some("p.png")] {
            let mut column = group.next_column().unwrap().unwrap();
            let values: Vec<ByteArray> = value.into_iter().map(ByteArray::from).collect();
            let levels = [i16::from(value.is_some())];
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn pictures_that_a_parquet_file_names_are_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path());
        write_naming_parquet(&folder.path().join("train.parquet"));
        std::fs::write(folder.path().join("p.png"), "one").unwrap();
        let rows = listed(folder.path());
        let Dataset::Listed(listed) = &rows else { panic!("drawn") };
        assert!(PicturePlaces::of(listed, 1, OnBadRow::Fail).has_stored);
        assert!(!of_pictures(&rows, 1, OnBadRow::Fail).unwrap().are_all_stored);
        let first = of_rows(&kept, &rows, 1, OnBadRow::Fail).unwrap();
        std::fs::write(folder.path().join("p.png"), "two").unwrap();
        assert_ne!(of_rows(&kept, &rows, 1, OnBadRow::Fail).unwrap(), first);
    }

    #[test]
    fn a_checkpoint_is_refused_once_a_file_is_not_what_its_list_says() {
        let (folder, files) = copied();
        let path = folder.path().join("model.safetensors");
        let weights = std::fs::read(&path).unwrap();
        std::fs::create_dir(folder.path().join("trainer")).unwrap();
        let list = serde_json::json!({
            "format": 1,
            "files": {
                "model.safetensors": { "bytes": weights.len(), "crc32": "517fc0a6" },
                "trainer/optimizer.safetensors": { "bytes": 1, "crc32": "00000000" },
            }
        });
        std::fs::write(folder.path().join("trainer/manifest.json"), list.to_string()).unwrap();
        // Only the model is read.
        require_whole(&kept(), &files).unwrap();
        let refused = |found: &str| {
            let message = of_model(&kept(), &files).unwrap_err().to_string();
            assert!(
                message.contains(found) && message.contains("\nhint: copy it again"),
                "{message}"
            );
        };
        let mut damaged = weights.clone();
        damaged[weights.len() / 2] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        refused("model.safetensors has the checksum");
        std::fs::write(&path, &weights[..weights.len() - 1]).unwrap();
        refused("model.safetensors has");
        std::fs::remove_file(&path).unwrap();
        refused("model.safetensors cannot be read");
    }
}
