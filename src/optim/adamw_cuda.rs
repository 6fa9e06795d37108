//! AdamW's update as one kernel on a GPU, the copy of the weights in bf16 with it.
//! Not here: the kernel (`crates/cuda`); the state and the same update from tensor operations (`adamw`).

use candle_core::{DType, Result, Tensor};
use othink_cuda::{AdamWArrays, AdamWRule, Array, adamw};

use super::adamw::{Moments, Rule, Weights};

/// Whether there is a kernel for these weights: master weights in f32 on a GPU, with no copy or one in bf16.
pub(super) fn takes(weights: Weights) -> bool {
    let Weights { master, copy } = weights;
    master.device().is_cuda()
        && master.dtype() == DType::F32
        && copy.is_none_or(|copy| copy.dtype() == DType::BF16)
}

/// One update; the weights are of those that [`takes`] names, all tensors of one shape.
pub(super) fn apply(rule: &Rule, weights: Weights, grad: &Tensor, moments: &Moments) -> Result<()> {
    let arrays = AdamWArrays {
        parameter: Array::of(weights.master)?,
        m: Array::of(&moments.m)?,
        v: Array::of(&moments.v)?,
        grad: Array::of(grad)?,
        copy: weights.copy.map(Array::of).transpose()?,
    };
    let Rule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink } = *rule;
    let rule =
        AdamWRule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink };
    adamw(&rule, &arrays)
}
