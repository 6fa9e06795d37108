//! What makes tokens: a prompt is computed once, its completions grow by a token a step.
//! Not here: which completion decodes when and where it ends (`schedule`); how a token is chosen (`sampler`).

use candle_core::Result;

use super::sampler::Sampled;
use crate::processor::Prompt;
use crate::rng::Stream;

/// Which completion: the request's index in the order of arrival, and the completion's index among its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CompletionId {
    pub(super) request: usize,
    pub(super) completion: usize,
}

/// A completion that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    /// The completion and its slot.
    pub(super) row: Row,
    /// Its random stream.
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
/// A token may reach the host a fixed number of steps after the step that made it. Steps without rows count, so that
/// such steps bring in the tokens still on their way.
pub(super) trait Decoder {
    /// Computes a prompt: completions that are admitted from now on continue it.
    ///
    /// # Errors
    /// The model's own.
    fn prefill(&mut self, prompt: &Prompt) -> Result<()>;

    /// Begins a completion of the latest prompt, and makes its first token. The slot's previous completion has ended.
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

    /// The tokens that have reached the host since the last call, each completion's in order. Some may have been made
    /// after a completion's end, before its stop token reached the host.
    ///
    /// # Errors
    /// The device's own.
    fn harvest(&mut self) -> Result<Vec<Token>>;
}
