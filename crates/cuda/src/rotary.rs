//! Rotary position embedding, and the rotation back.
//! Not here: which angles a token has.

use candle_core::{DType, Result, bail};

use super::array::{Array, Output};
use super::launch::{Grid, Kernel, kernel, launch};

const ROTARY: Kernel = kernel!("rotary", "rotary");

/// Heads that a thread turns, so that it reads its angles once for all of them.
const HEADS_PER_THREAD: usize = 4;

/// Turns each pair `(x[i], x[i + head_dim / 2])` by its token's angle `i`, or by its opposite.
///
/// - `x`: `[T, heads, head_dim]` bf16; `cos`, `sin`: `[T, head_dim / 2]` f32
/// - returns the shape of `x`, computed in f32 and rounded once
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn rotary(x: Array, cos: Array, sin: Array, is_inverse: bool) -> Result<Output> {
    let &[tokens, heads, head_dim] = x.shape().dims() else {
        bail!("heads to rotate have shape {:?}, expected three axes", x.shape())
    };
    let half = head_dim / 2;
    let x = x.require("heads to rotate", DType::BF16, &[tokens, heads, 2 * half])?;
    let cos = cos.require("cosines", DType::F32, &[tokens, half])?;
    let sin = sin.require("sines", DType::F32, &[tokens, half])?;
    let out = Output::new(x.device(), x.shape(), DType::BF16)?;
    let mut grid = Grid::of_items(tokens * half.div_ceil(8));
    grid.blocks[1] = heads.div_ceil(HEADS_PER_THREAD);
    let arguments = [
        x.into(),
        cos.into(),
        sin.into(),
        out.array()?.into(),
        tokens.into(),
        heads.into(),
        half.into(),
        is_inverse.into(),
    ];
    // SAFETY: `x` and `out` have tokens * heads * 2 * half numbers, `cos` and `sin` tokens * half.
    unsafe { launch(x.device(), &ROTARY, grid, &arguments)? };
    Ok(out)
}
