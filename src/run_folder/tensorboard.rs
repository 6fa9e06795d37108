//! TensorBoard's event files: the figures of `metrics.jsonl` and `evaluations.jsonl` under the names that TRL's
//! `GRPOTrainer` and transformers' `Trainer` log them by, so that runs of either can be shown in one chart.
//! Not here: the figures (`metrics`, `records`). This program never reads these files.
//!
//! A file is a list of records, each framed as in TensorFlow's `TFRecord`: length (u64), checksum of the length (u32),
//! contents, checksum of the contents, all little-endian. The contents are a message `Event` of
//! `tensorboard/compat/proto/event.proto`, written by hand: three kinds of fields do not justify a library.
//!
//! A resumed run begins another file, as `torch.utils.tensorboard` does with `purge_step`: its first events say that
//! everything from that step on is to be dropped, which TensorBoard does across the files of a folder.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::durable::failed;
use super::error::RunFolderError;
use super::metrics::UpdateMetrics;
use super::records::EvaluationRecord;

pub(super) const EVENTS: &str = "events.out.tfevents.";
/// Castagnoli's polynomial with its bits in reverse order.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// What `TFRecord` adds to a rotated checksum, because checksums of data that contains checksums are unreliable.
const MASK: u32 = 0xA282_EAD8;

/// An event file, open for appending.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in a run's folder; its name sorts after those of the files there.
    ///
    /// - `next_step`: events of other files from this step on are void; 0 voids all of them
    ///
    /// # Errors
    /// The folder cannot be read or the file not be written.
    pub fn start(folder: &Path, next_step: u64) -> Result<Self, RunFolderError> {
        let now = now();
        // TensorBoard reads the files of a folder in the order of their names.
        let newest = newest_stamp(folder).map_err(failed("read", folder))?;
        let stamp = newest.map_or(0, |newest| newest + 1).max(now.as_secs());
        let path = folder.join(format!("{EVENTS}{stamp:010}.othink"));
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        let mut events = Self { path, file };
        events.append(
            &[event(now, 0, &version()), event(now, next_step, &session_start())].concat(),
        )?;
        Ok(events)
    }

    /// Writes the figures of an update.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn update(&mut self, line: &UpdateMetrics) -> Result<(), RunFolderError> {
        self.append(&event(now(), line.update, &summary(&update_scalars(line))))
    }

    /// Writes the figures of an evaluation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn evaluation(&mut self, record: &EvaluationRecord) -> Result<(), RunFolderError> {
        self.append(&event(now(), record.update, &summary(&evaluation_scalars(record))))
    }

    /// Waits until all events are on the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sync(&self) -> Result<(), RunFolderError> {
        self.file.sync_all().map_err(failed("write", &self.path))
    }

    /// Writes records in one piece, so that a concurrent reader sees whole records.
    fn append(&mut self, records: &[u8]) -> Result<(), RunFolderError> {
        self.file.write_all(records).map_err(failed("write", &self.path))
    }
}

/// The greatest number in the names of the event files in a folder.
fn newest_stamp(folder: &Path) -> std::io::Result<Option<u64>> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stamp = name.to_str().and_then(|name| name.strip_prefix(EVENTS)?.split('.').next());
        newest = newest.max(stamp.and_then(|stamp| stamp.parse().ok()));
    }
    Ok(newest)
}

/// Time since the start of 1970, UTC.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Names and figures of an update: TRL's names, then ours for what TRL does not log.
fn update_scalars(line: &UpdateMetrics) -> Vec<(String, f64)> {
    let named = [
        ("loss", Some(line.loss)),
        ("grad_norm", Some(line.grad_norm)),
        ("learning_rate", Some(line.lr)),
        ("reward", line.reward),
        ("reward_std", line.reward_std),
        ("rewards/accuracy_reward/mean", line.accuracy_reward),
        ("rewards/format_reward/mean", line.format_reward),
        ("frac_reward_zero_std", line.zero_signal_fraction),
        ("kl", line.kl),
        ("entropy", line.entropy),
        ("clip_ratio/region_mean", line.clip_fraction),
        ("completions/mean_length", Some(line.completion_length)),
        ("completions/clipped_ratio", line.truncated_fraction),
        ("step_time", Some(line.s_total)),
        ("beta", line.beta),
        ("completions/ungraded_ratio", line.ungraded_fraction),
        ("tokens_per_s", Some(line.tokens_per_s)),
        ("time/rollout_s", Some(line.s_rollout)),
        ("time/reference_s", Some(line.s_reference)),
        ("time/policy_s", Some(line.s_policy)),
        ("time/optimizer_s", Some(line.s_optimizer)),
        ("peak_bytes", line.peak_bytes.map(|bytes| bytes as f64)),
    ];
    let named = named.into_iter().filter_map(|(name, x)| Some((format!("train/{name}"), x?)));
    let components = line.reward_components.iter();
    let components = components.map(|(name, x)| (format!("train/rewards/{name}/mean"), *x));
    named.chain(components).collect()
}

fn evaluation_scalars(record: &EvaluationRecord) -> Vec<(String, f64)> {
    let summary = &record.summary;
    let named = [
        ("accuracy", summary.accuracy),
        ("accuracy_ci95_low", summary.ci95[0]),
        ("accuracy_ci95_high", summary.ci95[1]),
        ("answer_tag_accuracy", summary.answer_tag.accuracy),
        ("format_rate", summary.format_rate),
        ("completions/mean_length", summary.completion_length),
        ("completions/clipped_ratio", summary.truncated_fraction),
    ];
    let components = summary.components.iter();
    let components = components.map(|(name, component)| (name.as_str(), component.mean));
    named.into_iter().chain(components).map(|(name, x)| (format!("eval/{name}"), x)).collect()
}

