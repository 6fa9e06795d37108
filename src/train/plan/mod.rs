//! What a run will take, before it begins and without its weights: updates, tokens, memory, time.
//!
//! In reading order: [`workload`], what an update computes on; [`memory`], what that holds at its peak; [`time`], how long
//! it lasts; [`sparkline`], the KL weight at a glance.
//! Not here: how the plan looks (`cli`).

pub mod memory;
pub mod sparkline;
pub mod time;
pub mod workload;

use serde::Serialize;

use self::memory::Memory;
use self::time::Speed;
use self::workload::Workload;
use super::error::TrainError;
use super::setup::{kl_schedule, total_updates};
use crate::config::{Method, PAPERS_MODEL, RunConfig};
use crate::hub::{Hub, Repository};
use crate::model::config::Qwen2VlConfig;
use crate::model::device;
use crate::model::files::{BuiltinFile, ModelFiles};
use crate::model::source;

/// The configuration of the model that the published run files train, so that they can be planned anywhere.
static PAPERS_CONFIG: &[BuiltinFile] = &[BuiltinFile {
    name: "config.json",
    bytes: include_bytes!("../../../assets/qwen2-vl-2b/config.json"),
}];

/// Points of the KL weight's curve.
const CURVE_POINTS: usize = 48;

/// What a run will take.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Optimiser steps of the whole run.
    pub updates: u64,
    /// What an update computes on, at the longest.
    pub workload: Workload,
    /// The KL weight at evenly spaced updates, the first and the last among them; empty without a KL term.
    pub beta: Vec<f64>,
    /// Parameters of the model.
    pub parameters: u64,
    /// Those of them that are trained.
    pub trained_parameters: u64,
    /// Number format of parameters and matrix products.
    pub dtype: &'static str,
    /// Where the run computes.
    pub device: String,
    /// What it holds at its peak.
    pub memory: Memory,
    /// Seconds an update takes at the longest, from speeds measured now; none where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_update: Option<f64>,
}

/// Plans a run.
///
/// - `config`: with its task's part in it, see [`super::setup::resolved`]
/// - `measures_speed`: computes for a second to estimate the time
///
/// # Errors
/// The device is not there, or the model's configuration or the data is not what it should be.
pub fn plan(config: &RunConfig, measures_speed: bool) -> Result<Plan, TrainError> {
    let device = device::device(&config.model.device.to_string())?;
    let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
    let (files, has_processor) = files(&config.model.path)?;
    let model = Qwen2VlConfig::load(&files)?;
    let workload = Workload::of(config, &model, has_processor.then_some(&files))?;
    let updates = total_updates(config, workload.rows);
    let memory = Memory::of(config, &model, &workload, dtype);
    let seconds_per_update = measures_speed
        .then(|| Speed::measure(&model, dtype, &device))
        .transpose()
        .map_err(TrainError::during("measuring the machine's speed"))?
        .map(|speed| time::seconds_per_update(config, &model, &workload, speed));
    Ok(Plan {
        updates,
        beta: beta(config, updates),
        parameters: memory::parameters(&model, |_| true),
        trained_parameters: memory::trained_parameters(config, &model),
        dtype: dtype.as_str(),
        device: config.model.device.to_string(),
        memory,
        seconds_per_update,
        workload,
    })
}

/// The model's files, and whether a tokenizer is among them: those at hand, a hub model's as far as the cache has them, or
/// the published configuration.
fn files(spec: &str) -> Result<(ModelFiles, bool), TrainError> {
    if !Repository::is_id(spec) || std::path::Path::new(spec).exists() {
        return Ok((source::resolve(spec)?, true));
    }
    if let Some(folder) = Hub::from_env().snapshot(&Repository::model(spec)) {
        let has_processor = folder.join("tokenizer.json").is_file();
        if folder.join("config.json").is_file() {
            return Ok((ModelFiles::Folder(folder), has_processor));
        }
    }
    if spec == PAPERS_MODEL {
        return Ok((ModelFiles::Builtin(PAPERS_CONFIG), false));
    }
    Ok((source::resolve(spec)?, true))
}

/// The KL weight over the run.
fn beta(config: &RunConfig, updates: u64) -> Vec<f64> {
    if config.method == Method::Sft || updates == 0 {
        return Vec::new();
    }
    let schedule = kl_schedule(config, updates);
    let n = CURVE_POINTS.min(updates as usize + 1).max(2) as u64;
    (0..n).map(|point| schedule.beta(point * updates / (n - 1))).collect()
}
