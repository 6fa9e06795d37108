//! Gradients that are added to their buffers by themselves.
//! Not here: gradients that an operation's own kernel adds, those of looked-up rows (`rows`).

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result::memset_d8_async;

use super::array::{Array, Target};
use super::launch::{Kernel, kernel, launch};
use super::pieces::grid_of_pieces;

/// For sums in f32 and in bf16.
const ACCUMULATE_BF16: [Kernel; 2] =
    [kernel!("gradients", "accumulate_bf16"), kernel!("gradients", "accumulate_bf16_in_bf16")];
const ACCUMULATE_F32: [Kernel; 2] =
    [kernel!("gradients", "accumulate_f32"), kernel!("gradients", "accumulate_f32_in_bf16")];

/// Adds `gradient` to `target`, number by number.
///
/// - `gradient`: the target's shape, bf16 or f32
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn accumulate(gradient: Array, target: Target) -> Result<()> {
    let (kernels, dtype) = gradient.in_f32_or_bf16([ACCUMULATE_F32, ACCUMULATE_BF16]);
    let gradient = gradient.require("a gradient to add", dtype, gradient.shape().dims())?;
    let (out, kernel) = target.require("a gradient", gradient.shape().dims(), kernels)?;
    let n = gradient.shape().elem_count();
    let arguments = [gradient.into(), out.into(), n.into(), target.add.into()];
    // SAFETY: both arrays have n numbers.
    unsafe { launch(gradient.device(), &kernel, grid_of_pieces(&gradient), &arguments) }
}

/// Overwrites an array with zeros.
///
/// # Errors
/// The device fails.
pub fn fill_with_zeros(array: Array) -> Result<()> {
    let bytes = array.shape().elem_count() * array.dtype().size_in_bytes();
    if bytes == 0 {
        return Ok(());
    }
    let stream = array.device().cuda_stream();
    stream.context().bind_to_thread().w()?;
    // SAFETY: the array has that many bytes, and zero bytes are the number zero in each of its types.
    unsafe { memset_d8_async(array.address(), 0, bytes, stream.cu_stream()) }.w()
}
