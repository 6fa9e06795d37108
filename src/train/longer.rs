//! A run that is resumed at a greater length: whether it may be, and what that means for the updates that were made.
//!
//! Schedules that hang on the length are those of the greater one from the resumption on. Where they have the same values for
//! all updates that were made, the run goes on as one that had been as long from its beginning; else it does not, which is said
//! and written down (`run_folder::origin`), and no other command takes it for such a run.
//! Not here: which keys are the length's (`run_folder::identity`), the schedules (`optim::lr_schedule`, `grpo::kl_schedule`).

use super::error::TrainError;
use super::settings::{batches, kl_schedule, optimizer_settings, total_updates};
use crate::config::{ConfigFile, RunConfig};
use crate::identity::IdentityError;
use crate::run_folder::folder::{CONFIG, Reopened};

/// A greater length.
#[derive(Debug, PartialEq)]
pub(super) struct Longer {
    /// Whether the updates that were made are what they would have been.
    pub(super) is_as_before: bool,
    /// What there is to say about it.
    pub(super) told: String,
}

impl Longer {
    /// The run's length, compared with the one in its folder; `None` where it is the same.
    ///
    /// - `n_rows`: rows of an epoch
    /// - `update`: updates made
    ///
    /// # Errors
    /// It is less, or the batch of rollouts that ended the run was cut short.
    pub(super) fn of(
        reopened: &Reopened,
        config: &RunConfig,
        n_rows: usize,
        update: u64,
    ) -> Result<Option<Self>, TrainError> {
        if reopened.length.is_empty() {
            return Ok(None);
        }
        let path = reopened.folder.path().join(CONFIG);
        let file = ConfigFile::from_text(path.display().to_string(), reopened.stored.clone());
        let stored = RunConfig::from_file(&file, &[]).map_err(IdentityError::from)?;
        let [before, now] = [&stored, config].map(|config| total_updates(config, n_rows));
        let of_batch = batches(config).updates;
        if now < before {
            return Err(TrainError::Shorter { path, before, now });
        }
        if now > before && !update.is_multiple_of(of_batch) {
            return Err(TrainError::CutShort { path, update, of_batch });
        }
        Ok((now > before).then(|| Self::compare([&stored, config], [before, now], update)))
    }

    #[expect(
        clippy::float_cmp,
        reason = "a schedule that is another one in its last bits makes another run"
    )]
    fn compare(configs: [&RunConfig; 2], [before, now]: [u64; 2], update: u64) -> Self {
        let [old, new] = [(configs[0], before), (configs[1], now)].map(|(config, total)| {
            let (beta, lr) =
                (kl_schedule(config, total), optimizer_settings(config, total).schedule);
            move |s: u64| [lr.lr(s), beta.beta(s)]
        });
        let made_by_others = (0..update).any(|s| old(s) != new(s));
        let lengths = format!("the run had {before} updates and now has {now}");
        if !made_by_others {
            let told =
                format!("{lengths}; no schedule of the {update} that are made hangs on that");
            return Self { is_as_before: true, told };
        }
        let names = ["the learning rate", "beta"];
        let moved = names.into_iter().zip(old(update)).zip(new(update));
        let moved = moved.filter(|((_, old), new)| old != new);
        let moved: Vec<String> = moved
            .map(|((name, old), new)| format!("{name} is {new:.3e} where it was to be {old:.3e}"))
            .collect();
        let jump = match moved.as_slice() {
            [] => String::new(),
            moved => format!(", so that in update {} {}", update + 1, moved.join(" and ")),
        };
        let told = format!(
            "{lengths}: schedules go on as those of {now}{jump}; a run of {now} updates from the beginning would have been \
             another one"
        );
        Self { is_as_before: false, told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[&str]) -> RunConfig {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
        RunConfig::from_file(&file, &changes).unwrap()
    }

    fn compared(changes: &[&str], update: u64) -> Longer {
        let config = config(changes);
        Longer::compare([&config, &config], [100, 200], update)
    }

    #[test]
    fn schedules_that_hang_on_the_length_make_another_run_and_the_others_do_not() {
        let flat = ["optim.schedule=constant", "method=grpo"];
        assert!(compared(&flat, 100).is_as_before);
        for hanging in
            ["optim.schedule=linear", "optim.schedule=cosine", "optim.warmup=0.1", "method=grpo-d"]
        {
            let changes = [&flat[..], &[hanging]].concat();
            let mut changes = changes;
            if hanging == "method=grpo-d" {
                changes.push("kl.schedule=dynamic");
            }
            assert!(!compared(&changes, 100).is_as_before, "{hanging}");
            assert!(compared(&changes, 0).is_as_before, "{hanging}: nothing was made");
        }
        // Counted in updates, a warm-up is the same in both.
        assert!(compared(&[&flat[..], &["optim.warmup=10"]].concat(), 100).is_as_before);
    }

    #[test]
    fn what_jumps_is_said_with_both_values() {
        let told = compared(&["optim.lr=1e-6", "kl.beta_max=0.08"], 100).told;
        // Linear to 0 at 100, and half-way at 100 of 200.
        assert!(told.contains("in update 101 the learning rate is 5.000e-7 where it was to be 0.000e0 and beta is "), "{told}");
    }
}
