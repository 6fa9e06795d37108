//! The language model on a packed token stream: the decoder of Qwen2 and of Qwen3.
//! Not here: images among the tokens (`network`), the vocabulary head's log-probabilities (`ops`).

use candle_core::{DType, Error, Result, Tensor};

use super::config::{Heads, TextConfig};
use super::linear::find;
use super::parameters::Parameters;
use super::stages::Kept;
use crate::ops::{
    Angles, AttentionMaps, GatedMaps, HeadNorms, LinearParameters, LinearPart, NormParameters,
    Parameter, Product, Qkv, Segments, linear, residual, residual_attention, residual_gated_mlp,
    self_attention,
};

/// The decoder: embedding table, layers, final norm, vocabulary head.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    config: TextConfig,
    /// `[vocab, hidden]`
    pub(super) embed_tokens: Parameter,
    pub(super) layers: Vec<DecoderLayer>,
    pub(super) norm: NormParameters,
    /// `[vocab, hidden]`; the embedding table itself where the two are tied.
    pub(super) head: Parameter,
}

impl LanguageModel {
    /// Takes its parameters by their hub names.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn new(config: &TextConfig, parameters: &Parameters) -> Result<Self> {
        let embed_tokens = parameters.get("model.embed_tokens.weight")?;
        let head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            parameters.get("lm_head.weight")?
        };
        let layer = |i| DecoderLayer::new(config, parameters, i);
        Ok(Self {
            config: config.clone(),
            embed_tokens,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            norm: rms(config, parameters.get("model.norm.weight")?),
            head,
        })
    }

    /// The configuration it was made from.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// The final norm.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn normalize(&self, hidden: &Tensor) -> Result<Tensor> {
        self.norm.apply(hidden)
    }

    /// Logits of rows `[n, hidden]` that are not normalised yet: `[n, vocab]` f32.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn logits(&self, hidden: &Tensor, product: Product) -> Result<Tensor> {
        let head = LinearParameters::new(self.head.clone(), None);
        linear(&self.normalize(hidden)?, &head, product)?.to_dtype(DType::F32)
    }
}

/// Elements kept per token in one layer. In its first half: the input; rotated queries and keys, values and attention's result;
/// queries and keys before their norms, where they have any. In its MLP: the input; gate and up.
pub(super) fn kept_by_layer(text: &TextConfig) -> Kept {
    let queries = text.num_attention_heads * text.head_dim();
    let keys = text.num_key_value_heads * text.head_dim();
    let before_norms = match text.parts.heads {
        Heads::Biased => 0,
        Heads::Normalized => queries + keys,
    };
    Kept {
        mix: text.hidden_size + 2 * queries + 2 * keys + before_norms,
        mlp: text.hidden_size + 2 * text.intermediate_size,
    }
}

/// The same where the layer is composed of candle's operations (`ops::plain`), without attention's scores. Beyond what
/// [`kept_by_layer`] counts: a norm with two rows more, the output and the sum of both halves; a product before its bias, or two
/// rows of a head's norm; a rotation's four; queries, repeated keys (twice) and values, and the result (twice), as attention lays
/// them out; the MLP's `silu(gate)` and product.
pub(super) fn kept_by_plain_layer(text: &TextConfig) -> Kept {
    let Kept { mix, mlp } = kept_by_layer(text);
    let queries = text.num_attention_heads * text.head_dim();
    let keys = text.num_key_value_heads * text.head_dim();
    let biases = match text.parts.heads {
        Heads::Biased => queries + 2 * keys,
        Heads::Normalized => 2 * (queries + keys),
    };
    let around = (3 + 2) * text.hidden_size;
    let (rotation, attention) = (4 * (queries + keys), 6 * queries);
    Kept {
        mix: mix + around + biases + rotation + attention,
        mlp: mlp + around + 2 * text.intermediate_size,
    }
}

fn rms(config: &TextConfig, weight: Parameter) -> NormParameters {
    NormParameters { weight, bias: None, eps: config.rms_norm_eps }
}

/// One decoder layer.
#[derive(Debug, Clone)]
pub struct DecoderLayer {
    pub(super) input_norm: NormParameters,
    pub(super) attention: AttentionMaps,
    pub(super) post_norm: NormParameters,
    pub(super) mlp: GatedMaps,
}

impl DecoderLayer {
    fn new(config: &TextConfig, parameters: &Parameters, i: usize) -> Result<Self> {
        let name = |name: &str| format!("model.layers.{i}.{name}");
        let norm = |of: &str| {
            let weight = parameters.get(&name(&format!("{of}.weight")))?;
            Ok::<_, Error>(rms(config, weight))
        };
        let map = |of: &str| find(parameters, &name(&format!("{of}_proj")));
        let heads = |of: &str| LinearPart::whole(map(of)?);
        let attention = AttentionMaps {
            q: heads("self_attn.q")?,
            k: heads("self_attn.k")?,
            v: heads("self_attn.v")?,
            o: map("self_attn.o")?,
            head_dim: config.head_dim(),
            head_norms: match config.parts.heads {
                Heads::Biased => None,
                Heads::Normalized => {
                    Some(HeadNorms { q: norm("self_attn.q_norm")?, k: norm("self_attn.k_norm")? })
                }
            },
        };
        let mlp = GatedMaps { gate: map("mlp.gate")?, up: map("mlp.up")?, down: map("mlp.down")? };
        let (input_norm, post_norm) = (norm("input_layernorm")?, norm("post_attention_layernorm")?);
        Ok(Self { input_norm, attention, post_norm, mlp })
    }

    /// The layer on `[T, hidden]` where tokens see each other by `attend`, which is given queries, keys and values and
    /// returns `[T, heads, head_dim]`. Prefilling multiplies in blocks; a decoding step goes row by row.
    ///
    /// # Errors
    /// Shapes do not fit, or `attend`'s own.
    pub fn forward(
        &self,
        x: &Tensor,
        angles: &Angles,
        product: Product,
        attend: impl FnOnce(Qkv) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let maps = &self.attention;
        let x =
            residual(x, &self.input_norm, |h| self_attention(h, maps, angles, product, attend))?;
        self.transform(&x, product)
    }

    /// The layer's first half, in which the tokens of a packed stream see each other.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn mix(&self, x: &Tensor, angles: &Angles, segments: &Segments) -> Result<Tensor> {
        residual_attention(x, &self.input_norm, &self.attention, angles, segments)
    }

    /// The layer's second half, its MLP, in which each token is by itself.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn transform(&self, x: &Tensor, product: Product) -> Result<Tensor> {
        residual_gated_mlp(x, &self.post_norm, &self.mlp, product)
    }
}
