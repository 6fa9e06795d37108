//! Reading a checkpoint's tensors: every parameter of the model, once, of the right shape.
//! Not here: one file's header and numbers (`shard`); writing (`save`); what a parameter is for
//! (`language`, `vision`).
//!
//! `model.safetensors` is read where it exists, else the shards that `model.safetensors.index.json`
//! lists, as transformers does. Names may be spelt either way (`names`). A checkpoint with a tied
//! head may store `lm_head.weight` all the same: it is accepted where it equals the embedding, and
//! refused where it differs, because transformers 5 would then quietly untie the two.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::Value;

use super::config::Qwen2VlConfig;
use super::error::ModelError;
use super::fields::read_object;
use super::files::ModelFiles;
use super::names::to_original;
use super::shard::Shard;

/// The file that holds all tensors of a checkpoint in one piece.
pub(super) const SINGLE_FILE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
/// Names listed in one message; the count says how many there are.
const MOST_LISTED: usize = 5;

/// A checkpoint's opened files.
struct Checkpoint {
    /// The single file or the index, for error messages about the whole.
    file: String,
    shards: Vec<Shard>,
}

/// Where a tensor is stored.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard_idx: usize,
    tensor_idx: usize,
}

/// Every parameter of the model by its hub name, converted to `dtype` on `device`.
///
/// Tensors are converted one after the other, each on all threads, straight from the file; beyond
/// the returned model the CPU needs a few megabytes, and a GPU one tensor in host memory.
///
/// # Errors
/// A file is missing, unreadable or damaged; a tensor is missing, not the model's, of another shape,
/// of a number type that no weight has, or there twice; index and shards disagree. Each names the
/// file and the tensor.
pub fn load(
    files: &ModelFiles,
    config: &Qwen2VlConfig,
    dtype: DType,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let mut checkpoint = open(files)?;
    let mut places = locate(&checkpoint.shards)?;
    if config.text.tie_word_embeddings
        && let Some(head) = places.remove(HEAD)
        && let Some(embedding) = places.get(EMBEDDING)
    {
        require_equal(&mut checkpoint.shards, head, *embedding)?;
    }
    let mut tensors = BTreeMap::new();
    for (name, place) in require_parameters(&checkpoint, config.parameter_shapes(), &places)? {
        let shard = &mut checkpoint.shards[place.shard_idx];
        let tensor = read_tensor(shard, place.tensor_idx, dtype, device)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn open(files: &ModelFiles) -> Result<Checkpoint, ModelError> {
    if let Some(shard) = Shard::open(files, SINGLE_FILE)? {
        return Ok(Checkpoint { file: shard.file.clone(), shards: vec![shard] });
    }
    let Some(index) = read_object(files, INDEX_FILE)? else {
        return Err(ModelError::MissingFile {
            file: files.describe(SINGLE_FILE),
            expected: "the model's tensors, here or in shards that model.safetensors.index.json lists",
            hint: "only safetensors checkpoints are read; .bin and .gguf files are not",
        });
    };
    let index_file = files.describe(INDEX_FILE);
    let at_odds = |found| ModelError::Index { index: index_file.clone(), found };
    let weight_map = read_weight_map(&index).ok_or_else(|| {
        at_odds("weight_map is missing or not an object of file names, expected one".to_owned())
    })?;
    let mut by_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard_name) in weight_map {
        by_shard.entry(shard_name).or_default().push(tensor);
    }
    let mut shards = Vec::new();
    for (shard_name, listed) in by_shard {
        // A name with a separator could point outside the model's folder.
        if shard_name.contains(['/', '\\']) || shard_name == ".." {
            return Err(at_odds(format!(
                "weight_map names {shard_name:?}, expected a plain file name"
            )));
        }
        let shard = Shard::open(files, shard_name)?.ok_or_else(|| {
            at_odds(format!(
                "{shard_name} does not exist, expected it to hold {}",
                first_few(&listed)
            ))
        })?;
        require_listed(&shard, &listed).map_err(at_odds)?;
        shards.push(shard);
    }
    Ok(Checkpoint { file: index_file, shards })
}

/// Tensor names and shard names, or `None` where the index holds something else.
pub(super) fn read_weight_map(index: &serde_json::Map<String, Value>) -> Option<Vec<(&str, &str)>> {
    let map = index.get("weight_map")?.as_object()?;
    map.iter().map(|(tensor, shard)| Some((tensor.as_str(), shard.as_str()?))).collect()
}

/// The shard holds the listed tensors and no others; the error says which it does not.
fn require_listed(shard: &Shard, listed: &[&str]) -> Result<(), String> {
    let stored: BTreeSet<&str> = shard.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let listed: BTreeSet<&str> = listed.iter().copied().collect();
    let file = &shard.file;
    let absent: Vec<&str> = listed.difference(&stored).copied().collect();
    if !absent.is_empty() {
        return Err(format!("{file} does not hold {}, expected by weight_map", first_few(&absent)));
    }
    let unlisted: Vec<&str> = stored.difference(&listed).copied().collect();
    if !unlisted.is_empty() {
        return Err(format!("{file} holds {}, not expected by weight_map", first_few(&unlisted)));
    }
    Ok(())
}

/// Where each tensor is, by its hub name.
fn locate(shards: &[Shard]) -> Result<BTreeMap<String, Place>, ModelError> {
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    for (shard_idx, shard) in shards.iter().enumerate() {
        for (tensor_idx, tensor) in shard.tensors.iter().enumerate() {
            let name = to_original(&tensor.name).into_owned();
            let place = Place { shard_idx, tensor_idx };
            if let Some(first) = places.insert(name.clone(), place) {
                let spelt = |place: Place| {
                    let shard = &shards[place.shard_idx];
                    format!("{} as {}", shard.file, shard.tensors[place.tensor_idx].name)
                };
                let (first, second) = (spelt(first), spelt(place));
                return Err(ModelError::Duplicate { tensor: name, first, second });
            }
        }
    }
    Ok(places)
}

/// The model's parameters and their places, where the files hold exactly these in these shapes.
fn require_parameters(
    checkpoint: &Checkpoint,
    expected: Vec<(String, Vec<usize>)>,
    places: &BTreeMap<String, Place>,
) -> Result<Vec<(String, Place)>, ModelError> {
    let total = expected.len();
    let mut missing = Vec::new();
    let mut parameters = Vec::with_capacity(total);
    for (name, shape) in expected {
        match places.get(&name) {
            Some(place) => {
                require_stored_as(&checkpoint.shards, *place, shape)?;
                parameters.push((name, *place));
            }
            None => missing.push(name),
        }
    }
    let file = checkpoint.file.clone();
    if !missing.is_empty() {
        let names = first_few(&missing);
        return Err(ModelError::MissingTensors { file, count: missing.len(), total, names });
    }
    if places.len() > total {
        let known: BTreeSet<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        let extra: Vec<&str> =
            places.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
        return Err(ModelError::ExtraTensors {
            file,
            count: extra.len(),
            names: first_few(&extra),
        });
    }
    Ok(parameters)
}

fn require_stored_as(
    shards: &[Shard],
    place: Place,
    expected: Vec<usize>,
) -> Result<(), ModelError> {
    let shard = &shards[place.shard_idx];
    let stored = &shard.tensors[place.tensor_idx];
    if !matches!(stored.dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32) {
        return Err(shard.not_a_weight(place.tensor_idx));
    }
    if stored.shape != expected {
        return Err(ModelError::Shape {
            file: shard.file.clone(),
            tensor: stored.name.clone(),
            found: stored.shape.clone(),
            expected,
        });
    }
    Ok(())
}

/// The tied head that the files hold is the embedding, byte for byte.
fn require_equal(shards: &mut [Shard], head: Place, embedding: Place) -> Result<(), ModelError> {
    let kind = |shards: &[Shard], place: Place| {
        let tensor = &shards[place.shard_idx].tensors[place.tensor_idx];
        (tensor.dtype, tensor.shape.clone())
    };
    let mut is_equal = kind(shards, head) == kind(shards, embedding);
    let mut start = 0;
    while is_equal {
        let piece = shards[head.shard_idx].read_piece(head.tensor_idx, start)?;
        if piece.is_empty() {
            return Ok(());
        }
        is_equal = piece == shards[embedding.shard_idx].read_piece(embedding.tensor_idx, start)?;
        start += piece.len() as u64;
    }
    Err(ModelError::TiedHead { file: shards[head.shard_idx].file.clone() })
}

fn read_tensor(
    shard: &mut Shard,
    tensor_idx: usize,
    dtype: DType,
    device: &Device,
) -> Result<Tensor, ModelError> {
    let shape = shard.tensors[tensor_idx].shape.clone();
    let tensor = match dtype {
        DType::F32 => Tensor::from_vec(shard.read(tensor_idx, |value| value)?, shape, device),
        DType::BF16 => Tensor::from_vec(shard.read(tensor_idx, bf16::from_f32)?, shape, device),
        DType::F16 => Tensor::from_vec(shard.read(tensor_idx, f16::from_f32)?, shape, device),
        DType::F64 => Tensor::from_vec(shard.read(tensor_idx, f64::from)?, shape, device),
        other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "model::weights::load")),
    };
    tensor.map_err(|source| {
        let name = &shard.tensors[tensor_idx].name;
        ModelError::Tensor { context: format!("cannot load {name} as {dtype:?}"), source }
    })
}

/// The first names of a list, and a sign that there are more.
fn first_few<S: AsRef<str>>(names: &[S]) -> String {
    let listed: Vec<&str> = names.iter().take(MOST_LISTED).map(AsRef::as_ref).collect();
    let more = if names.len() > MOST_LISTED { ", ..." } else { "" };
    format!("{}{more}", listed.join(", "))
}
