//! What a device can do with a model's shape, in a few minutes and without its weights: the device's ceilings, and the
//! parts of an update beside them.
//!
//! In reading order: [`ceilings`], how fast the device copies and multiplies; [`scoring`], a model of the shape with
//! random weights scores a packed stream, learns from it and steps; [`decoding`], it samples completions. Every stage runs
//! whatever became of the one before.
//! Not here: how it is printed (`cli::gpu_check`), comparisons with other trainers (`scripts/gpu_check.sh`).

pub mod ceilings;
pub mod decoding;
pub mod random_model;
pub mod scoring;

use std::time::Instant;

use candle_core::{Device, Result};
use serde::Serialize;

/// What was measured in one stage.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// What ran.
    pub name: &'static str,
    /// How long it took, with its preparation, s.
    pub seconds: f64,
    /// What was measured, by name with its unit.
    pub figures: Vec<(&'static str, f64)>,
    /// Why it did not run to its end.
    pub error: Option<String>,
}

impl Stage {
    /// Runs a stage and notes how long it took.
    pub fn of(name: &'static str, run: impl FnOnce() -> Result<Vec<(&'static str, f64)>>) -> Self {
        let started = Instant::now();
        let (figures, error) = match run() {
            Ok(figures) => (figures, None),
            Err(error) => (Vec::new(), error.to_string().lines().next().map(str::to_owned)),
        };
        Self { name, seconds: started.elapsed().as_secs_f64(), figures, error }
    }
}

/// Seconds that `run` takes on the device, the median of `n` runs after one that is not counted.
///
/// # Errors
/// `run`'s own.
pub(crate) fn median_seconds(
    device: &Device,
    n: usize,
    mut run: impl FnMut() -> Result<()>,
) -> Result<f64> {
    run()?;
    device.synchronize()?;
    let mut seconds = Vec::with_capacity(n);
    for _ in 0..n.max(1) {
        let started = Instant::now();
        run()?;
        device.synchronize()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
