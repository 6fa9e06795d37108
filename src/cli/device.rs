//! From the device and number format a user chooses to those tensors have.
//! Not here: the choices' spellings (`config`).

use anyhow::Context as _;
use candle_core::{DType, Device};

use crate::config::{DTypeChoice, DeviceChoice};

use super::failure::UsageError;

/// Opens the device. `auto` is the first CUDA device where this build and this machine have one,
/// else the CPU.
///
/// # Errors
/// The chosen CUDA device is not there, or this build has no CUDA.
pub fn open_device(choice: DeviceChoice) -> anyhow::Result<Device> {
    let has_cuda = candle_core::utils::cuda_is_available();
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto if has_cuda => Ok(Device::new_cuda(0).unwrap_or(Device::Cpu)),
        DeviceChoice::Auto => Ok(Device::Cpu),
        DeviceChoice::Cuda(device_idx) if has_cuda => {
            Device::new_cuda(device_idx).with_context(|| {
                format!("cannot open the device {choice}\nhint: `nvidia-smi -L` lists the devices")
            })
        }
        DeviceChoice::Cuda(_) => Err(UsageError::new(
            format!("device {choice}: this build of othink has no CUDA, expected auto or cpu"),
            "cargo install --features cuda builds one that has",
        )
        .into()),
    }
}

/// The number format on that device. `auto` is f32 on the CPU, bf16 on CUDA.
pub fn resolve_dtype(choice: DTypeChoice, device: &Device) -> DType {
    match choice {
        DTypeChoice::Auto if device.is_cuda() => DType::BF16,
        DTypeChoice::Auto | DTypeChoice::F32 => DType::F32,
        DTypeChoice::Bf16 => DType::BF16,
        DTypeChoice::F16 => DType::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_f32_on_the_cpu_and_a_choice_is_kept() {
        assert_eq!(resolve_dtype(DTypeChoice::Auto, &Device::Cpu), DType::F32);
        assert_eq!(resolve_dtype(DTypeChoice::Bf16, &Device::Cpu), DType::BF16);
        assert_eq!(resolve_dtype(DTypeChoice::F16, &Device::Cpu), DType::F16);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_cuda_is_wrong_usage() {
        let error = open_device(DeviceChoice::Cuda(1)).unwrap_err();
        assert!(error.is::<UsageError>());
        assert!(error.to_string().starts_with("device cuda:1: this build of othink has no CUDA"));
    }
}
