//! The page's tables and notes as rows of text: what ran, what came out, how long it took, how healthy it was.
//! Not here: how they look (`page`); charts (`curves`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::recorded_run::RecordedRun;
use super::seeds::{Estimate, SeedGroup, Spread, accuracy};
use crate::printable::gigabytes;
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::EvaluationRecord;
use crate::train::health::Health;
use crate::train::settings::thresholds;

/// Settings that have columns of their own.
const OWN_COLUMNS: [&str; 4] = ["method", "data.task", "data.train", "train.updates"];

/// What follows the updates of a run that has not made all of them.
pub(super) const UNFINISHED: &str = " (unfinished)";

/// A table: the first cell of each row names it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The columns' names.
    pub columns: Vec<String>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(caption: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Self { caption: caption.to_owned(), columns, rows: Vec::new() }
    }
}

/// Warnings about a run, as they were given while it went on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthNotes {
    /// The run's label.
    pub label: String,
    /// The updates that were looked at.
    pub n_updates: u64,
    /// What was found.
    pub notes: Vec<HealthNote>,
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthNote {
    /// The update after which it was given.
    pub update: u64,
    /// What was seen and what to try.
    pub text: String,
}

/// What ran: a row per run, with the settings in which the runs differ.
pub fn runs_table(runs: &[RecordedRun]) -> Table {
    let mut table = Table::new(
        "Runs, and the settings in which they differ",
        &["run", "method", "task", "updates", "seed"],
    );
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs = |key: &str| {
        let mut values = runs.iter().map(|run| run.settings.get(key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let keys: Vec<&String> = keys
        .into_iter()
        .filter(|key| differs(key) && !OWN_COLUMNS.contains(&key.as_str()))
        .collect();
    table.columns.extend(keys.iter().copied().cloned());
    for run in runs {
        let (label, method, task) =
            (run.label.clone(), run.method().to_owned(), run.task().to_owned());
        let seed = run.config.train.seed.to_string();
        let values = keys.iter().map(|&key| run.settings.get(key).map_or("", String::as_str));
        let values = values.map(|value| value.trim_matches('"').to_owned());
        let own = [label, method, task, progress(run), seed].into_iter();
        table.rows.push(own.chain(values).collect());
    }
    table
}

/// `30`, or `12 of 30` of a run that is not finished. The length of a run given in epochs depends on its data.
pub(super) fn progress(run: &RecordedRun) -> String {
    let done = run.n_updates();
    match run.config.train.updates {
        Some(total) if done < total as u64 => format!("{done} of {total}{UNFINISHED}"),
        Some(_) => done.to_string(),
        None => format!("{done} so far"),
    }
}

/// What came out: a row per configuration, from its first and last evaluations, as in the paper's Table 1.
pub fn results_table(groups: &[SeedGroup<'_>]) -> Table {
    let columns =
        ["configuration", "seeds", "first evaluation", "last evaluation", "relative change"];
    let caption = "Accuracy by the task's own rule, with its 95% interval; of two or three seeds, the lowest and the highest";
    let mut table = Table::new(caption, &columns);
    for group in groups {
        let first: Vec<_> = group.runs.iter().filter_map(|run| run.evaluations.first()).collect();
        let last: Vec<_> = group.runs.iter().filter_map(|run| run.evaluations.last()).collect();
        if first.is_empty() {
            continue;
        }
        let (before, after) = (accuracy(&first), accuracy(&last));
        let change = if before.mean > 0.0 {
            format!("{:+.1}%", 100.0 * (after.mean / before.mean - 1.0))
        } else {
            "from 0".to_owned()
        };
        let (n_seeds, first, last) = (first.len(), accuracy_cell(&first), accuracy_cell(&last));
        table.rows.push(vec![group.label.clone(), n_seeds.to_string(), first, last, change]);
    }
    table
}

fn accuracy_cell(records: &[&EvaluationRecord]) -> String {
    let accuracy = with_spread(accuracy(records));
    let updates: BTreeSet<u64> = records.iter().map(|record| record.update).collect();
    let updates: Vec<String> = updates.iter().map(ToString::to_string).collect();
    format!("{accuracy} at update {}", updates.join(", "))
}

/// Every evaluation of every run.
pub fn evaluations_table(runs: &[RecordedRun]) -> Table {
    let columns = [
        "run",
        "update",
        "task",
        "questions",
        "rule",
        "accuracy",
        "by answer-tag",
        "format rate",
        "ungraded",
        "cut off",
        "tokens",
    ];
    let mut table = Table::new("Evaluations, with 95% intervals", &columns);
    for run in runs {
        for record in &run.evaluations {
            let summary = &record.summary;
            let by_tag = summary.answer_tag;
            table.rows.push(vec![
                run.label.clone(),
                record.update.to_string(),
                summary.task.clone(),
                summary.n.to_string(),
                summary.rule.clone(),
                with_interval(summary.accuracy, summary.ci95),
                with_interval(by_tag.accuracy, by_tag.ci95),
                percent(summary.format_rate),
                summary.ungraded.to_string(),
                percent(summary.truncated_fraction),
                format!("{:.1}", summary.completion_length),
            ]);
        }
    }
    table
}

/// Where the time went: a row per run, means over its updates.
pub fn timing_table(runs: &[RecordedRun]) -> Table {
    let columns = [
        "run",
        "sampling",
        "reference",
        "policy",
        "optimiser",
        "rest",
        "update",
        "tokens/s",
        "peak memory",
        "all updates",
    ];
    let mut table = Table::new("Seconds of an update by stage, means over all updates", &columns);
    for run in runs.iter().filter(|run| !run.metrics.is_empty()) {
        let n = run.metrics.len() as f64;
        let sum = |of: &dyn Fn(&UpdateMetrics) -> f64| run.metrics.iter().map(of).sum::<f64>();
        let total = sum(&|line| line.s_total);
        let stages = [
            sum(&|line| line.s_rollout),
            sum(&|line| line.s_reference),
            sum(&|line| line.s_policy),
            sum(&|line| line.s_optimizer),
        ];
        let rest = (total - stages.iter().sum::<f64>()).max(0.0);
        let seconds = stages.iter().chain([&rest, &total]).map(|sum| format!("{:.3}", sum / n));
        let tokens = sum(&|line| line.tokens_per_s * line.s_total) / total.max(f64::MIN_POSITIVE);
        let peak = peak_memory(&[run]).unwrap_or_default();
        let rest = [format!("{tokens:.0}"), peak, minutes(total)];
        table.rows.push(std::iter::once(run.label.clone()).chain(seconds).chain(rest).collect());
    }
    table
}

/// Applies the trainer's health checks to a run's records.
pub fn health_notes(run: &RecordedRun) -> HealthNotes {
    let mut health = Health::new(thresholds(&run.config));
    let mut notes = Vec::new();
    let mut later = &run.completions[..];
    for line in &run.metrics {
        let before = later.partition_point(|record| record.update < line.update);
        let end = later.partition_point(|record| record.update <= line.update);
        for warning in health.observe(line, &later[before..end]) {
            notes.push(HealthNote { update: line.update, text: warning.to_string() });
        }
        later = &later[end..];
    }
    HealthNotes { label: run.label.clone(), n_updates: run.n_updates(), notes }
}

/// The most memory that any of the runs held; none where it was not measured.
pub(super) fn peak_memory(runs: &[&RecordedRun]) -> Option<String> {
    let peaks = runs.iter().flat_map(|run| &run.metrics).filter_map(|line| line.peak_bytes);
    peaks.max().map(gigabytes)
}

pub(super) fn minutes(seconds: f64) -> String {
    format!("{:.1} min", seconds / 60.0)
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.1}%", 100.0 * part)
}

fn with_interval(part: f64, [low, high]: [f64; 2]) -> String {
    format!("{} ({} to {})", percent(part), percent(low), percent(high))
}

/// A fraction with what is around it; of a few seeds, their lowest and highest.
fn with_spread(Estimate { mean, spread }: Estimate) -> String {
    match spread {
        Spread::None => percent(mean),
        Spread::Interval(interval) => with_interval(mean, interval),
        Spread::Seeds([low, high]) => {
            format!("{} (seeds: {} to {})", percent(mean), percent(low), percent(high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::super::seeds::seed_groups;
    use super::*;
    use crate::eval::summary::test_summary;

    fn evaluated(mut run: RecordedRun, update: u64, correct: usize) -> RecordedRun {
        run.evaluations.push(EvaluationRecord { update, summary: test_summary(correct, 10) });
        run
    }

    #[test]
    fn only_settings_that_differ_have_a_column() {
        let mut other = test_run("b", 2, &[]);
        other.config.train.updates = Some(3);
        other.settings.insert("optim.lr".to_owned(), "0.5".to_owned());
        let runs = [test_run("a", 1, &[1.0, 1.0]), other];
        let table = runs_table(&runs);
        assert_eq!(table.columns, ["run", "method", "task", "updates", "seed", "optim.lr"]);
        assert_eq!(table.rows[0], ["a", "grpo-d", "", "2 so far", "1", "0.000001"]);
        assert_eq!(table.rows[1], ["b", "grpo-d", "", "0 of 3 (unfinished)", "2", "0.5"]);
    }

    #[test]
    fn results_are_the_means_over_seeds_and_their_relative_change() {
        let seed = |label, seed, before, after| {
            evaluated(evaluated(test_run(label, seed, &[]), 0, before), 30, after)
        };
        let runs = [seed("a1", 1, 2, 4), seed("a2", 2, 2, 8), test_run("a3", 3, &[])];
        let table = results_table(&seed_groups(&runs));
        // Before training it is one model, whatever the seed: 2 of 10. Then 0.4 and 0.8, whose mean is 0.6.
        assert_eq!(
            table.rows,
            [[
                "a* (3 seeds)",
                "2",
                "20.0% (5.7% to 51.0%) at update 0",
                "60.0% (seeds: 40.0% to 80.0%) at update 30",
                "+200.0%"
            ]]
        );
        let alone = [seed("a1", 1, 0, 4)];
        let table = results_table(&seed_groups(&alone));
        assert_eq!(table.rows[0][3], "40.0% (16.8% to 68.7%) at update 30");
        assert_eq!(table.rows[0][4], "from 0");
    }

    #[test]
    fn stages_are_means_and_what_is_left_of_the_update() {
        let mut run = test_run("a", 1, &[0.0, 0.0]);
        for (line, seconds) in run.metrics.iter_mut().zip([1.0, 3.0]) {
            line.s_rollout = seconds / 2.0;
            line.s_total = seconds;
            line.tokens_per_s = 400.0 / seconds;
        }
        // 800 tokens in 4 s.
        let row = &timing_table(&[run]).rows[0];
        let expected =
            ["a", "1.000", "0.000", "0.000", "0.000", "1.000", "2.000", "200", "", "0.1 min"];
        assert_eq!(row[..], expected);
    }

    #[test]
    fn warnings_are_those_that_the_trainer_gave() {
        let mut run = test_run("a", 1, &[0.0; 12]);
        run.config.train.warn_after_silent_updates = 10;
        for line in &mut run.metrics {
            line.zero_signal_fraction = Some(1.0);
        }
        let notes = health_notes(&run);
        assert_eq!((notes.n_updates, notes.notes.len()), (12, 1));
        assert_eq!(notes.notes[0].update, 10);
        assert!(notes.notes[0].text.starts_with("for 10 updates in a row"), "{notes:?}");
    }
}
