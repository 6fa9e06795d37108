//! Which rows come next, and rows to prompts.
//! Not here: reading rows (`data`), tokens and patches (`processor`).

use rayon::prelude::*;

use super::error::TrainError;
use super::rollouts::Question;
use crate::data::Dataset;
use crate::data::template::{Template, prompt};
use crate::processor::Processor;
use crate::rng::permutation;

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

/// The rows of a run, made into prompts.
pub struct Questions {
    /// Where rows come from.
    pub dataset: Dataset,
    /// The sentences around a question.
    pub template: Template,
    /// Which row comes when.
    pub order: Order,
    /// Whether a row that cannot be used is left out rather than the run's end.
    pub skips_bad_rows: bool,
}

/// Some questions, and the rows that were left out.
pub struct Batch {
    /// In the run's order.
    pub questions: Vec<Question>,
    /// Why each row that was left out could not be used.
    pub skipped: Vec<String>,
}

impl Questions {
    /// The questions at `n` places from `place` on.
    ///
    /// # Errors
    /// A row cannot be used and bad rows are not skipped, or none can be used.
    pub fn take(
        &mut self,
        processor: &Processor,
        place: u64,
        n: usize,
    ) -> Result<Batch, TrainError> {
        let rows: Vec<(u64, usize)> =
            (place..place + n as u64).map(|place| (place, self.order.row(place))).collect();
        let results: Vec<Result<Question, TrainError>> = rows
            .par_iter()
            .map(|&(place, row)| {
                let sample = self.dataset.get(row)?;
                let prompt = prompt(processor, &sample, &self.template)?;
                Ok(Question { sample, prompt, place: place as u32 })
            })
            .collect();
        let mut batch = Batch { questions: Vec::with_capacity(n), skipped: Vec::new() };
        for result in results {
            match result {
                Ok(question) => batch.questions.push(question),
                Err(error) if self.skips_bad_rows => batch.skipped.push(error.to_string()),
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
