//! What a device is called and what drives it, so that what was measured on it is known again.
//! Not here: its memory and what it can compute (`gpu`).

use std::fs::read_to_string;

use candle_core::{Device, Result};

use super::gpu;

/// Where Linux says which version of NVIDIA's driver is loaded.
const DRIVER: &str = "/sys/module/nvidia/version";

/// A device's name and its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A GPU's product name; the processor's, with its cores.
    pub name: String,
    /// The version of a GPU's driver, as 580.159.04; `none` for the CPU, `unknown` where it is not told.
    pub driver: String,
}

impl Identity {
    /// That of an opened device.
    ///
    /// # Errors
    /// The driver does not answer.
    pub fn of(device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(Self { name: processor(), driver: "none".to_owned() });
        }
        let version = read_to_string(DRIVER).map(|text| text.trim().to_owned());
        let driver = version.unwrap_or_else(|_| "unknown".to_owned());
        Ok(Self { name: gpu::describe(device)?.name, driver })
    }
}

/// The processor's model, where it is known, and the cores that this process may use.
pub fn processor() -> String {
    let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
    let model = model.map_or(String::new(), |name| format!("{name}, "));
    if n_cores == 1 { format!("{model}1 core") } else { format!("{model}{n_cores} cores") }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_as_the_kernel_names_it() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Quick CPU @ 3 GHz\nprocessor\t: 1\n";
        assert_eq!(model_name(cpuinfo).unwrap(), "Quick CPU @ 3 GHz");
        assert_eq!(model_name("processor : 0\n"), None);
        let identity = Identity::of(&Device::Cpu).unwrap();
        assert!(identity.name.ends_with("core") || identity.name.ends_with("cores"));
        assert_eq!(identity.driver, "none");
    }
}
