//! What is seen first of each configuration: before and after, time, memory, what was set, what it comes from.
//! Not here: how a card looks (`assets/report`); the figures of every run one by one (`tables`).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::error::ReportError;
use super::recorded_run::{RecordedRun, settings};
use super::seeds::{Estimate, SeedGroup, Spread, accuracy};
use super::tables::{UNFINISHED, minutes, peak_memory, percent, progress};
use crate::config::RunConfig;
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::origin::Origin;
use crate::run_folder::records::EvaluationRecord;

/// The first and the last of that many parts of a run stand for its beginning and its end.
const PARTS: usize = 10;

/// A configuration at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// The configuration's label.
    pub label: String,
    /// Method, data and seeds, in words.
    pub about: String,
    /// The figures, the most important one first.
    pub figures: Vec<Figure>,
    /// Settings that differ from the defaults: key, value, default.
    pub settings: Vec<[String; 3]>,
    /// Where the numbers come from: name, value.
    pub provenance: Vec<[String; 2]>,
}

/// A figure of a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// The figure with its unit.
    pub value: String,
    /// What must be known to read it; may be empty.
    pub note: String,
    /// Whether it is what the run is about.
    pub is_main: bool,
}

impl Figure {
    fn new(name: &str, value: String, note: String) -> Self {
        Self { name: name.to_owned(), value, note, is_main: false }
    }
}

/// A card for each configuration.
///
/// # Errors
/// The default settings cannot be spelt as TOML.
pub fn cards(groups: &[SeedGroup<'_>]) -> Result<Vec<Card>, ReportError> {
    let usual = settings(&RunConfig::default())?;
    let card = |group: &SeedGroup<'_>| {
        let first = group.runs[0];
        let differing = first.settings.iter().filter(|(key, value)| usual.get(*key) != Some(value));
        let usual = |key| usual.get(key).map_or("not set".to_owned(), |value| bare(value));
        Card {
            label: group.label.clone(),
            about: about(group),
            figures: figures(&group.runs),
            settings: differing
                .map(|(key, value)| [key.clone(), bare(value), format!("default: {}", usual(key))])
                .collect(),
            provenance: provenance(group),
        }
    };
    Ok(groups.iter().map(card).collect())
}

/// A value as a person writes it.
fn bare(value: &str) -> String {
    value.trim_matches('"').to_owned()
}

fn about(group: &SeedGroup<'_>) -> String {
    let first = group.runs[0];
    let seeds: Vec<String> =
        group.runs.iter().map(|run| run.config.train.seed.to_string()).collect();
    let noun = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{} on {}, {noun} {}", first.method(), first.task(), seeds.join(", "))
}

fn figures(runs: &[&RecordedRun]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = measured(runs).or_else(|| rewarded(runs)).into_iter().collect();
    let updates: BTreeSet<String> = runs.iter().map(|run| progress(run)).collect();
    let updates = updates.into_iter().collect::<Vec<_>>().join("; ");
    let (updates, note) = match updates.strip_suffix(UNFINISHED) {
        Some(updates) => (updates.to_owned(), "unfinished"),
        None => (updates, ""),
    };
    figures.push(Figure::new("Updates", updates, note.to_owned()));
    let seconds = runs.iter().flat_map(|run| &run.metrics).map(|line| line.s_total).sum::<f64>();
    let note = if runs.len() > 1 { "of all updates, mean over seeds" } else { "of all updates" };
    figures.push(Figure::new("Time", minutes(seconds / runs.len() as f64), note.to_owned()));
    if let Some(peak) = peak_memory(runs) {
        figures.push(Figure::new("Peak memory", peak, String::new()));
    }
    let n_rollouts: usize = runs.iter().map(|run| run.completions.len()).sum();
    if n_rollouts > 0 {
        figures.push(Figure::new("Rollouts", n_rollouts.to_string(), "recorded".to_owned()));
    }
    figures
}

/// Accuracy at the first and the last evaluation; none where there is no evaluation.
fn measured(runs: &[&RecordedRun]) -> Option<Figure> {
    let (first_update, last) = runs
        .iter()
        .find_map(|run| Some((run.evaluations.first()?.update, run.evaluations.last()?)))?;
    let firsts: Vec<_> = runs.iter().filter_map(|run| run.evaluations.first()).collect();
    let lasts: Vec<_> = runs.iter().filter_map(|run| run.evaluations.last()).collect();
    let summary = &last.summary;
    let asked = format!("{} questions of {}, by {}", summary.n, summary.task, summary.rule);
    let (value, note) = if last.update == first_update {
        let at = format!("at update {first_update}, {}", around(&firsts));
        (percent(accuracy(&firsts).mean), format!("{at}; {asked}"))
    } else {
        let value =
            format!("{} → {}", percent(accuracy(&firsts).mean), percent(accuracy(&lasts).mean));
        let at = format!("update {first_update} ({})", around(&firsts));
        (value, format!("{at} → {} ({}); {asked}", last.update, around(&lasts)))
    };
    Some(Figure { is_main: true, ..Figure::new("Accuracy", value, note) })
}

/// `95%: 18.6% to 25.8%`, or of few seeds `3 seeds: 44.4% to 46.6%`.
fn around(records: &[&EvaluationRecord]) -> String {
    let Estimate { spread, .. } = accuracy(records);
    let within = |name: String, [low, high]: [f64; 2]| {
        format!("{name}: {} to {}", percent(low), percent(high))
    };
    match spread {
        Spread::None => String::new(),
        Spread::Interval(interval) => within("95%".to_owned(), interval),
        Spread::Seeds(ends) => within(format!("{} seeds", records.len()), ends),
    }
}

