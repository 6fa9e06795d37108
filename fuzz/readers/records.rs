//! Records of a run, and what is written beside its checkpoints.
//! Not here: the tensors of a checkpoint (`model`).

use std::fmt::Debug;
use std::path::Path;

use othink::run_folder::RunFolder;
use othink::run_folder::json_lines;
use othink::run_folder::manifest::Manifest;
use othink::run_folder::metrics::UpdateMetrics;
use othink::run_folder::origin::Origin;
use othink::run_folder::records::{Batches, CompletionRecord, EvaluationRecord, RunRecords};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::scratch;

/// What is accepted has one form as text, which is accepted as the same.
pub(super) fn round_trips<T: Serialize + DeserializeOwned + Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("what was read can be written");
    let again: T = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("not read back: {error}\n{text}\n{value:?}"));
    assert_eq!(serde_json::to_string(&again).expect("twice"), text);
}

fn lines<T: Serialize + DeserializeOwned + Debug>(name: &str, bytes: &[u8]) {
    let records: Vec<T> = json_lines::read(&scratch::file(name, bytes)).unwrap_or_default();
    records.iter().for_each(round_trips);
}

pub(super) fn metrics(bytes: &[u8]) {
    lines::<UpdateMetrics>("metrics.jsonl", bytes);
}

pub(super) fn completions(bytes: &[u8]) {
    lines::<CompletionRecord>("completions.jsonl", bytes);
}

pub(super) fn evaluations(bytes: &[u8]) {
    lines::<EvaluationRecord>("evaluations.jsonl", bytes);
}

/// The first byte is the checkpoint's update, the second says how often completions are sampled; the rest, cut at the first
/// zero byte, is the metrics and the completions. What a repair leaves needs no second one.
pub(super) fn resume(bytes: &[u8]) {
    let [last_update, every, rest @ ..] = bytes else { return };
    let (last_update, updates) = (Some(u64::from(last_update % 8)), u64::from(every % 3));
    let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let path = scratch::folder(Some(Path::new("run")));
    for old in std::fs::read_dir(&path).expect("the run's folder") {
        std::fs::remove_file(old.expect("a file").path()).expect("an old file");
    }
    let folder = RunFolder::create(&path, "", &Origin::new(Map::new())).expect("a run's folder");
    scratch::file("run/metrics.jsonl", &rest[..at]);
    scratch::file("run/completions.jsonl", rest.get(at + 1..).unwrap_or_default());
    let batches = Batches { updates, completions: 2 };
    let resume = |repairs| RunRecords::resume(&folder, last_update, batches, None, repairs);
    let was_whole = resume(false).is_ok();
    let (_, notes) = resume(true).expect("a repair does what it can");
    assert!(!was_whole || notes.is_empty(), "{notes:?}");
    let (_, notes) = resume(true).expect("a repair does what it can");
    let is_missing = |note: &String| note.contains("records of update");
    assert!(notes.iter().all(is_missing), "{notes:?}");
}

pub(super) fn manifest(bytes: &[u8]) {
    scratch::file("checkpoint/trainer/manifest.json", bytes);
    let checkpoint = scratch::folder(Some(Path::new("checkpoint")));
    if let Ok(Some(manifest)) = Manifest::of_model(&checkpoint) {
        round_trips(&manifest);
        assert!(manifest.paths(&checkpoint).iter().all(|path| path.starts_with(&checkpoint)));
        if let Err(found) = manifest.check(&checkpoint) {
            assert!(!found.is_empty());
        }
    }
}

pub(super) fn origin(bytes: &[u8]) {
    let path = scratch::file("origin/origin.json", bytes);
    let folder = path.parent().expect("its folder");
    if let Ok(origin) = Origin::of(folder) {
        round_trips(&origin);
        if let Err(error) = origin.compare(folder, &Map::new(), true) {
            assert!(!error.to_string().is_empty());
        }
        if let Err(error) = origin.require_unchanged(folder) {
            assert!(!error.to_string().is_empty());
        }
    }
}
