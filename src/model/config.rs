//! `config.json`: the sizes of a model, and the name and shape of every parameter they imply.
//! Not here: the vision tower's sizes (`vision_config`), what differs from family to family (`family`); the parameters' values
//! (`weights`); image sizes and the chat template (`processor`).
//!
//! Two layouts are read. The hub's files keep the language model's keys at the top level; files
//! written by transformers 5, and all of Qwen3-VL's, nest them in `text_config` and hold the rotary settings in
//! `rope_parameters`. A key that is absent has the value that transformers 5.23 gives it
//! (`configuration_qwen2_vl.py`), `rms_norm_eps = 1e-5` among them although the hub's files say
//! 1e-6; the sizes themselves have no default here, because a wrong guess would fail later and less clearly.

use serde_json::Value;

use super::error::ModelError;
use super::family::Family;
use super::fields::{Section, as_size, in_vocabulary, read_object};
use super::files::ModelFiles;
use super::language;
use super::parameters::{ParameterGroup, ParameterShape};
use super::stages::Kept;
use super::tower_parts;
use super::vision_config::VisionConfig;

/// The sizes and token ids of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family it belongs to.
    pub family: Family,
    /// The language model.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// The id that stands for one merged image patch.
    pub image_token_id: u32,
    /// The id that stands for one merged video patch.
    pub video_token_id: u32,
    /// The id before the first patch of an image or video.
    pub vision_start_token_id: u32,
    /// The id after the last patch of an image or video.
    pub vision_end_token_id: u32,
    /// The ids that end a completion: `generation_config.json`'s, else `config.json`'s.
    pub eos_token_ids: Vec<u32>,
}

/// The sizes of the language model.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Width of a token's hidden state.
    pub hidden_size: usize,
    /// Width inside the gated MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one attention head.
    pub head_dim: usize,
    /// Rows of the embedding, at least the number of tokens.
    pub vocab_size: usize,
    /// Longest sequence the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many of the `head_dim / 2` frequencies rotate by time, height and width.
    pub mrope_section: [usize; 3],
    /// What differs from family to family.
    pub parts: DecoderParts,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
}

/// What a family's decoder is made of, beyond its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderParts {
    /// What the heads of queries and keys are made with.
    pub heads: Heads,
    /// Which frequencies rotate by which axis.
    pub axes: Axes,
}

/// How queries, keys and values are made of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heads {
    /// Maps with biases.
    Biased,
    /// Maps without biases; the norm of every head of queries and keys before rotation.
    Normalized,
}

/// In which order the frequencies of M-RoPE take time, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// The first ones time, the next ones height, the last ones width.
    InTurn,
    /// By threes, as long as there are some of height and of width; all others time.
    Interleaved,
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }
}

impl ModelConfig {
    /// Reads `config.json` and the end-of-text ids of `generation_config.json`.
    ///
    /// # Errors
    /// No `config.json`, one of another architecture, or a field that is missing, of the wrong type
    /// or inconsistent with another; each names file, field, what was found and what was expected.
    pub fn load(files: &ModelFiles) -> Result<Self, ModelError> {
        let file = files.describe("config.json");
        let Some(root) = read_object(files, "config.json")? else {
            return Err(ModelError::MissingFile {
                file,
                expected: "the model's configuration",
                hint: "a model folder holds config.json, tokenizer.json and *.safetensors",
            });
        };
        let root = Section { file: &file, prefix: String::new(), fields: &root };
        let family = Family::of(&root)?;
        let nested = root.section("text_config")?;
        let text_section = nested.as_ref().unwrap_or(&root);
        let text = read_text(text_section, &root, family.decoder())?;
        let vision_section = root
            .section("vision_config")?
            .ok_or_else(|| root.wrong("vision_config", "an object"))?;
        let vision = family.read_vision(&vision_section, text.hidden_size)?;
        let (seen, layers) = (vision.deepstack.len(), text.num_hidden_layers);
        if seen > layers {
            let expected = format!("at most {layers} blocks, one for each decoder layer");
            return Err(vision_section.wrong("deepstack_visual_indexes", &expected));
        }
        let token = |field, default| root.token_id(field, default, text.vocab_size);
        Ok(Self {
            image_token_id: token("image_token_id", 151_655)?,
            video_token_id: token("video_token_id", 151_656)?,
            vision_start_token_id: token("vision_start_token_id", 151_652)?,
            vision_end_token_id: token("vision_end_token_id", 151_653)?,
            eos_token_ids: read_eos(files, text_section, text.vocab_size)?,
            family,
            text,
            vision,
        })
    }

