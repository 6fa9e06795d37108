//! The page: one HTML file with its data, pictures, style and scripts inside it, which refers to nothing outside; or the same
//! without data, for the program that serves it.
//! Not here: the figures (`summary`, `rollouts`); markup, style and scripts (`assets/report`).
//!
//! Three things keep what models and data say from being anything but text. Data is base64 (`packed`), of which no markup
//! can be made; our scripts put it in as text; and the page's own policy lets no other script run than those whose hashes it
//! names, no text become markup, and nothing be fetched.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::error::ReportError;
use super::packed::packed;
use super::pictures::{PictureRows, rows_of};
use super::recorded_run::RecordedRun;
use super::rollouts::{NamedAnswers, Source, SourceIndex};
use super::summary::summary;

const TEMPLATE: &str = include_str!("../../assets/report/page.html");
const LIBRARY: &str = include_str!("../../assets/report/uplot/uPlot.iife.min.js");
const LIBRARY_STYLE: &str = include_str!("../../assets/report/uplot/uPlot.min.css");
const OWN_STYLE: &str = include_str!("../../assets/report/page.css");
/// In the order in which they use each other.
const SCRIPTS: [&str; 6] = [
    include_str!("../../assets/report/elements.js"),
    include_str!("../../assets/report/data.js"),
    include_str!("../../assets/report/charts.js"),
    include_str!("../../assets/report/groups.js"),
    include_str!("../../assets/report/rollouts.js"),
    include_str!("../../assets/report/page.js"),
];

static STYLE: LazyLock<String> = LazyLock::new(|| [LIBRARY_STYLE, OWN_STYLE].concat());
static SCRIPT: LazyLock<String> =
    LazyLock::new(|| format!("(() => {{\n\"use strict\";\n{}}})();", SCRIPTS.concat()));

/// Texts of all completions in a page, bytes before they are compressed; more are thinned out.
const MAX_TEXT_BYTES: usize = 128 * 1024 * 1024;
/// Pictures in a page, and what they take.
const MAX_PICTURES: usize = 2000;
const MAX_PICTURE_BYTES: usize = 16 * 1024 * 1024;

/// What the template takes.
#[derive(Serialize)]
struct Shell<'a> {
    title: &'a str,
    version: &'static str,
    mode: &'static str,
    policy: String,
    style: &'static str,
    library: &'static str,
    script: &'static str,
    blocks: Vec<Block>,
}

/// Data in the page, under a name.
#[derive(Serialize)]
struct Block {
    id: String,
    /// Letters that are no markup.
    contents: String,
}

/// A source as the page's browser takes it.
#[derive(Debug, Serialize)]
pub(super) struct BrowsedSource<'a> {
    #[serde(flatten)]
    pub(super) index: SourceIndex<'a>,
    /// For each question, the name of its picture.
    pub(super) pictures: Vec<Option<String>>,
    pub(super) picture_note: &'a str,
}

/// All sources.
#[derive(Debug, Serialize)]
pub(super) struct Index<'a> {
    pub(super) sources: Vec<BrowsedSource<'a>>,
}

/// The page as a whole HTML file.
///
/// - `answers`: files of `othink eval --out`, in the order in which they are compared
/// - `smoothing`: weight of what came before in the curves, 0 to below 1
///
/// # Errors
/// A picture cannot be encoded.
pub fn page(
    runs: &[RecordedRun],
    answers: &[NamedAnswers],
    smoothing: f64,
) -> Result<String, ReportError> {
    let summary = summary(runs, smoothing)?;
    let sources = sources(runs, answers);
    let max_bytes = MAX_TEXT_BYTES / sources.len().max(1);
    let sources: Vec<Source<'_>> =
        sources.into_iter().map(|source| source.thinned(max_bytes)).collect();
    let rows = rows_of(runs, !answers.is_empty());
    let mut pictures = Vec::new();
    let index = index(&sources, &rows, &mut pictures)?;
    let mut blocks = vec![
        Block { id: "data-summary".to_owned(), contents: packed(&summary)? },
        Block { id: "data-index".to_owned(), contents: packed(&index)? },
    ];
    for (place, source) in sources.iter().enumerate() {
        let chunks: Vec<_> = source.chunks().into_iter().enumerate().collect();
        let made = chunks.into_par_iter().map(|(chunk, groups)| {
            let contents = packed(&source.chunk(groups))?;
            Ok(Block { id: format!("data-chunk-{place}-{chunk}"), contents })
        });
        blocks.extend(made.collect::<Result<Vec<_>, ReportError>>()?);
    }
    blocks.extend(
        pictures
            .into_iter()
            .enumerate()
            .map(|(place, contents)| Block { id: format!("data-picture-{place}"), contents }),
    );
    shell(&summary.title, "file", blocks)
}

