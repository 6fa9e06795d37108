//! Whether a reward can use the solutions of a data set, asked before anything is computed.
//! Not here: what a component finds in a solution (`gold`), a rule's reading (`grading`).

use super::{Golds, RewardSettings, UnusableGold};

/// A listed solution that the reward cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "sample {sample}: {source}\nhint: data.allow_unparsable = true (--allow-unparsable of eval) counts such rows instead"
)]
pub struct UnusableSolution {
    /// The sample's identifier: file and row.
    pub sample: String,
    /// What the reward says of it.
    pub source: UnusableGold,
}

/// Checks that the reward can use every listed solution: no completion can earn what it cannot read.
///
/// - `listed`: samples' identifiers with their solutions
/// - `allows_unusable`: counts those that it cannot use in a warning instead
///
/// # Errors
/// The reward cannot use a solution.
pub fn check_solutions<'a>(
    listed: impl Iterator<Item = (&'a str, &'a str)>,
    reward: &RewardSettings,
    allows_unusable: bool,
) -> Result<(), UnusableSolution> {
    let mut unusable = Vec::new();
    for (sample, solution) in listed {
        match Golds::parse(reward, solution) {
            Ok(_) => {}
            Err(source) if !allows_unusable => {
                return Err(UnusableSolution { sample: sample.to_owned(), source });
            }
            Err(_) => unusable.push(sample),
        }
    }
    if !unusable.is_empty() {
        let (n, rows) = (unusable.len(), unusable.join(", "));
        tracing::warn!(
            n,
            rule = reward.rule.name(),
            rows,
            "no completion can be right: solutions that the rule cannot read"
        );
    }
    Ok(())
}
