//! Which implementation of the operations runs on which tensors.
//! Not here: the implementations, a file per operation.

use candle_core::{DType, Device, Tensor};

/// An implementation of all operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Threaded kernels of our own, with backward passes of their own.
    Cpu,
    /// Compositions of candle's differentiable operations ([`super::plain`]).
    Plain,
}

impl Path {
    /// The path of tensors of this number type on this device.
    pub fn resolve(device: &Device, dtype: DType) -> Self {
        match (device, dtype) {
            (Device::Cpu, DType::F32 | DType::F64) => Self::Cpu,
            _ => Self::Plain,
        }
    }

    /// Whether [`super::Product::RowByRow`] computes each row by itself, so that a completion does not depend on those
    /// decoded with it; on the other path its last bits do.
    pub fn keeps_rows_apart(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Plain => false,
        }
    }

    /// The path of a tensor.
    pub(crate) fn of(x: &Tensor) -> Self {
        Self::resolve(x.device(), x.dtype())
    }
}
