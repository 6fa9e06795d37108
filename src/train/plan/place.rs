//! What a plan is for: a device of this machine, or a GPU elsewhere.
//! Not here: what the run needs of it.

use candle_core::{DType, Device};

use super::available::available_bytes;
use super::cards::Card;
use super::fit::GIB;
use crate::config::{DeviceChoice, RunConfig};
use crate::model::device::{self, DeviceKind};
use crate::model::error::ModelError;
use crate::printable::gigabytes;

/// A GPU that a plan is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedGpu {
    /// One of so many bytes of memory.
    Memory(u64),
    /// A card whose memory and speed are known.
    Card(&'static Card),
}

/// What a plan is for.
pub(super) enum Place {
    /// A device of this machine.
    Here(Device),
    /// A card that need not be in this machine.
    Card(&'static Card),
    /// A GPU that is not, or need not be, in this machine.
    Elsewhere {
        /// What it is called in the plan.
        name: String,
        /// Its memory, where that is said.
        bytes: Option<u64>,
    },
}

impl Place {
    /// The GPU that is asked for, else the device that the configuration names.
    pub(super) fn of(config: &RunConfig, gpu: Option<PlannedGpu>) -> Result<Self, ModelError> {
        match gpu {
            Some(PlannedGpu::Card(card)) => return Ok(Self::Card(card)),
            Some(PlannedGpu::Memory(bytes)) => {
                let name = format!("a card sold as {} GB", bytes as f64 / GIB as f64);
                return Ok(Self::Elsewhere { name, bytes: Some(bytes) });
            }
            None => {}
        }
        match (device::device(&config.model.device.to_string()), config.model.device) {
            (Ok(device), _) => Ok(Self::Here(device)),
            (Err(ModelError::Device { found, .. }), DeviceChoice::Cuda(_)) => {
                let name = format!("a GPU that is not here ({found})");
                Ok(Self::Elsewhere { name, bytes: None })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The run's number type there.
    pub(super) fn dtype(&self, config: &RunConfig) -> Result<DType, ModelError> {
        let spec = config.model.dtype.to_string();
        match self {
            Self::Here(device) => device::dtype(&spec, device),
            Self::Card(_) | Self::Elsewhere { .. } => device::dtype_on(&spec, DeviceKind::Gpu),
        }
    }

    /// CPU or GPU.
    pub(super) fn kind(&self) -> DeviceKind {
        match self {
            Self::Here(device) => DeviceKind::of(device),
            Self::Card(_) | Self::Elsewhere { .. } => DeviceKind::Gpu,
        }
    }

    /// What it is called in the plan.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Here(device) => device::name(device),
            Self::Card(card) => format!("{} ({})", card.name(), gigabytes(card.gib * GIB)),
            Self::Elsewhere { name, .. } => name.clone(),
        }
    }

    /// Bytes of its memory that the run may hold; none where they are not known.
    pub(super) fn available_bytes(&self) -> Option<u64> {
        match self {
            Self::Here(device) => available_bytes(device),
            Self::Card(card) => Some(card.gib * GIB),
            Self::Elsewhere { bytes, .. } => *bytes,
        }
    }
}
