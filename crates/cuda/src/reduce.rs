//! Sums over rows into a gradient.
//! Not here: the norm of all gradients.

use candle_core::{DType, Result};

use super::array::{Array, Output, Target};
use super::launch::{Grid, Kernel, kernel, launch};

/// For sums in f32 and in bf16.
const SUM_PARTIALS: [Kernel; 2] =
    [kernel!("reduce", "sum_partials"), kernel!("reduce", "sum_partials_in_bf16")];
const SUM_COLUMNS: Kernel = kernel!("reduce", "sum_columns");

/// At most as many blocks share the rows of a sum, each with rows of its own: fixed, so that the order of additions, and
/// with it the last bit, does not depend on the device.
const MAX_PARTS: usize = 256;

/// Blocks that `rows` rows are shared by, and the rows of each of them.
pub(crate) fn parts(rows: usize) -> (usize, usize) {
    let per_part = rows.div_ceil(MAX_PARTS).max(1);
    (rows.div_ceil(per_part), per_part)
}

/// Adds the sum over the rows of `partial` to `target`, in an order that depends on the number of rows alone.
///
/// - `partial`: `[parts, width]` f32; `target`: `width` numbers
///
/// # Errors
/// Shapes do not fit.
pub fn accumulate_partials(partial: Array, target: Target) -> Result<()> {
    let (rows, width) = partial.rows();
    let partial = partial.require("partial sums", DType::F32, &[rows, width])?;
    let (out, kernel) = target.require("a gradient", &[width], SUM_PARTIALS)?;
    let arguments = [partial.into(), out.into(), rows.into(), width.into(), target.add.into()];
    let grid = Grid { blocks: [width.div_ceil(32), 1, 1], threads: 256, shared: 0 };
    // SAFETY: `partial` has rows * width numbers and `out` has width.
    unsafe { launch(partial.device(), &kernel, grid, &arguments) }
}

/// Adds the sum over the rows of `x` to `target`: the gradient of a bias.
///
/// - `x`: `[rows, width]` bf16; `target`: `[width]`
///
/// # Errors
/// Shapes do not fit.
pub fn accumulate_rows_sum(x: Array, target: Target) -> Result<()> {
    let (rows, width) = x.rows();
    let x = x.require("rows to add up", DType::BF16, &[rows, width])?;
    let (n_parts, per_part) = parts(rows);
    let device = x.device();
    let partial = Output::new(device, (n_parts, width), DType::F32)?;
    let partial = partial.array()?;
    let grid = Grid { blocks: [width.div_ceil(2 * 128), n_parts, 1], threads: 128, shared: 0 };
    let arguments = [x.into(), partial.into(), rows.into(), per_part.into(), width.into()];
    // SAFETY: `x` has rows * width numbers, `partial` n_parts * width, and n_parts * per_part >= rows.
    unsafe { launch(device, &SUM_COLUMNS, grid, &arguments)? };
    accumulate_partials(partial, target)
}
