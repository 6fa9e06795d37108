//! Smoothing of noisy curves: TensorBoard's exponential moving average, without its bias to zero.
//! Not here: which curves are smoothed (`curves`).

/// The moving average of `values` with a weight of `weight`, 0 (none) to below 1, for what came before.
///
/// The average starts at 0, which pulls the first values down; dividing by `1 - weight^n` takes that
/// out again, so that a constant stays the constant it is.
pub fn smooth(values: &[f64], weight: f64) -> Vec<f64> {
    let (mut average, mut share) = (0.0, 0.0);
    let step = |&value: &f64| {
        average = weight * average + (1.0 - weight) * value;
        share = weight * share + (1.0 - weight);
        average / share
    };
    values.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_those_worked_out_by_hand() {
        // 0.5 * 0 + 0.5 * 1 = 0.5, over 1 - 0.5 = 0.5: 1; then 0.25 / 0.75; then 2.125 / 0.875.
        let expected = [1.0, 1.0 / 3.0, 17.0 / 7.0];
        for (ours, expected) in smooth(&[1.0, 0.0, 4.0], 0.5).into_iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-12, "{ours} is not {expected}");
        }
    }

    #[test]
    fn constant_stays_constant_and_weight_0_changes_nothing() {
        assert!(smooth(&[3.0; 50], 0.9).iter().all(|value| (value - 3.0).abs() < 1e-12));
        assert_eq!(smooth(&[1.0, -2.0, 5.0], 0.0), [1.0, -2.0, 5.0]);
        assert!(smooth(&[], 0.6).is_empty());
    }
}
