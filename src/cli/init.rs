//! `othink init`: a run file for data of one's own.
//! Not here: what keys mean (`config`), looking at every row (`data`).

use std::path::{Path, PathBuf};

use toml::Value;

use crate::config::{ConfigFile, RunConfig};
use crate::data::Dataset;
use crate::data::configured::{training_rows, warn_of_rows};
use crate::data::tasks::{resolved, task};
use crate::out_file;
use crate::printable::count;
use crate::reward::{Golds, RewardSettings};

use super::failure::UsageError;
use super::out_file::check_out_file;
use super::{ExitStatus, Printer};

const EXAMPLES: &str = "\
Examples:
  othink init my.jsonl
  othink init my.jsonl --field problem=question_text --field solution=gold
  othink init pictures --out counting.toml --model Qwen/Qwen2-VL-2B-Instruct";

/// The built-in model, which is trained in other steps than one of billions of parameters.
const TINY: &str = "tiny";

/// Write a run file for data of your own: commented, with rows held out to measure the run on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A file of rows, a folder of them or a data set of the hub
    #[arg(value_name = "DATA")]
    data: String,
    /// The run file, which must not be there yet [default: NAME.toml, after the data]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The model to train: a folder, a hub id or tiny
    #[arg(long, value_name = "PATH", default_value = TINY)]
    model: String,
    /// The folder or zip archive that relative picture paths start at [default: the data's folder]
    #[arg(long, value_name = "PATH")]
    image_root: Option<String>,
    /// The name of a field of the rows for problem, solution, image, completion or reasoning; may be
    /// repeated
    #[arg(long = "field", value_name = "THING=NAME", value_parser = field)]
    fields: Vec<String>,
}

/// The run file, with places for what depends on the data.
const TEMPLATE: &str = include_str!("own_data.toml");

/// What is known of the data.
struct Found {
    rows: usize,
    /// Rows whose solution the reward cannot read, and why of the first.
    unreadable: (usize, String),
}

/// What `--field` may say.
fn field(text: &str) -> Result<String, String> {
    const THINGS: [&str; 5] = ["problem", "solution", "image", "completion", "reasoning"];
    match text.split_once('=') {
        Some((thing, name)) if THINGS.contains(&thing) && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("expected one of {}, = and a field's name", THINGS.join(", "))),
    }
}

/// Runs the command.
///
/// # Errors
/// The file is there already, or the data cannot be used.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let out = args.out.clone().unwrap_or_else(|| {
        let stem = Path::new(&args.data).file_stem().unwrap_or("run".as_ref());
        Path::new(stem).with_extension("toml")
    });
    if let (Ok(task), false) = (task(&args.data), Path::new(&args.data).exists()) {
        let problem = format!("{}: found a task, expected data of your own", args.data);
        let hint = format!("a task has run files: othink train --config {}", task.run_files.grpo_d);
        return Err(UsageError::new(problem, hint).into());
    }
    check_out_file("--out", &out)?;
    if out.exists() {
        let problem = format!("{}: found a file, expected none", out.display());
        return Err(
            UsageError::new(problem, "name another file with --out; none is replaced").into()
        );
    }
    let found = found(args)?;
    let text = text(args, &out, &found);
    out_file::write(&out, text.as_bytes())?;
    let name = out.display().to_string();
    // What was written is read as `train` will read it.
    let rows = training_rows(&resolved(&RunConfig::load(&name, &[])?)?)?;
    printer.line(format!(
        "{name}: {} to train on, {} held out\nnext: othink data --config {name}\n      othink train --config {name}",
        count(rows.len(), "row"),
        found.rows - rows.len()
    ))?;
    Ok(ExitStatus::Done)
}

