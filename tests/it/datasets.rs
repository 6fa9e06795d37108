//! Data sets that Python's `datasets` wrote: the same rows, in the same order, with the same bytes.
//! The golden files are described in `tests/golden/README.md`.

use std::path::{Path, PathBuf};

use othink::config::OnBadRow;
use othink::data::{Dataset, Demonstration, ImageSource, OpenOptions, open};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/datasets")
}

fn opened(path: &str, split: Option<&str>) -> Dataset {
    open(&golden().join(path), split, &OpenOptions::default()).unwrap()
}

fn fnv1a(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn expected_rows(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    expected["files"][file].as_array().unwrap().clone()
}

fn check_row(dataset: &Dataset, idx: usize, expected: &Value) {
    let sample = dataset.get(idx).unwrap();
    assert_eq!(sample.problem, expected["problem"].as_str().unwrap());
    assert_eq!(sample.solution, expected["solution"].as_str().unwrap());
    let images = expected["images"].as_array().unwrap();
    assert_eq!(sample.images.len(), images.len(), "{}", sample.id);
    for (image, expected) in sample.images.iter().zip(images) {
        let ImageSource::Encoded { bytes, .. } = image else { panic!("{image:?} has no bytes") };
        assert_eq!(fnv1a(bytes), expected["bytes"], "{image:?}");
        let pixels = image.load().unwrap();
        if let Some(expected) = expected["pixels"].as_str() {
            assert_eq!(fnv1a(pixels.as_raw()), expected, "{image:?}");
        }
    }
}

#[test]
fn every_file_has_the_rows_that_datasets_reads() {
    for file in [
        "sharded/data/train-00000-of-00002.parquet",
        "sharded/data/test-00000-of-00001.parquet",
        "paged/train.parquet",
        "lists/test.parquet",
        "lists/paged.parquet",
        "large/train.parquet",
    ] {
        let (dataset, expected) = (opened(file, None), expected_rows(file));
        assert_eq!(dataset.len(), expected.len(), "{file}");
        // Backwards, then forwards: fetching must not depend on what was fetched before.
        for idx in (0..expected.len()).rev().chain(0..expected.len()) {
            check_row(&dataset, idx, &expected[idx]);
        }
    }
}

#[test]
fn the_shards_of_a_split_follow_each_other() {
    let train = opened("sharded", Some("train"));
    let shards = [0, 1].map(|idx| format!("train-{idx:05}-of-00002.parquet"));
    let expected: Vec<Value> =
        shards.iter().flat_map(|shard| expected_rows(&format!("sharded/data/{shard}"))).collect();
    assert_eq!((train.name(), train.len()), ("sharded/train", 11));
    for (idx, row) in expected.iter().enumerate() {
        check_row(&train, idx, row);
    }
    assert_eq!(train.get(0).unwrap().id, format!("{}:1", shards[0]));
    assert_eq!(train.get(10).unwrap().id, format!("{}:5", shards[1]));
    let thinking = [0, 1].map(|idx| train.get(idx).unwrap().demonstration);
    assert_eq!(thinking, [Some(Demonstration::Reasoning("counting 0".to_owned())), None]);
    assert_eq!(opened("sharded", Some("test")).len(), 2);
}

#[test]
fn pictures_named_by_path_stand_beside_the_file() {
    for (path, solutions) in [("named", ["0.5", "2.0"]), ("folder", ["0", "1"])] {
        let dataset = opened(path, Some("train"));
        dataset.check_images().unwrap();
        for (idx, solution) in solutions.into_iter().enumerate() {
            let sample = dataset.get(idx).unwrap();
            assert_eq!(sample.solution, solution);
            assert_eq!(sample.images[0].load().unwrap().dimensions(), (24, 16));
        }
    }
}

#[test]
fn bad_rows_are_named_by_file_and_row() {
    let path = golden().join("bad/train.parquet");
    let message = open(&path, None, &OpenOptions::default()).unwrap_err().to_string();
    assert!(
        message.contains("train.parquet: row 4: field `solution`: found empty text"),
        "{message}"
    );
    let options = OpenOptions { on_bad_row: OnBadRow::Skip, ..OpenOptions::default() };
    let dataset = open(&path, None, &options).unwrap();
    let left_out: Vec<String> = dataset.left_out().iter().map(ToString::to_string).collect();
    for (message, part) in left_out.iter().zip([
        "row 4: field `solution`: found empty text",
        "row 5: field `solution` or `ground_truth` or `answer`: found null",
        "row 6: field `problem`: found bytes that are not UTF-8",
    ]) {
        assert!(message.contains(part), "{message}");
    }
    let ids: Vec<String> = (0..dataset.len()).map(|idx| dataset.get(idx).unwrap().id).collect();
    assert_eq!(ids, [1, 2, 3, 7].map(|row| format!("train.parquet:{row}")));
    // Pictures are decoded when they are used.
    for (idx, row) in [(1, 2), (2, 3)] {
        let message = dataset.get(idx).unwrap().images[0].load().unwrap_err().to_string();
        assert!(
            message.contains(&format!("train.parquet: row {row}: column `image`")),
            "{message}"
        );
    }
}
