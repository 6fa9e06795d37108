//! Attention of the newest tokens in a step of decoding, with their angles and what is kept of them.
//! Not here: attention within a packed stream (`attention`).

use candle_core::{DType, Result, bail};

use super::state::RowStates;
use crate::array::Array;
use crate::launch::{Grid, Kernel, kernel, launch_early};

/// For as many query heads of a key head.
const KERNELS: [Kernel; 8] = [
    kernel!("decode_attention", "decode_attention_1"),
    kernel!("decode_attention", "decode_attention_2"),
    kernel!("decode_attention", "decode_attention_3"),
    kernel!("decode_attention", "decode_attention_4"),
    kernel!("decode_attention", "decode_attention_5"),
    kernel!("decode_attention", "decode_attention_6"),
    kernel!("decode_attention", "decode_attention_7"),
    kernel!("decode_attention", "decode_attention_8"),
];
// As in `kernels/decode_attention.cu`.
const WARPS: usize = 16;
const MOST: usize = 128;

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl HeadShape {
    /// Whether there is a kernel for it.
    pub fn is_decoded(self) -> bool {
        self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && (1..=KERNELS.len()).contains(&(self.heads / self.kv_heads))
            && self.head_dim.is_multiple_of(16)
            && (16..=MOST).contains(&self.head_dim)
    }

    fn group(self) -> usize {
        self.heads / self.kv_heads
    }
}

/// What a layer attends with.
#[derive(Clone, Copy)]
pub struct NewestTokens<'a> {
    /// `[rows, heads, head_dim]` bf16, before they are turned.
    pub q: Array<'a>,
    /// `[rows, kv_heads, head_dim]` bf16, likewise.
    pub k: Array<'a>,
    /// `[rows, kv_heads, head_dim]` bf16.
    pub v: Array<'a>,
    /// Cosines of every token that a row may have, `[rows, max_new_tokens, head_dim / 2]` f32.
    pub cos: Array<'a>,
    /// Sines, likewise.
    pub sin: Array<'a>,
}

/// What a layer keeps of the completions, changed by every step.
#[derive(Clone, Copy)]
pub struct KeptTokens<'a> {
    /// `[rows, max_new_tokens, kv_heads, head_dim]` bf16.
    pub keys: Array<'a>,
    /// Likewise.
    pub values: Array<'a>,
    /// Which layer of the prompts it is.
    pub layer: usize,
}

/// Turns the newest query and key of each row by its token's angles, keeps key and value, and attends to the row's prompt and
/// to all that is kept. Rows that are not taken, or have all of their tokens, are left out.
///
/// A row's results depend on that row alone.
///
/// - `out`: `[rows, heads, head_dim]` bf16, overwritten
///
/// # Errors
/// There is no kernel for the shape, or shapes or dtypes do not fit.
pub fn decode_attention(
    newest: NewestTokens,
    kept: KeptTokens,
    states: &RowStates,
    out: Array,
) -> Result<()> {
    let (&[rows, heads, head_dim], &[_, max_new_tokens, kv_heads, _]) =
        (newest.q.shape().dims(), kept.keys.shape().dims())
    else {
        bail!("queries {:?} and keys {:?} of a step", newest.q.shape(), kept.keys.shape())
    };
    let shape = HeadShape { heads, kv_heads, head_dim };
    let [layers, ..] = states.kept();
    if !shape.is_decoded()
        || rows != states.n_rows()
        || states.kept() != [layers, kv_heads, head_dim]
        || kept.layer >= layers
    {
        bail!(
            "layer {} of a step of {rows} rows with {shape:?}: no kernel, or other rows",
            kept.layer
        );
    }
    let (of_queries, of_keys) = ([rows, heads, head_dim], [rows, kv_heads, head_dim]);
    let angles = [rows, max_new_tokens, head_dim / 2];
    let all = [rows, max_new_tokens, kv_heads, head_dim];
    let arguments = [
        newest.q.require("queries", DType::BF16, &of_queries)?.into(),
        newest.k.require("keys", DType::BF16, &of_keys)?.into(),
        newest.v.require("values", DType::BF16, &of_keys)?.into(),
        newest.cos.require("cosines", DType::F32, &angles)?.into(),
        newest.sin.require("sines", DType::F32, &angles)?.into(),
        states.address(),
        kept.keys.require("kept keys", DType::BF16, &all)?.into(),
        kept.values.require("kept values", DType::BF16, &all)?.into(),
        out.require("attended", DType::BF16, &of_queries)?.into(),
        kept.layer.into(),
        max_new_tokens.into(),
        kv_heads.into(),
        head_dim.into(),
    ];
    let group = shape.group();
    let numbers = WARPS * group * (MOST + 2);
    let grid = Grid {
        blocks: [rows, kv_heads, 1],
        threads: WARPS * 32,
        shared: numbers * DType::F32.size_in_bytes() + group * MOST * DType::BF16.size_in_bytes(),
    };
    // SAFETY: shapes are checked above; every prompt of a taken row is `[layers, 2, prompt_len, kv_heads, head_dim]`, which
    // `RowStates::take` keeps alive.
    unsafe { launch_early(newest.q.device(), &KERNELS[group - 1], grid, &arguments) }
}
