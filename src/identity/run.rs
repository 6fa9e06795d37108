//! Everything that decides a run's numbers.
//! Not here: what rows and models hold (`fingerprint`); which keys decide numbers (`run_folder::identity`).

use serde_json::{Map, Value, json};

use super::kept::Kept;
use super::{IdentityError, VERSION, fingerprint, with_model, with_version};
use crate::config::RunConfig;
use crate::data::configured::training_rows;
use crate::data::tasks::task;
use crate::data::template::DEFAULT_TEMPLATE;
use crate::data::{Dataset, Template};
use crate::model::files::ModelFiles;
use crate::model::{device, source};
use crate::ops;
use crate::run_folder::identity::decisive_config;

/// The identity of a run: its [origin](origin_of_run), and its configuration without the keys that change no number.
///
/// - `config`: with its task's settings in it, see [`crate::data::tasks::resolved`]
///
/// # Errors
/// As [`origin_of_run`], or there is no such device.
pub fn of_run(config: &RunConfig) -> Result<Map<String, Value>, IdentityError> {
    let decisive = decisive_config(&config.resolved_toml()?, runs_on(config)?)?;
    let files = source::resolve(&config.model.path)?;
    let mut identity = origin_of_run(config, &training_rows(config)?, &files)?;
    identity.insert("config".to_owned(), decisive.into());
    Ok(identity)
}

/// What a run is computed from besides its configuration: the contents of its rows, pictures and base model, and the words,
/// rules and arithmetic of this program.
///
/// - `config`: as of [`of_run`]
/// - `dataset`: the rows that it names
/// - `files`: the model that it names
///
/// # Errors
/// A file of the base model, a row or a picture cannot be read, or the base model is a damaged checkpoint.
pub fn origin_of_run(
    config: &RunConfig,
    dataset: &Dataset,
    files: &ModelFiles,
) -> Result<Map<String, Value>, IdentityError> {
    let (data, kept) = (&config.data, Kept::here());
    let n = data.max_samples.map_or(dataset.len(), |most| most.min(dataset.len()));
    let rows = fingerprint::of_rows(&kept, dataset, n, data.on_bad_row)?;
    let task = data.task.as_deref().map(task).transpose()?;
    let template = Template::new(data.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))?;
    let replay = config.rollout.replay.as_deref();
    let replay = replay.map(|path| {
        fingerprint::of_file(&kept, path)
            .map_err(|source| IdentityError::Unreadable { path: path.to_owned(), source })
    });
    let trained = json!({
        "version": VERSION,
        "task_version": task.map(|task| task.version),
        "rows": rows.texts,
        "pictures": rows.pictures,
        "demonstrations": rows.demonstrations,
        "replay": replay.transpose()?,
        "template": template.question("{problem}"),
        "rule": with_version(config.reward.rule.unwrap_or_default()),
    });
    with_model(trained, &kept, files)
}

/// Which implementation of the operations a run computes with: on it depends whether some keys change the run's numbers.
///
/// # Errors
/// There is no such device.
pub fn runs_on(config: &RunConfig) -> Result<ops::Path, IdentityError> {
    let device = device::device(&config.model.device.to_string())?;
    let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
    Ok(ops::Path::resolve(&device, dtype))
}
