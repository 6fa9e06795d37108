//! Checkpoints: a model folder that transformers loads, with what resuming needs inside it.
//! Not here: the model's own files (`model::save`, `model::weights`); what the optimiser's tensors
//! mean (`optim`); the records that are cut back on resuming (`records`).
//!
//! ```text
//! checkpoints/step-000100/
//!   config.json, model.safetensors, tokenizer.json, ...
//!   README.md                            the model card
//!                                        of a run that trains low-rank factors, in the place of the model's files:
//!   adapter_config.json, adapter_model.safetensors, tokenizer.json, ...
//!   trainer/optimizer.safetensors        Adam's moments and steps, f32
//!   trainer/master_weights.safetensors   f32 parameters, where the run's are of fewer bits
//!   trainer/progress.json                how far the run had come
//!   trainer/records.json                 size and CRC-32 of the run's files of records, which grow afterwards
//!   trainer/manifest.json                size and CRC-32 of every file above
//! ```
//!
//! A checkpoint is written under another name, every file and folder of it brought to the disk, and
//! then renamed: under `step-...` it is whole or absent. Removal renames first and then deletes. Damage
//! that happens later (a failing disk, an incomplete copy) is detected through the manifest.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Model;
use crate::model::adapter::{self, AdapterSettings};
use crate::model::files::ModelFiles;
use crate::model::save::{self as model_save, SideFiles, write_shard};
use crate::model::shard::Shard;
use crate::out_file::with_ending;

use super::durable::{self, failed, rename, sync_folder};
use super::error::RunFolderError;
use super::folder::{CHECKPOINTS, RunFolder, finished_checkpoint};
use super::manifest::Manifest;
use super::removal::{Kept, prune, remove_remains, remove_temporary, report_failure, set_aside};

const TRAINER: &str = "trainer";
const CARD: &str = "README.md";
const OPTIMIZER: &str = "optimizer.safetensors";
const MASTER_WEIGHTS: &str = "master_weights.safetensors";
const PROGRESS: &str = "progress.json";
const RECORDS: &str = "records.json";
const MANIFEST: &str = "manifest.json";
/// The ending of names of folders that are no checkpoints: being written, or being removed.
pub(super) const TEMPORARY: &str = ".tmp";

/// How far a run has come: all that it needs besides tensors. Its random numbers are functions of
/// this and of the seed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Updates made.
    pub update: u64,
    /// The state of drawing prompts, as `train::draw` gives it.
    pub draws: Value,
}

/// What goes into a checkpoint.
#[derive(Debug)]
pub struct Contents<'a> {
    /// How far the run has come.
    pub progress: &'a Progress,
    /// The policy.
    pub weights: Weights<'a>,
    /// The number type that its numbers are stored in: the run's.
    pub dtype: DType,
    /// The other files of the model folder: those of the model that the run began with.
    pub side_files: &'a SideFiles,
    /// What the run's files of records are.
    pub records: &'a Manifest,
    /// The text of the model card.
    pub card: &'a str,
    /// What only a resumed run needs; `None` makes a model folder alone.
    pub state: Option<State<'a>>,
}

/// What is stored of the policy.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// All parameters by hub name, in the order of `Parameters::in_hub_order`: a model folder.
    Model(&'a [(String, Tensor)]),
    /// Low-rank factors: PEFT's folder of an adapter.
    Factors(&'a Model, AdapterSettings<'a>),
}

/// The trainer's own tensors, all f32, on any device. They are stored in this order.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// AdamW's state, as `AdamW::state` names it.
    pub optimizer: &'a [(String, Tensor)],
    /// The parameters in f32 by hub name; empty where the run's own are f32.
    pub master_weights: &'a [(String, Tensor)],
}

/// A whole checkpoint that a run can be resumed from.
#[derive(Debug)]
pub struct Loaded {
    /// Its folder.
    pub path: PathBuf,
    /// How far the run had come.
    pub progress: Progress,
    /// What the run's files of records were; `None` in a checkpoint of an earlier version.
    pub records: Option<Manifest>,
    /// Newer checkpoints that are damaged, newest first; each is worth a warning.
    pub skipped: Vec<Damage>,
}

/// A checkpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its folder.
    pub path: PathBuf,
    /// Which file is damaged, and how.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} is damaged: {}", self.path.display(), self.found)
    }
}

