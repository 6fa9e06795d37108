//! Everything that decides a model's answers to questions.
//! Not here: what the questions and the model hold (`fingerprint`); a run (`run`).

use candle_core::{DType, Device};
use serde_json::{Map, Value, json};

use super::kept::Kept;
use super::{IdentityError, VERSION, fingerprint, with_model, with_version};
use crate::config::OnBadRow;
use crate::eval::questions::EvaluationQuestions;
use crate::model::files::ModelFiles;
use crate::ops;
use crate::reward::Rule;

/// The identity of a model's answers to the questions that are asked of it.
///
/// - `dtype`, `device`: how the model computes
///
/// # Errors
/// A file of the model, a row or a picture cannot be read, or the model is a damaged checkpoint.
pub fn of_evaluation(
    files: &ModelFiles,
    (dtype, device): (DType, &Device),
    asked: &EvaluationQuestions,
) -> Result<Map<String, Value>, IdentityError> {
    let kept = Kept::here();
    let (settings, dataset) = (&asked.settings, &asked.questions.dataset);
    let n = settings.n_questions(dataset);
    let rows = fingerprint::of_rows(&kept, dataset, n, OnBadRow::Fail)?;
    let sampler = &settings.sampler;
    let (min_pixels, max_pixels) = asked.pixel_limits;
    // On the plain path the last bits of an answer depend on which others are decoded beside it.
    let runs_on = ops::Path::resolve(device, dtype);
    let decisive_batch = (!runs_on.keeps_rows_apart()).then_some(settings.max_batch);
    let boxes = asked.questions.boxes;
    let mut asked = json!({
        "version": VERSION,
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
        "dtype": dtype.as_str(),
        "max_batch": decisive_batch,
    });
    if let Some(boxes) = boxes {
        asked["boxes"] = json!(boxes);
    }
    with_model(asked, &kept, files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::data::tasks::resolved;
    use crate::eval::questions::evaluation_questions;
    use crate::model::source;

    #[test]
    fn answers_decoded_so_many_at_a_time_are_others_where_no_kernel_treats_each_by_itself() {
        let files = source::resolve("tiny").unwrap();
        let identity = |dtype, max_batch| {
            let changes = [format!("eval.max_batch={max_batch}"), "eval.limit=2".to_owned()];
            let config = RunConfig::load("quickstart.toml", &changes).unwrap();
            let asked = evaluation_questions(&resolved(&config).unwrap()).unwrap();
            of_evaluation(&files, (dtype, &Device::Cpu), &asked).unwrap()
        };
        assert_eq!(identity(DType::F32, 3), identity(DType::F32, 64));
        assert_ne!(identity(DType::BF16, 3), identity(DType::BF16, 64));
    }
}