/// A framed `Event`: `wall_time` (field 1), `step` (2) and the field `what`.
fn event(wall_time: Duration, step: u64, what: &[u8]) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1]; // field 1, eight bytes
    message.extend(wall_time.as_secs_f64().to_le_bytes());
    if step > 0 {
        message.push(2 << 3); // field 2, variable length; 0 is its default and left out
        push_varint(&mut message, step);
    }
    message.extend(what);
    let length = (message.len() as u64).to_le_bytes();
    let (length_sum, message_sum) = (masked_crc32c(&length), masked_crc32c(&message));
    [&length[..], &length_sum.to_le_bytes(), &message, &message_sum.to_le_bytes()].concat()
}

/// `Event.file_version`, field 3.
fn version() -> Vec<u8> {
    delimited(3, b"brain.Event:2")
}

/// `Event.session_log`, field 7, with `SessionLog.status`, field 1, of `START`, 1.
fn session_start() -> Vec<u8> {
    delimited(7, &[1 << 3, 1])
}

/// `Event.summary`, field 5: a list (field 1) of `Summary.Value` with `tag` (1) and `simple_value` (2).
fn summary(scalars: &[(String, f64)]) -> Vec<u8> {
    let mut values = Vec::new();
    for (tag, figure) in scalars {
        let mut value = delimited(1, tag.as_bytes());
        value.push(2 << 3 | 5); // field 2, four bytes
        value.extend((*figure as f32).to_le_bytes());
        values.extend(delimited(1, &value));
    }
    delimited(5, &values)
}

/// A field of bytes, text or another message.
fn delimited(field: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    push_varint(&mut bytes, contents.len() as u64);
    bytes.extend(contents);
    bytes
}

/// Seven bits a byte, the low ones first; all bytes but the last have their high bit set.
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// `TFRecord`'s checksum: CRC-32C, rotated, plus [`MASK`]. Computed bit by bit, for a few hundred bytes an update.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let shifted = |sum: u32| (sum >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(sum & 1));
    let with_byte = |sum, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shifted(sum));
    let sum = !bytes.iter().fold(u32::MAX, with_byte);
    sum.rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Summary, Tally};

    /// The figures that `scripts/reference/check_tensorboard.py golden` passes to TensorBoard's own writer.
    fn example_update() -> UpdateMetrics {
        UpdateMetrics {
            update: 300,
            beta: Some(0.04),
            lr: 1e-6,
            loss: -0.125,
            reward: Some(1.5),
            accuracy_reward: Some(0.0),
            completion_length: 20.5,
            reward_components: [("choice".to_owned(), 0.25)].into(),
            ..UpdateMetrics::default()
        }
    }

    fn example_evaluation() -> EvaluationRecord {
        let summary = Summary {
            task: "synth-vc".to_owned(),
            n: 50,
            rule: "answer-tag".to_owned(),
            correct: 25,
            accuracy: 0.5,
            ci95: [0.25, 0.75],
            answer_tag: Tally { correct: 24, accuracy: 0.48, ci95: [0.25, 0.75] },
            ungraded: 1,
            format_rate: 0.96,
            components: [].into(),
            truncated_fraction: 0.0,
            completion_length: 21.0,
            sampled: None,
        };
        EvaluationRecord { update: 0, summary }
    }

    #[test]
    fn bytes_are_those_of_tensorboards_own_writer() {
        const TIME: Duration = Duration::from_millis(1_700_000_000_250);
        let ours = [
            event(TIME, 0, &version()),
            event(TIME, 300, &session_start()),
            event(TIME, 0, &summary(&evaluation_scalars(&example_evaluation()))),
            event(TIME, 300, &summary(&update_scalars(&example_update()))),
        ];
        let expected = include_bytes!("../../tests/golden/events.tfevents");
        assert!(ours.concat() == expected, "the bytes differ");
    }

    #[test]
    fn checksum_is_castagnolis() {
        // 0xE3069283 is CRC-32C of these bytes in the catalogue of CRCs; rotated by 15, plus the mask.
        let expected = 0xE306_9283_u32.rotate_right(15).wrapping_add(MASK);
        assert_eq!(masked_crc32c(b"123456789"), expected);
    }

    #[test]
    fn a_resumed_run_writes_a_later_file() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join(format!("{EVENTS}9000000000.elsewhere.77.0"));
        std::fs::write(&taken, "").unwrap();
        let paths: Vec<PathBuf> =
            (0..2).map(|step| EventFile::start(folder.path(), step).unwrap().path).collect();
        assert!(taken < paths[0] && paths[0] < paths[1], "{paths:?}");
    }

    #[test]
    fn file_of_a_resumed_run_voids_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = EventFile::start(folder.path(), 5).unwrap().path;
        let bytes = std::fs::read(path).unwrap();
        // Field 2, step 5, then the session's start, then the record's checksum.
        let expected = [&[2 << 3, 5][..], &session_start()].concat();
        assert_eq!(bytes[bytes.len() - 4 - expected.len()..bytes.len() - 4], expected);
    }
}
