//! The tiny model's sizes and first weights.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use othink::model::config::ModelConfig;
use othink::model::files::ModelFiles;
use othink::model::parameters::{ParameterGroup, ParameterShape};
use othink::model::save::{SideFiles, save};
use othink::rng::{Purpose, Stream};
use serde_json::{Value, json};

use super::Outcome;
use super::tokenizer::{Tokenizer, id, write_json};

/// Standard deviation of the embedding, which is also the head: logits start near 0.2 * N(0, 1).
const EMBEDDING_STD: f64 = 0.02;

/// Writes `config.json`, its companions and `model.safetensors`.
pub(super) fn write(tokenizer: &Tokenizer, seed: u64, folder: &Path) -> Outcome<()> {
    write_json(folder, "config.json", &config(tokenizer)?)?;
    write_json(folder, "generation_config.json", &generation_config(tokenizer)?)?;
    write_json(folder, "preprocessor_config.json", &preprocessor_config())?;
    let files = ModelFiles::Folder(folder.to_owned());
    let config = ModelConfig::load(&files)?;
    let mut tensors = Vec::new();
    for (idx, parameter) in config.parameter_shapes().into_iter().enumerate() {
        let stream = Stream::new(seed, Purpose::ColdStart, 0, u32::try_from(idx)?, 0);
        let values = first_values(&parameter, &config, stream);
        let tensor = Tensor::from_vec(values, parameter.dims, &Device::Cpu)?;
        tensors.push((parameter.name, tensor));
    }
    Ok(save(folder, &tensors, DType::F32, &SideFiles::read(&files)?, u64::MAX)?)
}

/// Norms start at one, biases at zero. Weights are normal with variance 1 / inputs, so that a layer
/// keeps the size of what it reads; those that write to a residual stream are smaller by the root of
/// the number of such writes (Radford et al. 2019, "Language models are unsupervised multitask
/// learners", section 2.3).
fn first_values(parameter: &ParameterShape, config: &ModelConfig, stream: Stream) -> Vec<f32> {
    let (name, shape, count) = (&parameter.name, &parameter.dims, parameter.elem_count());
    if name.rsplit('.').next() == Some("bias") {
        return vec![0.0; count];
    }
    if shape.len() == 1 {
        return vec![1.0; count];
    }
    let depth = match parameter.group {
        ParameterGroup::Vision => config.vision.depth,
        ParameterGroup::Language => config.text.num_hidden_layers,
    };
    let writes_to_residual = ["o_proj", "down_proj", "attn.proj", "mlp.fc2"];
    let inputs: usize = shape[1..].iter().product();
    let std = if name.contains("embed_tokens") {
        EMBEDDING_STD
    } else if writes_to_residual.iter().any(|part| name.contains(part)) {
        1.0 / (inputs as f64 * 2.0 * depth as f64).sqrt()
    } else {
        1.0 / (inputs as f64).sqrt()
    };
    let mut draws = stream.draws();
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    let value = |_| (std * draws.normal()) as f32;
    (0..count).map(value).collect()
}

fn config(tokenizer: &Tokenizer) -> Outcome<Value> {
    Ok(json!({
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": id(tokenizer, "<|endoftext|>")?,
        "eos_token_id": id(tokenizer, "<|im_end|>")?,
        "vision_start_token_id": id(tokenizer, "<|vision_start|>")?,
        "vision_end_token_id": id(tokenizer, "<|vision_end|>")?,
        "vision_token_id": id(tokenizer, "<|vision_pad|>")?,
        "image_token_id": id(tokenizer, "<|image_pad|>")?,
        "video_token_id": id(tokenizer, "<|video_pad|>")?,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": EMBEDDING_STD,
        "intermediate_size": 384,
        "max_position_embeddings": 4096,
        "max_window_layers": 4,
        "model_type": "qwen2_vl",
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "transformers_version": "4.41.2",
        "use_cache": true,
        "use_sliding_window": false,
        "vision_config": {
            "depth": 4,
            "embed_dim": 96,
            "mlp_ratio": 4,
            "num_heads": 4,
            "in_chans": 3,
            "hidden_size": 128,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "vocab_size": tokenizer.get_vocab_size(true)
    }))
}

fn generation_config(tokenizer: &Tokenizer) -> Outcome<Value> {
    let end_of_text = id(tokenizer, "<|endoftext|>")?;
    Ok(json!({
        "bos_token_id": end_of_text,
        "pad_token_id": end_of_text,
        "do_sample": false,
        "eos_token_id": [id(tokenizer, "<|im_end|>")?, end_of_text],
        "transformers_version": "4.41.2"
    }))
}

/// At most 256 tokens of a picture; a drawing of 112 x 112 pixels is 16.
fn preprocessor_config() -> Value {
    json!({
        "min_pixels": 4 * 28 * 28,
        "max_pixels": 256 * 28 * 28,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor"
    })
}
