//! A plan's time as lines of its table: the sum, where its speeds are from, then stage by stage.
//! Not here: the rest of the table (`plan_table`), the time itself (`train::plan::time`).

use std::time::Duration;

use crate::printable::spell;
use crate::train::plan::time::{Bound, Estimate, StageTime, Time};

/// The lines.
pub(super) fn time_lines(time: &Time) -> Vec<String> {
    match time {
        Time::Unknown { unknown } => vec![line("time", unknown)],
        Time::Known(estimate) => {
            let stages = estimate.stages.iter();
            let stages = stages.map(|stage| line(&format!("  {}", stage.name), &shown(stage)));
            [line("time", &summary(estimate))].into_iter().chain(stages).collect()
        }
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<14} {value}")
}

fn summary(Estimate { speeds, seconds_per_update, seconds, .. }: &Estimate) -> String {
    let all = spell(Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX));
    let each = seconds_of(*seconds_per_update);
    format!("about {each} an update, {all} in all, completions at full length; speeds {speeds}")
}

/// Seconds as people read them, in three digits at least.
fn seconds_of(seconds: f64) -> String {
    match seconds {
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s => format!("{s:.3} s"),
    }
}

fn shown(stage: &StageTime) -> String {
    let StageTime { seconds, bound, amount, speed, share, .. } = stage;
    let (unit, ceiling) = match bound {
        Bound::Products => ("FLOP", "what products reach"),
        Bound::Memory => ("B", "what copying reaches"),
        Bound::Bus => ("B", ""),
    };
    let at = format!("{} at {}/s", scaled(*amount, unit), scaled(*speed, unit));
    let of = match (bound, share) {
        (Bound::Bus, _) => " over the bus, as an H200's".to_owned(),
        (_, None) => String::new(),
        (_, Some(share)) => format!(", {:.0}% of {ceiling}", share * 100.0),
    };
    format!("{:<8} {at}{of}", seconds_of(*seconds))
}

/// A number with a prefix of the unit, in three digits.
fn scaled(n: f64, unit: &str) -> String {
    let (n, prefix) = match n {
        n if n >= 1e12 => (n / 1e12, "T"),
        n if n >= 1e9 => (n / 1e9, "G"),
        n => (n / 1e6, "M"),
    };
    let digits = match n {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{n:.digits$} {prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(bound: Bound, share: Option<f64>) -> StageTime {
        let (name, amount, speed) = ("policy", 3e14, 4.5e14);
        StageTime { name, seconds: amount / speed, bound, amount, speed, share }
    }

    #[test]
    fn a_stage_says_what_bounds_it_and_its_share_of_that() {
        for (stage, expected) in [
            (
                stage(Bound::Products, Some(0.533)),
                "0.667 s  300 TFLOP at 450 TFLOP/s, 53% of what products reach",
            ),
            (
                stage(Bound::Memory, Some(0.27)),
                "0.667 s  300 TB at 450 TB/s, 27% of what copying reaches",
            ),
            (stage(Bound::Bus, None), "0.667 s  300 TB at 450 TB/s over the bus, as an H200's"),
            (stage(Bound::Memory, None), "0.667 s  300 TB at 450 TB/s"),
        ] {
            assert_eq!(shown(&stage), expected);
        }
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(seconds_of(0.0234), "0.023 s");
        assert_eq!(seconds_of(1.234), "1.23 s");
        assert_eq!(seconds_of(1234.5), "1234 s");
        assert_eq!(scaled(2.345e6, "B"), "2.35 MB");
        assert_eq!(scaled(45.67e9, "FLOP"), "45.7 GFLOP");
    }
}
