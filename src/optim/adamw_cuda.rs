//! AdamW's updates as one kernel on a GPU, the copies of the weights in bf16 with them.
//! Not here: the kernel (`crates/cuda`); the state and the same update from tensor operations (`adamw`).

use candle_core::{DType, Result};
use othink_cuda::{AdamWArrays, AdamWRule, AdamWUpdate, Array, adamw};

use super::adamw::{Prepared, Rule, Weights};

/// Makes the updates that there is a kernel for, all in one launch, and returns the others.
pub(super) fn apply<'a, 'b>(updates: &'a [Prepared<'b>]) -> Result<Vec<&'a Prepared<'b>>> {
    let (taken, left) = updates.iter().partition::<Vec<_>, _>(|update| takes(update.weights));
    adamw(&taken.into_iter().map(in_arrays).collect::<Result<Vec<_>>>()?)?;
    Ok(left)
}

/// Whether there is a kernel for these weights: master weights in f32 on a GPU, with no copy or one in bf16.
fn takes(weights: Weights) -> bool {
    let Weights { master, copy } = weights;
    master.device().is_cuda()
        && master.dtype() == DType::F32
        && copy.is_none_or(|copy| copy.dtype() == DType::BF16)
}

fn in_arrays<'a>(update: &'a Prepared) -> Result<AdamWUpdate<'a>> {
    let Prepared { rule, weights, grad, moments } = update;
    let Rule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink } = *rule;
    let rule =
        AdamWRule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink };
    let arrays = AdamWArrays {
        parameter: Array::of(weights.master)?,
        m: Array::of(&moments.m)?,
        v: Array::of(&moments.v)?,
        grad: Array::of(grad)?,
        copy: weights.copy.map(Array::of).transpose()?,
    };
    Ok(AdamWUpdate { rule, arrays })
}
