//! Asking the CUDA driver about a GPU, and opening it.
//! Not here: a build without CUDA (`disabled`).

use candle_core::{Device, Error, Result};

use super::{Gpu, Occupied, Refusal};

/// Opens the GPU of that number.
///
/// # Errors
/// There is no such GPU, no driver, or one that is too old; a library of CUDA's is missing.
pub fn open(device_idx: usize) -> std::result::Result<Device, Refusal> {
    othink_cuda::load().map_err(|missing| Refusal { found: missing.found, hint: missing.hint })?;
    othink_cuda::open(device_idx).map(Device::Cuda).map_err(|error| Refusal::of_driver(&error))
}

/// The most bytes of a GPU's memory that were allocated at once since it was opened, or since [`reset_peak`].
///
/// # Errors
/// It is none, or the driver does not answer.
pub fn peak_bytes(device: &Device) -> Result<u64> {
    othink_cuda::peak_bytes(device.as_cuda_device()?)
}

/// Counts the peak anew from what is allocated now.
///
/// # Errors
/// It is none, or the driver refuses.
pub fn reset_peak(device: &Device) -> Result<()> {
    othink_cuda::reset_peak(device.as_cuda_device()?)
}

/// Asks the driver about an opened GPU.
///
/// # Errors
/// It is none, or the driver does not answer.
pub fn describe(device: &Device) -> Result<Gpu> {
    let device = device.as_cuda_device()?;
    let stream = device.cuda_stream();
    let context = stream.context();
    let (free, total) = context.mem_get_info().map_err(Error::wrap)?;
    Ok(Gpu {
        name: context.name().map_err(Error::wrap)?,
        compute_capability: context.compute_capability().map_err(Error::wrap)?,
        free_bytes: free as u64 + othink_cuda::kept_bytes(device)?,
        total_bytes: total as u64,
    })
}

/// Asks the driver what an opened GPU's memory is taken by.
///
/// # Errors
/// It is none, or the driver does not answer.
pub fn occupied(device: &Device) -> Result<Occupied> {
    let device = device.as_cuda_device()?;
    let stream = device.cuda_stream();
    let (free, total) = stream.context().mem_get_info().map_err(Error::wrap)?;
    Ok(Occupied {
        total_bytes: total as u64,
        free_bytes: free as u64,
        allocated_bytes: othink_cuda::allocated_bytes(device)?,
        kept_bytes: othink_cuda::kept_bytes(device)?,
        peak_bytes: othink_cuda::peak_bytes(device)?,
    })
}

/// Whether an error is that a GPU had no room for an allocation.
pub fn is_out_of_memory(error: &Error) -> bool {
    othink_cuda::is_out_of_memory(error)
}
