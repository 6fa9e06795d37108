//! `[model.lora]`: low-rank factors that are trained in the place of the model's own weights.
//! Not here: which maps a target means or what factors do (`model`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::violation::{Violation, count, positive, require};
use crate::limits;

/// `[model.lora]`; without it, the model's own weights are trained.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the factors, PEFT's `r`.
    pub rank: usize,
    /// The factors' product is multiplied by this over the rank, PEFT's `lora_alpha`.
    pub alpha: f64,
    /// Multiplies by `alpha` over the rank's square root instead, PEFT's `use_rslora`.
    pub rslora: bool,
    /// Which linear maps get factors, by the ends of their names, such as `q_proj`, as in PEFT's `target_modules`; without it,
    /// all of the language model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Means the vision tower's linear maps, too.
    pub vision: bool,
    /// The probability that an input of the factors is left out while they learn, PEFT's `lora_dropout`.
    pub dropout: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,    // TRL's lora_r
            alpha: 32.0, // TRL's lora_alpha
            rslora: false,
            targets: None,
            vision: false,
            dropout: 0.0, // TRL's lora_dropout is 0.05
        }
    }
}

impl LoraConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        let key = "model.lora.rank";
        count(
            key,
            self.rank,
            limits::MOST_RANK,
            "8 to 64 is usual; leave [model.lora] out for none",
        )?;
        positive("model.lora.alpha", self.alpha, "once or twice the rank is usual")?;
        require(
            (0.0..1.0).contains(&self.dropout),
            "model.lora.dropout",
            self.dropout,
            "a number from 0 to below 1",
            "0.05 is usual; 0 for none",
        )?;
        let Some(targets) = &self.targets else { return Ok(()) };
        require(
            !targets.is_empty() && targets.iter().all(|target| !target.trim().is_empty()),
            "model.lora.targets",
            format!("{targets:?}"),
            "names of linear maps, or their ends",
            "for example [\"q_proj\", \"v_proj\"]; leave it out for all of the language model",
        )
    }
}
