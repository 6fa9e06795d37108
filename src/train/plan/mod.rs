//! What a run will take, before it begins and without its weights: updates, tokens, memory, time.
//!
//! In reading order: `place`, the device that is planned for; [`workload`], what an update computes on; [`memory`], what that
//! holds at its peak, `gpu_memory` on a GPU, with [`host`] beside it, and `held`, what comes and goes; [`disk`], what its checkpoints take; [`time`], how long it
//! lasts, `cpu_time` or `gpu_time` stage by stage, from [`operations`] and [`traffic`] at the speed of [`cards`] or of measured
//! [`ceilings`]; `available`, what the machine has; [`fit`], what to change where that is too little, [`relief`] where it has
//! proved too little; `needs`, all that hangs on the configuration alone; [`sparkline`], the KL weight at a glance.
//! Not here: how the plan looks (`cli`).

mod available;
pub mod cards;
pub mod ceilings;
mod cpu_time;
pub mod disk;
pub mod fit;
mod gpu_memory;
mod gpu_time;
mod held;
pub mod host;
pub mod memory;
mod needs;
pub mod operations;
mod place;
pub mod relief;
pub mod sparkline;
#[cfg(test)]
mod test_model;
pub mod time;
pub mod traffic;
pub mod workload;

use std::path::Path;

use candle_core::Device;
use serde::Serialize;

pub(super) use self::available::available_to_run;
pub use self::available::{available_bytes, existing_ancestor, free_disk_bytes};
use self::disk::Disk;
use self::fit::{Enough, Ladder, Remedy, Shortfall, ladder};
use self::host::Host;
use self::memory::Memory;
pub(super) use self::needs::Needs;
use self::place::Place;
pub use self::place::PlannedGpu;
use self::time::{Time, time};
use self::workload::Workload;
use super::error::TrainError;
use super::settings::{kl_schedule, require_targets, require_trainable, total_updates};
use super::setup::training_processor;
use crate::config::{Method, RunConfig};
use crate::data::Dataset;
use crate::data::configured::{published_rows, rows_at_hand, training_questions, warn_of_rows};
use crate::hub::{Hub, Repository};
use crate::model::config::ModelConfig;
use crate::model::device::DeviceKind;
use crate::model::files::ModelFiles;
use crate::model::{published, source};
use crate::printable::gigabytes;

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
    /// Whether this machine has that device.
    pub is_here: bool,
    /// What the run holds of the device's memory at its peak.
    pub memory: Memory,
    /// Bytes of it that it may hold; none where they are not known.
    pub available_bytes: Option<u64>,
    /// Whether they are enough.
    pub fits: Option<bool>,
    /// On a GPU that has too little: settings that need less, each added to those before it.
    pub remedies: Vec<Remedy>,
    /// Those of them that are enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enough: Option<Enough>,
    /// On a GPU: what the run needs with all of them, where that is still too much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// What a run on a GPU holds of the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// What its checkpoints take.
    pub disk: Disk,
    /// How long it lasts; none for a run that is opened already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

impl Plan {
    fn of(config: &RunConfig, needs: &Needs, place: &Place, out: &Path) -> Self {
        let Needs { model, workload, dtype, kind } = needs;
        let (dtype, kind) = (*dtype, *kind);
        let updates = total_updates(config, workload.rows);
        let n = [memory::parameters(model, |_| true), memory::trained_parameters(config, model)];
        let saved = if config.model.lora.is_some() { n[1] } else { n[0] };
        let available_bytes = place.available_bytes();
        let memory = needs.memory(config);
        let ladder = match (kind, available_bytes) {
            (DeviceKind::Gpu, Some(available)) => {
                let needed = |changed: &RunConfig| needs.memory(changed).total;
                ladder(config, workload.lengths(), available, needed)
            }
            (DeviceKind::Cpu, _) | (DeviceKind::Gpu, None) => Ladder::default(),
        };
        let host = (kind == DeviceKind::Gpu).then(|| Host::of(config, model, workload, dtype));
        Self {
            updates,
            beta: beta(config, updates),
            parameters: n[0],
            trained_parameters: n[1],
            dtype: dtype.as_str(),
            device: place.name(),
            is_here: matches!(place, Place::Here(_)),
            memory,
            available_bytes,
            fits: available_bytes.map(|available| memory.total <= available),
            remedies: ladder.remedies,
            enough: ladder.enough,
            shortfall: ladder.shortfall,
            host,
            disk: Disk::of(config, updates, out, [saved, n[1]], dtype),
            time: None,
            workload: workload.clone(),
        }
    }

    /// If the run needs more memory than its device has available: what then happens, and what would need less.
    pub fn shortage(&self) -> Option<String> {
        let (needed, available) = (self.memory.total, self.available_bytes?);
        if needed <= available {
            return None;
        }
        let (needed, available) = (gigabytes(needed), gigabytes(available));
        let shows = "train --dry-run shows each part";
        if self.host.is_none() {
            return Some(format!(
                "the run needs about {needed} and {available} are available: it may be killed\n\
                 hint: model.activation_checkpointing, model.freeze_vision, a smaller data.max_pixels or \
                 train.tokens_per_micro_batch need less; {shows}"
            ));
        }
        let fits = self.enough.as_ref().map(|enough| format!("it fits with {}; ", enough.flags()));
        let short =
            self.shortfall.map(|short| format!("no setting is enough: {}; ", short.words()));
        let remedy = fits.or(short).unwrap_or_default();
        Some(format!(
            "the run needs about {needed} of the GPU's memory and {available} are available\n\
             hint: {remedy}{shows} and what each setting costs; train --force starts it all the same"
        ))
    }

