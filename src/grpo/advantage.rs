//! Eq. (2): how much better a completion is than its group.
//! Not here: the rewards (`reward`); how the advantage enters the loss (`objective`).

/// Added to the standard deviation, not to the variance, as R1-V and TRL do.
const EPS: f64 = 1e-4;

/// The advantages of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// One per completion, the same for every token of it.
    pub values: Vec<f64>,
    /// Whether the rewards differ; without signal only the KL term has a gradient.
    pub has_signal: bool,
}

/// How the rewards of a batch become advantages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimator {
    /// Each group by its own mean and standard deviation, Eq. (2).
    #[default]
    GroupNormalized,
}

impl Estimator {
    /// The advantages of a batch of groups.
    ///
    /// - `rewards`: `[B][G]`, the rewards of each prompt's completions, in completion order
    /// - returns `[B]`, in the same order
    pub fn advantages(self, rewards: &[Vec<f64>]) -> Vec<GroupAdvantages> {
        match self {
            Self::GroupNormalized => rewards.iter().map(|group| group_normalized(group)).collect(),
        }
    }
}

/// Eq. (2): `A_i = (r_i - mean(r)) / (std(r) + 1e-4)`; they sum to zero.
///
/// `std` has the N-1 divisor. Where all rewards are equal, or G = 1, for which the N-1 divisor is
/// undefined, every advantage is exactly zero. A reward that is not finite makes the
/// advantages NaN, which the trainer refuses.
fn group_normalized(rewards: &[f64]) -> GroupAdvantages {
    let has_signal = differ(rewards);
    if !has_signal {
        return GroupAdvantages { values: vec![0.0; rewards.len()], has_signal };
    }
    let scale = standard_deviation(rewards) + EPS;
    let mean = mean(rewards);
    let values = rewards.iter().map(|r| (r - mean) / scale).collect();
    GroupAdvantages { values, has_signal }
}

/// The standard deviation of a group's rewards with the N-1 divisor; 0 for a group of one.
pub fn standard_deviation(rewards: &[f64]) -> f64 {
    let mean = mean(rewards);
    let squares: f64 = rewards.iter().map(|r| (r - mean).powi(2)).sum();
    (squares / (rewards.len() as f64 - 1.0).max(1.0)).sqrt()
}

fn mean(rewards: &[f64]) -> f64 {
    rewards.iter().sum::<f64>() / rewards.len() as f64
}

/// Whether some reward differs from another.
///
/// Decided on the rewards themselves: a mean rounded in the last bit would give equal rewards tiny
/// deviations, which dividing by `std + 1e-4` magnifies ten thousand times.
fn differ(rewards: &[f64]) -> bool {
    // Written as "not equal" so that a NaN counts as signal and is reported, not zeroed.
    #[expect(
        clippy::float_cmp,
        reason = "rewards are equal or they are not, there is no rounding yet"
    )]
    rewards.windows(2).any(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group_advantages(rewards: &[f64]) -> Vec<f64> {
        let batch = Estimator::GroupNormalized.advantages(&[rewards.to_vec()]);
        batch.into_iter().flat_map(|group| group.values).collect()
    }

    #[test]
    fn each_group_of_a_batch_is_measured_by_itself_and_says_whether_it_has_signal() {
        let rewards = [vec![1.0, 1.0], vec![2.0, 0.0], vec![0.5, f64::NAN]];
        let batch = Estimator::default().advantages(&rewards);
        assert_eq!(
            batch.iter().map(|group| group.has_signal).collect::<Vec<_>>(),
            [false, true, true]
        );
        // mean 1, squared differences 1 + 1, / (2 - 1) = 2, std sqrt(2).
        let unit = 1.0 / (2f64.sqrt() + 1e-4);
        assert!((batch[1].values[0] - unit).abs() < 1e-15, "{batch:?}");
        assert_eq!(batch[0].values, [0.0, 0.0]);
        assert!(batch[2].values.iter().all(|a| a.is_nan()));
    }

    #[test]
    fn advantages_are_those_computed_by_hand() {
        // mean 1, squared differences 1 + 1, / (3 - 1) = 1, std 1.
        let advantages = group_advantages(&[2.0, 0.0, 1.0]);
        let unit = 1.0 / 1.0001;
        for (advantage, expected) in advantages.iter().zip([unit, -unit, 0.0]) {
            assert!((advantage - expected).abs() < 1e-15, "{advantages:?}");
        }
    }

    #[test]
    fn advantages_equal_those_of_r1v() {
        // R1-V's torch code in f32: (r - r.mean()) / (r.std() + 1e-4).
        for (rewards, expected) in [
            ([2.0, 0.0, 1.0, 1.0], [1.224_594_8, -1.224_594_8, 0.0, 0.0]),
            ([0.0, 0.0, 0.0, 2.0], [-0.499_95, -0.499_95, -0.499_95, 1.499_85]),
        ] {
            for (advantage, expected) in group_advantages(&rewards).iter().zip(expected) {
                assert!((advantage - expected).abs() < 1e-6, "{advantage} != {expected}");
            }
        }
    }

    #[test]
    fn zero_variance_group_has_zero_advantage() {
        // The mean of three 0.1 is not 0.1 in floating point; the advantages are zero all the same.
        assert_eq!(group_advantages(&[0.1, 0.1, 0.1]), vec![0.0; 3]);
    }

    #[test]
    fn group_of_one_or_none_has_zero_advantage() {
        assert_eq!(group_advantages(&[3.0]), vec![0.0]);
        assert!(group_advantages(&[]).is_empty());
    }

    #[test]
    fn reward_that_is_not_finite_is_not_hidden() {
        assert!(group_advantages(&[0.0, f64::NAN]).iter().all(|a| a.is_nan()));
        assert!(group_advantages(&[f64::NAN, f64::NAN]).iter().all(|a| a.is_nan()));
    }

    proptest! {
        #[test]
        fn advantages_sum_to_zero(rewards in prop::collection::vec(-2.0..2.0f64, 0..16)) {
            prop_assert!(group_advantages(&rewards).iter().sum::<f64>().abs() < 1e-9);
        }

        #[test]
        fn advantages_do_not_see_a_constant_added_to_every_reward(
            rewards in prop::collection::vec(0.0..2.0f64, 2..16), shift in -5.0..5.0f64,
        ) {
            let shifted: Vec<f64> = rewards.iter().map(|r| r + shift).collect();
            for (a, b) in group_advantages(&rewards).iter().zip(group_advantages(&shifted)) {
                prop_assert!((a - b).abs() < 1e-9, "{a} != {b}");
            }
        }

        #[test]
        fn advantages_follow_their_completions(rewards in prop::collection::vec(0.0..2.0f64, 2..16)) {
            let mut reversed = rewards.clone();
            reversed.reverse();
            let mut advantages = group_advantages(&reversed);
            advantages.reverse();
            for (a, b) in group_advantages(&rewards).iter().zip(advantages) {
                prop_assert!((a - b).abs() < 1e-9, "{a} != {b}");
            }
        }

        #[test]
        fn better_reward_has_better_advantage(rewards in prop::collection::vec(0.0..2.0f64, 2..16)) {
            let advantages = group_advantages(&rewards);
            for (r, a) in rewards.iter().zip(&advantages) {
                for (other_r, other_a) in rewards.iter().zip(&advantages) {
                    prop_assert!(r <= other_r || a >= other_a);
                }
            }
        }
    }
}
