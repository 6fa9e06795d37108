//! Where candle-transformers 0.11.1 departs from transformers, which prompts show it, and how it is hidden.
//! Not here: either implementation (`candle_side`, `our_side`).
//!
//! A fault is hidden, in the logits after a prompt, by a change of some weights that both implementations get, or by giving ours
//! what candle-transformers takes. What then still differs is due to the others, and where all are hidden the two have to agree.

use std::borrow::Cow;

use candle_core::{Result, Tensor};
use othink::processor::Prompt;

/// A set of faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A call of several tokens has no causal mask (`mod.rs`: it is made for calls of one token, where it hides nothing).
    pub mask: bool,
    /// Tokens are placed at 0, 1, 2, ... on all axes, those of pictures too (`text.rs`, `RotaryEmbedding`: no M-RoPE).
    pub positions: bool,
    /// The mergers' GELU is the approximation by tanh (`vision.rs`, `PatchMerger`); transformers' is exact.
    pub gelu: bool,
}

/// How a prompt is given to candle-transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// In one call, as its interface means it.
    Whole,
    /// A call a token.
    OneByOne,
}

/// Far enough from 0 for either GELU to be the identity, in f32.
const IDENTITY: f64 = 32.0;

impl Faults {
    /// Those that can be seen in what follows the prompt. It does not ask at which positions our processor puts tokens: if a
    /// prompt without pictures were not counted through, that would be a fault of ours.
    pub fn of(prompt: &Prompt, fed: Fed) -> Self {
        Self {
            mask: fed == Fed::Whole && prompt.input_ids.len() > 1,
            positions: prompt.images.iter().any(|image| image.n_tokens() > 1),
            gelu: !prompt.images.is_empty(),
        }
    }

    /// Without those of another set.
    pub fn minus(self, other: Self) -> Self {
        Self {
            mask: self.mask && !other.mask,
            positions: self.positions && !other.positions,
            gelu: self.gelu && !other.gelu,
        }
    }

    /// Each as a set of its own.
    pub fn each(self) -> impl Iterator<Item = Self> {
        let none = Self::default();
        let each = [
            Self { mask: self.mask, ..none },
            Self { positions: self.positions, ..none },
            Self { gelu: self.gelu, ..none },
        ];
        each.into_iter().filter(move |one| *one != none)
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [(self.mask, "mask"), (self.positions, "positions"), (self.gelu, "GELU")];
        let names: Vec<&str> = named.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        f.pad(&if names.is_empty() { "-".to_owned() } else { names.join(", ") })
    }
}

/// A tensor of a checkpoint, changed so that these faults are hidden.
///
/// - `mask`: of the decoder's `n_layers` layers the last one alone attends, and its last row may see every row anyway
/// - `gelu`: what enters the mergers' GELUs is so large that they are the identity
/// - `name`: in the spelling of the program
///
/// # Errors
/// The tensor cannot be made.
pub fn hidden_in(name: &str, tensor: &Tensor, hidden: Faults, n_layers: usize) -> Result<Tensor> {
    let last = format!("model.layers.{}.", n_layers.saturating_sub(1));
    let is_merger = name.contains("merger") && name.ends_with("linear_fc1.bias");
    if hidden.mask && name.ends_with("self_attn.o_proj.weight") && !name.starts_with(&last) {
        tensor.zeros_like()
    } else if hidden.gelu && is_merger {
        tensor + IDENTITY
    } else {
        Ok(tensor.clone())
    }
}

/// The prompt as our model gets it: where `positions` are hidden, with those of candle-transformers.
pub fn hidden_in_prompt(prompt: &Prompt, hidden: Faults) -> Cow<'_, Prompt> {
    if !hidden.positions {
        return Cow::Borrowed(prompt);
    }
    let n = prompt.input_ids.len() as u32;
    let positions = (0..n).map(|i| [i; 3]).collect();
    Cow::Owned(Prompt { positions, next_position: n, ..prompt.clone() })
}
