//! Checkpoints of families that are not supported, or at odds with their own: exit code, message, and nothing written.
//! Not here: what is wrong with a configuration of any family (`model::config`), other wrong input (`wrong_input`).

use candle_core::Device;
use serde_json::{Value, json};

use crate::wrong_input::{ASK, Folder, RUN_FILE, TRAIN};

const TAKE_IT: &str = "hint: take config.json from the checkpoint that the weights come from";
const SUPPORTED: &str = "hint: Qwen2-VL, Qwen2.5-VL and the dense Qwen3-VL checkpoints of any size, and their \
                         fine-tunes, are supported";
const FAMILIES: &str = "expected \"qwen2_vl\" or \"qwen2_5_vl\" or \"qwen3_vl\"";

fn of_family(name: &str) -> Folder {
    Folder::of(&std::path::absolute("tests/golden/families").unwrap().join(name))
}

/// With another value at a place of `config.json`.
fn changed(name: &str, pointer: &str, value: Value) -> Folder {
    let folder = of_family(name);
    let text = std::fs::read_to_string(folder.path("policy/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[field] = value;
    folder.write("policy/config.json", config.to_string());
    folder
}

#[test]
fn other_families_are_refused_by_name() {
    for (model_type, why) in [
        ("qwen3_vl_moe", " (a mixture of experts)"),
        ("qwen3_5", " (gated delta networks)"),
        ("qwen3_5_moe", " (gated delta networks)"),
        ("llava", ""),
        ("llava_onevision", ""),
        ("qwen2", " (a language model without a vision tower)"),
        ("qwen2_vl_text", " (a language model without a vision tower)"),
        ("qwen3_vl_text", " (a language model without a vision tower)"),
    ] {
        let folder = changed("qwen3_vl/tied", "/model_type", json!(model_type));
        let found = format!("model_type is \"{model_type}\"{why}, {FAMILIES}");
        folder.write("run.toml", RUN_FILE);
        for line in [ASK, TRAIN] {
            folder.refuses(line, format!("error: policy/config.json: {found}\n{SUPPORTED}\n"));
        }
    }
    let folder = changed("qwen2_5_vl/tied", "/architectures", json!(["Qwen2ForCausalLM"]));
    let found = "architectures is [\"Qwen2ForCausalLM\"], \
                 expected a list with \"Qwen2_5_VLForConditionalGeneration\"";
    folder.refuses(ASK, format!("error: policy/config.json: {found}\n{SUPPORTED}\n"));
}

#[test]
fn a_configuration_at_odds_with_itself_is_refused() {
    let scaled = "expected \"mrope\" or \"default\"; scaled positions are not supported";
    for (name, pointer, value, found) in [
        (
            "qwen2_5_vl/tied",
            "/rope_scaling/type",
            json!("yarn"),
            format!("rope_scaling.type is \"yarn\", {scaled}"),
        ),
        (
            "qwen3_vl/tied",
            "/text_config/rope_scaling/rope_type",
            json!("llama3"),
            format!("text_config.rope_scaling.rope_type is \"llama3\", {scaled}"),
        ),
        (
            "qwen3_vl/tied",
            "/text_config/rope_scaling/mrope_section",
            json!([4, 1, 4]),
            "text_config.rope_scaling.mrope_section is [4, 1, 4], which sums to 9, \
             expected a sum of head_dim / 2 = 8"
                .to_owned(),
        ),
        (
            "qwen2_5_vl/tied",
            "/vision_config/fullatt_block_indexes",
            json!([1, 3]),
            "vision_config.fullatt_block_indexes is [1,3], \
             expected a list of numbers below vision_config.depth = 3"
                .to_owned(),
        ),
        (
            "qwen3_vl/tied",
            "/vision_config/deepstack_visual_indexes",
            json!([0, 1, 4]),
            "vision_config.deepstack_visual_indexes is [0,1,4], \
             expected a list of numbers below vision_config.depth = 4"
                .to_owned(),
        ),
        (
            "qwen3_vl/untied",
            "/vision_config/deepstack_visual_indexes",
            json!([0, 1, 2]),
            "vision_config.deepstack_visual_indexes is [0,1,2], \
             expected at most 2 blocks, one for each decoder layer"
                .to_owned(),
        ),
    ] {
        let folder = changed(name, pointer, value);
        folder.refuses(ASK, format!("error: policy/config.json: {found}\n{TAKE_IT}\n"));
    }
}

#[test]
fn a_tensor_of_a_feature_that_is_missing_is_named() {
    let folder = of_family("qwen3_vl/tied");
    let file = folder.path("policy/model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let name = "visual.deepstack_merger_list.1.norm.weight";
    let total = tensors.len();
    tensors.remove(&format!("model.{name}")).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let message = format!(
        "error: policy/model.safetensors: 1 of {total} tensors missing: {name}\n\
         hint: config.json describes a larger model than the files hold, or a shard is absent\n"
    );
    folder.refuses(ASK, message);
}

#[test]
fn a_video_in_a_message_is_refused() {
    for name in ["qwen2_5_vl/tied", "qwen3_vl/tied"] {
        let folder = of_family(name);
        let part = r#"[{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}]"#;
        folder.write("chat.json", part);
        let message = "error: chat.json: message 1, part 1: a video; expected a part of type `text` or `image`: \
                       give frames as images\n";
        folder.refuses("infer --model policy --messages chat.json", format!("{message}...\n"));
    }
}
