//! The run file's sections and keys, taken from the structs so that the list is always complete, and
//! the key that a mistyped one most likely means.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::nearest::nearest;
use super::other_trainers::named_here;
use super::{
    DataConfig, DataFields, EvalConfig, GrpoConfig, KlConfig, LoraConfig, ModelConfig, OptimConfig,
    RewardCommand, RewardConfig, RewardWeights, RolloutConfig, RunConfig, SftConfig, TrainConfig,
};

/// Sections within a section.
const SUBSECTIONS: [&str; 4] = ["model.lora", "data.fields", "reward.weights", "reward.command"];

/// Names that stand outside any section, and the sections.
pub(super) fn top_level() -> &'static [&'static str] {
    field_names::<RunConfig>()
}

/// The keys of a section, or `None` where there is no such section.
pub(super) fn of_section(section: &str) -> Option<&'static [&'static str]> {
    match section {
        "model" => Some(field_names::<ModelConfig>()),
        "model.lora" => Some(field_names::<LoraConfig>()),
        "data" => Some(field_names::<DataConfig>()),
        "data.fields" => Some(field_names::<DataFields>()),
        "grpo" => Some(field_names::<GrpoConfig>()),
        "kl" => Some(field_names::<KlConfig>()),
        "sft" => Some(field_names::<SftConfig>()),
        "reward" => Some(field_names::<RewardConfig>()),
        "reward.weights" => Some(RewardWeights::keys()),
        "reward.command" => Some(field_names::<RewardCommand>()),
        "rollout" => Some(field_names::<RolloutConfig>()),
        "optim" => Some(field_names::<OptimConfig>()),
        "train" => Some(field_names::<TrainConfig>()),
        "eval" => Some(field_names::<EvalConfig>()),
        _ => None,
    }
}

/// Whether a value may stand under this dotted key.
pub(super) fn is_known(key: &str) -> bool {
    match key.rsplit_once('.') {
        Some((section, name)) => of_section(section).is_some_and(|names| names.contains(&name)),
        None => top_level().contains(&key),
    }
}

/// The dotted key that an unknown one most likely means.
pub(super) fn meant_by(key: &str) -> Option<String> {
    let Some((section, name)) = key.rsplit_once('.') else {
        let elsewhere = all_in_sections().find(|known| known.ends_with(&format!(".{key}")));
        return elsewhere.or_else(|| nearest(key, top_level().iter().copied()).map(str::to_owned));
    };
    let names = of_section(section).unwrap_or_default();
    if let Some(near) = nearest(name, names.iter().copied()) {
        return Some(format!("{section}.{near}"));
    }
    let elsewhere = all_in_sections().find(|known| known.ends_with(&format!(".{name}")));
    if of_section(section).is_some() {
        return elsewhere;
    }
    elsewhere.or_else(|| {
        let all: Vec<String> = all_in_sections().collect();
        nearest(key, all.iter().map(String::as_str)).map(str::to_owned)
    })
}

/// The hint beside an unknown key: what another trainer's name is here, else the nearest key, else all that may stand there.
pub(super) fn hint_for(key: &str) -> String {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let in_section = nearest(name, of_section(section).unwrap_or_default().iter().copied());
    if let Some(here) = named_here(name).filter(|_| in_section.is_none()) {
        return format!("here: {here}");
    }
    if let Some(near) = meant_by(key) {
        return format!("did you mean `{near}`?");
    }
    match of_section(section) {
        Some(names) => format!("[{section}] has the keys {}", names.join(", ")),
        None => format!("the run file has `method` and the sections {}", sections().join(", ")),
    }
}

fn sections() -> Vec<&'static str> {
    top_level().iter().copied().filter(|name| of_section(name).is_some()).collect()
}

fn all_in_sections() -> impl Iterator<Item = String> {
    sections().into_iter().chain(SUBSECTIONS).flat_map(|section| {
        let names = of_section(section).unwrap_or_default();
        names.iter().map(move |name| format!("{section}.{name}"))
    })
}

/// The fields of a struct as serde sees them.
fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    T::deserialize(FieldProbe).err().map_or(&[], |found| found.0)
}

/// A deserialiser without data: the derived code passes it the names of a struct's fields, and it
/// returns them in its error.
struct FieldProbe;

/// The fields that were asked for.
#[derive(Debug)]
struct FoundFields(&'static [&'static str]);

impl fmt::Display for FoundFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fields {:?}", self.0)
    }
}

impl std::error::Error for FoundFields {}

