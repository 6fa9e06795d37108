//! Decoding on a GPU in bf16: a step is a fixed list of launches on arrays that are there from the beginning, recorded once
//! and repeated. It allocates nothing, uploads nothing and reads nothing back.
//! Not here: which completion is in which row, tokens on their way (`rollout::device_decoder`); the kernels (`othink_cuda`).

use candle_core::{CudaDevice, DType, Device, Result, Tensor};
use othink_cuda::{
    Array, DeviceSampler, Drawing, DrawnToken, Finish, Graph, HeadShape, KeptTokens, NewestTokens,
    PhiloxStream, RowMap, RowStates, TokenRing, Workspace, decode_attention, norm_into,
    row_product,
};

use super::config::TextConfig;
use super::language::DecoderLayer;
use super::merged_weights::Merged;
use super::network::Model;
use crate::ops::{AttentionMaps, LinearParameters, NormParameters, Parameter, Path};
use crate::processor::Prompt;

/// How many rows decode, and how their tokens are drawn.
#[derive(Debug, Clone)]
pub struct DecodingSettings {
    /// Completions at a time.
    pub rows: usize,
    /// How a token is drawn.
    pub drawing: Drawing,
    /// Steps whose tokens may be on their way to the host.
    pub late: usize,
    /// Whether steps are recorded; otherwise each is launched anew, kernel by kernel.
    pub records: bool,
}

/// A prompt that has been computed.
#[derive(Debug, Clone)]
pub struct DecodingPrompt {
    /// `[layers, 2, prompt_len, kv_heads, head_dim]`
    cache: Tensor,
    /// `[1, vocab]` f32: logits of the first completion token.
    logits: Tensor,
    /// Of the completion's tokens, `[1, max_new_tokens, head_dim / 2]` f32.
    cos: Tensor,
    sin: Tensor,
    /// Its tokens, where drawing looks back at them.
    seen: Option<Tensor>,
}

/// Rows of a batch that decode together on a GPU.
pub struct GpuDecoding {
    /// Without low-rank factors: they are in its weights, for which there are kernels.
    model: Model,
    device: CudaDevice,
    states: RowStates,
    sampler: DeviceSampler,
    ring: TokenRing,
    /// Of every token that a row may have, `[rows, max_new_tokens, head_dim / 2]` f32.
    cos: Tensor,
    sin: Tensor,
    /// Of each layer, keys and values `[rows, max_new_tokens, kv_heads, head_dim]`.
    kept: Vec<[Tensor; 2]>,
    buffers: Buffers,
    products: Workspace,
    n_steps: usize,
    records: bool,
    recorded: Option<Graph>,
    /// What puts the weights back that factors changed.
    _merged: Option<Merged>,
}

/// What passes from kernel to kernel within a step; `[rows, ...]` bf16, but for the logits.
struct Buffers {
    x: Tensor,
    h: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    wide: Tensor,
    /// f32.
    logits: Tensor,
}

impl Model {
    /// Decoding by kernels; `None` where the model is on no GPU, computes in another dtype, or has a shape without kernels.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn gpu_decoding(&self, settings: DecodingSettings) -> Result<Option<GpuDecoding>> {
        let Device::Cuda(device) = self.device() else { return Ok(None) };
        if Path::resolve(self.device(), self.dtype()) != Path::Cuda || !self.has_decoding_kernels()
        {
            return Ok(None);
        }
        GpuDecoding::new(self, device, settings).map(Some)
    }

    fn has_decoding_kernels(&self) -> bool {
        let text = &self.config.text;
        let widths = [text.hidden_size, text.intermediate_size];
        let has_no_bias = |layer: &DecoderLayer| {
            let maps = [&layer.attention.o, &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down];
            maps.iter().all(|map| map.bias.is_none())
        };
        heads(text).is_decoded()
            && widths.iter().all(|width| width.is_multiple_of(8))
            && self.language.layers.iter().all(has_no_bias)
    }
}

fn heads(text: &TextConfig) -> HeadShape {
    HeadShape {
        heads: text.num_attention_heads,
        kv_heads: text.num_key_value_heads,
        head_dim: text.head_dim(),
    }
}

/// Columns of the products of a step, with the numbers of a row that they are made from.
fn products(text: &TextConfig) -> [(usize, Vec<usize>); 5] {
    let HeadShape { heads, kv_heads, head_dim } = heads(text);
    let (hidden, wide) = (text.hidden_size, text.intermediate_size);
    [
        (hidden, vec![heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]),
        (heads * head_dim, vec![hidden]),
        (hidden, vec![wide]),
        (wide, vec![hidden]),
        (hidden, vec![text.vocab_size]),
    ]
}

