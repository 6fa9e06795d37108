//! Sums of squares, for the gradients' norm.
//! Not here: the norm itself, and what is clipped by it.

use candle_core::{DType, Result};

use super::array::{Array, Output};
use super::launch::{Grid, Kernel, kernel, launch};
use super::table::Table;

/// Of numbers in f32 and in bf16.
const SUM_SQUARES: [Kernel; 2] =
    [kernel!("squares", "sum_squares"), kernel!("squares", "sum_squares_of_bf16")];
const SUM_PARTS: Kernel = kernel!("squares", "sum_parts");

/// The sum of the squares of each array, in f64; not finite where one of its numbers is not. Two launches for all of them
/// together; waits for the device once.
///
/// - `arrays`: all f32 or all bf16, of any shape and number, on one device
///
/// # Errors
/// A dtype is another.
pub fn sums_of_squares(arrays: &[Array]) -> Result<Vec<f64>> {
    let Some(first) = arrays.first() else { return Ok(Vec::new()) };
    let device = first.device();
    let (kernel, dtype) = first.in_f32_or_bf16(SUM_SQUARES);
    let row = |array: &Array| {
        let array = array.require("an array to square", dtype, array.shape().dims())?;
        Ok((array.address(), array.shape().elem_count(), array.is_aligned_to(4)))
    };
    let table = Table::new(device, &arrays.iter().map(row).collect::<Result<Vec<_>>>()?)?;
    let partial = Output::new(device, table.n_blocks(), DType::F64)?;
    let sums = Output::new(device, arrays.len(), DType::F64)?;
    let arguments = [table.address(), arrays.len().into(), partial.array()?.into()];
    // SAFETY: the table has a row for each array, and `partial` a number for each block.
    unsafe { launch(device, &kernel, table.grid(), &arguments)? };
    let arguments = [table.address(), partial.array()?.into(), sums.array()?.into()];
    // SAFETY: as above, and `sums` has a number for each block of this launch.
    unsafe { launch(device, &SUM_PARTS, Grid::of_blocks(arrays.len()), &arguments)? };
    sums.into_tensor().to_vec1()
}
