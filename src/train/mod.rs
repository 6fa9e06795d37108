//! The trainer: updates of a run, from the prompts to the step.
//!
//! Reading order: a run from its first write to its end ([`run`], `opened`, `resumed`, `longer`, `evaluation`), the looks at its rows
//! before it (`pictures`, [`data_check`]), what it says of itself (`banner`, `closing`, `card`), what it keeps of itself (`saving`), what it needs
//! ([`setup`], [`settings`]), its plan
//! ([`plan`]), what training changes (`policy`, over [`ranks`]), the updates ([`update`]) with their stages in order:
//! [`draw`] over a [`prompt_sampler`], [`sample`], [`mod@reward`], `anchor` with the [`mod@reference`], [`accumulate`] over
//! [`micro_batch`]es, [`step`], `record`; the same for supervised training ([`supervised_update`], [`supervised`]);
//! warnings ([`health`]); a failed update (`failed`), and any computed again ([`replay`], [`replayed`]); a GPU's memory that is not enough ([`out_of_memory`]) in one of the [`stage`]s.
//! Not here: the folder and what is written into it (`run_folder`), the equations (`grpo`), the optimiser's arithmetic
//! (`optim`), model files (`model`).

pub mod error;

pub mod stage;

pub mod out_of_memory;

pub mod run;

mod opened;

mod resumed;

mod longer;

mod banner;

mod closing;

mod card;

mod saving;

mod evaluation;

pub mod data_check;

mod pictures;

mod failed;

pub mod replay;

pub mod replayed;

pub mod setup;

pub mod settings;

pub mod plan;

mod policy;

pub mod ranks;

pub mod update;

pub mod prompt_sampler;

pub mod draw;

pub mod sample;

pub mod reward;

pub mod reference;

#[cfg(feature = "cuda")]
pub mod uploaded_reference;

mod anchor;

pub mod accumulate;

pub mod micro_batch;

pub mod step;

mod record;

pub mod supervised_update;

pub mod supervised;

pub mod health;

#[cfg(test)]
mod test_run_file;

/// Called with the stage of an update that begins and 0, and in a rollout with the number of tokens each step made.
type OnStage<'a> = dyn FnMut(stage::Stage, usize) + 'a;
