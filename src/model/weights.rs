//! Reading a checkpoint's tensors: every parameter of the model, once, of the right shape.
//! Not here: one file's header and numbers (`shard`); writing (`save`); what a parameter is for
//! (`language`, `tower`).
//!
//! `model.safetensors` is read where it exists, else the shards that `model.safetensors.index.json`
//! lists, as transformers does. Names may be spelt either way (`names`). A checkpoint with a tied
//! head may store `lm_head.weight` all the same: it is accepted where it equals the embedding, and
//! refused where it differs, because transformers 5 would then untie the two without a message.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::Value;

use super::config::ModelConfig;
use super::error::ModelError;
use super::fields::read_object;
use super::files::{ADAPTER_FILES, ModelFiles};
use super::names::{Spelling, to_original};
use super::parameters::ParameterShape;
use super::shard::Shard;

/// The file that holds all tensors of a checkpoint in one piece.
pub(super) const SINGLE_FILE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The vocabulary's head, where it is not the table.
pub(super) const HEAD: &str = "lm_head.weight";
/// The table of embeddings.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// Names listed in one message; the count says how many there are.
const MOST_LISTED: usize = 5;

/// A checkpoint's opened files.
struct Checkpoint {
    /// The single file or the index, for error messages about the whole checkpoint.
    file: String,
    shards: Vec<Shard>,
}

/// Where a tensor is stored.
#[derive(Debug, Clone, Copy)]
struct StoredAt {
    shard_idx: usize,
    tensor_idx: usize,
}

/// The files of a model, opened and checked, from which its parameters are read one at a time.
pub struct WeightFiles {
    shards: Vec<Shard>,
    /// Every parameter of the model, in the order of its configuration.
    parameters: Vec<(ParameterShape, StoredAt)>,
}

impl WeightFiles {
    /// Opens the files and checks that they hold the parameters of `config`.
    ///
    /// # Errors
    /// A file is missing, unreadable or damaged; a tensor is missing, not the model's, of another shape,
    /// of a number type that no weight has, or present twice; index and shards disagree. Each names the
    /// file and the tensor.
    pub fn open(files: &ModelFiles, config: &ModelConfig) -> Result<Self, ModelError> {
        let mut checkpoint = open(files)?;
        let mut places = locate(&checkpoint.shards)?;
        if config.text.tie_word_embeddings
            && let Some(head) = places.remove(HEAD)
            && let Some(embedding) = places.get(EMBEDDING)
        {
            require_equal(&mut checkpoint.shards, head, *embedding)?;
        }
        let parameters = require_parameters(&checkpoint, config.parameter_shapes(), &places)?;
        Ok(Self { shards: checkpoint.shards, parameters })
    }

    /// One of the parameters that `open` checked.
    fn place(&self, name: &str) -> Result<StoredAt, ModelError> {
        let found = self.parameters.iter().find(|(parameter, _)| parameter.name == name);
        found.map(|(_, place)| *place).ok_or_else(|| ModelError::Tensor {
            context: format!("reading {name}"),
            source: candle_core::Error::Msg("the model has no such parameter".to_owned()),
        })
    }

    /// A parameter, converted to `dtype` on `device`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        &mut self,
        name: &str,
        (dtype, device): (DType, &Device),
    ) -> Result<Tensor, ModelError> {
        let StoredAt { shard_idx, tensor_idx } = self.place(name)?;
        read_tensor(&mut self.shards[shard_idx], tensor_idx, dtype, device)
    }

    /// A parameter, into `values`, of which there are as many as the parameter has numbers.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_into(&mut self, name: &str, values: &mut [f32]) -> Result<(), ModelError> {
        let StoredAt { shard_idx, tensor_idx } = self.place(name)?;
        self.shards[shard_idx].read_into(tensor_idx, values, |value| value)
    }

    /// Checks that no file was written to since all were opened. Files that were deleted or replaced stay as they were.
    ///
    /// # Errors
    /// One was written to, or the system cannot say.
    pub fn require_unchanged(&self) -> Result<(), ModelError> {
        self.shards.iter().try_for_each(Shard::require_unchanged)
    }
}

