//! What is measured at every update: the fields of a line of `metrics.jsonl`.
//! Not here: writing the lines (`json_lines`, `records`), showing them (`progress`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::RunFolderError;
use super::{json_lines, number};

/// One line of `metrics.jsonl`. The names are fixed: programs read them.
///
/// A figure that the method does not have is `None`, `null` in the file: supervised training samples
/// no completions, and a KL weight of zero loads no reference model. One that is not finite is a string, "NaN", "Infinity" or
/// "-Infinity". The fields from `tokens_per_s`
/// on depend on the machine; all others are the same in every repetition of a run on the CPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateMetrics {
    /// The update's number, from 1.
    pub update: u64,
    /// The weight of the KL term, Eq. (3).
    #[serde(default, with = "number::optional")]
    pub beta: Option<f64>,
    /// The learning rate.
    #[serde(with = "number")]
    pub lr: f64,
    /// What was minimised: Eq. (4), or in supervised training the mean negative log-likelihood of a token, nats.
    #[serde(with = "number")]
    pub loss: f64,
    /// Mean of the rewards over the batch's completions.
    #[serde(default, with = "number::optional")]
    pub reward: Option<f64>,
    /// Mean over groups of the standard deviation of a group's rewards, with the N-1 divisor.
    #[serde(default, with = "number::optional")]
    pub reward_std: Option<f64>,
    /// Mean of the accuracy rewards, 0 to 1.
    #[serde(default, with = "number::optional")]
    pub accuracy_reward: Option<f64>,
    /// Mean of the format rewards, 0 to 1, before they are weighted.
    #[serde(default, with = "number::optional")]
    pub format_reward: Option<f64>,
    /// Means of the run file's further reward components, by name, before they are weighted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "number::named")]
    pub reward_components: BTreeMap<String, f64>,
    /// Fraction of the completions without an answer that could be graded, 0 to 1; their accuracy is 0.
    #[serde(default, with = "number::optional")]
    pub ungraded_fraction: Option<f64>,
    /// Mean over completions of the mean k3 estimate of their tokens, Eq. (5), nats.
    #[serde(default, with = "number::optional")]
    pub kl: Option<f64>,
    /// Fraction of the tokens for which the clipped term is the smaller one, 0 to 1.
    #[serde(default, with = "number::optional")]
    pub clip_fraction: Option<f64>,
    /// Mean entropy of the policy's distribution at the scored tokens, nats.
    #[serde(default, with = "number::optional")]
    pub entropy: Option<f64>,
    /// The largest absolute difference between the log-probability that a token was drawn with and the one that training
    /// computes for it under the same policy, nats.
    #[serde(default, with = "number::optional")]
    pub logp_mismatch_max: Option<f64>,
    /// The mean of those differences over the update's tokens, nats.
    #[serde(default, with = "number::optional")]
    pub logp_mismatch_mean: Option<f64>,
    /// Mean length of a completion, tokens.
    #[serde(with = "number")]
    pub completion_length: f64,
    /// Fraction of the completions that the token limit cut off, 0 to 1.
    #[serde(default, with = "number::optional")]
    pub truncated_fraction: Option<f64>,
    /// Fraction of the groups whose completions all have the same reward, 0 to 1.
    #[serde(default, with = "number::optional")]
    pub zero_signal_fraction: Option<f64>,
    /// Norm of the whole gradient before clipping.
    #[serde(with = "number")]
    pub grad_norm: f64,
    /// Tokens of prompts and completions trained on, per second of the whole update.
    #[serde(with = "number")]
    pub tokens_per_s: f64,
    /// Time spent on drawing prompts, sampling completions and rewarding them, s.
    #[serde(with = "number")]
    pub s_rollout: f64,
    /// Time spent on the reference model's log-probabilities, and on reading its weights where it has no copy of them, s.
    #[serde(with = "number")]
    pub s_reference: f64,
    /// Time spent on the policy's forward and backward passes, s.
    #[serde(with = "number")]
    pub s_policy: f64,
    /// Time spent on the optimiser's steps, s.
    #[serde(with = "number")]
    pub s_optimizer: f64,
    /// Time of the whole update, s.
    #[serde(with = "number")]
    pub s_total: f64,
    /// The most memory that was held so far where the run computes: the process's own on the CPU, what it allocated of a GPU's,
    /// bytes; `None` where the system does not report it.
    pub peak_bytes: Option<u64>,
}

/// The metrics of a run's updates so far; none where there is no such file.
///
/// # Errors
/// The file cannot be read, or a finished line is not such a record.
pub fn read(path: &Path) -> Result<Vec<UpdateMetrics>, RunFolderError> {
    json_lines::read(path)
}

/// The most memory this process has held so far, in bytes: the resident set's high-water mark.
/// `None` outside Linux.
pub fn peak_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The memory this process holds now, in bytes: its resident set. `None` outside Linux.
pub fn resident_bytes() -> Option<u64> {
    field_bytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// `VmHWM` of `/proc/PID/status`, which the kernel gives in units of 1024 bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    field_bytes(status, "VmHWM:")
}

/// A field of the kernel's files on memory, given there in units of 1024 bytes.
pub(crate) fn field_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
