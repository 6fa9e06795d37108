//! What is specific to Qwen3-VL (Bai et al. 2025), the dense models: the parts of its vision tower, which has learned positions
//! and of which the decoder's first layers see some blocks, and of its decoder.
//! Not here: the tower itself (`tower`), its table of positions (`learned_positions`), the decoder (`language`).

use super::config::{Axes, DecoderParts, Heads, TextDefaults};
use super::error::ModelError;
use super::fields::Section;
use super::tower_parts::{MlpKind, NormKind, TowerParts};
use super::vision_config::VisionConfig;
use crate::ops::Gelu;

/// What the tower is made of.
pub(super) const TOWER: TowerParts = TowerParts {
    patch_bias: true,
    norm: NormKind::Layer,
    mlp: MlpKind::Plain { maps: ["linear_fc1", "linear_fc2"], activation: Gelu::Tanh },
    merger_norm: "norm",
    merger_maps: ["linear_fc1", "linear_fc2"],
};

/// What the decoder is made of, and what transformers 5.24 gives a configuration that leaves it out
/// (`configuration_qwen3_vl.py`).
pub(super) const DECODER: TextDefaults = TextDefaults {
    parts: DecoderParts { heads: Heads::Normalized, axes: Axes::Interleaved },
    rms_norm_eps: 1e-6,
    rope_theta: 500_000.0,
    max_position_embeddings: 128_000,
    head_dim: Some(128),
};

/// The tower's sizes, from `vision_config`.
///
/// # Errors
/// A field is missing, of the wrong type or inconsistent with another.
pub(super) fn read_vision(
    vision: &Section,
    text_hidden: usize,
) -> Result<VisionConfig, ModelError> {
    vision.require_word("hidden_act", "gelu_pytorch_tanh")?;
    let config = VisionConfig {
        depth: vision.layers("depth")?,
        embed_dim: vision.size("hidden_size", None)?,
        mlp_hidden: vision.size("intermediate_size", Some(4304))?,
        num_heads: vision.size("num_heads", None)?,
        in_channels: vision.factor("in_channels", 3)?,
        patch_size: vision.factor("patch_size", 16)?,
        temporal_patch_size: vision.factor("temporal_patch_size", 2)?,
        spatial_merge_size: vision.factor("spatial_merge_size", 2)?,
        windows: None,
        table_side: Some(read_table_side(vision)?),
        deepstack: Vec::new(),
    };
    config.require_heads(vision, "hidden_size")?;
    vision.require_size("out_hidden_size", text_hidden, "the language model's hidden_size")?;
    let field = "deepstack_visual_indexes";
    let deepstack = vision.indices(field, &[8, 16, 24], config.depth, "depth")?;
    if !deepstack.is_sorted_by(|left, right| left < right) {
        return Err(vision.wrong(field, "blocks in ascending order, each once"));
    }
    Ok(VisionConfig { deepstack, ..config })
}

fn read_table_side(vision: &Section) -> Result<usize, ModelError> {
    let entries = vision.size("num_position_embeddings", Some(2304))?;
    let side = entries.isqrt();
    if side * side != entries {
        return Err(vision.wrong("num_position_embeddings", "a square number"));
    }
    Ok(side)
}
