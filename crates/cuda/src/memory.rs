//! How much of a GPU's memory the program has used, and the error that it has no more.
//! Not here: allocating it (candle, through the driver's pool).

use std::error::Error as StdError;

use candle_core::cuda_backend::cudarc::cublas::result::CublasError;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::cublaslt;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use candle_core::cuda_backend::{CudaError, WrapErr};
use candle_core::{CudaDevice, Error, Result};

/// Whether an error is that a GPU had no room for an allocation: candle's, the driver's for a kernel, or a library's own.
///
/// The driver is asked for memory when an array is made, not when kernels run, so that the error belongs to what the program
/// was doing then.
pub fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::Context { inner, .. }
        | Error::WithPath { inner, .. }
        | Error::WithBacktrace { inner, .. } => is_out_of_memory(inner),
        Error::Cuda(source) => is_refused_memory(source.as_ref()),
        _ => false,
    }
}

fn is_refused_memory(source: &(dyn StdError + 'static)) -> bool {
    let by_driver = |error: &DriverError| error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    if let Some(cublaslt::result::CublasError(status)) = source.downcast_ref() {
        return *status == cublaslt::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
    }
    match source.downcast_ref() {
        Some(CudaError::Cuda(error) | CudaError::Load { cuda: error, .. }) => by_driver(error),
        Some(CudaError::Cublas(CublasError(status))) => {
            *status == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
        }
        _ => false,
    }
}

/// Bytes that are allocated now.
///
/// # Errors
/// The driver does not say.
pub fn allocated_bytes(device: &CudaDevice) -> Result<u64> {
    bytes(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
}

/// The most bytes that were allocated at once since the program began or [`reset_peak`] was called.
///
/// # Errors
/// The driver does not say.
pub fn peak_bytes(device: &CudaDevice) -> Result<u64> {
    bytes(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Bytes that were freed and stay with the program for its next allocations: to the driver they are not free.
///
/// # Errors
/// The driver does not say.
pub fn kept_bytes(device: &CudaDevice) -> Result<u64> {
    let reserved = bytes(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    Ok(reserved.saturating_sub(allocated_bytes(device)?))
}

/// One of the pool's sizes.
fn bytes(device: &CudaDevice, attribute: sys::CUmemPool_attribute) -> Result<u64> {
    let mut bytes = 0u64;
    // SAFETY: the attribute is a u64, and is written before it is read.
    unsafe { sys::cuMemPoolGetAttribute(pool(device)?, attribute, (&raw mut bytes).cast()) }
        .result()
        .w()?;
    Ok(bytes)
}

/// Counts the peak anew from what is allocated now.
///
/// # Errors
/// The driver refuses.
pub fn reset_peak(device: &CudaDevice) -> Result<()> {
    let mut zero = 0u64; // the only value that the driver takes
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the attribute is a u64.
    unsafe { sys::cuMemPoolSetAttribute(pool(device)?, attribute, (&raw mut zero).cast()) }
        .result()
        .w()
}

/// Freed memory stays with the program for its next allocation instead of going back to the driver at every wait.
pub(crate) fn keep_freed(device: &CudaDevice) -> Result<()> {
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64.
    unsafe { sys::cuMemPoolSetAttribute(pool(device)?, attribute, (&raw mut threshold).cast()) }
        .result()
        .w()
}

/// The pool that allocations on a stream come from.
fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    let stream = device.cuda_stream();
    let of = result::device::get(stream.context().ordinal() as i32).w()?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: `pool` is written before it is read.
    unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, of) }.result().w()?;
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(status: sys::CUresult) -> CudaError {
        CudaError::Cuda(DriverError(status))
    }

    #[test]
    fn too_little_memory_is_told_from_other_errors_under_any_context() {
        let lacks = || Error::from(driver(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY));
        assert!(is_out_of_memory(&lacks()));
        assert!(is_out_of_memory(&lacks().context("a product").with_path("weights")));
        let loading = CudaError::Load {
            cuda: DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY),
            module_name: "norm".to_owned(),
        };
        assert!(is_out_of_memory(&loading.into()));
        let product = CublasError(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED);
        assert!(is_out_of_memory(&CudaError::Cublas(product).into()));
        let with_bias = cublaslt::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
        let with_bias = Error::Cuda(Box::new(cublaslt::result::CublasError(with_bias)));
        assert!(is_out_of_memory(&with_bias.context("a product")));

        let fault = driver(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(!is_out_of_memory(&fault.into()));
        let product = CublasError(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED);
        assert!(!is_out_of_memory(&CudaError::Cublas(product).into()));
        assert!(!is_out_of_memory(&Error::msg("out of memory")), "only words");
    }
}
