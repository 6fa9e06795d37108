//! What is specific to Qwen2-VL (Wang et al. 2024): the parts of its vision tower and of its decoder.
//! Not here: the tower itself (`tower`), the decoder (`language`).

use super::config::{Axes, DecoderParts, Heads, TextDefaults};
use super::error::ModelError;
use super::fields::Section;
use super::tower_parts::{MlpKind, NormKind, TowerParts};
use super::vision_config::VisionConfig;
use crate::ops::Gelu;

/// What the tower is made of.
pub(super) const TOWER: TowerParts = TowerParts {
    patch_bias: false,
    norm: NormKind::Layer,
    mlp: MlpKind::Plain { maps: ["fc1", "fc2"], activation: Gelu::Quick },
    merger_norm: "ln_q",
    merger_maps: ["mlp.0", "mlp.2"],
};

/// What the decoder is made of, and what transformers 5.24 gives a configuration that leaves it out
/// (`configuration_qwen2_vl.py`, and `configuration_qwen2_5_vl.py` alike).
pub(super) const DECODER: TextDefaults = TextDefaults {
    parts: DecoderParts { heads: Heads::Biased, axes: Axes::InTurn },
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    max_position_embeddings: 32_768,
    head_dim: None,
};

/// The tower's sizes, from `vision_config`.
///
/// # Errors
/// A field is missing, of the wrong type or inconsistent with another.
pub(super) fn read_vision(
    vision: &Section,
    text_hidden: usize,
) -> Result<VisionConfig, ModelError> {
    vision.require_word("hidden_act", "quick_gelu")?;
    let embed_dim = vision.size("embed_dim", None)?;
    let hub_channels = vision.factor("in_chans", 3)?;
    let config = VisionConfig {
        depth: vision.layers("depth")?,
        embed_dim,
        mlp_hidden: embed_dim * vision.factor("mlp_ratio", 4)?,
        num_heads: vision.size("num_heads", None)?,
        in_channels: vision.factor("in_channels", hub_channels)?,
        patch_size: vision.factor("patch_size", 14)?,
        temporal_patch_size: vision.factor("temporal_patch_size", 2)?,
        spatial_merge_size: vision.factor("spatial_merge_size", 2)?,
        windows: None,
        table_side: None,
        deepstack: Vec::new(),
    };
    config.require_heads(vision, "embed_dim")?;
    vision.require_size("hidden_size", text_hidden, "the language model's hidden_size")?;
    Ok(config)
}
