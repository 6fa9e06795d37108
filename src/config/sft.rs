//! `[sft]`: what supervised fine-tuning teaches.
//! Not here: the loss (`train::supervised`), where data holds reasoning (`data`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[sft]`; without effect beside another method.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SftConfig {
    /// Which fields of a row are taught.
    pub target: SftTarget,
    /// Takes the loss over the prompt's text as well as over the answer, as R1-V's script does; image tokens are
    /// never taught.
    pub train_on_prompt: bool, // false: the answer alone, as is usual
}

/// Which fields of a row supervised fine-tuning teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SftTarget {
    /// The reasoning with the solution where the row has one, else the solution alone.
    #[default]
    Auto,
    /// The reasoning with the solution; a row without reasoning is an error.
    Reasoning,
    /// The solution alone, even where there is reasoning.
    Solution,
}