/// The page without data, which asks for it where it came from.
///
/// # Errors
/// The template cannot be filled.
pub(super) fn live_page(title: &str) -> Result<String, ReportError> {
    shell(title, "live", Vec::new())
}

/// The rollouts of each run and, if there are any, the answers.
pub(super) fn sources<'a>(runs: &'a [RecordedRun], answers: &'a [NamedAnswers]) -> Vec<Source<'a>> {
    let evaluations = (!answers.is_empty()).then(|| Source::of_evaluations(answers));
    runs.iter().map(Source::of_run).chain(evaluations).collect()
}

/// The index of all sources; their pictures are added to `pictures`, each once.
///
/// - `rows`: of each source
fn index<'a>(
    sources: &'a [Source<'_>],
    rows: &'a [Arc<PictureRows>],
    pictures: &mut Vec<String>,
) -> Result<Index<'a>, ReportError> {
    let indices: Vec<SourceIndex<'_>> = sources.iter().map(Source::index).collect();
    let mut names: Vec<BTreeMap<&str, String>> = Vec::with_capacity(rows.len());
    let shares = |a: usize, b: usize| Arc::ptr_eq(&rows[a], &rows[b]);
    let n_distinct = (0..rows.len()).filter(|&a| !(0..a).any(|b| shares(a, b))).count().max(1);
    for place in 0..rows.len() {
        if let Some(before) = (0..place).find(|&before| shares(before, place)) {
            names.push(names[before].clone());
            continue;
        }
        let sharing = (place..rows.len()).filter(|&other| shares(place, other));
        // In the order in which they are shown, each once.
        let mut seen = HashSet::new();
        let ids = sharing.flat_map(|other| indices[other].prompts.iter().map(|prompt| prompt.id));
        let ids: Vec<&str> = ids.filter(|id| seen.insert(*id)).collect();
        let (most, bytes) = (MAX_PICTURES / n_distinct, MAX_PICTURE_BYTES / n_distinct);
        let addresses = rows[place].addresses(&ids, most, bytes)?;
        let mut of_rows = BTreeMap::new();
        for (id, address) in ids.into_iter().zip(addresses) {
            if let Some(address) = address {
                of_rows.insert(id, pictures.len().to_string());
                pictures.push(address);
            }
        }
        names.push(of_rows);
    }
    let sources = indices.into_iter().zip(names).zip(rows).map(|((index, names), rows)| {
        let pictures = index.prompts.iter().map(|prompt| names.get(prompt.id).cloned()).collect();
        BrowsedSource { index, pictures, picture_note: &rows.note }
    });
    Ok(Index { sources: sources.collect() })
}

fn shell(title: &str, mode: &'static str, blocks: Vec<Block>) -> Result<String, ReportError> {
    let from = if mode == "live" { " 'self'" } else { "" };
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src data:{from}; connect-src{}; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'",
        hash(LIBRARY),
        hash(&SCRIPT),
        hash(&STYLE),
        if from.is_empty() { " 'none'" } else { from },
    );
    let shell = Shell {
        title,
        version: env!("CARGO_PKG_VERSION"),
        mode,
        policy,
        style: &STYLE,
        library: LIBRARY,
        script: &SCRIPT,
        blocks,
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    Ok(environment.template_from_str(TEMPLATE)?.render(Serde(shell))?)
}

#[cfg(test)]
mod tests {
    use super::super::packed::unpacked;
    use super::super::recorded_run::test_run;
    use super::super::rollouts::test_record;
    use super::*;

    const HOSTILE: &str = "</script><img src=x onerror=\"alert(1)\">\"'&\u{0}";

    fn page_of(runs: &[RecordedRun]) -> String {
        page(runs, &[], 0.6).unwrap()
    }

    fn hostile_run() -> RecordedRun {
        let mut run = test_run(HOSTILE, 1, &[1.0, 2.0]);
        run.config.data.task = Some("synth-vc".to_owned());
        run.metrics[0].reward_components.insert(HOSTILE.to_owned(), 1.0);
        let mut record = test_record(1, "synth-vc/train/3", 0);
        record.problem = HOSTILE.to_owned();
        record.solution = HOSTILE.to_owned();
        record.completion = HOSTILE.to_owned();
        record.answer = Some(HOSTILE.to_owned());
        run.completions.push(record);
        run
    }

    /// The data under a name, unpacked.
    fn data(page: &str, id: &str) -> serde_json::Value {
        unpacked(block(page, id))
    }

