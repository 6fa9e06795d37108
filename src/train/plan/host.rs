//! What a run on a GPU holds of the host's memory.
//! Not here: the GPU's own (`gpu_memory`); a run on the CPU (`memory`).

use candle_core::{DType, Device};
use serde::Serialize;

use super::available::available_bytes;
use super::memory::{
    copied_for_reference, merged, optimizer_bytes, pictures_ahead, trained_parameters,
};
use super::workload::Workload;
use crate::config::RunConfig;
use crate::model::config::ModelConfig;
use crate::printable::gigabytes;
use crate::run_folder::metrics::resident_bytes;

const F32: u64 = 4;
/// The program with CUDA's libraries: what a run of the tiny model held of the host's memory on a machine with an H200
/// (`benches/results`).
const PROGRAM_WITH_CUDA: u64 = 540_000_000;

/// The host's memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Host {
    /// What the run holds at its peak.
    pub needed_bytes: u64,
    /// What it may hold on this machine; none where it is not known.
    pub available_bytes: Option<u64>,
}

impl Host {
    /// The program with CUDA's libraries; what is kept for the GPU ([`kept`]); pictures made ahead (`train::draw`) and those of one
    /// packed stream (`model::packed`); a step's logits (`rollout::host_decoder`); the largest parameter on its way from or to a file
    /// (`model::weights`, `model::save`).
    pub(super) fn of(
        config: &RunConfig,
        model: &ModelConfig,
        work: &Workload,
        dtype: DType,
    ) -> Self {
        let patches = work.streams.iter().map(|stream| stream.patches).max().unwrap_or(0);
        let packed = (patches * model.vision.patch_dim()) as u64 * F32;
        let places = config.rollout.max_batch.min(work.completions() * config.grpo.mini_batches);
        let logits = (places * model.text.vocab_size) as u64 * F32;
        let shapes = model.parameter_shapes().into_iter();
        let largest = shapes.map(|shape| shape.elem_count()).max().unwrap_or(0);
        let parameter = (largest * dtype.size_in_bytes()) as u64;
        let program = resident_bytes().unwrap_or(0).max(PROGRAM_WITH_CUDA);
        let pictures = pictures_ahead(config, model, work) + packed;
        let needed_bytes = program + kept(config, model, dtype) + pictures + logits.max(parameter);
        Self { needed_bytes, available_bytes: available_bytes(&Device::Cpu) }
    }

    /// If the machine is known to have less: a warning, and what would need less.
    pub fn shortage(&self) -> Option<String> {
        let available = self.available_bytes.filter(|available| self.needed_bytes > *available)?;
        Some(format!(
            "the run needs about {} of the host's memory and {} are available: it may be killed\n\
             hint: a smaller data.prefetch or data.max_pixels needs less, as does optim.offload = false",
            gigabytes(self.needed_bytes),
            gigabytes(available),
        ))
    }
}

/// Bytes of the arrays that are pinned for the GPU: the reference's weights (`train::uploaded_reference`); in bf16 the weights that
/// low-rank factors change while it decodes, as they were (`model::merged_weights`); moments and master weights where they are kept
/// here (`optim`).
fn kept(config: &RunConfig, model: &ModelConfig, dtype: DType) -> u64 {
    let width = dtype.size_in_bytes() as u64;
    let changed = if dtype == DType::BF16 { merged(config, model) } else { 0 };
    let trained = trained_parameters(config, model);
    let optimizer = if config.optim.offload { optimizer_bytes(config, trained, dtype) } else { 0 };
    (copied_for_reference(config, model) + changed) * width + optimizer
}

#[cfg(test)]
mod tests {
    use super::super::test_model::one_layer;
    use super::*;
    use crate::config::LoraConfig;

    /// Of a model of 2776 numbers, 480 of them in the maps that factors of rank 2, 232 numbers, change.
    #[test]
    fn the_reference_or_the_changed_weights_and_an_offloaded_state_are_kept_for_a_gpu() {
        let (model, mut config) = (one_layer(true), RunConfig::default());
        let bytes = |config: &RunConfig, dtype| kept(config, &model, dtype);
        assert_eq!(bytes(&config, DType::BF16), 2776 * 2);
        assert_eq!(bytes(&config, DType::F32), 2776 * 4);
        config.optim.offload = true;
        assert_eq!(bytes(&config, DType::BF16), 2776 * (2 + 12));
        config.model.lora = Some(LoraConfig { rank: 2, ..LoraConfig::default() });
        assert_eq!(bytes(&config, DType::BF16), 480 * 2 + 232 * 12);
        assert_eq!(bytes(&config, DType::F32), 232 * 8);
        config.optim.offload = false;
        assert_eq!(bytes(&config, DType::F32), 0);
    }

    #[test]
    fn a_host_with_too_little_is_told_and_one_that_is_not_known_is_not() {
        let host = |available_bytes| Host { needed_bytes: 5_000_000_000, available_bytes };
        assert_eq!(host(None).shortage(), None);
        assert_eq!(host(Some(5_000_000_000)).shortage(), None);
        let told = host(Some(4_000_000_000)).shortage().unwrap();
        let expected = "the run needs about 5.0 GB of the host's memory and 4.0 GB are available";
        assert!(told.starts_with(expected) && told.contains("\nhint: a smaller data.prefetch"));
    }
}
