//! Token for token: what a GPU decodes by its own kernels in bf16 against the CPU's model in f32 and its sampler, given the
//! same tokens before.
//! Not here: the sampler alone, from the same logits (`rollout::device_decoder`); what completions depend on (`rollouts`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use othink::config::RunConfig;
use othink::data::configured::{training_questions, training_rows};
use othink::data::tasks::resolved;
use othink::model::Model;
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::packed::{Packed, PackedGroup};
use othink::model::parameters::Trained;
use othink::processor::{Processor, Prompt};
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Completion, GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};

use crate::golden::device;

/// How far a logit may be off in bf16: more than any log-probability is, which is asserted.
const MARGIN: f32 = 0.03;
/// A choice is clear where it stays the same after each of so many changes of all logits, each by the margin up or down.
const CHANGES: u32 = 32;
/// The least share of clear choices.
const CLEAR: f64 = 0.95;
/// What the model was taught to say as often as something else: the most likely token would be a matter of chance. It begins with
/// a thought or at once, and with a colour that is as good as another.
const AS_GOOD: &str = "The green blue purple cyan red brown yellow";

/// The built-in model, which was trained and so knows what it wants, with weights that bf16 holds.
fn rounded_model(folder: &Path) -> ModelFiles {
    for file in std::fs::read_dir("assets/tiny").unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let path = folder.join("model.safetensors");
    let weights = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let rounded = |x: Tensor| x.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    let weights: HashMap<String, Tensor> =
        weights.into_iter().map(|(name, weight)| (name, rounded(weight))).collect();
    candle_core::safetensors::save(&weights, path).unwrap();
    ModelFiles::Folder(folder.to_owned())
}

fn prompts(processor: &Processor, n: usize) -> Vec<Prompt> {
    let config = resolved(&RunConfig::load("quickstart.toml", &[]).unwrap()).unwrap();
    let questions = training_questions(&config, training_rows(&config).unwrap()).unwrap();
    (0..n).map(|i| questions.prompt(processor, i).unwrap().1).collect()
}

fn stream(question: usize, completion: usize) -> Stream {
    Stream::new(11, Purpose::Rollout, 0, question as u32, completion as u32)
}

/// What the CPU has to say of the tokens that were drawn.
#[derive(Default)]
struct Compared {
    n: usize,
    n_clear: usize,
    /// Clear choices that the device did not make.
    other: Vec<String>,
    largest_error: f32,
}

struct OnCpu {
    model: Model,
    settings: GenerationSettings,
}

impl OnCpu {
    /// The token that the sampler draws from logits, each moved by the margin, up or down, in some way that `change` names;
    /// not at all in the way 0.
    fn drawn(&self, logits: &[f32], seen: &[u32], stream: Stream, n: usize, change: u32) -> u32 {
        let moved = |(i, logit): (usize, &f32)| {
            let mixed = (i as u32).wrapping_mul(2_654_435_761) ^ change.wrapping_mul(0x9E37_79B9);
            let is_up = mixed.wrapping_mul(0x85EB_CA6B) >> 31 == 1;
            if change == 0 { *logit } else { logit + if is_up { MARGIN } else { -MARGIN } }
        };
        let mut logits: Vec<f32> = logits.iter().enumerate().map(moved).collect();
        let GenerationSettings { sampler, suppressed, .. } = &self.settings;
        let uniform = stream.uniform(n as u32);
        sampler.sample(&mut logits, seen, suppressed.after(n), uniform).unwrap().id
    }

    fn compare(&self, prompt: &Prompt, sampled: &Completion, stream: Stream, to: &mut Compared) {
        let ids = [&prompt.input_ids[..], &sampled.token_ids].concat();
        let positions = (0..sampled.token_ids.len() as u32).map(|n| [prompt.next_position + n; 3]);
        let positions = prompt.positions.iter().copied().chain(positions).collect();
        let whole = Prompt { input_ids: ids, positions, ..prompt.clone() };
        let group = PackedGroup { prompt: &whole, completions: Vec::new() };
        let logits = self.model.logits(&Packed::new(&[group]).unwrap()).unwrap();
        let logits = logits.to_vec2::<f32>().unwrap();
        for (n, (&token, logp)) in sampled.token_ids.iter().zip(&sampled.logps).enumerate() {
            let seen = &whole.input_ids[..prompt.input_ids.len() + n];
            let logits = &logits[seen.len() - 1];
            let choice = self.drawn(logits, seen, stream, n, 0);
            let is_clear =
                (1..=CHANGES).all(|change| self.drawn(logits, seen, stream, n, change) == choice);
            to.n += 1;
            to.n_clear += usize::from(is_clear);
            if is_clear && choice != token {
                to.other.push(format!("token {n}: {token}, expected {choice}"));
            }
            to.largest_error = to.largest_error.max((logp - self.logp(logits, token)).abs());
        }
    }

