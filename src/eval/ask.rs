//! Asking a model every question of a data set.
//! Not here: decoding (`rollout`), grading (`answer`), counting (`summary`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::EvalError;
use super::answer::Answer;
use crate::data::{Dataset, Questions, Sample};
use crate::model::Model;
use crate::prefetch::Prefetch;
use crate::processor::{Processor, Prompt};
use crate::reward::{Component, RewardSettings, Rule};
use crate::rng::{Purpose, Stream};
use crate::rollout::engine::{Event, GenerationSettings, Request, generate_each, has_room};
use crate::rollout::sampler::{Sampler, Suppressed};

/// Threads that make rows into prompts.
const WORKERS: usize = 2;
/// Prompts that are ready before they are asked for: bounds the patches held in memory.
const AHEAD: usize = 8;

/// How a model is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalSettings {
    /// Answers are cut off there.
    pub max_new_tokens: usize,
    /// Answers decoded at a time; changes speed and memory, and on the plain path the last bits.
    pub max_batch: usize,
    /// The task's own rule, which decides `accuracy`; `answer-tag` is reported beside it.
    pub rule: Rule,
    /// Components of the reward registry that are reported beside accuracy.
    pub components: Vec<&'static Component>,
    /// At most that many questions; without it, all.
    pub limit: Option<usize>,
    /// Answers to each question.
    pub samples: usize,
    /// How tokens are chosen: greedily, unless a question is asked several times.
    pub sampler: Sampler,
    /// Names the random numbers; greedy decoding draws none.
    pub seed: u64,
}

impl EvalSettings {
    /// Questions that are asked of a data set.
    pub fn n_questions(&self, dataset: &Dataset) -> usize {
        self.limit.map_or(dataset.len(), |limit| limit.min(dataset.len()))
    }

    /// What is measured of an answer: accuracy, format, and the components, which are recorded with weight 0.
    pub fn measure(&self) -> RewardSettings {
        let weights = self.components.iter().map(|component| (*component, 0.0)).collect();
        RewardSettings { rule: self.rule, weights, ..RewardSettings::default() }
    }

    /// Answers to these questions.
    pub fn n_answers(&self, dataset: &Dataset) -> usize {
        self.n_questions(dataset) * self.samples
    }
}

/// Asks a model every question that has not been answered yet, as many at a time as `max_batch` lets.
///
/// - `given`: answers of an interrupted evaluation; answers to questions beyond the limit are left out
/// - `on_answer` gets each new answer when it ends, in any order; `Break` ends the evaluation there
/// - returns all answers, in the data's order
///
/// # Errors
/// See [`EvalError`]. Answers that were passed to `on_answer` before stay valid.
pub fn evaluate(
    model: &Model,
    processor: &Arc<Processor>,
    questions: &Questions,
    settings: &EvalSettings,
    given: Vec<Answer>,
    on_answer: &mut dyn FnMut(&Answer) -> Result<ControlFlow<()>, EvalError>,
) -> Result<Vec<Answer>, EvalError> {
    let n = settings.n_questions(&questions.dataset);
    if n == 0 {
        return Err(EvalError::NoRows { name: questions.dataset.name().to_owned() });
    }
    let mut answers = given;
    answers.retain(|answer| answer.row < n && answer.sample_idx < settings.samples);
    let open = Arc::new(open_questions(n, settings.samples, &answers));
    let n_open: usize = open.iter().map(|(_, samples)| samples.len()).sum();
    let measure = settings.measure();
    let mut prepared = prepared(model, processor, questions, settings, &open)?;
    // The questions under way and the first error, shared by the iterator of requests and the handler of events.
    let asked: RefCell<Asked> = RefCell::default();
    let failed: RefCell<Option<EvalError>> = RefCell::default();
    let mut requests = std::iter::from_fn(|| match prepared.next()? {
        Ok((question, sample, prompt)) => {
            let (row, samples) = &open[question];
            asked.borrow_mut().begin(question, sample, samples.len());
            let stream = |&idx: &usize| {
                Stream::new(settings.seed, Purpose::Evaluation, 0, *row as u32, idx as u32)
            };
            let streams = samples.iter().map(stream).collect();
            Some(Request { prompt: Cow::Owned(prompt), streams })
        }
        Err(error) => {
            *failed.borrow_mut() = Some(error);
            None
        }
    });
    let mut on_event = |event: Event| {
        let Event::Ended { request, completion, sampled } = event else {
            return ControlFlow::Continue(());
        };
        let told = asked.borrow_mut().end_one(request).and_then(|(question, sample)| {
            let (row, samples) = &open[question];
            let text = processor.decode(&sampled.token_ids, true)?;
            let place = (*row, samples[completion]);
            let answer = Answer::grade(&sample, place, (&sampled, text), &measure);
            let flow = on_answer(&answer)?;
            answers.push(answer);
            Ok(flow)
        });
        told.unwrap_or_else(|error| {
            *failed.borrow_mut() = Some(error);
            ControlFlow::Break(())
        })
    };
    if n_open > 0 {
        let generation = generation_settings(model, processor, settings, n_open);
        generate_each(model, &mut requests, &generation, &mut on_event)?;
    }
    if let Some(error) = failed.take() {
        return Err(error);
    }
    answers.sort_by_key(Answer::place);
    Ok(answers)
}

