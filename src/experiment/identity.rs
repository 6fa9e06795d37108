//! Everything that decides an evaluation's answers, and everything that decides a run's numbers: equal objects, equal
//! outcomes. Files count by their contents, never by their names.
//! Not here: the contents' fingerprints (`fingerprint`); what is done with an identity (`measure`, `runs`).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::measure::MeasuredModel;
use super::{ExperimentError, fingerprint};
use crate::config::{OnBadRow, RunConfig};
use crate::data::Template;
use crate::data::configured::training_rows;
use crate::data::tasks::task;
use crate::data::template::DEFAULT_TEMPLATE;
use crate::eval::questions::EvaluationQuestions;
use crate::model::files::ModelFiles;
use crate::model::{device, source};
use crate::ops;
use crate::reward::Rule;
use crate::run_folder::identity::decisive_config;

/// The identity of a model's answers to the questions that are asked of it.
///
/// # Errors
/// A file of the model, a row or a picture cannot be read.
pub fn of_evaluation(
    model: MeasuredModel,
    asked: &EvaluationQuestions,
) -> Result<Value, ExperimentError> {
    let (settings, dataset) = (&asked.settings, &asked.questions.dataset);
    let n = settings.n_questions(dataset);
    let rows = fingerprint::of_rows(dataset, n, OnBadRow::Fail)?;
    let sampler = &settings.sampler;
    let (min_pixels, max_pixels) = asked.pixel_limits;
    // On the plain path the last bits of an answer depend on which others are decoded beside it.
    let runs_on = ops::Path::resolve(model.device, model.dtype);
    let decisive_batch = (!runs_on.keeps_rows_apart()).then_some(settings.max_batch);
    let asked = json!({
        "task": asked.label,
        "task_version": asked.task_version,
        "split": asked.split.name(),
        "data": dataset.name(),
        "questions": n,
        "rows": rows.texts,
        "pictures": rows.pictures,
        "template": asked.questions.template.question("{problem}"),
        "rule": with_version(settings.rule),
        "second_rule": with_version(Rule::AnswerTag),
        "components": settings.components,
        "max_new_tokens": settings.max_new_tokens,
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "allow_markers": asked.markers.are_tokens(),
        "samples": settings.samples,
        "temperature": sampler.temperature,
        "top_k": sampler.top_k,
        "top_p": sampler.top_p,
        "min_p": sampler.min_p,
        "repetition_penalty": sampler.repetition_penalty,
        "seed": settings.seed,
        "dtype": model.dtype.as_str(),
        "max_batch": decisive_batch,
    });
    with_model(asked, model.files)
}

/// The identity of a run.
///
/// - `config`: with its task's settings in it, see [`crate::data::tasks::resolved`]
///
/// # Errors
/// A file of the base model, a row or a picture cannot be read.
pub fn of_run(config: &RunConfig) -> Result<Value, ExperimentError> {
    let data = &config.data;
    let dataset = training_rows(config)?;
    let n = data.max_samples.map_or(dataset.len(), |most| most.min(dataset.len()));
    let rows = fingerprint::of_rows(&dataset, n, data.on_bad_row)?;
    let task = data.task.as_deref().map(task).transpose()?;
    let template = Template::new(data.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))?;
    let trained = json!({
        "config": decisive_config(&config.resolved_toml()?, runs_on(config)?)?,
        "task_version": task.map(|task| task.version),
        "rows": rows.texts,
        "pictures": rows.pictures,
        "demonstrations": rows.demonstrations,
        "replay": config.rollout.replay.as_deref().map(of_file).transpose()?,
        "template": template.question("{problem}"),
        "rule": with_version(config.reward.rule.unwrap_or_default()),
    });
    with_model(trained, &source::resolve(&config.model.path)?)
}

fn of_file(path: &Path) -> Result<String, ExperimentError> {
    fingerprint::of_file(path).map_err(|source| ExperimentError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// Which implementation of the operations a run computes with: on it depends whether some keys change the run's numbers.
///
/// # Errors
/// There is no such device.
pub fn runs_on(config: &RunConfig) -> Result<ops::Path, ExperimentError> {
    let device = device::device(&config.model.device.to_string())?;
    let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
    Ok(ops::Path::resolve(&device, dtype))
}

fn with_version(rule: Rule) -> String {
    format!("{} v{}", rule.name(), rule.version())
}

/// The object with a key for each file of the model.
fn with_model(identity: Value, files: &ModelFiles) -> Result<Value, ExperimentError> {
    let own = if let Value::Object(own) = identity { own } else { Map::new() };
    let model = fingerprint::of_model(files)?;
    Ok(own.into_iter().chain(model).collect::<Map<_, _>>().into())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::data::tasks::resolved;
    use crate::eval::questions::evaluation_questions;

    #[test]
    fn answers_decoded_so_many_at_a_time_are_others_where_no_kernel_treats_each_by_itself() {
        let files = source::resolve("tiny").unwrap();
        let identity = |dtype, max_batch| {
            let changes = [format!("eval.max_batch={max_batch}"), "eval.limit=2".to_owned()];
            let config = RunConfig::load("quickstart.toml", &changes).unwrap();
            let asked = evaluation_questions(&resolved(&config).unwrap()).unwrap();
            let model = MeasuredModel { files: &files, dtype, device: &Device::Cpu };
            of_evaluation(model, &asked).unwrap()
        };
        assert_eq!(identity(DType::F32, 3), identity(DType::F32, 64));
        assert_ne!(identity(DType::BF16, 3), identity(DType::BF16, 64));
    }
}
