//! `[model]`: which model is trained, where and in which number format.
//! Not here: reading the model's files (`model`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LoraConfig;
use super::choice::{CheckpointingChoice, DTypeChoice, DeviceChoice};
use super::violation::{Violation, require};

/// The model whose post-training the paper reports.
pub const PAPERS_MODEL: &str = "Qwen/Qwen2-VL-2B-Instruct";

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// `tiny` (built in), a folder in the Hugging Face layout, or a hub id such as
    /// `Qwen/Qwen2-VL-2B-Instruct`.
    pub path: String,
    /// Number format of parameters and matrix products.
    pub dtype: DTypeChoice,
    /// Where tensors live.
    pub device: DeviceChoice,
    /// Leaves the vision tower as it is.
    pub freeze_vision: bool,
    /// Which activations are computed again in the backward pass instead of kept: less memory, more time, the same
    /// gradients.
    pub activation_checkpointing: CheckpointingChoice,
    /// Trains low-rank factors (LoRA) in the place of the model's own weights, `[model.lora]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            path: "tiny".to_owned(), // needs no download; the paper trains Qwen2-VL-2B-Instruct
            dtype: DTypeChoice::Auto, // R1-V: bf16 on GPUs
            device: DeviceChoice::Auto,
            freeze_vision: false, // R1-V: all parameters are trained
            activation_checkpointing: CheckpointingChoice::None, // R1-V: --gradient_checkpointing false
            lora: None,                                          // R1-V: no PEFT
        }
    }
}

impl ModelConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        require(
            !self.path.trim().is_empty(),
            "model.path",
            "empty",
            "`tiny`, a model folder or a hub id",
            "for example model.path = \"Qwen/Qwen2-VL-2B-Instruct\"",
        )?;
        self.lora.as_ref().map_or(Ok(()), LoraConfig::check)
    }
}
