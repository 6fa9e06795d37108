//! A build without CUDA has no GPU to open or to ask about.
//! Not here: a build with it (`cuda`).

use candle_core::{Device, Error, Result, bail};

use super::{Gpu, Occupied, Refusal};

/// # Errors
/// Always.
pub fn open(_device_idx: usize) -> std::result::Result<Device, Refusal> {
    Err(Refusal {
        found: "this program was built without CUDA".to_owned(),
        hint: "rebuild with `cargo build --release --features cuda`, or use the CPU".to_owned(),
    })
}

/// # Errors
/// Always.
pub fn describe(_device: &Device) -> Result<Gpu> {
    bail!("this program was built without CUDA")
}

/// # Errors
/// Always.
pub fn peak_bytes(_device: &Device) -> Result<u64> {
    bail!("this program was built without CUDA")
}

/// # Errors
/// Always.
pub fn reset_peak(_device: &Device) -> Result<()> {
    bail!("this program was built without CUDA")
}

/// # Errors
/// Always.
pub fn occupied(_device: &Device) -> Result<Occupied> {
    bail!("this program was built without CUDA")
}

/// Never.
pub fn is_out_of_memory(_error: &Error) -> bool {
    false
}
