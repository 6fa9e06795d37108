//! Opening a GPU.
//! Not here: what it is asked to compute, its memory (`memory`).

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
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
