//! Which device and number type a run computes with, by their names in a run file or a command line.
//! Not here: the names a run file may use (`config`).

use candle_core::{DType, Device, DeviceLocation};

use super::error::ModelError;
use super::gpu::{self, Gpu, Refusal};

const DEVICES: &str = "auto, cpu, cuda or cuda:N";

/// The device of that name: `auto`, `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// `auto` is the first GPU where this program was built with CUDA and a GPU can be opened, else the CPU.
///
/// # Errors
/// Another name; a GPU asked of a program built without CUDA; a GPU that is not there.
pub fn device(spec: &str) -> Result<Device, ModelError> {
    match spec {
        "auto" if cfg!(feature = "cuda") => Ok(gpu::open(0).unwrap_or_else(|refusal| {
            tracing::warn!(error = refusal.found, "no GPU can be opened, computing on the CPU");
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
                hint: "leave it at auto to use a GPU where there is one".to_owned(),
            }),
        },
    }
}

fn cuda(spec: &str, device_idx: usize) -> Result<Device, ModelError> {
    gpu::open(device_idx).map_err(|refusal| unusable(spec, refusal))
}

fn unusable(spec: &str, Refusal { found, hint }: Refusal) -> ModelError {
    let expected = if cfg!(feature = "cuda") { "a GPU that can be opened" } else { "auto or cpu" };
    ModelError::Device { spec: spec.to_owned(), found, expected, hint }
}

/// The device's name, as [`device`] takes it.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Where numbers are computed, as far as their type hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The CPU.
    Cpu,
    /// A GPU, whether or not it is in this machine.
    Gpu,
}

impl DeviceKind {
    /// That of a device.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::Cpu } else { Self::Gpu }
    }
}

/// The number type of that name on an opened device, see [`dtype_on`].
///
/// # Errors
/// Another name; bf16 on a GPU that does not compute in it.
pub fn dtype(spec: &str, device: &Device) -> Result<DType, ModelError> {
    let dtype = dtype_on(spec, DeviceKind::of(device))?;
    if dtype == DType::BF16 && device.is_cuda() {
        let device_name = name(device);
        let gpu = gpu::describe(device)
            .map_err(|error| unusable(&device_name, Refusal::of_driver(&error)))?;
        require_bf16(&device_name, &gpu)?;
    }
    Ok(dtype)
}

/// The number type of that name: `auto`, `f32`, `bf16` or `f16`.
///
/// `auto` is bf16 on a GPU and f32 on the CPU, which has no faster arithmetic for anything shorter.
///
/// # Errors
/// Another name.
pub fn dtype_on(spec: &str, kind: DeviceKind) -> Result<DType, ModelError> {
    match (spec, kind) {
        ("auto", DeviceKind::Gpu) | ("bf16", _) => Ok(DType::BF16),
        ("auto", DeviceKind::Cpu) | ("f32", _) => Ok(DType::F32),
        ("f16", _) => Ok(DType::F16),
        (other, _) => Err(ModelError::NumberType {
            spec: other.to_owned(),
            expected: "auto, f32, bf16 or f16",
        }),
    }
}

fn require_bf16(spec: &str, gpu: &Gpu) -> Result<(), ModelError> {
    if gpu.has_bf16() {
        return Ok(());
    }
    let (major, minor) = gpu.compute_capability;
    Err(ModelError::Device {
        spec: spec.to_owned(),
        found: format!("{} has compute capability {major}.{minor}", gpu.name),
        expected: "8.0 or more for bf16",
        hint: "take a GPU of compute capability 8.0 or more (A100, RTX 30 and newer) or `--device cpu`"
            .to_owned(),
    })
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
    fn auto_number_type_is_f32_on_the_cpu_and_bf16_on_a_gpu() {
        assert_eq!(dtype("auto", &Device::Cpu).unwrap(), DType::F32);
        assert_eq!(dtype("bf16", &Device::Cpu).unwrap(), DType::BF16);
        assert_eq!(dtype_on("auto", DeviceKind::Gpu).unwrap(), DType::BF16);
        assert_eq!(dtype_on("f32", DeviceKind::Gpu).unwrap(), DType::F32);
    }

    #[test]
    fn bf16_is_refused_on_a_gpu_that_does_not_compute_in_it() {
        let gpu = |name: &str, compute_capability| Gpu {
            name: name.to_owned(),
            compute_capability,
            free_bytes: 1,
            total_bytes: 2,
        };
        let refused = require_bf16("cuda:1", &gpu("Tesla T4", (7, 5))).unwrap_err();
        let expected = "device \"cuda:1\": Tesla T4 has compute capability 7.5, expected 8.0 or more \
                        for bf16\nhint: take a GPU of compute capability 8.0 or more";
        assert!(refused.to_string().starts_with(expected), "{refused}");
        for capability in [(8, 0), (8, 9), (9, 0), (12, 0)] {
            assert!(require_bf16("cuda", &gpu("A100", capability)).is_ok(), "{capability:?}");
        }
    }

    #[test]
    fn a_driver_that_refuses_is_quoted_by_its_first_line_with_what_to_look_at() {
        let error = candle_core::Error::Msg("no CUDA-capable device\n   0: a frame".to_owned());
        let told = unusable("cuda:3", Refusal::of_driver(&error)).to_string();
        assert!(told.starts_with("device \"cuda:3\": no CUDA-capable device, expected "), "{told}");
        assert!(told.contains("`nvidia-smi`") && told.contains("driver 580"), "{told}");
        assert!(!told.contains("frame"), "{told}");
    }
}
