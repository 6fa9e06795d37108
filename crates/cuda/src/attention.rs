//! Softmax attention within the segments of a packed stream, with its gradients.
//! Not here: which rows see which, and how the work is cut into blocks (`attention_tiles`).

use candle_core::{DType, Result, bail};

use super::array::{Array, Output};
use super::attention_tiles::{STEP, TILE, Tiles};
use super::launch::{Argument, Grid, Kernel, kernel, launch};

/// The kernels for heads of up to so many dimensions.
struct Kernels {
    width: usize,
    forward: Kernel,
    queries: Kernel,
    keys: Kernel,
}

macro_rules! kernels {
    ($width:literal) => {
        Kernels {
            width: $width,
            forward: kernel!("attention_forward", concat!("attention_forward_", $width)),
            queries: kernel!("attention_backward", concat!("attention_backward_queries_", $width)),
            keys: kernel!("attention_backward", concat!("attention_backward_keys_", $width)),
        }
    };
}

static KERNELS: [Kernels; 4] = [kernels!(64), kernels!(80), kernels!(96), kernels!(128)];
const SUM_PARTS: Kernel = kernel!("attention_backward", "attention_sum_parts");

/// Threads of a block.
const THREADS: usize = 128;

/// Whether there are kernels for heads of this many dimensions: a multiple of 8, at most 128.
pub fn attention_takes(head_dim: usize) -> bool {
    head_dim != 0
        && head_dim.is_multiple_of(8)
        && KERNELS.iter().any(|kernels| head_dim <= kernels.width)
}

/// Queries, keys and values.
#[derive(Clone, Copy)]
pub struct Qkv<'a> {
    /// `[T, heads, head_dim]` bf16.
    pub q: Array<'a>,
    /// `[T, kv_heads, head_dim]` bf16.
    pub k: Array<'a>,
    /// As `k`.
    pub v: Array<'a>,
}

/// What [`attention`] computes.
pub struct Attended {
    /// `[T, heads, head_dim]` bf16.
    pub out: Output,
    /// `[heads, T]` f32: the base-2 logarithm of the sum of `2^score` over the keys a query sees, scores in base 2.
    pub lse: Output,
}

/// `softmax(q k / sqrt(head_dim)) v` over the keys that each query sees, as `FlashAttention`-2 (Dao 2023).
///
/// # Errors
/// Shapes or dtypes do not fit each other or `tiles`, or there is no kernel for such heads.
pub fn attention(x: Qkv, tiles: &Tiles) -> Result<Attended> {
    let shape = HeadShape::of(x, tiles)?;
    let HeadShape { heads, kv_heads, head_dim, kernels } = shape;
    let device = x.q.device();
    let out = Output::new(device, x.q.shape(), DType::BF16)?;
    let lse = Output::new(device, (heads, tiles.tokens), DType::F32)?;
    let shared = 4 * TILE * shape.row_bytes();
    let grid = Grid { blocks: [heads, tiles.queries.dim(0)?, 1], threads: THREADS, shared };
    let arguments = [
        x.q.into(),
        x.k.into(),
        x.v.into(),
        out.array()?.into(),
        lse.array()?.into(),
        Array::of(&tiles.queries)?.into(),
        tiles.tokens.into(),
        heads.into(),
        kv_heads.into(),
        head_dim.into(),
        tiles.is_causal.into(),
        shape.scale(),
    ];
    // SAFETY: the arrays have the shapes that the kernel is told, and the rows in `tiles` are below its tokens.
    unsafe { launch(device, &kernels.forward, grid, &arguments)? };
    Ok(Attended { out, lse })
}

/// What [`attention`] was given and gave, and the gradient of its output.
#[derive(Clone, Copy)]
pub struct AttentionBackward<'a> {
    /// What it was given.
    pub x: Qkv<'a>,
    /// Its output.
    pub out: Array<'a>,
    /// Its log-sum-exp.
    pub lse: Array<'a>,
    /// `[T, heads, head_dim]` bf16.
    pub grad: Array<'a>,
}

