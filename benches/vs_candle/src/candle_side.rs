//! candle-transformers' model: its configuration and weights from the same folder, and prompts as its interface takes them.
//! Not here: what is wrong with it (`faults`).
//!
//! What its reader of checkpoints cannot take is made fit here: settings that transformers 5 keeps elsewhere, and the bias that it
//! asks of an untied head, which no checkpoint has (zeros). Its tables of angles and its caches, which it makes as long as the longest
//! sequence that `config.json` allows, are as long as they have to be.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen3_vl::{Config, Qwen3VLModel};
use othink::model::files::ModelFiles;
use othink::model::names::{Spelling, to_original};
use othink::model::weights::weight_files;
use othink::processor::{ImagePatches, Prompt};
use serde_json::Value;

use crate::faults::{Faults, Fed, hidden_in};

/// A checkpoint as candle-transformers reads it.
pub struct Theirs {
    config: Config,
    tensors: HashMap<String, Tensor>,
}

/// A model with an empty cache; there is no way to empty one that was used.
pub struct Fresh(Qwen3VLModel);

impl Theirs {
    /// Reads a folder: all weights, converted to f32.
    ///
    /// # Errors
    /// The folder holds no such checkpoint.
    pub fn load(folder: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("config.json"))?;
        let config = serde_json::from_value(as_expected(serde_json::from_str(&text)?));
        let config: Config = config.context("candle-transformers refuses config.json")?;
        let mut tensors = HashMap::new();
        for file in weight_files(&ModelFiles::Folder(folder.to_owned()))? {
            for (name, tensor) in candle_core::safetensors::load(folder.join(file), &Device::Cpu)? {
                let name = Spelling::New.spell(&to_original(&name)).into_owned();
                tensors.insert(name, tensor.to_dtype(DType::F32)?);
            }
        }
        if !config.text_config.tie_word_embeddings {
            let bias = Tensor::zeros(config.text_config.vocab_size, DType::F32, &Device::Cpu)?;
            tensors.insert("lm_head.bias".to_owned(), bias);
        }
        Ok(Self { config, tensors })
    }

    /// The model, with room for sequences of `limit` tokens and weights that hide these faults.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn model(&self, hidden: Faults, limit: usize) -> Result<Fresh> {
        let mut config = self.config.clone();
        config.text_config.max_position_embeddings = limit;
        let layers = config.text_config.num_hidden_layers;
        let changed = self.tensors.iter().map(|(name, tensor)| {
            Ok((name.clone(), hidden_in(&to_original(name), tensor, hidden, layers)?))
        });
        let changed: HashMap<_, _> = changed.collect::<Result<_>>()?;
        let weights = VarBuilder::from_tensors(changed, DType::F32, &Device::Cpu);
        Ok(Fresh(Qwen3VLModel::new(&config, weights)?))
    }
}

/// The configuration with settings where candle-transformers looks for them.
fn as_expected(mut config: Value) -> Value {
    let tied = config["tie_word_embeddings"].clone();
    let text = &mut config["text_config"];
    if text["rope_theta"].is_null() {
        text["rope_theta"] = text["rope_parameters"]["rope_theta"].clone();
    }
    if text["tie_word_embeddings"].is_null() {
        text["tie_word_embeddings"] = Value::Bool(tied.as_bool().unwrap_or(false));
    }
    config
}

impl Fresh {
    /// Logits of the token after the prompt, `[vocab]`.
    ///
    /// # Errors
    /// Shapes do not fit, or a picture of several tokens is to be fed in pieces.
    pub fn logits(&self, prompt: &Prompt, fed: Fed) -> Result<Vec<f32>> {
        let last = match fed {
            Fed::Whole => self.prefill(prompt, 1)?,
            Fed::OneByOne => self.feed_one_by_one(prompt)?,
        };
        Ok(last.squeeze(0)?.to_vec1()?)
    }

    /// Feeds `n` copies of a prompt in one call: `[n, vocab]`, logits of the token after each.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn prefill(&self, prompt: &Prompt, n: usize) -> Result<Tensor> {
        let ids = Tensor::new(prompt.input_ids.as_slice(), &Device::Cpu)?;
        let ids = ids.unsqueeze(0)?.repeat((n, 1))?; // [n, T]
        let mut first_rows = prompt.image_rows.iter();
        let mut spans = Vec::new();
        for image in &prompt.images {
            let tokens = image.n_tokens();
            let Some(&start) = first_rows.next() else { bail!("an image has no row") };
            spans.push((start as usize, start as usize + tokens));
            first_rows.by_ref().take(tokens - 1).for_each(drop);
        }
        let images: Vec<&ImagePatches> = (0..n).flat_map(|_| &prompt.images).collect();
        self.call(&ids, &images, &spans, 0)
    }

    /// One more token of each of `n` sequences, `[n]`, of which `n_before` tokens are cached: `[n, vocab]`.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn step(&self, tokens: &Tensor, n_before: usize) -> Result<Tensor> {
        self.call(&tokens.unsqueeze(1)?, &[], &[], n_before)
    }

    fn feed_one_by_one(&self, prompt: &Prompt) -> Result<Tensor> {
        if prompt.images.iter().any(|image| image.n_tokens() > 1) {
            bail!("a picture's tokens can only be fed together");
        }
        let mut images = prompt.images.iter();
        let mut last = None;
        for (i, &id) in prompt.input_ids.iter().enumerate() {
            let ids = Tensor::new(&[[id]], &Device::Cpu)?;
            let is_image = prompt.image_rows.contains(&(i as u32));
            let image: Vec<&ImagePatches> =
                if is_image { images.next().into_iter().collect() } else { Vec::new() };
            let span: &[(usize, usize)] = if is_image { &[(0, 1)] } else { &[] };
            last = Some(self.call(&ids, &image, span, i)?);
        }
        last.context("a prompt without a token")
    }

    /// - `ids`: `[n, t]`
    /// - `images`: those of all `n` sequences
    /// - `spans`: rows of each picture, the same in every sequence
    fn call(
        &self,
        ids: &Tensor,
        images: &[&ImagePatches],
        spans: &[(usize, usize)],
        n_before: usize,
    ) -> Result<Tensor> {
        let (n, t) = ids.dims2()?;
        let (pixels, grids) = match images {
            [] => (None, None),
            images => {
                let patches: usize = images.iter().map(|image| image.n_patches()).sum();
                let pixels: Vec<f32> =
                    images.iter().flat_map(|image| image.pixel_values.iter().copied()).collect();
                let width = pixels.len() / patches;
                let grids = images.iter().flat_map(|image| image.grid_thw.map(|side| side as u32));
                let grids = Tensor::from_iter(grids, &Device::Cpu)?.reshape((images.len(), 3))?;
                (Some(Tensor::from_vec(pixels, (patches, width), &Device::Cpu)?), Some(grids))
            }
        };
        let no_videos = vec![Vec::new(); n];
        let logits = self.0.forward(
            ids,
            pixels,
            None,
            grids,
            None,
            vec![t; n],
            vec![spans.to_vec(); n],
            no_videos,
            &vec![n_before; n],
        )?;
        Ok(logits)
    }
}
