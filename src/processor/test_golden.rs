//! The committed reference values of `tests/golden`, for this module's tests.
//! Not here: what made them (`scripts/`, `tests/golden/README.md`).

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use super::Processor;
use crate::model::files::ModelFiles;

/// A path below `tests/golden`.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(super) fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

/// `micro/golden.json`, the index, and `micro/golden.safetensors`, the tensors it names.
pub(super) struct Micro {
    pub(super) index: Value,
    tensors: Vec<u8>,
}

impl Micro {
    pub(super) fn load() -> Self {
        Self { index: json("micro/golden.json"), tensors: bytes("micro/golden.safetensors") }
    }

    /// Shape and raw bytes of the tensor `name`, which is an entry of the index.
    pub(super) fn tensor(&self, name: &Value) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let view = tensors.tensor(name.as_str().unwrap()).unwrap();
        (view.shape().to_vec(), view.data().to_vec())
    }

    pub(super) fn f32s(&self, name: &Value) -> Vec<f32> {
        let (_, data) = self.tensor(name);
        data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    pub(super) fn i32s(&self, name: &Value) -> Vec<i32> {
        let (_, data) = self.tensor(name);
        data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()
    }
}

pub(super) fn model() -> ModelFiles {
    ModelFiles::Folder(path("micro/policy"))
}

pub(super) fn processor() -> Processor {
    Processor::load(&model()).unwrap()
}

pub(super) fn usizes(list: &Value) -> Vec<usize> {
    list.as_array().unwrap().iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

pub(super) fn ids(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|n| u32::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

/// The image of an entry of the index's `images`, as we decode it, and the variant that corresponds
/// to it.
pub(super) fn image_variant(entry: &Value) -> (image::RgbImage, &Value) {
    let file = format!("micro/{}", entry["file"].as_str().unwrap());
    let image = super::decode_image(&bytes(&file), &file).unwrap();
    let variants = &entry["variants"];
    let ours = ["plain", "alpha_white", "exif_applied"];
    let variant = ours.into_iter().find_map(|name| variants.get(name)).unwrap();
    (image, variant)
}
