//! The language model on a packed token stream: Qwen2's decoder.
//! Not here: images among the tokens (`network`), the vocabulary head's log-probabilities (`ops`).

use candle_core::{DType, Result, Tensor};

use super::config::TextConfig;
use super::linear::Linear;
use super::parameters::Parameters;
use super::stages::Kept;
use crate::ops::{Angles, GatedMaps, Parameter, Product, add, gated_mlp, linear, rms_norm, rotary};

/// The decoder: embedding table, layers, final norm, vocabulary head.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    config: TextConfig,
    /// `[vocab, hidden]`
    pub(super) embed_tokens: Parameter,
    pub(super) layers: Vec<DecoderLayer>,
    pub(super) norm: Parameter,
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
            norm: parameters.get("model.norm.weight")?,
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
        rms_norm(hidden, &self.norm, self.config.rms_norm_eps)
    }

    /// Logits of rows `[n, hidden]` that are not normalised yet: `[n, vocab]` f32.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn logits(&self, hidden: &Tensor, product: Product) -> Result<Tensor> {
        linear(&self.normalize(hidden)?, &self.head, None, product)?.to_dtype(DType::F32)
    }
}

/// Elements kept per token in one layer. In its first half: the input, the norm, attention's output and the sum; queries
/// before and after rotation and attention's result; keys before and after rotation and values. In its MLP: the input,
/// the norm, the output and the sum; gate, up and their product, which a GPU in bf16 computes again instead.
pub(super) fn kept_by_layer(text: &TextConfig) -> Kept {
    let queries = text.num_attention_heads * text.head_dim();
    let keys = text.num_key_value_heads * text.head_dim();
    Kept {
        mix: 4 * text.hidden_size + 3 * queries + 3 * keys,
        mlp: 4 * text.hidden_size + 3 * text.intermediate_size,
    }
}

/// The same where the layer is composed of candle's operations (`ops::plain`), without attention's scores. Beyond what
/// [`kept_by_layer`] counts: two rows of a norm; a product before its bias; three of a rotation's four; queries, repeated
/// keys (twice) and values, and the result (twice), as attention lays them out; `silu(gate)`.
pub(super) fn kept_by_plain_layer(text: &TextConfig) -> Kept {
    let Kept { mix, mlp } = kept_by_layer(text);
    let queries = text.num_attention_heads * text.head_dim();
    let keys = text.num_key_value_heads * text.head_dim();
    let (norm, biases) = (2 * text.hidden_size, queries + 2 * keys);
    let (rotation, attention) = (3 * (queries + keys), 6 * queries);
    Kept {
        mix: mix + norm + biases + rotation + attention,
        mlp: mlp + norm + text.intermediate_size,
    }
}

/// One decoder layer.
#[derive(Debug, Clone)]
pub struct DecoderLayer {
    pub(super) input_norm: Parameter,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
    pub(super) post_norm: Parameter,
    pub(super) mlp: GatedMaps,
    eps: f64,
    head_dim: usize,
}

/// Queries, keys and values of a layer's tokens, rotated: `[T, heads, head_dim]` and twice
/// `[T, kv_heads, head_dim]`.
#[derive(Debug)]
pub struct Qkv {
    /// Queries.
    pub q: Tensor,
    /// Keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
}

impl DecoderLayer {
    fn new(config: &TextConfig, parameters: &Parameters, i: usize) -> Result<Self> {
        let name = |name: &str| format!("model.layers.{i}.{name}");
        let norm = |of: &str| parameters.get(&name(&format!("{of}.weight")));
        let linear = |of: &str| Linear::load(parameters, &name(of));
        let map = |of: &str| Linear::find(parameters, &name(&format!("mlp.{of}_proj")));
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            q: linear("self_attn.q_proj")?,
            k: linear("self_attn.k_proj")?,
            v: linear("self_attn.v_proj")?,
            o: linear("self_attn.o_proj")?,
            post_norm: norm("post_attention_layernorm")?,
            mlp: GatedMaps { gate: map("gate")?, up: map("up")?, down: map("down")? },
            eps: config.rms_norm_eps,
            head_dim: config.head_dim(),
        })
    }

    /// The layer on `[T, hidden]`: [`Self::mix`], then [`Self::transform`]. Scoring and prefilling multiply in blocks; a
    /// decoding step goes row by row.
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
        self.transform(&self.mix(x, angles, product, attend)?, product)
    }

    /// The layer's first half, in which tokens see each other: `attend` mixes them and returns `[T, heads, head_dim]`.
    ///
    /// # Errors
    /// Shapes do not fit, or `attend`'s own.
    pub fn mix(
        &self,
        x: &Tensor,
        angles: &Angles,
        product: Product,
        attend: impl FnOnce(Qkv) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let h = rms_norm(x, &self.input_norm, self.eps)?;
        let heads = |projection: &Linear| projection.heads(&h, self.head_dim, product);
        let q = rotary(&heads(&self.q)?, angles)?;
        let k = rotary(&heads(&self.k)?, angles)?;
        let h = attend(Qkv { q, k, v: heads(&self.v)? })?;
        add(x, &self.o.forward(&h, product)?)
    }

    /// The layer's second half, its MLP, in which each token is by itself.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn transform(&self, x: &Tensor, product: Product) -> Result<Tensor> {
        let h = rms_norm(x, &self.post_norm, self.eps)?;
        add(x, &gated_mlp(&h, &self.mlp, product)?)
    }
}
