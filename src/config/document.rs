//! A run file as text with positions: which key stands on which line, and what is wrong with it.
//! Not here: overrides (`overrides`), rules about values (each section's `check`).

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::error::ConfigError;
use super::file::ConfigFile;
use super::known_keys;
use super::run_config::RunConfig;

/// A parsed run file: known keys alone, each value of its key's type.
#[derive(Debug)]
pub(super) struct Document {
    /// The file's contents.
    pub(super) table: Table,
    name: String,
    entries: Vec<Entry>,
}

/// One `key = value` or section header.
#[derive(Debug)]
struct Entry {
    /// Dotted name.
    key: String,
    /// First line is 1.
    line: usize,
    /// Bytes from the key's first to the value's last.
    range: Range<usize>,
}

impl Document {
    /// Parses the file; every key is known and every value has its key's type.
    ///
    /// # Errors
    /// Not TOML, an unknown section or key, a value of the wrong type.
    pub(super) fn parse(file: &ConfigFile) -> Result<Self, ConfigError> {
        let (name, text) = (file.name(), file.text());
        let spanned = DeTable::parse(text).map_err(|error| syntax_error(name, text, &error))?;
        let entries = entries_of(spanned.get_ref(), text);
        if let Some(entry) = entries.iter().find(|entry| !known_keys::is_known(&entry.key)) {
            return Err(unknown_key(format!("{name}:{}", entry.line), &entry.key));
        }
        if let Err(error) = toml::from_str::<RunConfig>(text) {
            let offset = error.span().map_or(0, |span| span.start);
            let enclosing = entries.iter().filter(|entry| entry.range.contains(&offset));
            let Some(entry) = enclosing.min_by_key(|entry| entry.range.len()) else {
                return Err(wrong_type(name.to_owned(), "run file", error.message()));
            };
            let place = format!("{name}:{}", entry.line);
            return Err(wrong_type(place, &entry.key, error.message()));
        }
        let table = text.parse().map_err(|error| syntax_error(name, text, &error))?;
        Ok(Self { table, name: name.to_owned(), entries })
    }

    /// `FILE:LINE` of a key, or `FILE` where the key is not in the file.
    pub(super) fn place_of(&self, key: &str) -> String {
        match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => format!("{}:{}", self.name, entry.line),
            None => self.name.clone(),
        }
    }
}

/// The error for a key that does not exist.
pub(super) fn unknown_key(place: String, key: &str) -> ConfigError {
    let (nearest, hint) = (known_keys::meant_by(key), known_keys::hint_for(key));
    ConfigError::UnknownKey { place, key: key.to_owned(), nearest, hint }
}

/// The error for a value that is not of its key's type, with the default as an example.
pub(super) fn wrong_type(place: String, key: &str, problem: &str) -> ConfigError {
    let hint = match default_of(key) {
        Some(value) => format!("the default is {key} = {value}"),
        None => "leave the key out for the default".to_owned(),
    };
    ConfigError::WrongType { place, key: key.to_owned(), problem: plain_words(problem), hint }
}

fn entries_of(table: &DeTable<'_>, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (section, value) in table {
        entries.push(entry(section.get_ref().to_string(), section.span(), value, text));
        add_entries(section.get_ref(), value, text, &mut entries);
    }
    entries.sort_by_key(|entry| entry.range.start);
    entries
}

/// Adds the entries of a table and, recursively, of the tables in it; the parser limits the depth.
fn add_entries(prefix: &str, table: &Spanned<DeValue<'_>>, text: &str, entries: &mut Vec<Entry>) {
    let Some(inner) = table.get_ref().as_table() else { return };
    for (name, value) in inner {
        let key = format!("{prefix}.{}", name.get_ref());
        add_entries(&key, value, text, entries);
        entries.push(entry(key, name.span(), value, text));
    }
}

fn entry(key: String, span: Range<usize>, value: &Spanned<DeValue<'_>>, text: &str) -> Entry {
    let line = line_of(text, span.start);
    Entry { key, line, range: span.start..value.span().end.max(span.end) }
}

/// The line a byte stands on, the first being 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn syntax_error(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map_or_else(
        || name.to_owned(),
        |span| format!("{name}:{}", line_of(text, span.start.min(text.len()))),
    );
    let problem = error.message().replace('\n', ", ");
    let hint = if problem.contains("duplicate key") {
        "keep one of the two"
    } else {
        "one `key = value` a line, text in double quotes, sections in [brackets]"
    };
    ConfigError::Syntax { place, problem, hint: hint.to_owned() }
}

/// The default under a dotted key, as it would stand in a file.
fn default_of(key: &str) -> Option<Value> {
    let defaults = Table::try_from(RunConfig::default()).ok()?;
    let mut value = Value::Table(defaults);
    for name in key.split('.') {
        value = value.get(name)?.clone();
    }
    (!value.is_table()).then_some(value)
}

