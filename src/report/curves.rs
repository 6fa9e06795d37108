//! The figures of `metrics.jsonl` and `evaluations.jsonl` as charts over updates: a line for each of a few seeds, their mean
//! where there are more.
//! Not here: drawing (`chart`), the mean over seeds (`seeds`).

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{Chart, Family, Line, LineStyle, Marks, Point};
use super::recorded_run::RecordedRun;
use super::seeds::{FEW_SEEDS, SeedGroup, accuracy, estimate};
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
    let mut add = |name: &str, title: &str, y_title: &str, line: &dyn Fn(&Shown<'_>) -> Line| {
        let marks = marks(groups, line);
        if marks.strands().iter().any(|strand| !strand.line.points.is_empty()) {
            let (title, y_title) = (title.to_owned(), y_title.to_owned());
            let chart = Chart { title, x_title: "update".to_owned(), y_title, marks };
            charts.push(NamedChart { name: name.to_owned(), chart });
        }
    };
    add("evaluation_accuracy", "Evaluation accuracy", "right answers, %", &accuracy_line);
    for curve in &CURVES {
        let weight = if curve.is_smoothed { weight } else { 0.0 };
        let line = |shown: &Shown<'_>| curve_line(shown, &curve.figure, curve.limits, weight);
        add(curve.name, curve.title, curve.y_title, &line);
    }
    let lines = groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.metrics);
    let components: BTreeSet<&String> =
        lines.flat_map(|line| line.reward_components.keys()).collect();
    for name in components {
        let figure = |line: &UpdateMetrics| line.reward_components.get(name).copied();
        let line = |shown: &Shown<'_>| curve_line(shown, &figure, ANY, weight);
        let title = format!("Reward component {name}");
        // The name becomes a file's name: no character of it may lead out of the folder.
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        add(&format!("reward_component_{name}"), &title, "mean reward", &line);
    }
    charts
}

/// Runs that one line shows.
struct Shown<'a> {
    label: &'a str,
    runs: &'a [&'a RecordedRun],
}

/// A line for each of a few seeds, or one for their mean. One configuration's lines have a colour each, those of several
/// configurations a colour for each of these.
fn marks(groups: &[SeedGroup<'_>], line: &dyn Fn(&Shown<'_>) -> Line) -> Marks {
    let family = |group: &SeedGroup<'_>| {
        let of_run = |run: &RecordedRun| line(&Shown { label: &run.label, runs: &[run] });
        let lines = if group.runs.len() > FEW_SEEDS {
            vec![line(&Shown { label: &group.label, runs: &group.runs })]
        } else {
            group.runs.iter().copied().map(of_run).collect()
        };
        Family { label: group.label.clone(), lines }
    };
    let mut families: Vec<Family> = groups.iter().map(family).collect();
    match families.pop() {
        Some(Family { lines, .. }) if families.is_empty() => Marks::Lines(lines),
        last => Marks::Families(families.into_iter().chain(last).collect()),
    }
}

/// A figure over the updates: each run is smoothed, then the mean over the runs is taken.
fn curve_line(
    shown: &Shown<'_>,
    figure: &dyn Fn(&UpdateMetrics) -> Option<f64>,
    limits: [f64; 2],
    weight: f64,
) -> Line {
    let (mut raw, mut smoothed) = (Vec::new(), Vec::new());
    for run in shown.runs {
        let figures = run.metrics.iter().filter_map(|line| Some((line.update, figure(line)?)));
        let (updates, values): (Vec<u64>, Vec<f64>) = figures.unzip();
        let smooth = smooth(&values, weight);
        raw.extend(updates.iter().copied().zip(values));
        smoothed.extend(updates.into_iter().zip(smooth));
    }
    let (raw, smoothed) = (by_update(raw.into_iter()), by_update(smoothed.into_iter()));
    let mean = |(update, values): (&u64, &Vec<f64>)| [*update as f64, estimate(values).mean];
    let point = |(update, values): (&u64, &Vec<f64>)| {
        let estimate = estimate(values).within(limits);
        Point { x: *update as f64, y: estimate.mean, interval: estimate.interval() }
    };
    Line {
        label: shown.label.to_owned(),
        points: smoothed.iter().map(point).collect(),
        raw: if weight > 0.0 { raw.iter().map(mean).collect() } else { Vec::new() },
        style: LineStyle::Curve,
    }
}

