//! The sum of two arrays.
//! Not here: gradients that are added to their buffers (`gradients`).

use candle_core::{DType, Result};

use super::array::{Array, Output};
use super::launch::{Kernel, kernel, launch};
use super::pieces::grid_of_pieces;

const ADD: Kernel = kernel!("add", "add");

/// `x + y`.
///
/// - `x`, `y`: one shape, bf16; returns that shape, each sum rounded once
///
/// # Errors
/// Shapes or dtypes differ.
pub fn add(x: Array, y: Array) -> Result<Output> {
    let dims = x.shape().dims();
    let x = x.require("a sum's left side", DType::BF16, dims)?;
    let y = y.require("a sum's right side", DType::BF16, dims)?;
    let out = Output::new(x.device(), x.shape(), DType::BF16)?;
    let arguments = [x.into(), y.into(), out.array()?.into(), x.shape().elem_count().into()];
    // SAFETY: all three arrays have as many numbers as the last argument says.
    unsafe { launch(x.device(), &ADD, grid_of_pieces(&x), &arguments)? };
    Ok(out)
}
