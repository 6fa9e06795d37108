//! Text to token ids and back, and the special ids that the program uses.
//! Not here: the chat template (`chat`); expanding image pads (`super::Processor::encode`);
//! sampling (`rollout`).

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{ProcessorError, json, tokenizer_file};
use crate::model::files::ModelFiles;

/// The tokens that stand in a prompt for the patches of a picture or a video.
pub const PADS: [&str; 2] = ["<|image_pad|>", "<|video_pad|>"];
/// The other markers: where one is written out in a text, the tokenizer makes the model's own token of it.
pub const MARKERS: [&str; 12] = [
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
];

/// Ids of the tokens that mark images, turns and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|image_pad|>`: stands for one merged patch of an image.
    pub image_pad: u32,
    /// `<|video_pad|>`.
    pub video_pad: u32,
    /// `<|vision_start|>`.
    pub vision_start: u32,
    /// `<|vision_end|>`.
    pub vision_end: u32,
    /// `<|vision_pad|>`, which not every tokenizer has.
    pub vision_pad: Option<u32>,
    /// `<|im_start|>`: a turn begins.
    pub im_start: u32,
    /// `<|im_end|>`: a turn ends.
    pub im_end: u32,
    /// `<|endoftext|>`: the document ends; also the padding token.
    pub end_of_text: u32,
    /// Ids that end a completion: `eos_token_id` of `generation_config.json`, else `im_end` and
    /// `end_of_text`.
    pub stop_ids: Vec<u32>,
}

/// One id or several, as both are written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// The only setting taken from `generation_config.json`: how rollouts sample never depends on the
/// checkpoint.
#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
}

/// The checkpoint's tokenizer with its special tokens looked up.
pub(super) struct TextCodec {
    tokenizer: Tokenizer,
    special: SpecialTokens,
    /// Every special token as it is written out.
    markers: Vec<String>,
    /// The same tokenizer, to which special tokens are text; made for the first text that has one, since it is as large.
    plain: OnceLock<Box<Tokenizer>>,
}

impl TextCodec {
    /// Reads `tokenizer.json`, and the stop ids of `generation_config.json`; checks `config.json`'s
    /// ids against them.
    pub(super) fn load(files: &ModelFiles) -> Result<Self, ProcessorError> {
        let file = files.describe("tokenizer.json");
        let Some(text) = json::read_text(files, "tokenizer.json")? else {
            let hint =
                "it belongs to the checkpoint; vocab.json and merges.txt alone are not enough";
            return Err(ProcessorError::MissingFile { file, hint });
        };
        tokenizer_file::check(&text, &file)?;
        let mut tokenizer: Tokenizer = text.parse().map_err(|error: tokenizers::Error| {
            ProcessorError::Tokenizer { file: file.clone(), reason: error.to_string() }
        })?;
        // A prompt is never truncated or padded, whatever the file says.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| ProcessorError::Tokenizer {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        let special = find_special_tokens(&tokenizer, files, &file)?;
        check_model_ids(&special, files)?;
        let added = tokenizer.get_added_tokens_decoder().into_values();
        let markers = added.filter(|token| token.special && !token.content.is_empty());
        let markers = markers.map(|token| token.content).collect();
        Ok(Self { tokenizer, special, markers, plain: OnceLock::new() })
    }

    /// The ids of `text`, nothing added; special tokens written out in it become their ids.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        ids(&self.tokenizer, text)
    }

    /// The ids of `text` in which special tokens are text like any other.
    pub(super) fn encode_plainly(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        if !self.markers.iter().any(|marker| text.contains(marker.as_str())) {
            return self.encode(text);
        }
        let plain = self.plain.get_or_init(|| {
            let mut plain = Box::new(self.tokenizer.clone());
            plain.set_encode_special_tokens(true);
            plain
        });
        ids(plain, text)
    }

    /// Every special token as it is written out, in no order.
    pub(super) fn markers(&self) -> &[String] {
        &self.markers
    }

    /// The text of `ids`; ids without a token give nothing.
    pub(super) fn decode(
        &self,
        ids: &[u32],
        skip_special_tokens: bool,
    ) -> Result<String, ProcessorError> {
        self.tokenizer.decode(ids, skip_special_tokens).map_err(|error| ProcessorError::Tokenize {
            action: "decode ids",
            reason: error.to_string(),
        })
    }

    /// See [`super::Processor::decode_as_it_comes`].
    pub(super) fn decode_as_it_comes(&self) -> impl FnMut(u32) -> Option<String> + '_ {
        let mut stream = self.tokenizer.decode_stream(true);
        move |id| stream.step(id).ok().flatten()
    }

    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// See [`super::Processor::never_sampled`].
    pub(super) fn never_sampled(&self, vocab_size: usize) -> Vec<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let vocab_size = u32::try_from(vocab_size).unwrap_or(u32::MAX);
        (0..vocab_size)
            .filter(|id| match added.get(id) {
                Some(token) => token.special && !self.special.stop_ids.contains(id),
                None => self.tokenizer.id_to_token(*id).is_none(),
            })
            .collect()
    }
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, ProcessorError> {
    match tokenizer.encode_fast(text, false) {
        Ok(encoding) => Ok(encoding.get_ids().to_vec()),
        Err(error) => {
            let action = "encode a text";
            Err(ProcessorError::Tokenize { action, reason: error.to_string() })
        }
    }
}

fn find_special_tokens(
    tokenizer: &Tokenizer,
    files: &ModelFiles,
    file: &str,
) -> Result<SpecialTokens, ProcessorError> {
    let id = |token: &'static str| {
        let missing = || ProcessorError::MissingToken { token, file: file.to_owned() };
        tokenizer.token_to_id(token).ok_or_else(missing)
    };
    let (im_end, end_of_text) = (id("<|im_end|>")?, id("<|endoftext|>")?);
    let config = json::read::<GenerationConfig>(files, "generation_config.json")?;
    let stop_ids = match config.and_then(|config| config.eos_token_id) {
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) if !ids.is_empty() => ids,
        _ => vec![im_end, end_of_text],
    };
    Ok(SpecialTokens {
        image_pad: id("<|image_pad|>")?,
        video_pad: id("<|video_pad|>")?,
        vision_start: id("<|vision_start|>")?,
        vision_end: id("<|vision_end|>")?,
        vision_pad: tokenizer.token_to_id("<|vision_pad|>"),
        im_start: id("<|im_start|>")?,
        im_end,
        end_of_text,
        stop_ids,
    })
}

/// Checks the ids in `config.json`: with ids other than the tokenizer's, image features would be put
/// in the wrong places.
fn check_model_ids(special: &SpecialTokens, files: &ModelFiles) -> Result<(), ProcessorError> {
    let Some(config) = json::read::<Value>(files, "config.json")? else { return Ok(()) };
    let pairs = [
        ("image_token_id", special.image_pad),
        ("video_token_id", special.video_pad),
        ("vision_start_token_id", special.vision_start),
        ("vision_end_token_id", special.vision_end),
    ];
    for (field, in_tokenizer) in pairs {
        let in_config = config.get(field).filter(|id| !id.is_null());
        if let Some(found) = in_config.filter(|id| id.as_u64() != Some(in_tokenizer.into())) {
            return Err(ProcessorError::Field {
                file: files.describe("config.json"),
                field,
                found: found.to_string(),
                expected: format!(
                    "{in_tokenizer}, the tokenizer's\n\
                     hint: config.json and tokenizer.json are of different models"
                ),
            });
        }
    }
    Ok(())
}
