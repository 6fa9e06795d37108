//! A run whose GPU ran out of memory: the stage, what was held by part, and settings that would fit.
//! Not here: which settings those are (`plan::relief`), the error itself (`model::gpu`).

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::error::TrainError;
use super::plan::memory::Memory;
use super::plan::relief::Relief;
use super::plan::{Needs, available_to_run};
use super::stage::Stage;
use crate::config::RunConfig;
use crate::model::gpu::{Occupied, occupied_where_out_of_memory, size};
use crate::ops;
use crate::run_folder::identity::may_change;

/// What there is to say of a run whose GPU ran out of memory.
#[derive(Debug, Clone)]
pub struct OutOfMemory {
    stage: Stage,
    /// Finished updates.
    update: u64,
    occupied: Occupied,
    /// What the run holds in every stage, as planned.
    planned: Memory,
    relief: Relief,
    remains: Remains,
    /// Where the run computes, which decides the settings that it may be resumed with.
    runs_on: ops::Path,
}

/// What is there to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing was written.
    Nothing,
    /// A run's folder without a checkpoint.
    Folder(PathBuf),
    /// A checkpoint.
    Checkpoint(PathBuf),
}

impl Remains {
    /// - `folder`: the run's, if there is one
    pub(super) fn of(folder: Option<&Path>, checkpoint: Option<&Path>) -> Self {
        match (folder, checkpoint) {
            (_, Some(checkpoint)) => Self::Checkpoint(checkpoint.to_owned()),
            (Some(folder), None) => Self::Folder(folder.to_owned()),
            (None, None) => Self::Nothing,
        }
    }
}

/// What an error of a run on a GPU is explained with.
pub(super) struct Circumstances<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) needs: &'a Needs,
    pub(super) device: &'a Device,
    pub(super) runs_on: ops::Path,
}

impl Circumstances<'_> {
    /// The error, explained if it is that the GPU had no room.
    ///
    /// - `update`: finished updates
    pub(super) fn explain(
        &self,
        error: TrainError,
        (stage, update): (Stage, u64),
        remains: Remains,
    ) -> TrainError {
        let Some(occupied) = occupied_where_out_of_memory(&error, self.device) else {
            return error;
        };
        let Self { config, needs, runs_on, .. } = *self;
        let available = available_to_run(&occupied);
        let is_new = remains == Remains::Nothing;
        let may_change = |key: &str| is_new || may_change(key, runs_on);
        let relief = Relief::of(config, needs, (stage, available), &may_change);
        let planned = needs.memory(config);
        let told = OutOfMemory { stage, update, occupied, planned, relief, remains, runs_on };
        TrainError::OutOfMemory { told: Box::new(told), source: Box::new(error) }
    }
}

impl OutOfMemory {
    /// What the run holds in every stage, and the rest of its peak; before everything is there, what it will hold.
    fn parts(&self) -> String {
        let Memory { weights, gradients, optimizer, .. } = self.planned;
        let known = [
            ("weights", weights),
            ("gradients", gradients),
            ("moments and master weights", optimizer),
        ];
        let all: u64 = known.iter().map(|(_, bytes)| bytes).sum();
        let held = known.into_iter().filter(|(_, bytes)| *bytes > 0);
        let mut parts: Vec<String> =
            held.map(|(name, bytes)| format!("{name} {}", size(bytes))).collect();
        if self.stage == Stage::Loading {
            return format!("to be loaded are {}", parts.join(", "));
        }
        let rest = self.occupied.peak_bytes.saturating_sub(all);
        parts.push(format!("activations, caches and the rest {}", size(rest)));
        let unused = self.occupied.unused_bytes();
        if unused > 0 {
            parts.push(format!("freed memory that fits no request {}", size(unused)));
        }
        format!("held at its peak: {}", parts.join(", "))
    }

    /// How to go on.
    fn way_on(&self) -> String {
        match &self.remains {
            Remains::Nothing => "nothing was written; start again".to_owned(),
            Remains::Folder(folder) => {
                format!(
                    "there is no checkpoint yet; --resume begins the run in {} again",
                    folder.display()
                )
            }
            Remains::Checkpoint(checkpoint) => {
                format!(
                    "the last checkpoint stands, {}; --resume continues from it",
                    checkpoint.display()
                )
            }
        }
    }