/// The questions that are being answered.
#[derive(Debug, Default)]
struct Asked {
    n_begun: usize,
    /// By the number of their request, in the order in which requests began.
    questions: BTreeMap<usize, AskedQuestion>,
}

#[derive(Debug)]
struct AskedQuestion {
    /// Its place among the open questions.
    question: usize,
    sample: Arc<Sample>,
    /// Answers that have not ended.
    n_left: usize,
}

impl Asked {
    fn begin(&mut self, question: usize, sample: Sample, n_answers: usize) {
        let asked = AskedQuestion { question, sample: Arc::new(sample), n_left: n_answers };
        self.questions.insert(self.n_begun, asked);
        self.n_begun += 1;
    }

    /// The question to which a finished answer belongs, with its row; it is removed with its last answer.
    fn end_one(&mut self, request: usize) -> Result<(usize, Arc<Sample>), EvalError> {
        let Some(asked) = self.questions.get_mut(&request) else {
            return Err(EvalError::Tensor(candle_core::Error::Msg(format!(
                "an answer to request {request}, which is not being answered"
            ))));
        };
        asked.n_left -= 1;
        let found = (asked.question, Arc::clone(&asked.sample));
        if asked.n_left == 0 {
            self.questions.remove(&request);
        }
        Ok(found)
    }
}

/// Rows with the answers that are missing.
fn open_questions(n: usize, samples: usize, answers: &[Answer]) -> Vec<(usize, Vec<usize>)> {
    let given: BTreeSet<(usize, usize)> = answers.iter().map(Answer::place).collect();
    let missing =
        |row| -> Vec<usize> { (0..samples).filter(|idx| !given.contains(&(row, *idx))).collect() };
    (0..n).map(|row| (row, missing(row))).filter(|(_, samples)| !samples.is_empty()).collect()
}

type Prepared = Result<(usize, Sample, Prompt), EvalError>;

/// Prompts of the open questions, made ahead by worker threads.
fn prepared(
    model: &Model,
    processor: &Arc<Processor>,
    questions: &Questions,
    settings: &EvalSettings,
    open: &Arc<Vec<(usize, Vec<usize>)>>,
) -> std::io::Result<Prefetch<usize, Prepared>> {
    let (questions, processor, open) = (questions.clone(), Arc::clone(processor), Arc::clone(open));
    let limit = model.max_positions();
    let n_new = settings.max_new_tokens;
    let n_open = open.len();
    let mut prefetch = Prefetch::start(WORKERS, AHEAD, move |question: usize| {
        let (sample, prompt) = questions.prompt(&processor, open[question].0)?;
        let n_prompt = prompt.input_ids.len();
        if !has_room(n_prompt, n_new, limit) {
            return Err(EvalError::TooLong { sample: sample.id, n_prompt, n_new, limit });
        }
        Ok((question, sample, prompt))
    })?;
    (0..n_open).for_each(|question| prefetch.submit(question));
    Ok(prefetch)
}

fn generation_settings(
    model: &Model,
    processor: &Processor,
    settings: &EvalSettings,
    n_open: usize,
) -> GenerationSettings {
    let vocab_size = model.vocab_size();
    GenerationSettings {
        sampler: settings.sampler.clone(),
        suppressed: Suppressed::new(&processor.never_sampled(vocab_size), &[], 0),
        max_new_tokens: settings.max_new_tokens,
        stop_ids: processor.special().stop_ids.clone(),
        max_batch: settings.max_batch.min(n_open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_held_from_its_question_to_its_last_answer_and_no_longer() {
        let sample = |id: &str| Sample {
            id: id.to_owned(),
            images: Vec::new(),
            problem: "?".to_owned(),
            solution: "1".to_owned(),
            demonstration: None,
            columns: Arc::default(),
        };
        let mut asked = Asked::default();
        asked.begin(7, sample("a"), 2);
        asked.begin(8, sample("b"), 1);
        let (question, row) = asked.end_one(0).unwrap();
        assert_eq!((question, row.id.as_str()), (7, "a"));
        let [a, b] = [0, 1].map(|request| Arc::downgrade(&asked.questions[&request].sample));
        drop(row);
        assert!(asked.end_one(1).unwrap().1.id == "b" && b.upgrade().is_none());
        assert!(a.upgrade().is_some()); // one answer is left
        assert_eq!(asked.end_one(0).unwrap().0, 7);
        assert!(a.upgrade().is_none());
        assert!(asked.end_one(0).is_err());
    }
}
