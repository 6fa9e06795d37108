//! PEFT's folder of an adapter: `adapter_config.json` and `adapter_model.safetensors`, read and written.
//! Not here: what the factors are (`lora`), which model they are for (`source`).
//!
//! Names and fields are those of PEFT 0.18 (`peft/tuners/lora/config.py`, `peft/utils/save_and_load.py`). A tensor's name is
//! `base_model.model.`, the name of the map in transformers' model, and that of the factor.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::config::ModelConfig;
use super::error::ModelError;
use super::fields::{Section, read_object};
use super::files::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, ModelFiles};
use super::lora::{self, A, B, Factors, LinearMap, Lora, is_end_of, linear_maps};
use super::names::{Spelling, to_original};
use super::network::Model;
use super::save::{SideFiles, write_file, write_shard};
use super::shard::Shard;
use super::weights::read_tensor;

/// What PEFT puts before the names of the model's modules.
const PREFIX: &str = "base_model.model.";
/// Ways to begin factors that also change the weights beside them, which the adapter's files do not hold.
const CHANGES_WEIGHTS: [&str; 4] = ["pissa", "olora", "corda", "loftq"];

/// An adapter as it was read.
#[derive(Debug)]
pub struct Adapter {
    /// Rows of `A`.
    pub rank: usize,
    /// `lora_alpha`.
    pub alpha: f64,
    /// `use_rslora`.
    pub rslora: bool,
    /// In the order of the maps' names.
    pub factors: Vec<Factors>,
}

impl Adapter {
    /// Reads an adapter that is for a model of this configuration.
    ///
    /// # Errors
    /// It is of another kind than LoRA, has no weights, or its factors are not those of this model's maps.
    pub fn load(
        files: &ModelFiles,
        config: &ModelConfig,
        (dtype, device): (DType, &Device),
    ) -> Result<Self, ModelError> {
        let fields = required(files)?;
        let file = files.describe(ADAPTER_CONFIG);
        let section = Section { file: &file, prefix: String::new(), fields: &fields };
        require_plain_lora(&section)?;
        let rank = section.size("r", None)?;
        let alpha = section.positive("lora_alpha", 8.0)?;
        let rslora = section.flag("use_rslora")?;
        let factors = factors(files, config, rank, (dtype, device))?;
        Ok(Self { rank, alpha, rslora, factors })
    }

    /// What the product of its factors is multiplied by.
    pub fn scale(&self) -> f64 {
        lora::scale(self.rank, self.alpha, self.rslora)
    }

    /// Requires the settings to be those of `expected`, which a run goes on training with.
    ///
    /// # Errors
    /// One of them differs; the message names it.
    pub fn require(
        &self,
        expected: &Lora,
        config: &ModelConfig,
        files: &ModelFiles,
    ) -> Result<(), ModelError> {
        let differs = |field: &str, found: String, expected: String| ModelError::Adapter {
            file: files.describe(ADAPTER_CONFIG),
            found: format!("{field} is {found}"),
            expected: format!("{expected}, as in [model.lora]"),
            hint: "set [model.lora] to what the adapter was made with, or begin from the base model",
        };
        if self.rank != expected.rank {
            return Err(differs("r", self.rank.to_string(), expected.rank.to_string()));
        }
        if (self.alpha - expected.alpha).abs() > 1e-9 * expected.alpha {
            return Err(differs("lora_alpha", self.alpha.to_string(), expected.alpha.to_string()));
        }
        if self.rslora != expected.rslora {
            let [found, expected] = [self.rslora, expected.rslora].map(|flag| flag.to_string());
            return Err(differs("use_rslora", found, expected));
        }
        let mut wanted: Vec<String> =
            expected.maps(config)?.into_iter().map(|map| map.name).collect();
        wanted.sort_unstable();
        let has: Vec<&String> = self.factors.iter().map(|factors| &factors.map).collect();
        if !wanted.iter().eq(has.iter().copied()) {
            let first = wanted.iter().find(|name| !has.contains(name));
            let first = first.or_else(|| has.iter().copied().find(|name| !wanted.contains(name)));
            let in_one = first.map_or(String::new(), |name| format!(" ({name} is in one alone)"));
            let expected = format!("that of {} maps{in_one}", wanted.len());
            return Err(differs("target_modules", format!("that of {} maps", has.len()), expected));
        }
        Ok(())
    }
}

