//! What makes tokens: a prompt is computed once, its completions grow by a token a step.
//! Not here: which completion decodes when and where it ends (`schedule`); how a token is chosen (`sampler`).

use candle_core::Result;

use super::sampler::Sampled;
use crate::processor::Prompt;
use crate::rng::Stream;

/// Which completion: requests are counted as they came, a request's completions as its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CompletionId {
    pub(super) request: usize,
    pub(super) completion: usize,
}

/// A completion that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    /// What its tokens are named by, and where it decodes.
    pub(super) row: Row,
    /// Its random numbers.
    pub(super) stream: Stream,
}

/// A completion that is being decoded, and the slot it has until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: CompletionId,
    pub(super) slot: usize,
}

/// A token that has reached the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    pub(super) id: CompletionId,
    pub(super) sampled: Sampled,
}

/// Makes the tokens of many completions at once.
///
/// A token may reach the host later than the step that made it, by a fixed number of steps. Steps of no rows count, so
/// that stepping nothing brings in what is on its way.
pub(super) trait Decoder {
    /// Computes a prompt: completions that are admitted from now on continue it.
    ///
    /// # Errors
    /// The model's own.
    fn prefill(&mut self, prompt: &Prompt) -> Result<()>;

    /// Begins a completion of the latest prompt, and makes its first token. Whoever had its slot has ended.
    ///
    /// # Errors
    /// There is no prompt, or no token can be drawn.
    fn admit(&mut self, admission: Admission) -> Result<()>;

    /// Makes the next token of each of these completions. Those that were admitted earlier and are not among them have
    /// ended: nothing needs to be held for them.
    ///
    /// # Errors
    /// The model's own, or no token can be drawn.
    fn step(&mut self, rows: &[Row]) -> Result<()>;

    /// The tokens that have reached the host since the last call, each completion's in order. There may be tokens among
    /// them that were made after a completion's end, before the host knew of it.
    ///
    /// # Errors
    /// The device's own.
    fn harvest(&mut self) -> Result<Vec<Token>>;
}
