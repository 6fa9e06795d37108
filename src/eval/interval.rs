//! The 95% interval of a proportion.
//! Not here: what is counted (`eval`).

/// Wilson's score interval at 95% (Wilson 1927): unlike the normal approximation it stays inside `[0, 1]`
/// and is not empty at 0 or n.
///
/// - `correct` of `n` trials; an empty sample gives `[0, 1]`
pub fn wilson95(correct: usize, n: usize) -> [f64; 2] {
    // The 97.5% quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
