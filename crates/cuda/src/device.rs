//! Opening a GPU.
//! Not here: what it is asked to compute, its memory (`memory`).

use candle_core::{CudaDevice, Result};

use super::memory::keep_freed;

/// Opens a GPU for a program that gives it all its work on one stream.
///
/// No event is recorded or waited for between two pieces of work, as the stream keeps their order, and freed memory stays
/// with the program.
///
/// # Errors
/// There is no such GPU, or it cannot be used.
pub fn open(ordinal: usize) -> Result<CudaDevice> {
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: nothing but this stream uses the device's memory.
    unsafe { device.disable_event_tracking() };
    keep_freed(&device)?;
    Ok(device)
}
