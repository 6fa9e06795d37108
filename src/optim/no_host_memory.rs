//! In place of `host_memory` in a program without CUDA: there is no GPU, and nothing is kept for one.
//! Not here: anything that happens.

use candle_core::{Device, Result, Shape, Tensor};

/// There is none.
#[derive(Clone, Debug)]
pub(super) enum HostMemory {}

impl HostMemory {
    #[expect(clippy::unnecessary_wraps, reason = "as of the one there is with CUDA")]
    pub(super) fn new(_: usize, _: &Device) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn room(_: &Shape) -> usize {
        0
    }

    pub(super) fn zeros(&mut self, _: &Shape) -> Result<Tensor> {
        match *self {}
    }

    pub(super) fn wait(&self) -> Result<()> {
        match *self {}
    }
}
