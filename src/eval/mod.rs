//! Measuring a model on a task: accuracy and format rate, greedily, with 95% intervals.
//!
//! In reading order: [`evaluate`], over blocks of questions; [`grading`], of completions on disk; [`interval`].
//! Not here: sampling (`rollout`), the rules (`reward`), what is printed (`cli`).

pub mod grading;
pub mod interval;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::interval::wilson95;
use crate::data::template::{Template, prompt};
use crate::data::{DataError, Dataset, Sample};
use crate::model::qwen2_vl::Qwen2Vl;
use crate::processor::{Processor, ProcessorError, Prompt};
use crate::reward::{GoldAnswer, Rule, format};
use crate::rng::{Purpose, Stream};
use crate::rollout::engine::{Completion, GenerationSettings, Request, generate};
use crate::rollout::sampler::{Sampler, Suppressed};

/// Questions that are prepared and decoded at a time: bounds the patches held in memory.
const BLOCK: usize = 128;

/// How a model is measured.
#[derive(Debug, Clone, Copy)]
pub struct EvalSettings {
    /// Answers are cut off there.
    pub max_new_tokens: usize,
    /// Answers decoded at a time; changes speed and memory alone.
    pub max_batch: usize,
    /// The task's own rule, which decides `accuracy`; `answer-tag` is reported beside it.
    pub rule: Rule,
    /// At most that many questions; without it, all.
    pub limit: Option<usize>,
}

/// What stopped an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A row of the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer, or settings of the processor.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A prompt that leaves no room for its answer.
    #[error(
        "sample {sample}: {n_prompt} prompt tokens and {n_new} new ones exceed the model's {limit} positions\n\
         hint: lower the image's pixels or the number of new tokens"
    )]
    TooLong {
        /// The sample's identifier.
        sample: String,
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens that may follow.
        n_new: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// The data has no row.
    #[error("{name} has no rows, expected at least one")]
    NoRows {
        /// The data's name.
        name: String,
    },
    /// The tensor library.
    #[error("decoding answers: {0}")]
    Tensor(#[from] candle_core::Error),
    /// An answer could not be written down.
    #[error("cannot write an answer: {0}")]
    Write(#[from] std::io::Error),
}

/// One answered question; a line of the answers file, which `grade` reads as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The sample's identifier.
    pub id: String,
    /// The question, before the template.
    pub problem: String,
    /// The right answer as the data has it.
    pub solution: String,
    /// What the model said, without special tokens.
    pub completion: String,
    /// What was found in it as its answer.
    pub answer: Option<String>,
    /// 1 if the answer is right by the task's own rule, else 0.
    pub accuracy: f64,
    /// 1 if it is right by `answer-tag`, else 0.
    pub answer_tag: f64,
    /// 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// Why the accuracy is what it is.
    pub reason: String,
    /// Whether there was an answer that the task's own rule could grade.
    pub is_graded: bool,
    /// Length in tokens, a stop token included.
    pub n_tokens: usize,
    /// Whether the token limit cut it off.
    pub is_truncated: bool,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The task's name, or the data's.
    pub task: String,
    /// Questions asked.
    pub n: usize,
    /// The task's own rule.
    pub rule: String,
    /// Right answers by that rule.
    pub correct: usize,
    /// `correct / n`.
    pub accuracy: f64,
    /// Wilson's 95% interval of the accuracy.
    pub ci95: [f64; 2],
    /// The same by `answer-tag`, which looks at the contents of the last `<answer>` alone.
    pub answer_tag: Tally,
    /// Completions without an answer that the task's own rule could grade; they count as wrong.
    pub ungraded: usize,
    /// Part of the completions that have the asked-for form.
    pub format_rate: f64,
    /// Part of the completions that the token limit cut off.
    pub truncated_fraction: f64,
    /// Mean length of a completion, tokens.
    pub completion_length: f64,
}

/// Right answers by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Right answers.
    pub correct: usize,
    /// `correct / n`.
    pub accuracy: f64,
    /// Wilson's 95% interval of the accuracy.
    pub ci95: [f64; 2],
}

impl Tally {
    /// `correct` right answers of `n`.
    pub fn new(correct: usize, n: usize) -> Self {
        Self { correct, accuracy: correct as f64 / n.max(1) as f64, ci95: wilson95(correct, n) }
    }
}

