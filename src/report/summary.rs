//! Everything on the page but the rollouts, as one value: cards, charts, tables, health.
//! Not here: how it looks (`assets/report`); where it goes (`page`, `live`).

use serde::Serialize;

use super::cards::{Card, cards};
use super::chart::{LineStyle, Strand};
use super::curves::{NamedChart, charts};
use super::error::ReportError;
use super::recorded_run::RecordedRun;
use super::seeds::{FEW_SEEDS, SeedGroup, seed_groups};
use super::tables::{
    HealthNotes, Table, evaluations_table, health_notes, results_table, runs_table, timing_table,
};

/// What the page shows besides rollouts.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Another one where anything is other than before; empty on a page in a file.
    pub version: String,
    /// The page's title.
    pub title: String,
    notes: Vec<String>,
    cards: Vec<Card>,
    chart_note: String,
    charts: Vec<ChartOnPage>,
    tables: Vec<Table>,
    health: Vec<HealthNotes>,
}

#[derive(Debug, Serialize)]
struct ChartOnPage {
    name: String,
    title: String,
    y_title: String,
    description: String,
    is_points: bool,
    lines: Vec<LineOnPage>,
}

/// A line, figure by figure at the same updates.
#[derive(Debug, Serialize)]
struct LineOnPage {
    label: String,
    color: usize,
    dash: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    interval: Vec<Option<[f64; 2]>>,
    /// Empty where nothing is smoothed.
    raw: Vec<f64>,
}

/// Sums runs up.
///
/// - `smoothing`: weight of what came before in the curves, 0 to below 1
///
/// # Errors
/// The default settings cannot be spelt as TOML.
pub fn summary(runs: &[RecordedRun], smoothing: f64) -> Result<Summary, ReportError> {
    let groups = seed_groups(runs);
    let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
    let tables = [
        (runs.len() > 1).then(|| runs_table(runs)),
        Some(results_table(&groups)),
        Some(evaluations_table(runs)),
        Some(timing_table(runs)),
    ];
    let is_new = runs.iter().all(|run| run.metrics.is_empty());
    Ok(Summary {
        version: String::new(),
        title: format!("Training report: {}", labels.join(", ")),
        notes: is_new.then(|| "No updates yet.".to_owned()).into_iter().collect(),
        cards: cards(&groups)?,
        chart_note: chart_note(&groups, smoothing),
        charts: charts(&groups, smoothing).iter().map(on_page).collect(),
        tables: tables.into_iter().flatten().collect(),
        health: runs.iter().map(health_notes).collect(),
    })
}

fn chart_note(groups: &[SeedGroup<'_>], smoothing: f64) -> String {
    let smoothed = format!(
        " Strong lines are smoothed by an exponential moving average with weight {smoothing} for what came before, \
         debiased as in TensorBoard; faint lines are the figures themselves. The KL weight and the evaluations are not smoothed."
    );
    let has_bands = groups.iter().any(|group| group.runs.len() > FEW_SEEDS);
    let parts = [
        "Drag over a chart to zoom, double-click to see all of it again.",
        if smoothing > 0.0 { &smoothed } else { "" },
        if has_bands {
            " Of more than three seeds the line is their mean and the band Student's 95% interval of it."
        } else {
            ""
        },
    ];
    parts.concat()
}

fn on_page(NamedChart { name, chart }: &NamedChart) -> ChartOnPage {
    let strands = chart.marks.strands();
    ChartOnPage {
        name: name.clone(),
        title: chart.title.clone(),
        y_title: chart.y_title.clone(),
        description: chart.describe(),
        is_points: strands.iter().any(|strand| strand.line.style == LineStyle::Points),
        lines: strands.into_iter().map(line_on_page).collect(),
    }
}

fn line_on_page(Strand { color, dash, line }: Strand<'_>) -> LineOnPage {
    LineOnPage {
        label: line.label.clone(),
        color,
        dash,
        x: line.points.iter().map(|point| point.x).collect(),
        y: line.points.iter().map(|point| rounded(point.y)).collect(),
        interval: line.points.iter().map(|point| point.interval.map(|i| i.map(rounded))).collect(),
        raw: line.raw.iter().map(|[_, y]| rounded(*y)).collect(),
    }
}

/// A number to six digits: more are neither seen nor worth their bytes.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::*;

    #[test]
    fn figures_behind_a_smoothed_line_are_those_of_its_updates() {
        let summary = summary(&[test_run("a", 1, &[1.0, 0.0, 1.0 / 3.0])], 0.5).unwrap();
        let loss = summary.charts.iter().find(|chart| chart.name == "loss").unwrap();
        let line = &loss.lines[0];
        assert_eq!(
            (&line.x[..], &line.raw[..]),
            (&[1.0, 2.0, 3.0][..], &[1.0, 0.0, 0.333_333][..])
        );
        assert_eq!(line.y.len(), 3);
        assert!(summary.chart_note.contains("weight 0.5"), "{}", summary.chart_note);
    }

    #[test]
    fn run_that_has_recorded_nothing_yet_says_so() {
        let new = summary(&[test_run("new", 1, &[])], 0.6).unwrap();
        assert_eq!(new.notes, ["No updates yet."]);
        assert!(summary(&[test_run("a", 1, &[1.0])], 0.6).unwrap().notes.is_empty());
    }

    #[test]
    fn numbers_keep_six_digits_and_what_is_no_number_stays_none() {
        assert_eq!(rounded(0.123_456_789).to_bits(), 0.123_457_f64.to_bits());
        assert!(rounded(f64::NAN).is_nan());
        assert!(rounded(f64::INFINITY).is_infinite());
    }
}
