//! Rows that were looked at, as a table or as JSON: of `othink data` and of `train --check-data`.
//! Not here: looking at them (`train::data_check`).

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::RunConfig;
use crate::data::Dataset;
use crate::data::survey::Range;
use crate::train::data_check::CheckedRows;

use super::{ExitStatus, Printer};

/// Rows of one kind of mistake that the table names; JSON names all.
const MOST_NAMED: usize = 10;

/// The printed object.
#[derive(Debug, Serialize)]
struct Report {
    would_stop: bool,
    data: Vec<Shown>,
}

/// One set of rows.
#[derive(Debug, Serialize)]
struct Shown {
    purpose: &'static str,
    name: String,
    rows: usize,
    looked_at: usize,
    usable: usize,
    fields: Vec<Field>,
    pictures: Range,
    pixels: Range,
    text_tokens: Range,
    image_tokens: Range,
    prompt_tokens: Range,
    longest: Option<String>,
    new_tokens: Option<usize>,
    positions: usize,
    has_room: bool,
    reads_golds: bool,
    unusable: Vec<String>,
    unreadable: Vec<Unreadable>,
    prompts: Vec<ShownPrompt>,
}

/// A field, and in how many rows of the file it holds something.
#[derive(Debug, Serialize)]
struct Field {
    name: String,
    rows: usize,
}

/// A row whose gold cannot be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    row: String,
    why: String,
}

/// A prompt as the model gets it.
#[derive(Debug, Serialize)]
struct ShownPrompt {
    row: String,
    solution: String,
    text: String,
    pictures: Vec<ShownPicture>,
    tokens: Vec<ShownToken>,
}

#[derive(Debug, Serialize)]
struct ShownPicture {
    name: String,
    width: u32,
    height: u32,
    tokens: usize,
}

/// A token and how often it comes in a row.
#[derive(Debug, Serialize)]
struct ShownToken {
    id: u32,
    text: String,
    times: usize,
}

/// Prints rows that were looked at; code 2 where a run would stop at them.
///
/// - `n_prompts`: prompts that are shown of each
///
/// # Errors
/// Standard output is closed or cannot be written, or a row cannot be read a second time.
pub(super) fn print_checked(
    config: &RunConfig,
    checked: &[CheckedRows],
    n_prompts: usize,
    json: bool,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let would_stop = checked.iter().any(|rows| rows.would_stop(config));
    let data = checked.iter().map(|rows| Shown::of(rows, n_prompts)).collect::<Result<_, _>>()?;
    let report = Report { would_stop, data };
    if json {
        printer.json(&report)?;
    } else {
        let tables: Vec<String> = report.data.iter().map(Shown::table).collect();
        let verdict =
            if would_stop { "a run on this would stop" } else { "a run can be made on this" };
        printer.line(format!("{}\n{verdict}", tables.join("\n")))?;
    }
    Ok(if would_stop { ExitStatus::Usage } else { ExitStatus::Done })
}

