//! Writing a checkpoint folder that transformers loads as it is.
//! Not here: the optimiser's state and the rename that makes a checkpoint appear
//! (`run_folder::checkpoint`); reading (`weights`).
//!
//! The layout is byte for byte that of `save_pretrained` with the names of the files that the model came from: tensors sorted by
//! name inside a file (safetensors 0.8, `prepare`), shards filled in the order of the module tree
//! (`huggingface_hub.serialization`, `split_state_dict_into_shards_factory`), an index beside them.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::error::ModelError;
use super::fields::read_object;
use super::files::{ModelFiles, PROCESSOR_FILES};
use super::names::Spelling;
use super::weights::{INDEX_FILE, SINGLE_FILE, spelling};

/// The model's configuration, which every model folder holds.
const CONFIG: &str = "config.json";
/// What a model folder may hold besides that, the tensors and the processor.
const OTHER_FILES: [&str; 1] = ["generation_config.json"];
/// The hub's usual size of a shard; transformers' default was 5 GB until version 5.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;
/// Numbers copied from the device and converted in one go.
const PIECE: usize = 1 << 22;

/// Everything besides the tensors that a model folder may hold.
pub(super) fn side_files() -> impl Iterator<Item = &'static str> {
    [CONFIG].into_iter().chain(OTHER_FILES).chain(PROCESSOR_FILES)
}

/// What a model folder holds besides its tensors, and how it spells their names: read once, so that a run can save its model
/// whatever has become of the folder that it came from.
#[derive(Debug)]
pub struct SideFiles {
    /// The processor's, by name.
    processor: Vec<(&'static str, Cow<'static, [u8]>)>,
    /// The model's configuration, and the others.
    config: (Map<String, Value>, Cow<'static, [u8]>),
    others: Vec<(&'static str, Cow<'static, [u8]>)>,
    spelling: Spelling,
}

impl SideFiles {
    /// Reads them.
    ///
    /// # Errors
    /// One cannot be read, or there is no configuration.
    pub fn read(source: &ModelFiles) -> Result<Self, ModelError> {
        let (Some(object), Some(contents)) = (read_object(source, CONFIG)?, read(source, CONFIG)?)
        else {
            let file = source.describe(CONFIG);
            let expected = "the model's configuration, for a copy of it";
            let hint = "put the files of the model back";
            return Err(ModelError::MissingFile { file, expected, hint });
        };
        let present = |names: &[&'static str]| {
            let file = |&name| Ok(read(source, name)?.map(|contents| (name, contents)));
            names.iter().map(file).filter_map(Result::transpose).collect::<Result<_, ModelError>>()
        };
        Ok(Self {
            processor: present(&PROCESSOR_FILES)?,
            config: (object, contents),
            others: present(&OTHER_FILES)?,
            spelling: spelling(source)?,
        })
    }

    /// Writes the processor's into `folder`.
    ///
    /// # Errors
    /// One cannot be written.
    pub(super) fn write_processor(&self, folder: &Path) -> Result<(), ModelError> {
        write_files(folder, &self.processor)
    }

