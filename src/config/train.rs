//! `[train]`: the run's length and seed, micro-batches, checkpoints, warnings.
//! Not here: the loop (`train`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::violation::{Violation, count, fraction, require};
use crate::limits;

/// Epochs of a run that gives neither `updates` nor `epochs`. R1-V: `--num_train_epochs 2`.
pub(super) const DEFAULT_EPOCHS: u8 = 2;

/// `[train]`. Exactly one of `updates` and `epochs` is set once a file is loaded.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The run's length in optimiser steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<usize>,
    /// The run's length in passes over the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Every random number of the run is a function of it.
    pub seed: u64,
    /// Packed tokens of one forward and backward pass, at most (one sample may be longer).
    /// Changes speed and memory, and the gradient by rounding alone.
    pub tokens_per_micro_batch: usize,
    /// Updates between checkpoints; 0 writes one at the end alone.
    pub checkpoint_every: usize,
    /// Checkpoints that stay on disk, the newest ones.
    pub keep: usize,
    /// Keeps besides them the checkpoint of the evaluation with the highest accuracy, which is saved for it where none is
    /// due. Of equal ones the first stays.
    pub keep_best: bool,
    /// Updates between evaluations; 0 is never.
    pub eval_every: usize,
    /// Writes the optimiser's state into checkpoints; without it a run cannot be resumed.
    pub save_optimizer: bool,
    /// Writes every completion's tokens into `completions.jsonl`, so that `rollout.replay` can take them from there:
    /// 4.8 bytes a token in Qwen2-VL's vocabulary, as measured on its tokenizer's golden cases.
    pub record_token_ids: bool,
    /// Warns once no group has had unequal rewards for that many updates in a row; 0 is never.
    pub warn_after_silent_updates: usize,
    /// Warns where more than this fraction of a batch's completions repeat another of their group.
    pub warn_duplicate_fraction: f64,
    /// Warns where more than this fraction of a batch's completions were cut off.
    pub warn_truncated_fraction: f64,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunLength {
    /// That many optimiser steps.
    Updates(usize),
    /// That many passes over the data.
    Epochs(usize),
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            updates: None,
            epochs: None,                 // see `DEFAULT_EPOCHS`
            seed: 42,                     // transformers: seed
            tokens_per_micro_batch: 8192, // ours: about one group of 8 with a 512-token image
            checkpoint_every: 100,        // R1-V: --save_steps 100
            keep: 3,                      // ours: one to resume from, one behind it, one to spare
            keep_best: false,             // transformers: load_best_model_at_end = False
            eval_every: 0,                // R1-V evaluates after training
            save_optimizer: true,         // ours: runs can be resumed; R1-V saves the model alone
            record_token_ids: true,       // ours: what was trained on can be trained on again
            warn_after_silent_updates: 10,
            warn_duplicate_fraction: 0.9,
            warn_truncated_fraction: 0.9,
        }
    }
}

impl TrainConfig {
    /// The run's length: `updates` where set, else `epochs`.
    pub fn length(&self) -> RunLength {
        self.updates.map_or_else(
            || RunLength::Epochs(self.epochs.unwrap_or(usize::from(DEFAULT_EPOCHS))),
            RunLength::Updates,
        )
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        if let (Some(updates), Some(epochs)) = (self.updates, self.epochs) {
            let found = format!("{epochs} beside train.updates = {updates}");
            let expected = "exactly one of train.updates and train.epochs";
            require(false, "train.epochs", found, expected, "leave one of the two out")?;
        }
        if let Some(updates) = self.updates {
            count(
                "train.updates",
                updates,
                limits::UPDATES,
                "`othink eval` measures without training",
            )?;
        }
        if let Some(epochs) = self.epochs {
            count(
                "train.epochs",
                epochs,
                limits::UPDATES,
                "train.updates makes runs shorter than an epoch",
            )?;
        }
        require(
            i64::try_from(self.seed).is_ok(),
            "train.seed",
            self.seed,
            "a whole number below 2^63",
            "TOML's whole numbers end there",
        )?;
        count(
            "train.tokens_per_micro_batch",
            self.tokens_per_micro_batch,
            limits::TOKENS,
            "8192 is the default; less saves memory",
        )?;
        count("train.keep", self.keep, limits::UPDATES, "the newest checkpoint always stays")?;
        let warn_hint = "1 never warns";
        fraction("train.warn_duplicate_fraction", self.warn_duplicate_fraction, warn_hint)?;
        fraction("train.warn_truncated_fraction", self.warn_truncated_fraction, warn_hint)
    }
}