/// Every parameter of the model in the order of `config`, converted to `dtype` on `device`.
///
/// Tensors are converted one after the other, each on all threads, straight from the file; beyond
/// the returned model the CPU needs a few megabytes, and a GPU one tensor in host memory.
///
/// # Errors
/// As [`WeightFiles::open`].
pub fn load(
    files: &ModelFiles,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<Vec<(ParameterShape, Tensor)>, ModelError> {
    let WeightFiles { mut shards, parameters } = WeightFiles::open(files, config)?;
    let read = |(parameter, place): (ParameterShape, StoredAt)| {
        let shard = &mut shards[place.shard_idx];
        Ok((parameter, read_tensor(shard, place.tensor_idx, dtype, device)?))
    };
    parameters.into_iter().map(read).collect()
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

/// Names of the files that hold the model's tensors and an adapter's, in order; the shards' are not checked here.
///
/// # Errors
/// The index exists and cannot be read.
pub fn weight_files(files: &ModelFiles) -> Result<Vec<String>, ModelError> {
    if let ModelFiles::Adapter(adapter) = files {
        let own = ADAPTER_FILES.map(str::to_owned);
        return Ok(weight_files(&adapter.base)?.into_iter().chain(own).collect());
    }
    let single = vec![SINGLE_FILE.to_owned()];
    let unreadable = |source| ModelError::Read { file: files.describe(SINGLE_FILE), source };
    if files.open(SINGLE_FILE).map_err(unreadable)?.is_some() {
        return Ok(single);
    }
    let Some(index) = read_object(files, INDEX_FILE)? else { return Ok(single) };
    let listed = read_weight_map(&index).unwrap_or_default();
    let shards: BTreeSet<&str> = listed.into_iter().map(|(_, shard)| shard).collect();
    Ok(shards.into_iter().map(str::to_owned).collect())
}

/// The number type of the model's tensors in its files.
///
/// # Errors
/// They cannot be read, or hold no weights.
pub fn stored_dtype(files: &ModelFiles) -> Result<DType, ModelError> {
    let checkpoint = open(files)?;
    let first = checkpoint.shards.iter().find(|shard| !shard.tensors.is_empty());
    let Some(shard) = first else { return Ok(DType::F32) };
    match shard.tensors[0].dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::F16 => Ok(DType::F16),
        _ => Err(shard.not_a_weight(0)),
    }
}

/// How the model's files spell their tensors' names; as the hub's first files do where there are none.
///
/// # Errors
/// They cannot be read.
pub(super) fn spelling(files: &ModelFiles) -> Result<Spelling, ModelError> {
    if let Some(shard) = Shard::open(files, SINGLE_FILE)? {
        return Ok(Spelling::of(shard.tensors.iter().map(|tensor| tensor.name.as_str())));
    }
    let index = read_object(files, INDEX_FILE)?.unwrap_or_default();
    let listed = read_weight_map(&index).unwrap_or_default();
    Ok(Spelling::of(listed.into_iter().map(|(tensor, _)| tensor)))
}

/// Tensor names and shard names, or `None` where the index holds something else.
pub(super) fn read_weight_map(index: &serde_json::Map<String, Value>) -> Option<Vec<(&str, &str)>> {
    let map = index.get("weight_map")?.as_object()?;
    map.iter().map(|(tensor, shard)| Some((tensor.as_str(), shard.as_str()?))).collect()
}

/// Checks that the shard holds the listed tensors and no others; the error names those missing or extra.
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

/// The place of each tensor, by its hub name.
fn locate(shards: &[Shard]) -> Result<BTreeMap<String, StoredAt>, ModelError> {
    let mut places: BTreeMap<String, StoredAt> = BTreeMap::new();
    for (shard_idx, shard) in shards.iter().enumerate() {
        for (tensor_idx, tensor) in shard.tensors.iter().enumerate() {
            let name = to_original(&tensor.name).into_owned();
            let place = StoredAt { shard_idx, tensor_idx };
            if let Some(first) = places.insert(name.clone(), place) {
                let spelt = |place: StoredAt| {
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

/// The model's parameters and their places, checked: the files hold exactly these, in these shapes.
fn require_parameters(
    checkpoint: &Checkpoint,
    expected: Vec<ParameterShape>,
    places: &BTreeMap<String, StoredAt>,
) -> Result<Vec<(ParameterShape, StoredAt)>, ModelError> {
    let total = expected.len();
    let mut missing = Vec::new();
    let mut parameters = Vec::with_capacity(total);
    for parameter in expected {
        match places.get(&parameter.name) {
            Some(place) => {
                require_stored_as(&checkpoint.shards, *place, &parameter.dims)?;
                parameters.push((parameter, *place));
            }
            None => missing.push(parameter.name),
        }
    }
    let file = checkpoint.file.clone();
    if !missing.is_empty() {
        let names = first_few(&missing);
        return Err(ModelError::MissingTensors { file, count: missing.len(), total, names });
    }
    if places.len() > total {
        let known: BTreeSet<&str> =
            parameters.iter().map(|(parameter, _)| parameter.name.as_str()).collect();
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
    place: StoredAt,
    expected: &[usize],
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
            expected: expected.to_vec(),
        });
    }
    Ok(())
}

/// Checks that the tied head in the files equals the embedding, byte for byte.
fn require_equal(
    shards: &mut [Shard],
    head: StoredAt,
    embedding: StoredAt,
) -> Result<(), ModelError> {
    let kind = |shards: &[Shard], place: StoredAt| {
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

pub(super) fn read_tensor(
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

/// The first names of a list, and an ellipsis where there are more.
fn first_few<S: AsRef<str>>(names: &[S]) -> String {
    let listed: Vec<&str> = names.iter().take(MOST_LISTED).map(AsRef::as_ref).collect();
    let more = if names.len() > MOST_LISTED { ", ..." } else { "" };
    format!("{}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use tempfile::TempDir;

    use super::super::files::BuiltinFile;
    use super::super::test_checkpoint::{
        Stored, config_json, files, folder, golden, tensors, write_safetensors,
    };
    use super::*;

    fn load_as(files: &ModelFiles, dtype: DType) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let loaded = load(files, &ModelConfig::load(files)?, dtype, &Device::Cpu)?;
        Ok(loaded.into_iter().map(|(parameter, tensor)| (parameter.name, tensor)).collect())
    }

    /// The error of loading the smallest checkpoint after `change`.
    fn message_after(change: impl FnOnce(&mut BTreeMap<String, Stored>)) -> String {
        let mut stored = tensors(&config_json());
        change(&mut stored);
        let folder = folder(&config_json(), &stored);
        let message = load_as(&files(&folder), DType::F32).unwrap_err().to_string();
        assert!(message.contains("model.safetensors") && message.contains("\nhint: "), "{message}");
        message
    }

    /// The smallest checkpoint in two shards of about the same number of tensors, with their index.
    fn sharded(rename: impl Fn(&str) -> String) -> TempDir {
        let folder = folder(&config_json(), &[].into());
        let mut weight_map = serde_json::Map::new();
        let mut shards = [BTreeMap::new(), BTreeMap::new()];
        for (tensor_idx, (name, stored)) in tensors(&config_json()).into_iter().enumerate() {
            weight_map.insert(rename(&name), json!(format!("part-{}.safetensors", tensor_idx % 2)));
            shards[tensor_idx % 2].insert(rename(&name), stored);
        }
        for (shard_idx, shard) in shards.iter().enumerate() {
            let path = folder.path().join(format!("part-{shard_idx}.safetensors"));
            write_safetensors(&path, shard);
        }
        write_index(folder.path(), &json!({"metadata": {}, "weight_map": weight_map}));
        folder
    }

    fn write_index(folder: &Path, index: &Value) {
        std::fs::write(folder.join(INDEX_FILE), index.to_string()).unwrap();
    }

    fn read_index(folder: &TempDir) -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(INDEX_FILE)).unwrap()).unwrap()
    }

    fn new_name(name: &str) -> String {
        if name.starts_with("visual.") {
            format!("model.{name}")
        } else {
            name.replacen("model.", "model.language_model.", 1)
        }
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    fn assert_equal(left: &BTreeMap<String, Tensor>, right: &BTreeMap<String, Tensor>) {
        assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
        for (name, tensor) in left {
            assert_eq!(tensor.dims(), right[name].dims(), "{name}");
            assert_eq!(numbers(tensor), numbers(&right[name]), "{name}");
        }
    }

    #[test]
    fn golden_checkpoint_reads_as_candle_reads_it() {
        let ours = load_as(&golden(), DType::F32).unwrap();
        let ModelFiles::Folder(folder) = golden() else { panic!("a folder") };
        let theirs =
            candle_core::safetensors::load(folder.join(SINGLE_FILE), &Device::Cpu).unwrap();
        assert_equal(&ours, &theirs.into_iter().collect());
    }

    #[test]
    fn shards_and_new_names_give_the_same_tensors() {
        let single = folder(&config_json(), &tensors(&config_json()));
        let expected = load_as(&files(&single), DType::F32).unwrap();
        for folder in [sharded(str::to_owned), sharded(new_name)] {
            assert_equal(&load_as(&files(&folder), DType::F32).unwrap(), &expected);
        }
    }

    #[test]
    fn short_numbers_on_disk_become_the_same_long_numbers() {
        for stored_as in [Dtype::BF16, Dtype::F16] {
            let mut stored = tensors(&config_json());
            let (dtype, shape, bytes) = stored.get_mut("model.norm.weight").unwrap();
            assert_eq!(shape, &[8]);
            // 0x3FC0 is 1.5 as bf16 and 1.9375 as f16; the sign bit gives the negative.
            *bytes = [0x3FC0_u16, 0xBFC0, 0, 0, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
            *dtype = stored_as;
            let folder = folder(&config_json(), &stored);
            let value = if stored_as == Dtype::BF16 { 1.5 } else { 1.9375 };
            for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
                let loaded = load_as(&files(&folder), dtype).unwrap();
                assert_eq!(loaded["model.norm.weight"].dtype(), dtype);
                assert_eq!(numbers(&loaded["model.norm.weight"])[..3], [value, -value, 0.0]);
            }
        }
    }

    #[test]
    fn long_numbers_on_disk_are_rounded_to_even() {
        let mut stored = tensors(&config_json());
        // bf16 keeps 7 bits after the leading one: steps of 1/128 above 1.
        let values =
            [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1.0 + 1.1 / 256.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        stored.get_mut("model.norm.weight").unwrap().2 = values.map(f32::to_le_bytes).concat();
        let folder = folder(&config_json(), &stored);
        let loaded = load_as(&files(&folder), DType::BF16).unwrap();
        let rounded = numbers(&loaded["model.norm.weight"]);
        assert_eq!(rounded[..3], [1.0, 1.0 + 4.0 / 256.0, 1.0 + 2.0 / 256.0]);
    }

    #[test]
    fn built_in_bytes_load_like_a_folder() {
        let single = folder(&config_json(), &tensors(&config_json()));
        let builtin: Vec<BuiltinFile> = ["config.json", SINGLE_FILE]
            .into_iter()
            .map(|name| BuiltinFile {
                name,
                bytes: std::fs::read(single.path().join(name)).unwrap().leak(),
            })
            .collect();
        let builtin = ModelFiles::Builtin(builtin.leak());
        let expected = load_as(&files(&single), DType::F32).unwrap();
        assert_equal(&load_as(&builtin, DType::F32).unwrap(), &expected);
    }

    #[test]
    fn missing_tensors_are_counted_and_the_first_named() {
        let message = message_after(|stored| {
            stored.retain(|name, _| !name.starts_with("model.layers.0.self_attn"));
        });
        assert!(
            message.contains("7 of 33 tensors missing: model.layers.0.self_attn."),
            "{message}"
        );
        assert_eq!(message.matches("self_attn").count(), MOST_LISTED);
        assert!(message.contains(", ...\n"), "{message}");
    }

    #[test]
    fn tensors_of_another_model_are_named() {
        let message = message_after(|stored| {
            let norm = stored["model.norm.weight"].clone();
            stored.insert("model.layers.1.input_layernorm.weight".to_owned(), norm);
        });
        assert!(message.contains("1 tensors that the model does not have: model.layers.1.input"));
    }

    #[test]
    fn wrong_shape_says_both_shapes() {
        let message = message_after(|stored| {
            stored.get_mut("visual.merger.mlp.0.weight").unwrap().1 = vec![16, 64];
        });
        assert!(
            message.contains("visual.merger.mlp.0.weight has shape [16, 64], expected [32, 32]")
        );
    }

    #[test]
    fn numbers_that_are_not_weights_are_refused() {
        for (dtype, bytes) in [(Dtype::F64, 8), (Dtype::I64, 8), (Dtype::I8, 1), (Dtype::U16, 2)] {
            let message = message_after(|stored| {
                let tensor = stored.get_mut("model.norm.weight").unwrap();
                (tensor.0, tensor.2) = (dtype, vec![0; 8 * bytes]);
            });
            let found = format!("model.norm.weight holds {dtype:?}, expected BF16, F16 or F32");
            assert!(message.contains(&found), "{message}");
        }
    }

    #[test]
    fn file_cut_short_anywhere_is_an_error() {
        let folder = folder(&config_json(), &tensors(&config_json()));
        let path = folder.path().join(SINGLE_FILE);
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(41).chain([7, 8, 9, whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load_as(&files(&folder), DType::F32).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { bytes, .. } if bytes == length as u64));
        }
        std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        let message = load_as(&files(&folder), DType::F32).unwrap_err().to_string();
        assert!(message.contains("its header promises"), "a byte too many: {message}");
    }

    #[test]
    fn header_of_nonsense_is_an_error() {
        let folder = folder(&config_json(), &[].into());
        for header in [
            "",
            "{",
            "[]",
            "{\"t\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}",
            "{\"t\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}",
            "{\"t\": {\"dtype\": \"F7\", \"shape\": [1], \"data_offsets\": [0, 4]}}",
            "{\"t\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}",
        ] {
            let length = header.len() as u64;
            let bytes = [&length.to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
            std::fs::write(folder.path().join(SINGLE_FILE), bytes).unwrap();
            let error = load_as(&files(&folder), DType::F32).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{header}: {error}");
        }
        let huge = [u64::MAX.to_le_bytes(), [0; 8]].concat();
        std::fs::write(folder.path().join(SINGLE_FILE), huge).unwrap();
        let message = load_as(&files(&folder), DType::F32).unwrap_err().to_string();
        assert!(
            message.contains("it promises a header of 18446744073709551615 bytes"),
            "{message}"
        );
    }

    #[test]
    fn folder_without_tensors_says_what_was_expected() {
        let folder = folder(&config_json(), &[].into());
        let message = load_as(&files(&folder), DType::F32).unwrap_err().to_string();
        assert!(message.contains("model.safetensors: no such file, expected the model's tensors"));
    }

    #[test]
    fn index_and_shards_that_disagree_are_named() {
        let message = |change: fn(&TempDir, &mut Value)| {
            let folder = sharded(str::to_owned);
            let mut index = read_index(&folder);
            change(&folder, &mut index);
            write_index(folder.path(), &index);
            let error = load_as(&files(&folder), DType::F32).unwrap_err();
            assert!(matches!(error, ModelError::Index { .. }), "{error}");
            error.to_string()
        };
        let absent = message(|folder, _| {
            std::fs::remove_file(folder.path().join("part-1.safetensors")).unwrap();
        });
        assert!(
            absent.contains("part-1.safetensors does not exist, expected it to hold "),
            "{absent}"
        );
        let unlisted = message(|_, index| {
            index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight").unwrap();
        });
        assert!(unlisted.contains("holds model.norm.weight, not expected"), "{unlisted}");
        let elsewhere =
            message(|_, index| index["weight_map"]["lm_head.weight"] = json!("part-0.safetensors"));
        assert!(
            elsewhere.contains("does not hold lm_head.weight, expected by weight_map"),
            "{elsewhere}"
        );
        let outside = message(|_, index| index["weight_map"]["x"] = json!("../part-0.safetensors"));
        assert!(outside.contains("expected a plain file name"), "{outside}");
        let shapeless = message(|_, index| index["weight_map"] = json!(["part-0.safetensors"]));
        assert!(shapeless.contains("weight_map is missing or not an object"), "{shapeless}");
    }

    #[test]
    fn tensor_in_two_places_is_an_error_that_names_both() {
        let message = message_after(|stored| {
            let norm = stored["model.norm.weight"].clone();
            stored.insert("model.language_model.norm.weight".to_owned(), norm);
        });
        assert!(message.contains("model.norm.weight is in "), "{message}");
        assert!(message.contains("model.safetensors as model.language_model.norm.weight"));
    }

    #[test]
    fn tied_head_is_accepted_where_it_equals_the_embedding() {
        let mut stored = tensors(&config_json());
        stored.insert(HEAD.to_owned(), stored[EMBEDDING].clone());
        let equal = folder(&config_json(), &stored);
        let loaded = load_as(&files(&equal), DType::F32).unwrap();
        assert!(!loaded.contains_key(HEAD));

        stored.get_mut(HEAD).unwrap().2[100] ^= 1;
        let different = folder(&config_json(), &stored);
        let error = load_as(&files(&different), DType::F32).unwrap_err();
        assert!(matches!(error, ModelError::TiedHead { .. }), "{error}");

        let mut untied = config_json();
        untied["tie_word_embeddings"] = json!(false);
        let loaded = load_as(&files(&folder(&untied, &stored)), DType::F32).unwrap();
        assert_eq!(loaded[HEAD].dims(), [16, 8]);
    }
}
