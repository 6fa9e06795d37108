//! AdamW's step of all parameters whose master weights are in f32.
//! Not here: the optimiser's state, bias corrections and schedules; the norm that clips the gradient
//! (`squares`); weights in bf16 alone (`adamw_rounded`).

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result};

use super::array::Array;
use super::launch::{Kernel, kernel, launch};
use super::table::Table;

/// Along gradients in f32 and in bf16.
const ADAMW: [Kernel; 2] = [kernel!("adamw", "adamw"), kernel!("adamw", "adamw_of_bf16")];

/// The numbers of one parameter's step; the kernel takes each in f32.
#[derive(Clone, Copy, Debug)]
pub struct AdamWRule {
    /// Multiplies the gradient first.
    pub grad_scale: f64,
    /// 1 - beta1: the weight of the new gradient in the first moment.
    pub first_share: f64,
    /// The weight of the previous second moment.
    pub beta2: f64,
    /// lr / (1 - beta1^step).
    pub step_size: f64,
    /// sqrt(1 - beta2^step).
    pub second_correction: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// 1 - lr * weight decay, or 1: the factor by which weight decay shrinks the parameter.
    pub shrink: f64,
}

/// What one parameter's step reads and changes; all of one shape.
#[derive(Clone, Copy)]
pub struct AdamWArrays<'a> {
    /// f32; changed in place, for every tensor that shares its storage.
    pub parameter: Array<'a>,
    /// The first moment, f32; changed in place.
    pub m: Array<'a>,
    /// The second moment, f32; changed in place.
    pub v: Array<'a>,
    /// The gradient, f32 or bf16: as those of all other updates of a launch.
    pub grad: Array<'a>,
    /// The parameter's copy in bf16, which is overwritten; `None` where there is none.
    pub copy: Option<Array<'a>>,
}

/// One parameter's step.
#[derive(Clone, Copy)]
pub struct AdamWUpdate<'a> {
    /// Its numbers.
    pub rule: AdamWRule,
    /// Its arrays.
    pub arrays: AdamWArrays<'a>,
}

/// `Update` of `kernels/adamw.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    parameter: u64,
    m: u64,
    v: u64,
    grad: u64,
    copy: u64,
    rule: [f32; 8],
}

// SAFETY: it is laid out as the kernel's, without gaps.
unsafe impl DeviceRepr for Update {}

/// The steps of any number of parameters on one device, in one launch. For each, with `g = grad * grad_scale`:
/// `m += first_share * (g - m)`, `v = beta2 * v + (1 - beta2) * g * g`,
/// `parameter = shrink * parameter - step_size * m / (sqrt(v) / second_correction + eps)`, then `copy = parameter`.
///
/// Each operation is rounded to f32 by itself, as in torch's `_single_tensor_adam`; nothing is fused.
///
/// # Errors
/// Shapes or dtypes do not fit; then nothing has changed.
pub fn adamw(updates: &[AdamWUpdate]) -> Result<()> {
    let Some(first) = updates.first() else { return Ok(()) };
    let device = first.arrays.parameter.device();
    let (kernel, dtype) = first.arrays.grad.in_f32_or_bf16(ADAMW);
    let rows = updates.iter().map(|update| row(update, dtype)).collect::<Result<Vec<_>>>()?;
    let table = Table::new(device, &rows)?;
    let arguments = [table.address(), updates.len().into()];
    // SAFETY: every array of a row has the row's number of elements, and starts at a multiple of four of them where the row
    // says so.
    unsafe { launch(device, &kernel, table.grid(), &arguments) }
}

/// What the kernel is told, the number of elements, whether every array is aligned.
///
/// - `gradients`: the dtype of the gradients
fn row(
    AdamWUpdate { rule, arrays }: &AdamWUpdate,
    gradients: DType,
) -> Result<(Update, usize, bool)> {
    let AdamWArrays { parameter, m, v, grad, copy } = *arrays;
    let shape = parameter.shape();
    let in_f32 = |what, array: Array| array.require(what, DType::F32, shape.dims()).map(drop);
    in_f32("a parameter", parameter)?;
    in_f32("a first moment", m)?;
    in_f32("a second moment", v)?;
    grad.require("a parameter's gradient", gradients, shape.dims())?;
    if let Some(copy) = copy {
        copy.require("a parameter's copy", DType::BF16, shape.dims())?;
    }
    let aligned = [parameter, m, v, grad].iter().chain(&copy).all(|x| x.is_aligned_to(4));
    let [parameter, m, v, grad] = [parameter, m, v, grad].map(|array| array.address());
    let copy = copy.map_or(0, |copy| copy.address());
    let update = Update { parameter, m, v, grad, copy, rule: rule.in_f32() };
    Ok((update, shape.elem_count(), aligned))
}

impl AdamWRule {
    /// `Rule` of `kernels/adamw.cu`.
    pub(super) fn in_f32(&self) -> [f32; 8] {
        let Self { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink } =
            *self;
        let second_share = 1.0 - beta2;
        [grad_scale, first_share, beta2, second_share, -step_size, second_correction, eps, shrink]
            .map(|x| x as f32)
    }
}
