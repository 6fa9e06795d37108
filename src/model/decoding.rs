//! Decoding over a cache: a prompt is computed once, its completions grow a token at a time.
//! Not here: which sequences decode when (`rollout::engine`), choosing tokens (`rollout::sampler`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::network::Model;
use super::packed::{Packed, PackedGroup};
use super::stages::Inference;
use crate::ops::{CachedSequence, Path, Product, add_to_rows, cached_attention, segment_attention};
use crate::processor::Prompt;

/// Keys and values of a prompt in every layer, each `[prompt_len, kv_heads, head_dim]`.
#[derive(Debug)]
pub struct PromptCache {
    layers: Vec<[Tensor; 2]>,
}

/// A prompt that has been computed.
#[derive(Debug, Clone)]
pub struct Prefilled {
    /// Its keys and values, shared by all of its completions.
    pub cache: Arc<PromptCache>,
    /// `[vocab]` f32: logits of the first completion token.
    pub logits: Tensor,
    /// M-RoPE position of the first completion token, the same on all axes.
    pub next_position: u32,
}

/// Room for the keys and values of growing completions: per layer two tensors
/// `[rows, kv_heads, head_dim]`. The caller assigns rows to sequences.
#[derive(Debug)]
pub struct SuffixCache {
    layers: Vec<[Tensor; 2]>,
}

/// One sequence in a decoding step.
#[derive(Debug, Clone)]
pub struct DecodeRow {
    /// The token sampled last.
    pub token: u32,
    /// Its position.
    pub position: u32,
    /// The prompt it continues.
    pub prompt: Arc<PromptCache>,
    /// First cache row of the sequence.
    pub start: usize,
    /// Tokens of the sequence that are cached already.
    pub len: usize,
}

impl Model {
    /// Computes one prompt by itself, so that its results cannot depend on other prompts.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn prefill(&self, prompt: &Prompt) -> Result<Prefilled> {
        let (layers, last) = self.prefill_layers(prompt)?;
        let logits = self.language.logits(&last, Product::RowByRow)?;
        Ok(Prefilled {
            cache: Arc::new(PromptCache { layers }),
            logits: logits.squeeze(0)?,
            next_position: prompt.next_position,
        })
    }

    /// Keys and values of a prompt in every layer, and what the last layer makes of its last token, `[1, hidden]`.
    pub(super) fn prefill_layers(&self, prompt: &Prompt) -> Result<(Vec<[Tensor; 2]>, Tensor)> {
        let group = PackedGroup { prompt, completions: Vec::new() };
        let packed = Packed::new(&[group])?;
        let images = self.embed_images(&mut Inference, &packed)?;
        let mut x = self.embed_tokens(&packed, images.as_ref())?;
        let angles = self.angles(&packed.positions)?;
        let mut layers = Vec::with_capacity(self.language.layers.len());
        let deepstack = images.map_or(Vec::new(), |images| images.deepstack);
        for (i, layer) in self.language.layers.iter().enumerate() {
            x = layer.forward(&x, &angles, Product::Blocked, |h| {
                layers.push([h.k.contiguous()?, h.v.contiguous()?]);
                segment_attention(&h.q, &h.k, &h.v, &packed.segments)
            })?;
            if let Some(feature) = deepstack.get(i) {
                x = add_to_rows(&x, &packed.image_rows, feature)?;
            }
        }
        Ok((layers, x.narrow(0, packed.len() - 1, 1)?))
    }

    /// An empty cache of `rows` rows.
    ///
    /// # Errors
    /// It cannot be allocated.
    pub fn suffix_cache(&self, rows: usize) -> Result<SuffixCache> {
        let text = &self.config.text;
        let shape = (rows, text.num_key_value_heads, text.head_dim());
        let empty = || Tensor::zeros(shape, self.dtype(), self.device());
        let layers = self.language.layers.iter().map(|_| Ok([empty()?, empty()?]));
        Ok(SuffixCache { layers: layers.collect::<Result<_>>()? })
    }

    /// Whether a step of several rows would let them depend on each other where the path promises that they do not.
    pub fn must_decode_rows_alone(&self) -> bool {
        let path = Path::resolve(self.device(), self.dtype());
        path.keeps_rows_apart() && !path.multiplies_row_by_row()
    }

    /// One decoding step: feeds each row's token, writes its keys and values to cache row
    /// `start + len`, and returns the logits of the next tokens, `[rows, vocab]` f32.
    ///
    /// # Errors
    /// Shapes do not fit or a cache row is out of range.
    pub fn decode(&self, cache: &SuffixCache, rows: &[DecodeRow]) -> Result<Tensor> {
        let device = self.device();
        let ids: Vec<u32> = rows.iter().map(|row| row.token).collect();
        let positions: Vec<[u32; 3]> = rows.iter().map(|row| [row.position; 3]).collect();
        let angles = self.angles(&positions)?;
        let text = &self.config.text;
        let shape = (rows.len(), text.num_key_value_heads, text.head_dim());
        let targets: Vec<u32> = rows.iter().map(|row| (row.start + row.len) as u32).collect();
        let targets = Tensor::new(targets, device)?.reshape((rows.len(), 1, 1))?;
        let targets = targets.expand(shape)?.contiguous()?; // the same row for every element

        let ids = Tensor::new(ids, device)?;
        let mut x = self.language.embed_tokens.value().detach().index_select(&ids, 0)?;
        for (i, layer) in self.language.layers.iter().enumerate() {
            x = layer.forward(&x, &angles, Product::RowByRow, |h| {
                let [keys, values] = &cache.layers[i];
                keys.scatter_set(&targets, &h.k.contiguous()?, 0)?;
                values.scatter_set(&targets, &h.v.contiguous()?, 0)?;
                let sequences: Vec<_> = rows.iter().map(|row| row.in_layer(i)).collect();
                cached_attention(&h.q, keys, values, &sequences)
            })?;
        }
        self.language.logits(&x, Product::RowByRow)
    }
}

impl DecodeRow {
    fn in_layer(&self, i: usize) -> CachedSequence {
        let [keys, values] = &self.prompt.layers[i];
        CachedSequence {
            prompt_keys: keys.clone(),
            prompt_values: values.clone(),
            suffix_start: self.start,
            suffix_len: self.len + 1,
        }
    }
}
