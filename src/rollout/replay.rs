//! Completions taken from a file instead of being sampled: to debug a run, or to train two programs on the same completions.
//! Not here: sampling them (`engine`); the record that a run writes of them (`run_folder::records`).
//!
//! One JSON object a line, as in a run's `completions.jsonl`. Five of its fields are read: `update`,
//! `prompt_id`, `completion_idx`, `token_ids` and `is_truncated`. Everything else is computed again.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::engine::Completion;
use crate::input_file;

/// The completions of a file, by the update for which they were sampled.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    group_size: usize,
    batches: BTreeMap<u64, Vec<Recorded>>,
}

/// The limits of the run that takes the completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingLimits {
    /// Token ids are below it.
    pub vocab_size: usize,
    /// The longest completion, tokens.
    pub max_new_tokens: usize,
    /// Completions of each prompt.
    pub group_size: usize,
    /// Updates from one batch of rollouts to the next; the first batch is that of update 1.
    pub updates_per_rollout: u64,
    /// Updates of the whole run.
    pub total_updates: u64,
}

/// A completion with its line number and prompt.
#[derive(Debug)]
struct Recorded {
    line: usize,
    prompt_id: String,
    completion_idx: usize,
    completion: Completion,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    update: u64,
    prompt_id: String,
    completion_idx: usize,
    token_ids: Option<Vec<u32>>,
    is_truncated: bool,
}

/// Why a file of completions cannot replace sampling.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file itself.
    #[error("cannot read the recorded completions {path}: {source}\nhint: check rollout.replay", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is no record of a completion, or of one that this run could not have sampled.
    #[error("{path}, line {line}: found {found}, expected {expected}\nhint: {hint}", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the line holds.
        found: String,
        /// What it should hold.
        expected: String,
        /// The next move.
        hint: &'static str,
    },
    /// A completion that the run needs and the file lacks.
    #[error(
        "{path}: found no completion {completion_idx} of prompt {prompt_id} for update {update}, expected one\n\
         hint: a recording fits a run of the same data, order and batches",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The update that it would be sampled for, from 1.
        update: u64,
        /// The data row's identifier.
        prompt_id: String,
        /// Which of its group, from 0.
        completion_idx: usize,
    },
    /// A completion that the run never asks for.
    #[error(
        "{path}, line {line}: found completion {completion_idx} of prompt {prompt_id} for update {update}, expected {expected}\n\
         hint: a recording fits a run of the same data, order and batches",
        path = path.display()
    )]
    Extra {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The update that it was sampled for, from 1.
        update: u64,
        /// The data row's identifier.
        prompt_id: String,
        /// Which of its group, from 0.
        completion_idx: usize,
        /// What the run asks for.
        expected: String,
    },
}

impl Recording {
    /// Reads a whole file and checks all that can be checked before the run has drawn its prompts.
    ///
    /// # Errors
    /// The file cannot be read, a line is no record with tokens, or a record exceeds the run's limits.
    pub fn open(path: &Path, limits: &RecordingLimits) -> Result<Self, ReplayError> {
        let unreadable = |source| ReplayError::Read { path: path.to_owned(), source };
        let lines = BufReader::new(input_file::open(path).map_err(unreadable)?).lines();
        let mut batches: BTreeMap<u64, Vec<Recorded>> = BTreeMap::new();
        for (i, text) in lines.enumerate() {
            let text = text.map_err(unreadable)?;
            if text.trim().is_empty() {
                continue;
            }
            let (update, recorded) = parse(path, i + 1, &text, limits)?;
            batches.entry(update).or_default().push(recorded);
        }
        Ok(Self { path: path.to_owned(), group_size: limits.group_size, batches })
    }

