//! What is specific to Qwen2.5-VL (Bai et al. 2025): the parts of its vision tower, whose patches see their window in most
//! blocks, and their sizes.
//! Not here: the tower itself (`tower`), the order of windows (`windows`), the decoder, which is Qwen2-VL's (`language`).

use super::error::ModelError;
use super::fields::Section;
use super::tower_parts::{MlpKind, NormKind, TowerParts};
use super::vision_config::{VisionConfig, Windows};

/// What the tower is made of.
pub(super) const TOWER: TowerParts = TowerParts {
    patch_bias: false,
    norm: NormKind::Rms,
    mlp: MlpKind::Gated { maps: ["gate_proj", "up_proj", "down_proj"] },
    merger_norm: "ln_q",
    merger_maps: ["mlp.0", "mlp.2"],
};

/// The tower's sizes, from `vision_config`. Defaults are those of transformers 5.24 (`configuration_qwen2_5_vl.py`), but for
/// sizes that its files never leave out.
///
/// # Errors
/// A field is missing, of the wrong type or inconsistent with another.
pub(super) fn read_vision(
    vision: &Section,
    text_hidden: usize,
) -> Result<VisionConfig, ModelError> {
    vision.require_word("hidden_act", "silu")?;
    let hub_channels = vision.factor("in_chans", 3)?;
    let mut config = VisionConfig {
        depth: vision.layers("depth")?,
        embed_dim: vision.size("hidden_size", None)?,
        mlp_hidden: vision.size("intermediate_size", Some(3420))?,
        num_heads: vision.size("num_heads", None)?,
        in_channels: vision.factor("in_channels", hub_channels)?,
        patch_size: vision.factor("patch_size", 14)?,
        temporal_patch_size: vision.factor("temporal_patch_size", 2)?,
        spatial_merge_size: vision.factor("spatial_merge_size", 2)?,
        windows: None,
        table_side: None,
        deepstack: Vec::new(),
    };
    config.require_heads(vision, "hidden_size")?;
    vision.require_size("out_hidden_size", text_hidden, "the language model's hidden_size")?;
    config.windows = Some(read_windows(vision, &config)?);
    Ok(config)
}

fn read_windows(vision: &Section, config: &VisionConfig) -> Result<Windows, ModelError> {
    let token = config.patch_size * config.spatial_merge_size;
    let side =
        vision.size("window_size", Some(112))? / config.spatial_merge_size / config.patch_size;
    if side == 0 {
        let expected = format!("at least {token} pixels, a token's side");
        return Err(vision.wrong("window_size", &expected));
    }
    let whole = vision.indices("fullatt_block_indexes", &[7, 15, 23, 31], config.depth, "depth")?;
    Ok(Windows { side, whole })
}