impl serde::de::Error for FoundFields {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for FieldProbe {
    type Error = FoundFields;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, FoundFields> {
        Err(FoundFields(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, FoundFields> {
        Err(FoundFields(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::{Table, Value};

    use super::*;
    use crate::config::ConfigFile;

    #[test]
    fn every_section_of_the_run_file_has_keys() {
        assert_eq!(top_level().len(), 11, "method and ten sections");
        let sections = top_level().iter().filter(|name| **name != "method");
        for section in sections.chain(&SUBSECTIONS) {
            let keys = of_section(section).unwrap_or_default();
            assert!(!keys.is_empty(), "[{section}] has no keys here: add it to `of_section`");
        }
    }

    /// Every value of a table by its dotted key; a list counts as one value.
    fn leaves(prefix: &str, table: &Table) -> Vec<(String, Value)> {
        let leaf = |(name, value): (&String, &Value)| match value {
            Value::Table(inner) => leaves(&format!("{prefix}{name}."), inner),
            value => vec![(format!("{prefix}{name}"), value.clone())],
        };
        table.iter().flat_map(leaf).collect()
    }

    #[test]
    fn the_example_with_every_key_has_every_key_at_a_value_of_its_own() {
        let text = include_str!("every_key.toml");
        let written = leaves("", &text.parse().unwrap());
        let named: BTreeSet<&str> = written.iter().map(|(key, _)| key.as_str()).collect();
        // `train.updates` excludes `train.epochs`.
        let expected = all_in_sections().chain(["method".to_owned()]);
        let expected: Vec<String> = expected
            .filter(|key| key != "train.epochs" && !SUBSECTIONS.contains(&key.as_str()))
            .collect();
        for key in &expected {
            assert!(named.contains(key.as_str()), "{key} is not in every_key.toml");
        }
        assert_eq!(named.len(), expected.len());

        let config = RunConfig::from_file(&ConfigFile::from_text("every_key.toml", text), &[]);
        let resolved = config.unwrap().resolved_toml().unwrap();
        let mut loaded = leaves("", &resolved.parse().unwrap());
        loaded.sort_by(|left, right| left.0.cmp(&right.0));
        let mut sorted = written.clone();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        assert_eq!(loaded, sorted, "what is loaded is what is written");

        let default = RunConfig::default().resolved_toml().unwrap();
        let default = leaves("", &default.parse().unwrap());
        for (key, value) in &written {
            assert!(!default.contains(&(key.clone(), value.clone())), "{key} is at its default");
            let same = written.iter().filter(|(_, other)| other == value).count();
            // Of two values: both are tried where the key's line is (`train::test_run_file`).
            let is_of_two =
                value.is_bool() || ["optim.gradients", "optim.masters"].contains(&key.as_str());
            assert!(is_of_two || same == 1, "{value} stands at {key} and elsewhere");
        }
    }

    #[test]
    fn dotted_keys_are_known_in_their_section_alone() {
        assert!(is_known("grpo.group_size") && is_known("method"));
        assert!(is_known("reward.weights") && is_known("reward.weights.choice"));
        assert!(!is_known("reward.choice") && !is_known("reward.weights.choice.x"));
        assert!(!is_known("grpo.lr") && !is_known("group_size") && !is_known("grpo.group_size.x"));
    }

    #[test]
    fn names_of_other_trainers_are_translated_wherever_they_stand() {
        for key in ["num_generations", "grpo.num_generations", "training.num_generations"] {
            assert_eq!(hint_for(key), "here: `grpo.group_size`");
        }
        assert_eq!(hint_for("learning_rate"), "here: `optim.lr`");
        assert_eq!(hint_for("train.learning_rate"), "here: `optim.lr`");
        assert!(hint_for("beta").starts_with("here: `kl.beta`, which"));
        // What is near in its own section comes first, and what no trainer has is mistyped.
        assert_eq!(hint_for("optim.beta"), "did you mean `optim.betas`?");
        assert_eq!(
            hint_for("num_generation"),
            "the run file has `method` and the sections model, data, grpo, kl, reward, sft, rollout, optim, train, eval"
        );
    }

    #[test]
    fn mistyped_key_is_traced_to_the_one_that_was_meant() {
        assert_eq!(meant_by("grpo.group_sise").as_deref(), Some("grpo.group_size"));
        assert_eq!(meant_by("grpo.lr").as_deref(), Some("optim.lr"));
        assert_eq!(meant_by("seed").as_deref(), Some("train.seed"));
        assert_eq!(meant_by("gropo.group_size").as_deref(), Some("grpo.group_size"));
        assert_eq!(meant_by("metod").as_deref(), Some("method"));
        assert_eq!(meant_by("reward.weights.box_uoi").as_deref(), Some("reward.weights.box_iou"));
        assert_eq!(meant_by("reward.timeout_s").as_deref(), Some("reward.command.timeout_s"));
        assert_eq!(meant_by("reward.weights.quantum_flux"), None);
        assert_eq!(meant_by("grpo.quantum_flux"), None);
    }
}
