//! Eq. (1): rewards that rules can check, `r = accuracy + alpha * format`, and further components beside them.
//!
//! In reading order: [`grading`], a crate of its own, says whether an answer is right and whether a completion has the
//! asked-for form. [`component`] is what a reward is made of, [`mod@gold`] what that reads a solution as. Each
//! component has the file of its name, where it is declared once: [`mod@accuracy`], [`mod@format`], [`mod@choice`],
//! [`mod@relative_error`], [`mod@set_match`], [`mod@box_iou`], [`mod@length_penalty`], [`mod@repetition_penalty`].
//! [`registry`] lists and sums them under [`settings`]; [`external`] is a reward of the user's own; [`scorer`] puts both
//! together for the trainer; [`solutions`] looks at a data set before anything is computed.
//!
//! A new component is a file with its declaration, a line in [`registry::COMPONENTS`] and a paragraph in
//! `docs/rewards.md`: run files, records and `eval` know it from there.
//! Not here: prompts and data (`data`); what a reward is worth within its group (`grpo::advantage`).
//!
//! A completion that cannot be graded earns 0; that is never an error. What may fail is a command of the user's.

pub mod accuracy;
pub mod box_iou;
pub mod choice;
pub mod component;
pub mod external;
pub mod format;
pub mod gold;
pub mod length_penalty;
pub mod registry;
pub mod relative_error;
pub mod repetition_penalty;
pub mod scorer;
pub mod set_match;
pub mod settings;
pub mod solutions;

#[doc(inline)]
pub use othink_grading as grading;

pub use grading::{Explanation, GoldAnswer, Reason, Rule, UnparsableGold, Verdict, grade};

pub use component::{Component, ScoredText};
pub use external::{ExternalCommand, ExternalError};
pub use gold::{Gold, GoldKind, Golds, UnusableGold};
pub use registry::{COMPONENTS, UnknownComponent, component, reward_of, score_group};
pub use scorer::{Group, Scorer};
pub use settings::RewardSettings;
pub use solutions::{UnusableSolution, check_solutions};

/// The name of a custom reward among the components.
pub const EXTERNAL: &str = "command";

/// The reward of one completion, by component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    /// `R_acc`: 1 if the answer is right, else 0.
    pub accuracy: f64,
    /// `R_format`: 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// The further components by name, unweighted, in the order of the run file; a custom reward last, as [`EXTERNAL`].
    pub components: Vec<(&'static str, f64)>,
    /// The weighted sum of them all, what training maximises; `accuracy + alpha * format` in the paper.
    pub total: f64,
    /// The answer that was found in the completion, for people to read.
    pub answer: Option<String>,
    /// Why `accuracy` is what it is.
    pub reason: Reason,
}