    /// Elements kept per token in one decoder layer until its backward pass.
    pub fn kept_by_layer(&self) -> Kept {
        language::kept_by_layer(&self.text)
    }

    /// Elements kept per patch in one block of the vision tower.
    pub fn kept_by_block(&self) -> Kept {
        self.family.tower().kept_by_block(&self.vision)
    }

    /// The same as [`Self::kept_by_layer`] and [`Self::kept_by_block`] where candle's operations compose layer and block
    /// (`ops::plain`), without attention's scores.
    pub fn kept_by_plain_layer_and_block(&self) -> [Kept; 2] {
        [
            language::kept_by_plain_layer(&self.text),
            self.family.tower().kept_by_plain_block(&self.vision),
        ]
    }

    /// Elements kept per patch in the merger, where patches become tokens.
    pub fn kept_by_merger(&self) -> usize {
        tower_parts::kept_by_merger(&self.vision, self.text.hidden_size)
    }

    /// Maps of a block of the vision tower to the width inside its MLP.
    pub fn n_wide_maps_of_block(&self) -> usize {
        self.family.tower().mlp.n_wide()
    }

    /// Every parameter, in the order of the hub's module tree: vision tower, embedding, layers, final
    /// norm, and the output head where it is not the embedding.
    pub fn parameter_shapes(&self) -> Vec<ParameterShape> {
        let of_group = |group, shapes: Vec<(String, Vec<usize>)>| {
            shapes.into_iter().map(move |(name, dims)| ParameterShape { name, dims, group })
        };
        let vision = self.family.tower().shapes(&self.vision, self.text.hidden_size);
        let vision = of_group(ParameterGroup::Vision, vision);
        vision.chain(of_group(ParameterGroup::Language, text_shapes(&self.text))).collect()
    }
}

fn text_shapes(text: &TextConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = text.hidden_size;
    let embedding = vec![text.vocab_size, hidden];
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), embedding.clone())];
    for layer in 0..text.num_hidden_layers {
        push_text_layer(&mut shapes, layer, text);
    }
    shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !text.tie_word_embeddings {
        shapes.push(("lm_head.weight".to_owned(), embedding));
    }
    shapes
}

fn push_text_layer(shapes: &mut Vec<(String, Vec<usize>)>, layer: usize, text: &TextConfig) {
    let prefix = format!("model.layers.{layer}");
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let [q_width, kv_width] =
        [text.num_attention_heads, text.num_key_value_heads].map(|heads| heads * text.head_dim);
    for (projection, width) in [("q", q_width), ("k", kv_width), ("v", kv_width)] {
        let name = format!("{prefix}.self_attn.{projection}_proj");
        match text.parts.heads {
            Heads::Biased => push_with_bias(shapes, &name, &[width, hidden]),
            Heads::Normalized => shapes.push((format!("{name}.weight"), vec![width, hidden])),
        }
    }
    shapes.push((format!("{prefix}.self_attn.o_proj.weight"), vec![hidden, q_width]));
    if text.parts.heads == Heads::Normalized {
        for norm in ["q_norm", "k_norm"] {
            shapes.push((format!("{prefix}.self_attn.{norm}.weight"), vec![text.head_dim]));
        }
    }
    for (name, shape) in [
        ("mlp.gate_proj", vec![inner, hidden]),
        ("mlp.up_proj", vec![inner, hidden]),
        ("mlp.down_proj", vec![hidden, inner]),
        ("input_layernorm", vec![hidden]),
        ("post_attention_layernorm", vec![hidden]),
    ] {
        shapes.push((format!("{prefix}.{name}.weight"), shape));
    }
}

