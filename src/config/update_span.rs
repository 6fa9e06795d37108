//! A stretch of the run, in updates or as a fraction of all of them.
//! Not here: what is done over the stretch (`grpo::kl_schedule`, `optim`).

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number of updates from the run's start: a whole number in the run file counts updates, a
/// number with a decimal point (0.0 to 1.0) is a fraction of all updates. `1` is one update,
/// `1.0` the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum UpdateSpan {
    /// That many updates.
    Updates(usize),
    /// That fraction of all updates, 0.0 to 1.0.
    Fraction(f64),
}

impl UpdateSpan {
    /// The stretch in updates for a run of `n_updates`: a fraction rounds to the nearest whole
    /// number, half upwards, and no stretch is longer than the run.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded fraction of a run's updates is a small whole number, never negative"
    )]
    pub fn in_updates(self, n_updates: usize) -> usize {
        let span = match self {
            Self::Updates(updates) => updates,
            Self::Fraction(fraction) => (fraction * n_updates as f64).round() as usize,
        };
        span.min(n_updates)
    }
}

impl<'de> Deserialize<'de> for UpdateSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UpdateSpanVisitor)
    }
}

/// Tells whole numbers from decimal ones. `#[serde(untagged)]` would too, but its error does not say
/// what was expected.
struct UpdateSpanVisitor;

impl Visitor<'_> for UpdateSpanVisitor {
    type Value = UpdateSpan;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("updates as a whole number, or a fraction of the run from 0.0 to 1.0")
    }

    fn visit_i64<E: Error>(self, updates: i64) -> Result<UpdateSpan, E> {
        let count = usize::try_from(updates);
        count
            .map(UpdateSpan::Updates)
            .map_err(|_| E::invalid_value(Unexpected::Signed(updates), &self))
    }

    fn visit_u64<E: Error>(self, updates: u64) -> Result<UpdateSpan, E> {
        let count = usize::try_from(updates);
        count
            .map(UpdateSpan::Updates)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(updates), &self))
    }

    fn visit_f64<E: Error>(self, fraction: f64) -> Result<UpdateSpan, E> {
        if (0.0..=1.0).contains(&fraction) {
            return Ok(UpdateSpan::Fraction(fraction));
        }
        Err(E::invalid_value(Unexpected::Float(fraction), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Row {
        span: UpdateSpan,
    }

    fn parse(text: &str) -> Result<UpdateSpan, toml::de::Error> {
        toml::from_str::<Row>(&format!("span = {text}")).map(|row| row.span)
    }

    #[test]
    fn whole_number_counts_updates_and_decimal_one_is_a_fraction() {
        assert_eq!(parse("1").unwrap(), UpdateSpan::Updates(1));
        assert_eq!(parse("1.0").unwrap(), UpdateSpan::Fraction(1.0));
        assert_eq!(parse("0").unwrap().in_updates(100), 0);
        assert_eq!(parse("1.0").unwrap().in_updates(100), 100);
    }

    #[test]
    fn fraction_rounds_to_the_nearest_update() {
        // 0.07 * 100 is 7.000000000000001 in binary floats: rounding up would give 8.
        assert_eq!(UpdateSpan::Fraction(0.07).in_updates(100), 7);
        assert_eq!(UpdateSpan::Fraction(0.5).in_updates(101), 51);
        assert_eq!(UpdateSpan::Fraction(0.5).in_updates(0), 0);
    }

    #[test]
    fn span_is_never_longer_than_the_run() {
        assert_eq!(UpdateSpan::Updates(500).in_updates(100), 100);
    }

    #[test]
    fn fraction_outside_zero_to_one_says_what_was_expected() {
        for text in ["1.5", "-0.1", "nan", "-3", "\"half\""] {
            let message = parse(text).unwrap_err().message().to_owned();
            assert!(
                message.contains("updates as a whole number, or a fraction of the run"),
                "{text}: {message}"
            );
        }
    }
}
