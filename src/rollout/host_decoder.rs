//! The decoder whose sampler and bookkeeping are on the host: every token is available as soon as it is made.
//! Not here: the model's arithmetic and its cache (`model::decoding`).
//!
//! A completion's tokens depend on its prompt, its random stream and the settings alone, never on what else is being
//! decoded: prompts are computed one by one, and the CPU's kernels treat every row of a decoding step by itself. On a GPU in
//! bf16, whose own decoder takes all but unusual shapes, rows go through a step one after the other. (On the plain path this
//! holds up to the rounding of a matrix product with another number of rows.)

use std::sync::Once;

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::decoder::{Admission, CompletionId, Decoder, Row, Token};
use super::engine::GenerationSettings;
use super::sampler::{Sampled, Sampler, Suppressed};
use crate::model::Model;
use crate::model::decoding::{DecodeRow, Prefilled, SuffixCache};
use crate::processor::Prompt;
use crate::rng::Stream;

/// Decodes with the model's own operations, a row of logits at a time.
pub(super) struct HostDecoder<'a> {
    model: &'a Model,
    draw: Draw<'a>,
    max_new_tokens: usize,
    /// Rows that go through a step together.
    rows_at_once: usize,
    cache: SuffixCache,
    prompt: Option<ComputedPrompt>,
    /// In the order of their admission.
    rows: Vec<HostRow>,
    /// Tokens that have not been harvested.
    tokens: Vec<Token>,
}

struct ComputedPrompt {
    prefilled: Prefilled,
    /// Logits of the first token.
    logits: Vec<f32>,
    /// Its tokens, where the sampler looks back at them.
    seen: Vec<u32>,
}

/// How every token is drawn.
#[derive(Clone, Copy)]
struct Draw<'a> {
    sampler: &'a Sampler,
    suppressed: &'a Suppressed,
}

/// A completion that is being decoded.
struct HostRow {
    id: CompletionId,
    stream: Stream,
    n_tokens: usize,
    /// The tokens of prompt and completion, where the sampler looks back at them.
    seen: Vec<u32>,
    row: DecodeRow,
}

impl<'a> HostDecoder<'a> {
    /// A decoder of `settings.max_batch` slots, each with room for the longest completion.
    ///
    /// # Errors
    /// There is no memory for the slots.
    pub(super) fn new(model: &'a Model, settings: &'a GenerationSettings) -> Result<Self> {
        let GenerationSettings { sampler, suppressed, max_new_tokens, max_batch, .. } = settings;
        Ok(Self {
            model,
            draw: Draw { sampler, suppressed },
            max_new_tokens: *max_new_tokens,
            rows_at_once: rows_at_once(model, *max_batch),
            cache: model.suffix_cache(max_batch * max_new_tokens)?,
            prompt: None,
            rows: Vec::new(),
            tokens: Vec::new(),
        })
    }
}

impl Decoder for HostDecoder<'_> {
    fn prefill(&mut self, prompt: &Prompt) -> Result<()> {
        let prefilled = self.model.prefill(prompt)?;
        let logits = prefilled.logits.to_vec1::<f32>()?;
        let looks_back = self.draw.sampler.looks_back();
        let seen = if looks_back { prompt.input_ids.clone() } else { Vec::new() };
        self.prompt = Some(ComputedPrompt { prefilled, logits, seen });
        Ok(())
    }

    fn admit(&mut self, Admission { row: Row { id, slot }, stream }: Admission) -> Result<()> {
        let Some(prompt) = &self.prompt else {
            bail!("a completion was admitted before any prompt was computed")
        };
        let row = DecodeRow {
            token: 0, // drawn below
            position: prompt.prefilled.next_position,
            prompt: prompt.prefilled.cache.clone(),
            start: slot * self.max_new_tokens,
            len: 0,
        };
        let mut row = HostRow { id, stream, n_tokens: 0, seen: prompt.seen.clone(), row };
        let sampled = self.draw.next_token(&mut prompt.logits.clone(), &row)?;
        row.push(sampled, self.draw);
        self.tokens.push(Token { id, sampled });
        self.rows.push(row);
        Ok(())
    }

    fn step(&mut self, rows: &[Row]) -> Result<()> {
        self.rows.retain(|held| rows.iter().any(|row| row.id == held.id));
        if self.rows.len() != rows.len() {
            bail!(
                "a step of {} completions, but only {} of them were admitted",
                rows.len(),
                self.rows.len()
            );
        }
        if rows.is_empty() {
            return Ok(());
        }
        for rows in self.rows.chunks_mut(self.rows_at_once) {
            let sampled = next_tokens(self.model, &self.cache, rows, self.draw)?;
            for (row, sampled) in rows.iter_mut().zip(sampled) {
                row.row.len += 1;
                row.row.position += 1;
                row.push(sampled, self.draw);
                self.tokens.push(Token { id: row.id, sampled });
            }
        }
        Ok(())
    }

    fn harvest(&mut self) -> Result<Vec<Token>> {
        Ok(std::mem::take(&mut self.tokens))
    }
}

/// How many rows go through a step together: all, unless the path promises to keep them apart and its products do not.
fn rows_at_once(model: &Model, n_slots: usize) -> usize {
    if model.must_decode_rows_alone() {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(
                "no decoding kernels for this model's shape: completions decode one by one"
            );
        });
        return 1;
    }
    n_slots
}

/// The next token of every row.
fn next_tokens(
    model: &Model,
    cache: &SuffixCache,
    rows: &[HostRow],
    draw: Draw,
) -> Result<Vec<Sampled>> {
    let decode_rows: Vec<DecodeRow> = rows.iter().map(|row| row.row.clone()).collect();
    let logits = model.decode(cache, &decode_rows)?; // [rows, vocab]
    let vocab = logits.dim(1)?;
    let mut logits = logits.flatten_all()?.to_vec1::<f32>()?;
    let logits = logits.par_chunks_mut(vocab);
    rows.par_iter().zip(logits).map(|(row, logits)| draw.next_token(logits, row)).collect()
}

impl Draw<'_> {
    /// Chooses the next token of a row from its logits, which are not to be used afterwards.
    fn next_token(self, logits: &mut [f32], row: &HostRow) -> Result<Sampled> {
        let suppressed = self.suppressed.after(row.n_tokens);
        let uniform = row.stream.uniform(row.n_tokens as u32);
        let sampled = self.sampler.sample(logits, &row.seen, suppressed, uniform);
        sampled.map_err(candle_core::Error::wrap)
    }
}

impl HostRow {
    fn push(&mut self, sampled: Sampled, draw: Draw) {
        self.row.token = sampled.id;
        self.n_tokens += 1;
        // Only the repetition penalty looks back.
        if draw.sampler.looks_back() {
            self.seen.push(sampled.id);
        }
    }
}
