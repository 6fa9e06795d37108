//! The page: one HTML file with its charts and pictures inside it, which refers to nothing outside.
//! Not here: the figures (`tables`, `curves`, `cases`); the markup (`assets/report/page.html`).

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use super::cases::{Case, case_picture, case_studies};
use super::curves::NamedChart;
use super::error::ReportError;
use super::recorded_run::RecordedRun;
use super::seeds::SeedGroup;
use super::tables::{
    HealthNotes, Table, evaluations_table, health_notes, results_table, runs_table, timing_table,
};
use crate::data::gold_answer;
use crate::train::records::CompletionRecord;

const TEMPLATE: &str = include_str!("../../assets/report/page.html");
/// Larger pictures are shrunk to that many pixels on their longer side.
const PICTURE_SIZE: u32 = 384;

/// Everything that the template shows.
#[derive(Serialize)]
struct Page<'a> {
    title: String,
    version: &'static str,
    smoothing: f64,
    has_bands: bool,
    charts: Vec<ChartOnPage<'a>>,
    runs: Table,
    results: Table,
    timing: Table,
    evaluations: Table,
    health: Vec<HealthNotes>,
    studies: Vec<StudiesOnPage<'a>>,
}

#[derive(Serialize)]
struct ChartOnPage<'a> {
    name: &'a str,
    svg: String,
}

#[derive(Serialize)]
struct StudiesOnPage<'a> {
    label: &'a str,
    shows_same_prompts: bool,
    cases: Vec<CaseOnPage<'a>>,
}

#[derive(Serialize)]
struct CaseOnPage<'a> {
    prompt_id: &'a str,
    problem: &'a str,
    answer: &'a str,
    picture: Option<String>,
    moments: Vec<MomentOnPage<'a>>,
}

#[derive(Serialize)]
struct MomentOnPage<'a> {
    update: u64,
    completions: Vec<&'a CompletionRecord>,
}

/// The page as a whole HTML file.
///
/// - `groups`: the same runs by configuration; case studies come from each group's first run
/// - `smoothing`: the weight that the charts were made with
///
/// # Errors
/// A chart or a picture cannot be drawn.
pub fn page(
    runs: &[RecordedRun],
    groups: &[SeedGroup<'_>],
    charts: &[NamedChart],
    smoothing: f64,
) -> Result<String, ReportError> {
    let labels: Vec<&str> = groups.iter().map(|group| group.label.as_str()).collect();
    let firsts = groups.iter().filter_map(|group| group.runs.first());
    let page = Page {
        title: format!("Training report: {}", labels.join(", ")),
        version: env!("CARGO_PKG_VERSION"),
        smoothing,
        has_bands: groups.iter().any(|group| group.runs.len() > 1),
        charts: charts.iter().map(chart_on_page).collect::<Result<_, ReportError>>()?,
        runs: runs_table(runs),
        results: results_table(groups),
        timing: timing_table(runs),
        evaluations: evaluations_table(runs),
        health: runs.iter().map(health_notes).collect(),
        studies: firsts.map(|run| studies(run)).collect::<Result<_, ReportError>>()?,
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    Ok(environment.template_from_str(TEMPLATE)?.render(Serde(page))?)
}

fn chart_on_page(named: &NamedChart) -> Result<ChartOnPage<'_>, ReportError> {
    Ok(ChartOnPage { name: &named.name, svg: named.chart.svg()? })
}

fn studies(run: &RecordedRun) -> Result<StudiesOnPage<'_>, ReportError> {
    let studies = case_studies(run);
    let cases = studies.cases.into_iter().map(|case| on_page(run, case));
    Ok(StudiesOnPage {
        label: &run.label,
        shows_same_prompts: studies.shows_same_prompts,
        cases: cases.collect::<Result<_, ReportError>>()?,
    })
}

fn on_page<'a>(run: &'a RecordedRun, case: Case<'a>) -> Result<CaseOnPage<'a>, ReportError> {
    let picture = case_picture(&run.config, case.prompt_id);
    let moments = case.moments.into_iter();
    Ok(CaseOnPage {
        prompt_id: case.prompt_id,
        problem: case.problem,
        answer: gold_answer(case.solution),
        picture: picture.map(|picture| data_uri(&picture)).transpose()?,
        moments: moments
            .map(|moment| MomentOnPage { update: moment.update, completions: moment.completions })
            .collect(),
    })
}

/// The picture as an address that holds it.
fn data_uri(picture: &RgbImage) -> Result<String, ReportError> {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    let shrunk = (longest > PICTURE_SIZE).then(|| {
        let side = |side: u32| (side * PICTURE_SIZE / longest).max(1);
        imageops::thumbnail(picture, side(width), side(height))
    });
    let mut png = Cursor::new(Vec::new());
    shrunk.as_ref().unwrap_or(picture).write_to(&mut png, ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}
