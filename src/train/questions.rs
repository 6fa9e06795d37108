//! Which rows come next, and rows to prompts.
//! Not here: reading rows (`data`), tokens and patches (`processor`).

use std::sync::{Arc, Mutex, PoisonError};

use super::error::TrainError;
use crate::config::{DataConfig, OnBadRow};
use crate::data::{Questions, Sample};
use crate::prefetch::Prefetch;
use crate::processor::{Processor, Prompt};
use crate::rng::permutation;

/// A data row with its prompt.
#[derive(Debug)]
pub struct Question {
    /// The row.
    pub sample: Sample,
    /// Its tokens, positions and patches.
    pub prompt: Prompt,
    /// Its place in the run's order of prompts: what its random streams are named after.
    pub place: u32,
}

/// The run's order of rows: a seeded permutation per epoch, or the file's own order. A pure function of
/// the place, so that a resumed run goes on exactly where it was.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    n_rows: usize,
    is_shuffled: bool,
    /// The permutation computed last, with its epoch.
    current: Option<(usize, Vec<usize>)>,
}

impl Order {
    /// An order over `n_rows` rows, at least one.
    pub fn new(seed: u64, n_rows: usize, is_shuffled: bool) -> Self {
        Self { seed, n_rows: n_rows.max(1), is_shuffled, current: None }
    }

    /// Rows of an epoch.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The row at a place, counted from the run's start over all epochs.
    pub fn row(&mut self, place: u64) -> usize {
        let (epoch, offset) =
            ((place / self.n_rows as u64) as usize, (place % self.n_rows as u64) as usize);
        if !self.is_shuffled {
            return offset;
        }
        let order = match self.current.take() {
            Some((of, order)) if of == epoch => order,
            _ => permutation(self.seed, epoch as u32, self.n_rows),
        };
        let row = order[offset];
        self.current = Some((epoch, order));
        row
    }
}

/// The rows of a run, made into prompts ahead of the trainer.
pub struct TrainingQuestions {
    source: Source,
    /// Prompts that are ready or in the making.
    ahead: usize,
    workers: usize,
    /// Running since a place was first asked for.
    prefetch: Option<Prefetch<Prepared>>,
}

/// Everything that makes a place of the run into a question.
#[derive(Clone)]
struct Source {
    questions: Questions,
    processor: Arc<Processor>,
    order: Order,
    skips_bad_rows: bool,
}

type Prepared = Result<Question, TrainError>;

/// Some questions, and the rows that were left out.
pub struct Batch {
    /// In the run's order.
    pub questions: Vec<Question>,
    /// Why each row that was left out could not be used.
    pub skipped: Vec<String>,
}

impl TrainingQuestions {
    /// - `order`: which row comes when, over the rows of `questions`
    /// - `data`: what the run file says about threads, memory and bad rows
    pub fn new(
        questions: Questions,
        processor: Arc<Processor>,
        order: Order,
        data: &DataConfig,
    ) -> Self {
        let skips_bad_rows = data.on_bad_row == OnBadRow::Skip;
        let source = Source { questions, processor, order, skips_bad_rows };
        Self { source, ahead: data.prefetch, workers: data.workers, prefetch: None }
    }

    /// Rows of an epoch.
    pub fn n_rows(&self) -> usize {
        self.source.order.n_rows()
    }

    /// The rows, in the data's order.
    pub fn all(&self) -> &Questions {
        &self.source.questions
    }

    /// The questions at `n` places from `place` on.
    ///
    /// # Errors
    /// A row cannot be used and bad rows are not skipped, or none can be used.
    pub fn take(&mut self, place: u64, n: usize) -> Result<Batch, TrainError> {
        let prefetch = match self.prefetch.take().filter(|running| running.next_job() == place) {
            Some(running) => running,
            None => self.source.clone().start(place, self.workers, self.ahead)?,
        };
        let prefetch = self.prefetch.insert(prefetch);
        let mut batch = Batch { questions: Vec::with_capacity(n), skipped: Vec::new() };
        for prepared in prefetch.take(n) {
            match prepared {
                Ok(question) => batch.questions.push(question),
                Err(error) if self.source.skips_bad_rows => batch.skipped.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        match batch.skipped.first() {
            Some(reason) if batch.questions.is_empty() => {
                Err(TrainError::NoUsableRow { n_rows: n, reason: reason.clone() })
            }
            _ => Ok(batch),
        }
    }
}

impl Source {
    /// Makes prompts of the places from `place` on.
    fn start(
        self,
        place: u64,
        workers: usize,
        ahead: usize,
    ) -> Result<Prefetch<Prepared>, TrainError> {
        let Self { questions, processor, order, .. } = self;
        let order = Mutex::new(order);
        let prepare = move |place| {
            let row = order.lock().unwrap_or_else(PoisonError::into_inner).row(place);
            let (sample, prompt) = questions.prompt(&processor, row)?;
            Ok(Question { sample, prompt, place: place as u32 })
        };
        Prefetch::start(place..u64::MAX, workers, ahead, prepare)
            .map_err(|source| TrainError::Thread { source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_holds_every_row_once_in_its_own_order() {
        let mut order = Order::new(3, 10, true);
        let epochs: Vec<Vec<usize>> =
            (0..2).map(|e| (0..10).map(|i| order.row(e * 10 + i)).collect()).collect();
        assert_ne!(epochs[0], epochs[1]);
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        // A fresh order asked for a place in the middle agrees.
        assert_eq!(Order::new(3, 10, true).row(14), epochs[1][4]);
    }

    #[test]
    fn without_shuffling_rows_come_as_they_stand() {
        let mut order = Order::new(3, 4, false);
        assert_eq!((0..6).map(|i| order.row(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1]);
    }
}
