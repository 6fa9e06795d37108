//! The plain composition of every operation from candle's differentiable primitives.
//!
//! These run on bf16, f16 and CUDA tensors, and are the reference that each CPU kernel is tested against.
//! Statistics (norms, softmax, log-softmax) are taken in f32 whatever the dtype, in f64 for f64.
//! Not here: in-place gradient buffers; weights given here are candle variables on the tape.

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::ops::{log_softmax, sigmoid, softmax};

use super::segments::Segments;

/// f64 stays f64, everything else becomes f32.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// See [`super::linear()`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// See [`super::rms_norm`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(wide(dtype))?; // squares overflow and round in 16 bits
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.to_dtype(dtype)?.broadcast_mul(weight)
}

/// See [`super::layer_norm`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(wide(dtype))?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&scale)?.to_dtype(dtype)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// See [`super::rotary()`]; `cos` and `sin` are `[T, head_dim / 2]` in the dtype of `x`.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn rotary(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (low, high) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // [T, 1, head_dim / 2]
    let out_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
    let out_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
    Tensor::cat(&[out_low, out_high], D::Minus1)
}

/// See [`super::swiglu`].
///
/// # Errors
/// Shapes or dtypes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// See [`super::quick_gelu`].
///
/// # Errors
/// The dtype is not a float.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * sigmoid(&(x * 1.702)?)?
}

/// See [`super::gelu_tanh`]. The gradient of candle's own `gelu` has constants of six digits.
///
/// # Errors
/// The dtype is not a float.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let cubic = ((x.sqr()? * x)? * 0.044_715)?;
    let u = ((x + cubic)? * (2.0 / std::f64::consts::PI).sqrt())?;
    (x * 0.5)? * (u.tanh()? + 1.0)?
}

/// See [`super::gelu_erf`].
///
/// # Errors
/// The dtype is not a float.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// `[rows, kv_heads, head_dim]` as `[kv_heads * n_repeats, rows, head_dim]`, each head repeated.
fn repeated_heads(x: &Tensor, n_repeats: usize) -> Result<Tensor> {
    let (rows, kv_heads, head_dim) = x.dims3()?;
    let x = x.transpose(0, 1)?.unsqueeze(1)?; // [kv_heads, 1, rows, head_dim]
    x.expand((kv_heads, n_repeats, rows, head_dim))?.contiguous()?.reshape((
        kv_heads * n_repeats,
        rows,
        head_dim,
    ))
}

/// Softmax attention of `q [n, heads, head_dim]` over `k`, `v` `[m, kv_heads, head_dim]`, with an
/// optional additive mask `[n, m]` in f32; returns `[n, heads, head_dim]`.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (_, heads, head_dim) = q.dims3()?;
    let kv_heads = k.dim(1)?;
    if kv_heads == 0 || heads % kv_heads != 0 {
        bail!("attention: {heads} heads cannot share {kv_heads} key-value heads");
    }
    let q = q.transpose(0, 1)?.contiguous()?; // [heads, n, head_dim]
    let (k, v) = (repeated_heads(k, heads / kv_heads)?, repeated_heads(v, heads / kv_heads)?);
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (head_dim as f64).sqrt())?;
    let scores = scores.to_dtype(wide(q.dtype()))?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(&mask.to_dtype(scores.dtype())?)?,
        None => scores,
    };
    let weights = softmax(&scores, D::Minus1)?.to_dtype(q.dtype())?;
    weights.matmul(&v)?.transpose(0, 1)?.contiguous()
}

/// See [`super::segment_attention()`]. Group by group, so nothing is larger than one group squared.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn segment_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let masks = segments.masks(q.device())?;
    let outputs = segments.groups().iter().zip(masks.iter()).map(|(group, mask)| {
        let part = |x: &Tensor| x.narrow(0, group.start, group.len());
        attention(&part(q)?, &part(k)?, &part(v)?, mask.as_ref())
    });
    Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 0)
}

/// Log-probabilities of every token of the vocabulary at `temperature`, `[N, vocab]` in f32 (f64 for f64).
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn log_probabilities(hidden: &Tensor, weight: &Tensor, temperature: f64) -> Result<Tensor> {
    let logits = (linear(hidden, weight, None)?.to_dtype(wide(hidden.dtype()))? / temperature)?;
    log_softmax(&logits, D::Minus1)
}

/// See [`super::token_logprob()`]: `[N]` log-probabilities in f32 (f64 for f64) at `temperature`, all
/// rows at once.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn token_logprob(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    gather(&log_probabilities(hidden, weight, temperature)?, targets)
}

/// The element `targets[i]` of each row `i`.
///
/// # Errors
/// Shapes do not fit.
pub fn gather(rows: &Tensor, targets: &Tensor) -> Result<Tensor> {
    rows.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)
}
