//! Which device and number type a run computes with, by their names in a run file or a command line.
//! Not here: the names a run file may use (`config`).

use candle_core::{DType, Device, DeviceLocation};

use super::error::ModelError;

const DEVICES: &str = "auto, cpu, cuda or cuda:N";

/// The device of that name: `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// `auto` is the first GPU where this program was built with CUDA and a GPU can be opened, else the CPU.
///
/// # Errors
/// Another name; a GPU asked of a program built without CUDA; a GPU that is not there.
pub fn device(spec: &str) -> Result<Device, ModelError> {
    match spec {
        "auto" if cfg!(feature = "cuda") => Ok(open_cuda(0).unwrap_or_else(|error| {
            let error = first_line(&error);
            tracing::warn!(error, "no GPU can be opened, computing on the CPU");
            Device::Cpu
        })),
        "auto" | "cpu" => Ok(Device::Cpu),
        "cuda" => cuda(spec, 0),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(device_idx)) => cuda(spec, device_idx),
            _ => Err(ModelError::Device {
                spec: spec.to_owned(),
                found: "no such name".to_owned(),
                expected: DEVICES,
                hint: "leave it at auto to use a GPU where there is one",
            }),
        },
    }
}

fn cuda(spec: &str, device_idx: usize) -> Result<Device, ModelError> {
    if !cfg!(feature = "cuda") {
        return Err(ModelError::Device {
            spec: spec.to_owned(),
            found: "this program was built without CUDA".to_owned(),
            expected: "auto or cpu",
            hint: "rebuild with `cargo build --release --features cuda`, or use the CPU",
        });
    }
    open_cuda(device_idx).map_err(|error| ModelError::Device {
        spec: spec.to_owned(),
        found: first_line(&error),
        expected: "a GPU that can be opened",
        hint: "`nvidia-smi` lists the GPUs and their numbers",
    })
}

/// The driver's message, without the backtrace that candle appends where `RUST_BACKTRACE` is set.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(feature = "cuda")]
fn open_cuda(device_idx: usize) -> candle_core::Result<Device> {
    othink_cuda::open(device_idx).map(Device::Cuda)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_device_idx: usize) -> candle_core::Result<Device> {
    Err(candle_core::Error::NotCompiledWithCudaSupport)
}

/// The device's name, as [`device`] takes it.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The number type of that name: `auto`, `f32`, `bf16` or `f16`.
///
/// `auto` is bf16 on a GPU and f32 on the CPU, which has no faster arithmetic for anything shorter.
///
/// # Errors
/// Another name.
pub fn dtype(spec: &str, device: &Device) -> Result<DType, ModelError> {
    match spec {
        "auto" if device.is_cuda() => Ok(DType::BF16),
        "auto" | "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        "f16" => Ok(DType::F16),
        other => Err(ModelError::NumberType {
            spec: other.to_owned(),
            expected: "auto, f32, bf16 or f16",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_what_auto_means_without_cuda() {
        assert_eq!(name(&device("cpu").unwrap()), "cpu");
        if !cfg!(feature = "cuda") {
            assert!(device("auto").unwrap().is_cpu());
        }
    }

    #[test]
    fn gpu_asked_of_a_cpu_build_says_how_to_get_one() {
        if cfg!(feature = "cuda") {
            return;
        }
        let message = device("cuda:1").unwrap_err().to_string();
        assert!(message.contains("\"cuda:1\": this program was built without CUDA"), "{message}");
        assert!(message.contains("\nhint: rebuild with"), "{message}");
    }

    #[test]
    fn unknown_names_are_errors_that_list_the_known_ones() {
        for spec in ["gpu", "cuda:", "cuda:-1", "CPU", ""] {
            assert!(device(spec).unwrap_err().to_string().contains(DEVICES), "{spec}");
        }
        let message = dtype("float32", &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("float32") && message.contains("auto, f32, bf16 or f16"));
    }

    #[test]
    fn auto_number_type_is_f32_on_the_cpu() {
        assert_eq!(dtype("auto", &Device::Cpu).unwrap(), DType::F32);
        assert_eq!(dtype("bf16", &Device::Cpu).unwrap(), DType::BF16);
    }
}
