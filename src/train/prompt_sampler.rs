//! Which rows come next: samplers of prompts, with a state that a run is resumed from.
//! Not here: making rows into prompts (`draw`).

#[cfg(test)]
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::limits::DRAWS;
use crate::rng::{Purpose, Stream, permutation};

/// A row that has been drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// How many rows the run drew before it: what the prompt's random streams are named after.
    pub number: u64,
    /// The row.
    pub row: usize,
}

impl Draw {
    /// A random stream of this drawn prompt alone: a row that is drawn again has others.
    ///
    /// - `update`: the update that the prompt is used in
    /// - `completion`: which of the prompt's completions; 0 where the use has none
    pub fn stream(self, seed: u64, purpose: Purpose, update: u32, completion: u32) -> Stream {
        Stream::new(seed, purpose, update, self.number as u32, completion)
    }
}

/// The outcome of a drawn row.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The row.
    pub row: usize,
    /// The rewards of its completions.
    pub rewards: Vec<f64>,
}

/// Says which rows come next. Rows are drawn up to a batch ahead of their outcomes.
pub trait PromptSampler {
    /// The next `n` rows.
    fn next(&mut self, n: usize) -> Vec<Draw>;

    /// Receives the outcomes of rows drawn earlier, batch by batch in the order of draws.
    fn observe(&mut self, outcomes: &[Outcome]);

    /// All that it needs to continue after an interruption.
    fn state(&self) -> Value;

    /// Continues from [`PromptSampler::state`].
    ///
    /// # Errors
    /// It is the state of another sampler.
    fn restore(&mut self, state: &Value) -> Result<(), ForeignState>;
}

/// A state that another sampler has saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found the state {found} of a prompt sampler, expected {expected}")]
pub struct ForeignState {
    /// What was saved.
    pub found: String,
    /// What it should look like.
    pub expected: &'static str,
}

/// A seeded permutation of the rows per epoch, or the data's own order; outcomes change nothing.
#[derive(Debug, Clone)]
pub struct Epochs {
    seed: u64,
    n_rows: usize,
    is_shuffled: bool,
    n_drawn: u64,
    /// The permutation computed last, with its epoch.
    current: Option<(u64, Vec<usize>)>,
}

impl Epochs {
    /// Epochs over `n_rows` rows, at least one.
    pub fn new(seed: u64, n_rows: usize, is_shuffled: bool) -> Self {
        Self { seed, n_rows: n_rows.max(1), is_shuffled, n_drawn: 0, current: None }
    }

    fn row(&mut self, number: u64) -> usize {
        let n_rows = self.n_rows as u64;
        let (epoch, offset) = (number / n_rows, (number % n_rows) as usize);
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

impl PromptSampler for Epochs {
    fn next(&mut self, n: usize) -> Vec<Draw> {
        let numbers = self.n_drawn..self.n_drawn + n as u64;
        self.n_drawn = numbers.end;
        numbers.map(|number| Draw { number, row: self.row(number) }).collect()
    }

    fn observe(&mut self, _outcomes: &[Outcome]) {}

    fn state(&self) -> Value {
        json!({ "n_drawn": self.n_drawn })
    }

    fn restore(&mut self, state: &Value) -> Result<(), ForeignState> {
        let foreign = || ForeignState {
            found: state.to_string(),
            expected: "{\"n_drawn\": a whole number that a run can reach}",
        };
        let n_drawn = state.get("n_drawn").and_then(Value::as_u64);
        self.n_drawn = n_drawn.filter(|n| *n <= DRAWS).ok_or_else(foreign)?;
        Ok(())
    }
}

/// Draws rows as listed, again and again, and keeps the outcomes that it receives.
#[cfg(test)]
pub(super) struct Listed {
    rows: Vec<usize>,
    n_drawn: usize,
    observed: Arc<Mutex<Vec<Outcome>>>,
}

#[cfg(test)]
impl Listed {
    pub(super) fn new(rows: Vec<usize>, observed: Arc<Mutex<Vec<Outcome>>>) -> Self {
        Self { rows, n_drawn: 0, observed }
    }
}

#[cfg(test)]
impl PromptSampler for Listed {
    fn next(&mut self, n: usize) -> Vec<Draw> {
        let numbers = self.n_drawn..self.n_drawn + n;
        self.n_drawn = numbers.end;
        numbers.map(|i| Draw { number: i as u64, row: self.rows[i % self.rows.len()] }).collect()
    }

    fn observe(&mut self, outcomes: &[Outcome]) {
        self.observed.lock().unwrap().extend_from_slice(outcomes);
    }

    fn state(&self) -> Value {
        json!(self.n_drawn)
    }

    fn restore(&mut self, _state: &Value) -> Result<(), ForeignState> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(draws: Vec<Draw>) -> Vec<usize> {
        draws.into_iter().map(|draw| draw.row).collect()
    }

    #[test]
    fn every_epoch_holds_every_row_once_in_its_own_order() {
        let mut sampler = Epochs::new(3, 10, true);
        let epochs = [sampler.next(10), sampler.next(10)].map(rows);
        assert_ne!(epochs[0], epochs[1]);
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(rows(Epochs::new(4, 10, true).next(10)), epochs[0], "the seed decides");
    }

    #[test]
    fn draws_are_numbered_over_all_epochs_and_a_restored_sampler_goes_on() {
        let mut whole = Epochs::new(3, 4, true);
        let all = whole.next(11);
        assert_eq!(
            all.iter().map(|draw| draw.number).collect::<Vec<_>>(),
            (0..11).collect::<Vec<_>>()
        );
        let mut first = Epochs::new(3, 4, true);
        first.next(6);
        let mut second = Epochs::new(3, 4, true);
        second.restore(&first.state()).unwrap();
        assert_eq!(second.next(5), all[6..]);
        assert!(second.restore(&json!({ "weights": [] })).is_err());
    }

    #[test]
    fn a_state_beyond_what_a_run_can_reach_is_foreign() {
        let mut sampler = Epochs::new(3, 4, true);
        assert!(sampler.restore(&json!({ "n_drawn": u64::MAX })).is_err());
        sampler.restore(&json!({ "n_drawn": DRAWS })).unwrap();
        assert_eq!(sampler.next(2)[1].number, DRAWS + 1);
    }

    #[test]
    fn without_shuffling_rows_come_as_they_stand() {
        assert_eq!(rows(Epochs::new(3, 4, false).next(6)), [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn a_row_that_is_drawn_again_has_other_random_numbers() {
        let draws = Epochs::new(3, 1, false).next(2);
        let number = |draw: Draw, update, completion| {
            draw.stream(7, Purpose::Rollout, update, completion).uniform(0).to_bits()
        };
        assert_eq!(draws[0].row, draws[1].row);
        assert_ne!(number(draws[0], 1, 0), number(draws[1], 1, 0));
        assert_ne!(number(draws[0], 1, 0), number(draws[0], 2, 0));
        assert_ne!(number(draws[0], 1, 0), number(draws[0], 1, 1));
        let named = Stream::new(7, Purpose::Rollout, 2, 1, 3).uniform(0);
        assert_eq!(number(draws[1], 2, 3), named.to_bits());
    }
}
