//! What is specific to Qwen2-VL: its vision tower, which makes patches into embeddings that stand among the
//! language model's tokens, with the tower's sizes, its parameters and the elements it keeps.
//! Not here: cutting images into patches (`processor`), the decoder (`language`), the operations (`ops`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::angles::vision_angles;
use super::config::{VisionConfig, push_with_bias};
use super::error::ModelError;
use super::fields::Section;
use super::linear::find;
use super::parameters::Parameters;
use super::stages::{Kept, Part, Stages};
use crate::ops::{
    Angles, AttentionMaps, Gelu, LinearParameters, LinearPart, MlpMaps, NormParameters, Product,
    Segments, linear, mlp, residual_attention, residual_mlp,
};

/// Epsilon of every LayerNorm in the tower; the configuration file does not carry it.
const EPS: f64 = 1e-6;

/// The tower's sizes, from `vision_config`.
///
/// # Errors
/// A field is missing, of the wrong type or inconsistent with another.
pub(super) fn read_vision(
    vision: &Section,
    text_hidden: usize,
) -> std::result::Result<VisionConfig, ModelError> {
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
    };
    // The rotation has two coordinates, and each takes pairs of elements.
    if !embed_dim.is_multiple_of(4 * config.num_heads) {
        let expected = format!("a multiple of 4 * num_heads = {}", 4 * config.num_heads);
        return Err(vision.wrong("embed_dim", &expected));
    }
    if vision.size("hidden_size", Some(text_hidden))? != text_hidden {
        let expected = format!("the language model's hidden_size = {text_hidden}");
        return Err(vision.wrong("hidden_size", &expected));
    }
    Ok(config)
}

/// The tower's parameters, in the order of the hub's module tree.
pub(super) fn vision_shapes(
    vision: &VisionConfig,
    text_hidden: usize,
) -> Vec<(String, Vec<usize>)> {
    let (width, merged) = (vision.embed_dim, vision.merged_dim());
    let patch = vision.patch_size;
    let mut shapes = vec![(
        "visual.patch_embed.proj.weight".to_owned(),
        vec![width, vision.in_channels, vision.temporal_patch_size, patch, patch],
    )];
    for block in 0..vision.depth {
        let prefix = format!("visual.blocks.{block}");
        for norm in ["norm1", "norm2"] {
            push_with_bias(&mut shapes, &format!("{prefix}.{norm}"), &[width]);
        }
        push_with_bias(&mut shapes, &format!("{prefix}.attn.qkv"), &[3 * width, width]);
        push_with_bias(&mut shapes, &format!("{prefix}.attn.proj"), &[width, width]);
        push_with_bias(&mut shapes, &format!("{prefix}.mlp.fc1"), &[vision.mlp_hidden, width]);
        push_with_bias(&mut shapes, &format!("{prefix}.mlp.fc2"), &[width, vision.mlp_hidden]);
    }
    push_with_bias(&mut shapes, "visual.merger.ln_q", &[width]);
    push_with_bias(&mut shapes, "visual.merger.mlp.0", &[merged, merged]);
    push_with_bias(&mut shapes, "visual.merger.mlp.2", &[text_hidden, merged]);
    shapes
}

/// Elements kept per patch in one block. In its first half: the input, the norm, attention's output and the sum; queries
/// and keys before and after rotation, values, attention's result. In its MLP: the input, the norm, the output and the
/// sum; the first map and its activation.
pub(super) fn kept_by_block(vision: &VisionConfig) -> Kept {
    Kept { mix: 10 * vision.embed_dim, mlp: 4 * vision.embed_dim + 2 * vision.mlp_hidden }
}

/// The same where the block is composed of candle's operations (`ops::plain`), without attention's scores. Beyond what
/// [`kept_by_block`] counts: four rows of a norm; a product before its bias; three of a rotation's four; queries, keys
/// (twice) and values, and the result (twice), as attention lays them out; two of the activation's three.
pub(super) fn kept_by_plain_block(vision: &VisionConfig) -> Kept {
    let Kept { mix, mlp } = kept_by_block(vision);
    let (width, norm) = (vision.embed_dim, 4 * vision.embed_dim);
    let (biases, rotation, attention) = (4 * width, 6 * width, 6 * width);
    Kept {
        mix: mix + norm + biases + rotation + attention,
        mlp: mlp + norm + width + 3 * vision.mlp_hidden,
    }
}

/// Elements kept per patch where patches are merged: input and norm, the first map and its activation, the second map.
pub(super) fn kept_by_merger(vision: &VisionConfig, text_hidden: usize) -> usize {
    4 * vision.embed_dim + text_hidden / vision.spatial_merge_size.pow(2)
}

