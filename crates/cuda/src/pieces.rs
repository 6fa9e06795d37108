//! Arrays taken in pieces of eight numbers, a thread each (`kernels/pieces.cuh`).
//! Not here: any kernel.

use super::array::Array;
use super::launch::Grid;

/// Numbers of a piece.
pub(crate) const PIECE: usize = 8;

/// A thread for each piece of an array.
pub(crate) fn grid_of_pieces(array: &Array) -> Grid {
    Grid::of_items(array.shape().elem_count().div_ceil(PIECE))
}
