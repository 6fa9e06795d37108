//! The figures of `metrics.jsonl` and `evaluations.jsonl` as charts over updates, a line per configuration.
//! Not here: drawing (`chart`), the mean over seeds (`seeds`).

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{Chart, Line, LineStyle, Marks, Point};
use super::seeds::{Estimate, SeedGroup, accuracy, estimate};
use super::smooth::smooth;
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::EvaluationRecord;

/// A chart and the name of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedChart {
    /// The name of what it shows in `metrics.jsonl`; `evaluation_accuracy` for the evaluations.
    pub name: String,
    /// The chart.
    pub chart: Chart,
}

/// A figure of an update; none where the method does not have it.
type Figure = fn(&UpdateMetrics) -> Option<f64>;

/// A curve over updates.
struct Curve {
    name: &'static str,
    title: &'static str,
    y_title: &'static str,
    /// Whether the figure is noisy; a schedule is not.
    is_smoothed: bool,
    /// The range of values that the figure can have; intervals are cut to it.
    limits: [f64; 2],
    figure: Figure,
}

const ANY: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];
const POSITIVE: [f64; 2] = [0.0, f64::INFINITY];
const PART: [f64; 2] = [0.0, 1.0];

/// In the order of the page: the paper's Figure 5, then figures of the run's health.
const CURVES: [Curve; 11] = [
    noisy("accuracy_reward", "Accuracy reward", "mean reward", PART, |line| line.accuracy_reward),
    noisy("format_reward", "Format reward", "mean reward", PART, |line| line.format_reward),
    noisy("reward", "Reward", "mean reward", ANY, |line| line.reward),
    noisy("kl", "KL from the reference", "nats", POSITIVE, |line| line.kl),
    Curve {
        name: "beta",
        title: "KL weight β(s)",
        y_title: "weight",
        is_smoothed: false,
        limits: POSITIVE,
        figure: |line| line.beta,
    },
    noisy("completion_length", "Completion length", "tokens", POSITIVE, |line| {
        Some(line.completion_length)
    }),
    noisy("entropy", "Entropy", "nats", POSITIVE, |line| line.entropy),
    noisy("loss", "Loss", "loss", ANY, |line| Some(line.loss)),
    noisy("grad_norm", "Gradient norm before clipping", "norm", POSITIVE, |line| {
        Some(line.grad_norm)
    }),
    noisy("zero_signal_fraction", "Groups without a signal", "part of the groups", PART, |line| {
        line.zero_signal_fraction
    }),
    noisy("truncated_fraction", "Completions cut off", "part of the completions", PART, |line| {
        line.truncated_fraction
    }),
];

const fn noisy(
    name: &'static str,
    title: &'static str,
    y_title: &'static str,
    limits: [f64; 2],
    figure: Figure,
) -> Curve {
    Curve { name, title, y_title, is_smoothed: true, limits, figure }
}

/// All charts that the runs have figures for.
///
/// - `weight`: of the smoothing, 0 to below 1
pub fn charts(groups: &[SeedGroup<'_>], weight: f64) -> Vec<NamedChart> {
    let mut charts = Vec::new();
    let mut add = |name: &str, title: &str, y_title: &str, lines: Vec<Line>| {
        if lines.iter().any(|line| !line.points.is_empty()) {
            let (title, y_title) = (title.to_owned(), y_title.to_owned());
            let marks = Marks::Lines(lines);
            let chart = Chart { title, x_title: "update".to_owned(), y_title, marks };
            charts.push(NamedChart { name: name.to_owned(), chart });
        }
    };
    let accuracy = groups.iter().map(accuracy_line).collect();
    add("evaluation_accuracy", "Evaluation accuracy", "right answers, %", accuracy);
    for curve in &CURVES {
        let weight = if curve.is_smoothed { weight } else { 0.0 };
        let line = |group| curve_line(group, &curve.figure, curve.limits, weight);
        let lines = groups.iter().map(line).collect();
        add(curve.name, curve.title, curve.y_title, lines);
    }
    let lines = groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.metrics);
    let components: BTreeSet<&String> =
        lines.flat_map(|line| line.reward_components.keys()).collect();
    for name in components {
        let figure = |line: &UpdateMetrics| line.reward_components.get(name).copied();
        let lines = groups.iter().map(|group| curve_line(group, &figure, ANY, weight)).collect();
        let title = format!("Reward component {name}");
        // The name becomes a file's name: no character of it may lead out of the folder.
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        add(&format!("reward_component_{name}"), &title, "mean reward", lines);
    }
    charts
}

