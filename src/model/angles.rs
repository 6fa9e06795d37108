//! Rotary angles: of a patch in its image, of a token in its prompt (M-RoPE).
//! Not here: which positions the tokens of a prompt have (`processor::positions`), the rotation (`ops`).

use candle_core::{DType, Device, Result, Tensor};

use super::config::Axes;
use crate::ops::Angles;

/// Base of the vision tower's frequencies.
const VISION_THETA: f64 = 10_000.0;

fn frequency(theta: f64, i: usize, n: usize) -> f32 {
    theta.powf(-(i as f64) / n as f64) as f32
}

/// Row and column of every patch in its image, patches in merge-window order, images one after the other.
///
/// - `grids`: per image frames, rows and columns of patches; `merge`: patches per window side
pub fn patch_positions(grids: &[[usize; 3]], merge: usize) -> Vec<[usize; 2]> {
    let mut positions = Vec::new();
    for &[frames, rows, columns] in grids {
        for _ in 0..frames {
            for window in 0..(rows / merge) * (columns / merge) {
                let (top, left) =
                    (window / (columns / merge) * merge, window % (columns / merge) * merge);
                let patches = 0..merge * merge;
                positions.extend(patches.map(|i| [top + i / merge, left + i % merge]));
            }
        }
    }
    positions
}

/// Angles of the vision tower (2-D rotary): the first half from a patch's row, the second from its column.
///
/// - `positions`: row and column of each patch
/// - returns `[patches, head_dim / 2]`
///
/// # Errors
/// The tensor cannot be made.
pub fn vision_angles(
    positions: &[[usize; 2]],
    head_dim: usize,
    dtype: DType,
    device: &Device,
) -> Result<Angles> {
    let n = head_dim / 4;
    let frequencies: Vec<f32> = (0..n).map(|i| frequency(VISION_THETA, i, n)).collect();
    let mut angles = Vec::with_capacity(positions.len() * 2 * n);
    for position in positions.as_flattened() {
        angles.extend(frequencies.iter().map(|frequency| *position as f32 * frequency));
    }
    Angles::exact(&Tensor::from_vec(angles, (positions.len(), 2 * n), device)?, dtype)
}

/// Which axis each of the frequencies rotates by: 0 time, 1 row, 2 column.
fn axes_of_frequencies(sections: [usize; 3], axes: Axes) -> Vec<usize> {
    match axes {
        Axes::InTurn => (0..3).flat_map(|axis| std::iter::repeat_n(axis, sections[axis])).collect(),
        // The second of every three is a row's as long as there are any, the third a column's.
        Axes::Interleaved => {
            let axis = |i: usize| if i / 3 < sections[i % 3] { i % 3 } else { 0 };
            (0..sections.iter().sum()).map(axis).collect()
        }
    }
}

/// Angles of the language model (M-RoPE, Wang et al. 2024): of the `head_dim / 2` frequencies `sections[0]` rotate by the
/// temporal position, `sections[1]` by the row, the others by the column, in the order of `axes`.
///
/// - `positions`: `T` triples
/// - returns `[T, head_dim / 2]`
///
/// # Errors
/// The tensor cannot be made.
pub fn language_angles(
    positions: &[[u32; 3]],
    (sections, axes): ([usize; 3], Axes),
    theta: f64,
    dtype: DType,
    device: &Device,
) -> Result<Angles> {
    let n: usize = sections.iter().sum();
    let axes = axes_of_frequencies(sections, axes);
    let frequencies: Vec<f32> = (0..n).map(|i| frequency(theta, i, n)).collect();
    let mut angles = Vec::with_capacity(positions.len() * n);
    for position in positions {
        angles.extend(axes.iter().zip(&frequencies).map(|(&axis, f)| position[axis] as f32 * f));
    }
    Angles::new(&Tensor::from_vec(angles, (positions.len(), n), device)?, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_take_their_axes_in_turn_or_by_threes() {
        assert_eq!(axes_of_frequencies([2, 1, 3], Axes::InTurn), [0, 0, 1, 2, 2, 2]);
        assert_eq!(axes_of_frequencies([4, 2, 2], Axes::Interleaved), [0, 1, 2, 0, 1, 2, 0, 0]);
        // Of the three columns' one has no place.
        assert_eq!(axes_of_frequencies([2, 1, 3], Axes::Interleaved), [0, 1, 2, 0, 0, 2]);
    }
}
