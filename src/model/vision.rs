//! Qwen2-VL's vision tower: patches to embeddings that stand among the language model's tokens.
//! Not here: cutting images into patches (`processor`), the operations (`ops`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::angles::vision_angles;
use super::config::VisionConfig;
use super::parameters::Parameters;
use super::stages::{Keep, Stages};
use crate::ops::{
    Angles, Parameter, Segments, layer_norm, linear, linear_part, quick_gelu, rotary,
    segment_attention,
};

/// Epsilon of every LayerNorm in the tower; the configuration file does not carry it.
const EPS: f64 = 1e-6;

/// A weight and its bias.
#[derive(Debug, Clone)]
struct Affine {
    weight: Parameter,
    bias: Parameter,
}

impl Affine {
    fn load(parameters: &Parameters, name: &str) -> Result<Self> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        Ok(Self { weight, bias: parameters.get(&format!("{name}.bias"))? })
    }

    fn map(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, Some(&self.bias))
    }

    fn normalize(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, EPS)
    }
}

/// The vision tower.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: Parameter,
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
            patch_embed: parameters.get("visual.patch_embed.proj.weight")?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            merger: Merger {
                norm: Affine::load(parameters, "visual.merger.ln_q")?,
                first: Affine::load(parameters, "visual.merger.mlp.0")?,
                second: Affine::load(parameters, "visual.merger.mlp.2")?,
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
        let [mut x] = stages.apply([patches], Keep::AsSet, |[patches]| {
            Ok([linear(patches, &self.patch_embed, None)?])
        })?;
        for block in &self.blocks {
            let context = context.clone();
            [x] = stages.apply([&x], Keep::AsSet, move |[x]| {
                Ok([block.forward(x, &context.0, &context.1)?])
            })?;
        }
        let [merged] = stages.apply([&x], Keep::AsSet, |[x]| Ok([self.merger.forward(x)?]))?;
        Ok(merged)
    }
}

#[derive(Debug, Clone)]
struct Block {
    norm1: Affine,
    qkv: Affine,
    proj: Affine,
    norm2: Affine,
    fc1: Affine,
    fc2: Affine,
    heads: usize,
}

impl Block {
    fn new(config: &VisionConfig, parameters: &Parameters, i: usize) -> Result<Self> {
        let part = |name: &str| Affine::load(parameters, &format!("visual.blocks.{i}.{name}"));
        Ok(Self {
            norm1: part("norm1")?,
            qkv: part("attn.qkv")?,
            proj: part("attn.proj")?,
            norm2: part("norm2")?,
            fc1: part("mlp.fc1")?,
            fc2: part("mlp.fc2")?,
            heads: config.num_heads,
        })
    }

    fn forward(&self, x: &Tensor, angles: &Angles, segments: &Segments) -> Result<Tensor> {
        let (patches, width) = x.dims2()?;
        let heads = (patches, self.heads, width / self.heads);
        let h = self.norm1.normalize(x)?;
        let part = |i: usize| {
            let rows = i * width..(i + 1) * width;
            linear_part(&h, &self.qkv.weight, Some(&self.qkv.bias), rows)?.reshape(heads)
        };
        let (q, k, v) = (rotary(&part(0)?, angles)?, rotary(&part(1)?, angles)?, part(2)?);
        let h = segment_attention(&q, &k, &v, segments)?.reshape((patches, width))?;
        let x = (x + self.proj.map(&h)?)?;
        let h = quick_gelu(&self.fc1.map(&self.norm2.normalize(&x)?)?)?;
        x + self.fc2.map(&h)?
    }
}

#[derive(Debug, Clone)]
struct Merger {
    norm: Affine,
    first: Affine,
    second: Affine,
    width: usize,
}

impl Merger {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.normalize(x)?;
        let windows = h.elem_count() / self.width;
        let h = h.reshape((windows, self.width))?; // [windows, merge^2 * embed]
        self.second.map(&self.first.map(&h)?.gelu_erf()?)
    }
}