fn required(files: &ModelFiles) -> Result<Map<String, Value>, ModelError> {
    read_object(files, ADAPTER_CONFIG)?.ok_or_else(|| ModelError::MissingFile {
        file: files.describe(ADAPTER_CONFIG),
        expected: "the adapter's settings",
        hint: "an adapter's folder is one that PEFT or a run with [model.lora] has written",
    })
}

/// The model that an adapter says it is for.
///
/// # Errors
/// The settings cannot be read, or name none.
pub fn base_of(folder: &ModelFiles) -> Result<String, ModelError> {
    let fields = required(folder)?;
    let named = fields.get("base_model_name_or_path").and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(|| ModelError::Adapter {
        file: folder.describe(ADAPTER_CONFIG),
        found: "base_model_name_or_path is missing or empty".to_owned(),
        expected: "the model that the adapter is for".to_owned(),
        hint: "write the model's folder or hub id there",
    })
}

/// Refuses all that changes what factors do to a map.
fn require_plain_lora(section: &Section) -> Result<(), ModelError> {
    let refused = |field: &str, expected: &str| {
        let found = section.fields.get(field).map_or("missing".to_owned(), Value::to_string);
        Err(ModelError::Adapter {
            file: section.file.to_owned(),
            found: format!("{field} is {found}"),
            expected: expected.to_owned(),
            hint: "plain LoRA is supported, with one rank and one scale for all maps and no other \
                   trained weights; merge this adapter with PEFT and use the merged model",
        })
    };
    if section.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return refused("peft_type", "\"LORA\"");
    }
    for flag in ["use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias"] {
        if section.flag(flag)? {
            return refused(flag, "false");
        }
    }
    if section.get("bias").is_some_and(|bias| bias != "none") {
        return refused("bias", "\"none\"");
    }
    let is_empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let none_expected = [
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "trainable_token_indices",
        "megatron_config",
        "target_parameters",
        "layer_replication",
        "alora_invocation_tokens",
        "arrow_config",
        "kasa_config",
        "monteclora_config",
        "velora_config",
    ];
    for field in none_expected {
        if section.get(field).is_some_and(|value| !is_empty(value)) {
            return refused(field, "none");
        }
    }
    let begun = section.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if CHANGES_WEIGHTS.iter().any(|way| begun.to_lowercase().starts_with(way)) {
        return refused(
            "init_lora_weights",
            "a way to begin that leaves the model's weights alone",
        );
    }
    Ok(())
}

/// The two factors of a map, as they are found.
#[derive(Default)]
struct Found {
    a: Option<Tensor>,
    b: Option<Tensor>,
}

fn factors(
    files: &ModelFiles,
    config: &ModelConfig,
    rank: usize,
    (dtype, device): (DType, &Device),
) -> Result<Vec<Factors>, ModelError> {
    let Some(mut shard) = Shard::open(files, ADAPTER_WEIGHTS)? else {
        return Err(ModelError::MissingFile {
            file: files.describe(ADAPTER_WEIGHTS),
            expected: "the adapter's weights",
            hint: "adapter_model.bin is not read; load the adapter with PEFT and save it again",
        });
    };
    let maps: BTreeMap<String, LinearMap> =
        linear_maps(config).into_iter().map(|map| (map.name.clone(), map)).collect();
    let refused = |tensor: &str, found: String, expected: String| ModelError::Adapter {
        file: files.describe(ADAPTER_WEIGHTS),
        found: format!("{tensor} {found}"),
        expected,
        hint: "an adapter fits the model that it was made for, and others of the same shape",
    };
    let mut found: BTreeMap<&str, Found> = BTreeMap::new();
    for idx in 0..shard.tensors.len() {
        let (tensor, shape) = (shard.tensors[idx].name.clone(), shard.tensors[idx].shape.clone());
        let named = tensor.strip_prefix(PREFIX).unwrap_or(&tensor);
        let split = |factor| named.strip_suffix(factor).and_then(|map| map.strip_suffix('.'));
        let (name, is_a) = match (split(A), split(B)) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => {
                let expected = format!("names that end in .{A} or .{B}");
                return Err(refused(&tensor, "is no factor of LoRA".to_owned(), expected));
            }
        };
        let Some((name, map)) = maps.get_key_value(to_original(name).as_ref()) else {
            let expected = "factors of the model's linear maps alone".to_owned();
            return Err(refused(&tensor, "is for no linear map of the model".to_owned(), expected));
        };
        let expected = if is_a { vec![rank, map.inner] } else { vec![map.out, rank] };
        if shape != expected {
            let expected = format!("{expected:?} of this model and r = {rank}");
            return Err(refused(&tensor, format!("has shape {shape:?}"), expected));
        }
        let value = read_tensor(&mut shard, idx, dtype, device)?;
        let pair = found.entry(name.as_str()).or_default();
        if is_a { pair.a = Some(value) } else { pair.b = Some(value) }
    }
    if found.is_empty() {
        let expected = "the factors of at least one map".to_owned();
        return Err(refused("the file", "holds no tensor".to_owned(), expected));
    }
    let pair = |(name, Found { a, b }): (&str, Found)| {
        let (Some(a), Some(b)) = (a, b) else {
            return Err(refused(name, "has one factor".to_owned(), "two".to_owned()));
        };
        Ok(Factors { map: name.to_owned(), group: maps[name].group, a, b })
    };
    found.into_iter().map(pair).collect()
}

