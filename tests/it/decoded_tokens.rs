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
use othink::model::config::ModelConfig;
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::packed::{Packed, PackedGroup};
use othink::model::parameters::Trained;
use othink::processor::{Processor, Prompt};
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Completion, GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};

use crate::golden::device;

/// By how much logits are moved to see whether a choice is clear: several times what a log-probability is off in bf16 in the
/// mean, which is asserted. At single places it may be off by more.
const MARGIN: f32 = 0.03;
/// A choice is clear where it stays the same after each of so many changes of all logits, each by the margin up or down.
const CHANGES: u32 = 32;
/// The least share of clear choices.
const CLEAR: f64 = 0.95;
/// Of so many clear choices the device may make one otherwise: where the model's attention is sharp, one rounding to bf16 moves
/// a log-probability by up to 0.3, in candle's operations too.
const CLEAR_BUT_OTHER: usize = 500;

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

pub(crate) fn prompts(processor: &Processor, n: usize) -> Vec<Prompt> {
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
    errors: Vec<f32>,
    /// Of candle's operations in bf16 on the CPU.
    plain_errors: Vec<f32>,
}

/// The mean and the largest one.
fn summary(errors: &[f32]) -> [f32; 2] {
    [errors.iter().sum::<f32>() / errors.len() as f32, errors.iter().copied().fold(0.0, f32::max)]
}

struct OnCpu {
    model: Model,
    in_bf16: Model,
    settings: GenerationSettings,
}

impl OnCpu {
    /// The token that the sampler draws from logits, each moved by the margin, up or down, in some way that `change` names;
    /// not at all in the way 0.
    fn drawn(
        &self,
        logits: &[f32],
        (seen, stream, n): (&[u32], Stream, usize),
        change: u32,
    ) -> u32 {
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
        let packed = Packed::new(&[group]).unwrap();
        let [logits, rounded] = [&self.model, &self.in_bf16].map(|model| {
            let logits = model.logits(&packed).unwrap().to_dtype(DType::F32).unwrap();
            logits.to_vec2::<f32>().unwrap()
        });
        for (n, (&token, logp)) in sampled.token_ids.iter().zip(&sampled.logps).enumerate() {
            let seen = &whole.input_ids[..prompt.input_ids.len() + n];
            let [logits, rounded] = [&logits, &rounded].map(|rows| &rows[seen.len() - 1]);
            let place = (seen, stream, n);
            let choice = self.drawn(logits, place, 0);
            let is_clear = (1..=CHANGES).all(|change| self.drawn(logits, place, change) == choice);
            to.n += 1;
            to.n_clear += usize::from(is_clear);
            if is_clear && choice != token {
                to.other.push(format!("token {n}: {token}, expected {choice}"));
            }
            let expected = self.logp(logits, token);
            to.errors.push((logp - expected).abs());
            to.plain_errors.push((self.logp(rounded, token) - expected).abs());
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
        let vocab_size = ModelConfig::load(&self.files).unwrap().text.vocab_size;
        let markers = self.processor.never_sampled(vocab_size);
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
        let [model, in_bf16] = [DType::F32, DType::BF16]
            .map(|dtype| open(&self.files, dtype, &Device::Cpu, Trained::Nothing).unwrap());
        let on_cpu = OnCpu { model, in_bf16, settings };
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
    let (mut all_clear, mut all_other) = (0, Vec::new());
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
        let Compared { n, n_clear, other, errors, plain_errors } = compared;
        assert!(n_clear as f64 >= CLEAR * n as f64, "{sampler:?}: {n_clear} of {n} are clear");
        let ([mean, largest], [plain_mean, plain_largest]) =
            (summary(&errors), summary(&plain_errors));
        let found = format!("{sampler:?}: {mean} {largest}, candle's {plain_mean} {plain_largest}");
        assert!(5.0 * mean < MARGIN && mean < plain_mean, "{found}");
        assert!(largest < 2.0 * plain_largest, "{found}");
        all_clear += n_clear;
        all_other.extend(other);
    }
    assert!(all_other.len() * CLEAR_BUT_OTHER <= all_clear, "of {all_clear}: {all_other:?}");
}
