//! What a component of a reward is: its declaration holds everything the program knows of it.
//! Not here: the declarations (a file each, of the component's name), their list (`registry`), weights (`settings`).

use std::fmt;

use super::gold::{Gold, GoldKind};
use super::grading::Verdict;
use super::settings::RewardSettings;

/// A component of a reward.
pub struct Component {
    /// Its name in run files, records and documents.
    pub name: &'static str,
    /// What it reads the solution as; none for a component that reads the completion alone.
    pub gold: Option<GoldKind>,
    /// Its value, unweighted. Without the gold that it needs it is 0.
    pub score: fn(&Scoring) -> f64,
    /// How it is computed, as in `docs/rewards.md`.
    pub formula: &'static str,
    /// The values it takes, as in `docs/rewards.md`.
    pub range: &'static str,
    /// Its source, as in `docs/rewards.md`.
    pub source: &'static str,
}

/// A completion, and what a component scores it against.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    /// The completion.
    pub completion: ScoredText<'a>,
    /// The verdict of the accuracy's rule on it.
    pub verdict: &'a Verdict,
    /// The solution as the component reads it; none where it cannot be read so.
    pub gold: Option<&'a Gold>,
    /// Tolerances and limits.
    pub settings: &'a RewardSettings,
}

/// A completion as it is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoredText<'a> {
    /// The generated text, without stop tokens.
    pub text: &'a str,
    /// Its tokens, the stop token included.
    pub n_tokens: usize,
}

/// Components are compared by name: no two share one.
impl PartialEq for Component {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Component {}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