impl Shown {
    fn of(checked: &CheckedRows, n_prompts: usize) -> anyhow::Result<Self> {
        let (survey, dataset) = (&checked.survey, &checked.questions.dataset);
        let fields = match dataset.as_ref() {
            Dataset::Listed(rows) => rows.fields(),
            Dataset::Drawn(_) => &[],
        };
        let fields = fields.iter().map(|(name, rows)| Field { name: name.clone(), rows: *rows });
        let unreadable = checked.unreadable.iter();
        let unreadable =
            unreadable.map(|(row, why)| Unreadable { row: row.clone(), why: why.clone() });
        Ok(Self {
            purpose: checked.purpose.name(),
            name: dataset.name().to_owned(),
            rows: checked.n_rows,
            looked_at: checked.n_looked_at,
            usable: survey.rows,
            fields: fields.collect(),
            pictures: survey.pictures,
            pixels: survey.pixels,
            text_tokens: survey.text_tokens,
            image_tokens: survey.image_tokens,
            prompt_tokens: survey.prompt_tokens,
            longest: survey.longest.clone(),
            new_tokens: checked.n_new,
            positions: checked.positions,
            has_room: checked.has_room(),
            reads_golds: checked.golds.is_some(),
            unusable: checked.unusable().map(ToString::to_string).collect(),
            unreadable: unreadable.collect(),
            prompts: prompts(checked, n_prompts)?,
        })
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("rows for {}: {}", self.purpose, self.name)];
        let mut line = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
        let looked_at = if self.looked_at < self.rows {
            format!(", {} of them looked at, as they are drawn", self.looked_at)
        } else {
            String::new()
        };
        let n_bad = self.looked_at.saturating_sub(self.usable);
        let bad = if n_bad > 0 { format!(", {n_bad} cannot be used") } else { String::new() };
        line("rows", format!("{}{looked_at}{bad}", self.rows));
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|field| format!("{} {}", field.name, field.rows));
            line("fields", fields.collect::<Vec<_>>().join(", "));
        }
        line("pictures", format!("{} a row", spelled(self.pictures)));
        line("pixels", spelled(self.pixels));
        line("text tokens", spelled(self.text_tokens));
        line("image tokens", spelled(self.image_tokens));
        line("prompt tokens", spelled(self.prompt_tokens));
        if let Some(longest) = &self.longest {
            let new = self.new_tokens.map_or(String::new(), |n| format!(" and {n} new"));
            let room = if self.has_room { "fit into" } else { "do NOT fit into" };
            let most = self.prompt_tokens.most;
            let positions = self.positions;
            line("longest", format!("{longest}: {most} tokens{new} {room} {positions} positions"));
        }
        line(
            "golds",
            match self.unreadable.len() {
                _ if !self.reads_golds => "not read: completions are taught".to_owned(),
                0 => "all can be read".to_owned(),
                n => format!("{n} cannot be read"),
            },
        );
        let unreadable: Vec<String> =
            self.unreadable.iter().map(|Unreadable { row, why }| format!("{row}: {why}")).collect();
        for named in [&self.unusable, &unreadable] {
            lines.extend(
                named
                    .iter()
                    .take(MOST_NAMED)
                    .map(|why| format!("    {}", why.lines().next().unwrap_or_default())),
            );
            if named.len() > MOST_NAMED {
                lines
                    .push(format!("    and {} more, which --json names", named.len() - MOST_NAMED));
            }
        }
        lines.extend(self.prompts.iter().map(ShownPrompt::table));
        lines.join("\n")
    }
}

/// `16`, or `16 to 64, in the middle 20`.
fn spelled(Range { least, median, most }: Range) -> String {
    if least == most {
        return most.to_string();
    }
    format!("{least} to {most}, in the middle {median}")
}

/// Prompts from the beginning, the middle and the end of the rows, as many as are asked for.
fn prompts(checked: &CheckedRows, n: usize) -> anyhow::Result<Vec<ShownPrompt>> {
    let mut shown = Vec::new();
    let last = checked.n_looked_at.saturating_sub(1);
    let mut rows: Vec<usize> = (0..n).map(|idx| last * idx / n.saturating_sub(1).max(1)).collect();
    rows.dedup();
    for row in rows {
        // What is wrong with a row that cannot be used is said already.
        let Ok((sample, prompt)) = checked.questions.prompt(&checked.processor, row) else {
            continue;
        };
        let pictures = sample.images.iter().zip(&prompt.images).map(|(image, patches)| {
            let [width, height] = image.size()?;
            let (name, tokens) = (image.to_string(), patches.n_tokens());
            Ok(ShownPicture { name, width, height, tokens })
        });
        let mut tokens: Vec<ShownToken> = Vec::new();
        for id in &prompt.input_ids {
            match tokens.last_mut() {
                Some(last) if last.id == *id => last.times += 1,
                _ => {
                    let text = checked.processor.decode(&[*id], false)?;
                    tokens.push(ShownToken { id: *id, text, times: 1 });
                }
            }
        }
        shown.push(ShownPrompt {
            row: sample.id.clone(),
            solution: sample.solution.clone(),
            text: prompt.text.clone(),
            pictures: pictures.collect::<anyhow::Result<_>>()?,
            tokens,
        });
    }
    Ok(shown)
}

impl ShownPrompt {
    fn table(&self) -> String {
        let mut text = format!("prompt of {}, solution {}\n", self.row, self.solution);
        for picture in &self.pictures {
            let ShownPicture { name, width, height, tokens } = picture;
            // Writing into a text cannot fail.
            writeln!(text, "  picture        {name}, {width} x {height} pixels, {tokens} tokens")
                .ok();
        }
        for (idx, line) in self.text.trim_end_matches('\n').lines().enumerate() {
            let name = if idx == 0 { "text" } else { "" };
            writeln!(text, "  {name:<14} {line}").ok();
        }
        let tokens = self.tokens.iter().map(|token| {
            let shown = token.text.escape_debug();
            if token.times > 1 { format!("{shown} x {}", token.times) } else { shown.to_string() }
        });
        let n: usize = self.tokens.iter().map(|token| token.times).sum();
        let tokens: Vec<String> = tokens.collect();
        write!(text, "  tokens         {n}: {}", tokens.join("|")).ok();
        text
    }
}
