//! A model with low-rank factors while a GPU decodes: its kernels have no place for factors, so the weights that these change are
//! changed where they are, and put back afterwards from a copy in the host's memory.
//! Not here: what a factor changes (`ops::LowRank`), decoding (`gpu_decoding`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Tensor, bail};
use othink_cuda::{Array, HostArray};

use super::network::Model;
use super::parameters::Parameters;
use crate::ops::Parameter;

/// The weights that a model's factors change, as they are without these; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct BaseWeights(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Made when it is first needed.
    copy: OnceLock<HostCopy>,
    /// Whether the weights hold the factors' changes now.
    is_merged: AtomicBool,
}

/// A copy in pinned memory.
#[derive(Debug)]
struct HostCopy {
    pinned: HostArray,
    /// Each weight, with its part of the copy.
    weights: Vec<(Tensor, Tensor)>,
}

impl HostCopy {
    fn new(model: &Model) -> Result<Self> {
        let Device::Cuda(device) = model.device() else {
            bail!("weights are copied that are on no GPU")
        };
        let parameters = model.parameters();
        let changed = || parameters.low_ranks().filter_map(|(map, _)| weight(parameters, map));
        let n = changed().map(|weight| weight.value().elem_count()).sum::<usize>();
        let all = Tensor::zeros(n, model.dtype(), &Device::Cpu)?;
        let mut start = 0;
        let weights = changed().map(|weight| {
            let value = weight.value().flatten_all()?;
            let part = all.narrow(0, start, value.elem_count())?;
            part.slice_set(&value.to_device(&Device::Cpu)?, 0, 0)?;
            start += value.elem_count();
            Ok((value, part))
        });
        let weights = weights.collect::<Result<_>>()?;
        Ok(Self { pinned: HostArray::new(all, device)?, weights })
    }

    fn put_back(&self) -> Result<()> {
        let mut weights = self.weights.iter();
        weights.try_for_each(|(weight, copy)| self.pinned.copy(copy, Array::of(weight)?))
    }
}

/// The weight of a map.
fn weight<'a>(parameters: &'a Parameters, map: &str) -> Option<&'a Parameter> {
    parameters.find(&format!("{map}.weight"))
}

/// A model whose weights hold what its factors change; they are put back when this is dropped.
pub(super) struct Merged {
    model: Model,
    base: BaseWeights,
}

impl Merged {
    /// Changes the weights of `model`, which is on a GPU. Whatever else shares them must not be used until this is dropped.
    ///
    /// # Errors
    /// They are changed already, or there is no memory.
    pub(super) fn new(model: &Model) -> Result<Self> {
        let (parameters, base) = (model.parameters(), model.parameters().base_weights().clone());
        let without_factors = model.without_factors()?;
        if base.0.is_merged.swap(true, Ordering::AcqRel) {
            bail!("a model with low-rank factors is to decode twice at a time");
        }
        let merged = Self { model: without_factors, base };
        if merged.base.0.copy.get().is_none() {
            let copy = HostCopy::new(model)?;
            merged.base.0.copy.get_or_init(|| copy);
        }
        for (map, factors) in parameters.low_ranks() {
            let Some(weight) = weight(parameters, map) else { continue };
            let changed = factors.merged(weight)?;
            weight.value().flatten_all()?.slice_set(&changed.value().flatten_all()?, 0, 0)?;
        }
        Ok(merged)
    }

    /// The model, without factors.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        let Shared { copy, is_merged } = &*self.base.0;
        // A device that fails here fails in whatever is asked of it next.
        if copy.get().is_none_or(|copy| copy.put_back().is_ok()) {
            is_merged.store(false, Ordering::Release);
        }
    }
}
