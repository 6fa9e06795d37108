//! Which implementation of the operations runs on which tensors.
//! Not here: the implementations, a file per operation.

use candle_core::{DType, Device, Tensor};

/// An implementation of all operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Threaded kernels of our own, with backward passes of their own.
    Cpu,
    /// Kernels on the GPU, with backward passes of their own (the crate `othink-cuda`).
    #[cfg(feature = "cuda")]
    Cuda,
    /// Compositions of candle's differentiable operations ([`super::plain`]).
    Plain,
}

impl Path {
    /// The path of tensors of this number type on this device.
    pub fn resolve(device: &Device, dtype: DType) -> Self {
        match (device, dtype) {
            (Device::Cpu, DType::F32 | DType::F64) => Self::Cpu,
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), DType::BF16) => Self::Cuda,
            _ => Self::Plain,
        }
    }

    /// Whether a completion does not depend on those decoded with it; on the plain path its last bits do. On the CPU
    /// [`super::Product::RowByRow`] computes each row by itself. On a GPU decoding has kernels of its own that do; a model
    /// without them is decoded one completion at a time, because products of training depend on the number of rows.
    pub fn keeps_rows_apart(self) -> bool {
        self != Self::Plain
    }

    /// Whether [`super::Product::RowByRow`] computes each row by itself.
    pub fn multiplies_row_by_row(self) -> bool {
        self == Self::Cpu
    }

    /// The path of a tensor.
    pub(crate) fn of(x: &Tensor) -> Self {
        Self::resolve(x.device(), x.dtype())
    }
}