    fn block<'a>(page: &'a str, id: &str) -> &'a str {
        let begin = format!("<script type=\"text/plain\" id=\"{id}\">");
        page.split_once(&begin).unwrap().1.split_once("</script>").unwrap().0
    }

    #[test]
    fn text_of_models_and_data_is_in_the_page_as_letters_alone() {
        let page = page_of(&[hostile_run()]);
        assert!(!page.contains("<img"), "markup got in");
        // The library, our script, and data: summary, index, a chunk, a picture.
        assert_eq!(page.matches("</script>").count(), 6);
        assert!(page.contains("<title>Training report: &lt;&#x2f;script&gt;&lt;img src=x"));
        assert_eq!(data(&page, "data-chunk-0-0")[0][0]["text"], HOSTILE);
        assert_eq!(data(&page, "data-index")["sources"][0]["prompts"][0]["problem"], HOSTILE);
        assert_eq!(data(&page, "data-summary")["cards"][0]["label"], HOSTILE);
    }

    #[test]
    fn page_refers_to_nothing_outside_and_lets_nothing_in() {
        let page = page_of(&[hostile_run()]);
        for outside in ["src=\"", "@import", "url(", "<iframe", "<link rel=\"stylesheet"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let policy = page.split_once("Content-Security-Policy\" content=\"").unwrap().1;
        let policy = policy.split_once('"').unwrap().0.replace("&#x27;", "'");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        for part in ["connect-src 'none'", "img-src data:;", "require-trusted-types-for 'script'"] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(page.contains("<noscript>"));
    }

    /// The style sheet's colours by name, for light and for dark.
    fn schemes() -> Vec<BTreeMap<&'static str, [f64; 3]>> {
        let colours = |part: &'static str| {
            let declared = part.split_once('}').unwrap().0.split(';');
            let named = declared.filter_map(|one| one.trim().strip_prefix("--")?.split_once(": #"));
            let channel = |digits: &str| {
                let value = f64::from(u8::from_str_radix(digits, 16).unwrap()) / 255.0;
                if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            named
                .map(|(name, hex)| (name, [&hex[..2], &hex[2..4], &hex[4..6]].map(channel)))
                .collect()
        };
        OWN_STYLE.split(":root {").skip(1).map(colours).collect()
    }

    /// WCAG 2.2: text needs a contrast of 4.5, lines of a chart need 3.
    #[test]
    fn colours_can_be_told_apart_in_light_and_dark() {
        let schemes = schemes();
        assert_eq!(schemes.len(), 2);
        for colours in schemes {
            let luminance = |name: &str| {
                let [red, green, blue] = colours[name];
                0.2126 * red + 0.7152 * green + 0.0722 * blue
            };
            let contrast = |a: &str, b: &str| {
                let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
                a.max(b) / a.min(b)
            };
            for ink in ["ink", "soft", "accent", "good", "bad"] {
                for paper in ["paper", "surface", "tint"] {
                    assert!(contrast(ink, paper) >= 4.5, "{ink} on {paper}");
                }
            }
            assert!(contrast("good", "good-tint") >= 4.5 && contrast("bad", "bad-tint") >= 4.5);
            for line in 0..7 {
                assert!(contrast(&format!("line-{line}"), "surface") >= 3.0, "line {line}");
            }
        }
    }

    #[test]
    fn our_scripts_make_no_markup_and_each_says_what_lives_in_it() {
        for script in SCRIPTS {
            assert!(script.starts_with("// ") && script.contains("\n// Not here: "));
            for means in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
                assert!(!script.contains(means), "{means}");
            }
        }
    }

    #[test]
    fn picture_of_a_question_is_in_the_page_once_for_all_seeds() {
        let run = |label: &str, seed| {
            let mut run = test_run(label, seed, &[1.0]);
            run.config.data.task = Some("synth-vc".to_owned());
            for (update, row) in [(1, 3), (2, 4), (3, 3)] {
                run.completions.push(test_record(update, &format!("synth-vc/train/{row}"), 0));
            }
            run
        };
        let page = page_of(&[run("a", 1), run("b", 2)]);
        let index = data(&page, "data-index");
        for source in 0..2 {
            assert_eq!(index["sources"][source]["pictures"], serde_json::json!(["0", "1"]));
        }
        assert!(block(&page, "data-picture-1").starts_with("data:image/png;base64,"));
        assert!(!page.contains("data-picture-2"));
    }

    #[test]
    fn page_that_is_served_has_no_data_and_may_ask_where_it_came_from() {
        let page = live_page("<b>").unwrap();
        assert!(page.contains("data-mode=\"live\"") && page.contains("<title>&lt;b&gt;</title>"));
        assert!(!page.contains("type=\"text/plain\""));
        assert!(page.replace("&#x27;", "'").contains("connect-src 'self'"));
    }
}
