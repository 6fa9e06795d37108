//! Times of the clock as they are written down: in UTC, as ISO 8601 has them.
//! Not here: durations (`progress`).

use std::time::{SystemTime, UNIX_EPOCH};

/// The time now, to the second: `2026-11-27T18:15:43Z`.
pub fn now() -> String {
    time(seconds_now())
}

/// The day now: `2026-11-27`.
pub fn today() -> String {
    date(seconds_now() / 86_400)
}

/// Seconds since 1970; 0 where the clock says that it is earlier.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{}T{hours:02}:{minutes:02}:{:02}Z", date(seconds / 86_400), seconds % 60)
}

/// The day that is so many days after 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> String {
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `date --utc --date @SECONDS +%F`.
    #[test]
    fn days_are_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_784, "2026-11-27"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    /// From `date --utc --date @1795803343 +%FT%TZ`.
    #[test]
    fn times_are_of_the_day() {
        assert_eq!(time(1_795_803_343), "2026-11-27T18:15:43Z");
        assert_eq!(time(86_399), "1970-01-01T23:59:59Z");
    }
}
