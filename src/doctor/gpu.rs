//! The GPU: whether one can be opened, and what it is.
//! Not here: whether its arithmetic is right (`self_test`).

use candle_core::Device;

use super::Finding;
use crate::model::device;
use crate::model::gpu::describe;
use crate::printable::gigabytes;

/// The device to test, and what was found: the one asked for, else the first GPU where there is one, else the CPU.
pub(super) fn examine(asked: Option<&str>) -> (Option<Device>, Vec<Finding>) {
    let asked = asked.filter(|spec| *spec != "auto");
    let is_asked = asked.is_some_and(|spec| spec != "cpu");
    let opened = match asked {
        Some(spec) => device::device(spec),
        None if cfg!(feature = "cuda") => device::device("cuda"),
        None => Ok(Device::Cpu),
    };
    match opened {
        Ok(device) if device.is_cpu() => {
            let found = if cfg!(feature = "cuda") {
                "not looked for"
            } else {
                "not looked for, since this program is built for the CPU alone"
            };
            (Some(device), vec![Finding::good("gpu", found)])
        }
        Ok(device) => {
            let finding = described(&device, is_asked);
            (Some(device), vec![finding])
        }
        Err(error) => {
            let finding = Finding::of_error("gpu", &error, is_asked);
            ((!is_asked).then_some(Device::Cpu), vec![finding])
        }
    }
}

fn described(device: &Device, is_asked: bool) -> Finding {
    match describe(device) {
        Err(error) => Finding::bad(
            "gpu",
            error.to_string(),
            "`nvidia-smi` shows what the driver sees",
            is_asked,
        ),
        Ok(gpu) => {
            let (major, minor) = gpu.compute_capability;
            let (free, total) = (gigabytes(gpu.free_bytes), gigabytes(gpu.total_bytes));
            let name = device::name(device);
            let found = format!(
                "{name}: {}, compute capability {major}.{minor}, {free} of {total} free",
                gpu.name
            );
            if !gpu.has_bf16() {
                let hint = "bf16 needs compute capability 8.0 (A100, RTX 30) or more";
                return Finding::bad("gpu", found, hint, is_asked);
            }
            Finding::good("gpu", found)
        }
    }
}
