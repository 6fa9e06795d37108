//! What learning and decoding hold beside weights, gradients and the optimiser's state, buffer by buffer as the code allocates
//! them: by the kernels of `crates/cuda`, or by compositions of candle's operations, on a GPU or on the CPU.
//!
//! With kernels half a layer is one operation on the tape, which keeps little (`ops::cuda_tape`); compositions (`ops::plain`)
//! keep much, attention's scores among it.
//!
//! Not counted: indices, positions, angles and tables of segments, below a thousandth; masks of dropout and what they leave,
//! which the compositions keep. The reference's pass holds less than the policy's backward pass, when nothing is kept for that.
//! Not here: what is always held (`gpu_memory`, `memory`), what is computed (`workload`).

use candle_core::DType;

use super::gpu_memory::WORKSPACE;
use super::memory::{dropped, largest_merged};
use super::workload::{Stream, Workload};
use crate::config::{CheckpointingChoice, Method, RunConfig};
use crate::model::config::ModelConfig;
use crate::model::lora::LinearMap;
use crate::model::stages::Kept;
use crate::ops;
use crate::train::settings::{lora, rollout_sampler, trains_vision};

const F32: u64 = 4;

/// Arrays in f32 of as many numbers as the logits it holds at once, in the composed head's backward pass.
const PLAIN_HEAD: u64 = 9;
/// Arrays of a score for each two tokens of a group that the composed attention keeps: the product, scaled and masked, less
/// its maximum, the exponential, the softmax (`ops::plain::attention`, `candle_nn::ops::softmax`).
const PLAIN_SCORES: u64 = 6;
/// In 16 bits: the converted product and the four that follow it in f32, and the product, scaled, and the softmax in 16 bits.
const NARROW_SCORES: [u64; 2] = [5, 3];
/// Rows of a half's norm that are in f32 where all else is in 16 bits (`ops::plain::rms_norm`; a `LayerNorm` has one more).
const WIDE_ROWS: u64 = 2;
/// Arrays of one group's scores that gradients take in half a layer's backward pass, beside three quarters of what the half
/// keeps without scores: seen on the emulated device.
const PLAIN_GRADIENTS: u64 = 10;

/// Which implementation of the operations computes (`ops::Path`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operations {
    Kernels,
    Compositions,
}

/// What a run holds beside what it always does: the most that learning from a stream holds, and what decoding does, in bytes.
pub(super) fn held(
    config: &RunConfig,
    model: &ModelConfig,
    work: &Workload,
    (dtype, operations): (DType, Operations),
) -> (Learning, u64) {
    let width = dtype.size_in_bytes() as u64;
    let on = On { config, model, operations, width };
    (on.learning_at_most(work), on.decoding(work))
}

/// What the backward pass of one stream holds, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learning {
    pub(super) activations: u64,
    pub(super) pictures: u64,
    /// The head's, when its backward pass begins the whole one.
    pub(super) logits: u64,
    /// A layer's, after the head's are freed.
    pub(super) temporaries: u64,
    /// A product's with a bias: not while the largest of a layer's are held.
    workspace: u64,
}

impl Learning {
    pub(super) fn peak(&self) -> u64 {
        self.activations + self.pictures + self.logits.max(self.temporaries).max(self.workspace)
    }
}

/// A layer of the decoder or a block of the tower on all rows of a stream, in bytes.
struct Layers {
    /// How many there are.
    n: u64,
    /// What goes into one of its halves, and comes out.
    input: u64,
    /// What the halves' tapes hold, a copy of the input first (`model::stages`: `Var::from_tensor` copies).
    mix: u64,
    mlp: u64,
    /// The most that gradients take at once in one half's backward pass.
    gradients: u64,
}

impl Layers {
    /// What all tapes hold when the backward pass begins. A half that is computed again keeps its input, which is the
    /// output of the half before it; the last output is kept too.
    fn kept(&self, checkpointing: CheckpointingChoice) -> u64 {
        let each = match checkpointing {
            CheckpointingChoice::None => self.mix + self.mlp,
            CheckpointingChoice::Mlp => self.mix + self.input,
            CheckpointingChoice::Full => 2 * self.input,
        };
        self.n * each + self.input
    }

