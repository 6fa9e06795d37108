//! The vision tower, which makes patches into embeddings that stand among the language model's tokens: its parameters, the
//! elements it keeps, and its stages.
//! Not here: what it is made of in which family (`family`), cutting images into patches (`processor`), the decoder
//! (`language`), the operations (`ops`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::angles::{patch_positions, vision_angles};
use super::config::{ModelConfig, VisionConfig, push_with_bias};
use super::linear::find;
use super::parameters::Parameters;
use super::stages::{Kept, Part, Stages};
use super::windows::WindowOrder;
use crate::ops::{
    Angles, AttentionMaps, GatedMaps, Gelu, LinearParameters, LinearPart, MlpMaps, NormParameters,
    Product, Segments, linear, mlp, residual_attention, residual_gated_mlp, residual_mlp,
    select_rows,
};

/// Epsilon of every norm in the tower; the configuration file does not carry it.
const EPS: f64 = 1e-6;

/// What a family's tower is made of, with the names of the parts that families name differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct TowerParts {
    pub(super) norm: NormKind,
    pub(super) mlp: MlpKind,
    /// The norm where patches become tokens.
    pub(super) merger_norm: &'static str,
    /// The two maps there.
    pub(super) merger_maps: [&'static str; 2],
}

/// The kind of every norm in a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormKind {
    Layer,
    Rms,
}

