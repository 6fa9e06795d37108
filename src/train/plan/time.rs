//! How long an update and the run take, stage by stage, and where the speeds are from.
//! Not here: the stages of the CPU (`cpu_time`) and of a GPU (`gpu_time`).

use std::path::Path;

use candle_core::{DType, Device};
use serde::Serialize;

use super::cards::Card;
use super::ceilings::{Ceilings, Measured};
use super::cpu_time::{self, Speed};
use super::gpu_time;
use super::needs::Needs;
use super::place::Place;
use crate::config::RunConfig;
use crate::hub::Hub;
use crate::model::identity::Identity;
use crate::train::error::TrainError;

/// The time of a run, or why none is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Time {
    /// It is known.
    Known(Estimate),
    /// It is not.
    Unknown {
        /// Why, and what would tell.
        unknown: String,
    },
}

/// The time of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Where the speeds are from, as it stands after "speeds".
    pub speeds: String,
    /// The device's ceilings; none where speeds were measured at the model's own shapes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<Ceilings>,
    /// The stages of an update at the longest, in order; those that it has not are left out.
    pub stages: Vec<StageTime>,
    /// Their sum, s.
    pub seconds_per_update: f64,
    /// That of all updates, s.
    pub seconds: f64,
}

/// One stage of an update.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// What is done.
    pub name: &'static str,
    /// How long it takes: `amount / speed`.
    pub seconds: f64,
    /// What bounds it, and so what `amount` counts.
    pub bound: Bound,
    /// Operations or bytes.
    pub amount: f64,
    /// Operations or bytes a second.
    pub speed: f64,
    /// The part of the device's ceiling that the speed is; none where it was measured itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What a stage waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic: operations.
    Products,
    /// The device's memory: bytes.
    Memory,
    /// The bus to the host's memory: bytes.
    Bus,
}

impl StageTime {
    /// A stage at a speed that was measured.
    pub(super) fn at(name: &'static str, bound: Bound, amount: f64, speed: f64) -> Self {
        Self { name, seconds: amount / speed, bound, amount, speed, share: None }
    }
}

/// The time of a run.
///
/// # Errors
/// The CPU's speed cannot be measured, or a GPU's driver does not answer.
pub(super) fn time(
    config: &RunConfig,
    needs: &Needs,
    place: &Place,
    updates: u64,
) -> Result<Time, TrainError> {
    let Needs { model, workload, dtype, .. } = needs;
    let estimate = |speeds: String, ceilings: Option<Ceilings>, stages: Vec<StageTime>| {
        let seconds_per_update = stages.iter().map(|stage| stage.seconds).sum();
        let seconds = seconds_per_update * updates as f64;
        Time::Known(Estimate { speeds, ceilings, stages, seconds_per_update, seconds })
    };
    if let Place::Here(device @ Device::Cpu) = place {
        let speed = Speed::measure(model, *dtype, device)
            .map_err(TrainError::during("measuring the machine's speed"))?;
        let stages = cpu_time::stages(config, model, workload, speed);
        return Ok(estimate("measured now".to_owned(), None, stages));
    }
    if *dtype != DType::BF16 {
        let unknown = "not known: on a GPU there are figures for bf16 alone".to_owned();
        return Ok(Time::Unknown { unknown });
    }
    match gpu_speeds(place)? {
        Ok((speeds, ceilings)) => {
            let stages = gpu_time::stages(config, model, workload, ceilings);
            Ok(estimate(speeds, Some(ceilings), stages))
        }
        Err(unknown) => Ok(Time::Unknown { unknown }),
    }
}

/// A GPU's ceilings and where they are from, or why there are none.
type GpuSpeeds = Result<(String, Ceilings), String>;

fn gpu_speeds(place: &Place) -> Result<GpuSpeeds, TrainError> {
    match place {
        Place::Here(device) => {
            let identity =
                Identity::of(device).map_err(TrainError::during("asking for the device's name"))?;
            Ok(speeds_here(&identity, &Hub::from_env().assets_folder()))
        }
        Place::Card(card) => Ok(Ok(by_table(card))),
        Place::Elsewhere { .. } => {
            let unknown = "not known: --gpu NAME plans for a card of known speed";
            Ok(Err(unknown.to_owned()))
        }
    }
}

fn by_table(card: &Card) -> (String, Ceilings) {
    (format!("from the table of cards: {}", card.name()), card.ceilings())
}

/// Those of a GPU of this machine: measured ones before the table's.
///
/// - `folder`: of what this program keeps
fn speeds_here(identity: &Identity, folder: &Path) -> GpuSpeeds {
    match Measured::of(folder, identity) {
        Ok(Some(measured)) if measured.dtype == DType::BF16.as_str() => {
            let speeds = format!("measured by `othink doctor --ceilings` on {}", measured.date);
            return Ok((speeds, measured.ceilings));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("kept ceilings are not used: {error}"),
    }
    Card::of_driver(&identity.name).map(by_table).ok_or_else(|| {
        let name = &identity.name;
        format!("not known: no figures for {name}; `othink doctor --ceilings` measures them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text and the product's speed.
    fn speeds(name: &str, folder: &Path) -> Result<(String, f64), String> {
        let identity = Identity { name: name.to_owned(), driver: "580.1".to_owned() };
        speeds_here(&identity, folder).map(|(told, ceilings)| (told, ceilings.product_tflops))
    }

    #[test]
    fn measured_ceilings_come_before_the_tables_and_an_unknown_card_is_told_how_to_get_them() {
        let folder = tempfile::tempdir().unwrap();
        let (told, tflops) = speeds("NVIDIA H200", folder.path()).unwrap();
        assert_eq!(told, "from the table of cards: NVIDIA H200");
        assert!((tflops - 780.7).abs() < 0.1);
        assert_eq!(
            speeds("Tesla T4", folder.path()).unwrap_err(),
            "not known: no figures for Tesla T4; `othink doctor --ceilings` measures them"
        );
        for name in ["NVIDIA H200", "Tesla T4"] {
            let mut measured = Measured {
                device: name.to_owned(),
                driver: "580.1".to_owned(),
                dtype: "bf16".to_owned(),
                date: "2026-11-27".to_owned(),
                ceilings: Ceilings { product_tflops: 7.0, copy_tb_per_s: 1.0 },
            };
            let path = measured.keep(folder.path()).unwrap();
            let told = "measured by `othink doctor --ceilings` on 2026-11-27".to_owned();
            assert_eq!(speeds(name, folder.path()), Ok((told, 7.0)));
            let without = speeds(name, &folder.path().join("none"));
            for spoilt in ["", "{}", "null"] {
                std::fs::write(&path, spoilt).unwrap();
                assert_eq!(speeds(name, folder.path()), without, "{spoilt:?} is not used");
            }
            measured.dtype = "f32".to_owned();
            measured.keep(folder.path()).unwrap();
            assert_eq!(speeds(name, folder.path()), without, "another number format");
        }
    }
}
