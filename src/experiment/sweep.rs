//! One key of a run file at several values: the paper's Figure 4 (the format's weight) and Figure 6 (the KL weight).
//! Not here: how the table and the plot look (`cli`, `report`).

use serde::Serialize;

use super::ExperimentError;
use super::runs::{Outcome, RunStore};
use super::seeds::OverSeeds;
use crate::config::{ConfigFile, RunConfig};
use crate::data::tasks::resolved;
use crate::eval::questions::evaluation_questions;
use crate::model::source;

/// What is varied.
#[derive(Debug, Clone)]
pub struct SweepSettings {
    /// The run file.
    pub file: ConfigFile,
    /// `section.key=value`, overrides of the run file in every run.
    pub overrides: Vec<String>,
    /// The key that is varied.
    pub key: String,
    /// Its values, as they are written in a run file.
    pub values: Vec<String>,
    /// Seeds of every run.
    pub seeds: Vec<u64>,
}

/// The result for one value of the key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepPoint {
    /// The value.
    pub value: String,
    /// The accuracy on the run file's own evaluation.
    #[serde(flatten)]
    pub found: OverSeeds,
}

impl SweepSettings {
    /// The run of a value and a seed.
    ///
    /// # Errors
    /// The key is unknown, or the value has the wrong type or is out of its range.
    pub fn config(&self, value: &str, seed: u64) -> Result<RunConfig, ExperimentError> {
        let mut overrides = self.overrides.clone();
        overrides.push(format!("{}={value}", self.key));
        overrides.push(format!("train.seed={seed}"));
        Ok(RunConfig::from_file(&self.file, &overrides)?)
    }
}

/// Trains and measures what has not been trained and measured yet. Every run file is checked before the first run.
///
/// # Errors
/// The key has no effect, a run file is wrong, or a run or an evaluation fails; what was finished before is kept.
pub fn sweep(
    settings: &SweepSettings,
    store: &RunStore,
) -> Result<Outcome<Vec<SweepPoint>>, ExperimentError> {
    let mut runs = Vec::new();
    for value in &settings.values {
        let config = settings.config(value, 0)?;
        config.require_read(&settings.key)?;
        evaluation_questions(&resolved(&config)?)?;
        runs.push(config);
    }
    store.warn_of(&RunConfig::unread_by_all(&runs, &settings.overrides)?);
    let mut points = Vec::new();
    for value in &settings.values {
        let mut measured = Vec::new();
        for &seed in &settings.seeds {
            let config = settings.config(value, seed)?;
            let Outcome::Done(run) = store.train(&config)? else { return Ok(Outcome::Interrupted) };
            let asked = evaluation_questions(&resolved(&config)?)?;
            let files = source::in_folder(&run.checkpoint)?;
            match store.measure(&files, &config, &asked)? {
                Outcome::Done(measurement) => measured.push(measurement),
                Outcome::Interrupted => return Ok(Outcome::Interrupted),
            }
        }
        let found = OverSeeds::new(settings.seeds.clone(), &measured);
        points.push(SweepPoint { value: value.clone(), found });
    }
    Ok(Outcome::Done(points))
}
