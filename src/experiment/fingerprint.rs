//! Short fingerprints of texts, files, models and rows: the same contents have the same fingerprint.
//! Not here: what decides an evaluation or a run (`identity`).
//!
//! Files are read in full, the weights too: gigabytes take seconds, and a model that differs in one weight gives other
//! answers. Pictures in an archive count by the size and the CRC-32 in its directory. Paths and times decide nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::OnBadRow;
use crate::data::{DataError, Dataset, Demonstration, ImageSource, Sample};
use crate::input_file;
use crate::model::error::ModelError;
use crate::model::files::ModelFiles;
use crate::model::weights::weight_files;

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
pub fn of_file(path: &Path) -> std::io::Result<String> {
    Ok(short(&of_contents(File::open(path)?)?))
}

/// The fingerprints of a model's files, by their names, independent of their folder.
///
/// # Errors
/// A file cannot be read.
pub fn of_model(files: &ModelFiles) -> Result<BTreeMap<String, Value>, ModelError> {
    let mut names: Vec<String> = SIDE_FILES.map(str::to_owned).into();
    names.extend(weight_files(files)?);
    let mut found = BTreeMap::new();
    for name in names {
        let failed = |source| ModelError::Read { file: files.describe(&name), source };
        if let Some(file) = files.open(&name).map_err(failed)? {
            let contents = of_contents(file.reader).map_err(failed)?;
            found.insert(name, Value::String(short(&contents)));
        }
    }
    found.insert("stop tokens".to_owned(), stop_tokens(files)?);
    Ok(found)
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
    /// Their identifiers, questions and solutions.
    pub texts: String,
    /// Their pictures.
    pub pictures: String,
    /// What supervised training teaches of them.
    pub demonstrations: String,
}

/// The fingerprints of the first `n` rows. Drawn rows are a pure function of their description, which stands for them.
///
/// - `on_bad_row`: whether a row that cannot be read is an error or one that will be left out
///
/// # Errors
/// A row or a picture cannot be read.
pub fn of_rows(
    dataset: &Dataset,
    n: usize,
    on_bad_row: OnBadRow,
) -> Result<RowsFingerprint, DataError> {
    if let Dataset::Drawn(rows) = dataset {
        let drawn = || rows.describe();
        return Ok(RowsFingerprint { texts: drawn(), pictures: drawn(), demonstrations: drawn() });
    }
    let mut hashes = [Sha256::new(), Sha256::new(), Sha256::new()];
    for start in (0..n).step_by(BLOCK_ROWS) {
        // Fetched in order, as pictures stored in large groups are read fastest; hashed on all threads.
        let fetched = start..n.min(start + BLOCK_ROWS);
        let fetched: Vec<_> = fetched.map(|idx| dataset.get(idx)).collect();
        let of_row = |sample: Result<Sample, DataError>| of_sample(&sample?);
        let rows: Vec<_> = fetched.into_par_iter().map(of_row).collect();
        for row in rows {
            let row = match (row, on_bad_row) {
                (Ok(row), _) => row,
                (Err(_), OnBadRow::Skip) => [Sha256::digest("left out"); 3],
                (Err(error), OnBadRow::Fail) => return Err(error),
            };
            hashes.iter_mut().zip(row).for_each(|(hash, part)| hash.update(part));
        }
    }
    let [texts, pictures, demonstrations] = hashes.map(|hash| short(&hash.finalize()));
    Ok(RowsFingerprint { texts, pictures, demonstrations })
}

type Sha = sha2::digest::Output<Sha256>;

/// Texts, pictures and demonstration of a row.
fn of_sample(sample: &Sample) -> Result<[Sha; 3], DataError> {
    let mut pictures = Sha256::new();
    for picture in &sample.images {
        pictures.update(of_picture(picture)?);
    }
    let demonstration = match &sample.demonstration {
        None => of_fields(&[]),
        Some(Demonstration::Completion(text)) => of_fields(&["completion", text]),
        Some(Demonstration::Reasoning(text)) => of_fields(&["reasoning", text]),
    };
    let texts = of_fields(&[&sample.id, &sample.problem, &sample.solution]);
    Ok([texts, pictures.finalize(), demonstration])
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
    use super::*;
    use crate::data::{DrawnRows, DrawnTask, OpenOptions, Split, open};
    use crate::model::source::TINY;

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
        let builtin = of_model(&ModelFiles::Builtin(TINY)).unwrap();
        assert_eq!(of_model(&files).unwrap(), builtin);
        for name in ["config.json", "tokenizer.json", "chat_template.json", "model.safetensors"] {
            let path = folder.path().join(name);
            let before = std::fs::read(&path).unwrap();
            for at in [before.len() / 3, before.len() - 1] {
                let mut bytes = before.clone();
                bytes[at] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let found = of_model(&files).unwrap();
                let differ: Vec<_> =
                    found.iter().filter(|(key, of)| builtin[*key] != **of).collect();
                assert!(matches!(differ[..], [(key, _)] if key == name), "{name}: {differ:?}");
            }
            std::fs::write(&path, before).unwrap();
        }
        std::fs::write(folder.path().join("chat_template.jinja"), "").unwrap();
        assert_ne!(of_model(&files).unwrap(), builtin);
    }

    #[test]
    fn of_the_generation_settings_the_stop_tokens_alone_count() {
        let (folder, files) = copied();
        let set = |json: &str| {
            std::fs::write(folder.path().join("generation_config.json"), json).unwrap();
            of_model(&files).unwrap()
        };
        let first = set(r#"{"eos_token_id": [5, 7], "top_k": 1}"#);
        assert_eq!(first["stop tokens"], serde_json::json!([5, 7]));
        assert_eq!(set(r#"{"eos_token_id": [5, 7]}"#), first);
        assert_ne!(set(r#"{"eos_token_id": [5]}"#), first);
    }

    #[test]
    fn the_weights_that_are_loaded_are_those_that_count() {
        let (folder, files) = copied();
        let before = of_model(&files).unwrap();
        // Beside a file of all tensors an index is not read.
        let index = r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#;
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(of_model(&files).unwrap(), before);
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
            of_rows(&opened(folder.path(), &rows.join("\n"), OnBadRow::Fail), n, OnBadRow::Fail)
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
            of_rows(&opened(folder.path(), ROW, OnBadRow::Fail), 1, OnBadRow::Fail).unwrap()
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
        assert!(of_rows(&dataset, 1, OnBadRow::Fail).is_err());
        let absent = of_rows(&dataset, 1, OnBadRow::Skip).unwrap();
        std::fs::write(folder.path().join("p.png"), "one").unwrap();
        assert_ne!(of_rows(&dataset, 1, OnBadRow::Skip).unwrap(), absent);
    }

    #[test]
    fn drawn_rows_are_what_they_are_described_by() {
        let of = |seed| {
            let rows = DrawnRows::new(DrawnTask::VisualCounting, Split::Test, seed, 112).unwrap();
            of_rows(&Dataset::Drawn(rows), 3, OnBadRow::Fail).unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
