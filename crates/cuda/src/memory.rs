//! How much of a GPU's memory the program has used.
//! Not here: allocating it (candle, through the driver's pool).

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Result};

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
    let used = bytes(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(reserved.saturating_sub(used))
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
