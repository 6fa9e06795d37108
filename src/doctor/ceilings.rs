//! How fast the device multiplies and copies, measured when it is asked for and kept for plans.
//! Not here: the measurement (`gpu_check::ceilings`), the file it is kept in and what a plan makes of it (`train::plan`).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::{DType, Device, Result};

use super::Finding;
use crate::gpu_check::ceilings;
use crate::model::device;
use crate::model::identity::Identity;
use crate::train::plan::ceilings::{Ceilings, Measured};

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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dtype = dtype.as_str().to_owned();
    Ok(Measured { device: name, driver, dtype, date: date(now.as_secs() / 86_400), ceilings })
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

/// The day that is so many days after 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> String {
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `date --utc --date @SECONDS +%F`.
    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_784, "2026-11-27"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn what_was_measured_and_cannot_be_kept_is_shown_and_fatal() {
        let folder = tempfile::tempdir().unwrap();
        let ceilings = Ceilings { product_tflops: 0.1234, copy_tb_per_s: 0.02 };
        let measured = Measured {
            device: "a".to_owned(),
            driver: "b".to_owned(),
            dtype: "f32".to_owned(),
            date: date(0),
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
