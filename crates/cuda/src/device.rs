//! Opening a GPU.
//! Not here: what it is asked to compute.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{CudaDevice, Result, bail};

/// Opens a GPU for a program that gives it all its work on one stream.
///
/// No event is recorded or waited for between two pieces of work, as the stream keeps their order, and freed memory stays
/// with the program for its next allocation instead of going back to the driver at every wait.
///
/// # Errors
/// There is no such GPU, or it cannot be used.
pub fn open(ordinal: usize) -> Result<CudaDevice> {
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: nothing but this stream uses the device's memory.
    unsafe { device.disable_event_tracking() };
    keep_memory(ordinal)?;
    Ok(device)
}

/// The driver's pool of that GPU gives no memory back while the program runs.
fn keep_memory(ordinal: usize) -> Result<()> {
    let device =
        candle_core::cuda_backend::cudarc::driver::result::device::get(ordinal as i32).w()?;
    let mut pool = std::ptr::null_mut();
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: `pool` is written before it is read, and `threshold` is the u64 that this attribute takes.
    let set = unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, device).result().and_then(|()| {
            sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()).result()
        })
    };
    match set {
        Ok(()) => Ok(()),
        Err(error) => bail!("the GPU's memory pool cannot be set up: {error:?}"),
    }
}
