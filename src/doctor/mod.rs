//! What this program and this machine can do: build, processor, memory, GPU, arithmetic, speed where it is asked for, cache, hub.
//! What of it a bug report says is `environment`. Not here: how it is printed (`cli::doctor`, `cli::env`).

mod ceilings;
mod environment;
mod gpu;
mod machine;
mod self_test;

use std::fmt::Display;

use candle_core::{DType, Device};
use serde::Serialize;

pub use self::environment::environment;

use crate::hub::Hub;
use crate::model::device;
use crate::train::plan::ceilings::Measured;

/// What the user wants to work; all else is only reported.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// A device as `--device` takes it; `auto` asks for none.
    pub device: Option<String>,
    /// Whether models and data sets will be fetched.
    pub hub: bool,
    /// Whether the device's speed is to be measured and kept.
    pub ceilings: bool,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// What was found, in the order in which it is read.
    pub findings: Vec<Finding>,
    /// The device's speed, where it was asked for and could be measured.
    pub ceilings: Option<Measured>,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// What it is like.
    pub found: String,
    /// What does not work there.
    pub problem: Option<Problem>,
}

/// Something that does not work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// What to do.
    pub hint: String,
    /// Whether what was asked for needs it.
    pub is_fatal: bool,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), problem: None }
    }

    /// An error whose message ends in a hint.
    fn of_error(name: &'static str, error: &impl Display, is_fatal: bool) -> Self {
        let text = error.to_string();
        let (found, hint) = text.split_once("\nhint: ").unwrap_or((&text, "see the message"));
        Self::bad(name, found, hint, is_fatal)
    }

    fn bad(name: &'static str, found: impl Into<String>, hint: &str, is_fatal: bool) -> Self {
        let problem = Problem { hint: hint.to_owned(), is_fatal };
        Self { name, found: found.into(), problem: Some(problem) }
    }
}

/// Looks at everything.
pub fn examine(asked: &Asked, hub: &Hub) -> Examined {
    let mut findings = vec![machine::program(), machine::processor(), machine::memory()];
    let (device, gpu) = gpu::examine(asked.device.as_deref());
    findings.extend(gpu);
    let mut measured = None;
    if let Some(device) = device {
        findings.extend(arithmetic(&device));
        if asked.ceilings {
            let result = ceilings::measure(&device);
            findings.push(ceilings::finding(&device, &result, &hub.assets_folder()));
            measured = result.ok();
        }
    }
    findings.extend([machine::cache(hub.cache_folder(), asked.hub), reached(hub, asked.hub)]);
    Examined { findings, ceilings: measured }
}

/// Whether nothing that was asked for is broken.
pub fn works(findings: &[Finding]) -> bool {
    findings.iter().filter_map(|finding| finding.problem.as_ref()).all(|problem| !problem.is_fatal)
}

/// Every operation and its gradients on the device, compared with f64 on the CPU.
fn arithmetic(device: &Device) -> Vec<Finding> {
    let dtypes = if device.is_cpu() { &[DType::F32][..] } else { &[DType::F32, DType::BF16] };
    let finding = |&dtype: &DType| {
        let on = format!("{} on {}", dtype.as_str(), device::name(device));
        match self_test::errors(device, dtype) {
            Err(error) => {
                let hint = "the device cannot run the operations: check driver and free memory";
                Finding::bad("arithmetic", format!("{on}: {error}"), hint, true)
            }
            Ok(errors) => {
                let worst = errors.iter().max_by(|a, b| a.error.total_cmp(&b.error));
                let found = worst.map_or_else(String::new, |worst| {
                    let (n, name, error) = (errors.len(), worst.operation, worst.error);
                    format!("{on}: {n} operations within {error:.0e} of f64 ({name})")
                });
                let wrong: Vec<&str> = errors
                    .iter()
                    .filter(|of| of.error > self_test::tolerance(dtype))
                    .map(|of| of.operation)
                    .collect();
                if wrong.is_empty() {
                    return Finding::good("arithmetic", found);
                }
                let found = format!("{found}; wrong: {}", wrong.join(", "));
                let hint =
                    "results on this device cannot be trusted: check the driver, then the hardware";
                Finding::bad("arithmetic", found, hint, true)
            }
        }
    };
    dtypes.iter().map(finding).collect()
}

fn reached(hub: &Hub, is_asked: bool) -> Finding {
    if hub.is_offline() {
        let (found, hint) =
            ("offline, as HF_HUB_OFFLINE says", "unset HF_HUB_OFFLINE to fetch files");
        if is_asked {
            return Finding::bad("hub", found, hint, true);
        }
        return Finding::good("hub", found);
    }
    match hub.reach() {
        Ok(()) => Finding::good("hub", format!("{} answers", hub.endpoint())),
        Err(error) => Finding::of_error("hub", &error, is_asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_fatal() {
        let finding = |is_fatal| Finding::bad("hub", "silent", "wait", is_fatal);
        assert!(works(&[Finding::good("program", "othink"), finding(false)]));
        assert!(!works(&[finding(false), finding(true)]));
    }

    #[test]
    fn the_cpus_arithmetic_is_found_right() {
        let [finding] = arithmetic(&Device::Cpu).try_into().unwrap();
        assert_eq!(finding.problem, None, "{finding:?}");
        assert!(finding.found.starts_with("f32 on cpu: 21 operations within "), "{finding:?}");
    }
}
