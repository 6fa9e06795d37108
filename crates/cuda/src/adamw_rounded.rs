//! AdamW's step of all parameters whose weights are in bf16 alone, rounded by chance.
//! Not here: the step of f32 weights (`adamw`).

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result};

use super::adamw::AdamWRule;
use super::array::Array;
use super::launch::{Kernel, kernel, launch};
use super::philox::PhiloxStream;
use super::table::Table;

/// Along gradients in f32 and in bf16.
const ADAMW_ROUNDED: [Kernel; 2] =
    [kernel!("adamw", "adamw_rounded"), kernel!("adamw", "adamw_rounded_of_bf16")];

/// One parameter's step; all arrays are of one shape.
#[derive(Clone, Copy)]
pub struct RoundedAdamWUpdate<'a> {
    /// The step's numbers.
    pub rule: AdamWRule,
    /// bf16; changed in place, for every tensor that shares its storage.
    pub weights: Array<'a>,
    /// The first moment, f32; changed in place.
    pub m: Array<'a>,
    /// The second moment, f32; changed in place.
    pub v: Array<'a>,
    /// The gradient, f32 or bf16: as those of all other updates of a launch.
    pub grad: Array<'a>,
    /// Where the random bits come from: number i takes 16 of the block at position i / 8, the half word i % 8, low ones first.
    pub stream: PhiloxStream,
}

/// `RoundedUpdate` of `kernels/adamw.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    weights: u64,
    m: u64,
    v: u64,
    grad: u64,
    rule: [f32; 8],
    key: [u32; 2],
    counter: [u32; 4],
}

// SAFETY: it is laid out as the kernel's, without gaps.
unsafe impl DeviceRepr for Update {}

/// The steps of [`super::adamw`] on weights in bf16: made in f32, then rounded to a neighbour in bf16, upwards with the
/// probability of what is cut off, so that the mean is the f32 number. One launch.
///
/// # Errors
/// Shapes or dtypes do not fit; then nothing has changed.
pub fn adamw_rounded(updates: &[RoundedAdamWUpdate]) -> Result<()> {
    let Some(first) = updates.first() else { return Ok(()) };
    let device = first.weights.device();
    let (kernel, dtype) = first.grad.in_f32_or_bf16(ADAMW_ROUNDED);
    let rows = updates.iter().map(|update| row(update, dtype)).collect::<Result<Vec<_>>>()?;
    let table = Table::new(device, &rows)?;
    let arguments = [table.address(), updates.len().into()];
    // SAFETY: every array of a row has the row's number of elements, and starts at a multiple of eight of them where the row
    // says so.
    unsafe { launch(device, &kernel, table.grid(), &arguments) }
}

/// What the kernel is told, the number of elements, whether every array is aligned.
///
/// - `gradients`: the dtype of the gradients
fn row(update: &RoundedAdamWUpdate, gradients: DType) -> Result<(Update, usize, bool)> {
    let RoundedAdamWUpdate { rule, weights, m, v, grad, stream } = *update;
    let shape = weights.shape();
    weights.require("a parameter rounded by chance", DType::BF16, shape.dims())?;
    m.require("a first moment", DType::F32, shape.dims())?;
    v.require("a second moment", DType::F32, shape.dims())?;
    grad.require("a parameter's gradient", gradients, shape.dims())?;
    let aligned = weights.is_aligned_to(8) && [m, v, grad].iter().all(|x| x.is_aligned_to(4));
    let [weights, m, v, grad] = [weights, m, v, grad].map(|array| array.address());
    let [b, c, d] = stream.counter;
    let (rule, key, counter) = (rule.in_f32(), stream.key, [0, b, c, d]);
    Ok((Update { weights, m, v, grad, rule, key, counter }, shape.elem_count(), aligned))
}
