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
use crate::data::configured::training_rows;
use crate::data::{Dataset, gold_answer};
use crate::run_folder::records::CompletionRecord;

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
    // A page without pictures is better than none.
    let rows = training_rows(&run.config).ok();
    let cases = studies.cases.into_iter().map(|case| on_page(rows.as_ref(), case));
    Ok(StudiesOnPage {
        label: &run.label,
        shows_same_prompts: studies.shows_same_prompts,
        cases: cases.collect::<Result<_, ReportError>>()?,
    })
}

fn on_page<'a>(rows: Option<&Dataset>, case: Case<'a>) -> Result<CaseOnPage<'a>, ReportError> {
    let picture = rows.and_then(|rows| case_picture(rows, case.prompt_id));
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

/// The picture as a `data:` address.
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

#[cfg(test)]
mod tests {
    use super::super::curves::charts;
    use super::super::recorded_run::test_run;
    use super::super::seeds::seed_groups;
    use super::*;

    const HOSTILE: &str = "<script src=\"http://evil.example/a.js\">x</script>\"'&\u{0}";

    fn page_of(runs: &[RecordedRun]) -> String {
        let groups = seed_groups(runs);
        page(runs, &groups, &charts(&groups, 0.6), 0.6).unwrap()
    }

    fn hostile_run() -> RecordedRun {
        let mut run = test_run(HOSTILE, 1, &[1.0, 2.0]);
        run.config.data.task = Some("synth-vc".to_owned());
        run.metrics[0].reward_components.insert(HOSTILE.to_owned(), 1.0);
        let record = serde_json::json!({
            "update": 1, "prompt_id": "synth-vc/train/3", "completion_idx": 0, "problem": HOSTILE,
            "solution": HOSTILE, "completion": HOSTILE, "answer": HOSTILE, "accuracy_reward": 1.0,
            "format_reward": 0.0, "reward": 1.0, "advantage": 0.0, "n_tokens": 1, "is_truncated": true,
        });
        run.completions.push(serde_json::from_value(record).unwrap());
        run
    }

    #[test]
    fn text_of_models_and_data_stays_text() {
        let page = page_of(&[hostile_run()]);
        assert!(!page.contains("<script"), "a script got in");
        assert!(page.matches("&lt;script").count() >= 5, "the text itself is missing");
        assert!(!page.contains("src=\"http"), "an address got in");
    }

    #[test]
    fn page_refers_to_nothing_outside_and_names_what_it_shows() {
        let page = page_of(&[hostile_run(), test_run("b", 2, &[1.0])]);
        for outside in ["<link", "@import", "url(", "src=\"/", "href=\"http", "<iframe"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 1);
        assert_eq!(page.matches("<img ").count(), page.matches("\" alt=\"").count());
        let n_charts = page.matches("<svg ").count();
        assert!(n_charts >= 3);
        assert_eq!(n_charts, page.matches("<svg role=\"img\" aria-label=\"").count());
        assert!(page.contains("<html lang=\"en\">") && page.contains("<th scope=\"col\">"));
    }

    #[test]
    fn run_that_has_recorded_nothing_yet_has_a_page() {
        let page = page_of(&[test_run("new", 1, &[])]);
        assert!(page.contains("No updates yet.") && page.contains("No completions recorded."));
    }

    #[test]
    fn large_picture_is_shrunk_and_keeps_its_shape() {
        let uri = data_uri(&RgbImage::new(1000, 500)).unwrap();
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let picture = image::load_from_memory(&png).unwrap();
        assert_eq!((picture.width(), picture.height()), (384, 192));
    }
}
