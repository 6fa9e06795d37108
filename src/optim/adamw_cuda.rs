//! AdamW's updates as kernels on a GPU: one launch for all master weights in f32, whose copies in bf16 are written with them,
//! and one for all weights that are rounded by chance.
//! Not here: the kernels (`crates/cuda`); the state and the same update from tensor operations (`adamw`).

use candle_core::{DType, Result, Tensor};
use othink_cuda::{
    AdamWArrays, AdamWRule, AdamWUpdate, Array, PhiloxStream, RoundedAdamWUpdate, adamw,
    adamw_rounded,
};

use super::adamw::{Prepared, Rule, Weights};
use super::memory::Memory;

/// Makes the updates that there is a kernel for and returns the others.
///
/// - `memory`: where master weights and moments are
pub(super) fn apply<'a, 'b>(
    updates: &'a [Prepared<'b>],
    memory: &Memory,
) -> Result<Vec<&'a Prepared<'b>>> {
    let (taken, left) = updates.iter().partition::<Vec<_>, _>(|update| takes(update));
    let (mut in_f32, mut rounded) = (Vec::new(), Vec::new());
    for update in taken {
        match update.weights {
            Weights::Plain(master) => in_f32.push(of_master(update, master, None, memory)?),
            Weights::Copied { master, copy } => {
                in_f32.push(of_master(update, master, Some(copy), memory)?);
            }
            Weights::Rounded { weights, stream } => {
                let Prepared { rule, grad, moments, .. } = update;
                rounded.push(RoundedAdamWUpdate {
                    rule: in_kernel(rule),
                    weights: Array::of(weights)?,
                    m: array(&moments.m, memory)?,
                    v: array(&moments.v, memory)?,
                    grad: Array::of(grad)?,
                    stream: PhiloxStream { key: stream.key(), counter: stream.counter() },
                });
            }
        }
    }
    adamw(&in_f32)?;
    adamw_rounded(&rounded)?;
    Ok(left)
}

/// Whether there is a kernel for an update: one on a GPU, of a gradient in f32 or bf16, with no copy or one in bf16.
fn takes(update: &Prepared) -> bool {
    let Prepared { weights, grad, moments, .. } = update;
    let has_kernel = match weights {
        Weights::Plain(_) | Weights::Rounded { .. } => true,
        Weights::Copied { copy, .. } => copy.dtype() == DType::BF16,
    };
    let is_read = matches!(grad.dtype(), DType::F32 | DType::BF16);
    has_kernel && is_read && grad.device().is_cuda() && moments.m.dtype() == DType::F32
}

fn of_master<'a>(
    update: &'a Prepared,
    master: &'a Tensor,
    copy: Option<&'a Tensor>,
    memory: &'a Memory,
) -> Result<AdamWUpdate<'a>> {
    let Prepared { rule, grad, moments, .. } = update;
    let arrays = AdamWArrays {
        parameter: array(master, memory)?,
        m: array(&moments.m, memory)?,
        v: array(&moments.v, memory)?,
        grad: Array::of(grad)?,
        copy: copy.map(Array::of).transpose()?,
    };
    Ok(AdamWUpdate { rule: in_kernel(rule), arrays })
}

/// What kernels see of a tensor on the GPU or in the memory.
fn array<'a>(tensor: &'a Tensor, memory: &'a Memory) -> Result<Array<'a>> {
    match &memory.host {
        Some(host) if tensor.device().is_cpu() => host.array(tensor),
        _ => Array::of(tensor),
    }
}

fn in_kernel(rule: &Rule) -> AdamWRule {
    let Rule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink } = *rule;
    AdamWRule { grad_scale, first_share, beta2, step_size, second_correction, eps, shrink }
}