    /// Writes all of them into `folder`, for tensors that are stored in `dtype`.
    fn write(&self, folder: &Path, dtype: DType) -> Result<(), ModelError> {
        self.write_processor(folder)?;
        write_files(folder, &self.others)?;
        let (object, contents) = &self.config;
        let path = folder.join(CONFIG);
        match with_dtype(object, dtype) {
            Some(updated) => write_file(&path, format!("{updated:#}\n").as_bytes()),
            None => write_file(&path, contents),
        }
    }
}

/// Writes the tensors and the other files of a model into `folder`, which is created if absent.
///
/// - `tensors`: in the order of `Parameters::in_hub_order`, with its names, which are written as `side_files` spells them; any
///   device and dtype
/// - `dtype`: BF16, F16 or F32, on disk and in `config.json`
/// - `max_shard_bytes`: a file holds no more numbers than this, unless a single tensor does
///
/// Every file is on the disk when this returns. Files of the same names are overwritten; the caller
/// makes the folder appear under its final name.
///
/// # Errors
/// A file cannot be written, or a tensor cannot be converted.
pub fn save(
    folder: &Path,
    tensors: &[(String, Tensor)],
    dtype: DType,
    side_files: &SideFiles,
    max_shard_bytes: u64,
) -> Result<(), ModelError> {
    let cannot_write = |path: &Path| {
        let path = path.to_owned();
        |source| ModelError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let bytes: Vec<u64> = tensors.iter().map(|(_, tensor)| stored_bytes(tensor, dtype)).collect();
    let shards = split(&bytes, max_shard_bytes);
    let spelt = |(name, tensor): &(String, Tensor)| {
        (side_files.spelling.spell(name).into_owned(), tensor.clone())
    };
    let mut weight_map = Map::new();
    for (shard_idx, members) in shards.iter().enumerate() {
        let name = shard_name(shard_idx, shards.len());
        let mut members: Vec<(String, Tensor)> =
            members.iter().map(|idx| spelt(&tensors[*idx])).collect();
        members.sort_by(|left, right| left.0.cmp(&right.0));
        write_shard(&folder.join(&name), &members.iter().collect::<Vec<_>>(), dtype)?;
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
    side_files.write(folder, dtype)?;
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
/// The file cannot be written, a tensor cannot be converted, or a number is not finite.
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
                .and_then(|piece| stored(&piece, dtype))
                .map_err(inconvertible)?;
            if let Some((place, found)) = piece.not_finite {
                let (tensor, place) = (name.clone(), start + place);
                return Err(ModelError::NotFinite { tensor, place, found });
            }
            writer.write_all(&piece.bytes).map_err(cannot_write)?;
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

/// Numbers as the file stores them.
struct Stored {
    bytes: Vec<u8>,
    /// The first that is not finite, with its place.
    not_finite: Option<(usize, f64)>,
}

fn stored(piece: &Tensor, dtype: DType) -> candle_core::Result<Stored> {
    fn of<T: Copy + Into<f64>, const WIDTH: usize>(
        numbers: Vec<T>,
        encode: fn(T) -> [u8; WIDTH],
    ) -> Stored {
        let mut wide = numbers.iter().map(|&number| number.into()).enumerate();
        let not_finite = wide.find(|(_, number): &(usize, f64)| !number.is_finite());
        let bytes = numbers.into_iter().map(encode).collect::<Vec<_>>().into_flattened();
        Stored { bytes, not_finite }
    }
    let piece = piece.to_dtype(dtype)?.to_device(&Device::Cpu)?;
    Ok(match dtype {
        DType::BF16 => of(piece.to_vec1()?, bf16::to_le_bytes),
        DType::F16 => of(piece.to_vec1()?, f16::to_le_bytes),
        _ => of(piece.to_vec1()?, f32::to_le_bytes),
    })
}

fn write_files(folder: &Path, files: &[(&str, Cow<[u8]>)]) -> Result<(), ModelError> {
    files.iter().try_for_each(|(name, contents)| write_file(&folder.join(name), contents))
}

fn read(source: &ModelFiles, name: &str) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
    let unreadable = |error| ModelError::Read { file: source.describe(name), source: error };
    source.read(name).map_err(unreadable)
}

/// The configuration with the number type that the tensors are stored in, or `None` where it already
/// says so. The hub's files spell it `torch_dtype`, transformers 5 spells it `dtype` and repeats it
/// for the two halves of the model.
fn with_dtype(before: &Map<String, Value>, dtype: DType) -> Option<Value> {
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
    (after != *before).then_some(Value::Object(after))
}

/// Writes a small file; it is on the disk when this returns.
pub(super) fn write_file(path: &Path, contents: &[u8]) -> Result<(), ModelError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .map_err(|source| ModelError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::config::ModelConfig;
    use super::super::test_checkpoint::{config_json, files, folder, golden, tensors};
    use super::super::weights;
    use super::*;

    fn side(files: &ModelFiles) -> SideFiles {
        SideFiles::read(files).unwrap()
    }

    fn in_hub_order(files: &ModelFiles, dtype: DType) -> Vec<(String, Tensor)> {
        let config = ModelConfig::load(files).unwrap();
        let loaded = weights::load(files, &config, dtype, &Device::Cpu).unwrap();
        loaded.into_iter().map(|(parameter, tensor)| (parameter.name, tensor)).collect()
    }

    fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }

    #[test]
    fn saved_golden_checkpoint_is_byte_for_byte_the_one_that_python_wrote() {
        let saved = tempfile::tempdir().unwrap();
        let loaded = in_hub_order(&golden(), DType::F32);
        save(saved.path(), &loaded, DType::F32, &side(&golden()), u64::MAX).unwrap();
        let ModelFiles::Folder(original) = golden() else { panic!("a folder") };
        let (ours, theirs) = (contents(saved.path()), contents(&original));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, bytes) in &ours {
            assert!(bytes == &theirs[name], "{name} differs");
        }
    }

    #[test]
    fn save_load_save_is_byte_equal() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            for max_shard_bytes in [u64::MAX, 2000, 1] {
                let first = tempfile::tempdir().unwrap();
                let loaded = in_hub_order(&golden(), DType::F32);
                save(first.path(), &loaded, dtype, &side(&golden()), max_shard_bytes).unwrap();
                let second = tempfile::tempdir().unwrap();
                let reloaded = in_hub_order(&files(&first), DType::F32);
                save(second.path(), &reloaded, dtype, &side(&files(&first)), max_shard_bytes)
                    .unwrap();
                assert!(contents(first.path()) == contents(second.path()));
            }
        }
    }

    #[test]
    fn a_model_whose_source_is_gone_is_saved_as_that_was() {
        let ModelFiles::Folder(original) = golden() else { panic!("a folder") };
        let copy = tempfile::tempdir().unwrap();
        for (name, bytes) in contents(&original) {
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
        let loaded = in_hub_order(&files(&copy), DType::F32);
        let side_files = side(&files(&copy));
        for name in contents(copy.path()).into_keys() {
            std::fs::remove_file(copy.path().join(name)).unwrap();
        }
        let saved = tempfile::tempdir().unwrap();
        save(saved.path(), &loaded, DType::F32, &side_files, u64::MAX).unwrap();
        assert!(contents(saved.path()) == contents(&original));

        let error = SideFiles::read(&files(&copy)).unwrap_err();
        let ModelError::MissingFile { file, .. } = &error else { panic!("{error}") };
        assert_eq!(file, &copy.path().join(CONFIG).display().to_string());
    }

    #[test]
    fn a_checkpoint_of_new_names_is_saved_under_new_names() {
        for max_shard_bytes in [u64::MAX, 2000] {
            let old = tensors(&config_json()).into_iter();
            let new = old.map(|(name, stored)| (Spelling::New.spell(&name).into_owned(), stored));
            let single = folder(&config_json(), &new.collect());
            let loaded = in_hub_order(&files(&single), DType::F32);
            assert!(loaded[0].0.starts_with("visual."));
            let saved = tempfile::tempdir().unwrap();
            save(saved.path(), &loaded, DType::F32, &side(&files(&single)), max_shard_bytes)
                .unwrap();
            if max_shard_bytes == u64::MAX {
                assert!(
                    contents(saved.path())[SINGLE_FILE] == contents(single.path())[SINGLE_FILE]
                );
            }
            // And from there once more: the spelling is read from an index, too.
            let again = tempfile::tempdir().unwrap();
            save(again.path(), &loaded, DType::F32, &side(&files(&saved)), max_shard_bytes)
                .unwrap();
            assert!(contents(again.path()) == contents(saved.path()));
        }
    }

    /// The first case is the docstring of `split_state_dict_into_shards_factory`
    /// (`huggingface_hub` 2.4); the others are what that function returns.
    #[test]
    fn shards_are_filled_as_transformers_fills_them() {
        for (sizes, expected) in [
            (vec![6, 6, 2, 6, 2, 2], vec![vec![0], vec![1, 2], vec![3, 4, 5]]),
            (vec![3, 20, 4], vec![vec![1], vec![0, 2]]),
            (vec![10, 10], vec![vec![0], vec![1]]),
            (vec![4, 6], vec![vec![0, 1]]),
            (vec![20, 30], vec![vec![0], vec![1]]),
        ] {
            assert_eq!(split(&sizes, 10), expected, "{sizes:?}");
        }
    }

    #[test]
    fn shards_stay_within_the_limit_and_the_index_finds_every_tensor() {
        let single = folder(&config_json(), &tensors(&config_json()));
        let saved = tempfile::tempdir().unwrap();
        let loaded = in_hub_order(&files(&single), DType::F32);
        save(saved.path(), &loaded, DType::F32, &side(&files(&single)), 5000).unwrap();
        let index = read_object(&files(&saved), INDEX_FILE).unwrap().unwrap();
        let count: usize = loaded.iter().map(|(_, tensor)| tensor.elem_count()).sum();
        assert_eq!(index["metadata"], json!({"total_parameters": count, "total_size": 4 * count}));
        assert_eq!(index["weight_map"].as_object().unwrap().len(), loaded.len());
        let listed: Vec<&String> = index["weight_map"].as_object().unwrap().keys().collect();
        assert!(listed.is_sorted());
        let shards = contents(saved.path());
        let shards = shards.iter().filter(|(name, _)| name.ends_with(".safetensors"));
        for (name, bytes) in shards {
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert!(bytes.len() as u64 - 8 - header <= 5000, "{name}");
        }
        let reloaded = in_hub_order(&files(&saved), DType::F32);
        assert_eq!(reloaded.len(), loaded.len());
    }

    #[test]
    fn tensor_that_is_a_view_is_saved_in_its_own_order() {
        let single = folder(&config_json(), &tensors(&config_json()));
        let mut loaded = in_hub_order(&files(&single), DType::F32);
        let expected = contents(single.path());
        let square = loaded.iter_mut().find(|(name, _)| name.ends_with("o_proj.weight")).unwrap();
        // Stored transposed and viewed transposed: the same numbers with other strides.
        square.1 = square.1.t().unwrap().contiguous().unwrap().t().unwrap();
        let saved = tempfile::tempdir().unwrap();
        save(saved.path(), &loaded, DType::F32, &side(&files(&single)), u64::MAX).unwrap();
        assert!(contents(saved.path())[SINGLE_FILE] == expected[SINGLE_FILE]);
    }

    #[test]
    fn config_says_the_number_type_of_the_tensors() {
        let nested = json!({"dtype": "float32", "text_config": {"dtype": "float32", "n": 1},
            "vision_config": {"depth": 1}});
        for (config, expected) in [
            (
                json!({"torch_dtype": "float32", "n": 1e-6}),
                json!({"torch_dtype": "bfloat16", "n": 1e-6}),
            ),
            (json!({}), json!({"torch_dtype": "bfloat16"})),
            (
                nested,
                json!({"dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "n": 1},
                    "vision_config": {"depth": 1}}),
            ),
        ] {
            assert_eq!(with_dtype(config.as_object().unwrap(), DType::BF16), Some(expected));
        }
        let already = json!({"torch_dtype": "bfloat16"});
        assert_eq!(with_dtype(already.as_object().unwrap(), DType::BF16), None);
    }

    #[test]
    fn folder_that_cannot_be_written_is_named() {
        let single = folder(&config_json(), &tensors(&config_json()));
        let loaded = in_hub_order(&files(&single), DType::F32);
        let inside_a_file = single.path().join("config.json").join("out");
        let error =
            save(&inside_a_file, &loaded, DType::F32, &side(&files(&single)), 1).unwrap_err();
        assert!(matches!(&error, ModelError::Write { path, .. } if path == &inside_a_file));
        let saved = tempfile::tempdir().unwrap();
        let error = save(saved.path(), &loaded, DType::U8, &side(&files(&single)), 1).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot save the model: unsupported dtype"),
            "{error}"
        );
    }
}
