//! Rows of data and their pictures.
//! Not here: completions to be graded (`answers`).

use othink::config::OnBadRow;
use othink::data::{OpenOptions, PictureArchive, open};
use othink::processor::decode_image;

use super::scratch;

/// Rows that are looked at after all were read.
const N_ROWS: usize = 8;

pub(super) fn json_lines(bytes: &[u8]) {
    rows("rows.jsonl", bytes);
}

pub(super) fn csv(bytes: &[u8]) {
    rows("metadata.csv", bytes);
}

pub(super) fn parquet(bytes: &[u8]) {
    rows("train.parquet", bytes);
}

/// Reads a file of rows, strict and lenient; the second accepts all that the first does.
fn rows(name: &str, bytes: &[u8]) {
    let path = scratch::file(name, bytes);
    let strict = open(&path, None, &OpenOptions::default());
    let lenient = OpenOptions { on_bad_row: OnBadRow::Skip, ..OpenOptions::default() };
    let rows = match open(&path, None, &lenient) {
        Ok(rows) => rows,
        Err(error) => {
            assert!(strict.is_err() && !error.to_string().is_empty());
            return;
        }
    };
    assert!(strict.as_ref().map_or(true, |strict| strict.len() == rows.len()));
    for row in (0..rows.len().min(N_ROWS)).filter_map(|idx| rows.get(idx).ok()) {
        assert!(!row.problem.is_empty());
        row.images.iter().filter_map(|picture| picture.load().err()).for_each(|error| {
            assert!(!error.to_string().is_empty());
        });
    }
}

/// Every entry of an archive has a plain name, and the bytes that its header announces.
pub(super) fn zip(bytes: &[u8]) {
    let Ok(archive) = PictureArchive::open(&scratch::file("pictures.zip", bytes)) else { return };
    let names = (0..64).map(|idx| archive.name(idx)).take_while(|name| !name.is_empty());
    for name in names {
        assert!(
            !name.starts_with('/') && !name.split(['/', '\\']).any(|part| part == ".."),
            "{name}"
        );
        if let Ok(Some(idx)) = archive.find(&name)
            && let Ok(contents) = archive.read(idx)
        {
            let (size, _) = archive.checksum(idx).expect("it was read");
            assert_eq!(contents.len() as u64, size);
        }
    }
}

pub(super) fn image(bytes: &[u8]) {
    if let Err(error) = decode_image(bytes, "picture") {
        assert!(error.to_string().starts_with("picture"), "{error}");
    }
}
