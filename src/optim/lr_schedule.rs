//! The learning rate over a run: constant, linear or cosine, after a linear warm-up.
//! Not here: where it is applied (`adamw`).
//!
//! The values are those of transformers' `get_scheduler` (`optimization.py`: `constant_with_warmup`, `linear`,
//! `cosine` with half a cycle), with one departure: past the end of the run the rate stays where it ended, while
//! transformers' cosine would rise again.

use std::f64::consts::PI;

/// What the learning rate does once the warm-up is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Stays at the base rate.
    Constant,
    /// Falls linearly to zero.
    Linear,
    /// Falls to zero along half a cosine.
    Cosine,
}

/// A learning rate as a function of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSchedule {
    /// What follows the warm-up.
    pub decay: Decay,
    /// The rate at the end of the warm-up, the highest of the run.
    pub base_lr: f64,
    /// Updates in which the rate rises from zero; the first of them is made with rate 0, as in transformers.
    pub warmup_updates: u64,
    /// Updates of the whole run, warm-up included.
    pub total_updates: u64,
}

impl LrSchedule {
    /// The learning rate of the next update, where `s` counts the updates already finished.
    pub fn lr(&self, s: u64) -> f64 {
        let (warmup, total) = (self.warmup_updates, self.total_updates);
        let s = s.min(total);
        if s < warmup {
            return self.base_lr * (s as f64 / warmup as f64);
        }
        let decay_updates = total.saturating_sub(warmup).max(1) as f64;
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => (total - s) as f64 / decay_updates,
            Decay::Cosine => 0.5 * (1.0 + (PI * ((s - warmup) as f64 / decay_updates)).cos()),
        };
        self.base_lr * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    #[test]
    fn rates_equal_transformers_schedules() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lr_schedule.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let decay = match case["name"].as_str().unwrap() {
                "constant_with_warmup" => Decay::Constant,
                "linear" => Decay::Linear,
                "cosine" => Decay::Cosine,
                other => panic!("unknown schedule {other}"),
            };
            let schedule = LrSchedule {
                decay,
                base_lr: case["base_lr"].as_f64().unwrap(),
                warmup_updates: case["warmup"].as_u64().unwrap(),
                total_updates: case["total"].as_u64().unwrap(),
            };
            for (s, expected) in case["lr"].as_array().unwrap().iter().enumerate() {
                let (found, expected) = (schedule.lr(s as u64), expected.as_f64().unwrap());
                let tolerance = 1e-14 * schedule.base_lr;
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{schedule:?} at {s}: {found} != {expected}"
                );
            }
        }
    }

    #[test]
    fn past_the_end_the_rate_stays_where_it_ended() {
        let schedule =
            |decay| LrSchedule { decay, base_lr: 1.0, warmup_updates: 2, total_updates: 10 };
        assert!((schedule(Decay::Constant).lr(50) - 1.0).abs() < 1e-15);
        assert!(schedule(Decay::Linear).lr(50).abs() < 1e-15);
        assert!(schedule(Decay::Cosine).lr(18).abs() < 1e-15);
    }

    #[test]
    fn warmup_longer_than_the_run_never_divides_by_zero() {
        let schedule =
            LrSchedule { decay: Decay::Cosine, base_lr: 1.0, warmup_updates: 8, total_updates: 4 };
        assert!((schedule.lr(4) - 0.5).abs() < 1e-15);
        let none =
            LrSchedule { decay: Decay::Linear, base_lr: 1.0, warmup_updates: 0, total_updates: 0 };
        assert!(none.lr(0).is_finite());
    }
}
