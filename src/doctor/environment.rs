//! What a bug report should say of the program and the machine: looked up, not tried, and nothing is fetched.
//! Not here: whether anything works (`super::examine`).
//!
//! Of the environment only variables are named whose values can be no secret: neither tokens nor addresses with passwords.

use std::env;

use candle_core::Device;

use super::{gpu, machine};
use crate::host;
use crate::hub::Hub;
use crate::model::identity::{Identity, processor};
use crate::printable::{gigabytes, line};
use crate::program::Program;
use crate::train::plan::available_bytes;
use crate::utc;

/// Variables that change what the program does.
const VARIABLES: [&str; 13] = [
    "CANDLE_BARRIER_POOL_SPIN_LIMIT",
    "CUDA_VISIBLE_DEVICES",
    "HF_ASSETS_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LD_LIBRARY_PATH",
    "MIMALLOC_PURGE_DELAY",
    "NO_COLOR",
    "OTHINK_CUDA_EARLY",
    "OTHINK_CUDA_GRAPHS",
    "OTHINK_LOG",
    "RAYON_NUM_THREADS",
];

/// What is the case, by name, in the order in which it is read.
pub fn environment(hub: &Hub) -> Vec<(&'static str, String)> {
    let Program { version, commit, target, features, profile } = Program::THIS;
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    let (device, found) = gpu::examine(None);
    let gpu: Vec<String> = found.into_iter().map(|finding| finding.found).collect();
    let driver = device.filter(|device| !device.is_cpu());
    let driver = driver.and_then(|device| Identity::of(&device).ok()).map(|found| found.driver);
    let memory = available_bytes(&Device::Cpu).map(gigabytes);
    let offline = if hub.is_offline() { ", offline" } else { "" };
    let variables = VARIABLES.iter().filter_map(|name| {
        let value = env::var_os(name)?;
        Some(format!("{name}={}", line(&value.to_string_lossy())))
    });
    let variables: Vec<String> = variables.collect();
    vec![
        ("othink", version.to_owned()),
        ("commit", commit.unwrap_or("not known").to_owned()),
        ("target", target.to_owned()),
        ("features", features),
        ("profile", profile.to_owned()),
        ("system", host::system()),
        ("processor", format!("{}, {}", processor(), machine::vector_instructions().0)),
        ("memory", memory.map_or("not known".to_owned(), |memory| format!("{memory} available"))),
        ("gpu", gpu.join("; ")),
        ("driver", driver.unwrap_or("none".to_owned())),
        ("hub", format!("{}{offline}", hub.endpoint())),
        ("cache", hub.cache_folder().display().to_string()),
        ("variables", if variables.is_empty() { "none".to_owned() } else { variables.join(" ") }),
        ("date", utc::now()),
    ]
}
