//! What both implementations are asked: drawn pictures, and the cases that transformers' golden values are of.
//! Not here: how a prompt is fed (`candle_side`, `our_side`).

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, IndexOp};
use image::{Rgb, RgbImage};
use othink::model::files::ModelFiles;
use othink::processor::{Content, Message, Processor, Prompt, decode_image, parse_chat};
use serde_json::Value;

/// A prompt, and what transformers makes of it where that is known.
pub struct Case {
    pub name: String,
    pub prompt: Prompt,
    /// Logits of the token after the prompt, `[vocab]`.
    pub golden: Option<Vec<f32>>,
}

/// Sides of the drawn pictures, in tokens: rows and columns.
const DRAWN: [(&str, &[[u32; 2]]); 5] = [
    ("no picture", &[]),
    ("1 x 1", &[[1, 1]]),
    ("1 x 1, 1 x 1", &[[1, 1], [1, 1]]),
    ("3 x 5", &[[3, 5]]),
    ("5 x 2, 1 x 7", &[[5, 2], [1, 7]]),
];

/// Prompts with drawn pictures of odd shapes, which the processor is made to leave as large as they are.
///
/// - `token_side`: pixels of a token's side
///
/// # Errors
/// The processor refuses them.
pub fn drawn(files: &ModelFiles, token_side: u32) -> Result<Vec<Case>> {
    let pixels = |tokens: u32| Some((tokens * token_side.pow(2)) as usize);
    let processor = Processor::load(files)?.with_pixel_limits(pixels(1), pixels(64))?;
    let cases = DRAWN.map(|(name, sides)| {
        let pictures = sides.iter().map(|side| picture(side.map(|tokens| tokens * token_side)));
        let prompt = ask(&processor, &pictures.collect::<Vec<_>>())?;
        Ok(Case { name: format!("drawn: {name}"), prompt, golden: None })
    });
    cases.into_iter().collect()
}

/// A question about pictures.
///
/// # Errors
/// The processor refuses it.
pub fn ask(processor: &Processor, pictures: &[RgbImage]) -> Result<Prompt> {
    let mut content = vec![Content::Image; pictures.len()];
    content.push(Content::Text("How many different items are there? Count them.".to_owned()));
    let message = Message { role: "user".to_owned(), content };
    Ok(processor.encode(&[message], pictures)?)
}

/// A drawn picture in which no two patches are alike.
///
/// - `side`: rows and columns of pixels
pub fn picture([height, width]: [u32; 2]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let ring = (x * x + 3 * y * y) / 97;
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, (ring % 256) as u8])
    })
}

/// The cases of `golden.json` in the folder, if it is there, about pictures in `../../images`, as `tests/golden/families` has them.
///
/// # Errors
/// They are not as `scripts/reference/make_family_goldens.py` writes them.
pub fn golden(folder: &Path) -> Result<Vec<Case>> {
    let file = folder.join("golden.json");
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let index: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let tensors = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)?;
    let processor = Processor::load(&ModelFiles::Folder(folder.to_owned()))?;
    let cases = index["cases"].as_object().context("golden.json has no cases")?;
    let read = |(name, case): (&String, &Value)| -> Result<Case> {
        let context = || format!("{}, case {name}", file.display());
        let prompt = golden_prompt(&processor, case, &folder.join("../../images"));
        let prompt = prompt.with_context(context)?;
        let logits = case["logits_last2"].as_str().and_then(|name| tensors.get(name));
        let logits = logits.with_context(context)?.i(1)?.to_vec1()?;
        Ok(Case { name: format!("golden: {name}"), prompt, golden: Some(logits) })
    };
    cases.iter().map(read).collect()
}

fn golden_prompt(processor: &Processor, case: &Value, images: &Path) -> Result<Prompt> {
    let (messages, _) = parse_chat(&case["messages"].to_string(), "golden.json")?;
    let names = case["images"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let pictures = names.map(|name| -> Result<RgbImage> {
        let path = images.join(format!("{name}.png"));
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(decode_image(&bytes, name)?)
    });
    Ok(processor.encode(&messages, &pictures.collect::<Result<Vec<_>>>()?)?)
}
