//! Learned positions of patches: a square table that is stretched over every image (Qwen3-VL).
//! Not here: rotations by position (`angles`).
//!
//! A grid's corners are the table's; between, the four nearest entries are mixed bilinearly (transformers'
//! `get_vision_interpolation_indices_and_weights` with `align_corners`).

use candle_core::{DType, Result, Tensor};

use super::angles::patch_positions;
use super::parameters::Parameters;
use super::tower_parts::POSITIONS;
use super::vision_config::VisionConfig;
use crate::ops::{Parameter, select_rows};

/// The table.
#[derive(Debug, Clone)]
pub struct LearnedPositions {
    /// `[side * side, embed]`
    table: Parameter,
    side: usize,
}

/// Of every patch the four entries that it lies between, with their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// `[patches * 4]` rows of the table.
    rows: Vec<u32>,
    /// `[patches * 4]`, of each four a sum of one.
    weights: Vec<f32>,
}

/// The two entries along one axis that the `i`-th of `n` lies between, with their weights.
fn taps(i: usize, n: usize, side: usize) -> [(usize, f32); 2] {
    let place = (i * (side - 1)) as f32 / (n - 1).max(1) as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to side - 1")]
    let low = (place.floor() as usize).min(side - 1);
    let high = (low + 1).min(side - 1);
    let distance = place - low as f32;
    [(low, 1.0 - distance), (high, distance)]
}

impl LearnedPositions {
    /// The table of a tower, if it has one.
    pub(super) fn find(vision: &VisionConfig, parameters: &Parameters) -> Result<Option<Self>> {
        let Some(side) = vision.table_side else { return Ok(None) };
        Ok(Some(Self { table: parameters.get(POSITIONS)?, side }))
    }

    /// Where the patches of a stream lie in the table, in merge-window order, images one after the other.
    ///
    /// - `grids`: per image frames, rows and columns of patches; `merge`: patches of a token's side
    pub fn neighbours(&self, grids: &[[usize; 3]], merge: usize) -> Neighbours {
        neighbours(grids, merge, self.side)
    }

    /// Learned positions of patches, `[patches, embed]` in the table's dtype, mixed in f32 (f64 for f64). Gradient to the
    /// table.
    ///
    /// # Errors
    /// The device's own.
    pub fn at(&self, neighbours: &Neighbours) -> Result<Tensor> {
        let table = self.table.value();
        let (dtype, width) = (table.dtype(), table.dim(1)?);
        let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
        let n = neighbours.rows.len() / 4;
        let entries = select_rows(table, &neighbours.rows)?.to_dtype(wide)?;
        let weights = Tensor::new(neighbours.weights.as_slice(), table.device())?;
        let weights = weights.to_dtype(wide)?.reshape((n, 4, 1))?;
        entries.reshape((n, 4, width))?.broadcast_mul(&weights)?.sum(1)?.to_dtype(dtype)
    }
}

fn neighbours(grids: &[[usize; 3]], merge: usize, side: usize) -> Neighbours {
    let (mut rows, mut weights) = (Vec::new(), Vec::new());
    for grid in grids {
        for [row, column] in patch_positions(&[*grid], merge) {
            for (down, weight_down) in taps(row, grid[1], side) {
                for (across, weight_across) in taps(column, grid[2], side) {
                    rows.push((down * side + across) as u32);
                    weights.push(weight_down * weight_across);
                }
            }
        }
    }
    Neighbours { rows, weights }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_of_a_grid_are_those_of_the_table_and_what_lies_between_is_mixed() {
        // 4 columns on 3 entries: 0, 2/3, 4/3, 2.
        let third = 1.0 / 3.0;
        let between = taps(1, 4, 3);
        assert_eq!([between[0].0, between[1].0], [0, 1]);
        assert!((between[0].1 - third).abs() < 1e-6 && (between[1].1 - 2.0 * third).abs() < 1e-6);
        assert_eq!(taps(3, 4, 3), [(2, 1.0), (2, 0.0)]);
        assert_eq!(taps(0, 1, 3), [(0, 1.0), (1, 0.0)]);
    }

    #[test]
    fn patches_follow_the_order_of_their_tokens() {
        let found = neighbours(&[[1, 2, 4]], 2, 4);
        // Rows 0 and 1 are the table's first and last; columns 0 to 3 are its own.
        let nearest: Vec<u32> = found
            .rows
            .chunks(4)
            .zip(found.weights.chunks(4))
            .map(|(rows, weights)| rows[weights.iter().position(|w| *w > 0.999).unwrap()])
            .collect();
        assert_eq!(nearest, [0, 1, 12, 13, 2, 3, 14, 15]);
    }
}