impl GpuDecoding {
    fn new(model: &Model, cuda: &CudaDevice, settings: DecodingSettings) -> Result<Self> {
        let (text, device, dtype) = (&model.config.text, model.device(), model.dtype());
        // Before all else, so that nothing of that is beside what merging takes.
        let merged = model.has_factors().then(|| Merged::new(model)).transpose()?;
        let HeadShape { heads, kv_heads, head_dim } = heads(text);
        let DecodingSettings { rows, drawing, late, records } = settings;
        let tokens = drawing.max_new_tokens;
        let zeros = |dims: &[usize]| Tensor::zeros(dims, dtype, device);
        let angles = || Tensor::zeros((rows, tokens, head_dim / 2), DType::F32, device);
        let kept = || zeros(&[rows, tokens, kv_heads, head_dim]);
        let buffers = Buffers {
            x: zeros(&[rows, text.hidden_size])?,
            h: zeros(&[rows, text.hidden_size])?,
            q: zeros(&[rows, heads * head_dim])?,
            k: zeros(&[rows, kv_heads * head_dim])?,
            v: zeros(&[rows, kv_heads * head_dim])?,
            attended: zeros(&[rows, heads * head_dim])?,
            wide: zeros(&[rows, text.intermediate_size])?,
            logits: Tensor::zeros((rows, text.vocab_size), DType::F32, device)?,
        };
        let layers = text.num_hidden_layers;
        Ok(Self {
            model: merged.as_ref().map_or(model, Merged::model).clone(),
            device: cuda.clone(),
            states: RowStates::new(cuda, rows, [layers, kv_heads, head_dim])?,
            sampler: DeviceSampler::new(cuda, rows, text.vocab_size, &drawing)?,
            // A step, and the first tokens of rows that were taken before it.
            ring: TokenRing::new(cuda, rows, 2 * (late + 1))?,
            cos: angles()?,
            sin: angles()?,
            kept: (0..layers).map(|_| Ok([kept()?, kept()?])).collect::<Result<_>>()?,
            buffers,
            products: Workspace::new(cuda, rows, products(text))?,
            n_steps: 0,
            records,
            recorded: None,
            _merged: merged,
        })
    }

