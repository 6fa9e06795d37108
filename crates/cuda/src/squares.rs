//! Sums of squares, for the gradients' norm.
//! Not here: the norm itself, and what is clipped by it.

use candle_core::{DType, Result};

use super::array::{Array, Output};
use super::launch::{Argument, Grid, Kernel, kernel, launch};

const SUM_SQUARES: Kernel = kernel!("squares", "sum_squares");
const SUM_PARTS: Kernel = kernel!("squares", "sum_parts");

/// At most as many blocks share an array: fixed, so that the order of additions, and with it the last bit, does not depend
/// on the device. Enough to keep the memory of the largest one busy.
const PARTS: usize = 512;
/// Threads of a block.
const THREADS: usize = 256;
/// Numbers that a block reads at once.
const AT_ONCE: usize = 16 * THREADS;

/// The sum of the squares of each array, in f64; not finite where one of its numbers is not. Waits for the device once.
///
/// - `arrays`: f32, of any shape and number, on one device
///
/// # Errors
/// A dtype is another.
pub fn sums_of_squares(arrays: &[Array]) -> Result<Vec<f64>> {
    let Some(first) = arrays.first() else { return Ok(Vec::new()) };
    let device = first.device();
    let partial = Output::new(device, (arrays.len(), PARTS), DType::F64)?;
    let sums = Output::new(device, arrays.len(), DType::F64)?;
    let grid = |n_blocks| Grid { blocks: [n_blocks, 1, 1], threads: THREADS, shared: 0 };
    for (i, array) in arrays.iter().enumerate() {
        let array = array.expect("an array to square", DType::F32, array.shape().dims())?;
        let n = array.shape().elem_count();
        let blocks = n.div_ceil(AT_ONCE).clamp(1, PARTS);
        let row =
            Argument::Address(partial.array()?.address() + (i * PARTS * size_of::<f64>()) as u64);
        let (n, aligned) = (Argument::Long(n as i64), array.is_aligned().into());
        let arguments = [array.into(), row, PARTS.into(), n, aligned];
        // SAFETY: `array` has n numbers, and `partial` has a row of PARTS numbers for each array, at least one
        // for each block.
        unsafe { launch(device, &SUM_SQUARES, grid(blocks), &arguments)? };
    }
    let arguments = [partial.array()?.into(), sums.array()?.into(), PARTS.into()];
    // SAFETY: `partial` has PARTS numbers for each block, `sums` one.
    unsafe { launch(device, &SUM_PARTS, grid(arrays.len()), &arguments)? };
    sums.into_tensor().to_vec1()
}