/// A weight of this shape, and a bias as long as its first dimension.
pub(super) fn push_with_bias(shapes: &mut Vec<(String, Vec<usize>)>, name: &str, shape: &[usize]) {
    shapes.push((format!("{name}.weight"), shape.to_vec()));
    shapes.push((format!("{name}.bias"), shape[..1].to_vec()));
}

/// What transformers gives a text configuration for keys that its file leaves out, with the family's parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextDefaults {
    pub(super) parts: DecoderParts,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    pub(super) max_position_embeddings: usize,
    /// Width of a head; none where it follows from the hidden size.
    pub(super) head_dim: Option<usize>,
}

fn read_text(
    text: &Section,
    root: &Section,
    defaults: TextDefaults,
) -> Result<TextConfig, ModelError> {
    text.require_word("hidden_act", "silu")?;
    if text.fields.get("use_sliding_window") == Some(&Value::Bool(true)) {
        return Err(text.wrong("use_sliding_window", "false: windowed attention is not supported"));
    }
    if text.fields.get("attention_bias") == Some(&Value::Bool(true)) {
        return Err(text.wrong("attention_bias", "false: such biases are not supported"));
    }
    let (rope_theta, mrope_section) = read_rope(text, &defaults)?;
    let heads = text.size("num_attention_heads", None)?;
    let hidden_size = text.size("hidden_size", None)?;
    let head_dim = match defaults.head_dim {
        Some(width) => text.factor("head_dim", width)?,
        None => hidden_size / heads,
    };
    let config = TextConfig {
        hidden_size,
        head_dim,
        parts: defaults.parts,
        intermediate_size: text.size("intermediate_size", None)?,
        num_hidden_layers: text.layers("num_hidden_layers")?,
        num_attention_heads: heads,
        num_key_value_heads: text.size("num_key_value_heads", Some(heads))?,
        vocab_size: text.size("vocab_size", None)?,
        max_position_embeddings: text
            .size("max_position_embeddings", Some(defaults.max_position_embeddings))?,
        rms_norm_eps: text.positive("rms_norm_eps", defaults.rms_norm_eps)?,
        rope_theta,
        mrope_section,
        // transformers before 5 wrote it beside the language model's keys.
        tie_word_embeddings: root.flag("tie_word_embeddings")?
            || text.flag("tie_word_embeddings")?,
    };
    check_text(text, &config, defaults.head_dim.is_some())?;
    Ok(config)
}

fn check_text(text: &Section, config: &TextConfig, has_head_dim: bool) -> Result<(), ModelError> {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    if has_head_dim && !config.head_dim.is_multiple_of(2) {
        return Err(text.wrong("head_dim", "an even number"));
    }
    if !has_head_dim && !hidden.is_multiple_of(2 * heads) {
        let expected = format!("an even multiple of num_attention_heads = {heads}");
        return Err(text.wrong("hidden_size", &expected));
    }
    if !heads.is_multiple_of(config.num_key_value_heads) {
        let expected = format!("a divisor of num_attention_heads = {heads}");
        return Err(text.wrong("num_key_value_heads", &expected));
    }
    let turned = config.mrope_section.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part));
    if turned != Some(config.head_dim() / 2) {
        let turned = turned.map_or("more than any head has".to_owned(), |sum| sum.to_string());
        return Err(ModelError::Field {
            file: text.file.to_owned(),
            field: rope_section(text)?.path("mrope_section"),
            found: format!("{:?}, which sums to {turned}", config.mrope_section),
            expected: format!("a sum of head_dim / 2 = {}", config.head_dim() / 2),
        });
    }
    Ok(())
}

