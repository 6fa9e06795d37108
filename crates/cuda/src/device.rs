//! Opening a GPU.
//! Not here: what it is asked to compute, its memory (`memory`).

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{CudaDevice, Error, Result, bail};

use super::libraries::load;
use super::memory::keep_freed;

/// Opens a GPU for a program that gives it all its work on one stream.
///
/// No event is recorded or waited for between two pieces of work, as the stream keeps their order, and freed memory stays
/// with the program.
///
/// # Errors
/// There is no such GPU, or it cannot be used; the driver is of an earlier major release of CUDA than the program; a library
/// of CUDA's is missing ([`load`] says what to do).
pub fn open(ordinal: usize) -> Result<CudaDevice> {
    load().map_err(|missing| Error::Msg(missing.found))?;
    check_driver()?;
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: nothing but this stream uses the device's memory.
    unsafe { device.disable_event_tracking() };
    keep_freed(&device)?;
    set_up_products(&device)?;
    Ok(device)
}

/// Within a major release of CUDA any driver runs any program; an older one fails later, with an error of some library's.
fn check_driver() -> Result<()> {
    let mut release = 0;
    // SAFETY: the driver writes one number there.
    unsafe { sys::cuDriverGetVersion(&raw mut release) }.result().w()?;
    let (driver, program) = (release.unsigned_abs(), sys::CUDA_VERSION);
    if driver / 1000 < program / 1000 {
        let version = |release: u32| format!("{}.{}", release / 1000, release % 1000 / 10);
        bail!(
            "the driver is for CUDA {}, this program for CUDA {}",
            version(driver),
            version(program)
        );
    }
    Ok(())
}

/// Products without a bias allocate nothing, and sums that are split over blocks are added in f32, not in a result's bf16.
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
