//! How long an update and the run take, stage by stage, and where the speeds are from.
//! Not here: the stages of the CPU (`cpu_time`) and of a GPU (`gpu_time`).

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
    pub share: Option<Share>,
}

/// A part of a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Of 1.
    pub of_ceiling: f64,
    /// Whether no device was measured to reach it.
    pub is_assumed: bool,
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
fn gpu_speeds(place: &Place) -> Result<Result<(String, Ceilings), String>, TrainError> {
    let by_table =
        |card: &Card| (format!("from the table of cards: {}", card.name()), card.ceilings());
    let device = match place {
        Place::Here(device) => device,
        Place::Card(card) => return Ok(Ok(by_table(card))),
        Place::Elsewhere { .. } => {
            let unknown = "not known: --gpu NAME plans for a card of known speed";
            return Ok(Err(unknown.to_owned()));
        }
    };
    let identity =
        Identity::of(device).map_err(TrainError::during("asking for the device's name"))?;
    let kept = Measured::of(&Hub::from_env().assets_folder(), &identity);
    if let Ok(Some(measured)) = &kept
        && measured.dtype == DType::BF16.as_str()
    {
        let speeds = format!("measured by `othink doctor --ceilings` on {}", measured.date);
        return Ok(Ok((speeds, measured.ceilings)));
    }
    if let Err(error) = kept {
        tracing::warn!("kept ceilings are not used: {error}");
    }
    Ok(Card::of_driver(&identity.name).map(by_table).ok_or_else(|| {
        let name = identity.name;
        format!("not known: no figures for {name}; `othink doctor --ceilings` measures them")
    }))
}
