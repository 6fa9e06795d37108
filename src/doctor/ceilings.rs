//! How fast the device multiplies and copies, measured when it is asked for and kept for plans.
//! Not here: the measurement (`gpu_check::ceilings`), the file it is kept in and what a plan makes of it (`train::plan`).

use std::path::Path;

use candle_core::{DType, Device, Result};

use super::Finding;
use crate::gpu_check::ceilings;
use crate::model::device;
use crate::model::identity::Identity;
use crate::train::plan::ceilings::{Ceilings, Measured};
use crate::utc;

/// Bytes that are copied, and rows and columns of the product: as `othink gpu-check` measures a GPU, and on the CPU what takes
/// a few seconds.
const ON_GPU: (usize, usize) = (2_000_000_000, 8192);
const ON_CPU: (usize, usize) = (256_000_000, 1024);

/// Measures a device, in bf16 if it is a GPU, else in f32.
///
/// # Errors
/// The device's own.
pub(super) fn measure(device: &Device) -> Result<Measured> {
    let (dtype, (bytes, side)) =
        if device.is_cpu() { (DType::F32, ON_CPU) } else { (DType::BF16, ON_GPU) };
    let Identity { name, driver } = Identity::of(device)?;
    let ceilings = ceilings::measure(device, dtype, bytes, side)?;
    let dtype = dtype.as_str().to_owned();
    Ok(Measured { device: name, driver, dtype, date: utc::today(), ceilings })
}

/// What was measured, and whether it could be kept.
pub(super) fn finding(device: &Device, measured: &Result<Measured>, folder: &Path) -> Finding {
    let on = device::name(device);
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            let error = error.to_string();
            let found = format!("{on}: {}", error.lines().next().unwrap_or_default());
            let hint = "other programs may hold the device: try again when it is free";
            return Finding::bad("ceilings", found, hint, true);
        }
    };
    let Ceilings { product_tflops, copy_tb_per_s } = measured.ceilings;
    let dtype = &measured.dtype;
    let found = format!(
        "{dtype} on {on}: products at {product_tflops:.3} TFLOP/s, copying at {copy_tb_per_s:.3} TB/s"
    );
    match measured.keep(folder) {
        Ok(path) => Finding::good("ceilings", format!("{found}, kept in {}", path.display())),
        Err(error) => Finding::of_error("ceilings", &format!("{found}, not kept: {error}"), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_and_cannot_be_kept_is_shown_and_fatal() {
        let folder = tempfile::tempdir().unwrap();
        let ceilings = Ceilings { product_tflops: 0.1234, copy_tb_per_s: 0.02 };
        let measured = Measured {
            device: "a".to_owned(),
            driver: "b".to_owned(),
            dtype: "f32".to_owned(),
            date: utc::today(),
            ceilings,
        };
        let told = finding(&Device::Cpu, &Ok(measured.clone()), folder.path());
        let expected = "f32 on cpu: products at 0.123 TFLOP/s, copying at 0.020 TB/s, kept in ";
        assert!(told.problem.is_none() && told.found.starts_with(expected), "{told:?}");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let told = finding(&Device::Cpu, &Ok(measured), &folder.path().join("file"));
        assert!(told.problem.is_some_and(|problem| problem.is_fatal));
        assert!(told.found.contains("0.123 TFLOP/s") && told.found.contains("not kept: "));
        let failed = Err(candle_core::Error::Msg("no memory\n  0: a frame".to_owned()));
        let told = finding(&Device::Cpu, &failed, folder.path());
        assert_eq!(told.found, "cpu: no memory");
    }
}
