//! Bytes that a step of decoding and a step of the optimiser cannot do without moving, counted once for plans and for
//! measurements.
//! Not here: operations (`operations`), how fast a device moves bytes (`cards`).

use crate::model::config::ModelConfig;
use crate::model::parameters::{ParameterGroup, ParameterShape};

const F32: usize = 4;

/// What a step of decoding works on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodingStep {
    /// Completions that get a token.
    pub rows: f64,
    /// Prompts that they belong to.
    pub prompts: f64,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens that each completion has already, in the mean.
    pub own_tokens: f64,
}

/// Bytes that a step of decoding moves: the language model's weights and its head, read once; keys and values, each prompt's
/// read once for its group, and each completion's; logits in f32, written by the head and read by the sampler.
///
/// - `width`: bytes of a number of the model
pub fn decoding_step(model: &ModelConfig, width: usize, step: DecodingStep) -> f64 {
    let text = &model.text;
    // A table of embeddings that is not the head too is read in single rows.
    let is_read = |shape: &ParameterShape| {
        shape.group == ParameterGroup::Language
            && (text.tie_word_embeddings || !shape.name.contains("embed_tokens"))
    };
    let shapes = model.parameter_shapes().into_iter();
    let weights: usize = shapes.filter(is_read).map(|shape| shape.elem_count()).sum();
    let of_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim();
    let tokens = step.prompts * step.prompt_tokens as f64 + step.rows * step.own_tokens;
    let logits = step.rows * (text.vocab_size * 2 * F32) as f64;
    (weights as f64 + of_token as f64 * tokens) * width as f64 + logits
}

/// Bytes that the optimiser's step moves for a trained number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptimizerStep {
    /// Altogether: the norm reads the gradient; the step reads it again, reads and writes both moments and what is moved, and
    /// writes the weight where that has a master.
    pub all: usize,
    /// Of moments and masters, which cross the bus where they are in the host's memory.
    pub offloaded: usize,
}

impl OptimizerStep {
    /// - `width`, `gradient`: bytes of a number of the model and of a gradient; weights in f32 are moved themselves
    /// - `has_masters`: whether shorter ones are moved through copies in f32
    pub fn of(width: usize, gradient: usize, has_masters: bool) -> Self {
        let (gradient, moments) = (2 * gradient, 2 * 2 * F32);
        if width < F32 && has_masters {
            let all = gradient + moments + 2 * F32 + width;
            return Self { all, offloaded: moments + 2 * F32 };
        }
        Self { all: gradient + moments + 2 * width, offloaded: moments }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
mod tests {
    use super::super::test_model::one_layer;
    use super::*;

    /// Three rows of two prompts: 520 numbers of the language model and 128 of the head; 8 of keys and values a token.
    #[test]
    fn a_step_of_decoding_reads_weights_once_and_a_prompt_once_for_its_group() {
        let step = DecodingStep { rows: 3.0, prompts: 2.0, prompt_tokens: 7, own_tokens: 2.5 };
        let expected = (648.0 + 8.0 * (14.0 + 7.5)) * 2.0 + 3.0 * 16.0 * 8.0;
        for is_tied in [true, false] {
            assert_eq!(decoding_step(&one_layer(is_tied), 2, step), expected, "tied: {is_tied}");
        }
    }

    #[test]
    fn a_number_moves_34_bytes_with_a_master_28_without_and_32_in_f32() {
        let of = |width, gradient, has_masters| {
            let OptimizerStep { all, offloaded } = OptimizerStep::of(width, gradient, has_masters);
            (all, offloaded)
        };
        assert_eq!(of(2, 4, true), (34, 24));
        assert_eq!(of(2, 4, false), (28, 16));
        assert_eq!(of(4, 4, true), (32, 16));
        // Gradients in bf16 are read twice as well.
        assert_eq!(of(2, 2, true), (30, 24));
        assert_eq!(of(2, 2, false), (24, 16));
    }
}