/// What says how positions rotate: `rope_scaling` (the hub), else `rope_parameters` (transformers 5).
fn rope_section<'a>(text: &Section<'a>) -> Result<Section<'a>, ModelError> {
    let name = match text.fields.get("rope_scaling") {
        None | Some(Value::Null) => "rope_parameters",
        Some(_) => "rope_scaling",
    };
    let expected = "an object with mrope_section, three whole numbers";
    text.section(name)?.ok_or_else(|| text.wrong("rope_scaling", expected))
}

/// Rotary base and sections.
fn read_rope(text: &Section, defaults: &TextDefaults) -> Result<(f64, [usize; 3]), ModelError> {
    let rope = rope_section(text)?;
    for field in ["rope_type", "type"] {
        if rope.get(field).is_some_and(|kind| kind != "mrope" && kind != "default") {
            let expected = "\"mrope\" or \"default\"; scaled positions are not supported";
            return Err(rope.wrong(field, expected));
        }
    }
    // transformers does not read it: the family decides.
    let interleaved = defaults.parts.axes == Axes::Interleaved;
    if rope.get("mrope_interleaved").is_some_and(|found| *found != interleaved) {
        return Err(rope.wrong("mrope_interleaved", &format!("{interleaved}, as in this family")));
    }
    if rope.get("partial_rotary_factor").is_some_and(|found| found.as_f64() != Some(1.0)) {
        return Err(rope.wrong("partial_rotary_factor", "1: whole heads are rotated"));
    }
    let sections: Option<Vec<usize>> = rope
        .fields
        .get("mrope_section")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().map(as_size).collect());
    let Some(Ok(sections)) = sections.map(<[usize; 3]>::try_from) else {
        return Err(rope.wrong("mrope_section", "three whole numbers"));
    };
    let theta = text.positive("rope_theta", defaults.rope_theta)?;
    Ok((rope.positive("rope_theta", theta)?, sections))
}