/// The evaluations' accuracy in percent.
fn accuracy_line(shown: &Shown<'_>) -> Line {
    let records = shown.runs.iter().flat_map(|run| &run.evaluations);
    let by_update = by_update(records.map(|record| (record.update, record)));
    let percent = |part: f64| 100.0 * part;
    let point = |(update, records): (&u64, &Vec<&EvaluationRecord>)| {
        let accuracy = accuracy(records);
        let interval = accuracy.interval().map(|interval| interval.map(percent));
        Point { x: *update as f64, y: percent(accuracy.mean), interval }
    };
    let points = by_update.iter().map(point).collect();
    Line { label: shown.label.to_owned(), points, raw: Vec::new(), style: LineStyle::Points }
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
    use super::super::chart::Strand;
    use super::super::recorded_run::test_run;
    use super::super::seeds::seed_groups;
    use super::*;

    fn chart<'a>(charts: &'a [NamedChart], name: &str) -> Vec<Strand<'a>> {
        let chart = charts.iter().find(|chart| chart.name == name).unwrap();
        chart.chart.marks.strands()
    }

    #[test]
    fn more_than_three_seeds_become_their_mean_and_a_band() {
        let losses: [&[f64]; 4] = [&[1.0, 3.0], &[2.0], &[3.0], &[4.0]];
        let seeds = losses.iter().zip(1..);
        let runs: Vec<_> =
            seeds.map(|(loss, seed)| test_run(&format!("a{seed}"), seed, loss)).collect();
        let charts = charts(&seed_groups(&runs), 0.0);
        let [Strand { line, .. }] = chart(&charts, "loss")[..] else { panic!("{charts:?}") };
        assert_eq!(line.label, "a* (4 seeds)");
        // Mean of 1 to 4, half width 3.182446 * 1.290994 / sqrt(4) = 2.054260. A loss may be negative.
        let [first, second] = line.points[..] else { panic!("{line:?}") };
        let [low, high] = first.interval.unwrap();
        assert_eq!((first.x, first.y), (1.0, 2.5));
        assert!((low - 0.445_740).abs() < 1e-5 && (high - 4.554_260).abs() < 1e-5, "{low} {high}");
        // The others end after one update: what is left has no interval.
        assert_eq!(second, Point { x: 2.0, y: 3.0, interval: None });
        assert!(line.raw.is_empty());
    }

    #[test]
    fn few_seeds_have_a_line_each_in_the_colour_of_their_configuration() {
        let mut other = test_run("other", 3, &[5.0]);
        other.settings.insert("optim.lr".to_owned(), "1.0".to_owned());
        let runs = [test_run("a1", 1, &[1.0]), test_run("a2", 2, &[3.0]), other];
        let places = |charts: &[NamedChart]| {
            let strands = chart(charts, "loss").into_iter();
            let place = |strand: Strand<'_>| {
                let point = strand.line.points[0];
                assert_eq!(point.interval, None);
                (strand.line.label.clone(), strand.color, strand.dash, point.y)
            };
            strands.map(place).collect::<Vec<_>>()
        };
        let line = |label: &str, color, dash, y| (label.to_owned(), color, dash, y);
        let both = charts(&seed_groups(&runs), 0.0);
        let expected = [line("a1", 0, 0, 1.0), line("a2", 0, 1, 3.0), line("other", 1, 0, 5.0)];
        assert_eq!(places(&both), expected);
        let one = charts(&seed_groups(&runs[..2]), 0.0);
        assert_eq!(places(&one), [line("a1", 0, 0, 1.0), line("a2", 1, 1, 3.0)]);
    }

    #[test]
    fn smoothing_keeps_the_figures_behind_the_line_and_leaves_the_schedule_alone() {
        let mut run = test_run("a", 1, &[1.0, 0.0]);
        for (line, beta) in run.metrics.iter_mut().zip([0.04, 0.0]) {
            line.beta = Some(beta);
        }
        let runs = [run];
        let charts = charts(&seed_groups(&runs), 0.5);
        let loss = chart(&charts, "loss")[0].line;
        assert_eq!(loss.raw, [[1.0, 1.0], [2.0, 0.0]]);
        assert!((loss.points[1].y - 1.0 / 3.0).abs() < 1e-12);
        let beta = chart(&charts, "beta")[0].line;
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
        assert_eq!(chart(&charts, "reward_component_choice")[0].line.points, [expected]);
    }
}