    /// The half that is computed again, and its gradients.
    fn in_turn(&self, checkpointing: CheckpointingChoice) -> u64 {
        let again = match checkpointing {
            CheckpointingChoice::None => 0,
            CheckpointingChoice::Mlp => self.mlp,
            CheckpointingChoice::Full => self.mix.max(self.mlp),
        };
        again + self.gradients
    }
}

/// A part of the model, as far as its layers' sizes hang on it.
struct Shape {
    n: usize,
    rows: usize,
    input: usize,
    /// Numbers per row inside the MLP.
    inner: usize,
    /// Arrays of `inner` numbers a row that an MLP's backward pass holds at once (`ops::cuda_mlp`): its gradient and those of
    /// gate and up; the activation, computed again, and its gradient.
    inner_gradients: usize,
    heads: usize,
    /// Numbers per row that are kept of each half of a layer.
    kept: Kept,
    /// Groups that attention scores one after the other.
    groups: usize,
}

/// What the kernels keep of a row in each half of a layer, without the log-sum-exp: the input and the output; queries and keys
/// after rotation, values and attention's result (`ops::cuda_attention`); what the MLP's activation is given (`ops::cuda_mlp`).
fn kept_by_kernels(input: usize, queries: usize, keys: usize, activated: usize) -> Kept {
    Kept { mix: 2 * (input + queries + keys), mlp: 2 * input + activated }
}

/// What a run computes with.
struct On<'a> {
    config: &'a RunConfig,
    model: &'a ModelConfig,
    operations: Operations,
    /// Bytes of a number.
    width: u64,
}