/// Writes a checkpoint, whole or not at all, and removes all that are not kept.
///
/// Older checkpoints are removed only once this one exists. Checkpoints of later updates are removed
/// too: resuming from an earlier one has abandoned those updates. A checkpoint of the same update is
/// replaced.
///
/// - returns the checkpoint's folder
///
/// # Errors
/// A file cannot be written, or a tensor cannot be stored; nothing of the checkpoint is left then.
pub fn save(
    folder: &RunFolder,
    contents: &Contents,
    kept: Kept,
) -> Result<PathBuf, RunFolderError> {
    let parent = folder.subfolder(CHECKPOINTS)?;
    let update = contents.progress.update;
    let path = path_of(folder, update);
    let temporary = with_ending(&path, TEMPORARY);
    remove_temporary(&temporary)?;
    let written = write_files(&temporary, contents).and_then(|()| appear(&temporary, &path));
    if let Err(error) = written {
        report_failure(remove_temporary(&temporary));
        return Err(error);
    }
    report_failure(prune(&parent, update, kept));
    tracing::debug!(update, path = %path.display(), "checkpoint written");
    Ok(path)
}

/// Where the checkpoint after an update is, if there is one.
pub fn path_of(folder: &RunFolder, update: u64) -> PathBuf {
    folder.checkpoints().join(format!("step-{update:06}"))
}

/// The newest whole checkpoint, or `None` where there has never been one.
///
/// Every file is read and compared with the manifest. Remains of interrupted saves are removed.
///
/// # Errors
/// There are checkpoints and none is whole, the newest whole one holds a model alone, or the folder
/// cannot be read.
pub fn latest(folder: &RunFolder) -> Result<Option<Loaded>, RunFolderError> {
    let parent = folder.checkpoints();
    remove_remains(&parent)?;
    newest(parent, u64::MAX)
}

/// The newest whole checkpoint of fewer updates than `update`, or `None` where there is none; nothing is written.
///
/// - `run`: the run's folder, which need not be locked
///
/// # Errors
/// As [`latest`].
pub fn newest_before(run: &Path, update: u64) -> Result<Option<Loaded>, RunFolderError> {
    newest(run.join(CHECKPOINTS), update)
}

fn newest(parent: PathBuf, before: u64) -> Result<Option<Loaded>, RunFolderError> {
    let mut skipped: Vec<Damage> = Vec::new();
    let listed = list(&parent)?.into_iter().rev().filter(|(update, _)| *update < before);
    for (update, path) in listed {
        match inspect(&path, update) {
            Ok(Inspected { has_state: false, .. }) => {
                return Err(RunFolderError::ModelOnly { path });
            }
            Ok(Inspected { progress, records, .. }) => {
                return Ok(Some(Loaded { path, progress, records, skipped }));
            }
            Err(found) => skipped.push(Damage { path, found }),
        }
    }
    if skipped.is_empty() {
        return Ok(None);
    }
    let found: Vec<String> = skipped
        .iter()
        .map(|damage| {
            let name = damage.path.file_name().unwrap_or_default().to_string_lossy();
            format!("{name}: {}", damage.found)
        })
        .collect();
    Err(RunFolderError::NoWholeCheckpoint { path: parent, found: found.join("; ") })
}

/// The last checkpoint of a run whose updates are all done, or what is wrong with it; `None` where they are not done, or
/// there is no run. Every file is read and compared with the manifest.
///
/// - `run`: the run's folder, which need not be locked
///
/// # Errors
/// The run's folder cannot be read.
pub fn finished(run: &Path) -> Result<Option<Result<PathBuf, Damage>>, RunFolderError> {
    let Some(path) = finished_checkpoint(run)? else { return Ok(None) };
    let update = path.file_name().and_then(|name| update_of(name.to_str()?));
    let inspected = match update {
        Some(update) => inspect(&path, update).map(drop),
        None => Err("it is not named as checkpoints are".to_owned()),
    };
    Ok(Some(match inspected {
        Ok(()) => Ok(path),
        Err(found) => Err(Damage { path, found }),
    }))
}

/// Removes every checkpoint, for a run that cannot be resumed from any and starts over.
///
/// # Errors
/// One cannot be removed.
pub fn remove_all(folder: &RunFolder) -> Result<(), RunFolderError> {
    for (_, path) in list(&folder.checkpoints())? {
        remove_temporary(&set_aside(&path)?)?;
    }
    Ok(())
}

impl Loaded {
    /// AdamW's state bit for bit, as `AdamW::restore` takes it; nothing else shares its storage.
    ///
    /// # Errors
    /// The file cannot be read, or the device has no room.
    pub fn optimizer(&self, device: &Device) -> Result<Vec<(String, Tensor)>, RunFolderError> {
        self.read(OPTIMIZER, device)
    }

    /// The parameters in f32 bit for bit, by hub name; empty where the run's own are f32.
    ///
    /// # Errors
    /// As [`Loaded::optimizer`].
    pub fn master_weights(&self, device: &Device) -> Result<Vec<(String, Tensor)>, RunFolderError> {
        self.read(MASTER_WEIGHTS, device)
    }

