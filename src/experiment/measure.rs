//! One model on one set of questions: answers that exist are read, missing ones are asked for.
//! Not here: asking (`eval`), which questions a run file means (`eval::questions`), when two measurements are the same
//! (`crate::identity`).

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{DType, Device};
use serde_json::{Map, Value};

use super::ExperimentError;
use crate::data::configured::warn_of_rows;
use crate::eval::answers_file::AnswersFile;
use crate::eval::questions::EvaluationQuestions;
use crate::eval::{Answer, Summary, evaluate, summarize};
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::model::files::ModelFiles;
use crate::model::gpu::OutOfMemory;
use crate::model::open::open;
use crate::model::parameters::Trained;
use crate::progress::ProgressDisplay;

/// Answers between two lines of progress.
const PROGRESS_EVERY: usize = 100;

/// What needs less of a GPU's memory.
const NEEDS_LESS: &str = "fewer answers at a time (--max-batch, in a run file eval.max_batch), fewer pixels (--max-pixels), fewer \
                          new tokens (--max-new-tokens) or bf16 (--dtype); answers that are in a file stay there";

/// A model and how it is run.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredModel<'a> {
    /// Its files.
    pub files: &'a ModelFiles,
    /// Number format.
    pub dtype: DType,
    /// Where to compute.
    pub device: &'a Device,
}

/// The outcome of a measurement.
#[derive(Debug, Clone)]
pub enum Measured {
    /// Every question was answered.
    Whole {
        /// The answers, in the data's order.
        answers: Vec<Answer>,
        /// Their summary.
        summary: Box<Summary>,
    },
    /// Interrupted; with a file, the answers so far are kept and the same call continues from there.
    Interrupted,
}

/// Measures a model.
///
/// - `out`: the file of answers, and the measurement's [identity](crate::identity::evaluation::of_evaluation); while the file is
///   unfinished, what it holds is not asked again
/// - `display`: shows how many answers there are, and how many of them are right
///
/// # Errors
/// The model, the data or the file cannot be used; answers that are in the file stay there.
pub fn measure(
    model: MeasuredModel,
    asked: &EvaluationQuestions,
    out: Option<(&Path, &Map<String, Value>)>,
    interrupt: &Interrupt,
    display: &ProgressDisplay,
) -> Result<Measured, ExperimentError> {
    let EvaluationQuestions { label, questions, settings, .. } = asked;
    warn_of_rows(&questions.dataset);
    display.between("opening the model", "");
    let processor = asked.processor(model.files)?;
    let opened = open(model.files, model.dtype, model.device, Trained::Nothing);
    let opened =
        opened.map_err(|error| explained(error.into(), model.device, ("loading weights", None)))?;
    let (mut file, given) = match out {
        Some((out, identity)) => {
            let (file, given) = AnswersFile::open(out, identity)?;
            (Some(file), given)
        }
        None => (None, Vec::new()),
    };
    let (mut answered, mut right) = (given.len(), given.iter().filter(|a| a.is_correct()).count());
    let n = settings.n_answers(&questions.dataset);
    let show = |answered: usize, right: usize| {
        let so_far = format!("{answered} of {n} answers, {right} right");
        if answered.is_multiple_of(PROGRESS_EVERY) && answered > 0 {
            display.milestone(&format!("{label}: {so_far}"));
        }
        display.between(label, so_far);
    };
    show(answered, right);
    let mut is_interrupted = false;
    let mut on_answer = |answer: &Answer| {
        if let Some(file) = &mut file {
            file.append(answer)?;
        }
        answered += 1;
        right += usize::from(answer.is_correct());
        show(answered, right);
        is_interrupted = interrupt.is_requested();
        Ok(if is_interrupted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let answers = evaluate(&opened, &processor, questions, settings, given, &mut on_answer)
        .map_err(|error| {
            explained(error.into(), model.device, ("decoding answers", Some(&opened)))
        })?;
    if is_interrupted && answers.len() < n {
        return Ok(Measured::Interrupted);
    }
    if let Some(file) = file {
        file.finish(&answers)?;
    }
    let summary = Box::new(summarize(label, settings.rule, &answers));
    Ok(Measured::Whole { answers, summary })
}

/// The error, or what there is to say if it is that a GPU had no room.
fn explained(
    error: ExperimentError,
    device: &Device,
    during: (&'static str, Option<&Model>),
) -> ExperimentError {
    match OutOfMemory::of(&error, device, during, NEEDS_LESS) {
        Some(told) => {
            ExperimentError::OutOfMemory { told: Box::new(told), source: Box::new(error) }
        }
        None => error,
    }
}