/// A deserialisation message without the names of Rust's types.
fn plain_words(message: &str) -> String {
    let message = message.replace('\n', ", ");
    let message = message.replace("invalid type: ", "found ").replace("invalid value: ", "found ");
    let Some((before, expected)) = message.rsplit_once("expected ") else { return message };
    let plain = match expected {
        "usize" | "u64" | "u32" => "a whole number of at least 0",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a map" => "a section",
        other if other.starts_with("struct ") => "a section",
        other => other,
    };
    format!("{before}expected {plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_in(text: &'static str) -> String {
        Document::parse(&ConfigFile::from_text("run.toml", text)).unwrap_err().to_string()
    }

    #[test]
    fn unknown_key_is_named_with_its_line_and_the_nearest_one() {
        assert_eq!(
            problem_in("method = \"grpo\"\n\n[grpo]\nclip_low = 0.1\ngroup_sise = 4\n"),
            "run.toml:5: unknown key `grpo.group_sise`\nhint: did you mean `grpo.group_size`?"
        );
        assert_eq!(
            problem_in("[grpo]\nquantum_flux = 4\n"),
            "run.toml:2: unknown key `grpo.quantum_flux`\nhint: [grpo] has the keys group_size, \
             prompts_per_update, updates_per_rollout, mini_batches, clip_low, clip_high, \
             mask_truncated, log_ratio_limit"
        );
        assert_eq!(
            problem_in("\n[gropo]\ngroup_size = 4\n"),
            "run.toml:2: unknown key `gropo`\nhint: did you mean `grpo`?"
        );
    }

    #[test]
    fn key_of_a_section_within_a_section_is_named_with_its_line() {
        assert_eq!(
            problem_in("[reward]\nalpha = 1\n\n[reward.weights]\nchoice = 1\nfluency = 0.5\n"),
            "run.toml:6: unknown key `reward.weights.fluency`\nhint: [reward.weights] has the keys \
             accuracy, choice, relative_error, set_match, box_iou, length_penalty, \
             repetition_penalty"
        );
        assert_eq!(
            problem_in("[reward]\nweights = { choice = \"much\" }\n"),
            "run.toml:2: reward.weights.choice: found string \"much\", expected a number\n\
             hint: leave the key out for the default"
        );
        assert_eq!(
            problem_in("[reward.command]\nprogram = \"python3 reward.py\"\nargs = \"x\"\n"),
            "run.toml:3: reward.command.args: found string \"x\", expected a sequence\n\
             hint: leave the key out for the default"
        );
    }

    #[test]
    fn value_of_the_wrong_type_is_named_with_its_line() {
        assert_eq!(
            problem_in("[optim]\nlr = 1e-6\n[grpo]\ngroup_size = \"four\"\n"),
            "run.toml:4: grpo.group_size: found string \"four\", expected a whole number \
             of at least 0\nhint: the default is grpo.group_size = 8"
        );
        assert_eq!(
            problem_in("optim.betas = [0.9]\n"),
            "run.toml:1: optim.betas: invalid length 1, expected an array of length 2\n\
             hint: the default is optim.betas = [0.9, 0.999]"
        );
        assert_eq!(
            problem_in("model = 3\n"),
            "run.toml:1: model: found integer `3`, expected a section\n\
             hint: leave the key out for the default"
        );
    }

    #[test]
    fn word_that_is_no_choice_is_named_with_the_choices() {
        assert_eq!(
            problem_in("method = \"ppo\"\n"),
            "run.toml:1: method: unknown variant `ppo`, expected one of `grpo-d`, `grpo`, `sft`\n\
             hint: the default is method = \"grpo-d\""
        );
        assert_eq!(
            problem_in("[model]\ndtype = \"float32\"\n"),
            "run.toml:2: model.dtype: `float32` is not a number format, expected auto, f32, bf16 \
             or f16\nhint: the default is model.dtype = \"auto\""
        );
    }

    #[test]
    fn text_that_is_not_toml_is_named_with_its_line() {
        let message = problem_in("[data]\ntask = synth-vc\n");
        assert!(message.starts_with("run.toml:2: not valid TOML: "), "{message}");
        assert!(message.contains("\nhint: one `key = value` a line, text in double quotes"));
        let message = problem_in("[kl]\nbeta = 1\n\nbeta = 2\n");
        assert!(message.starts_with("run.toml:4: not valid TOML: duplicate key"), "{message}");
        assert!(message.ends_with("hint: keep one of the two"));
    }

    #[test]
    fn empty_file_is_a_document_without_entries() {
        let document = Document::parse(&ConfigFile::from_text("run.toml", "")).unwrap();
        assert!(document.table.is_empty() && document.entries.is_empty());
        assert_eq!(document.place_of("grpo.group_size"), "run.toml");
    }
}
