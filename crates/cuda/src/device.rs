//! Opening a GPU.
//! Not here: what it is asked to compute.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
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
    set_up_products(&device)?;
    Ok(device)
}

/// Products allocate nothing, and sums that are split over blocks are added in f32, not in a result's bf16.
fn set_up_products(device: &CudaDevice) -> Result<()> {
    /// What cuBLAS itself takes for an H100.
    const WORKSPACE_BYTES: usize = 32 << 20;
    let handle = *device.cublas_handle().handle();
    // SAFETY: only cuBLAS uses the workspace. It is never freed, as the handle, which is the device's, can use it until the
    // program ends.
    let workspace = unsafe { device.alloc::<u8>(WORKSPACE_BYTES)? }.leak();
    let mode = cublas::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    // SAFETY: the handle is valid as long as the device, and the workspace has as many bytes.
    let set = unsafe {
        cublas::cublasSetWorkspace_v2(handle, workspace as *mut c_void, WORKSPACE_BYTES)
            .result()
            .and_then(|()| cublas::cublasSetMathMode(handle, mode).result())
    };
    set.w()
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
