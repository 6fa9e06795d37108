//! The vision tower, which makes patches into embeddings that stand among the language model's tokens, as stages.
//! Not here: its parts and their names (`tower_parts`), which family has which (`family`), cutting images into patches
//! (`processor`), the decoder (`language`), the operations (`ops`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::angles::{patch_positions, vision_angles};
use super::config::ModelConfig;
use super::learned_positions::LearnedPositions;
use super::linear::find;
use super::parameters::Parameters;
use super::stages::{Part, Stages};
use super::tower_parts::{MlpKind, TowerParts, deepstack_merger};
use super::vision_config::VisionConfig;
use super::windows::WindowOrder;
use crate::ops::{
    Angles, AttentionMaps, GatedMaps, Gelu, LinearParameters, LinearPart, MlpMaps, NormParameters,
    Product, Segments, linear, mlp, residual_attention, residual_gated_mlp, residual_mlp,
    select_rows,
};

/// The vision tower of a model, of whichever family.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: LinearParameters,
    positions: Option<LearnedPositions>,
    blocks: Vec<Block>,
    merger: Merger,
    /// Of the blocks in `config.deepstack`.
    deepstack: Vec<Merger>,
}

/// What the tower makes of the images of a stream.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// `[patches / merge^2, hidden]`: stand in the places of the images' tokens.
    pub embeddings: Tensor,
    /// As `embeddings`: each is added to the images' rows behind a decoder layer, from the first one on (`DeepStack`, Meng et
    /// al. 2024).
    pub deepstack: Vec<Tensor>,
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
        let merger = |prefix: &str, place| Merger::new(vision, &parts, parameters, prefix, place);
        let deepstack = (0..vision.deepstack.len())
            .map(|i| merger(&deepstack_merger(i), NormPlace::Token))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: vision.clone(),
            patch_embed: find(parameters, "visual.patch_embed.proj")?,
            positions: LearnedPositions::find(vision, parameters)?,
            blocks: (0..vision.depth).map(block).collect::<Result<_>>()?,
            merger: merger("visual.merger", NormPlace::Patch)?,
            deepstack,
        })
    }

    /// Embeds the patches of all images of a stream.
    ///
    /// - `patches`: `[patches, channels * frames * side * side]` in the run's dtype, images one after
    ///   the other; `grids`: frames, rows and columns of patches per image
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn forward<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        patches: &Tensor,
        grids: &[[usize; 3]],
    ) -> Result<ImageFeatures> {
        let windows =
            self.config.windows.as_ref().map(|windows| {
                WindowOrder::new(grids, self.config.spatial_merge_size, windows.side)
            });
        let patches = match &windows {
            Some(order) => select_rows(patches, &order.patches())?,
            None => patches.clone(),
        };
        let context = Arc::new(self.context(&patches, grids, windows.as_ref())?);
        let mut x = self.embed(stages, &patches, grids)?;
        let mut deepstack = Vec::with_capacity(self.deepstack.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let context = context.clone();
            [x] = stages.apply([&x], Part::Layer, move |[x]| {
                let whole = self.config.sees_whole_frames(i);
                let windows = context.windows.as_ref().filter(|_| !whole);
                let segments = windows.unwrap_or(&context.frames);
                Ok([block.mix(x, &context.angles, segments)?])
            })?;
            [x] = stages.apply([&x], Part::Mlp, |[x]| Ok([block.transform(x)?]))?;
            let seen = self.config.deepstack.iter().position(|&seen| seen == i);
            if let Some(merger) = seen.map(|nth| &self.deepstack[nth]) {
                let [feature] =
                    stages.apply([&x], Part::Mlp, move |[x]| Ok([merger.forward(x)?]))?;
                deepstack.push(feature);
            }
        }
        let places = windows.map(|order| order.places());
        let [embeddings] = stages.apply([&x], Part::Mlp, move |[x]| {
            let merged = self.merger.forward(x)?;
            Ok([match &places {
                Some(places) => select_rows(&merged, places)?,
                None => merged,
            }])
        })?;
        Ok(ImageFeatures { embeddings, deepstack })
    }

    /// Patches as the first block takes them.
    fn embed<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        patches: &Tensor,
        grids: &[[usize; 3]],
    ) -> Result<Tensor> {
        let merge = self.config.spatial_merge_size;
        let learned = self.positions.as_ref().map(|table| (table, table.neighbours(grids, merge)));
        let [x] = stages.apply([patches], Part::Layer, move |[patches]| {
            let x = linear(patches, &self.patch_embed, Product::Blocked)?;
            Ok([match &learned {
                Some((table, neighbours)) => (x + table.at(neighbours)?)?,
                None => x,
            }])
        })?;
        Ok(x)
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
            head_norms: None,
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

/// What makes the patches of a token into one embedding.
#[derive(Debug, Clone)]
struct Merger {
    norm: NormParameters,
    place: NormPlace,
    mlp: MlpMaps,
    width: usize,
}

/// What the norm of a merger is over.
#[derive(Debug, Clone, Copy)]
enum NormPlace {
    /// Each patch.
    Patch,
    /// All patches of a token, laid end to end.
    Token,
}

impl Merger {
    fn new(
        vision: &VisionConfig,
        parts: &TowerParts,
        parameters: &Parameters,
        prefix: &str,
        place: NormPlace,
    ) -> Result<Self> {
        let [first, second] = parts.merger_maps.map(|map| format!("{prefix}.{map}"));
        Ok(Self {
            norm: parts.find_norm(parameters, &format!("{prefix}.{}", parts.merger_norm))?,
            place,
            mlp: MlpMaps {
                first: find(parameters, &first)?,
                activation: Gelu::Erf,
                second: find(parameters, &second)?,
            },
            width: vision.merged_dim(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let merged = (x.elem_count() / self.width, self.width); // [tokens, merge^2 * embed]
        let h = match self.place {
            NormPlace::Patch => self.norm.apply(x)?.reshape(merged)?,
            NormPlace::Token => self.norm.apply(&x.reshape(merged)?)?,
        };
        mlp(&h, &self.mlp, Product::Blocked)
    }
}
