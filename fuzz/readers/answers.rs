//! Completions and answers that are graded or taken over.
//! Not here: those of a run's own folder (`records`).

use othink::data::{gold_answer, open_completions};
use othink::eval::answers_file::{AnswersFile, read_answers};
use othink::rollout::replay::{Recording, RecordingLimits};
use othink_grading::{GoldAnswer, rule::RULES};
use serde_json::Map;

use super::records::round_trips;
use super::scratch;

/// Any two texts under every rule: the text up to the first zero byte is the solution, the rest the completion.
pub(super) fn grading(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (solution, completion) = text.split_once('\0').unwrap_or(("5", &text));
    let tagged = format!("<answer>{completion}</answer>");
    assert!(gold_answer(solution).len() <= solution.len());
    for rule in RULES {
        let gold = GoldAnswer::parse_or_unequal(rule, solution);
        gold.grade(completion);
        gold.explain(&tagged);
    }
}

/// A file of answers, whole and as that of an interrupted evaluation; also as a list of completions.
pub(super) fn answers(bytes: &[u8]) {
    let path = scratch::file("answers.jsonl", bytes);
    read_answers(&path).unwrap_or_default().iter().for_each(round_trips);
    scratch::file("begun.jsonl.partial", bytes);
    if let Ok((_, answers)) = AnswersFile::open(&path.with_file_name("begun.jsonl"), &Map::new()) {
        answers.iter().for_each(round_trips);
    }
    match open_completions(&path) {
        Ok(rows) => rows.take(100).for_each(|row| {
            assert!(row.map_or_else(|error| !error.to_string().is_empty(), |row| row.row > 0));
        }),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Completions that take the place of sampling.
pub(super) fn recording(bytes: &[u8]) {
    let path = scratch::file("recording.jsonl", bytes);
    let limits = RecordingLimits {
        vocab_size: 1000,
        max_new_tokens: 64,
        group_size: 2,
        updates_per_rollout: 2,
        total_updates: 10,
    };
    if let Err(error) = Recording::open(&path, &limits) {
        assert!(!error.to_string().is_empty());
    }
}
