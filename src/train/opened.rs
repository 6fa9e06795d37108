//! A run before its weights are loaded and its folder is made or changed: all that can be checked by then.
//! Not here: each part (`setup`, `plan`, `resumed`), the run (`run`).

use candle_core::DType;

use super::error::TrainError;
use super::health::off_policy;
use super::pictures::look_at_training_rows;
use super::plan::{Needs, Plan, plan_opened};
use super::resumed::{Began, Resumed};
use super::run::TrainOptions;
use super::setup::Setup;
use crate::config::RunConfig;
use crate::ops;
use crate::progress::ProgressDisplay;

/// What a run is made of, before its weights are loaded and its folder is changed.
pub(super) struct Opened {
    /// With its task's keys filled in.
    pub(super) config: RunConfig,
    pub(super) setup: Setup,
    pub(super) needs: Needs,
    pub(super) plan: Plan,
    pub(super) began: Began,
    /// The path of the run's device and number format.
    pub(super) runs_on: ops::Path,
    /// The folder of a run that is continued.
    pub(super) resumed: Option<Resumed>,
}

impl Opened {
    /// Opens and checks all that can be without weights; nothing is written.
    ///
    /// # Errors
    /// Something that the run file names is not what it should be, or the run does not fit into its GPU.
    pub(super) fn open(
        config: RunConfig,
        options: &TrainOptions,
        display: &ProgressDisplay,
    ) -> Result<Self, TrainError> {
        display.between("opening the model and the data", "");
        let setup = Setup::open(&config)?;
        look_at_training_rows(&config, &setup, display)?;
        let needs = Needs::of(&config, &setup)?;
        let plan = admitted((&config, &setup, &needs), options, display)?;
        display.between("reading the rows and the base model", "");
        let began = Began::of(&config, &setup)?;
        display.between("opening the model and the data", "");
        let runs_on = ops::Path::resolve(&setup.device, setup.dtype);
        let resumed = Resumed::open(options, (&config, &setup), &began, runs_on, display)?;
        Ok(Self { config, setup, needs, plan, began, runs_on, resumed })
    }
}

/// The plan of a run that may begin, under the warnings that there are.
///
/// # Errors
/// The run does not fit into its GPU.
fn admitted(
    (config, setup, needs): (&RunConfig, &Setup, &Needs),
    options: &TrainOptions,
    display: &ProgressDisplay,
) -> Result<Plan, TrainError> {
    for unread in config.unread_here(setup.dtype == DType::BF16, setup.device.is_cuda()) {
        display.warn(&unread.to_string());
    }
    if let Some(off_policy) = off_policy(config) {
        display.warn(&off_policy);
    }
    let plan = plan_opened(config, needs, &setup.device, &options.out);
    for warning in plan.admit(options.is_forced)? {
        display.warn(&warning);
    }
    Ok(plan)
}
