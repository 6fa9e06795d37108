//! Rows are looked at before a run begins, so that it does not stop at one hours later: their pictures' headers, and how far
//! such a look has come.
//! Not here: reading headers (`data::survey`), every row as a prompt (`data_check`).

use std::time::{Duration, Instant};

use super::error::TrainError;
use super::setup::Setup;
use crate::config::{OnBadRow, RunConfig};
use crate::data::Dataset;
use crate::data::survey::read_headers;
use crate::progress::ProgressDisplay;

/// How long a run's start may take for it: some ten thousand files from a disk.
const AT_MOST: Duration = Duration::from_secs(30);

/// The interval at which a line says how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// Looks at the pictures of the rows that a run trains on; not where it leaves out bad rows, which it meets one by one.
///
/// # Errors
/// The first row with a picture that cannot be used.
pub(super) fn look_at_training_rows(
    config: &RunConfig,
    setup: &Setup,
    display: &ProgressDisplay,
) -> Result<(), TrainError> {
    match config.data.on_bad_row {
        OnBadRow::Fail => {
            look_at_pictures(&setup.questions.all().dataset, setup.questions.n_rows(), display)
        }
        OnBadRow::Skip => Ok(()),
    }
}

/// Reads the headers of the pictures of the first `n` rows, as many as time allows.
///
/// # Errors
/// The first row with a picture that cannot be used.
pub(super) fn look_at_pictures(
    dataset: &Dataset,
    n: usize,
    display: &ProgressDisplay,
) -> Result<(), TrainError> {
    look_within(AT_MOST, dataset, n, display)
}

fn look_within(
    most: Duration,
    dataset: &Dataset,
    n: usize,
    display: &ProgressDisplay,
) -> Result<(), TrainError> {
    let name = dataset.name();
    let mut so_far = SoFar::new(display, format!("{name}: looking at pictures"), n);
    let looked = read_headers(dataset, n, most, &mut |looked| so_far.show(looked))?;
    if looked < n {
        display.warn(&format!(
            "{name}: after {} s the pictures of {looked} of {n} rows have been looked at; --check-data looks at all",
            most.as_secs()
        ));
    }
    Ok(())
}

/// How far a look at rows has come; a look that takes long says so.
pub(super) struct SoFar<'a> {
    display: &'a ProgressDisplay,
    what: String,
    n: usize,
    said: Instant,
}

impl<'a> SoFar<'a> {
    /// - `n`: rows that will be looked at
    pub(super) fn new(display: &'a ProgressDisplay, what: String, n: usize) -> Self {
        Self { display, what, n, said: Instant::now() }
    }

    pub(super) fn show(&mut self, looked: usize) {
        let (what, n) = (&self.what, self.n);
        self.display.between(what, format!("{looked} of {n} rows"));
        if self.said.elapsed() >= SAID_EVERY {
            self.said = Instant::now();
            self.display.note(&format!("{what}, {looked} of {n} rows so far"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, open};
    use crate::progress::tests::Written;

    #[test]
    fn what_the_time_was_not_enough_for_is_told() {
        let folder = tempfile::tempdir().unwrap();
        image::RgbImage::new(28, 28).save(folder.path().join("a.png")).unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, "{\"problem\":\"?\",\"solution\":1,\"image\":\"a.png\"}").unwrap();
        let dataset = open(&path, None, &OpenOptions::default()).unwrap();
        let told = |most| {
            let written = Written::default();
            let display = ProgressDisplay::lines(written.clone(), Duration::from_hours(1));
            look_within(most, &dataset, 1, &display).unwrap();
            written.text()
        };
        let expected =
            "warning: rows.jsonl: after 0 s the pictures of 0 of 1 rows have been looked at";
        assert!(told(Duration::ZERO).starts_with(expected), "{}", told(Duration::ZERO));
        assert_eq!(told(AT_MOST), "");
    }

    #[test]
    fn a_look_that_takes_long_says_how_far_it_is() {
        let written = Written::default();
        let display = ProgressDisplay::lines(written.clone(), Duration::from_hours(1));
        let mut so_far = SoFar::new(&display, "a.jsonl: looking at pictures".to_owned(), 9);
        so_far.show(1);
        so_far.said -= SAID_EVERY;
        so_far.show(2);
        so_far.show(3);
        let told = written.text();
        assert_eq!(told, "a.jsonl: looking at pictures, 2 of 9 rows so far\n");
    }
}