    /// The completions of the batch that is sampled for `update` (from 1): `[prompt][completion]`.
    ///
    /// A prompt that is in the batch twice takes its completions in the file's order.
    ///
    /// # Errors
    /// One is missing, or one is left over.
    pub fn take(
        &mut self,
        update: u64,
        prompt_ids: &[&str],
    ) -> Result<Vec<Vec<Completion>>, ReplayError> {
        let mut left = self.batches.remove(&update).unwrap_or_default();
        let mut one = |prompt_id: &str, completion_idx| {
            let is_wanted =
                |r: &Recorded| r.completion_idx == completion_idx && r.prompt_id == prompt_id;
            let (path, prompt_id) = (self.path.clone(), prompt_id.to_owned());
            let missing = ReplayError::Missing { path, update, prompt_id, completion_idx };
            let place = left.iter().position(is_wanted).ok_or(missing)?;
            Ok(left.remove(place).completion)
        };
        let group = |id: &&str| (0..self.group_size).map(|i| one(id, i)).collect();
        let groups = prompt_ids.iter().map(group).collect::<Result<_, _>>()?;
        match left.into_iter().next() {
            None => Ok(groups),
            Some(extra) => {
                Err(extra.unasked(&self.path, update, "the completions of that batch's prompts"))
            }
        }
    }
}

impl Recorded {
    fn unasked(self, path: &Path, update: u64, expected: impl Into<String>) -> ReplayError {
        let Self { line, prompt_id, completion_idx, .. } = self;
        let (path, expected) = (path.to_owned(), expected.into());
        ReplayError::Extra { path, line, update, prompt_id, completion_idx, expected }
    }
}

