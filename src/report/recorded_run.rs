//! A run as its folder shows it, finished or not: configuration and records.
//! Not here: writing any of them (`run_folder`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::ReportError;
use crate::config::{ConfigError, ConfigFile, RunConfig};
use crate::run_folder::follow::Follower;
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::{CompletionRecord, EvaluationRecord};

/// The setting in which runs may differ and still be repetitions of each other.
const SEED: &str = "train.seed";

/// A run's folder, read.
#[derive(Debug)]
pub struct RecordedRun {
    /// What the report calls it: the folder's name, with as many of the folders around it as tell
    /// the runs apart.
    pub label: String,
    /// The folder as it was named.
    pub path: PathBuf,
    /// The configuration.
    pub config: RunConfig,
    /// The configuration without its seed, by dotted name, values spelt as in TOML.
    pub settings: BTreeMap<String, String>,
    /// A record per update.
    pub metrics: Vec<UpdateMetrics>,
    /// A record per evaluation.
    pub evaluations: Vec<EvaluationRecord>,
    /// A record per completion, without its tokens.
    pub completions: Vec<CompletionRecord>,
    followers: Followers,
}

/// How far each file of records is read.
#[derive(Debug)]
struct Followers {
    metrics: Follower,
    evaluations: Follower,
    completions: Follower,
}

impl Followers {
    fn new(run: &Path) -> Self {
        let of = |name| Follower::new(&run.join(name));
        Self {
            metrics: of("metrics.jsonl"),
            evaluations: of("evaluations.jsonl"),
            completions: of("completions.jsonl"),
        }
    }
}

/// Reads the folders of runs.
///
/// # Errors
/// A folder is not a run's or is named twice, or a file in it cannot be read. An unfinished last line is no error: the
/// run was killed, or is going on.
pub fn read_runs(paths: &[PathBuf]) -> Result<Vec<RecordedRun>, ReportError> {
    let mut whole_paths: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        let not_a_run = |_| ReportError::NotARun { path: path.clone(), file: "config.toml" };
        let whole_path = path.canonicalize().map_err(not_a_run)?;
        if whole_paths.contains(&whole_path) {
            return Err(ReportError::NamedTwice { path: path.clone() });
        }
        whole_paths.push(whole_path);
    }
    let labelled = paths.iter().zip(labels(&whole_paths));
    labelled.map(|(path, label)| RecordedRun::read(path, label)).collect()
}

impl RecordedRun {
    fn read(path: &Path, label: String) -> Result<Self, ReportError> {
        for file in ["config.toml", "metrics.jsonl"] {
            if !path.join(file).is_file() {
                return Err(ReportError::NotARun { path: path.to_owned(), file });
            }
        }
        let file = ConfigFile::of_run(&path.join("config.toml"))?;
        let config = RunConfig::from_file(&file, &[])?;
        let mut run = Self {
            label,
            path: path.to_owned(),
            settings: settings(&config)?,
            config,
            metrics: Vec::new(),
            evaluations: Vec::new(),
            completions: Vec::new(),
            followers: Followers::new(path),
        };
        run.read_on()?;
        Ok(run)
    }

    /// Reads what the run has recorded since; returns whether that is anything.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_on(&mut self) -> Result<bool, ReportError> {
        let Followers { metrics, evaluations, completions } = &mut self.followers;
        let drop_tokens = |record: &mut CompletionRecord| record.token_ids = None;
        // In the order in which a run writes them.
        let completions = completions.read(&mut self.completions, drop_tokens)?;
        let metrics = metrics.read(&mut self.metrics, |_| ())?;
        let evaluations = evaluations.read(&mut self.evaluations, |_| ())?;
        Ok(completions || metrics || evaluations)
    }

    /// Updates recorded so far.
    pub fn n_updates(&self) -> u64 {
        self.metrics.last().map_or(0, |line| line.update)
    }

    /// The method's name in a run file.
    pub fn method(&self) -> &str {
        self.settings.get("method").map_or("", |method| method.trim_matches('"'))
    }

    /// What the run was trained on: a task's name, or a file's.
    pub fn task(&self) -> &str {
        let data = &self.config.data;
        data.task.as_deref().or(data.train.as_deref()).unwrap_or_default()
    }
}

/// The configuration without its seed, as dotted names and values.
pub(super) fn settings(config: &RunConfig) -> Result<BTreeMap<String, String>, ReportError> {
    let mut settings = BTreeMap::new();
    let table = Table::try_from(config).map_err(ConfigError::from)?;
    flatten("", &table, &mut settings);
    settings.remove(SEED);
    Ok(settings)
}

fn flatten(prefix: &str, table: &Table, settings: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) => flatten(&format!("{key}."), table, settings),
            value => drop(settings.insert(key, value.to_string())),
        }
    }
}

/// The last folders of each path, as few as make all of them different. The paths differ.
fn labels(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf, n: usize| {
        let folders: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
        folders[folders.len().saturating_sub(n)..].join("/")
    };
    let label = |path| {
        let is_shared =
            |n| paths.iter().filter(|other| last(other, n) == last(path, n)).count() > 1;
        let longest = Path::iter(path).count();
        let n = (1..longest).find(|&n| !is_shared(n)).unwrap_or(longest);
        last(path, n)
    };
    paths.iter().map(label).collect()
}

/// A run that recorded nothing but losses.
#[cfg(test)]
pub(super) fn test_run(label: &str, seed: u64, losses: &[f64]) -> RecordedRun {
    let mut config = RunConfig::default();
    config.train.seed = seed;
    let line = |(idx, &loss)| UpdateMetrics { update: idx as u64 + 1, loss, ..Default::default() };
    RecordedRun {
        label: label.to_owned(),
        path: label.into(),
        settings: settings(&config).unwrap(),
        config,
        metrics: losses.iter().enumerate().map(line).collect(),
        evaluations: Vec::new(),
        completions: Vec::new(),
        followers: Followers::new(Path::new("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_short_as_tells_them_apart() {
        let paths = ["/a/1/quick", "/a/2/quick", "/a/other"].map(PathBuf::from);
        assert_eq!(labels(&paths), ["1/quick", "2/quick", "other"]);
        assert_eq!(labels(&[PathBuf::from("/runs/one")]), ["one"]);
    }

    #[test]
    fn settings_are_dotted_and_know_no_seed() {
        let mut config = RunConfig::default();
        let before = settings(&config).unwrap();
        assert_eq!(before["grpo.group_size"], "8");
        assert_eq!(before["method"], "\"grpo-d\"");
        config.train.seed += 1;
        assert_eq!(settings(&config).unwrap(), before);
        config.optim.lr *= 2.0;
        assert_ne!(settings(&config).unwrap(), before);
    }
}
