//! What the vision tower of a family is made of: its parameters by name and shape, and the elements it keeps.
//! Not here: which family has which parts (the file of its name), the tower's arithmetic (`tower`).

use candle_core::Result;

use super::config::push_with_bias;
use super::parameters::Parameters;
use super::stages::Kept;
use super::vision_config::VisionConfig;
use crate::ops::{Gelu, NormParameters};

/// Epsilon of every norm in the tower; the configuration file does not carry it.
const EPS: f64 = 1e-6;

/// The table of learned positions.
pub(super) const POSITIONS: &str = "visual.pos_embed.weight";

/// What merges the patches of the i-th block that the decoder's first layers see.
pub(super) fn deepstack_merger(i: usize) -> String {
    format!("visual.deepstack_merger_list.{i}")
}

/// What a family's tower is made of, with the names of the parts that families name differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct TowerParts {
    /// Whether the map of patches has a bias.
    pub(super) patch_bias: bool,
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
        if self.patch_bias {
            shapes.push(("visual.patch_embed.proj.bias".to_owned(), vec![width]));
        }
        if let Some(side) = vision.table_side {
            shapes.push((POSITIONS.to_owned(), vec![side * side, width]));
        }
        for block in 0..vision.depth {
            self.push_block(&mut shapes, &format!("visual.blocks.{block}"), vision);
        }
        let mut push_merger = |prefix: &str, normalized| {
            self.push_norm(&mut shapes, &format!("{prefix}.{}", self.merger_norm), normalized);
            let [first, second] = self.merger_maps.map(|map| format!("{prefix}.{map}"));
            push_with_bias(&mut shapes, &first, &[merged, merged]);
            push_with_bias(&mut shapes, &second, &[text_hidden, merged]);
        };
        push_merger("visual.merger", width);
        for i in 0..vision.deepstack.len() {
            push_merger(&deepstack_merger(i), merged);
        }
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

    /// Elements kept per patch in one block. In its first half: the input; rotated queries and keys, values, attention's
    /// result. In its MLP: the input; the maps to its inner width.
    pub(super) fn kept_by_block(&self, vision: &VisionConfig) -> Kept {
        let inner = self.mlp.n_wide() * vision.mlp_hidden;
        Kept { mix: 5 * vision.embed_dim, mlp: vision.embed_dim + inner }
    }

    /// The same where the block is composed of candle's operations (`ops::plain`), without attention's scores. Beyond what
    /// [`Self::kept_by_block`] counts: a norm with four rows more (`LayerNorm`) or two (RMS), the output and the sum of both halves; a
    /// product before its bias; a rotation's four; queries, keys (twice) and values, and the result (twice), as attention lays
    /// them out; the activation's three, or `silu(gate)` and product.
    pub(super) fn kept_by_plain_block(&self, vision: &VisionConfig) -> Kept {
        let Kept { mix, mlp } = self.kept_by_block(vision);
        let width = vision.embed_dim;
        let norm = match self.norm {
            NormKind::Layer => 4 * width,
            NormKind::Rms => 2 * width,
        };
        let around = norm + 3 * width;
        let (biases, rotation, attention) = (4 * width, 8 * width, 6 * width);
        // Plain and gated alike: one or two products before their biases, three or two of the activation.
        let inner = 4 * vision.mlp_hidden;
        let mlp = mlp + around + width + inner;
        Kept { mix: mix + around + biases + rotation + attention, mlp }
    }

    pub(super) fn find_norm(&self, parameters: &Parameters, name: &str) -> Result<NormParameters> {
        let weight = parameters.get(&format!("{name}.weight"))?;
        let bias = match self.norm {
            NormKind::Layer => Some(parameters.get(&format!("{name}.bias"))?),
            NormKind::Rms => None,
        };
        Ok(NormParameters { weight, bias, eps: EPS })
    }
}

/// Elements kept per patch where patches are merged: input and norm, the first map and its activation, the second map. As
/// often again for each block that the decoder's first layers see.
pub(super) fn kept_by_merger(vision: &VisionConfig, text_hidden: usize) -> usize {
    let once = 4 * vision.embed_dim + text_hidden / vision.spatial_merge_size.pow(2);
    (1 + vision.deepstack.len()) * once
}