/// The gradients of [`attention`] to `q`, `k` and `v`, in their shapes and dtype.
///
/// # Errors
/// As of [`attention`].
pub fn attention_backward(saved: AttentionBackward, tiles: &Tiles) -> Result<[Output; 3]> {
    let AttentionBackward { x, out, lse, grad } = saved;
    let shape = HeadShape::of(x, tiles)?;
    let HeadShape { heads, kv_heads, head_dim, kernels } = shape;
    let out = out.require("attention's output", DType::BF16, x.q.shape().dims())?;
    let grad = grad.require("attention's gradient", DType::BF16, x.q.shape().dims())?;
    let lse = lse.require("attention's log-sum-exp", DType::F32, &[heads, tiles.tokens])?;
    are_aligned(&[out, grad])?;
    let device = x.q.device();
    let along = Output::new(device, (heads, tiles.tokens), DType::F32)?;
    let along = along.array()?;
    let dq = Output::new(device, x.q.shape(), DType::BF16)?;
    let row_bytes = shape.row_bytes();
    let sizes: [Argument; 6] = [
        tiles.tokens.into(),
        heads.into(),
        kv_heads.into(),
        head_dim.into(),
        tiles.is_causal.into(),
        shape.scale(),
    ];
    let [q, k, v] = [x.q, x.k, x.v].map(Argument::from);
    let arrays = [q, k, v, out.into(), grad.into(), lse.into(), along.into()];
    let own = [dq.array()?.into(), Array::of(&tiles.queries)?.into()];
    let blocks = [heads, tiles.queries.dim(0)?, 1];
    let grid = Grid { blocks, threads: THREADS, shared: 4 * STEP * row_bytes };
    let arguments = [&arrays[..], &own, &sizes].concat();
    // SAFETY: the arrays have the shapes that the kernel is told, and the rows in `tiles` are below its tokens.
    unsafe { launch(device, &kernels.queries, grid, &arguments)? };

    let [dk, dv] = [x.k, x.v].map(|x| Output::new(device, x.shape(), DType::BF16));
    let (dk, dv) = (dk?, dv?);
    // One share at least, since nothing of no size can be allocated.
    let parts = (tiles.n_parts.max(1), kv_heads, TILE, head_dim);
    let (dk_parts, dv_parts) =
        (Output::new(device, parts, DType::F32)?, Output::new(device, parts, DType::F32)?);
    let to = [&dk, &dv, &dk_parts, &dv_parts].map(|to| to.array().map(Argument::from));
    let [dk_to, dv_to, dk_parts_to, dv_parts_to] = to;
    let to = [dk_to?, dv_to?, dk_parts_to?, dv_parts_to?];
    let arrays = [q, k, v, grad.into(), lse.into(), along.into()];
    let shared = (2 * TILE + 4 * STEP) * row_bytes + 4 * STEP * size_of::<f32>();
    let grid = Grid { blocks: [kv_heads, tiles.keys.dim(0)?, 1], threads: THREADS, shared };
    let arguments = [&arrays[..], &to, &[Array::of(&tiles.keys)?.into()], &sizes].concat();
    // SAFETY: as above; every share in `tiles` is below its number of parts.
    unsafe { launch(device, &kernels.keys, grid, &arguments)? };

    let grid = Grid { blocks: [kv_heads, tiles.split.dim(0)?, 1], threads: 256, shared: 0 };
    let arguments = [
        to[2],
        to[3],
        to[0],
        to[1],
        Array::of(&tiles.split)?.into(),
        kv_heads.into(),
        head_dim.into(),
    ];
    // SAFETY: as above.
    unsafe { launch(device, &SUM_PARTS, grid, &arguments)? };
    Ok([dq, dk, dv])
}

#[derive(Clone, Copy)]
struct HeadShape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    kernels: &'static Kernels,
}

impl HeadShape {
    /// The shape of queries, keys and values that fit each other and `tiles`.
    fn of(x: Qkv, tiles: &Tiles) -> Result<Self> {
        let (Qkv { q, k, v }, tokens) = (x, tiles.tokens);
        let ((_, heads, head_dim), (_, kv_heads, _)) = (q.shape().dims3()?, k.shape().dims3()?);
        q.require("attention's queries", DType::BF16, &[tokens, heads, head_dim])?;
        k.require("attention's keys", DType::BF16, &[tokens, kv_heads, head_dim])?;
        v.require("attention's values", DType::BF16, &[tokens, kv_heads, head_dim])?;
        if heads != kv_heads * tiles.heads_per_kv {
            let expected = tiles.heads_per_kv;
            bail!("attention: {heads} heads over {kv_heads}, expected {expected} for each");
        }
        are_aligned(&[q, k, v])?;
        let kernels = KERNELS.iter().find(|kernels| head_dim <= kernels.width);
        let Some(kernels) = kernels.filter(|_| attention_takes(head_dim)) else {
            bail!("attention: no kernel for heads of {head_dim} dimensions")
        };
        Ok(Self { heads, kv_heads, head_dim, kernels })
    }

    /// Bytes of a row in shared memory: `PITCH` of `kernels/attention.cuh`.
    fn row_bytes(self) -> usize {
        (self.kernels.width + 8) * DType::BF16.size_in_bytes()
    }

    fn scale(self) -> Argument {
        (1.0 / (self.head_dim as f64).sqrt()).into()
    }
}

/// The kernels read and write eight numbers at a time.
fn are_aligned(arrays: &[Array]) -> Result<()> {
    if arrays.iter().any(|array| array.address() % 16 != 0) {
        bail!("attention: an array does not start at a multiple of 16 bytes");
    }
    Ok(())
}
