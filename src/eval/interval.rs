//! 95% intervals: of a proportion, of a mean.
//! Not here: what is counted (`summary`), differences between two models (`paired`).

/// Wilson's score interval at 95% (Wilson 1927): unlike the normal approximation it stays inside `[0, 1]`
/// and is not empty at 0 or n.
///
/// - `correct` of `n` trials; an empty sample gives `[0, 1]`
pub fn wilson95(correct: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)]
}

/// Student's t interval of the mean at 95%; none without a spread to estimate, from fewer than two values.
pub fn mean95(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let half = t975(n - 1) * (squares / (n - 1) as f64 / n as f64).sqrt();
    Some([mean - half, mean + half])
}

/// The 97.5% quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 97.5% quantile of Student's t distribution: from the table up to 30 degrees of freedom, above by the
/// expansion of Cornish and Fisher, which is right to five digits there.
fn t975(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139, 2.200_985, 2.178_813, 2.160_369, 2.144_787, 2.131_450, 2.119_905,
        2.109_816, 2.100_922, 2.093_024, 2.085_963, 2.079_614, 2.073_873, 2.068_658, 2.063_899,
        2.059_539, 2.055_529, 2.051_831, 2.048_407, 2.045_230, 2.042_272,
    ];
    if let Some(quantile) = degrees.checked_sub(1).and_then(|idx| TABLE.get(idx)) {
        return *quantile;
    }
    let v = degrees as f64;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    let third = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
    Z + first / v + second / v.powi(2) + third / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.ppf(0.975, df)` of `SciPy` 1.17.1.
    #[test]
    fn quantiles_of_t_equal_scipys() {
        for (degrees, expected) in T975 {
            assert!((t975(degrees) - expected).abs() < 1e-5, "{degrees}: {}", t975(degrees));
        }
    }

    #[test]
    fn interval_of_a_mean_is_students() {
        // Mean 2, standard deviation 1, three values: 2 -+ 4.302653 / sqrt(3).
        let [low, high] = mean95(&[1.0, 2.0, 3.0]).unwrap();
        assert!((low + 0.484_138).abs() < 1e-5 && (high - 4.484_138).abs() < 1e-5, "{low} {high}");
        assert_eq!(mean95(&[0.5]), None);
    }

    /// `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")` of `SciPy` 1.17.1.
    #[test]
    fn intervals_equal_scipys() {
        let cases = [
            (96, 200, [0.411_791_663_8, 0.548_962_149_3]),
            (0, 10, [0.0, 0.277_532_799_9]),
            (10, 10, [0.722_467_200_1, 1.0]),
        ];
        for (k, n, expected) in cases {
            let ours = wilson95(k, n);
            assert!((ours[0] - expected[0]).abs() < 1e-9, "{k}/{n}: {ours:?}");
            assert!((ours[1] - expected[1]).abs() < 1e-9, "{k}/{n}: {ours:?}");
        }
    }

    const T975: [(usize, f64); 11] = [
        (1, 12.706_204_7),
        (2, 4.302_652_7),
        (3, 3.182_446_3),
        (7, 2.364_624_3),
        (15, 2.131_449_5),
        (29, 2.045_229_6),
        (30, 2.042_272_5),
        (31, 2.039_513_4),
        (40, 2.021_075_4),
        (99, 1.984_217_0),
        (499, 1.964_729_4),
    ];
}
