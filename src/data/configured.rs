//! The rows that a run file names, and their template.
//! Not here: what a task stands for (`tasks`), the order of rows (`train`).

use std::path::PathBuf;
use std::sync::Arc;

use super::held_out::parted;
use super::tasks::{TaskOptions, task};
use super::template::{DEFAULT_TEMPLATE, Questions, Template};
use super::{DataError, Dataset, OpenOptions, Split, open_anywhere};
use crate::config::{DataConfig, RunConfig};
use crate::hub::Hub;
use crate::printable;
use crate::processor::Markers;

/// The rows that a run file trains on.
///
/// # Errors
/// The task or the data is not there or not what it should be.
pub fn training_rows(config: &RunConfig) -> Result<Dataset, DataError> {
    rows_from(config, Hub::from_env)
}

/// As [`training_rows`], but `None` if they would have to be fetched.
///
/// # Errors
/// As [`training_rows`].
pub fn rows_at_hand(config: &RunConfig) -> Result<Option<Dataset>, DataError> {
    match rows_from(config, Hub::cached_only) {
        Ok(dataset) => Ok(Some(dataset)),
        Err(error) if error.is_not_cached() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The rows of `data.train` that a run does not train on and measures itself on; none where it holds out none.
///
/// # Errors
/// As [`training_rows`].
pub fn held_out_rows(config: &RunConfig) -> Result<Option<Dataset>, DataError> {
    let Some(fraction) = config.held_out() else { return Ok(None) };
    let rows = all_rows(config, Hub::from_env)?;
    let held_out =
        |rows| parted(rows, fraction, config.data.drawing_seed).map(|parts| parts.held_out);
    match &rows {
        Dataset::Listed(rows) => held_out(rows).map(Dataset::Listed).map(Some),
        Dataset::Drawn(_) => Ok(None),
    }
}

/// The rows that are trained on.
fn rows_from(config: &RunConfig, hub: impl FnOnce() -> Hub) -> Result<Dataset, DataError> {
    let rows = all_rows(config, hub)?;
    match (config.held_out(), &rows) {
        (Some(fraction), Dataset::Listed(listed)) => {
            let parts = parted(listed, fraction, config.data.drawing_seed)?;
            Ok(Dataset::Listed(parts.trained_on))
        }
        _ => Ok(rows),
    }
}

/// Those that are trained on and those that are held out.
fn all_rows(config: &RunConfig, hub: impl FnOnce() -> Hub) -> Result<Dataset, DataError> {
    if let Some(name) = &config.data.task {
        return task(name)?.open_with(Split::Train, &task_options(config), hub);
    }
    let path = PathBuf::from(config.data.train.clone().unwrap_or_default());
    open_anywhere(&path, Some(Split::Train.name()), &open_options(config), hub)
}

/// How many rows the task's published training set has, about.
pub fn published_rows(config: &RunConfig) -> Option<usize> {
    task(config.data.task.as_deref()?).ok()?.published_rows()
}

/// Rows with the template that a run trains on.
///
/// # Errors
/// The template has no place for the question.
pub fn training_questions(config: &RunConfig, dataset: Dataset) -> Result<Questions, DataError> {
    let template = Template::new(config.data.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))?;
    Ok(Questions { dataset: Arc::new(dataset), template, boxes: config.data.boxes })
}

/// What the run file says about a task's data.
pub fn task_options(config: &RunConfig) -> TaskOptions {
    TaskOptions {
        data: config.data.train.clone().map(PathBuf::from),
        open: open_options(config),
        drawing_seed: config.data.drawing_seed,
        image_size: config.data.image_size,
    }
}

/// How rows of files are read, as the run file says.
pub fn open_options(config: &RunConfig) -> OpenOptions {
    let data = &config.data;
    OpenOptions {
        image_root: data.image_root.clone(),
        on_bad_row: data.on_bad_row,
        markers: markers(config),
        names: data.fields.clone(),
        keeps_columns: config.reward.command.is_some(),
    }
}

/// What markers in rows are, as the run file says.
pub fn markers(config: &RunConfig) -> Markers {
    match &config.data {
        DataConfig { allow_markers: true, .. } => Markers::AreTokens,
        DataConfig { allow_markers: false, .. } => Markers::AreText,
    }
}

/// Warns of rows that were skipped, counted and listed, and of oddities in the others.
pub fn warn_of_rows(dataset: &Dataset) {
    let left_out = dataset.left_out();
    if !left_out.is_empty() {
        tracing::warn!(rows = left_out.len(), data = dataset.name(), "bad rows are left out");
        for reason in left_out {
            let reason = reason.to_string();
            let reason = printable::line(reason.lines().next().unwrap_or_default());
            tracing::warn!("left out: {reason}");
        }
    }
    for remark in dataset.remarks() {
        warn(dataset, remark);
    }
    if let Some(remark) = dataset.shortened_paths() {
        warn(dataset, &remark);
    }
    if !dataset.may_have_pictures() {
        warn(
            dataset,
            "no row has a picture: the model is asked in text alone; pictures stand under image_path, image, images or \
             file_name, or what data.fields.image says",
        );
    }
}

fn warn(dataset: &Dataset, remark: &str) {
    tracing::warn!("{}", printable::line(&format!("{}: {remark}", dataset.name())));
}

/// What is trained on, in a phrase: `my.jsonl, 36 rows, 4 more held out`.
///
/// - `dataset`: as [`training_rows`] gives it
/// - `held_out`: as [`held_out_rows`] gives it
pub fn trained_on(config: &RunConfig, dataset: &Dataset, held_out: usize) -> String {
    let n = config.data.max_samples.map_or(dataset.len(), |most| most.min(dataset.len()));
    let of_all = if n < dataset.len() { format!("{n} of ") } else { String::new() };
    let rows = printable::count(dataset.len(), "row");
    let held_out = if held_out > 0 { format!(", {held_out} more held out") } else { String::new() };
    format!("{}, {of_all}{rows}{held_out}", dataset.name())
}
