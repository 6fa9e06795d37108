//! The first stage of an update: rows are drawn and made into prompts, ahead of their use.
//! Not here: which rows come (`prompt_sampler`), reading rows (`data`), tokens and patches (`processor`).

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::TrainError;
use super::prompt_sampler::{Draw, ForeignState, Outcome, PromptSampler};
use crate::config::{DataConfig, OnBadRow};
use crate::data::{Questions, Sample};
use crate::model::Model;
use crate::prefetch::Prefetch;
use crate::processor::{Processor, Prompt};
use crate::rollout::engine::has_room;

/// A data row with its prompt.
#[derive(Debug)]
pub struct Question {
    /// The row.
    pub sample: Sample,
    /// Its tokens, positions and patches.
    pub prompt: Prompt,
    /// How it was drawn.
    pub draw: Draw,
}

/// The rows of a run, made into prompts ahead of the trainer.
pub struct DrawnQuestions {
    questions: Questions,
    sampler: Box<dyn PromptSampler>,
    n_rows: usize,
    skips_bad_rows: bool,
    /// Draws whose prompts have not been taken, in the order in which they were submitted.
    pending: VecDeque<Draw>,
    prefetch: Prefetch<Draw, Prepared>,
}

type Prepared = Result<Question, TrainError>;

/// Questions, and why rows were left out.
pub struct Batch {
    /// As many as were asked for, in the order of draws.
    pub questions: Vec<Question>,
    /// Why each row that was left out could not be used.
    pub skipped: Vec<String>,
}

impl DrawnQuestions {
    /// - `n_rows`: of an epoch; the sampler draws from these
    /// - `data`: what the run file says about threads, memory and bad rows
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn new(
        questions: Questions,
        processor: Arc<Processor>,
        (sampler, n_rows): (Box<dyn PromptSampler>, usize),
        data: &DataConfig,
    ) -> Result<Self, TrainError> {
        let rows = questions.clone();
        let prepare = move |draw: Draw| {
            let (sample, prompt) = rows.prompt(&processor, draw.row)?;
            Ok(Question { sample, prompt, draw })
        };
        let prefetch = Prefetch::start(data.workers, data.prefetch, prepare)
            .map_err(|source| TrainError::Thread { source })?;
        let skips_bad_rows = data.on_bad_row == OnBadRow::Skip;
        Ok(Self { questions, sampler, n_rows, skips_bad_rows, pending: VecDeque::new(), prefetch })
    }

    /// Rows of an epoch.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The rows, in the data's order.
    pub fn all(&self) -> &Questions {
        &self.questions
    }

    #[cfg(test)]
    pub(super) fn bounds(&self) -> [usize; 2] {
        self.prefetch.bounds()
    }

    /// The next `n` questions. A bad row that may be skipped is replaced by the next draw, so that a batch is whole.
    ///
    /// # Errors
    /// A row cannot be used and bad rows are not skipped, or no row of an epoch can be used.
    pub fn take(&mut self, n: usize) -> Result<Batch, TrainError> {
        let mut batch = Batch { questions: Vec::with_capacity(n), skipped: Vec::new() };
        let mut n_bad = 0;
        // One batch beyond this one, so that its prompts are made while this one trains.
        self.draw_up_to(2 * n);
        while batch.questions.len() < n {
            self.draw_up_to(1);
            self.pending.pop_front();
            match self.prefetch.next() {
                Some(Ok(question)) => {
                    batch.questions.push(question);
                    n_bad = 0;
                }
                Some(Err(error)) if self.skips_bad_rows => {
                    n_bad += 1;
                    // So many consecutive draws contain a whole epoch.
                    if n_bad == 2 * self.n_rows {
                        let reason = error.to_string();
                        return Err(TrainError::NoUsableRow { n_rows: self.n_rows, reason });
                    }
                    batch.skipped.push(error.to_string());
                }
                Some(Err(error)) => return Err(error),
                None => break, // every draw is submitted, so this is not reached
            }
        }
        Ok(batch)
    }