/// Opens the data as a run would, all of its rows.
fn found(args: &Args) -> anyhow::Result<Found> {
    let file = ConfigFile::from_text("othink init", "[data]\nallow_unparsable = true\n");
    let mut overrides = vec![format!("data.train={}", quoted(&args.data))];
    overrides
        .extend(args.image_root.iter().map(|root| format!("data.image_root={}", quoted(root))));
    overrides.extend(args.fields.iter().map(|field| format!("data.fields.{field}")));
    let rows = training_rows(&resolved(&RunConfig::from_file(&file, &overrides)?)?)?;
    warn_of_rows(&rows);
    rows.check_images()?;
    if rows.len() < 2 {
        let (name, n_rows) = (rows.name().to_owned(), rows.len());
        return Err(crate::data::DataError::TooFewRows { name, n_rows }.into());
    }
    Ok(Found { rows: rows.len(), unreadable: unreadable(&rows) })
}

fn unreadable(rows: &Dataset) -> (usize, String) {
    let settings = RewardSettings::default();
    let mut why = rows.listed_solutions().filter_map(|(row, solution)| {
        let why = Golds::parse(&settings, solution).err()?;
        Some(format!("{row}: {why}"))
    });
    let first = why.next();
    let n = usize::from(first.is_some()) + why.count();
    (n, first.unwrap_or_default())
}

fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A path as it stands in the run file: from the file's folder where it is below that, else absolute. A name of the hub
/// stays.
fn from_folder_of(out: &Path, path: &str) -> String {
    let is_there = Path::new(path).exists();
    let folder = out.parent().unwrap_or(Path::new(""));
    let folder = if folder == Path::new("") { Path::new(".") } else { folder };
    let canonical = |path: &Path| std::fs::canonicalize(path).ok();
    match (is_there, canonical(folder), canonical(Path::new(path))) {
        (true, Some(folder), Some(whole)) => {
            let below = whole.strip_prefix(&folder).unwrap_or(&whole);
            below.display().to_string()
        }
        _ => path.to_owned(),
    }
}

/// The run file.
fn text(args: &Args, out: &Path, found: &Found) -> String {
    let data = from_folder_of(out, &args.data);
    let is_tiny = args.model == TINY;
    let (template, lr, n_new) =
        if is_tiny { ("short", "5e-5", "64") } else { ("r1v", "1e-6", "512") };
    let model = if is_tiny {
        format!(
            "\"{TINY}\"                # built in, for a first try; then for example Qwen/Qwen2-VL-2B-Instruct"
        )
    } else {
        quoted(&from_folder_of(out, &args.model)).to_string()
    };
    let values = [
        ("@name@", out.display().to_string()),
        ("@rows@", found.rows.to_string()),
        ("@template@", template.to_owned()),
        ("@lr@", lr.to_owned()),
        ("@tokens@", n_new.to_owned()),
        ("@model@", model),
        ("@more@", more(args, out, found)),
        ("@train@", quoted(&data).to_string()),
        ("@data@", data),
    ];
    values.iter().fold(TEMPLATE.to_owned(), |text, (place, value)| text.replace(place, value))
}

/// The lines on what is special about the data.
fn more(args: &Args, out: &Path, found: &Found) -> String {
    let mut lines = match &args.image_root {
        Some(root) => vec![format!("image_root = {}", quoted(&from_folder_of(out, root)))],
        None => vec![
            "# image_root = \"images\"      # where relative picture paths start, if not at the data's folder".to_owned(),
        ],
    };
    if let (n @ 1.., why) = &found.unreadable {
        let why = why.lines().next().unwrap_or_default();
        lines.push(format!("allow_unparsable = true      # solutions that cannot be read, so that no answer is right: {n},"));
        lines.push(format!("                             # the first {why}"));
    }
    let fields = args.fields.iter().filter_map(|field| field.split_once('='));
    let fields: Vec<String> =
        fields.map(|(thing, name)| format!("{thing} = {}", quoted(name))).collect();
    lines.push(String::new());
    if fields.is_empty() {
        lines
            .push("# [data.fields]              # where rows have other names for them".to_owned());
        lines.push("# problem = \"question_text\"".to_owned());
    } else {
        lines.push("[data.fields]".to_owned());
        lines.extend(fields);
    }
    lines.push(String::new());
    lines.join("\n")
}
