//! Eq. (3): the weight beta(s) of the KL penalty over the run.
//! Not here: the penalty itself (`kl`); where it enters the loss (`objective`).
//!
//! Departures from the paper:
//! 1. Eq. (3) as printed reads `beta_min - (beta_min - beta_min) * s/w` for s <= w, with
//!    "`beta_min` = (`beta_min` + `beta_max`)/2" below it. Taken literally, the first branch would be
//!    constant and the definition would contradict itself. We read the first `beta_min` in each as the midpoint:
//!    `beta_mid - (beta_mid - beta_min) * s/w` with `beta_mid = (beta_min + beta_max)/2`. Then the weight falls from
//!    the middle to the minimum while the policy explores and the second branch continues from there.
//! 2. The paper leaves w = 0 open (0/0 at s = 0). Here nothing is explored then: the weight rises
//!    from `beta_min` at s = 0.

/// How the weight of the KL penalty changes over the updates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KlSchedule {
    /// GRPO-D, Eq. (3): from the middle down to `beta_min` in `explore_updates`, then up to
    /// `beta_max` at `total_updates`.
    Dynamic {
        /// The weight where exploration ends.
        beta_min: f64,
        /// The weight at the end of the run.
        beta_max: f64,
        /// w: updates of falling weight, 0 to `total_updates`, both included.
        explore_updates: u64,
        /// t: updates of the whole run.
        total_updates: u64,
    },
    /// GRPO: the same weight throughout.
    Constant(f64),
    /// No KL penalty; the run needs no reference model.
    Zero,
}

impl KlSchedule {
    /// The weight beta(s) for the next update.
    ///
    /// `s` counts the updates already finished: 0 for a run's first update, t - 1 for its last one,
    /// so beta(t) = `beta_max` is approached but belongs to no update. Beyond t the weight stays at beta(t).
    pub fn beta(&self, s: u64) -> f64 {
        match *self {
            Self::Dynamic { beta_min, beta_max, explore_updates: w, total_updates: t } => {
                let s = s.min(t);
                if s < w {
                    let beta_mid = f64::midpoint(beta_min, beta_max);
                    beta_mid - (beta_mid - beta_min) * (s as f64 / w as f64)
                } else if w < t {
                    beta_min + (beta_max - beta_min) * ((s - w) as f64 / (t - w) as f64)
                } else {
                    beta_min // w = t: the weight never rises.
                }
            }
            Self::Constant(beta) => beta,
            Self::Zero => 0.0,
        }
    }

    /// Whether a reference model has to be loaded and evaluated.
    ///
    /// A weight that is zero at some updates only still needs one: the penalty is reported at all updates.
    pub fn needs_reference(&self) -> bool {
        !matches!(self, Self::Zero)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dynamic(explore_updates: u64, total_updates: u64) -> KlSchedule {
        KlSchedule::Dynamic { beta_min: 0.02, beta_max: 0.06, explore_updates, total_updates }
    }

    fn betas(schedule: KlSchedule, updates: impl IntoIterator<Item = u64>) -> Vec<f64> {
        updates.into_iter().map(|s| schedule.beta(s)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let is_close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(is_close, "{found:?} != {expected:?}");
    }

    #[test]
    fn dynamic_weight_falls_from_the_middle_and_rises_to_the_maximum() {
        // middle 0.04; w = 2 of t = 6: 0.04, 0.03, 0.02, then + 0.01 per update up to 0.06.
        assert_close(&betas(dynamic(2, 6), 0..=6), &[0.04, 0.03, 0.02, 0.03, 0.04, 0.05, 0.06]);
    }

    #[test]
    fn without_exploration_the_weight_rises_from_the_minimum() {
        assert_close(&betas(dynamic(0, 4), 0..=4), &[0.02, 0.03, 0.04, 0.05, 0.06]);
    }

    #[test]
    fn exploring_throughout_the_weight_falls_to_the_minimum() {
        assert_close(&betas(dynamic(4, 4), 0..=4), &[0.04, 0.035, 0.03, 0.025, 0.02]);
    }

    #[test]
    fn beyond_the_run_the_weight_stays() {
        assert_close(&betas(dynamic(2, 6), [7, 1000]), &[0.06, 0.06]);
        assert_close(&betas(dynamic(4, 4), [5, 1000]), &[0.02, 0.02]);
        assert_close(&betas(dynamic(0, 0), [0, 1]), &[0.02, 0.02]);
    }

    #[test]
    fn plain_grpo_is_another_schedule() {
        assert_close(&betas(KlSchedule::Constant(0.04), [0, 5, 99]), &[0.04; 3]);
        assert_close(&betas(KlSchedule::Zero, [0, 5]), &[0.0; 2]);
    }

    #[test]
    fn only_the_zero_schedule_needs_no_reference() {
        assert!(!KlSchedule::Zero.needs_reference());
        assert!(KlSchedule::Constant(0.0).needs_reference());
        assert!(dynamic(0, 4).needs_reference());
    }

    proptest! {
        #[test]
        fn dynamic_weight_stays_between_its_bounds(
            total in 0u64..200, explore in 0u64..200, s in 0u64..250,
        ) {
            let beta = dynamic(explore.min(total), total).beta(s);
            prop_assert!((0.02 - 1e-12..=0.06 + 1e-12).contains(&beta), "{beta}");
        }

        #[test]
        fn dynamic_weight_has_no_jump(total in 2u64..200, explore in 1u64..199, s in 0u64..200) {
            let explore = explore.min(total - 1);
            let schedule = dynamic(explore, total);
            // The steeper of the two slopes bounds any step.
            let slope = (0.02 / explore as f64).max(0.04 / (total - explore) as f64);
            prop_assert!((schedule.beta(s + 1) - schedule.beta(s)).abs() <= slope + 1e-12);
        }
    }
}