fn read_eos(files: &ModelFiles, text: &Section, vocab: usize) -> Result<Vec<u32>, ModelError> {
    let name = "generation_config.json";
    let generation = read_object(files, name)?.unwrap_or_default();
    let file = files.describe(name);
    let generation = Section { file: &file, prefix: String::new(), fields: &generation };
    let section = match generation.fields.get("eos_token_id") {
        None | Some(Value::Null) => text,
        Some(_) => &generation,
    };
    let ids = match section.fields.get("eos_token_id") {
        Some(Value::Array(list)) => list.iter().map(as_size).collect(),
        one => one.and_then(as_size).map(|id| vec![id]),
    };
    ids.filter(|ids| !ids.is_empty())
        .and_then(|ids| ids.into_iter().map(|id| in_vocabulary(id, vocab)).collect())
        .ok_or_else(|| section.wrong("eos_token_id", &format!("one or more ids below {vocab}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test_checkpoint::{config_json, files, folder, golden};
    use super::super::vision_config::Windows;
    use super::*;

    fn load(config: &Value) -> Result<ModelConfig, ModelError> {
        ModelConfig::load(&files(&folder(config, &[].into())))
    }

    fn load_with(pointer: &str, value: Value) -> Result<ModelConfig, ModelError> {
        let mut config = config_json();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[field] = value;
        load(&config)
    }

    #[test]
    fn sections_whose_sum_overflows_are_refused() {
        let sections = json!([u64::MAX, 1, 8]);
        let message = load_with("/rope_scaling/mrope_section", sections).unwrap_err().to_string();
        assert!(message.contains("which sums to more than any head has"), "{message}");
    }

    #[test]
    fn hub_layout_gives_the_numbers_in_the_file() {
        let config = ModelConfig::load(&golden()).unwrap();
        let text = &config.text;
        assert_eq!((text.hidden_size, text.intermediate_size, text.vocab_size), (64, 160, 512));
        assert_eq!((text.num_attention_heads, text.num_key_value_heads), (4, 2));
        assert_eq!((text.num_hidden_layers, text.head_dim()), (3, 16));
        assert_eq!((text.rms_norm_eps, text.rope_theta), (1e-6, 1e6));
        assert_eq!(text.mrope_section, [2, 3, 3]);
        assert!(text.tie_word_embeddings);
        let vision = &config.vision;
        assert_eq!((vision.depth, vision.embed_dim, vision.mlp_hidden), (2, 48, 192));
        assert_eq!((vision.num_heads, vision.head_dim()), (3, 16));
        assert_eq!((vision.patch_dim(), vision.merged_dim()), (1176, 192));
        assert_eq!((config.image_token_id, config.video_token_id), (390, 391));
        assert_eq!((config.vision_start_token_id, config.vision_end_token_id), (387, 388));
        assert_eq!(config.eos_token_ids, [380, 378], "generation_config.json's list");
    }

    /// What `Qwen2VLConfig.save_pretrained` of transformers 5.23 makes of [`config_json`].
    fn nested() -> Value {
        json!({
            "architectures": ["Qwen2VLForConditionalGeneration"],
            "dtype": "float32", "image_token_id": 5, "model_type": "qwen2_vl",
            "text_config": {
                "dtype": "float32", "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 8,
                "intermediate_size": 12, "layer_types": ["full_attention"],
                "max_position_embeddings": 64, "max_window_layers": 80,
                "model_type": "qwen2_vl_text", "num_attention_heads": 2, "num_hidden_layers": 1,
                "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
                "rope_parameters": {"mrope_section": [1, 1, 0], "rope_theta": 1e6,
                    "rope_type": "default", "type": "mrope"},
                "sliding_window": null, "use_sliding_window": false, "vocab_size": 16
            },
            "tie_word_embeddings": true, "transformers_version": "5.23.0", "video_token_id": 6,
            "vision_config": {
                "depth": 1, "embed_dim": 8, "hidden_act": "quick_gelu", "hidden_size": 8,
                "in_channels": 3, "in_chans": 3, "initializer_range": 0.02, "mlp_ratio": 2,
                "model_type": "qwen2_vl_vision", "num_heads": 2, "patch_size": 2,
                "rope_parameters": {"rope_theta": 10000.0, "rope_type": "axial"},
                "spatial_merge_size": 2, "temporal_patch_size": 2
            },
            "vision_end_token_id": 4, "vision_start_token_id": 3
        })
    }

    #[test]
    fn nested_layout_reads_like_the_flat_one() {
        assert_eq!(load(&nested()).unwrap(), load(&config_json()).unwrap());
    }

    #[test]
    fn absent_fields_are_what_transformers_makes_of_them() {
        let mut config = nested();
        for (section, field) in [
            ("/text_config", "rms_norm_eps"),
            ("/text_config", "max_position_embeddings"),
            ("/text_config/rope_parameters", "rope_theta"),
            ("", "tie_word_embeddings"),
        ] {
            config.pointer_mut(section).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        }
        let text = load(&config).unwrap().text;
        assert_eq!((text.rms_norm_eps, text.rope_theta), (1e-5, 1e6));
        assert_eq!(text.max_position_embeddings, 32_768);
        assert!(!text.tie_word_embeddings);
    }

    #[test]
    fn parameters_of_the_2b_model_are_those_of_the_hub() {
        let mut config = config_json();
        for (field, value) in [
            ("hidden_size", 1536),
            ("intermediate_size", 8960),
            ("num_hidden_layers", 28),
            ("num_attention_heads", 12),
            ("num_key_value_heads", 2),
            ("vocab_size", 151_936),
        ] {
            config[field] = json!(value);
        }
        config["rope_scaling"]["mrope_section"] = json!([16, 24, 24]);
        config["vision_config"] = json!({"depth": 32, "embed_dim": 1280, "mlp_ratio": 4,
            "num_heads": 16, "in_chans": 3, "hidden_size": 1536, "patch_size": 14});
        let shapes = load(&config).unwrap().parameter_shapes();
        let count = |group| -> usize {
            shapes.iter().filter(|p| p.group == group).map(ParameterShape::elem_count).sum()
        };
        let (vision, language) = (count(ParameterGroup::Vision), count(ParameterGroup::Language));
        assert_eq!((shapes.len(), vision, language), (729, 665_271_296, 1_543_714_304));
    }

    #[test]
    fn untied_head_is_the_last_parameter() {
        let untied = load_with("/tie_word_embeddings", json!(false)).unwrap();
        let tied = load(&config_json()).unwrap();
        assert_eq!(untied.parameter_shapes().len(), tied.parameter_shapes().len() + 1);
        let ParameterShape { name, dims, group } = untied.parameter_shapes().pop().unwrap();
        assert_eq!((name.as_str(), dims), ("lm_head.weight", vec![16, 8]));
        assert_eq!(group, ParameterGroup::Language);
    }

    #[test]
    fn another_architecture_is_named() {
        let message = load_with("/model_type", json!("llava")).unwrap_err().to_string();
        assert!(message.contains("config.json: model_type is \"llava\""), "{message}");
        assert!(
            message.contains("expected \"qwen2_vl\" or \"qwen2_5_vl\" or \"qwen3_vl\""),
            "{message}"
        );
        assert!(message.contains("\nhint: "), "{message}");
        let error = load_with("/architectures", json!(["Qwen2ForCausalLM"])).unwrap_err();
        assert!(matches!(error, ModelError::Architecture { field: "architectures", .. }));
        assert!(load_with("/architectures", Value::Null).is_ok());
        for (name, why) in [
            ("qwen3_vl_moe", "a mixture of experts"),
            ("qwen3_5", "gated delta networks"),
            ("qwen2_vl_text", "a language model without a vision tower"),
            ("qwen3", "a language model without a vision tower"),
        ] {
            let message = load_with("/model_type", json!(name)).unwrap_err().to_string();
            assert!(message.contains(&format!("is \"{name}\" ({why}), expected")), "{message}");
            assert!(message.contains("the dense Qwen3-VL checkpoints"), "{message}");
        }
    }

    #[test]
    fn numbers_at_odds_are_errors_that_name_the_field() {
        for (pointer, value, field) in [
            ("/hidden_size", json!(9), "hidden_size is 9, expected an even multiple"),
            ("/hidden_size", json!(0), "hidden_size is 0, expected a whole number from 1"),
            ("/hidden_size", json!("8"), "hidden_size is \"8\""),
            ("/vocab_size", json!(16.5), "vocab_size is 16.5"),
            ("/num_key_value_heads", json!(3), "num_key_value_heads is 3, expected a divisor of"),
            ("/num_hidden_layers", json!(100_000), "expected a whole number from 1 to 4096"),
            ("/rope_scaling", Value::Null, "rope_scaling is null, expected an object"),
            ("/rope_scaling/type", json!("yarn"), "rope_scaling.type is \"yarn\""),
            ("/rope_scaling/rope_type", json!("linear"), "rope_scaling.rope_type is \"linear\""),
            (
                "/rope_scaling/mrope_interleaved",
                json!(true),
                "rope_scaling.mrope_interleaved is true, expected false",
            ),
            (
                "/rope_scaling/partial_rotary_factor",
                json!(0.25),
                "rope_scaling.partial_rotary_factor is 0.25, expected 1",
            ),
            (
                "/rope_scaling/mrope_section",
                json!([1, 1]),
                "mrope_section is [1,1], expected three",
            ),
            ("/rope_scaling/mrope_section", json!([1, 1, 1]), "which sums to 3, expected a sum of"),
            ("/rms_norm_eps", json!(0.0), "rms_norm_eps is 0.0, expected a positive number"),
            ("/tie_word_embeddings", json!(1), "tie_word_embeddings is 1, expected true or false"),
            ("/use_sliding_window", json!(true), "use_sliding_window is true"),
            ("/hidden_act", json!("gelu"), "hidden_act is \"gelu\", expected \"silu\""),
            ("/image_token_id", json!(16), "image_token_id is 16, expected an id below"),
            ("/eos_token_id", json!([]), "eos_token_id is [], expected one or more ids"),
            ("/vision_config", json!(3), "vision_config is 3, expected an object"),
            (
                "/vision_config/num_heads",
                json!(4),
                "vision_config.embed_dim is 8, expected a multiple",
            ),
            ("/vision_config/hidden_size", json!(4), "vision_config.hidden_size is 4"),
            ("/vision_config/depth", Value::Null, "vision_config.depth is null"),
            ("/vision_config/patch_size", json!(1 << 20), "expected a whole number from 1 to 1024"),
        ] {
            let message = load_with(pointer, value).unwrap_err().to_string();
            assert!(message.contains("config.json: ") && message.contains(field), "{message}");
            assert!(message.contains("\nhint: "), "{message}");
        }
    }

    /// [`config_json`] as a Qwen2.5-VL's.
    fn with_windows() -> Value {
        let mut config = config_json();
        config["model_type"] = json!("qwen2_5_vl");
        config["architectures"] = json!(["Qwen2_5_VLForConditionalGeneration"]);
        config["vision_config"] = json!({"depth": 3, "hidden_size": 8, "intermediate_size": 12,
            "num_heads": 2, "in_chans": 3, "out_hidden_size": 8, "patch_size": 2,
            "window_size": 16, "fullatt_block_indexes": [1]});
        config
    }

    #[test]
    fn windows_are_counted_in_tokens_and_some_blocks_have_none() {
        let vision = load(&with_windows()).unwrap().vision;
        assert_eq!(vision.windows, Some(Windows { side: 4, whole: vec![1] }));
        assert_eq!([0, 1, 2].map(|block| vision.sees_whole_frames(block)), [false, true, false]);
        // 64 patches of a window in two blocks, all 100 in one; a picture smaller than a window is seen whole.
        let whole = load(&config_json()).unwrap().vision;
        for (vision, in_frame, expected) in
            [(&vision, 100.0, 76.0), (&vision, 9.0, 9.0), (&whole, 100.0, 100.0)]
        {
            assert!((vision.mean_patches_seen(in_frame) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn windows_at_odds_are_errors_that_name_the_field() {
        for (field, value, expected) in [
            (
                "fullatt_block_indexes",
                json!([1, 3]),
                "fullatt_block_indexes is [1,3], expected a list of numbers below vision_config.depth = 3",
            ),
            ("fullatt_block_indexes", json!("all"), "fullatt_block_indexes is \"all\""),
            ("window_size", json!(3), "window_size is 3, expected at least 4 pixels"),
            ("hidden_act", json!("quick_gelu"), "hidden_act is \"quick_gelu\", expected \"silu\""),
            ("out_hidden_size", json!(9), "out_hidden_size is 9, expected the language model's"),
            (
                "hidden_size",
                json!(12),
                "hidden_size is 12, expected a multiple of 4 * num_heads = 8",
            ),
        ] {
            let mut config = with_windows();
            config["vision_config"][field] = value;
            let message = load(&config).unwrap_err().to_string();
            assert!(message.contains(&format!("vision_config.{expected}")), "{message}");
        }
        // The default of a field that is absent does not fit this depth either.
        let mut config = with_windows();
        config["vision_config"].as_object_mut().unwrap().remove("fullatt_block_indexes");
        let message = load(&config).unwrap_err().to_string();
        assert!(message.contains("fullatt_block_indexes is missing, expected a list"), "{message}");
    }

    /// A Qwen3-VL's configuration of the same widths.
    fn normalized() -> Value {
        json!({
            "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
            "image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3,
            "vision_end_token_id": 4, "tie_word_embeddings": true,
            "text_config": {
                "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "head_dim": 6,
                "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 16,
                "rope_scaling": {"mrope_interleaved": true, "mrope_section": [1, 1, 1],
                    "rope_type": "default"},
                "eos_token_id": 2, "model_type": "qwen3_vl_text", "attention_bias": false
            },
            "vision_config": {"depth": 3, "hidden_size": 8, "intermediate_size": 12, "num_heads": 2,
                "in_channels": 3, "out_hidden_size": 8, "patch_size": 2, "num_position_embeddings": 9,
                "deepstack_visual_indexes": [0, 2], "hidden_act": "gelu_pytorch_tanh"}
        })
    }

    #[test]
    fn heads_of_their_own_width_learned_positions_and_blocks_that_the_decoder_sees_are_read() {
        let ModelConfig { text, vision, .. } = load(&normalized()).unwrap();
        assert_eq!((text.head_dim(), text.rms_norm_eps, text.rope_theta), (6, 1e-6, 5e5));
        assert_eq!(text.max_position_embeddings, 128_000);
        assert_eq!(text.parts, DecoderParts { heads: Heads::Normalized, axes: Axes::Interleaved });
        assert_eq!((vision.table_side, vision.deepstack), (Some(3), vec![0, 2]));
    }

    #[test]
    fn a_qwen3_vl_at_odds_is_an_error_that_names_the_field() {
        for (pointer, value, expected) in [
            (
                "/text_config/head_dim",
                json!(5),
                "text_config.head_dim is 5, expected an even number",
            ),
            (
                "/text_config/head_dim",
                json!(8),
                "which sums to 3, expected a sum of head_dim / 2 = 4",
            ),
            ("/text_config/attention_bias", json!(true), "text_config.attention_bias is true"),
            (
                "/text_config/rope_scaling/rope_type",
                json!("yarn"),
                "text_config.rope_scaling.rope_type is \"yarn\"",
            ),
            (
                "/vision_config/deepstack_visual_indexes",
                json!([1, 3]),
                "deepstack_visual_indexes is [1,3], expected a list of numbers below vision_config.depth = 3",
            ),
            (
                "/vision_config/deepstack_visual_indexes",
                json!([2, 0]),
                "deepstack_visual_indexes is [2,0], expected blocks in ascending order",
            ),
            (
                "/vision_config/deepstack_visual_indexes",
                json!([0, 1, 2]),
                "deepstack_visual_indexes is [0,1,2], expected at most 2 blocks, one for each",
            ),
            (
                "/text_config/rope_scaling/mrope_interleaved",
                json!(false),
                "rope_scaling.mrope_interleaved is false, expected true",
            ),
            (
                "/vision_config/num_position_embeddings",
                json!(10),
                "num_position_embeddings is 10, expected a square number",
            ),
            ("/vision_config/hidden_act", json!("silu"), "vision_config.hidden_act is \"silu\""),
            ("/vision_config/out_hidden_size", json!(4), "vision_config.out_hidden_size is 4"),
        ] {
            let mut config = normalized();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[field] = value;
            let message = load(&config).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(load_with("/hidden_size", json!(8.0)).unwrap().text.hidden_size, 8);
    }

    #[test]
    fn absent_or_broken_file_is_an_error_that_names_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = ModelConfig::load(&files(&empty)).unwrap_err();
        assert!(matches!(error, ModelError::MissingFile { .. }), "{error}");
        std::fs::write(empty.path().join("config.json"), "{\"model_type\": \"qwen2_vl\"").unwrap();
        let message = ModelConfig::load(&files(&empty)).unwrap_err().to_string();
        assert!(message.contains("config.json: not a JSON object (EOF while parsing"), "{message}");
    }
}
