//! The smallest Qwen2-VL checkpoint, made in memory, for the tests of this folder.
//! Not here: anything outside tests; the golden checkpoint of `tests/golden`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::config::ModelConfig;
use super::files::ModelFiles;

/// A stored tensor: number type, shape, bytes.
pub(super) type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// `config.json` in the hub's layout: one layer and one block, every width 8.
pub(super) fn config_json() -> Value {
    json!({
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]},
        "tie_word_embeddings": true, "torch_dtype": "float32",
        "image_token_id": 5, "video_token_id": 6, "eos_token_id": 2,
        "vision_start_token_id": 3, "vision_end_token_id": 4,
        "vision_config": {"depth": 1, "embed_dim": 8, "num_heads": 2, "in_chans": 3,
            "hidden_size": 8, "mlp_ratio": 2, "patch_size": 2}
    })
}

/// Every tensor of that model as f32; each number identifies its tensor and its position.
pub(super) fn tensors(config: &Value) -> BTreeMap<String, Stored> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let config = ModelConfig::load(&ModelFiles::Folder(folder.path().to_owned())).unwrap();
    let shapes = config.parameter_shapes().into_iter().enumerate();
    let stored = shapes.map(|(tensor_idx, parameter)| {
        let count = parameter.elem_count();
        let values = (0..count).map(|idx| tensor_idx as f32 + idx as f32 / 1024.0);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        (parameter.name, (Dtype::F32, parameter.dims, bytes))
    });
    stored.collect()
}

/// Writes one safetensors file as Python's library does.
pub(super) fn write_safetensors(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    std::fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

/// A folder with a configuration and, if there are any, tensors in one file.
pub(super) fn folder(config: &Value, tensors: &BTreeMap<String, Stored>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    if !tensors.is_empty() {
        write_safetensors(&folder.path().join("model.safetensors"), tensors);
    }
    folder
}

/// The folder as the code under test sees it.
pub(super) fn files(folder: &tempfile::TempDir) -> ModelFiles {
    ModelFiles::Folder(folder.path().to_owned())
}

/// The checkpoint that the golden files were made with.
pub(super) fn golden() -> ModelFiles {
    ModelFiles::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/micro/policy"))
}
