//! Numbers as a line of text.

/// Blocks of eight heights, from the least to the greatest of `values`; all lowest where the values are equal.
pub fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let range = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least;
    // Rounds to the nearest of eight heights, which lie a seventh of the range apart.
    let block = |value: &f64| {
        let steps = (1..8).filter(|step| value - least >= range * (f64::from(*step) - 0.5) / 7.0);
        BLOCKS[if range > 0.0 { steps.count() } else { 0 }]
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greatest_value_is_a_full_block_and_the_least_the_lowest() {
        assert_eq!(sparkline(&[0.04, 0.0, 0.08]), "▅▁█");
        assert_eq!(sparkline(&[0.04, 0.04]), "▁▁");
        assert_eq!(sparkline(&[]), "");
    }
}
