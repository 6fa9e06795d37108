//! The host's memory as a GPU uses it: one pinned array, which kernels read and write where it is. It crosses the bus in both
//! directions at once and takes no room on the device.
//! Not here: a program without CUDA (`no_host_memory`); pinning (`crates/cuda`); what is kept there (`memory`).

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use othink_cuda::{Array, HostArray};

/// Pinned f32 numbers, of which the first are taken.
#[derive(Clone, Debug)]
pub(super) struct HostMemory {
    pinned: Arc<HostArray>,
    taken: usize,
}

impl HostMemory {
    /// Room for `n` numbers that a GPU reaches; none where the device is none.
    pub(super) fn new(n: usize, device: &Device) -> Result<Option<Self>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        let numbers = Tensor::zeros(n.max(1), DType::F32, &Device::Cpu)?;
        Ok(Some(Self { pinned: Arc::new(HostArray::new(numbers, device)?), taken: 0 }))
    }

    /// Numbers that a tensor takes, up to where the next one is aligned for the kernels.
    pub(super) fn room(shape: &Shape) -> usize {
        shape.elem_count().next_multiple_of(4)
    }

    /// The next numbers; nothing was kept there before, and they are zeros.
    pub(super) fn zeros(&mut self, shape: &Shape) -> Result<Tensor> {
        let (numbers, start) = (self.pinned.numbers(), self.taken);
        if start + Self::room(shape) > numbers.elem_count() {
            bail!("the optimiser's memory on the host has no room for a tensor of shape {shape:?}");
        }
        self.taken += Self::room(shape);
        numbers.narrow(0, start, shape.elem_count())?.reshape(shape)
    }

    /// Waits until the GPU has written all that it was asked to write.
    pub(super) fn wait(&self) -> Result<()> {
        self.pinned.wait()
    }

    /// What kernels see of a tensor that is here.
    pub(super) fn array<'a>(&'a self, tensor: &'a Tensor) -> Result<Array<'a>> {
        self.pinned.part(tensor)
    }
}
