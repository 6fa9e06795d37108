//! How fast the device copies memory and multiplies matrices: what all other figures are compared with.
//! Not here: a model (`scoring`), keeping what was measured (`train::plan::ceilings`).

use candle_core::{DType, Device, Result, Tensor};

use super::median_seconds;
use super::random_model::numbers;
use crate::train::plan::ceilings::Ceilings;

/// Repetitions of each measurement.
const REPETITIONS: usize = 10;

/// Copying within the device's memory, and a square product in `dtype`.
///
/// - `bytes`: size of the array that is copied; `side`: rows and columns of the product
///
/// # Errors
/// The device's own.
pub fn measure(device: &Device, dtype: DType, bytes: usize, side: usize) -> Result<Ceilings> {
    let source = numbers(&[bytes / dtype.size_in_bytes()], 1.0, 1, dtype, device)?;
    let copy = median_seconds(device, REPETITIONS, || source.copy().map(|_| ()))?;
    let [a, b] = [2, 3].map(|seed| numbers(&[side, side], 1.0, seed, dtype, device));
    let (a, b): (Tensor, Tensor) = (a?, b?);
    let product = median_seconds(device, REPETITIONS, || a.matmul(&b).map(|_| ()))?;
    Ok(Ceilings {
        product_tflops: 2.0 * (side as f64).powi(3) / product / 1e12,
        copy_tb_per_s: 2.0 * bytes as f64 / copy / 1e12,
    })
}

/// What was measured, by name with its unit.
pub fn figures(Ceilings { product_tflops, copy_tb_per_s }: Ceilings) -> Vec<(&'static str, f64)> {
    vec![("copy, TB/s", copy_tb_per_s), ("product, TFLOP/s", product_tflops)]
}
