//! A list of launches that the driver keeps, and repeats as one.
//! Not here: what is launched.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{CudaDevice, Result, bail};

/// Launches that were recorded on a device's stream.
pub struct Graph(CudaGraph);

impl Graph {
    /// Records what `launch` starts, which does not run yet.
    ///
    /// - `launch`: has run before, so that every kernel is loaded; allocates nothing, and waits for nothing. Meanwhile no
    ///   other thread may use the device, whose work would be recorded too.
    ///
    /// # Errors
    /// `launch`'s own, or something in it cannot be recorded.
    pub fn record(device: &CudaDevice, launch: impl FnOnce() -> Result<()>) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        let launched = launch();
        // Ends in any case: a stream that is recorded can do nothing else.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        match graph.w()? {
            Some(graph) => Ok(Self(graph)),
            None => bail!("launches were recorded, and the driver has none"),
        }
    }

    /// Starts all of it.
    ///
    /// # Errors
    /// The driver's own.
    pub fn launch(&self) -> Result<()> {
        self.0.launch().w()
    }
}