/// A line's record, and the update that it belongs to.
fn parse(
    path: &Path,
    line: usize,
    text: &str,
    limits: &RecordingLimits,
) -> Result<(u64, Recorded), ReplayError> {
    let wrong = |found: String, expected: String, hint| {
        let path = path.to_owned();
        Err(ReplayError::Record { path, line, found, expected, hint })
    };
    let Line { update, prompt_id, completion_idx, token_ids, is_truncated } =
        match serde_json::from_str(text) {
            Ok(line) => line,
            Err(error) => {
                let expected = "a completion's record".to_owned();
                return wrong(error.to_string(), expected, "a run writes completions.jsonl");
            }
        };
    let Some(token_ids) = token_ids else {
        let (found, expected) = ("no field `token_ids`", "the completion's tokens");
        let hint = "a run with train.record_token_ids = true writes them";
        return wrong(found.to_owned(), expected.to_owned(), hint);
    };
    let n = token_ids.len();
    if n == 0 || n > limits.max_new_tokens {
        let expected = format!("1 to rollout.max_new_tokens = {}", limits.max_new_tokens);
        return wrong(
            format!("{n} tokens"),
            expected,
            "set the limit that the run was sampled with",
        );
    }
    if let Some(id) = token_ids.iter().find(|&&id| id as usize >= limits.vocab_size) {
        let expected = format!("ids below the model's {}", limits.vocab_size);
        return wrong(format!("the token {id}"), expected, "the tokens are another model's");
    }
    let completion = Completion { token_ids, logps: Vec::new(), is_finished: !is_truncated };
    let recorded = Recorded { line, prompt_id, completion_idx, completion };
    let RecordingLimits { group_size, updates_per_rollout: every, total_updates, .. } = *limits;
    if completion_idx >= group_size {
        let expected = format!("0 to {} of grpo.group_size = {group_size}", group_size - 1);
        return Err(recorded.unasked(path, update, expected));
    }
    if update == 0 || update > total_updates || (update - 1) % every != 0 {
        let expected = format!("updates 1, {}, ... up to {total_updates}", 1 + every);
        return Err(recorded.unasked(path, update, expected));
    }
    Ok((update, recorded))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RecordingLimits = RecordingLimits {
        vocab_size: 10,
        max_new_tokens: 3,
        group_size: 2,
        updates_per_rollout: 2,
        total_updates: 3,
    };

    fn record(update: u64, prompt: &str, idx: usize, ids: &str) -> String {
        format!(
            "{{\"update\":{update},\"prompt_id\":\"{prompt}\",\"completion_idx\":{idx},\
             \"token_ids\":{ids},\"is_truncated\":{}}}",
            ids.len() > 5
        )
    }

    fn open(lines: &[String]) -> Result<Recording, ReplayError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("completions.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        Recording::open(&path, &LIMITS)
    }

    fn message<T>(outcome: Result<T, ReplayError>) -> String {
        let message = outcome.err().unwrap().to_string();
        let (_, after_the_folder) = message.split_once("completions.jsonl").unwrap();
        after_the_folder.to_owned()
    }

    #[test]
    fn completions_are_found_by_update_prompt_and_index_in_any_order() {
        let mut recording = open(&[
            record(3, "a", 0, "[7]"),
            record(1, "b", 1, "[4]"),
            record(1, "a", 1, "[2]"),
            record(1, "b", 0, "[3,3,3]"),
            record(1, "a", 0, "[1]"),
            record(3, "a", 1, "[8]"),
        ])
        .unwrap();
        let groups = recording.take(1, &["a", "b"]).unwrap();
        let ids = |groups: &[Vec<Completion>]| -> Vec<Vec<u32>> {
            groups.iter().flatten().map(|c| c.token_ids.clone()).collect()
        };
        assert_eq!(ids(&groups), [vec![1], vec![2], vec![3, 3, 3], vec![4]]);
        let finished: Vec<bool> = groups.iter().flatten().map(|c| c.is_finished).collect();
        assert_eq!(finished, [true, true, false, true]);
        assert_eq!(ids(&recording.take(3, &["a"]).unwrap()), [[7], [8]]);
    }

    #[test]
    fn a_prompt_that_stands_twice_in_a_batch_takes_its_completions_in_order() {
        let lines = [("[1]", 0), ("[2]", 1), ("[3]", 0), ("[4]", 1)];
        let mut recording = open(&lines.map(|(ids, i)| record(1, "a", i, ids))).unwrap();
        let groups = recording.take(1, &["a", "a"]).unwrap();
        let ids: Vec<u32> = groups.iter().flatten().map(|c| c.token_ids[0]).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    }

    #[test]
    fn a_missing_completion_is_named() {
        let mut recording = open(&[record(1, "a", 0, "[1]")]).unwrap();
        let found = message(recording.take(1, &["a"]));
        let expected = ": found no completion 1 of prompt a for update 1, expected one\nhint: ";
        assert!(found.starts_with(expected), "{found}");
        let found = message(recording.take(3, &["a"]));
        assert!(found.starts_with(": found no completion 0 of prompt a for update 3"), "{found}");
    }

    #[test]
    fn a_completion_that_nobody_asks_for_is_named_with_its_line() {
        let both = [record(1, "a", 0, "[1]"), record(1, "a", 1, "[1]")];
        let with = |more: String| open(&[&both[..], &[more]].concat());
        let found = message(with(record(1, "b", 1, "[1]")).unwrap().take(1, &["a"]));
        let expected = ", line 3: found completion 1 of prompt b for update 1, expected ";
        assert!(found.starts_with(expected), "{found}");
        for (update, idx) in [(1, 2), (0, 0), (2, 0), (5, 0)] {
            let found = message(with(record(update, "a", idx, "[1]")));
            let expected = format!(
                ", line 3: found completion {idx} of prompt a for update {update}, expected "
            );
            assert!(found.starts_with(&expected), "{found}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_trained_on_is_named() {
        let without = record(1, "a", 0, "[1]").replace("token_ids", "ids");
        for (line, expected) in [
            (without, ", line 2: found no field `token_ids`, expected the completion's tokens"),
            (record(1, "a", 0, "[]"), ", line 2: found 0 tokens, expected 1 to rollout.max_new"),
            (record(1, "a", 0, "[1,1,1,1]"), ", line 2: found 4 tokens, expected 1 to rollout."),
            (record(1, "a", 0, "[9,10]"), ", line 2: found the token 10, expected ids below the"),
            ("{}".to_owned(), ", line 2: found missing field `update`"),
        ] {
            let found = message(open(&[record(1, "a", 0, "[1]"), line]));
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
