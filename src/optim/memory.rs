//! Where the optimiser's own tensors are: beside the weights, or in the host's memory while the weights are on a GPU.
//! Not here: what is kept there (`adamw`, `train::step`); how a GPU reaches the host's memory (`host_memory`).

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::host_memory::HostMemory;

/// Gives out room for tensors; clones share what was given out.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(super) host: Option<HostMemory>,
}

impl Memory {
    /// Beside the weights.
    pub fn beside_weights() -> Self {
        Self { host: None }
    }

    /// The host's, for weights on a GPU; beside the weights where they are on the host themselves.
    ///
    /// - `shapes`: of all tensors that will be given room
    ///
    /// # Errors
    /// The host has no room, or the driver cannot pin it.
    pub fn on_host<'a>(
        weights: &Device,
        shapes: impl IntoIterator<Item = &'a Shape>,
    ) -> Result<Self> {
        let n = shapes.into_iter().map(HostMemory::room).sum();
        Ok(Self { host: HostMemory::new(n, weights)? })
    }

    /// A new tensor of zeros.
    ///
    /// - `dtype`, `device`: where it is beside the weights; in the host's memory all are f32
    ///
    /// # Errors
    /// There is no room.
    pub fn zeros(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        match &mut self.host {
            Some(host) => host.zeros(shape),
            None => Tensor::zeros(shape, dtype, device),
        }
    }

    /// A tensor with the numbers of another: that one itself, where it is beside the weights.
    ///
    /// # Errors
    /// There is no room.
    pub fn hold(&mut self, tensor: Tensor) -> Result<Tensor> {
        let Some(host) = &mut self.host else { return Ok(tensor) };
        let held = host.zeros(tensor.shape())?;
        let numbers = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        held.flatten_all()?.slice_set(&numbers.flatten_all()?.contiguous()?, 0, 0)?;
        Ok(held)
    }

    /// The device that tensors here are on.
    ///
    /// - `weights`: that of the weights
    pub fn device<'a>(&self, weights: &'a Device) -> &'a Device {
        if self.host.is_some() { &Device::Cpu } else { weights }
    }

    /// Waits until a GPU has written what it was asked to write into the host's memory.
    ///
    /// # Errors
    /// The device fails.
    pub fn wait(&self) -> Result<()> {
        self.host.as_ref().map_or(Ok(()), HostMemory::wait)
    }
}
