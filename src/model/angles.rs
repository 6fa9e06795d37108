//! Rotary angles: of a patch in its image, of a token in its prompt (M-RoPE).
//! Not here: which positions the tokens of a prompt have (`processor::positions`), the rotation (`ops`).

use candle_core::{DType, Device, Result, Tensor};

use crate::ops::Angles;

/// Base of the vision tower's frequencies.
const VISION_THETA: f64 = 10_000.0;

fn frequency(theta: f64, i: usize, n: usize) -> f32 {
    theta.powf(-(i as f64) / n as f64) as f32
}

/// Angles of the vision tower (2-D rotary): the first half from a patch's row, the second from its
/// column, patches in merge-window order, images one after the other.
///
/// - `grids`: per image frames, rows and columns of patches; `merge`: patches per window side
/// - returns `[patches, head_dim / 2]`
///
/// # Errors
/// The tensor cannot be made.
pub fn vision_angles(
    grids: &[[usize; 3]],
    merge: usize,
    head_dim: usize,
    dtype: DType,
    device: &Device,
) -> Result<Angles> {
    let n = head_dim / 4;
    let mut angles = Vec::new();
    for &[frames, rows, columns] in grids {
        for _ in 0..frames {
            for window in 0..(rows / merge) * (columns / merge) {
                let (top, left) =
                    (window / (columns / merge) * merge, window % (columns / merge) * merge);
                for patch in 0..merge * merge {
                    let (row, column) = (top + patch / merge, left + patch % merge);
                    for position in [row, column] {
                        angles.extend(
                            (0..n).map(|i| position as f32 * frequency(VISION_THETA, i, n)),
                        );
                    }
                }
            }
        }
    }
    let patches = angles.len() / (2 * n);
    Angles::exact(&Tensor::from_vec(angles, (patches, 2 * n), device)?, dtype)
}

/// Angles of the language model (M-RoPE, Wang et al. 2024): of the `head_dim / 2` frequencies the
/// first `sections[0]` rotate by the temporal position, the next by the row, the rest by the column.
///
/// - `positions`: `T` triples
/// - returns `[T, head_dim / 2]`
///
/// # Errors
/// The tensor cannot be made.
pub fn language_angles(
    positions: &[[u32; 3]],
    sections: [usize; 3],
    theta: f64,
    dtype: DType,
    device: &Device,
) -> Result<Angles> {
    let n: usize = sections.iter().sum();
    let axes: Vec<usize> =
        (0..3).flat_map(|axis| std::iter::repeat_n(axis, sections[axis])).collect();
    let frequencies: Vec<f32> = (0..n).map(|i| frequency(theta, i, n)).collect();
    let mut angles = Vec::with_capacity(positions.len() * n);
    for position in positions {
        angles.extend(axes.iter().zip(&frequencies).map(|(&axis, f)| position[axis] as f32 * f));
    }
    Angles::new(&Tensor::from_vec(angles, (positions.len(), n), device)?, dtype)
}
