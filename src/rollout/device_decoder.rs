//! The decoder whose sampler is on the GPU: a token reaches the host some steps late, while the next ones are being made.
//! Not here: the launches of a step (`model::gpu_decoding`).
//!
//! A completion's tokens depend on its prompt, its random stream and the settings alone, as those of the host's decoder do:
//! prompts are computed one by one, and no kernel lets a row depend on another.

use std::collections::VecDeque;

use candle_core::{Error, Result, bail};
use othink_cuda::{Drawing, DrawnToken, PhiloxStream};

use super::decoder::{Admission, CompletionId, Decoder, Row, Token};
use super::engine::GenerationSettings;
use super::sampler::{SampleError, Sampled, Sampler, Suppressed};
use crate::model::Model;
use crate::model::gpu_decoding::{DecodingPrompt, DecodingSettings, GpuDecoding};
use crate::processor::Prompt;
use crate::rng::Stream;

/// Steps that are begun before the tokens of one are read: the device never waits for the host.
const LATE: usize = 2;
/// `0` launches the kernels of a step one by one, for debugging.
const GRAPHS: &str = "OTHINK_CUDA_GRAPHS";

/// Decodes by kernels.
pub(super) struct DeviceDecoder {
    decoding: GpuDecoding,
    vocab: usize,
    prompt: Option<DecodingPrompt>,
    /// The completion in each row.
    taken: Vec<Option<CompletionId>>,
    /// Completions whose first token has been drawn and not been sent.
    fresh: Vec<Row>,
    /// Sendings that are on their way, each with the rows that have a new token in it.
    sent: VecDeque<Vec<Row>>,
    /// Whether nothing is made any more, so that all that is on its way is waited for.
    drains: bool,
}

impl DeviceDecoder {
    /// A decoder of `settings.max_batch` rows; `None` where the host's decoder is needed: off the kernels' path, or for a model
    /// of another shape than they have.
    ///
    /// # Errors
    /// There is no memory for the rows.
    pub(super) fn new(model: &Model, settings: &GenerationSettings) -> Result<Option<Self>> {
        let GenerationSettings { sampler, suppressed, max_new_tokens, max_batch, .. } = settings;
        let drawing = drawing(sampler, suppressed, *max_new_tokens);
        let records = std::env::var(GRAPHS).as_deref() != Ok("0");
        let settings = DecodingSettings { rows: *max_batch, drawing, late: LATE, records };
        let Some(decoding) = model.gpu_decoding(settings)? else { return Ok(None) };
        Ok(Some(Self {
            decoding,
            vocab: model.vocab_size(),
            prompt: None,
            taken: vec![None; *max_batch],
            fresh: Vec::new(),
            sent: VecDeque::new(),
            drains: false,
        }))
    }

    fn send(&mut self, rows: Vec<Row>) -> Result<()> {
        self.decoding.send()?;
        self.sent.push_back(rows);
        Ok(())
    }

    fn token(&self, drawn: DrawnToken) -> Result<Sampled> {
        let problem = match drawn.problem {
            0 => return Ok(Sampled { id: drawn.id, logp: drawn.logp }),
            1 => SampleError::NotFinite { id: drawn.id as usize },
            _ => SampleError::NothingLeft { n_tokens: self.vocab },
        };
        Err(Error::wrap(problem))
    }
}

fn drawing(sampler: &Sampler, suppressed: &Suppressed, max_new_tokens: usize) -> Drawing {
    Drawing {
        temperature: (!sampler.is_greedy()).then_some(sampler.temperature as f32),
        top_k: sampler.top_k,
        top_p: sampler.top_p,
        min_p: sampler.min_p as f32,
        repetition_penalty: sampler.repetition_penalty as f32,
        suppressed: suppressed.always().to_vec(),
        stops: suppressed.with_stops().to_vec(),
        min_new_tokens: suppressed.min_new_tokens(),
        max_new_tokens,
    }
}

/// A random stream as the device reads it.
fn philox(stream: Stream) -> PhiloxStream {
    PhiloxStream { key: stream.key(), counter: stream.counter() }
}

impl Decoder for DeviceDecoder {
    fn prefill(&mut self, prompt: &Prompt) -> Result<()> {
        self.prompt = Some(self.decoding.prefill(prompt)?);
        Ok(())
    }

    fn admit(&mut self, Admission { row, stream }: Admission) -> Result<()> {
        let Some(prompt) = &self.prompt else {
            bail!("a completion was admitted before any prompt was computed")
        };
        self.decoding.admit(row.slot, prompt, philox(stream))?;
        self.taken[row.slot] = Some(row.id);
        self.fresh.push(row);
        self.drains = false;
        Ok(())
    }

