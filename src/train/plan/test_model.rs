//! A model small enough to count by hand, and the work that a real GPU was measured with.
//! Not here: what is counted of them.

use serde_json::json;

use super::workload::{Stream, Workload};
use crate::model::config::ModelConfig;
use crate::model::files::ModelFiles;

/// One layer and one block, every width 8. Its language model has 512 parameters in its layer (72 + 36 + 36 for
/// queries, keys and values, 64, 3 * 96, two norms of 8) and a last norm of 8: 520; its head 16 * 8 = 128; its
/// vision tower 192 + 600 + 1336 = 2128 (patches, block, merger).
pub(super) fn one_layer(is_tied: bool) -> ModelConfig {
    let config = json!({
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 16,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]},
        "tie_word_embeddings": is_tied, "torch_dtype": "float32",
        "image_token_id": 5, "video_token_id": 6, "eos_token_id": 2,
        "vision_start_token_id": 3, "vision_end_token_id": 4,
        "vision_config": {"depth": 1, "embed_dim": 8, "num_heads": 2, "in_chans": 3,
            "hidden_size": 8, "mlp_ratio": 2, "patch_size": 2}
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    ModelConfig::load(&ModelFiles::Folder(folder.path().to_owned())).unwrap()
}

/// One group, 10 tokens, 3 of them scored, and 4 patches: small enough to count by hand.
pub(super) fn one_group() -> Workload {
    Workload {
        rows: 1,
        is_measured: true,
        prompt_tokens: 7,
        patches: 4,
        pictures: 1,
        prompts: 1,
        group_size: 2,
        completion_tokens: 5,
        streams: vec![Stream { groups: 1, tokens: 10, scored: 3, patches: 4 }],
    }
}

/// Prompts of 1024 patches, each with 8 completions, in one stream.
pub(super) fn groups_of_8(
    prompts: usize,
    prompt_tokens: usize,
    completion_tokens: usize,
) -> Workload {
    let tokens = prompts * (prompt_tokens + 8 * (completion_tokens - 1));
    let (scored, patches) = (prompts * 8 * completion_tokens, prompts * 1024);
    Workload {
        rows: 1,
        is_measured: true,
        prompt_tokens,
        patches: 1024,
        pictures: 1,
        prompts,
        group_size: 8,
        completion_tokens,
        streams: vec![Stream { groups: prompts, tokens, scored, patches }],
    }
}
