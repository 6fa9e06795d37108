//! Arrays taken in pieces of eight numbers, a thread each (`kernels/pieces.cuh`).
//! Not here: any kernel.

use candle_core::{Result, bail};

use super::array::Array;
use super::launch::Grid;

/// Numbers of a piece.
pub(crate) const PIECE: usize = 8;

/// A thread for each piece of an array.
pub(crate) fn grid_of_pieces(array: &Array) -> Result<Grid> {
    let n = array.shape().elem_count();
    if i32::try_from(n).is_err() {
        bail!("an array of shape {:?} is too large for a kernel", array.shape());
    }
    Ok(Grid::of_items(n.div_ceil(PIECE)))
}
