//! A folder of runs and answers in which the same thing is computed once.
//! Not here: training (`train`), asking (`measure`).
//!
//! ```text
//! RUNS/vc-grpo-d-seed1-0123456789abcdef/     a run's folder, as `othink train` makes it
//! RUNS/answers/vc-test-200-fedcba....jsonl   the answers of one model to one set of questions
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ExperimentError;
use super::measure::{Measured, MeasuredModel, measure};
use crate::config::{ConfigError, RunConfig};
use crate::data::tasks::resolved;
use crate::eval::answers_file::read_answers;
use crate::eval::questions::EvaluationQuestions;
use crate::eval::{Summary, summarize};
use crate::identity::evaluation::of_evaluation;
use crate::identity::fingerprint::of_text;
use crate::identity::run::{of_run, runs_on};
use crate::interrupt::Interrupt;
use crate::model::device;
use crate::model::files::ModelFiles;
use crate::progress::{ProgressDisplay, ProgressMode};
use crate::run_folder::checkpoint::{self, Damage};
use crate::run_folder::folder::has_run;
use crate::run_folder::origin::Origin;
use crate::run_folder::{RunFolder, RunFolderError};
use crate::train::run::{Ended, ResumeOptions, TrainOptions, train};

/// A folder of runs and answers.
#[derive(Debug)]
pub struct RunStore {
    folder: PathBuf,
    interrupt: Interrupt,
    mode: ProgressMode,
}

/// The outcome of work that Ctrl-C or a signal may interrupt: the same command continues it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// Done, now or earlier.
    Done(T),
    /// Interrupted and saved.
    Interrupted,
}

/// A run whose updates are all done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRun {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its last checkpoint.
    pub checkpoint: PathBuf,
}

/// What a model answered to a set of questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The summary of its answers.
    pub summary: Summary,
    /// The file of its answers.
    pub answers: PathBuf,
}

impl RunStore {
    /// A folder of runs, which need not exist yet.
    pub fn new(folder: PathBuf, interrupt: Interrupt, mode: ProgressMode) -> Self {
        Self { folder, interrupt, mode }
    }

    /// The folder of a run: task, method, seed, and a fingerprint of everything that decides the run's numbers.
    ///
    /// # Errors
    /// There is no such task or device, or the base model or the rows cannot be read.
    pub fn folder_of(&self, config: &RunConfig) -> Result<PathBuf, ExperimentError> {
        let config = resolved(config)?;
        let data = config.data.task.as_deref().unwrap_or("file");
        let (method, seed) = (config.method.name(), config.train.seed);
        let fingerprint = of_object(&of_run(&config)?);
        Ok(self.folder.join(format!("{data}-{method}-seed{seed}-{fingerprint}")))
    }

    /// Trains a run that has not been trained, continues one that was interrupted, finds one that is finished and whole.
    ///
    /// # Errors
    /// The run's own.
    pub fn train(&self, config: &RunConfig) -> Result<Outcome<FinishedRun>, ExperimentError> {
        let display = self.display();
        display.between("reading the training rows and the base model", "");
        let folder = self.folder_of(config)?;
        if has_run(&folder)? {
            Origin::of(&folder)?.require_unchanged(&folder)?;
        }
        match checkpoint::finished(&folder)? {
            Some(Ok(checkpoint)) => {
                self.note(&format!("{}: trained already", folder.display()));
                return Ok(Outcome::Done(FinishedRun { folder, checkpoint }));
            }
            Some(Err(damage)) => self.ready_to_resume(config, &folder, &damage)?,
            None => {}
        }
        drop(display);
        let resume = has_run(&folder)?;
        self.note(&format!(
            "{}: {}",
            folder.display(),
            if resume { "going on" } else { "training" }
        ));
        let resume = resume.then(ResumeOptions::default);
        let options = TrainOptions { resume, out: folder.clone(), is_forced: false };
        match train(config, &options, &self.interrupt, &mut ProgressDisplay::new(self.mode))? {
            Ended::Finished(checkpoint) => Ok(Outcome::Done(FinishedRun { folder, checkpoint })),
            Ended::Interrupted(_) => Ok(Outcome::Interrupted),
        }
    }

