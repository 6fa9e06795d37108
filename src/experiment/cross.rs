//! Every method on every task: trained on one, tested on another (the paper's Figure 7) or on its own (Table 1).
//! Not here: how the tables look (`cli`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use super::ExperimentError;
use super::runs::{Measurement, Outcome, RunStore};
use super::seeds::{OverSeeds, relative_gain};
use crate::config::{ConfigError, ConfigFile, Method, RunConfig};
use crate::data::configured::training_rows;
use crate::data::tasks::resolved;
use crate::data::tasks::task;
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::model::source;

/// A method that takes part in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// The model before any post-training.
    Base,
    /// Post-trained by a method.
    Trained(Method),
}

impl Contender {
    /// All of them, in the paper's order.
    pub const ALL: [Self; 4] = [
        Self::Base,
        Self::Trained(Method::Sft),
        Self::Trained(Method::Grpo),
        Self::Trained(Method::GrpoD),
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Trained(method) => method.name(),
        }
    }

    /// The method whose run file names model and data.
    const fn method(self) -> Method {
        match self {
            Self::Base => Method::GrpoD,
            Self::Trained(method) => method,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Contender {
    type Err = ExperimentError;

    fn from_str(name: &str) -> Result<Self, ExperimentError> {
        let known = Self::ALL.into_iter().find(|contender| contender.name() == name);
        known.ok_or_else(|| ExperimentError::UnknownMethod {
            found: name.to_owned(),
            expected: "base, sft, grpo or grpo-d",
        })
    }
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct CrossSettings {
    /// Tasks to train on, by name.
    pub train: Vec<String>,
    /// Tasks to test on, by name.
    pub test: Vec<String>,
    /// The methods that are compared.
    pub contenders: Vec<Contender>,
    /// Seeds of every run.
    pub seeds: Vec<u64>,
    /// `section.key=value`, overrides of every run file.
    pub overrides: Vec<String>,
    /// Data given for tasks, by the task's name.
    pub data: BTreeMap<String, PathBuf>,
    /// The split to test on.
    pub split: String,
    /// At most that many questions of each test.
    pub limit: Option<usize>,
}

/// One method, trained on one task and tested on another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The task that was trained on; for the base model, the task whose run file names it.
    pub train: String,
    /// The task that was tested on.
    pub test: String,
    /// The method.
    pub method: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub found: OverSeeds,
    /// Relative gain over the base model; `None` if that got nothing right or is not compared.
    pub gain_over_base: Option<f64>,
    /// Relative gain over supervised fine-tuning.
    pub gain_over_sft: Option<f64>,
}

/// Trains and tests what has not been trained and tested yet. Every run file and all data are checked before the first
/// run.
///
/// # Errors
/// A run file is wrong, or a run or an evaluation fails; what was finished before is kept.
pub fn cross_evaluate(
    settings: &CrossSettings,
    store: &RunStore,
) -> Result<Outcome<Vec<Cell>>, ExperimentError> {
    let opened = settings.train.iter().map(|train| settings.open(train));
    let opened: Vec<Vec<EvaluationQuestions>> = opened.collect::<Result<_, _>>()?;
    store.warn_of(&settings.unread()?);
    let mut cells = Vec::new();
    for (train, tests) in settings.train.iter().zip(&opened) {
        // [contender][test]
        let mut found: Vec<Vec<OverSeeds>> = Vec::new();
        for &contender in &settings.contenders {
            let Outcome::Done(measured) = contend(settings, store, (train, contender), tests)?
            else {
                return Ok(Outcome::Interrupted);
            };
            let seeds = match contender {
                Contender::Base => Vec::new(),
                Contender::Trained(_) => settings.seeds.clone(),
            };
            found.push(
                measured.iter().map(|tested| OverSeeds::new(seeds.clone(), tested)).collect(),
            );
        }
        cells.extend(compare(settings, train, &found)?);
    }
    Ok(Outcome::Done(cells))
}

/// One contender trained on one task, with every seed, on every test: `[test][seed]`.
fn contend(
    settings: &CrossSettings,
    store: &RunStore,
    (train, contender): (&str, Contender),
    tests: &[EvaluationQuestions],
) -> Result<Outcome<Vec<Vec<Measurement>>>, ExperimentError> {
    let n_runs = if contender == Contender::Base { 1 } else { settings.seeds.len() };
    let (method, seeds) = (contender.method(), settings.seeds.iter().take(n_runs));
    let mut measured = vec![Vec::new(); tests.len()];
    for &seed in seeds {
        let config = settings.config(train, method, seed)?;
        let files = if contender == Contender::Base {
            source::resolve(&config.model.path)?
        } else {
            match store.train(&config)? {
                Outcome::Done(run) => source::in_folder(&run.checkpoint)?,
                Outcome::Interrupted => return Ok(Outcome::Interrupted),
            }
        };
        for (asked, tested) in tests.iter().zip(&mut measured) {
            match store.measure(&files, &config, asked)? {
                Outcome::Done(measurement) => tested.push(measurement),
                Outcome::Interrupted => return Ok(Outcome::Interrupted),
            }
        }
    }
    Ok(Outcome::Done(measured))
}

fn compare(
    settings: &CrossSettings,
    train: &str,
    found: &[Vec<OverSeeds>],
) -> Result<Vec<Cell>, ExperimentError> {
    let mut cells = Vec::new();
    for (idx, test) in settings.test.iter().enumerate() {
        let of = |wanted: Contender| {
            let place = settings.contenders.iter().position(|contender| *contender == wanted)?;
            Some(found[place][idx].accuracy)
        };
        let (base, sft) = (of(Contender::Base), of(Contender::Trained(Method::Sft)));
        for (contender, found) in settings.contenders.iter().zip(found) {
            let found = found[idx].clone();
            let gain = |over: Option<f64>| relative_gain(found.accuracy, over?);
            cells.push(Cell {
                train: task(train)?.name.to_owned(),
                test: task(test)?.name.to_owned(),
                method: contender.name(),
                gain_over_base: gain(base),
                gain_over_sft: gain(sft),
                found,
            });
        }
    }
    Ok(cells)
}

impl CrossSettings {
    /// The run file of a method on a task, with overrides and seed applied to it.
    fn config(&self, train: &str, method: Method, seed: u64) -> Result<RunConfig, ExperimentError> {
        let file = ConfigFile::find(task(train)?.run_files.of(method), Path::new(""))?;
        let mut overrides = self.overrides.clone();
        if let Some(data) = self.data_of(train)? {
            overrides.push(format!("data.train={}", toml::Value::String(data)));
        }
        overrides.push(format!("train.seed={seed}"));
        Ok(RunConfig::from_file(&file, &overrides)?)
    }

    /// Overrides that no run of the comparison reads.
    fn unread(&self) -> Result<Vec<ConfigError>, ExperimentError> {
        let contenders = || self.contenders.iter();
        let runs = self.train.iter().flat_map(|train| {
            contenders().map(|contender| self.config(train, contender.method(), 0))
        });
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        Ok(RunConfig::unread_by_all(&runs, &self.overrides)?)
    }

    /// Checks the run files and the rows of a training task; returns the questions of every test.
    fn open(&self, train: &str) -> Result<Vec<EvaluationQuestions>, ExperimentError> {
        for contender in &self.contenders {
            self.config(train, contender.method(), 0)?;
        }
        // Methods and seeds share rows and questions.
        let config = self.config(train, Contender::Base.method(), 0)?;
        if self.contenders.iter().any(|contender| *contender != Contender::Base) {
            training_rows(&resolved(&config)?)?;
        }
        self.test.iter().map(|test| self.questions(test, &config)).collect()
    }

    /// The questions of a test; drawn ones with the run's settings for drawing.
    fn questions(
        &self,
        test: &str,
        config: &RunConfig,
    ) -> Result<EvaluationQuestions, ExperimentError> {
        let mut asking = RunConfig { data: config.data.clone(), ..RunConfig::default() };
        asking.data.task = Some(test.to_owned());
        asking.data.train = None;
        asking.eval.task = Some(test.to_owned());
        asking.eval.data = self.data_of(test)?;
        asking.eval.split.clone_from(&self.split);
        asking.eval.limit = self.limit;
        asking.eval.max_batch = config.eval.max_batch;
        Ok(evaluation_questions(&resolved(&asking)?)?)
    }

    fn data_of(&self, name: &str) -> Result<Option<String>, ExperimentError> {
        let wanted = task(name)?.name;
        for (name, path) in &self.data {
            if task(name)?.name == wanted {
                return Ok(Some(path.display().to_string()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::tasks::{TASKS, Task};
    use crate::eval::summary::test_summary;

    /// The paper's Table 1, visual counting: 42.5, 68.5, 64.5 and 76.5% of R1-V's 200 questions.
    #[test]
    fn gains_are_the_papers_over_base_and_over_sft() {
        let settings = CrossSettings {
            train: vec!["vc".to_owned()],
            test: vec!["vc".to_owned()],
            contenders: Contender::ALL.to_vec(),
            seeds: vec![1],
            overrides: Vec::new(),
            data: BTreeMap::new(),
            split: "test".to_owned(),
            limit: None,
        };
        let found = [85, 137, 129, 153].map(|correct| {
            let measured =
                Measurement { summary: test_summary(correct, 200), answers: PathBuf::new() };
            vec![OverSeeds::new(vec![1], &[measured])]
        });
        let cells = compare(&settings, "vc", &found).unwrap();
        let percent =
            |gain: Option<f64>| gain.map_or(String::new(), |gain| format!("{:.2}", 100.0 * gain));
        let gains = cells
            .iter()
            .map(|cell| [percent(cell.gain_over_base), percent(cell.gain_over_sft)].join(" "));
        let expected = ["0.00 -37.96", "61.18 0.00", "51.76 -5.84", "80.00 11.68"];
        assert_eq!(gains.collect::<Vec<_>>(), expected);
        assert_eq!(cells[3].method, "grpo-d");
    }

    #[test]
    fn every_task_and_method_has_a_run_file_of_its_own_with_the_tasks_data() {
        let mut run_files = BTreeSet::new();
        for Task { name, run_files: own, .. } in TASKS {
            let load = |method| RunConfig::load(own.of(method), &[]).unwrap();
            let base = load(Contender::Base.method());
            for method in [Method::Sft, Method::Grpo, Method::GrpoD] {
                let config = load(method);
                assert_eq!((config.method, config.data.task.as_deref()), (method, Some(*name)));
                assert!(run_files.insert(own.of(method)), "{name}, {method:?}: another's run file");
                // `open` looks at the rows and the questions of one of them for all.
                assert_eq!(config.data, base.data, "{name}, {method:?}");
                assert_eq!(config.eval.max_batch, base.eval.max_batch, "{name}, {method:?}");
            }
        }
    }

    #[test]
    fn contenders_are_found_by_name() {
        for contender in Contender::ALL {
            assert_eq!(contender.name().parse::<Contender>().unwrap(), contender);
        }
        assert!("ppo".parse::<Contender>().unwrap_err().to_string().contains("`ppo`"));
    }
}
