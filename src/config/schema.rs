//! The JSON schema of run files, made from the sections' structs: their fields, types, defaults and comments.
//! Not here: rules about values, which loading a run file checks (each section's `check`).

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::{
    CheckpointingChoice, DTypeChoice, DeviceChoice, RewardWeights, RunConfig, UpdateSpan, rule,
};

/// The schema, as draft 07 has it, which editors read.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let generated = settings.into_generator().into_root_schema_for::<RunConfig>();
    let mut schema = Value::from(generated);
    without_null(&mut schema);
    schema["title"] = "A run file of othink".into();
    schema
}

/// TOML has no null: a key that may be left out is of its type alone.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            take_only_choice(object);
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// Puts the one schema beside null in the place of the choice between them.
fn take_only_choice(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice["type"] != "null");
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        // The key's own comment says more than its type's.
        for (name, value) in only {
            object.entry(name).or_insert(value);
        }
    }
}

/// The names of the rules that decide accuracy.
pub(super) fn of_rule(_generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": rule::names() })
}

/// Implements `JsonSchema` for a type that is spelt otherwise than it is declared.
macro_rules! spelt {
    ($type:ident, $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

spelt!(DTypeChoice, json_schema!({ "type": "string", "enum": ["auto", "f32", "bf16", "f16"] }));
spelt!(DeviceChoice, json_schema!({ "type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]+)?)$" }));
spelt!(CheckpointingChoice, json_schema!({ "enum": ["none", "mlp", "full", false, true] }));
spelt!(UpdateSpan, json_schema!({ "type": ["integer", "number"], "minimum": 0 }));
spelt!(RewardWeights, {
    let weight =
        |key: &&str| ((*key).to_owned(), serde_json::json!({ "type": "number", "minimum": 0 }));
    let weights: Map<String, Value> = RewardWeights::keys().iter().map(weight).collect();
    json_schema!({ "type": "object", "properties": weights, "additionalProperties": false })
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::Table;

    use super::*;
    use crate::config::known_keys::{is_known, of_section};

    /// Every key of a schema by its dotted name, sections without their own.
    fn keys(prefix: &str, schema: &Value) -> Vec<String> {
        let properties = schema["properties"].as_object().unwrap();
        let below = properties.iter().flat_map(|(name, inner)| match inner.get("properties") {
            Some(_) => keys(&format!("{prefix}{name}."), inner),
            None => vec![format!("{prefix}{name}")],
        });
        below.collect()
    }

    fn place<'a>(schema: &'a Value, key: &str) -> &'a Value {
        key.split('.').fold(schema, |schema, name| &schema["properties"][name])
    }

    /// Whether a value of a run file is what the schema says of its key: as far as schemas of this file go.
    fn takes(schema: &Value, value: &toml::Value) -> bool {
        let value: Value = serde_json::to_value(value).unwrap();
        if let Some(allowed) = schema.get("enum") {
            return allowed.as_array().unwrap().contains(&value);
        }
        if let Some(choices) = schema.get("oneOf").or(schema.get("anyOf")) {
            return choices.as_array().unwrap().iter().any(|choice| choice["const"] == value);
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        types.iter().any(|name| match name.as_str().unwrap() {
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn the_schema_has_the_keys_of_the_run_file_and_takes_the_example_of_each() {
        let schema = schema();
        let found: BTreeSet<String> = keys("", &schema).into_iter().collect();
        assert!(found.iter().all(|key| is_known(key)), "{found:?}");
        let example: Table = include_str!("every_key.toml").parse().unwrap();
        for key in &found {
            if key == "train.epochs" {
                continue; // excludes `train.updates`
            }
            let table = toml::Value::Table(example.clone());
            let value = key.split('.').fold(&table, |value, name| &value[name]);
            assert!(takes(place(&schema, key), value), "{key} = {value}: {}", place(&schema, key));
        }
        for section in [
            "model",
            "model.lora",
            "data",
            "grpo",
            "kl",
            "reward",
            "sft",
            "rollout",
            "optim",
            "train",
            "eval",
            "reward.weights",
            "reward.command",
        ] {
            for name in of_section(section).unwrap() {
                let key = format!("{section}.{name}");
                assert!(
                    found.contains(&key) || place(&schema, &key).get("properties").is_some(),
                    "{key}"
                );
            }
            assert_eq!(place(&schema, section)["additionalProperties"], false, "{section}");
        }
    }

    #[test]
    fn every_key_is_described_and_the_defaults_are_those_of_the_structs() {
        let schema = schema();
        let defaults: Table = RunConfig::default().resolved_toml().unwrap().parse().unwrap();
        for key in keys("", &schema).iter().filter(|key| !key.starts_with("reward.weights.")) {
            let described = place(&schema, key);
            assert!(described["description"].as_str().is_some_and(|text| text.len() > 4), "{key}");
            let mut default = Some(&toml::Value::Table(defaults.clone())).cloned();
            for name in key.split('.') {
                default = default.and_then(|value| value.get(name).cloned());
            }
            if let Some(default) = default {
                let default: Value = serde_json::to_value(default).unwrap();
                assert_eq!(described["default"], default, "{key}");
            }
        }
        assert!(!schema.to_string().contains("null"), "{schema}");
    }
}
