//! Operations of products and of attention, counted once for plans and for measurements. A multiplication and an addition are
//! two.
//!
//! Counted are the products with every parameter but the embedding table, and attention's pairs, of which a causal one has half.
//! Norms, activations and softmax are left out: memory bounds them.
//! Not here: what is read and written (`traffic`), how fast a device computes (`cards`).

use crate::model::config::ModelConfig;
use crate::model::parameters::{ParameterGroup, ParameterShape};
use crate::model::stages::Checkpointing;

/// Prompts with their completions, each prompt computed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequences {
    /// Prompts.
    pub prompts: usize,
    /// Tokens of each, pictures included.
    pub prompt_tokens: usize,
    /// Pictures of each, of one size.
    pub pictures: usize,
    /// Patches of all pictures of one prompt.
    pub patches: usize,
    /// Completions of all prompts.
    pub completions: usize,
    /// Tokens of each that are scored; the last one is not fed.
    pub completion_tokens: usize,
}

/// One forward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forward {
    /// The vision tower.
    tower: Part,
    /// The decoder's layers.
    layers: Part,
    /// The vocabulary head on the scored tokens.
    head: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    all: f64,
    /// Of its MLPs alone.
    mlps: f64,
}

/// What has gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trains {
    /// Something of the tower: else it has no backward pass.
    pub vision: bool,
    /// The model's own weights, and not low-rank factors beside them.
    pub weights: bool,
}

impl Part {
    /// Forward and backward, which costs two forward passes, or one where no weight has a gradient, and what is computed
    /// again. (Attention's backward pass costs two in any case, which is left out of that one.)
    fn learned(self, checkpointing: Checkpointing, trains_weights: bool) -> f64 {
        let again = match checkpointing {
            Checkpointing::None => 0.0,
            Checkpointing::Mlp => self.mlps,
            Checkpointing::Full => self.all,
        };
        if trains_weights { 3.0 * self.all + again } else { 2.0 * self.all + again }
    }
}

impl Forward {
    /// Counts the pass of a model over some sequences.
    pub fn of(model: &ModelConfig, sequences: &Sequences) -> Self {
        let (text, vision) = (&model.text, &model.vision);
        let Sequences { prompts, prompt_tokens, pictures, patches, completions, .. } = *sequences;
        let fed = sequences.completion_tokens.saturating_sub(1);
        let tokens = (prompts * prompt_tokens + completions * fed) as f64;
        let all_patches = (prompts * patches) as f64;
        let [prompt, fed, n_completions] = [prompt_tokens, fed, completions].map(|n| n as f64);
        let pairs =
            prompts as f64 * prompt * prompt / 2.0 + n_completions * fed * (prompt + fed / 2.0);
        let text_width = text.num_hidden_layers * text.num_attention_heads * text.head_dim();
        // A picture attends to itself, or its windows do.
        let in_picture = patches as f64 / pictures.max(1) as f64;
        let vision_pairs = all_patches * vision.mean_patches_seen(in_picture);
        let vision_width = vision.depth * vision.embed_dim;
        let products = |rows: f64, is_wanted: &dyn Fn(&ParameterShape) -> bool| {
            let shapes = model.parameter_shapes().into_iter();
            let n: usize = shapes.filter(is_wanted).map(|shape| shape.elem_count()).sum();
            2.0 * n as f64 * rows
        };
        let is_mlp =
            |shape: &ParameterShape, group| shape.group == group && shape.name.contains(".mlp.");
        let scored = n_completions * sequences.completion_tokens as f64;
        Self {
            tower: Part {
                all: products(all_patches, &|shape| shape.group == ParameterGroup::Vision)
                    + 4.0 * vision_width as f64 * vision_pairs,
                mlps: products(all_patches, &|shape| is_mlp(shape, ParameterGroup::Vision)),
            },
            layers: Part {
                all: products(tokens, &|shape| shape.name.starts_with("model.layers"))
                    + 4.0 * text_width as f64 * pairs,
                mlps: products(tokens, &|shape| is_mlp(shape, ParameterGroup::Language)),
            },
            head: 2.0 * (text.hidden_size * text.vocab_size) as f64 * scored,
        }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.tower.all + self.layers.all + self.head
    }

    /// With the backward pass, and with what that computes again: the head's logits always.
    ///
    /// The products of low-rank factors are left out.
    pub fn learned(&self, checkpointing: Checkpointing, trains: Trains) -> f64 {
        let learned = |part: Part| part.learned(checkpointing, trains.weights);
        let tower = if trains.vision { learned(self.tower) } else { self.tower.all };
        tower + learned(self.layers) + if trains.weights { 4.0 } else { 3.0 } * self.head
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
mod tests {
    use super::super::test_model::one_layer;
    use super::*;

    const SEQUENCES: Sequences = Sequences {
        prompts: 2,
        prompt_tokens: 7,
        pictures: 1,
        patches: 4,
        completions: 4,
        completion_tokens: 5,
    };

    /// Two prompts of 7 tokens, each with two completions of which 4 are fed: 30 tokens, 20 scored, 8 patches.
    #[test]
    fn products_and_pairs_of_one_layer_and_one_block_are_counted() {
        let forward = Forward::of(&one_layer(true), &SEQUENCES);
        // Pairs: 2 * 49 / 2, and 4 * (4 * 7 + 16 / 2).
        assert_eq!(forward.layers.all, 2.0 * 512.0 * 30.0 + 4.0 * 8.0 * (49.0 + 144.0));
        assert_eq!(forward.layers.mlps, 2.0 * 3.0 * 96.0 * 30.0);
        assert_eq!(forward.tower.all, 2.0 * 2128.0 * 8.0 + 4.0 * 8.0 * 2.0 * 16.0);
        assert_eq!(forward.head, 2.0 * 128.0 * 20.0);
        assert_eq!(forward.total(), forward.layers.all + forward.tower.all + forward.head);
    }

    #[test]
    fn what_is_computed_again_is_added_and_a_frozen_tower_is_only_read() {
        let forward = Forward::of(&one_layer(true), &SEQUENCES);
        let Forward { tower, layers, head } = forward;
        let trains = Trains { vision: true, weights: true };
        let learned = |checkpointing| forward.learned(checkpointing, trains);
        let none = 3.0 * (tower.all + layers.all) + 4.0 * head;
        assert_eq!(learned(Checkpointing::None), none);
        assert_eq!(learned(Checkpointing::Mlp), none + tower.mlps + layers.mlps);
        assert_eq!(learned(Checkpointing::Full), none + tower.all + layers.all);
        let frozen = forward.learned(Checkpointing::Full, Trains { vision: false, weights: true });
        assert_eq!(frozen, tower.all + 4.0 * (layers.all + head));
        let factors = Trains { vision: false, weights: false };
        let adapted = forward.learned(Checkpointing::None, factors);
        assert_eq!(adapted, tower.all + 2.0 * layers.all + 3.0 * head);
        let adapted = forward.learned(Checkpointing::Mlp, Trains { vision: true, ..factors });
        assert_eq!(adapted, 2.0 * (tower.all + layers.all) + tower.mlps + layers.mlps + 3.0 * head);
    }

    #[test]
    fn pictures_of_a_prompt_do_not_attend_to_each_other() {
        let of = |pictures| Forward::of(&one_layer(true), &Sequences { pictures, ..SEQUENCES });
        assert_eq!(of(1).tower.all - of(2).tower.all, 4.0 * 8.0 * 16.0);
    }
}