    fn read(&self, name: &str, device: &Device) -> Result<Vec<(String, Tensor)>, RunFolderError> {
        let files = ModelFiles::Folder(self.path.join(TRAINER));
        let Some(mut shard) = Shard::open(&files, name)? else { return Ok(Vec::new()) };
        let mut tensors = Vec::with_capacity(shard.tensors.len());
        for tensor_idx in 0..shard.tensors.len() {
            let stored = shard.tensors[tensor_idx].clone();
            if stored.dtype != Dtype::F32 {
                return Err(RunFolderError::StateDtype {
                    file: shard.file,
                    tensor: stored.name,
                    found: format!("{:?}", stored.dtype),
                });
            }
            let values = shard.read(tensor_idx, |value| value)?;
            let tensor = Tensor::from_vec(values, stored.shape, device)
                .map_err(|source| RunFolderError::Load { tensor: stored.name.clone(), source })?;
            tensors.push((stored.name, tensor));
        }
        Ok(tensors)
    }
}

fn write_files(folder: &Path, contents: &Contents) -> Result<(), RunFolderError> {
    let trainer = folder.join(TRAINER);
    std::fs::create_dir_all(&trainer).map_err(failed("create", &trainer))?;
    let Contents { weights, dtype, side_files, .. } = contents;
    match weights {
        Weights::Model(tensors) => {
            model_save::save(folder, tensors, *dtype, side_files, model_save::MAX_SHARD_BYTES)?;
        }
        Weights::Factors(model, settings) => {
            adapter::save(folder, model, settings, *dtype, side_files)?;
        }
    }
    durable::write(&folder.join(CARD), contents.card.as_bytes())?;
    if let Some(state) = contents.state {
        write_state(&trainer.join(OPTIMIZER), state.optimizer)?;
        if !state.master_weights.is_empty() {
            write_state(&trainer.join(MASTER_WEIGHTS), state.master_weights)?;
        }
    }
    write_json(&trainer.join(PROGRESS), contents.progress)?;
    write_json(&trainer.join(RECORDS), contents.records)?;
    write_json(&trainer.join(MANIFEST), &Manifest::of(folder)?)?;
    sync_folder(&trainer)?;
    sync_folder(folder)
}

fn write_state(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), RunFolderError> {
    if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| tensor.dtype() != DType::F32) {
        return Err(RunFolderError::StateDtype {
            file: path.display().to_string(),
            tensor: name.clone(),
            found: format!("{:?}", tensor.dtype()),
        });
    }
    Ok(write_shard(path, &tensors.iter().collect::<Vec<_>>(), DType::F32)?)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunFolderError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| RunFolderError::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    durable::write(path, &text)
}

/// Gives a finished checkpoint its name.
fn appear(temporary: &Path, path: &Path) -> Result<(), RunFolderError> {
    let replaced = if path.exists() { Some(set_aside(path)?) } else { None };
    rename(temporary, path)?;
    path.parent().map_or(Ok(()), sync_folder)?;
    if let Some(replaced) = replaced {
        report_failure(remove_temporary(&replaced));
    }
    Ok(())
}

/// What reading a checkpoint through has found.
struct Inspected {
    progress: Progress,
    records: Option<Manifest>,
    has_state: bool,
}

/// Reads the checkpoint through; the error says what is damaged.
fn inspect(path: &Path, update: u64) -> Result<Inspected, String> {
    let manifest = Manifest::read(path)?;
    manifest.check(path)?;
    let progress: Progress = read_json(path, PROGRESS)?;
    if progress.update != update {
        return Err(format!("it was saved after update {}, not {update}", progress.update));
    }
    let lists = |name| manifest.lists(&format!("{TRAINER}/{name}"));
    let records = lists(RECORDS).then(|| read_json(path, RECORDS)).transpose()?;
    Ok(Inspected { progress, records, has_state: lists(OPTIMIZER) })
}

fn read_json<T: for<'de> Deserialize<'de>>(checkpoint: &Path, name: &str) -> Result<T, String> {
    let text = std::fs::read(checkpoint.join(TRAINER).join(name))
        .map_err(|error| format!("{TRAINER}/{name} cannot be read: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("{TRAINER}/{name}: {error}"))
}

/// All checkpoints, damaged or not, by update.
pub(super) fn list(parent: &Path) -> Result<Vec<(u64, PathBuf)>, RunFolderError> {
    let mut checkpoints: Vec<(u64, PathBuf)> = entries(parent)?
        .into_iter()
        .filter_map(|path| Some((update_of(path.file_name()?.to_str()?)?, path)))
        .collect();
    checkpoints.sort();
    Ok(checkpoints)
}

/// The update in a checkpoint's name; `None` for any other name.
fn update_of(name: &str) -> Option<u64> {
    let update = name.strip_prefix("step-")?.parse().ok()?;
    (name == format!("step-{update:06}")).then_some(update)
}

/// What is in the folder; nothing where there is no such folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, RunFolderError> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", folder)(error)),
    };
    let paths = listed.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<std::io::Result<_>>().map_err(failed("read", folder))
}