    /// Whether the run may be continued with these settings.
    fn may_continue(&self, settings: &[String]) -> bool {
        let key = |setting: &String| setting.split_once('=').map(|(key, _)| key.to_owned());
        self.remains == Remains::Nothing
            || settings.iter().filter_map(key).all(|key| may_change(&key, self.runs_on))
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relief { alternatives, shortfall } = &self.relief;
        writeln!(f, "out of the GPU's memory: {}", self.stage.in_words(self.update))?;
        writeln!(f, "{}", self.occupied)?;
        writeln!(f, "{}", self.parts())?;
        write!(f, "hint: {}", self.way_on())?;
        if alternatives.is_empty() {
            let needed = shortfall.map_or(String::new(), |short| format!(": {}", short.words()));
            return write!(f, ", but no setting is enough{needed}");
        }
        write!(f, ", with any of these besides the run's own settings")?;
        for enough in alternatives {
            let (flags, bytes) = (enough.flags(), size(enough.bytes));
            write!(f, "\nhint: {flags} (needs about {bytes}")?;
            if self.may_continue(&enough.settings) {
                write!(f, ")")?;
            } else {
                write!(f, ", in a new run with another --out)")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::plan::fit::{Enough, Shortfall};

    const GB: u64 = 1_000_000_000;

    fn told(stage: Stage, alternatives: &[&[&str]], remains: Remains) -> OutOfMemory {
        let occupied = Occupied {
            total_bytes: 80 * GB,
            free_bytes: GB,
            allocated_bytes: 40 * GB,
            kept_bytes: 34 * GB,
            peak_bytes: 72 * GB,
        };
        let planned = Memory {
            weights: 4 * GB,
            gradients: 8 * GB,
            optimizer: 24 * GB,
            reference: 0,
            ..Memory::default()
        };
        let enough = |settings: &&[&str]| Enough {
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            bytes: 61 * GB,
        };
        let alternatives: Vec<Enough> = alternatives.iter().map(enough).collect();
        let least = Shortfall { least_bytes: 83 * GB, card_gib: Some(80) };
        let shortfall = alternatives.is_empty().then_some(least);
        let relief = Relief { alternatives, shortfall };
        let runs_on = ops::Path::Plain;
        OutOfMemory { stage, update: 11, occupied, planned, relief, remains, runs_on }
    }

    #[test]
    fn a_run_is_told_the_stage_what_was_held_and_how_to_go_on() {
        let settings: &[&[&str]] = &[
            &["train.tokens_per_micro_batch=2048", "optim.offload=true"],
            &["model.freeze_vision=true"],
        ];
        let checkpoint = Remains::Checkpoint("run/checkpoints/step-000010".into());
        let expected = "out of the GPU's memory: stage policy, update 12\n\
            the card has 80.0 GB: 74.0 GB for this program at its peak, 5.0 GB for the driver and other programs, 1.0 GB free\n\
            held at its peak: weights 4.0 GB, gradients 8.0 GB, moments and master weights 24.0 GB, \
            activations, caches and the rest 36.0 GB, freed memory that fits no request 2.0 GB\n\
            hint: the last checkpoint stands, run/checkpoints/step-000010; --resume continues from it, \
            with any of these besides the run's own settings\n\
            hint: --set train.tokens_per_micro_batch=2048 --set optim.offload=true (needs about 61.0 GB)\n\
            hint: --set model.freeze_vision=true (needs about 61.0 GB, in a new run with another --out)";
        assert_eq!(told(Stage::Policy, settings, checkpoint).to_string(), expected);
    }

    #[test]
    fn weights_are_told_as_what_is_to_be_loaded_and_a_new_run_takes_any_setting() {
        let settings: &[&[&str]] = &[&["model.freeze_vision=true"]];
        let told = told(Stage::Loading, settings, Remains::Nothing).to_string();
        for line in [
            "out of the GPU's memory: stage loading weights\n",
            "\nto be loaded are weights 4.0 GB, gradients 8.0 GB, moments and master weights 24.0 GB\n",
            "\nhint: nothing was written; start again, with any of these",
            "\nhint: --set model.freeze_vision=true (needs about 61.0 GB)",
        ] {
            assert!(told.contains(line), "{line:?} in {told}");
        }
    }

    #[test]
    fn where_no_setting_is_enough_that_is_said_with_the_card_that_would_be() {
        let told = told(Stage::Evaluation, &[], Remains::Folder("run".into())).to_string();
        assert!(told.starts_with("out of the GPU's memory: stage evaluation, after update 11\n"));
        let expected = "\nhint: there is no checkpoint yet; --resume begins the run in run again, but no setting is enough: \
                        at least 83.0 GB, a card sold as 80 GB";
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn what_remains_is_the_checkpoint_where_there_is_one() {
        let (folder, checkpoint) = (Path::new("run"), Path::new("run/checkpoints/step-000001"));
        assert_eq!(Remains::of(None, None), Remains::Nothing);
        assert_eq!(Remains::of(Some(folder), None), Remains::Folder(folder.into()));
        let both = Remains::of(Some(folder), Some(checkpoint));
        assert_eq!(both, Remains::Checkpoint(checkpoint.into()));
    }
}
