//! The tiny model's tokenizer: byte-level BPE in the layout of Qwen2's, with merges learnt from the
//! lessons' texts and Qwen2-VL's special tokens behind them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, TokenizerImpl};

use super::Outcome;

/// A tokenizer with the type of each of its stages.
pub(super) type Tokenizer = TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel>;

/// In the order of Qwen2-VL's ids.
const SPECIAL_TOKENS: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// How Qwen2's tokenizer splits a text before merging: every digit stands alone.
const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// Bytes, merges and special tokens together.
const VOCABULARY: usize = 640;

/// The chat template of Qwen2-VL-Instruct (Apache-2.0, Qwen team), without its branches for videos.
pub(super) const CHAT_TEMPLATE: &str = concat!(
    "{% set image_count = namespace(value=0) %}",
    "{% for message in messages %}",
    "{% if loop.first and message['role'] != 'system' %}",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}",
    "<|im_start|>{{ message['role'] }}\n",
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n",
    "{% else %}{% for content in message['content'] %}",
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}",
    "{% set image_count.value = image_count.value + 1 %}",
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}",
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
);

/// What the chat template adds to the texts.
const CHAT_WORDS: [&str; 4] = ["system\n", "You are a helpful assistant.", "user\n", "assistant\n"];

/// Learns the merges.
pub(super) fn train(texts: &[String]) -> Outcome<Tokenizer> {
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_normalizer(Some(NFC))?
        .with_pre_tokenizer(Some(Sequence::new(vec![
            PreTokenizerWrapper::Split(split),
            PreTokenizerWrapper::ByteLevel(bytes),
        ])))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY - SPECIAL_TOKENS.len())
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
        .show_progress(false)
        .build();
    // One chat for every two texts, a question and an answer.
    let chats = CHAT_WORDS.iter().cycle().take(CHAT_WORDS.len() * texts.len() / 2);
    tokenizer.train(&mut trainer, texts.iter().map(String::as_str).chain(chats.copied()))?;
    let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true).normalized(false));
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}

/// The id of a token that the tokenizer has.
pub(super) fn id(tokenizer: &Tokenizer, token: &str) -> Outcome<u32> {
    tokenizer.token_to_id(token).ok_or_else(|| format!("no token {token}").into())
}

/// Writes `tokenizer.json`, `tokenizer_config.json` and `chat_template.json`.
pub(super) fn write(tokenizer: &Tokenizer, folder: &Path) -> Outcome<()> {
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string(true)? + "\n")?;
    let mut added = Map::new();
    for token in SPECIAL_TOKENS {
        let entry = json!({"content": token, "lstrip": false, "normalized": false, "rstrip": false,
            "single_word": false, "special": true});
        added.insert(id(tokenizer, token)?.to_string(), entry);
    }
    let config = json!({
        "add_prefix_space": false,
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL_TOKENS[1..],
        "bos_token": Value::Null,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "split_special_tokens": false,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": Value::Null,
    });
    write_json(folder, "tokenizer_config.json", &config)?;
    write_json(folder, "chat_template.json", &json!({"chat_template": CHAT_TEMPLATE}))
}

/// Writes a JSON file as people read it.
pub(super) fn write_json(folder: &Path, name: &str, value: &Value) -> Outcome<()> {
    Ok(fs::write(folder.join(name), format!("{value:#}\n"))?)
}
