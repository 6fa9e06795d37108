//! The reference of a run on a GPU: its weights wait in the host's memory, and are copied to the GPU for each batch of rollouts.
//! Not here: when that is, and references elsewhere (`reference`).

use candle_core::{Device, Result, Tensor, bail};
use othink_cuda::{Array, HostArray};

use super::error::TrainError;
use crate::model::Model;
use crate::model::error::ModelError;
use crate::ops::{GradientArena, Parameter};

/// Values of the parameters that a policy trains, one after the other as their gradients are, in pinned memory.
pub struct UploadedReference {
    weights: HostArray,
}

impl UploadedReference {
    /// - `policy`: on a GPU
    /// - `read`: the reference's values of a parameter, on the CPU, in the policy's dtype
    ///
    /// # Errors
    /// Those of `read`; the host has no memory for them that can be pinned.
    pub(super) fn new(
        policy: &Model,
        mut read: impl FnMut(&Parameter) -> std::result::Result<Tensor, ModelError>,
    ) -> std::result::Result<Self, TrainError> {
        let failed = TrainError::during("keeping the reference in the host's memory");
        let n = arena(policy).map_err(&failed)?.numbers().elem_count();
        let all = Tensor::zeros(n, policy.dtype(), &Device::Cpu).map_err(&failed)?;
        let keep = |parameter: &Parameter, value: &Tensor| -> Result<()> {
            let place = parameter.with_values_among(&all)?.value().flatten_all()?;
            place.slice_set(&value.flatten_all()?, 0, 0)
        };
        for parameter in policy.parameters().trained() {
            keep(parameter, &read(parameter)?).map_err(&failed)?;
        }
        let Device::Cuda(device) = policy.device() else {
            return Err(failed(candle_core::Error::Msg("the policy is on no GPU".to_owned())));
        };
        Ok(Self { weights: HostArray::new(all, device).map_err(failed)? })
    }

    /// What `score` makes of the reference, which is in the memory of the gradients until `score` returns. `policy` has no gradients.
    ///
    /// # Errors
    /// The device fails; or those of `score`.
    pub(super) fn scored<T>(
        &self,
        policy: &Model,
        score: impl FnOnce(&Model) -> std::result::Result<T, TrainError>,
    ) -> std::result::Result<T, TrainError> {
        let failed = TrainError::during("copying the reference to the GPU");
        let with_weights = |all: &Tensor| {
            let uploaded =
                Array::of(all).and_then(|to| self.weights.copy(self.weights.numbers(), to));
            uploaded.map_err(&failed)?;
            let model = policy.with_trained_replaced(|trained| {
                trained.with_values_among(all).map_err(|source| ModelError::Tensor {
                    context: format!("copying the reference's {}", trained.name()),
                    source,
                })
            });
            score(&model?)
        };
        let gradients = arena(policy).map_err(&failed)?;
        gradients.lend(policy.dtype(), with_weights).map_err(&failed)?
    }
}

fn arena(policy: &Model) -> Result<&GradientArena> {
    let Some(gradients) = policy.parameters().gradients() else {
        bail!("nothing is trained: the reference is the policy")
    };
    Ok(gradients)
}
