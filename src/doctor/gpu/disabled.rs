//! A build without CUDA has no GPU to ask about.
//! Not here: a build with it (`cuda`).

use candle_core::{Device, Result, bail};

use super::Gpu;

/// # Errors
/// Always.
pub(super) fn describe(_device: &Device) -> Result<Gpu> {
    bail!("this program was built without CUDA")
}
