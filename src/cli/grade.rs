//! `othink grade`: from flags to rewards, offline.
//! Not here: the rules (`reward`), the file's form (`data`), going through it (`eval::grading`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::eval::grading::{GradedCompletion, GradingSummary, UnparsableGolds, grade_file};
use crate::out_file::OutFile;
use crate::reward::Rule;

use super::failure::UsageError;
use super::out_file::check_out_file;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink grade --input runs/quickstart/completions.jsonl
  othink grade --input answers.jsonl --rule r1v-geoqa --out graded.jsonl --json
  othink grade --input answers.jsonl --explain";

/// Grade completions that are on disk: accuracy by a rule, and format.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// JSON lines with the fields completion and solution, such as a run's completions.jsonl
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The rule: answer-tag, r1v-reward, r1v-superclevr or r1v-geoqa
    #[arg(long, default_value_t)]
    rule: Rule,
    /// Write every line with accuracy, format, answer and reason added to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print for every line what was found, how it was read and why it is right or wrong
    #[arg(long)]
    explain: bool,
    /// Count solutions that the rule cannot read, rather than stop at the first
    #[arg(long)]
    allow_unparsable: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "explain")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The flags or a line of the file are wrong, or the output cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if let Some(out) = &args.out {
        check_out_file("--out", out)?;
        if is_same_file(out, &args.input) {
            let problem = format!("--out {}: found the file to be graded", out.display());
            return Err(UsageError::new(problem, "name another file").into());
        }
    }
    let golds =
        if args.allow_unparsable { UnparsableGolds::Count } else { UnparsableGolds::Refuse };
    let name = args.out.as_deref().unwrap_or(Path::new("")).display();
    let writing = || format!("writing {name}");
    let mut out = args.out.as_deref().map(OutFile::create).transpose().with_context(writing)?;
    let mut on_graded = |graded: &GradedCompletion| -> anyhow::Result<()> {
        if let Some(out) = &mut out {
            serde_json::to_writer(&mut *out, &graded.fields).with_context(writing)?;
            out.write_all(b"\n").with_context(writing)?;
        }
        if args.explain {
            printer.line(explained(graded))?;
        }
        Ok(())
    };
    let summary = grade_file(&args.input, args.rule, golds, &mut on_graded)?;
    if let Some(out) = out {
        out.finish().with_context(writing)?;
    }
    if args.json {
        printer.json(&summary)?;
    } else {
        printer.line(table(&summary))?;
    }
    Ok(ExitStatus::Done)
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What a person needs to see why a line was graded as it was.
fn explained(graded: &GradedCompletion) -> String {
    let explanation = graded.gold.explain(&graded.completion);
    let verdict = if explanation.verdict.is_correct { "right" } else { "wrong" };
    let found = explanation.verdict.answer.as_deref().unwrap_or("nothing");
    let rows = [
        ("found", found),
        ("read as", explanation.answer.as_deref().unwrap_or("nothing")),
        ("solution", graded.gold.solution()),
        ("read as", explanation.gold.as_deref().unwrap_or("nothing")),
        ("format", if graded.is_well_formed { "as asked for" } else { "not as asked for" }),
    ];
    let rows = rows.map(|(name, value)| format!("  {name:<9} {value}"));
    format!("line {}: {verdict}: {}\n{}", graded.row, explanation.verdict.reason, rows.join("\n"))
}

/// One figure a line.
fn table(summary: &GradingSummary) -> String {
    let percent = |part: f64| format!("{:.2}%", 100.0 * part);
    let [low, high] = summary.ci95.map(percent);
    let mut rows = vec![
        ("rule", format!("{} (version {})", summary.rule, summary.version)),
        ("completions", summary.n.to_string()),
        ("correct", summary.correct.to_string()),
        ("accuracy", format!("{} (95%: {low} to {high})", percent(summary.accuracy))),
        ("format rate", percent(summary.format_rate)),
        ("ungraded", format!("{} without an answer to grade", summary.ungraded)),
    ];
    if !summary.unparsable_rows.is_empty() {
        let lines: Vec<String> = summary.unparsable_rows.iter().map(ToString::to_string).collect();
        rows.push(("unparsable", format!("solutions on lines {}", lines.join(", "))));
    }
    let rows: Vec<String> =
        rows.into_iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    rows.join("\n")
}