    fn step(&mut self, rows: &[Row]) -> Result<()> {
        if !self.fresh.is_empty() {
            let fresh = std::mem::take(&mut self.fresh);
            self.send(fresh)?;
        }
        for slot in 0..self.taken.len() {
            let Some(id) = self.taken[slot] else { continue };
            if !rows.iter().any(|row| row.slot == slot && row.id == id) {
                self.decoding.leave(slot)?;
                self.taken[slot] = None;
            }
        }
        if let Some(row) = rows.iter().find(|row| self.taken[row.slot] != Some(row.id)) {
            bail!("a step of a completion that was not admitted to slot {}", row.slot);
        }
        self.drains = rows.is_empty();
        if rows.is_empty() {
            return Ok(());
        }
        self.decoding.step()?;
        self.send(rows.to_vec())
    }

    fn harvest(&mut self) -> Result<Vec<Token>> {
        let mut tokens = Vec::new();
        let late = if self.drains { 0 } else { LATE };
        while self.sent.len() > late {
            let Some(rows) = self.sent.pop_front() else { break };
            let drawn = self.decoding.receive()?;
            for Row { id, slot } in rows {
                tokens.push(Token { id, sampled: self.token(drawn[slot])? });
            }
        }
        Ok(tokens)
    }
}

/// Needs a device, real or emulated: `OTHINK_TEST_DEVICE`, without which nothing is tested.
#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use othink_cuda::{Array, DeviceSampler, RowStates, TokenRing};

    use super::super::sampler::{Sampler, Suppressed};
    use super::*;
    use crate::rng::{Purpose, Stream};

    const MAX_NEW_TOKENS: usize = 12;

    /// A number of 12 bits without a pattern.
    fn mixed(i: usize) -> f32 {
        f32::from(u16::try_from((i as u32).wrapping_mul(2_654_435_761) >> 20).unwrap())
    }

    /// Rows of logits without a pattern, some of which are equal.
    fn logits(rows: usize, vocab: usize) -> Vec<f32> {
        (0..rows * vocab).map(|i| mixed(i) / 300.0 - 5.0).collect()
    }

    /// Of two levels in the first row, zeros of both signs in the next, all equal, one with nearly all the probability, and
    /// far apart.
    fn odd_logits(vocab: usize) -> Vec<f32> {
        let likely = vocab / 2;
        let number = |row: usize, i: usize| match row {
            0 => f32::from(mixed(i) > 3000.0),
            1 => [0.0, -0.0, -2.0][i % 3],
            2 => -1.5,
            3 if i == likely => 30.0,
            3 => mixed(i) / 1000.0,
            _ => mixed(i) / 20.0 - 100.0,
        };
        (0..5 * vocab).map(|i| number(i / vocab, i % vocab)).collect()
    }

    /// Draws a whole completion in each row, from the same logits again and again, and compares each token with the host's.
    fn assert_the_hosts_tokens(sampler: &Sampler, given: &[f32], vocab: usize, prompt: &[u32]) {
        let rows = given.len() / vocab;
        let device = crate::model::device::device("cuda").unwrap();
        let Device::Cuda(cuda) = &device else { panic!("no GPU") };
        let suppressed = Suppressed::new(&[3, 17, 1_000_000], &[5, vocab as u32 - 1], 4);
        let drawing = drawing(sampler, &suppressed, MAX_NEW_TOKENS);
        let on_device = DeviceSampler::new(cuda, rows, vocab, &drawing).unwrap();
        let mut states = RowStates::new(cuda, rows, [1, 1, 16]).unwrap();
        let mut ring = TokenRing::new(cuda, rows, 1).unwrap();
        let keys = Tensor::zeros((1, 2, 1, 1, 16), DType::BF16, &device).unwrap();
        let stream = |row: usize| Stream::new(9, Purpose::Rollout, 1, 2, row as u32);
        let tensor = Tensor::from_slice(given, (rows, vocab), &device).unwrap();
        let array = Array::of(&tensor).unwrap();
        let noted = on_device.seen(prompt).unwrap();
        for row in 0..rows {
            states.take(row, &keys, philox(stream(row))).unwrap();
            if let Some(noted) = &noted {
                on_device.note(row, noted).unwrap();
            }
            on_device.draw_first(array, &states, row).unwrap();
        }
        let mut seen = vec![prompt.to_vec(); rows];
        for n in 0..MAX_NEW_TOKENS {
            if n > 0 {
                on_device.draw(array, &states).unwrap();
            }
            ring.send(&on_device).unwrap();
            for (row, drawn) in ring.receive().unwrap().into_iter().enumerate() {
                let mut own = given[row * vocab..(row + 1) * vocab].to_vec();
                let uniform = stream(row).uniform(n as u32);
                let suppressed = suppressed.after(n);
                let expected = sampler.sample(&mut own, &seen[row], suppressed, uniform).unwrap();
                let case = format!("{sampler:?}, {vocab}, row {row}, token {n}");
                assert_eq!((drawn.problem, drawn.id), (0, expected.id), "{case}");
                let difference = (drawn.logp - expected.logp).abs();
                assert!(difference <= 1e-6 * expected.logp.abs(), "{case}");
                seen[row].push(drawn.id);
            }
        }
    }

    fn is_tested() -> bool {
        std::env::var("OTHINK_TEST_DEVICE").is_ok()
    }

    #[test]
    fn the_device_draws_what_the_hosts_sampler_draws_from_the_same_logits() {
        if !is_tested() {
            return;
        }
        for (vocab, temperature) in
            [(40, 1.0), (1024, 0.7), (3000, 0.0), (3000, 1.3), (20_011, 1.0)]
        {
            let sampler = Sampler { temperature, ..Sampler::default() };
            assert_the_hosts_tokens(&sampler, &logits(5, vocab), vocab, &[]);
        }
    }

    /// Each filter alone, then all of them.
    fn filtered() -> Vec<Sampler> {
        let plain = Sampler { temperature: 0.8, ..Sampler::default() };
        let mut all = Vec::new();
        all.extend([1, 7, 50, 1025, 1_000_000].map(|top_k| Sampler { top_k, ..plain.clone() }));
        let most = [0.0, 1e-9, 0.3, 0.9, 0.9999, 1.0 - 1e-14];
        all.extend(most.map(|top_p| Sampler { top_p, ..plain.clone() }));
        all.extend([0.02, 0.5, 1.0].map(|min_p| Sampler { min_p, ..plain.clone() }));
        let every = |top_k| Sampler { top_k, top_p: 0.7, min_p: 0.3, ..plain.clone() };
        all.extend([every(20), every(400)]);
        let penalized = |sampler: Sampler| Sampler { repetition_penalty: 1.4, ..sampler };
        all.extend([penalized(every(20)), penalized(every(3000))]);
        all
    }

    #[test]
    fn the_device_filters_as_the_hosts_sampler_does() {
        if !is_tested() {
            return;
        }
        // With 9001 tokens one bin of a search holds more than are listed.
        for vocab in [40, 3000, 9001] {
            for sampler in filtered() {
                assert_the_hosts_tokens(&sampler, &logits(1, vocab), vocab, &[1, 2, 2]);
                assert_the_hosts_tokens(&sampler, &odd_logits(vocab), vocab, &[30, 7]);
            }
        }
    }

    #[test]
    fn the_device_filters_the_vocabulary_of_a_real_model() {
        if !is_tested() {
            return;
        }
        let vocab = 151_936;
        let sampler = Sampler { top_k: 5000, top_p: 0.8, min_p: 0.01, ..Sampler::default() };
        assert_the_hosts_tokens(&sampler, &logits(2, vocab), vocab, &[]);
    }

    /// Few tokens of equal logits, so that what is seen decides most draws.
    #[test]
    fn the_device_penalizes_tokens_of_prompt_and_completion() {
        if !is_tested() {
            return;
        }
        let prompt = [0, 9, 9, 31, 32, 9, 39, 1_000_000];
        for (temperature, repetition_penalty) in [(1.0, 2.5), (0.0, 1.3), (0.6, 0.5)] {
            let sampler = Sampler { temperature, repetition_penalty, ..Sampler::default() };
            let given: Vec<f32> = (0..4 * 40).map(|i| mixed(i) / 2000.0 - 1.0).collect();
            assert_the_hosts_tokens(&sampler, &given, 40, &prompt);
            assert_the_hosts_tokens(&sampler, &given, 40, &[]);
            assert_the_hosts_tokens(&sampler, &logits(2, 3000), 3000, &prompt);
        }
    }

    #[test]
    fn a_row_from_which_nothing_can_be_drawn_is_told_of() {
        if !is_tested() {
            return;
        }
        let device = crate::model::device::device("cuda").unwrap();
        let Device::Cuda(cuda) = &device else { panic!("no GPU") };
        let mut given = logits(3, 50);
        given[50 + 31] = f32::NAN;
        given[50 + 40] = f32::INFINITY;
        let all: Vec<u32> = (0..50).collect();
        for (row, suppressed, expected) in
            [(0, &[][..], (0, None)), (1, &[], (1, Some(31))), (2, &all, (2, None))]
        {
            let suppressed = Suppressed::new(suppressed, &[], 0);
            let drawing = drawing(&Sampler::default(), &suppressed, 3);
            let on_device = DeviceSampler::new(cuda, 3, 50, &drawing).unwrap();
            let mut states = RowStates::new(cuda, 3, [1, 1, 16]).unwrap();
            let prompt = Tensor::zeros((1, 2, 1, 1, 16), DType::BF16, &device).unwrap();
            let stream = Stream::new(9, Purpose::Rollout, 1, 2, 0);
            states.take(row, &prompt, philox(stream)).unwrap();
            let tensor = Tensor::from_slice(&given, (3, 50), &device).unwrap();
            on_device.draw_first(Array::of(&tensor).unwrap(), &states, row).unwrap();
            let mut ring = TokenRing::new(cuda, 3, 1).unwrap();
            ring.send(&on_device).unwrap();
            let drawn = ring.receive().unwrap()[row];
            let (problem, id) = expected;
            assert_eq!(drawn.problem, problem);
            assert!(id.is_none_or(|id| drawn.id == id), "{drawn:?}");
        }
    }
}