/// Asks the model every question of a data set, greedily.
///
/// `on_answers` gets the answers of each block as they come, in the data's order.
///
/// # Errors
/// See [`EvalError`].
pub fn evaluate(
    model: &Qwen2Vl,
    processor: &Processor,
    questions: (&Dataset, &Template),
    settings: &EvalSettings,
    on_answers: &mut dyn FnMut(&[Answer]) -> Result<(), EvalError>,
) -> Result<Vec<Answer>, EvalError> {
    let (dataset, template) = questions;
    let n = settings.limit.map_or(dataset.len(), |limit| limit.min(dataset.len()));
    if n == 0 {
        return Err(EvalError::NoRows { name: dataset.name().to_owned() });
    }
    let text = &model.config().text;
    let special = processor.special();
    let generation = GenerationSettings {
        sampler: Sampler::greedy(),
        suppressed: Suppressed::new(&processor.never_sampled(text.vocab_size), &[], 0),
        max_new_tokens: settings.max_new_tokens,
        stop_ids: special.stop_ids.clone(),
        max_batch: settings.max_batch,
    };
    // Greedy decoding draws nothing; the stream is only there to be named.
    let stream = Stream::new(0, Purpose::Evaluation, 0, 0, 0);
    let mut answers = Vec::with_capacity(n);
    for start in (0..n).step_by(BLOCK) {
        let rows = (start..(start + BLOCK).min(n)).into_par_iter();
        let prepare = |row| {
            let sample = dataset.get(row)?;
            let prompt = prompt(processor, &sample, template)?;
            check_length(&sample, &prompt, settings.max_new_tokens, text.max_position_embeddings)?;
            Ok((sample, prompt))
        };
        let block: Vec<(Sample, Prompt)> = rows.map(prepare).collect::<Result<_, EvalError>>()?;
        let requests: Vec<Request> =
            block.iter().map(|(_, prompt)| Request { prompt, streams: vec![stream] }).collect();
        let completions = generate(model, &requests, &generation, &mut |_| {})?;
        let new = block.into_iter().zip(completions.into_iter().flatten());
        let new = new
            .map(|((sample, _), completion)| answer(processor, sample, &completion, settings.rule));
        let new: Vec<Answer> = new.collect::<Result<_, _>>()?;
        on_answers(&new)?;
        answers.extend(new);
    }
    Ok(answers)
}

fn check_length(
    sample: &Sample,
    prompt: &Prompt,
    n_new: usize,
    limit: usize,
) -> Result<(), EvalError> {
    let n_prompt = prompt.input_ids.len();
    if n_prompt + n_new > limit {
        return Err(EvalError::TooLong { sample: sample.id.clone(), n_prompt, n_new, limit });
    }
    Ok(())
}

fn answer(
    processor: &Processor,
    sample: Sample,
    completion: &Completion,
    rule: Rule,
) -> Result<Answer, ProcessorError> {
    let text = processor.decode(&completion.token_ids, true)?;
    let grade = |rule| GoldAnswer::parse_or_unequal(rule, &sample.solution).grade(&text);
    let (verdict, by_tag) = (grade(rule), grade(Rule::AnswerTag));
    Ok(Answer {
        accuracy: f64::from(verdict.is_correct),
        answer_tag: f64::from(by_tag.is_correct),
        format: f64::from(format::is_well_formed(&text)),
        reason: verdict.reason.to_string(),
        is_graded: verdict.is_graded(),
        answer: verdict.answer,
        id: sample.id,
        problem: sample.problem,
        solution: sample.solution,
        completion: text,
        n_tokens: completion.token_ids.len(),
        is_truncated: !completion.is_finished,
    })
}

/// Counts answers.
pub fn summarize(task: &str, rule: Rule, answers: &[Answer]) -> Summary {
    let n = answers.len();
    let mean = |of: &dyn Fn(&Answer) -> f64| answers.iter().map(of).sum::<f64>() / n.max(1) as f64;
    let count = |is_counted: &dyn Fn(&Answer) -> bool| -> usize {
        answers.iter().filter(|answer| is_counted(answer)).count()
    };
    let Tally { correct, accuracy, ci95 } = Tally::new(count(&|answer| answer.accuracy >= 1.0), n);
    Summary {
        task: task.to_owned(),
        n,
        rule: rule.name().to_owned(),
        correct,
        accuracy,
        ci95,
        answer_tag: Tally::new(count(&|answer| answer.answer_tag >= 1.0), n),
        ungraded: count(&|answer| !answer.is_graded),
        format_rate: mean(&|answer| answer.format),
        truncated_fraction: mean(&|answer| f64::from(answer.is_truncated)),
        completion_length: mean(&|answer| answer.n_tokens as f64),
    }
}