/// What an adapter's files say besides its factors.
#[derive(Debug, Clone, Copy)]
pub struct AdapterSettings<'a> {
    /// What the factors were made with.
    pub lora: &'a Lora,
    /// The model that they are for, as a user would name it.
    pub base: &'a str,
}

/// Writes a model's low-rank factors as PEFT does, and its processor, into `folder`, which is created if absent.
///
/// Every file is on the disk when this returns.
///
/// # Errors
/// A file cannot be written, or a number is not finite.
pub fn save(
    folder: &Path,
    model: &Model,
    AdapterSettings { lora, base }: &AdapterSettings,
    dtype: DType,
    side_files: &SideFiles,
) -> Result<(), ModelError> {
    let failed = |source| ModelError::Write { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut tensors = Vec::new();
    for (map, factors) in model.parameters().low_ranks() {
        for (factor, parameter) in [(A, &factors.a), (B, &factors.b)] {
            let name = format!("{PREFIX}{}.{factor}", Spelling::New.spell(map));
            tensors.push((name, parameter.value().detach()));
        }
    }
    tensors.sort_by(|left, right| left.0.cmp(&right.0));
    write_shard(&folder.join(ADAPTER_WEIGHTS), &tensors.iter().collect::<Vec<_>>(), dtype)?;
    let is_whole = lora.alpha.fract() == 0.0 && lora.alpha < 1e15;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    let alpha = if is_whole { json!(lora.alpha as u64) } else { json!(lora.alpha) };
    let settings = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "lora_dropout": lora.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": target_modules(&lora.maps(model.config())?, model.config()),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": lora.rslora,
    });
    write_file(&folder.join(ADAPTER_CONFIG), format!("{settings:#}\n").as_bytes())?;
    side_files.write_processor(folder)
}

/// The shortest of three lists of ends of names that means these maps and nothing else that PEFT would give factors: the
/// last part (`q_proj`), all behind the number of the block (`self_attn.q_proj`), or that number too.
fn target_modules(maps: &[LinearMap], config: &ModelConfig) -> Vec<String> {
    let others = config.parameter_shapes().into_iter().filter(|shape| shape.dims.len() > 1);
    let others: Vec<String> = others
        .filter_map(|shape| shape.name.strip_suffix(".weight").map(str::to_owned))
        .filter(|name| maps.iter().all(|map| map.name != *name))
        .collect();
    let list = |end: fn(&LinearMap) -> &str| {
        let mut ends: Vec<String> = maps.iter().map(|map| end(map).to_owned()).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    };
    let is_exact =
        |ends: &Vec<String>| !others.iter().any(|name| ends.iter().any(|end| is_end_of(name, end)));
    let lists = [list(LinearMap::last_name), list(LinearMap::name_in_block)];
    lists.into_iter().find(is_exact).unwrap_or_else(|| list(LinearMap::numbered_name))
}
