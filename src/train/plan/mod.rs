//! What a run will take, before it begins and without its weights: updates, tokens, memory, time.
//!
//! In reading order: [`workload`], what an update computes on; [`memory`], what that holds at its peak; [`time`], how long
//! it lasts; `available`, what the machine has; [`sparkline`], the KL weight at a glance.
//! Not here: how the plan looks (`cli`).

mod available;
pub mod memory;
pub mod sparkline;
pub mod time;
pub mod workload;

use candle_core::{DType, Device};
use serde::Serialize;

pub use self::available::available_bytes;
use self::memory::Memory;
use self::time::Speed;
use self::workload::Workload;
use super::error::TrainError;
use super::settings::{kl_schedule, total_updates};
use super::setup::{Setup, training_processor};
use crate::config::{Method, PAPERS_MODEL, RunConfig};
use crate::data::Dataset;
use crate::data::configured::{published_rows, rows_at_hand, training_questions, warn_of_rows};
use crate::hub::{Hub, Repository};
use crate::model::config::ModelConfig;
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
    /// Bytes that it may hold on this machine; none where they are not known, as on a GPU.
    pub available_bytes: Option<u64>,
    /// Seconds an update takes at the longest, from speeds measured now; none for a run that is opened already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_update: Option<f64>,
}

impl Plan {
    fn of(
        config: &RunConfig,
        model: &ModelConfig,
        workload: Workload,
        (device, dtype): (&Device, DType),
    ) -> Self {
        let updates = total_updates(config, workload.rows);
        Self {
            updates,
            beta: beta(config, updates),
            parameters: memory::parameters(model, |_| true),
            trained_parameters: memory::trained_parameters(config, model),
            dtype: dtype.as_str(),
            device: device::name(device),
            memory: Memory::of(config, model, &workload, dtype),
            available_bytes: available_bytes(device),
            seconds_per_update: None,
            workload,
        }
    }

    /// If the run needs more memory than is available: a warning that it may be killed, and what would need less.
    pub fn shortage(&self) -> Option<String> {
        let (needed, available) = (self.memory.total, self.available_bytes?);
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        (needed > available).then(|| {
            format!(
                "the run needs about {} and {} are available: it may be killed\n\
                 hint: model.activation_checkpointing, model.freeze_vision, a smaller data.max_pixels or \
                 train.tokens_per_micro_batch need less; train --dry-run shows each part",
                gigabytes(needed),
                gigabytes(available),
            )
        })
    }
}

/// Plans a run from files on this machine; nothing is fetched that can be done without.
///
/// - `config`: with its task's keys filled in, see [`crate::data::tasks::resolved`]
///
/// # Errors
/// The device is not there, or the model's configuration or the data is not what it should be.
pub fn plan(config: &RunConfig) -> Result<Plan, TrainError> {
    let device = device::device(&config.model.device.to_string())?;
    let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
    let (files, has_processor) = model_files(&config.model.path)?;
    let model = ModelConfig::load(&files)?;
    let dataset = rows_at_hand(config)?;
    if let Some(dataset) = &dataset {
        warn_of_rows(dataset);
    }
    let rows = dataset.as_ref().map_or(published_rows(config).unwrap_or(0), Dataset::len);
    let rows = config.data.max_samples.map_or(rows, |max| max.min(rows));
    let at_hand = match dataset {
        Some(dataset) if has_processor => {
            Some((training_questions(config, dataset)?, training_processor(config, &files)?))
        }
        _ => None,
    };
    let at_hand = at_hand.as_ref().map(|(questions, processor)| (questions, processor));
    let workload = Workload::of(config, &model, rows, at_hand)?;
    let mut plan = Plan::of(config, &model, workload, (&device, dtype));
    let speed = Speed::measure(&model, dtype, &device)
        .map_err(TrainError::during("measuring the machine's speed"))?;
    plan.seconds_per_update = Some(time::seconds_per_update(config, &model, &plan.workload, speed));
    Ok(plan)
}

/// Plans a run that has been opened, without its time.
///
/// # Errors
/// The model's configuration or a row is not what it should be.
pub fn plan_opened(config: &RunConfig, setup: &Setup) -> Result<Plan, TrainError> {
    let model = ModelConfig::load(&setup.files)?;
    let at_hand = Some((setup.questions.all(), setup.processor.as_ref()));
    let workload = Workload::of(config, &model, setup.questions.n_rows(), at_hand)?;
    Ok(Plan::of(config, &model, workload, (&setup.device, setup.dtype)))
}

/// The model's files, and whether they include a tokenizer: local files, what the cache has of a hub model, or the
/// published configuration.
///
/// # Errors
/// There are no such files.
pub fn model_files(spec: &str) -> Result<(ModelFiles, bool), TrainError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tasks::resolved;

    #[test]
    fn a_run_that_needs_more_than_there_is_is_told_so() {
        let config = RunConfig::load("quickstart.toml", &[]).unwrap();
        let mut plan = plan(&resolved(&config).unwrap()).unwrap();
        plan.available_bytes = None;
        assert_eq!(plan.shortage(), None);
        plan.available_bytes = Some(plan.memory.total);
        assert_eq!(plan.shortage(), None);
        plan.available_bytes = Some(plan.memory.total - 1);
        let shortage = plan.shortage().unwrap();
        assert!(
            shortage.contains("it may be killed\nhint: model.activation_checkpointing"),
            "{shortage}"
        );
    }
}