/// The MLP of a block, with the names of its maps. Every map has a bias.
#[derive(Debug, Clone, Copy)]
pub(super) enum MlpKind {
    /// Two maps with an activation between them.
    Plain { maps: [&'static str; 2], activation: Gelu },
    /// With SwiGLU: to the gate, to what it gates, and back.
    Gated { maps: [&'static str; 3] },
}

impl MlpKind {
    /// Maps to the width inside the MLP.
    pub(super) fn n_wide(self) -> usize {
        match self {
            Self::Plain { .. } => 1,
            Self::Gated { .. } => 2,
        }
    }
}

impl TowerParts {
    /// The tower's parameters, in the order of the hub's module tree.
    pub(super) fn shapes(
        &self,
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
            self.push_block(&mut shapes, &format!("visual.blocks.{block}"), vision);
        }
        self.push_norm(&mut shapes, &format!("visual.merger.{}", self.merger_norm), width);
        let [first, second] = self.merger_maps.map(|map| format!("visual.merger.{map}"));
        push_with_bias(&mut shapes, &first, &[merged, merged]);
        push_with_bias(&mut shapes, &second, &[text_hidden, merged]);
        shapes
    }

    fn push_block(
        &self,
        shapes: &mut Vec<(String, Vec<usize>)>,
        prefix: &str,
        vision: &VisionConfig,
    ) {
        let (width, inner) = (vision.embed_dim, vision.mlp_hidden);
        for norm in ["norm1", "norm2"] {
            self.push_norm(shapes, &format!("{prefix}.{norm}"), width);
        }
        push_with_bias(shapes, &format!("{prefix}.attn.qkv"), &[3 * width, width]);
        push_with_bias(shapes, &format!("{prefix}.attn.proj"), &[width, width]);
        let (to_inner, back) = match &self.mlp {
            MlpKind::Plain { maps: [first, second], .. } => (&[*first][..], second),
            MlpKind::Gated { maps: [gate, up, down] } => (&[*gate, *up][..], down),
        };
        for map in to_inner {
            push_with_bias(shapes, &format!("{prefix}.mlp.{map}"), &[inner, width]);
        }
        push_with_bias(shapes, &format!("{prefix}.mlp.{back}"), &[width, inner]);
    }

    fn push_norm(&self, shapes: &mut Vec<(String, Vec<usize>)>, name: &str, width: usize) {
        match self.norm {
            NormKind::Layer => push_with_bias(shapes, name, &[width]),
            NormKind::Rms => shapes.push((format!("{name}.weight"), vec![width])),
        }
    }

    /// Elements kept per patch in one block. In its first half: the input, the norm, attention's output and the sum; queries
    /// and keys before and after rotation, values, attention's result. In its MLP: the input, the norm, the output and the
    /// sum; the maps to its inner width and what is made of them.
    pub(super) fn kept_by_block(&self, vision: &VisionConfig) -> Kept {
        let inner = (self.mlp.n_wide() + 1) * vision.mlp_hidden;
        Kept { mix: 10 * vision.embed_dim, mlp: 4 * vision.embed_dim + inner }
    }

    /// The same where the block is composed of candle's operations (`ops::plain`), without attention's scores. Beyond what
    /// [`Self::kept_by_block`] counts: four rows of a `LayerNorm`, two of an RMS norm; a product before its bias; three of a
    /// rotation's four; queries, keys (twice) and values, and the result (twice), as attention lays them out; two of the
    /// activation's three, or `silu(gate)`.
    pub(super) fn kept_by_plain_block(&self, vision: &VisionConfig) -> Kept {
        let Kept { mix, mlp } = self.kept_by_block(vision);
        let width = vision.embed_dim;
        let norm = match self.norm {
            NormKind::Layer => 4 * width,
            NormKind::Rms => 2 * width,
        };
        let (biases, rotation, attention) = (4 * width, 6 * width, 6 * width);
        // Plain and gated alike: one or two products before their biases, two or one of the activation.
        let inner = 3 * vision.mlp_hidden;
        Kept { mix: mix + norm + biases + rotation + attention, mlp: mlp + norm + width + inner }
    }

    fn find_norm(&self, parameters: &Parameters, name: &str) -> Result<NormParameters> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        let bias = match self.norm {
            NormKind::Layer => Some(parameters.get(&format!("{name}.bias"))?),
            NormKind::Rms => None,
        };
        Ok(NormParameters { weight, bias, eps: EPS })
    }
}

/// Elements kept per patch where patches are merged: input and norm, the first map and its activation, the second map.
pub(super) fn kept_by_merger(vision: &VisionConfig, text_hidden: usize) -> usize {
    4 * vision.embed_dim + text_hidden / vision.spatial_merge_size.pow(2)
}

/// The vision tower of a model, of whichever family.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: LinearParameters,
    blocks: Vec<Block>,
    merger: Merger,
}

/// Where patches stand and which see each other, for all blocks of a stream.
struct Context {
    angles: Angles,
    /// A frame sees itself alone, as in the reference.
    frames: Segments,
    /// A window's patches, in towers that have windows.
    windows: Option<Segments>,
}

impl VisionTower {
    /// Takes its parameters by their hub names.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let (vision, parts) = (&config.vision, config.family.tower());
        let block = |i| Block::new(vision, &parts, parameters, i);
        let [first, second] = parts.merger_maps.map(|map| format!("visual.merger.{map}"));
        let norm = format!("visual.merger.{}", parts.merger_norm);
        Ok(Self {
            config: vision.clone(),
            patch_embed: find(parameters, "visual.patch_embed.proj")?,
            blocks: (0..vision.depth).map(block).collect::<Result<_>>()?,
            merger: Merger {
                norm: parts.find_norm(parameters, &norm)?,
                mlp: MlpMaps {
                    first: find(parameters, &first)?,
                    activation: Gelu::Erf,
                    second: find(parameters, &second)?,
                },
                width: vision.merged_dim(),
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
        let windows =
            self.config.windows.as_ref().map(|windows| {
                WindowOrder::new(grids, self.config.spatial_merge_size, windows.side)
            });
        let patches = match &windows {
            Some(order) => select_rows(patches, &order.patches())?,
            None => patches.clone(),
        };
        let context = Arc::new(self.context(&patches, grids, windows.as_ref())?);
        let LinearParameters { weight, bias } = &self.patch_embed;
        let [mut x] = stages.apply([&patches], Part::Layer, |[patches]| {
            Ok([linear(patches, weight, bias.as_ref(), Product::Blocked)?])
        })?;
        for (i, block) in self.blocks.iter().enumerate() {
            let context = context.clone();
            [x] = stages.apply([&x], Part::Layer, move |[x]| {
                let whole = self.config.sees_whole_frames(i);
                let windows = context.windows.as_ref().filter(|_| !whole);
                let segments = windows.unwrap_or(&context.frames);
                Ok([block.mix(x, &context.angles, segments)?])
            })?;
            [x] = stages.apply([&x], Part::Mlp, |[x]| Ok([block.transform(x)?]))?;
        }
        let places = windows.map(|order| order.places());
        let [merged] = stages.apply([&x], Part::Mlp, move |[x]| {
            let merged = self.merger.forward(x)?;
            Ok([match &places {
                Some(places) => select_rows(&merged, places)?,
                None => merged,
            }])
        })?;
        Ok(merged)
    }

    fn context(
        &self,
        patches: &Tensor,
        grids: &[[usize; 3]],
        windows: Option<&WindowOrder>,
    ) -> Result<Context> {
        let config = &self.config;
        let mut positions = patch_positions(grids, config.spatial_merge_size);
        if let Some(order) = windows {
            positions = order.patches().iter().map(|&patch| positions[patch as usize]).collect();
        }
        let (dtype, device) = (patches.dtype(), patches.device());
        let angles = vision_angles(&positions, config.head_dim(), dtype, device)?;
        let frames: Vec<usize> = grids.iter().flat_map(|g| vec![g[1] * g[2]; g[0]]).collect();
        let windows = windows.map(|order| Segments::separate(order.lens())).transpose()?;
        Ok(Context { angles, frames: Segments::separate(&frames)?, windows })
    }
}

#[derive(Debug, Clone)]
struct Block {
    norm1: NormParameters,
    attention: AttentionMaps,
    norm2: NormParameters,
    mlp: BlockMlp,
}

#[derive(Debug, Clone)]
enum BlockMlp {
    Plain(MlpMaps),
    Gated(GatedMaps),
}

impl Block {
    fn new(
        config: &VisionConfig,
        parts: &TowerParts,
        parameters: &Parameters,
        i: usize,
    ) -> Result<Self> {
        let name = |name: &str| format!("visual.blocks.{i}.{name}");
        let norm = |of: &str| parts.find_norm(parameters, &name(of));
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
        let map = |of: &str| find(parameters, &name(&format!("mlp.{of}")));
        let mlp = match parts.mlp {
            MlpKind::Plain { maps: [first, second], activation } => {
                BlockMlp::Plain(MlpMaps { first: map(first)?, activation, second: map(second)? })
            }
            MlpKind::Gated { maps: [gate, up, down] } => {
                BlockMlp::Gated(GatedMaps { gate: map(gate)?, up: map(up)?, down: map(down)? })
            }
        };
        Ok(Self { norm1: norm("norm1")?, attention, norm2: norm("norm2")?, mlp })
    }

    /// The block's first half, in which patches see each other.
    fn mix(&self, x: &Tensor, angles: &Angles, segments: &Segments) -> Result<Tensor> {
        residual_attention(x, &self.norm1, &self.attention, angles, segments)
    }

    /// The block's second half, its MLP, in which each patch is by itself.
    fn transform(&self, x: &Tensor) -> Result<Tensor> {
        match &self.mlp {
            BlockMlp::Plain(maps) => residual_mlp(x, &self.norm2, maps, Product::Blocked),
            BlockMlp::Gated(maps) => residual_gated_mlp(x, &self.norm2, maps, Product::Blocked),
        }
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