    /// What may end the run besides a shortage of its device's memory: too little of the host's, too small a disk.
    pub fn warnings(&self) -> Vec<String> {
        let host = self.host.as_ref().and_then(Host::shortage);
        host.into_iter().chain(self.disk.shortage()).collect()
    }

    /// Lets the run begin: warnings to be given first.
    ///
    /// - `is_forced`: begins even where a GPU is too small
    ///
    /// # Errors
    /// The run does not fit into its GPU.
    pub(super) fn admit(&self, is_forced: bool) -> Result<Vec<String>, TrainError> {
        let shortage = self.shortage();
        if let Some(shortage) = &shortage
            && self.host.is_some()
            && !is_forced
        {
            return Err(TrainError::DoesNotFit { shortage: shortage.clone() });
        }
        Ok(shortage.into_iter().chain(self.warnings()).collect())
    }
}

/// Plans a run from files on this machine; nothing is fetched that can be done without. A GPU that the configuration names
/// need not be here.
///
/// - `config`: with its task's keys filled in, see [`crate::data::tasks::resolved`]
/// - `out`: the run's folder, which need not exist
/// - `gpu`: plans for that GPU, whatever device the configuration names
///
/// # Errors
/// The model's configuration, its number type or the data is not what it should be.
pub fn plan(config: &RunConfig, out: &Path, gpu: Option<PlannedGpu>) -> Result<Plan, TrainError> {
    require_trainable(config)?;
    let place = Place::of(config, gpu)?;
    let dtype = place.dtype(config)?;
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
    require_targets(config, &model)?;
    let workload = Workload::of(config, &model, rows, at_hand)?;
    let needs = Needs { model, workload, dtype, kind: place.kind() };
    let mut plan = Plan::of(config, &needs, &place, out);
    plan.time = Some(time(config, &needs, &place, plan.updates)?);
    Ok(plan)
}

/// Plans a run that has been opened and has no tensors on its device yet, without its time.
pub(super) fn plan_opened(config: &RunConfig, needs: &Needs, device: &Device, out: &Path) -> Plan {
    Plan::of(config, needs, &Place::Here(device.clone()), out)
}

/// The model's files, and whether they include a tokenizer: local files, what the cache has of a hub model, or the
/// configuration that was published with it.
///
/// # Errors
/// There are no such files.
pub fn model_files(spec: &str) -> Result<(ModelFiles, bool), TrainError> {
    if !Repository::is_id(spec) || Path::new(spec).exists() {
        return Ok((source::resolve(spec)?, true));
    }
    if let Some(folder) = Hub::from_env().snapshot(&Repository::model(spec)) {
        let has_processor = folder.join("tokenizer.json").is_file();
        if folder.join("config.json").is_file() {
            return Ok((ModelFiles::Folder(folder), has_processor));
        }
    }
    match published::configuration(spec) {
        Some(configuration) => Ok((configuration, false)),
        None => Ok((source::resolve(spec)?, true)),
    }
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
    use super::fit::GIB;
    use super::*;
    use crate::data::tasks::resolved;

    /// On the CPU, or for a GPU of that size.
    fn planned(gpu_bytes: Option<u64>) -> Plan {
        let cpu = ["model.device=cpu".to_owned()];
        let config = RunConfig::load("quickstart.toml", &cpu).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gpu = gpu_bytes.map(PlannedGpu::Memory);
        plan(&resolved(&config).unwrap(), &folder.path().join("run"), gpu).unwrap()
    }

    #[test]
    fn checkpoints_of_low_rank_factors_have_no_weights_of_the_model() {
        let changes = ["model.device=cpu".to_owned(), "model.lora.rank=3".to_owned()];
        let config = RunConfig::load("quickstart.toml", &changes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(&resolved(&config).unwrap(), &folder.path().join("run"), None).unwrap();
        assert!(10 * plan.trained_parameters < plan.parameters);
        assert_eq!(plan.disk.checkpoint_bytes, plan.trained_parameters * (4 + 8));
    }

    #[test]
    fn a_run_that_needs_more_than_there_is_is_told_so_and_begins_on_the_cpu() {
        let mut plan = planned(None);
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
        assert_eq!(plan.admit(false).unwrap()[0], shortage);
    }

    #[test]
    fn a_run_that_does_not_fit_into_its_gpu_begins_only_by_force() {
        assert_eq!(planned(Some(80 * GIB)).admit(false).unwrap(), [""; 0]);
        let plan = planned(Some(planned(Some(80 * GIB)).memory.total - 1));
        let refused = plan.admit(false).unwrap_err();
        assert!(matches!(&refused, TrainError::DoesNotFit { .. }), "{refused}");
        let told = refused.to_string();
        let expected = "\nhint: it fits with --set train.tokens_per_micro_batch=";
        assert!(told.contains("GB of the GPU's memory and") && told.contains(expected), "{told}");
        assert_eq!(plan.admit(true).unwrap(), [told]);
        let told = planned(Some(1000)).admit(false).unwrap_err().to_string();
        let expected = "\nhint: no setting is enough: at least 0.7 GB, a card sold as 8 GB; ";
        assert!(told.contains(expected), "{told}");
    }
}