/// A LayerNorm's parameters by their names in a checkpoint.
fn layer_norm(parameters: &Parameters, name: &str) -> Result<NormParameters> {
    let weight = parameters.get(&format!("{name}.weight"))?;
    Ok(NormParameters { weight, bias: Some(parameters.get(&format!("{name}.bias"))?), eps: EPS })
}

/// The vision tower.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: LinearParameters,
    blocks: Vec<Block>,
    merger: Merger,
}

impl VisionTower {
    /// Takes its parameters by their hub names.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn new(config: &VisionConfig, parameters: &Parameters) -> Result<Self> {
        let block = |i| Block::new(config, parameters, i);
        Ok(Self {
            config: config.clone(),
            patch_embed: find(parameters, "visual.patch_embed.proj")?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            merger: Merger {
                norm: layer_norm(parameters, "visual.merger.ln_q")?,
                mlp: MlpMaps {
                    first: find(parameters, "visual.merger.mlp.0")?,
                    activation: Gelu::Erf,
                    second: find(parameters, "visual.merger.mlp.2")?,
                },
                width: config.merged_dim(),
            },
        })
    }

    /// Embeds the patches of all images of a stream.
    ///
    /// - `patches`: `[patches, channels * frames * side * side]` in the run's dtype, images one after
    ///   the other; `grids`: frames, rows and columns of patches per image
    /// - returns `[patches / merge^2, hidden]`
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        patches: &Tensor,
        grids: &[[usize; 3]],
    ) -> Result<Tensor> {
        let config = &self.config;
        let (dtype, device) = (patches.dtype(), patches.device());
        let merge = config.spatial_merge_size;
        let angles = vision_angles(grids, merge, config.head_dim(), dtype, device)?;
        // A frame attends to itself alone, as in the reference.
        let frames: Vec<usize> = grids.iter().flat_map(|g| vec![g[1] * g[2]; g[0]]).collect();
        let context = Arc::new((angles, Segments::separate(&frames)?));
        let LinearParameters { weight, bias } = &self.patch_embed;
        let [mut x] = stages.apply([patches], Part::Layer, |[patches]| {
            Ok([linear(patches, weight, bias.as_ref(), Product::Blocked)?])
        })?;
        for block in &self.blocks {
            let context = context.clone();
            [x] = stages
                .apply([&x], Part::Layer, move |[x]| Ok([block.mix(x, &context.0, &context.1)?]))?;
            [x] = stages.apply([&x], Part::Mlp, |[x]| Ok([block.transform(x)?]))?;
        }
        let [merged] = stages.apply([&x], Part::Mlp, |[x]| Ok([self.merger.forward(x)?]))?;
        Ok(merged)
    }
}

#[derive(Debug, Clone)]
struct Block {
    norm1: NormParameters,
    attention: AttentionMaps,
    norm2: NormParameters,
    mlp: MlpMaps,
}

impl Block {
    fn new(config: &VisionConfig, parameters: &Parameters, i: usize) -> Result<Self> {
        let name = |name: &str| format!("visual.blocks.{i}.{name}");
        let norm = |of: &str| layer_norm(parameters, &name(of));
        let (qkv, width) = (find(parameters, &name("attn.qkv"))?, config.embed_dim);
        let part =
            |i: usize| LinearPart { parameters: qkv.clone(), rows: i * width..(i + 1) * width };
        let attention = AttentionMaps {
            q: part(0),
            k: part(1),
            v: part(2),
            o: find(parameters, &name("attn.proj"))?,
            head_dim: config.head_dim(),
        };
        let mlp = MlpMaps {
            first: find(parameters, &name("mlp.fc1"))?,
            activation: Gelu::Quick,
            second: find(parameters, &name("mlp.fc2"))?,
        };
        Ok(Self { norm1: norm("norm1")?, attention, norm2: norm("norm2")?, mlp })
    }

    /// The block's first half, in which patches see each other.
    fn mix(&self, x: &Tensor, angles: &Angles, segments: &Segments) -> Result<Tensor> {
        residual_attention(x, &self.norm1, &self.attention, angles, segments)
    }

    /// The block's second half, its MLP, in which each patch is by itself.
    fn transform(&self, x: &Tensor) -> Result<Tensor> {
        residual_mlp(x, &self.norm2, &self.mlp, Product::Blocked)
    }
}

#[derive(Debug, Clone)]
struct Merger {
    norm: NormParameters,
    mlp: MlpMaps,
    width: usize,
}

impl Merger {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.apply(x)?;
        let windows = h.elem_count() / self.width;
        let h = h.reshape((windows, self.width))?; // [windows, merge^2 * embed]
        mlp(&h, &self.mlp, Product::Blocked)
    }
}
