//! Eq. (2): how much better a completion is than its group.
//! Not here: the rewards (`reward`); what the advantage weighs (`objective`).

/// Added to the standard deviation, not to the variance, as R1-V and TRL do.
const EPS: f64 = 1e-4;

/// Normalises the rewards of one group, Eq. (2): `A_i = (r_i - mean(r)) / (std(r) + 1e-4)`.
///
/// - `rewards`: the rewards of the G completions of one prompt, in completion order
/// - returns G advantages, the same for every token of a completion; they sum to zero
///
/// `std` has the N-1 divisor. Where no completion stands out (all rewards equal, or G = 1, where the
/// N-1 divisor says nothing) every advantage is exactly zero. A reward that is not finite makes the
/// advantages NaN, which the trainer refuses.
pub fn group_advantages(rewards: &[f64]) -> Vec<f64> {
    if !has_signal(rewards) {
        return vec![0.0; rewards.len()];
    }
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let scale = variance.sqrt() + EPS;
    rewards.iter().map(|r| (r - mean) / scale).collect()
}

/// Whether a group tells the policy anything: some reward differs from another.
///
/// Decided on the rewards themselves: a mean rounded in the last bit would give equal rewards tiny
/// advantages, which `std + 1e-4` then blows up ten thousand times.
pub fn has_signal(rewards: &[f64]) -> bool {
    // Written as "not equal" so that a NaN counts as signal and is seen, not zeroed.
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
