//! Writing a checkpoint folder that transformers loads as it is.
//! Not here: the optimiser's state and the rename that makes a checkpoint appear
//! (`train::checkpoint`); reading (`weights`).
//!
//! The layout is byte for byte that of `save_pretrained` with the hub's names: tensors sorted by name
//! inside a file (safetensors 0.8, `prepare`), shards filled in the order of the module tree
//! (`huggingface_hub.serialization`, `split_state_dict_into_shards_factory`), an index beside them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::error::ModelError;
use super::fields::read_object;
use super::files::ModelFiles;
use super::weights::{INDEX_FILE, SINGLE_FILE};

/// Everything beside the tensors that a Qwen2-VL folder may hold.
pub(super) const SIDE_FILES: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];
/// Numbers copied from the device and converted in one go.
const PIECE: usize = 1 << 22;

/// Writes the tensors and copies the source's other files into `folder`, which is created if absent.
///
/// - `tensors`: hub names, in the order of `Qwen2VlConfig::parameter_shapes`; any device and dtype
/// - `dtype`: BF16, F16 or F32, on disk and in `config.json`
/// - `max_shard_bytes`: a file holds no more numbers than this, unless a single tensor does
///
/// Every file is on the disk when this returns. Files of the same names are overwritten; the caller
/// makes the folder appear under its final name.
///
/// # Errors
/// A file cannot be read or written, or a tensor cannot be converted.
pub fn save(
    folder: &Path,
    tensors: &[(String, Tensor)],
    dtype: DType,
    source: &ModelFiles,
    max_shard_bytes: u64,
) -> Result<(), ModelError> {
    let cannot_write = |path: &Path| {
        let path = path.to_owned();
        |source| ModelError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let bytes: Vec<u64> = tensors.iter().map(|(_, tensor)| stored_bytes(tensor, dtype)).collect();
    let shards = split(&bytes, max_shard_bytes);
    let mut weight_map = Map::new();
    for (shard_idx, members) in shards.iter().enumerate() {
        let name = shard_name(shard_idx, shards.len());
        let mut members: Vec<&(String, Tensor)> =
            members.iter().map(|idx| &tensors[*idx]).collect();
        members.sort_by(|left, right| left.0.cmp(&right.0));
        write_shard(&folder.join(&name), &members, dtype)?;
        weight_map.extend(members.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    if shards.len() > 1 {
        let parameters: usize = tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum();
        weight_map.sort_keys();
        let index = json!({
            "metadata": {"total_parameters": parameters, "total_size": bytes.iter().sum::<u64>()},
            "weight_map": weight_map,
        });
        write_file(&folder.join(INDEX_FILE), format!("{index:#}\n").as_bytes())?;
    }
    copy_side_files(folder, dtype, source)?;
    // The folder's own entries; on Windows a folder cannot be opened and needs no such step.
    if cfg!(unix) {
        File::open(folder).and_then(|opened| opened.sync_all()).map_err(cannot_write(folder))?;
    }
    Ok(())
}

fn stored_bytes(tensor: &Tensor, dtype: DType) -> u64 {
    (tensor.elem_count() * dtype.size_in_bytes()) as u64
}

/// Which tensors, by position, go into which file.
fn split(bytes: &[u64], max_shard_bytes: u64) -> Vec<Vec<usize>> {
    let mut shards = Vec::new();
    let mut current = Vec::new();
    let mut current_bytes = 0;
    for (idx, &size) in bytes.iter().enumerate() {
        // transformers gives an oversized tensor a file of its own ahead of the one being filled.
        if size > max_shard_bytes {
            shards.push(vec![idx]);
            continue;
        }
        if current_bytes + size > max_shard_bytes {
            shards.push(std::mem::take(&mut current));
            current_bytes = 0;
        }
        current.push(idx);
        current_bytes += size;
    }
    if !current.is_empty() {
        shards.push(current);
    }
    shards
}

fn shard_name(shard_idx: usize, n_shards: usize) -> String {
    if n_shards == 1 {
        return SINGLE_FILE.to_owned();
    }
    format!("model-{:05}-of-{n_shards:05}.safetensors", shard_idx + 1)
}

/// Writes one safetensors file, the tensors in the given order; it is on the disk when this returns.
///
/// # Errors
/// The file cannot be written, or a tensor cannot be converted.
pub(crate) fn write_shard(
    path: &Path,
    tensors: &[&(String, Tensor)],
    dtype: DType,
) -> Result<(), ModelError> {
    let cannot_write = |source| ModelError::Write { path: path.to_owned(), source };
    let header = header(tensors, dtype)?;
    let mut writer = BufWriter::new(File::create(path).map_err(cannot_write)?);
    writer.write_all(&(header.len() as u64).to_le_bytes()).map_err(cannot_write)?;
    writer.write_all(&header).map_err(cannot_write)?;
    for (name, tensor) in tensors {
        let inconvertible = |source| {
            let context = format!("cannot save {name} as {dtype:?}");
            ModelError::Tensor { context, source }
        };
        let flat = tensor.detach().flatten_all().map_err(inconvertible)?;
        let count = flat.elem_count();
        for start in (0..count).step_by(PIECE) {
            let piece = flat
                .narrow(0, start, PIECE.min(count - start))
                .and_then(|piece| to_bytes(&piece, dtype))
                .map_err(inconvertible)?;
            writer.write_all(&piece).map_err(cannot_write)?;
        }
    }
    let file = writer.into_inner().map_err(|error| cannot_write(error.into_error()))?;
    file.sync_all().map_err(cannot_write)
}

/// The header: names, dtypes, shapes and offsets as JSON, padded with spaces to eight bytes.
fn header(tensors: &[&(String, Tensor)], dtype: DType) -> Result<Vec<u8>, ModelError> {
    let spelling = match dtype {
        DType::F32 => "F32",
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        other => {
            let source = candle_core::Error::UnsupportedDTypeForOp(other, "model::save");
            return Err(ModelError::Tensor { context: "cannot save the model".to_owned(), source });
        }
    };
    let mut entries = Map::new();
    // Without it, transformers refuses the file.
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + stored_bytes(tensor, dtype);
        let entry =
            json!({"dtype": spelling, "shape": tensor.dims(), "data_offsets": [start, end]});
        entries.insert(name.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// The numbers as they stand in the file.
fn to_bytes(piece: &Tensor, dtype: DType) -> candle_core::Result<Vec<u8>> {
    let piece = piece.to_dtype(dtype)?.to_device(&Device::Cpu)?;
    Ok(match dtype {
        DType::BF16 => piece.to_vec1::<bf16>()?.into_iter().flat_map(bf16::to_le_bytes).collect(),
        DType::F16 => piece.to_vec1::<f16>()?.into_iter().flat_map(f16::to_le_bytes).collect(),
        _ => piece.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
    })
}

fn copy_side_files(folder: &Path, dtype: DType, source: &ModelFiles) -> Result<(), ModelError> {
    for name in SIDE_FILES {
        let unreadable = |error| ModelError::Read { file: source.describe(name), source: error };
        let Some(contents) = source.read(name).map_err(unreadable)? else { continue };
        if name == "config.json"
            && let Some(updated) = with_dtype(read_object(source, name)?, dtype)
        {
            write_file(&folder.join(name), format!("{updated:#}\n").as_bytes())?;
        } else {
            write_file(&folder.join(name), &contents)?;
        }
    }
    Ok(())
}

/// The configuration with the number type that the tensors are stored in, or `None` where it already
/// says so. The hub's files spell it `torch_dtype`, transformers 5 spells it `dtype` and repeats it
/// for the two halves of the model.
fn with_dtype(config: Option<Map<String, Value>>, dtype: DType) -> Option<Value> {
    let before = config?;
    let spelling = match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    };
    let mut after = before.clone();
    let key = if after.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    after.insert(key.to_owned(), json!(spelling));
    for half in ["text_config", "vision_config"] {
        if let Some(half) = after.get_mut(half).and_then(Value::as_object_mut) {
            for key in ["dtype", "torch_dtype"] {
                if let Some(value) = half.get_mut(key) {
                    *value = json!(spelling);
                }
            }
        }
    }
    (after != before).then_some(Value::Object(after))
}

fn write_file(path: &Path, contents: &[u8]) -> Result<(), ModelError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .map_err(|source| ModelError::Write { path: path.to_owned(), source })
}
