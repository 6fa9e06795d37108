//! `length_penalty`: what an overlong completion costs.
//! Not here: the token limit of the rollouts (`rollout`), masking of truncated completions (`grpo`).

use super::component::Component;

/// The component.
pub static LENGTH_PENALTY: Component = Component {
    name: "length_penalty",
    gold: None,
    score: |scoring| {
        let settings = scoring.settings;
        length_penalty(scoring.completion.n_tokens, settings.length_limit, settings.length_buffer)
    },
    formula: "`clamp((limit - buffer - tokens) / buffer, -1, 0)`",
    range: "-1 to 0",
    source: "DAPO, Yu et al. 2025, Eq. (13)",
};

/// DAPO's soft overlong punishment (Yu et al. 2025, Eq. (13)): nothing up to `limit - buffer` tokens, then a straight
/// line down to -1 at `limit`, and -1 beyond:
///
/// `R_length = clamp((limit - buffer - n_tokens) / buffer, -1, 0)`
///
/// - `n_tokens`: tokens of the completion, its stop token included
/// - `limit`: tokens, the paper's `L_max` (20480 there)
/// - `buffer`: tokens, the paper's `L_cache` (4096 there); 0 turns the line into a step
/// - returns -1 to 0
///
/// A completion that is cut off at `limit` costs the full 1. Short completions earn nothing, so that brevity alone is
/// never a way to a reward.
pub fn length_penalty(n_tokens: usize, limit: usize, buffer: usize) -> f64 {
    let free = limit.saturating_sub(buffer);
    if n_tokens <= free {
        return 0.0;
    }
    if n_tokens >= limit && (buffer > 0 || n_tokens > limit) {
        return -1.0;
    }
    -((n_tokens - free) as f64 / buffer as f64).min(1.0)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactly representable")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_falls_from_zero_to_minus_one_over_the_buffer() {
        // limit 100, buffer 20: free up to 80; 90 is 10 of 20 tokens into the buffer.
        for (n_tokens, expected) in
            [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (99, -0.95), (100, -1.0), (101, -1.0)]
        {
            let found = length_penalty(n_tokens, 100, 20);
            assert!((found - expected).abs() < 1e-12, "{n_tokens}: {found}");
        }
    }

    #[test]
    fn paper_s_own_lengths_give_its_figures() {
        // 16384 tokens are expected, 4096 more are the buffer: half of it is 18432.
        assert_eq!(length_penalty(16_384, 20_480, 4096), 0.0);
        assert_eq!(length_penalty(18_432, 20_480, 4096), -0.5);
        assert_eq!(length_penalty(20_480, 20_480, 4096), -1.0);
    }

    #[test]
    fn without_buffer_the_limit_is_a_step() {
        assert_eq!(length_penalty(100, 100, 0), 0.0);
        assert_eq!(length_penalty(101, 100, 0), -1.0);
    }

    proptest! {
        #[test]
        fn penalty_stays_in_its_range_and_never_rises_with_length(
            n_tokens in 0usize..5000, limit in 0usize..4000, buffer in 0usize..4000,
        ) {
            let shorter = length_penalty(n_tokens, limit, buffer);
            let longer = length_penalty(n_tokens + 1, limit, buffer);
            prop_assert!((-1.0..=0.0).contains(&shorter));
            prop_assert!(longer <= shorter, "{shorter} {longer}");
        }
    }
}
