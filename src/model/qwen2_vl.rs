//! What is specific to Qwen2-VL (Wang et al. 2024): the parts of its vision tower and their sizes.
//! Not here: the tower itself (`tower`), the decoder (`language`).

use super::config::VisionConfig;
use super::error::ModelError;
use super::fields::Section;
use super::tower::{MlpKind, NormKind, TowerParts};
use crate::ops::Gelu;

/// What the tower is made of.
pub(super) const TOWER: TowerParts = TowerParts {
    norm: NormKind::Layer,
    mlp: MlpKind::Plain { maps: ["fc1", "fc2"], activation: Gelu::Quick },
    merger_norm: "ln_q",
    merger_maps: ["mlp.0", "mlp.2"],
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
    };
    config.require_heads(vision, "embed_dim")?;
    vision.require_size("hidden_size", text_hidden, "the language model's hidden_size")?;
    Ok(config)
}