    /// Computes one prompt by itself, so that its results cannot depend on other prompts.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn prefill(&self, prompt: &Prompt) -> Result<DecodingPrompt> {
        let (layers, last) = self.model.prefill_layers(prompt)?;
        let (n, heads) = (layers.len(), layers.first().map_or(&[][..], |[keys, _]| keys.dims()));
        let cache = Tensor::stack(&layers.concat(), 0)?.reshape([&[n, 2], heads].concat())?;
        let language = &self.model.language;
        let last = language.normalize(&last)?;
        let logits =
            Tensor::zeros((1, language.config().vocab_size), DType::F32, self.model.device())?;
        self.product(&last, &[map(&language.head)?], Finish::InF32, &[&logits])?;
        let first = prompt.next_position;
        let positions: Vec<[u32; 3]> =
            (0..self.cos.dim(1)? as u32).map(|i| [first + i; 3]).collect();
        let angles = self.model.angles(&positions)?;
        let [cos, sin] = angles.parts().map(|part| part.unsqueeze(0));
        let seen = self.sampler.seen(&prompt.input_ids)?;
        Ok(DecodingPrompt { cache, logits, cos: cos?, sin: sin?, seen })
    }

    /// Puts a completion of a prompt into a row, and draws its first token.
    ///
    /// # Errors
    /// There is no such row.
    pub fn admit(
        &mut self,
        row: usize,
        prompt: &DecodingPrompt,
        stream: PhiloxStream,
    ) -> Result<()> {
        self.cos.slice_set(&prompt.cos, 0, row)?;
        self.sin.slice_set(&prompt.sin, 0, row)?;
        self.states.take(row, &prompt.cache, stream)?;
        self.buffers.logits.slice_set(&prompt.logits, 0, row)?;
        if let Some(seen) = &prompt.seen {
            self.sampler.note(row, seen)?;
        }
        self.sampler.draw_first(Array::of(&self.buffers.logits)?, &self.states, row)
    }

    /// Takes a row out of the steps that follow.
    ///
    /// # Errors
    /// There is no such row.
    pub fn leave(&mut self, row: usize) -> Result<()> {
        self.states.leave(row)
    }

    /// Makes the next token of every row that is taken and has not all of its tokens.
    ///
    /// # Errors
    /// The driver's own.
    pub fn step(&mut self) -> Result<()> {
        // The first step loads the kernels, which cannot be recorded.
        if self.recorded.is_none() && self.records && self.n_steps > 0 {
            self.recorded = Some(Graph::record(&self.device, || self.launch())?);
        }
        self.n_steps += 1;
        match &self.recorded {
            Some(graph) => graph.launch(),
            None => self.launch(),
        }
    }

    /// Sends every row's newest token to the host.
    ///
    /// # Errors
    /// Too many are on their way.
    pub fn send(&mut self) -> Result<()> {
        self.ring.send(&self.sampler)
    }

    /// The oldest tokens that were sent, of every row; waits for them.
    ///
    /// # Errors
    /// There are none.
    pub fn receive(&mut self) -> Result<Vec<DrawnToken>> {
        self.ring.receive()
    }

    fn launch(&self) -> Result<()> {
        let (language, b) = (&self.model.language, &self.buffers);
        let embeddings = Array::of(language.embed_tokens.value())?;
        self.sampler.embed(embeddings, &self.states, Array::of(&b.x)?)?;
        for (i, layer) in language.layers.iter().enumerate() {
            self.launch_layer(i, layer)?;
        }
        self.norm(&language.norm)?;
        self.product(&b.h, &[map(&language.head)?], Finish::InF32, &[&b.logits])?;
        self.sampler.draw(Array::of(&b.logits)?, &self.states)
    }

    /// Seven launches, and two more where heads have norms.
    fn launch_layer(&self, i: usize, layer: &DecoderLayer) -> Result<()> {
        let b = &self.buffers;
        let HeadShape { heads, kv_heads, head_dim } = heads(&self.model.config.text);
        self.norm(&layer.input_norm)?;
        let AttentionMaps { q, k, v, o, .. } = &layer.attention;
        let qkv = [q, k, v].map(|part| row_map(&part.parameters));
        let maps = qkv.into_iter().collect::<Result<Vec<_>>>()?;
        self.product(&b.h, &maps, Finish::Rounded, &[&b.q, &b.k, &b.v])?;
        let rows = b.x.dim(0)?;
        let as_heads = |x: &Tensor, heads: usize| x.reshape((rows, heads, head_dim));
        let (q, k, v) =
            (as_heads(&b.q, heads)?, as_heads(&b.k, kv_heads)?, as_heads(&b.v, kv_heads)?);
        let attended = as_heads(&b.attended, heads)?;
        let array = |x| Array::of(x);
        if let Some(norms) = &layer.attention.head_norms {
            for (heads, norm) in [(&q, &norms.q), (&k, &norms.k)] {
                let (heads, weight) = (array(heads)?, array(norm.weight.value())?);
                norm_into(heads, weight, None, norm.eps, heads)?; // a block reads a head before it writes it
            }
        }
        let newest = NewestTokens {
            q: array(&q)?,
            k: array(&k)?,
            v: array(&v)?,
            cos: array(&self.cos)?,
            sin: array(&self.sin)?,
        };
        let [keys, values] = &self.kept[i];
        let kept = KeptTokens { keys: array(keys)?, values: array(values)?, layer: i };
        decode_attention(newest, kept, &self.states, array(&attended)?)?;
        let residual = || Ok::<_, candle_core::Error>(Finish::Added(Array::of(&b.x)?));
        self.product(&b.attended, &[row_map(o)?], residual()?, &[&b.x])?;
        self.norm(&layer.post_norm)?;
        let gated = [row_map(&layer.mlp.gate)?, row_map(&layer.mlp.up)?];
        self.product(&b.h, &gated, Finish::Gated, &[&b.wide])?;
        self.product(&b.wide, &[row_map(&layer.mlp.down)?], residual()?, &[&b.x])
    }

    /// From `x` to `h`.
    fn norm(&self, norm: &NormParameters) -> Result<()> {
        let (x, h) = (Array::of(&self.buffers.x)?, Array::of(&self.buffers.h)?);
        norm_into(x, Array::of(norm.weight.value())?, None, norm.eps, h)
    }

    fn product(&self, x: &Tensor, maps: &[RowMap], finish: Finish, outs: &[&Tensor]) -> Result<()> {
        let outs = outs.iter().map(|out| Array::of(out)).collect::<Result<Vec<_>>>()?;
        row_product(Array::of(x)?, maps, finish, &outs, &self.products)
    }
}

fn row_map(parameters: &LinearParameters) -> Result<RowMap<'_>> {
    let bias = parameters.bias.as_ref().map(|bias| Array::of(bias.value())).transpose()?;
    Ok(RowMap { weight: Array::of(parameters.weight.value())?, bias })
}

/// A map without a bias.
fn map(weight: &Parameter) -> Result<RowMap<'_>> {
    Ok(RowMap { weight: Array::of(weight.value())?, bias: None })
}