    /// Makes a finished run with a damaged last checkpoint start over if it has no other checkpoint to resume from.
    fn ready_to_resume(
        &self,
        config: &RunConfig,
        path: &Path,
        damage: &Damage,
    ) -> Result<(), ExperimentError> {
        let config = resolved(config)?;
        let runs_on = runs_on(&config)?;
        let written = config.with_absolute_paths().resolved_toml()?;
        let folder = RunFolder::reopen(path, &written, runs_on)?.folder;
        match checkpoint::latest(&folder) {
            Err(RunFolderError::NoWholeCheckpoint { .. } | RunFolderError::ModelOnly { .. }) => {
                let warning =
                    format!("{damage}; no checkpoint is left to resume from, so it starts over");
                self.display().warn(&warning);
                Ok(checkpoint::remove_all(&folder)?)
            }
            // Training resumes from the checkpoint, or reports this error, when it opens the folder.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Measures a model on questions, or reads what it answered before.
    ///
    /// - `config`: says on which device and in which number format
    ///
    /// # Errors
    /// The model, the data or the file of answers cannot be used.
    pub fn measure(
        &self,
        files: &ModelFiles,
        config: &RunConfig,
        asked: &EvaluationQuestions,
    ) -> Result<Outcome<Measurement>, ExperimentError> {
        let device = device::device(&config.model.device.to_string())?;
        let dtype = device::dtype(&config.model.dtype.to_string(), &device)?;
        let model = MeasuredModel { files, dtype, device: &device };
        let display = self.display();
        display.between("reading the questions and the model", "");
        let identity = of_evaluation(files, (dtype, &device), asked)?;
        let path = self.answers_path(&identity, asked)?;
        if path.is_file() {
            let summary = summarize(&asked.label, asked.settings.rule, &read_answers(&path)?);
            return Ok(Outcome::Done(Measurement { summary, answers: path }));
        }
        match measure(model, asked, Some((&path, &identity)), &self.interrupt, &display)? {
            Measured::Whole { summary, .. } => {
                Ok(Outcome::Done(Measurement { summary: *summary, answers: path }))
            }
            Measured::Interrupted => Ok(Outcome::Interrupted),
        }
    }

    fn answers_path(
        &self,
        identity: &Map<String, Value>,
        asked: &EvaluationQuestions,
    ) -> Result<PathBuf, ExperimentError> {
        let folder = self.folder.join("answers");
        let failed =
            |source| ExperimentError::Io { action: "create", path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let n = asked.settings.n_questions(&asked.questions.dataset);
        let fingerprint = of_object(identity);
        let task = asked.label.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Ok(folder.join(format!("{task}-{}-{n}-{fingerprint}.jsonl", asked.split.name())))
    }

    /// Warns of keys that have no effect.
    pub(super) fn warn_of(&self, unread: &[ConfigError]) {
        let display = self.display();
        for keys in unread {
            display.warn(&keys.to_string());
        }
    }

    fn note(&self, text: &str) {
        self.display().note(text);
    }

    /// A display of what is no run.
    fn display(&self) -> ProgressDisplay {
        ProgressDisplay::new(self.mode)
    }
}

fn of_object(identity: &Map<String, Value>) -> String {
    of_text(&Value::Object(identity.clone()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(changes: &[&str]) -> PathBuf {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let config = RunConfig::load("quickstart.toml", &changes).unwrap();
        let store = RunStore::new(PathBuf::new(), Interrupt::default(), ProgressMode::Quiet);
        store.folder_of(&config).unwrap()
    }

    #[test]
    fn runs_share_a_folder_where_they_compute_the_same_to_the_bit() {
        for (dtype, sharing) in [("model.dtype=f32", true), ("model.dtype=bf16", false)] {
            let fewer_at_a_time = folder(&[dtype, "rollout.max_batch=3"]);
            assert_eq!(fewer_at_a_time == folder(&[dtype]), sharing, "{dtype}");
            let micro_batches = folder(&[dtype, "train.tokens_per_micro_batch=999"]);
            assert_ne!(micro_batches, folder(&[dtype]));
            assert_eq!(folder(&[dtype, "data.workers=3"]), folder(&[dtype]));
        }
    }
}
