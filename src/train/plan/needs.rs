//! What decides a run's memory besides its configuration, so that it can be planned under any other.
//! Not here: the terms of the plan (`memory`, `gpu_memory`).

use candle_core::DType;

use super::memory::Memory;
use super::workload::Workload;
use crate::config::RunConfig;
use crate::model::config::ModelConfig;
use crate::model::device::DeviceKind;
use crate::train::error::TrainError;
use crate::train::settings::require_targets;
use crate::train::setup::Setup;

/// A model, rows, and what computes on them.
#[derive(Debug, Clone)]
pub(in crate::train) struct Needs {
    pub(super) model: ModelConfig,
    /// Under the configuration that it was read with.
    pub(super) workload: Workload,
    pub(super) dtype: DType,
    pub(super) kind: DeviceKind,
}

impl Needs {
    /// Those of a run that has been opened.
    ///
    /// # Errors
    /// The model's configuration or a row is not what it should be.
    pub(in crate::train) fn of(config: &RunConfig, setup: &Setup) -> Result<Self, TrainError> {
        let model = ModelConfig::load(&setup.files)?;
        require_targets(config, &model)?;
        let at_hand = Some((setup.questions.all(), setup.processor.as_ref()));
        let workload = Workload::of(config, &model, setup.questions.n_rows(), at_hand)?;
        Ok(Self { model, workload, dtype: setup.dtype, kind: DeviceKind::of(&setup.device) })
    }

    /// What a run of the same method holds under a configuration.
    pub(in crate::train) fn memory(&self, config: &RunConfig) -> Memory {
        let workload = self.workload.under(config, &self.model);
        Memory::of(config, &self.model, &workload, (self.dtype, self.kind))
    }
}