    /// Passes the outcomes of drawn rows to the sampler.
    pub fn observe(&mut self, outcomes: &[Outcome]) {
        self.sampler.observe(outcomes);
    }

    /// The state of drawing, which a checkpoint holds.
    pub fn state(&self) -> Value {
        json!({ "sampler": self.sampler.state(), "pending": self.pending })
    }

    /// Continues from a checkpoint's state; nothing may have been drawn yet.
    ///
    /// # Errors
    /// It is the state of another sampler.
    pub fn restore(&mut self, state: &Value) -> Result<(), ForeignState> {
        let pending = Vec::<Draw>::deserialize(&state["pending"]).map_err(|_| ForeignState {
            found: state.to_string(),
            expected: "`sampler` and `pending`, a list of draws",
        })?;
        self.sampler.restore(&state["sampler"])?;
        for draw in pending {
            self.submit(draw);
        }
        Ok(())
    }

    fn draw_up_to(&mut self, n_pending: usize) {
        let n_missing = n_pending.saturating_sub(self.pending.len());
        for draw in self.sampler.next(n_missing) {
            self.submit(draw);
        }
    }

    fn submit(&mut self, draw: Draw) {
        self.pending.push_back(draw);
        self.prefetch.submit(draw);
    }
}

/// Refuses prompts that leave no room for `n_new` tokens.
///
/// # Errors
/// A prompt is too long; the error names its sample.
pub fn check_lengths(
    questions: &[Question],
    n_new: usize,
    model: &Model,
) -> Result<(), TrainError> {
    let limit = model.max_positions();
    for question in questions {
        let n_prompt = question.prompt.input_ids.len();
        if !has_room(n_prompt, n_new, limit) {
            let sample = question.sample.id.clone();
            return Err(TrainError::TooLong { sample, n_prompt, n_new, limit });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::super::prompt_sampler::{Epochs, Listed};
    use super::*;
    use crate::data::{OpenOptions, Template, open};
    use crate::model::files::ModelFiles;

    /// Rows drawn in order; a bad one names a picture that does not exist.
    fn drawn(folder: &Path, are_bad: &[bool], on_bad_row: OnBadRow) -> DrawnQuestions {
        let path = folder.join("rows.jsonl");
        let row = |is_bad: &bool| match is_bad {
            true => "{\"problem\": \"?\", \"solution\": \"1\", \"image\": \"none.png\"}\n",
            false => "{\"problem\": \"?\", \"solution\": \"1\"}\n",
        };
        std::fs::write(&path, are_bad.iter().map(row).collect::<String>()).unwrap();
        let options = OpenOptions { on_bad_row, ..OpenOptions::default() };
        let dataset = Arc::new(open(&path, None, &options).unwrap());
        let questions =
            Questions { dataset, template: Template::new("plain").unwrap(), boxes: None };
        let files = ModelFiles::Folder("tests/golden/micro/policy".into());
        let sampler = Box::new(Epochs::new(1, are_bad.len(), false));
        let data = DataConfig { on_bad_row, ..DataConfig::default() };
        let processor = Arc::new(Processor::load(&files).unwrap());
        DrawnQuestions::new(questions, processor, (sampler, are_bad.len()), &data).unwrap()
    }

    /// Row and number of each draw of a batch.
    fn draws(batch: &Batch) -> Vec<(usize, u64)> {
        batch.questions.iter().map(|q| (q.draw.row, q.draw.number)).collect()
    }

    #[test]
    fn a_bad_row_that_may_be_skipped_is_told_and_replaced_by_the_next_draw() {
        let folder = tempfile::tempdir().unwrap();
        let mut drawn = drawn(folder.path(), &[false, true, false, false], OnBadRow::Skip);
        let batch = drawn.take(3).unwrap();
        assert_eq!(draws(&batch), [(0, 0), (2, 2), (3, 3)]);
        assert_eq!(batch.skipped.len(), 1);
        assert!(batch.skipped[0].contains("rows.jsonl: line 2"), "{}", batch.skipped[0]);
        assert_eq!(draws(&drawn.take(3).unwrap()), [(0, 4), (2, 6), (3, 7)]);
    }

    #[test]
    fn a_bad_row_that_may_not_be_skipped_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut drawn = drawn(folder.path(), &[false, true], OnBadRow::Fail);
        assert_eq!(draws(&drawn.take(1).unwrap()), [(0, 0)]);
        let error = drawn.take(1).err().unwrap();
        assert!(error.to_string().contains("rows.jsonl: line 2"), "{error}");
    }

    #[test]
    fn rows_that_are_all_bad_end_the_run_and_a_bad_one_among_good_ones_never_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut all_bad = drawn(folder.path(), &[true; 3], OnBadRow::Skip);
        let error = all_bad.take(1).err().unwrap();
        assert!(matches!(error, TrainError::NoUsableRow { n_rows: 3, .. }), "{error}");
        let mut half_bad = drawn(folder.path(), &[false, true], OnBadRow::Skip);
        for _ in 0..3 {
            let batch = half_bad.take(8).unwrap();
            assert_eq!((batch.questions.len(), batch.questions[7].draw.row), (8, 0));
        }
    }

    #[test]
    fn a_run_goes_on_past_all_but_two_epochs_of_bad_draws() {
        let folder = tempfile::tempdir().unwrap();
        let are_bad = [false, true, true, true, true];
        let mut drawn = drawn(folder.path(), &are_bad, OnBadRow::Skip);
        let bad_draws = |n: usize| [vec![0], vec![1; n]].concat();
        let listed = |n| Listed::new(bad_draws(n), Arc::default());
        drawn.sampler = Box::new(listed(9));
        let batch = drawn.take(2).unwrap();
        assert_eq!((batch.questions.len(), batch.skipped.len()), (2, 9));
        let mut drawn = self::drawn(folder.path(), &are_bad, OnBadRow::Skip);
        drawn.sampler = Box::new(listed(10));
        assert!(matches!(drawn.take(2), Err(TrainError::NoUsableRow { n_rows: 5, .. })));
    }

    #[test]
    fn outcomes_reach_the_sampler() {
        let folder = tempfile::tempdir().unwrap();
        let mut drawn = drawn(folder.path(), &[false], OnBadRow::Fail);
        let observed = Arc::<Mutex<Vec<Outcome>>>::default();
        drawn.sampler = Box::new(Listed::new(vec![0], Arc::clone(&observed)));
        drawn.observe(&[Outcome { row: 4, rewards: vec![0.5, 1.0] }]);
        let observed = observed.lock().unwrap();
        assert_eq!((observed[0].row, observed[0].rewards.as_slice()), (4, &[0.5, 1.0][..]));
    }

    #[test]
    fn drawing_goes_on_from_a_saved_state_with_what_was_drawn_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [false; 5];
        let mut whole = drawn(folder.path(), &rows, OnBadRow::Fail);
        whole.take(2).unwrap();
        let state = whole.state();
        assert_eq!(state["pending"].as_array().unwrap().len(), 2);
        let mut resumed = drawn(folder.path(), &rows, OnBadRow::Fail);
        resumed.restore(&state).unwrap();
        assert_eq!(resumed.state(), state);
        for _ in 0..3 {
            assert_eq!(draws(&resumed.take(2).unwrap()), draws(&whole.take(2).unwrap()));
        }
        assert_eq!(whole.take(5).unwrap().questions.len(), 5);
        assert_eq!(whole.state()["pending"].as_array().unwrap().len(), 5, "a batch ahead");
        let foreign = json!({ "sampler": { "n_drawn": 3 } });
        assert!(drawn(folder.path(), &rows, OnBadRow::Fail).restore(&foreign).is_err());
    }
}
