//! The rows that a run file names, and their template.
//! Not here: what a task stands for (`tasks`), the order of rows (`train`).

use std::path::PathBuf;
use std::sync::Arc;

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

fn rows_from(config: &RunConfig, hub: impl FnOnce() -> Hub) -> Result<Dataset, DataError> {
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
    Ok(Questions { dataset: Arc::new(dataset), template })
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
        tracing::warn!("{}", printable::line(&format!("{}: {remark}", dataset.name())));
    }
}
