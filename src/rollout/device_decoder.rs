//! The decoder whose sampler is on the GPU: a token reaches the host some steps late, while the next ones are being made.
//! Not here: the launches of a step (`model::gpu_decoding`).
//!
//! A completion's tokens depend on its prompt, its random stream and the settings alone, as those of the host's decoder do:
//! prompts are computed one by one, and no kernel lets a row depend on another.

use std::collections::VecDeque;
use std::sync::Once;

use candle_core::{DType, Error, Result, bail};
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
pub(super) struct DeviceDecoder<'a> {
    decoding: GpuDecoding<'a>,
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

impl<'a> DeviceDecoder<'a> {
    /// A decoder of `settings.max_batch` rows; `None` where the host's decoder is needed: off the kernels' path, or with a
    /// filter or a repetition penalty.
    ///
    /// # Errors
    /// There is no memory for the rows.
    pub(super) fn new(model: &'a Model, settings: &GenerationSettings) -> Result<Option<Self>> {
        let GenerationSettings { sampler, suppressed, max_new_tokens, max_batch, .. } = settings;
        if sampler.is_filtering() || sampler.looks_back() {
            tell_of_the_host(model);
            return Ok(None);
        }
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

/// Says once that a GPU's kernels are left out.
fn tell_of_the_host(model: &Model) {
    static TOLD: Once = Once::new();
    if model.device().is_cuda() && model.dtype() == DType::BF16 {
        TOLD.call_once(|| {
            tracing::warn!(
"top_k, top_p, min_p and repetition_penalty draw on the host: decoding goes without its own kernels"
            );
        });
    }
}

fn drawing(sampler: &Sampler, suppressed: &Suppressed, max_new_tokens: usize) -> Drawing {
    Drawing {
        temperature: (!sampler.is_greedy()).then_some(sampler.temperature as f32),
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

impl Decoder for DeviceDecoder<'_> {
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
    use candle_core::{Device, Tensor};
    use othink_cuda::{Array, DeviceSampler, RowStates, TokenRing};

    use super::super::sampler::{Sampler, Suppressed};
    use super::*;
    use crate::rng::{Purpose, Stream};

    /// Rows of logits without a pattern, some of which are equal.
    fn logits(rows: usize, vocab: usize) -> Vec<f32> {
        let number = |i: usize| {
            let mixed = (i as u32).wrapping_mul(2_654_435_761) >> 12;
            f32::from(u16::try_from(mixed % 4096).unwrap()) / 300.0 - 5.0
        };
        (0..rows * vocab).map(number).collect()
    }

    #[test]
    fn the_device_draws_what_the_hosts_sampler_draws_from_the_same_logits() {
        if std::env::var("OTHINK_TEST_DEVICE").is_err() {
            return;
        }
        let device = crate::model::device::device("cuda").unwrap();
        let Device::Cuda(cuda) = &device else { panic!("no GPU") };
        let (rows, max_new_tokens) = (5, 12);
        for (vocab, temperature) in
            [(40, 1.0), (1024, 0.7), (3000, 0.0), (3000, 1.3), (20_011, 1.0)]
        {
            let sampler = Sampler { temperature, ..Sampler::default() };
            let suppressed = Suppressed::new(&[3, 17, 1_000_000], &[5, vocab as u32 - 1], 4);
            let drawing = drawing(&sampler, &suppressed, max_new_tokens);
            let on_device = DeviceSampler::new(cuda, rows, vocab, drawing).unwrap();
            let mut states = RowStates::new(cuda, rows, [1, 1, 16]).unwrap();
            let mut ring = TokenRing::new(cuda, rows, 1).unwrap();
            let prompt = Tensor::zeros((1, 2, 1, 1, 16), DType::BF16, &device).unwrap();
            let stream = |row: usize| Stream::new(9, Purpose::Rollout, 1, 2, row as u32);
            let given = logits(rows, vocab);
            let tensor = Tensor::from_slice(&given, (rows, vocab), &device).unwrap();
            let array = Array::of(&tensor).unwrap();
            for row in 0..rows {
                states.take(row, &prompt, philox(stream(row))).unwrap();
                on_device.draw_first(array, &states, row).unwrap();
            }
            for n in 0..max_new_tokens {
                if n > 0 {
                    on_device.draw(array, &states).unwrap();
                }
                ring.send(&on_device).unwrap();
                for (row, drawn) in ring.receive().unwrap().into_iter().enumerate() {
                    let mut own = given[row * vocab..(row + 1) * vocab].to_vec();
                    let uniform = stream(row).uniform(n as u32);
                    let expected =
                        sampler.sample(&mut own, &[], suppressed.after(n), uniform).unwrap();
                    assert_eq!(drawn.problem, 0);
                    assert_eq!(
                        drawn.id, expected.id,
                        "{vocab}, {temperature}, row {row}, token {n}"
                    );
                    assert!((drawn.logp - expected.logp).abs() <= 1e-6 * expected.logp.abs());
                }
            }
        }
    }

    #[test]
    fn a_row_from_which_nothing_can_be_drawn_is_told_of() {
        if std::env::var("OTHINK_TEST_DEVICE").is_err() {
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
            let on_device = DeviceSampler::new(cuda, 3, 50, drawing).unwrap();
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