    /// Of a token under the whole row at the sampler's temperature.
    fn logp(&self, logits: &[f32], token: u32) -> f32 {
        let sampler = &self.settings.sampler;
        let temperature = if sampler.is_greedy() { 1.0 } else { sampler.temperature };
        let scaled: Vec<f64> = logits.iter().map(|&x| f64::from(x) / temperature).collect();
        let sum: f64 = scaled.iter().map(|x| x.exp()).sum();
        (scaled[token as usize] - sum.ln()) as f32
    }
}

/// The model on both devices.
struct Models {
    files: ModelFiles,
    processor: Processor,
    on_device: Model,
}

impl Models {
    /// Samples completions of questions with a picture each, and compares them.
    fn compare(
        &self,
        sampler: &Sampler,
        [max_batch, n_questions, n]: [usize; 3],
        to: &mut Compared,
    ) {
        let stop_ids = self.processor.special().stop_ids.clone();
        let mut markers = self.processor.never_sampled(520);
        if sampler.is_greedy() {
            markers.extend(self.processor.encode_text(AS_GOOD).unwrap());
        }
        let settings = GenerationSettings {
            sampler: sampler.clone(),
            suppressed: Suppressed::new(&markers, &stop_ids, 3),
            max_new_tokens: 24,
            stop_ids,
            max_batch,
        };
        let prompts = prompts(&self.processor, n_questions);
        let request = |(question, prompt)| Request {
            prompt: Cow::Borrowed(prompt),
            streams: (0..n).map(|i| stream(question, i)).collect(),
        };
        let requests = prompts.iter().enumerate().map(request).collect();
        let sampled = generate(&self.on_device, requests, &settings, &mut |_| {}).unwrap();
        let model = open(&self.files, DType::F32, &Device::Cpu, Trained::Nothing).unwrap();
        let on_cpu = OnCpu { model, settings };
        for (question, completions) in sampled.iter().enumerate() {
            for (i, sampled) in completions.iter().enumerate() {
                on_cpu.compare(&prompts[question], sampled, stream(question, i), to);
            }
        }
    }
}

#[test]
fn tokens_decoded_by_kernels_are_the_cpus_where_its_choice_is_clear() {
    if device().is_cpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = rounded_model(folder.path());
    let processor = Processor::load(&files).unwrap();
    let on_device = open(&files, DType::BF16, &device(), Trained::Nothing).unwrap();
    let models = Models { files, processor, on_device };
    let filters = Sampler { top_k: 12, top_p: 0.9, min_p: 0.05, ..Sampler::default() };
    let penalized = Sampler { repetition_penalty: 1.05, temperature: 0.7, ..filters.clone() };
    // Rows, questions, completions of each: one after the other, some at once, and more than there is room for.
    let (alone, some, many) = ([1, 2, 1], [7, 5, 3], [64, 17, 4]);
    for (sampler, batches) in [
        (Sampler::greedy(), &[alone, some][..]),
        (Sampler::default(), &[alone, many]),
        (filters, &[some]),
        (penalized, &[some]),
    ] {
        let mut compared = Compared::default();
        for &batch in batches {
            models.compare(&sampler, batch, &mut compared);
        }
        let Compared { n, n_clear, other, largest_error } = compared;
        assert!(other.is_empty(), "{sampler:?}: {other:?}");
        assert!(n_clear as f64 >= CLEAR * n as f64, "{sampler:?}: {n_clear} of {n} are clear");
        assert!(largest_error < MARGIN, "{sampler:?}: {largest_error}");
    }
}
