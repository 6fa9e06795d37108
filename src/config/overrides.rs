//! `--set section.key=value`: values that replace those of the run file.
//! Not here: rules about values (each section's `check`).

use toml::{Table, Value};

use super::document::{unknown_key, wrong_type};
use super::error::ConfigError;
use super::known_keys;
use super::run_config::RunConfig;

/// A run file has at most one of the two: an override of one removes the other.
const EXCLUSIVE: [&str; 2] = ["train.updates", "train.epochs"];

/// One override: a known key and a value of its type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Override {
    key: String,
    value: Value,
    text: String,
}

impl Override {
    /// Parses `section.key=value`. The value is TOML; where it is not, or not of the key's type,
    /// it is taken as the bare text.
    ///
    /// # Errors
    /// Not `key=value`, an unknown key, a value that is not of the key's type either way.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let malformed = || ConfigError::MalformedOverride { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(malformed)?;
        let (key, bare) = (key.trim(), value.trim());
        if key.is_empty() {
            return Err(malformed());
        }
        let is_section = !key.contains('.') && known_keys::of_section(key).is_some();
        if !known_keys::is_known(key) || is_section {
            return Err(unknown_key(format!("--set {text}"), key));
        }
        let as_text = Value::String(bare.to_owned());
        let value = bare.parse().unwrap_or_else(|_| as_text.clone());
        let (key, text) = (key.to_owned(), text.to_owned());
        let Some(problem) = type_problem(&key, &value) else {
            return Ok(Self { key, value, text });
        };
        if type_problem(&key, &as_text).is_none() {
            return Ok(Self { key, value: as_text, text });
        }
        Err(wrong_type(format!("--set {text}"), &key, &problem))
    }

    /// Writes the value over whatever the file has.
    pub(super) fn apply(&self, table: &mut Table) {
        if EXCLUSIVE.contains(&self.key.as_str()) {
            for key in EXCLUSIVE {
                remove(table, key);
            }
        }
        insert(table, &self.key, self.value.clone());
    }

    /// The override that decides a key, as messages name it.
    pub(super) fn place_of(overrides: &[Self], key: &str) -> Option<String> {
        let decisive = overrides.iter().rev().find(|change| change.key == key);
        decisive.map(|change| format!("--set {}", change.text))
    }
}

/// Sets a dotted key.
pub(super) fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        insert(section, rest, value);
    }
}

/// Whether a dotted key is set.
pub(super) fn contains(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        Some((section, name)) => table.get(section).is_some_and(|inner| inner.get(name).is_some()),
        None => table.contains_key(key),
    }
}

fn remove(table: &mut Table, key: &str) {
    let Some((section, name)) = key.split_once('.') else { return };
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.remove(name);
    }
}

/// What is wrong with the value's type, if anything.
fn type_problem(key: &str, value: &Value) -> Option<String> {
    let mut table = Table::new();
    insert(&mut table, key, value.clone());
    table.try_into::<RunConfig>().err().map(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(text: &str) -> Value {
        Override::parse(text).unwrap().value
    }

    #[test]
    fn value_is_toml_and_bare_text_stands_for_a_string() {
        assert_eq!(value_of("grpo.group_size=4"), Value::Integer(4));
        assert_eq!(value_of("optim.lr = 2e-5"), Value::Float(2e-5));
        assert_eq!(value_of("model.freeze_vision=true"), Value::Boolean(true));
        assert_eq!(value_of("data.task=synth-vc"), Value::String("synth-vc".into()));
        assert_eq!(value_of("data.task=\"synth-vc\""), Value::String("synth-vc".into()));
        assert_eq!(value_of("data.template={problem} = ?"), Value::String("{problem} = ?".into()));
        assert_eq!(value_of("method=sft"), Value::String("sft".into()));
        assert_eq!(value_of("reward.weights.choice=0.5"), Value::Float(0.5));
        assert_eq!(value_of("reward.weights={choice=1, box_iou=2}").as_table().unwrap().len(), 2);
        assert_eq!(value_of("reward.command.args=[\"a b\"]").as_array().map(Vec::len), Some(1));
        assert_eq!(value_of("optim.betas=[0.9, 0.95]").as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn text_that_looks_like_a_number_is_text_where_text_is_wanted() {
        assert_eq!(value_of("model.path=2024"), Value::String("2024".into()));
    }

    #[test]
    fn wrong_override_is_named_as_it_was_given() {
        let message = |text: &str| Override::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("grpo.group_sise=4"),
            "--set grpo.group_sise=4: unknown key `grpo.group_sise`\n\
             hint: did you mean `grpo.group_size`?"
        );
        assert_eq!(
            message("grpo.group_size=[4"),
            "--set grpo.group_size=[4: grpo.group_size: found string \"[4\", expected a \
             whole number of at least 0\nhint: the default is grpo.group_size = 8"
        );
        assert!(message("grpo.group_size").starts_with("--set grpo.group_size: expected"));
        assert!(message("=4").starts_with("--set =4: expected section.key=value"));
        assert!(message("model=tiny").starts_with("--set model=tiny: unknown key `model`"));
    }

    #[test]
    fn override_reaches_a_section_within_a_section() {
        let mut table: Table = "[reward.weights]\nchoice = 1.0".parse().unwrap();
        Override::parse("reward.weights.box_iou=2.0").unwrap().apply(&mut table);
        Override::parse("reward.command.program=score").unwrap().apply(&mut table);
        let expected = "[reward.weights]\nchoice = 1.0\nbox_iou = 2.0\n\
                        [reward.command]\nprogram = \"score\"";
        assert_eq!(table, expected.parse().unwrap());
    }

    #[test]
    fn override_of_one_of_a_pair_takes_the_other_ones_place() {
        let mut table: Table = "[train]\nepochs = 2\nkeep = 1".parse().unwrap();
        Override::parse("train.updates=5").unwrap().apply(&mut table);
        assert_eq!(table, "[train]\nupdates = 5\nkeep = 1".parse().unwrap());
    }
}