impl On<'_> {
    /// Of the stream that holds the most.
    fn learning_at_most(&self, work: &Workload) -> Learning {
        let each = work.streams.iter().map(|stream| self.learning(stream));
        each.max_by_key(Learning::peak).unwrap_or_default()
    }

    fn learning(&self, stream: &Stream) -> Learning {
        let (text, vision) = (&self.model.text, &self.model.vision);
        let checkpointing = self.config.model.activation_checkpointing;
        let (language, tower) = (self.decoder(stream), self.tower(stream));
        let (rows, patches) = (stream.tokens as u64, stream.patches as u64);
        let (hidden, scored) = (text.hidden_size as u64, stream.scored as u64);
        // `model::network`: the head's stage copies all rows, selects the scored ones and normalises them.
        let head = (rows + 2 * scored) * hidden * self.width;
        let mut learning = Learning {
            activations: language.kept(checkpointing) + self.kept_by_factors(stream) + head,
            pictures: 0,
            logits: self.head(scored),
            temporaries: language.in_turn(checkpointing) + self.dropped(stream),
            workspace: self.chosen(WORKSPACE, 0),
        };
        if trains_vision(self.config) {
            let copies = match checkpointing {
                CheckpointingChoice::None | CheckpointingChoice::Mlp => 2, // the stage's input and its tape's
                CheckpointingChoice::Full => 1,
            };
            let merger = match checkpointing {
                CheckpointingChoice::None => {
                    let kept = self.model.kept_by_merger();
                    self.chosen(kept - vision.embed_dim, kept) as u64 * patches
                }
                CheckpointingChoice::Mlp | CheckpointingChoice::Full => {
                    hidden * patches / vision.spatial_merge_size.pow(2) as u64
                }
            };
            learning.activations += tower.kept(checkpointing) + merger * self.width;
            learning.pictures = copies * patches * vision.patch_dim() as u64 * self.width;
            let tower = tower.in_turn(checkpointing) + self.dropped(stream);
            learning.temporaries = learning.temporaries.max(tower);
        }
        learning
    }

    /// What compositions keep of each map with low-rank factors (`ops::LowRank`): what is left of the input, and the mask; the
    /// product with A; that with B, the same scaled, and the sum with the map's own.
    fn kept_by_factors(&self, stream: &Stream) -> u64 {
        let Some(lora) = lora(self.config) else { return 0 };
        let is_kept = |map: &&LinearMap| match self.config.model.activation_checkpointing {
            CheckpointingChoice::None => true,
            CheckpointingChoice::Mlp => !map.name.contains(".mlp."),
            CheckpointingChoice::Full => false,
        };
        let maps = lora.maps(self.model).unwrap_or_default();
        let numbers = maps.iter().filter(is_kept).map(|map| {
            let left = if lora.dropout > 0.0 { 2 * map.inner } else { 0 };
            stream.rows(map.group) * (left + lora.rank + 3 * map.out)
        });
        self.chosen(0, numbers.sum::<usize>() as u64 * self.width)
    }

    /// What is left of a map's input under dropout, or the gradient to that.
    fn dropped(&self, stream: &Stream) -> u64 {
        self.chosen(dropped(self.config, self.model, stream), 0) * self.width
    }

    fn decoder(&self, stream: &Stream) -> Layers {
        let text = &self.model.text;
        let [plain, _] = self.model.kept_by_plain_layer_and_block();
        let [queries, keys] =
            [text.num_attention_heads, text.num_key_value_heads].map(|n| n * text.head_dim());
        let kernels = kept_by_kernels(text.hidden_size, queries, keys, 2 * text.intermediate_size);
        self.layers(&Shape {
            n: text.num_hidden_layers,
            rows: stream.tokens,
            input: text.hidden_size,
            inner: text.intermediate_size,
            inner_gradients: 3,
            heads: text.num_attention_heads,
            kept: self.chosen(kernels, plain),
            groups: stream.groups.max(1),
        })
    }

    fn tower(&self, stream: &Stream) -> Layers {
        let vision = &self.model.vision;
        let [_, plain] = self.model.kept_by_plain_layer_and_block();
        let width = vision.embed_dim;
        let n_wide = self.model.n_wide_maps_of_block();
        let kernels = kept_by_kernels(width, width, width, n_wide * vision.mlp_hidden);
        self.layers(&Shape {
            n: vision.depth,
            rows: stream.patches,
            input: width,
            inner: vision.mlp_hidden,
            inner_gradients: 1 + n_wide,
            heads: vision.num_heads,
            kept: self.chosen(kernels, plain),
            groups: stream.groups.max(1),
        })
    }

    fn chosen<T>(&self, kernels: T, compositions: T) -> T {
        match self.operations {
            Operations::Kernels => kernels,
            Operations::Compositions => compositions,
        }
    }

    fn layers(&self, shape: &Shape) -> Layers {
        let bytes = |per_row: usize| (shape.rows * per_row) as u64 * self.width;
        let heads = shape.heads as u64;
        let pairs = heads * (shape.rows as u64 / shape.groups as u64).pow(2);
        let of_group = pairs * F32;
        let is_narrow = self.width < F32;
        let a_pair = if is_narrow {
            NARROW_SCORES[0] * F32 + NARROW_SCORES[1] * self.width
        } else {
            PLAIN_SCORES * F32
        };
        let attention = self.chosen(
            shape.rows as u64 * heads * F32, // the log-sum-exp, `[heads, T]`
            a_pair * pairs * shape.groups as u64,
        );
        let widened = if is_narrow { WIDE_ROWS * (F32 - self.width) } else { 0 };
        let norm = self.chosen(0, widened * (shape.rows * shape.input) as u64);
        let mix = bytes(shape.kept.mix) + norm + attention;
        let mlp = bytes(shape.kept.mlp) + norm;
        // The most is held inside an MLP, beside the gradient that arrived at its half, the tape's copy of it and the norm.
        let kernels = bytes(shape.inner_gradients * shape.inner + 3 * shape.input);
        let kept = bytes(shape.kept.mix.max(shape.kept.mlp));
        let gradients = self.chosen(kernels, PLAIN_GRADIENTS * of_group + 3 * kept / 4);
        Layers { n: shape.n as u64, input: bytes(shape.input), mix, mlp, gradients }
    }

    /// The head's chunk with the gradient of its rows.
    fn head(&self, scored: u64) -> u64 {
        let text = &self.model.text;
        let (vocab, hidden) = (text.vocab_size as u64, text.hidden_size as u64);
        let rows = scored * hidden * self.width;
        let table = 3 * vocab * hidden * F32; // its gradient, zeros and their sum
        rows + self.chosen(
            (ops::ROWS_ON_GPU as u64).min(scored) * vocab.next_multiple_of(8) * F32,
            PLAIN_HEAD * (ops::MAX_LOGITS as u64).min(scored * vocab) * F32 + table,
        )
    }

    /// The most that decoding holds, of rollouts or of the run's evaluation; before it, what merging a weight with its low-rank
    /// factors takes: in f32 the weight, the product, the same scaled, and the sum (`ops::LowRank::merged`).
    fn decoding(&self, work: &Workload) -> u64 {
        let RunConfig { rollout, eval, train, grpo, .. } = self.config;
        let samples = self.config.method != Method::Sft && rollout.replay.is_none();
        let evaluates = eval.before_training || eval.after_training || train.eval_every > 0;
        let places = rollout.max_batch.min(work.completions() * grpo.mini_batches);
        let asked = eval.max_batch.min(eval.limit.unwrap_or(usize::MAX));
        let answer_tokens = eval.max_new_tokens.unwrap_or(rollout.max_new_tokens);
        let prompts = places.div_ceil(work.group_size);
        let rollouts = samples.then(|| {
            self.decoded(work, places, prompts, work.completion_tokens) + self.seen(places, prompts)
        });
        let answers = evaluates.then(|| self.decoded(work, asked, asked, answer_tokens));
        let merging = 4 * F32 * self.chosen(largest_merged(self.config, self.model), 0);
        rollouts.max(answers).map_or(0, |held| held.max(merging))
    }

    /// `othink_cuda::DeviceSampler`: a bit for each token of the vocabulary, of each slot, of prompts in progress and of the
    /// next one, where a repetition penalty looks back. (Places of the last token that a filter keeps are left out, 8 bytes.)
    fn seen(&self, places: usize, prompts: usize) -> u64 {
        let looks_back = rollout_sampler(&self.config.rollout).looks_back();
        let words = (places + prompts + 1) * self.model.text.vocab_size.div_ceil(32);
        self.chosen(u64::from(looks_back) * words as u64 * F32, 0)
    }

    /// `model::decoding`: keys and values of all slots, of the prompts in progress and of the next one, which is computed
    /// alone; a step's logits in the run's dtype and in f32. By kernels (`model::gpu_decoding`) logits are in f32 alone; a
    /// prompt's keys and values are there twice while they are joined; cosines and sines of every token. (Parts of
    /// products are left out, 9 MB at most.)
    fn decoded(&self, work: &Workload, places: usize, prompts: usize, new_tokens: usize) -> u64 {
        let text = &self.model.text;
        let per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim();
        let joined = self.chosen(work.prompt_tokens as u64, 0);
        let cached = (places * new_tokens + (prompts + 1) * work.prompt_tokens) as u64 + joined;
        let prompt =
            Stream { groups: 1, tokens: work.prompt_tokens, scored: 1, patches: work.patches };
        let layer = [self.decoder(&prompt), self.tower(&prompt)].map(|layer| layer.mix + layer.mlp);
        let pixels = (work.patches * self.model.vision.patch_dim()) as u64 * (F32 + self.width);
        let logits = (places * text.vocab_size) as u64 * self.chosen(F32, F32 + self.width);
        let angles = (places * new_tokens * text.head_dim()) as u64 * F32;
        let computed = layer[0].max(layer[1]).max(self.chosen(WORKSPACE, 0));
        let of_steps = self.chosen(angles, 0);
        cached * per_token as u64 * self.width + computed + pixels + logits + of_steps
    }
}