/// A figure over the updates: each run is smoothed, then the mean over the runs is taken.
fn curve_line(
    group: &SeedGroup<'_>,
    figure: &dyn Fn(&UpdateMetrics) -> Option<f64>,
    limits: [f64; 2],
    weight: f64,
) -> Line {
    let (mut raw, mut smoothed) = (Vec::new(), Vec::new());
    for run in &group.runs {
        let figures = run.metrics.iter().filter_map(|line| Some((line.update, figure(line)?)));
        let (updates, values): (Vec<u64>, Vec<f64>) = figures.unzip();
        let smooth = smooth(&values, weight);
        raw.extend(updates.iter().copied().zip(values));
        smoothed.extend(updates.into_iter().zip(smooth));
    }
    let (raw, smoothed) = (by_update(raw.into_iter()), by_update(smoothed.into_iter()));
    let mean = |(update, values): (&u64, &Vec<f64>)| [*update as f64, estimate(values).mean];
    let point = |(update, values): (&u64, &Vec<f64>)| {
        let Estimate { mean, ci95 } = estimate(values).within(limits);
        Point { x: *update as f64, y: mean, interval: ci95 }
    };
    Line {
        label: group.label.clone(),
        points: smoothed.iter().map(point).collect(),
        raw: if weight > 0.0 { raw.iter().map(mean).collect() } else { Vec::new() },
        style: LineStyle::Curve,
    }
}

/// The evaluations' accuracy in percent.
fn accuracy_line(group: &SeedGroup<'_>) -> Line {
    let records = group.runs.iter().flat_map(|run| &run.evaluations);
    let by_update = by_update(records.map(|record| (record.update, record)));
    let percent = |part: f64| 100.0 * part;
    let point = |(update, records): (&u64, &Vec<&EvaluationRecord>)| {
        let Estimate { mean, ci95 } = accuracy(records);
        let interval = ci95.map(|interval| interval.map(percent));
        Point { x: *update as f64, y: percent(mean), interval }
    };
    let points = by_update.iter().map(point).collect();
    Line { label: group.label.clone(), points, raw: Vec::new(), style: LineStyle::Points }
}

/// What several runs have at each update.
fn by_update<T>(all: impl Iterator<Item = (u64, T)>) -> BTreeMap<u64, Vec<T>> {
    let mut by_update: BTreeMap<u64, Vec<T>> = BTreeMap::new();
    for (update, value) in all {
        by_update.entry(update).or_default().push(value);
    }
    by_update
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::super::seeds::seed_groups;
    use super::*;

    fn chart<'a>(charts: &'a [NamedChart], name: &str) -> &'a [Line] {
        let chart = charts.iter().find(|chart| chart.name == name).unwrap();
        let Marks::Lines(lines) = &chart.chart.marks else { panic!("{name} has no lines") };
        lines
    }

    #[test]
    fn seeds_become_their_mean_and_other_configurations_a_line_of_their_own() {
        let mut other = test_run("other", 3, &[5.0]);
        other.settings.insert("optim.lr".to_owned(), "1.0".to_owned());
        let runs = [test_run("a1", 1, &[1.0, 3.0]), test_run("a2", 2, &[3.0]), other];
        let charts = charts(&seed_groups(&runs), 0.0);
        let lines = chart(&charts, "loss");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].label, "a* (2 seeds)");
        // Mean of 1 and 3, half width 12.7062 * sqrt(2 / 2). A loss may be negative.
        let [first, second] = lines[0].points[..] else { panic!("{lines:?}") };
        let [low, high] = first.interval.unwrap();
        assert_eq!((first.x, first.y), (1.0, 2.0));
        assert!((low + 10.706_205).abs() < 1e-6 && (high - 14.706_205).abs() < 1e-6);
        // The second run ends after one update: what is left has no interval.
        assert_eq!(second, Point { x: 2.0, y: 3.0, interval: None });
        assert!(lines[0].raw.is_empty());
    }

    #[test]
    fn smoothing_keeps_the_figures_behind_the_line_and_leaves_the_schedule_alone() {
        let mut run = test_run("a", 1, &[1.0, 0.0]);
        for (line, beta) in run.metrics.iter_mut().zip([0.04, 0.0]) {
            line.beta = Some(beta);
        }
        let runs = [run];
        let charts = charts(&seed_groups(&runs), 0.5);
        let loss = &chart(&charts, "loss")[0];
        assert_eq!(loss.raw, [[1.0, 1.0], [2.0, 0.0]]);
        assert!((loss.points[1].y - 1.0 / 3.0).abs() < 1e-12);
        let beta = &chart(&charts, "beta")[0];
        assert!(beta.raw.is_empty());
        assert_eq!(beta.points[1], Point { x: 2.0, y: 0.0, interval: None });
    }

    #[test]
    fn figure_that_no_run_has_gets_no_chart_and_a_component_one_of_its_own() {
        let mut run = test_run("a", 1, &[1.0]);
        run.metrics[0].reward_components.insert("choice".to_owned(), 0.5);
        let runs = [run];
        let charts = charts(&seed_groups(&runs), 0.6);
        assert!(charts.iter().all(|chart| chart.name != "kl"));
        let expected = Point { x: 1.0, y: 0.5, interval: None };
        assert_eq!(chart(&charts, "reward_component_choice")[0].points, [expected]);
    }
}
