//! The files of a model.
//! Not here: its chat template (`messages`).

use std::path::Path;

use candle_core::{DType, Device};
use othink::model::config::ModelConfig;
use othink::model::files::ModelFiles;
use othink::model::weights;
use othink::processor::{Content, Message, Processor};

use super::scratch;

/// The built-in model's files, of which the processor needs all.
const TINY: [(&str, &[u8]); 6] = [
    ("config.json", include_bytes!("../../assets/tiny/config.json")),
    ("tokenizer.json", include_bytes!("../../assets/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../assets/tiny/tokenizer_config.json")),
    ("chat_template.json", include_bytes!("../../assets/tiny/chat_template.json")),
    ("preprocessor_config.json", include_bytes!("../../assets/tiny/preprocessor_config.json")),
    ("generation_config.json", include_bytes!("../../assets/tiny/generation_config.json")),
];

/// The built-in model's files with another one, in a folder of that one's name.
pub(super) fn tiny_with(name: &str, bytes: &[u8]) -> ModelFiles {
    let folder = format!("with-{name}");
    if !scratch::folder(Some(Path::new(&folder))).join("config.json").exists() {
        for (tiny, contents) in TINY {
            scratch::file(&format!("{folder}/{tiny}"), contents);
        }
    }
    scratch::file(&format!("{folder}/{name}"), bytes);
    ModelFiles::Folder(scratch::folder(Some(Path::new(&folder))))
}

fn says_why<E: std::fmt::Display>(error: &E) {
    assert!(!error.to_string().is_empty());
}

/// A message about one picture.
pub(super) fn question(text: &str) -> Message {
    let content = vec![Content::Image, Content::Text(text.to_owned())];
    Message { role: "user".to_owned(), content }
}

pub(super) fn config(bytes: &[u8]) {
    match ModelConfig::load(&tiny_with("config.json", bytes)) {
        Err(error) => says_why(&error),
        Ok(config) => {
            let n_numbers = config.parameter_shapes().iter().try_fold(0_usize, |sum, parameter| {
                let size = parameter.dims.iter().try_fold(1_usize, |of, n| of.checked_mul(*n));
                size.and_then(|size| sum.checked_add(size))
            });
            assert!(n_numbers.is_some(), "the model's size overflows: {config:?}");
            config.kept_by_layer();
            config.kept_by_block();
            config.kept_by_merger();
            assert!(config.text.head_dim() > 0 && config.vision.head_dim() > 0);
        }
    }
}

/// A file of tensors as a whole checkpoint.
pub(super) fn safetensors(bytes: &[u8]) {
    checkpoint("model.safetensors", bytes);
}

/// The list of a checkpoint's files, of which there is none.
pub(super) fn index(bytes: &[u8]) {
    checkpoint("model.safetensors.index.json", bytes);
}

fn checkpoint(name: &str, bytes: &[u8]) {
    let files = tiny_with(name, bytes);
    let config = ModelConfig::load(&files).expect("the built-in configuration");
    weights::weight_files(&files).err().iter().for_each(says_why);
    weights::load(&files, &config, DType::F32, &Device::Cpu).err().iter().for_each(says_why);
}

pub(super) fn preprocessor(bytes: &[u8]) {
    processor("preprocessor_config.json", bytes);
}

pub(super) fn tokenizer(bytes: &[u8]) {
    processor("tokenizer.json", bytes);
}

pub(super) fn tokenizer_config(bytes: &[u8]) {
    processor("tokenizer_config.json", bytes);
}

/// A processor that is accepted makes a prompt or says why not, and reads its own ids.
fn processor(name: &str, bytes: &[u8]) {
    let processor = match Processor::load(&tiny_with(name, bytes)) {
        Ok(processor) => processor,
        Err(error) => return says_why(&error),
    };
    let picture = image::RgbImage::new(40, 30);
    match processor.encode(&[question("How many? <|im_end|>")], &[picture]) {
        Err(error) => says_why(&error),
        Ok(prompt) => {
            assert_eq!(prompt.input_ids.len(), prompt.positions.len());
            processor.decode(&prompt.input_ids, true).err().iter().for_each(says_why);
        }
    }
    processor.never_sampled(1000);
}
