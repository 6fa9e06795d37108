//! AdamW's step of one parameter.
//! Not here: the optimiser's state, bias corrections and schedules; the norm that clips the gradient (`squares`).

use candle_core::{DType, Result};

use super::array::Array;
use super::launch::{Argument, Grid, Kernel, kernel, launch};

const ADAMW: Kernel = kernel!("adamw", "adamw");

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
    /// The gradient, f32.
    pub grad: Array<'a>,
    /// The parameter's copy in bf16, which is overwritten; `None` where there is none.
    pub copy: Option<Array<'a>>,
}

/// With `g = grad * grad_scale`: `m += first_share * (g - m)`, `v = beta2 * v + (1 - beta2) * g * g`,
/// `parameter = shrink * parameter - step_size * m / (sqrt(v) / second_correction + eps)`, then `copy = parameter`.
///
/// Each operation is rounded to f32 by itself, as in torch's `_single_tensor_adam`; nothing is fused.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn adamw(rule: &AdamWRule, arrays: &AdamWArrays) -> Result<()> {
    let shape = arrays.parameter.shape();
    let in_f32 = |what, array: Array| array.expect(what, DType::F32, shape.dims()).map(drop);
    in_f32("a parameter", arrays.parameter)?;
    in_f32("a first moment", arrays.m)?;
    in_f32("a second moment", arrays.v)?;
    in_f32("a parameter's gradient", arrays.grad)?;
    if let Some(copy) = arrays.copy {
        copy.expect("a parameter's copy", DType::BF16, shape.dims())?;
    }
    let all = [arrays.parameter, arrays.m, arrays.v, arrays.grad];
    let aligned = all.iter().chain(&arrays.copy).all(Array::is_aligned);
    let n = shape.elem_count();
    let arguments = [
        arrays.parameter.into(),
        arrays.m.into(),
        arrays.v.into(),
        arrays.grad.into(),
        arrays.copy.into(),
        Argument::Long(n as i64),
        aligned.into(),
        rule.grad_scale.into(),
        rule.first_share.into(),
        rule.beta2.into(),
        (1.0 - rule.beta2).into(),
        (-rule.step_size).into(),
        rule.second_correction.into(),
        rule.eps.into(),
        rule.shrink.into(),
    ];
    // SAFETY: every array has n numbers, and starts at a multiple of four of them where the kernel is told so.
    unsafe { launch(arrays.parameter.device(), &ADAMW, Grid::of_items(n.div_ceil(4)), &arguments) }
}
