//! Pictures are looked at before a run begins, so that it does not stop at one hours later.
//! Not here: reading headers (`data::survey`), every row as a prompt (`data_check`).

use std::time::{Duration, Instant};

use super::error::TrainError;
use crate::data::Dataset;
use crate::data::survey::read_headers;
use crate::progress::ProgressDisplay;

/// How long a run's start may take for it: some ten thousand files from a disk.
const AT_MOST: Duration = Duration::from_secs(30);

/// After that long, a line says what takes so long.
const UNTOLD: Duration = Duration::from_secs(3);

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
    let (start, name, seconds) = (Instant::now(), dataset.name(), most.as_secs());
    let mut is_told = false;
    let mut show = |looked: usize| {
        display.between("looking at pictures", format!("{looked} of {n} rows"));
        if !is_told && start.elapsed() > UNTOLD {
            is_told = true;
            display.note(&format!(
                "{name}: looking at the pictures of {n} rows, {looked} so far, for at most {seconds} s"
            ));
        }
    };
    let looked = read_headers(dataset, n, most, &mut show)?;
    if looked < n {
        display.warn(&format!(
            "{name}: after {seconds} s the pictures of {looked} of {n} rows have been looked at; --check-data looks at all"
        ));
    }
    Ok(())
}
