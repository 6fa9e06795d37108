//! What became of a completion under a rule, and why.
//! Not here: the rules (`rule`), comparing answers (`answer`).

use std::fmt;

use super::answer::Comparison;

/// What became of a completion under a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the answer is right.
    pub is_correct: bool,
    /// The answer that was found, trimmed; none if the completion has none.
    pub answer: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// A verdict with what both sides were read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// How the answer was read; none if there is none.
    pub answer: Option<String>,
    /// How the solution was read; none if it cannot be.
    pub gold: Option<String>,
}

impl Verdict {
    pub(super) fn right(answer: Option<String>, reason: Reason) -> Self {
        Self { is_correct: true, answer, reason }
    }

    pub(super) fn wrong(answer: Option<String>, reason: Reason) -> Self {
        Self { is_correct: false, answer, reason }
    }

    /// Whether there was an answer to grade.
    pub fn is_graded(&self) -> bool {
        self.reason.is_graded()
    }
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The answer was compared with the gold.
    Compared(Comparison),
    /// Right: math-verify finds the two equal.
    MathVerifyEqual,
    /// Right: the contents of the first tags are one text.
    SameTagText,
    /// Wrong: math-verify finds the two different, and so is the text where that counts.
    MathVerifyDifferent,
    /// Wrong: the completion has no answer where the rule looks for one.
    NoAnswer,
    /// Wrong: there is nothing in the answer.
    EmptyAnswer,
    /// Wrong: the rule cannot read the solution.
    UnparsableGold,
}

impl Reason {
    /// Whether there was an answer to grade.
    pub fn is_graded(self) -> bool {
        !matches!(self, Self::NoAnswer | Self::EmptyAnswer | Self::UnparsableGold)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compared(comparison) => comparison.fmt(f),
            Self::MathVerifyEqual => f.write_str("equal to math-verify"),
            Self::SameTagText => f.write_str("same text in the first tags"),
            Self::MathVerifyDifferent => f.write_str("not equal to math-verify"),
            Self::NoAnswer => f.write_str("no answer where the rule looks for one"),
            Self::EmptyAnswer => f.write_str("nothing in the answer"),
            Self::UnparsableGold => f.write_str("the rule cannot read the solution"),
        }
    }
}