/// The mean reward at the beginning and at the end; none where nothing was rewarded.
fn rewarded(runs: &[&RecordedRun]) -> Option<Figure> {
    let rewards = |line: &UpdateMetrics| line.reward;
    let ends = runs.iter().filter_map(|run| {
        let rewards: Vec<f64> = run.metrics.iter().filter_map(rewards).collect();
        let n = rewards.len().div_ceil(PARTS);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        (n > 0).then(|| [mean(&rewards[..n]), mean(&rewards[rewards.len() - n..])])
    });
    let ends: Vec<[f64; 2]> = ends.collect();
    let mean = |which: usize| ends.iter().map(|ends| ends[which]).sum::<f64>() / ends.len() as f64;
    let note = "of the first and the last tenth of the updates, in training; nothing was evaluated";
    (!ends.is_empty()).then(|| {
        let value = format!("{:.2} → {:.2}", mean(0), mean(1));
        Figure { is_main: true, ..Figure::new("Reward", value, note.to_owned()) }
    })
}

fn provenance(group: &SeedGroup<'_>) -> Vec<[String; 2]> {
    let first = group.runs[0];
    let folders: Vec<String> =
        group.runs.iter().map(|run| run.path.display().to_string()).collect();
    let mut rows = vec![
        ["folder".to_owned(), folders.join(", ")],
        [
            "model".to_owned(),
            first.settings.get("model.path").map(|path| bare(path)).unwrap_or_default(),
        ],
        ["data".to_owned(), first.task().to_owned()],
        ["page by".to_owned(), format!("othink {}", env!("CARGO_PKG_VERSION"))],
    ];
    match Origin::of(&first.path) {
        Ok(origin) => {
            let written = origin.contents().iter().filter(|(_, value)| !value.is_null());
            rows.extend(written.map(|(name, value)| [name.clone(), spelt(value)]));
        }
        Err(_) => rows.push(["origin.json".to_owned(), "not in the folder".to_owned()]),
    }
    rows
}

fn spelt(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::super::seeds::seed_groups;
    use super::*;
    use crate::eval::summary::test_summary;

    fn evaluated(label: &str, seed: u64, correct: [usize; 2]) -> RecordedRun {
        let mut run = test_run(label, seed, &[1.0, 1.0]);
        for (update, correct) in [0, 2].into_iter().zip(correct) {
            let summary = test_summary(correct, 10);
            run.evaluations.push(EvaluationRecord { update, summary });
        }
        run
    }

    fn main_figure(runs: &[RecordedRun]) -> [String; 2] {
        let cards = cards(&seed_groups(runs)).unwrap();
        let figure = &cards[0].figures[0];
        assert!(figure.is_main);
        [figure.value.clone(), figure.note.clone()]
    }

    #[test]
    fn accuracy_goes_from_before_to_after_with_what_is_around_both() {
        let [value, note] = main_figure(&[evaluated("a", 1, [2, 4])]);
        assert_eq!(value, "20.0% → 40.0%");
        let expected = "update 0 (95%: 5.7% to 51.0%) → 2 (95%: 16.8% to 68.7%); 10 questions";
        assert!(note.starts_with(expected), "{note}");
        let [value, note] = main_figure(&[evaluated("a1", 1, [2, 4]), evaluated("a2", 2, [2, 8])]);
        assert_eq!(value, "20.0% → 60.0%");
        assert!(note.contains("→ 2 (2 seeds: 40.0% to 80.0%)"), "{note}");
    }

    #[test]
    fn run_without_evaluations_shows_its_reward_and_one_without_rewards_neither() {
        let mut run = test_run("a", 1, &[0.0; 20]);
        for (line, reward) in run.metrics.iter_mut().zip(1..) {
            line.reward = Some(f64::from(reward));
        }
        // The first two are 1 and 2, the last two 19 and 20.
        assert_eq!(main_figure(&[run])[0], "1.50 → 19.50");
        let cards = cards(&seed_groups(&[test_run("a", 1, &[0.0])])).unwrap();
        assert_eq!(cards[0].figures[0].name, "Updates");
    }

    #[test]
    fn only_settings_that_differ_from_the_default_are_listed_beside_it() {
        let mut run = test_run("a", 1, &[]);
        assert_eq!(cards(&seed_groups(&[test_run("a", 7, &[])])).unwrap()[0].settings.len(), 0);
        run.settings.insert("optim.lr".to_owned(), "0.5".to_owned());
        run.settings.insert("data.task".to_owned(), "\"synth-vc\"".to_owned());
        let expected = [
            ["data.task", "synth-vc", "default: not set"],
            ["optim.lr", "0.5", "default: 0.000001"],
        ];
        assert_eq!(cards(&seed_groups(&[run])).unwrap()[0].settings, expected);
    }

    #[test]
    fn origin_is_shown_or_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = test_run("a", 1, &[]);
        run.path = folder.path().to_owned();
        let last = |run: &RecordedRun| {
            let group = SeedGroup { label: "a".to_owned(), runs: vec![run] };
            provenance(&group).pop().unwrap()
        };
        assert_eq!(last(&run), ["origin.json", "not in the folder"]);
        let origin =
            r#"{"contents": {"version": 1, "rows": "abc", "replay": null}, "changes": []}"#;
        std::fs::write(folder.path().join("origin.json"), origin).unwrap();
        assert_eq!(last(&run), ["rows", "abc"]);
    }
}
