//! Eq. (1): rewards that rules can check, `r = accuracy + alpha * format`, and further components.
//!
//! In reading order: [`grading`], a crate of its own, says whether an answer is right and whether a completion has the
//! asked-for form. [`mod@component`] is what a reward is made of, [`mod@gold`] what components read a solution as. Each
//! component has the file of its name, where it is declared once: [`mod@accuracy`], [`mod@format`], [`mod@choice`],
//! [`mod@relative_error`], [`mod@set_match`], [`mod@box_iou`], [`mod@length_penalty`], [`mod@repetition_penalty`].
//! [`registry`] lists them, [`total`] sums them under [`settings`]; [`external`] is a reward of the user's own; [`scorer`]
//! puts both together for the trainer; [`solutions`] checks a data set before anything is computed.
//!
//! A new component is a file with its declaration, a line in [`registry::COMPONENTS`] and a paragraph in
//! `docs/rewards.md`; run files, records and `eval` then have it too.
//! Not here: prompts and data (`data`); what a reward is worth within its group (`grpo::advantage`).
//!
//! A completion that cannot be graded earns 0; that is never an error. Only a command of the user's can fail.

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
pub mod total;

#[doc(inline)]
pub use othink_grading as grading;

pub use grading::{Explanation, GoldAnswer, Reason, Rule, UnparsableGold, Verdict, grade};

pub use component::{Component, ScoredText};
pub use external::{ExternalCommand, ExternalError};
pub use gold::{Gold, GoldKind, Golds, UnusableGold};
pub use registry::{COMPONENTS, UnknownComponent, component};
pub use scorer::{ScoredGroup, Scorer};
pub use settings::RewardSettings;
pub use solutions::{UnusableSolution, check_solutions};
pub use total::{Reward, reward_of, score_group};

/// The name of a custom reward among the components.
pub const EXTERNAL: &str = "command";
