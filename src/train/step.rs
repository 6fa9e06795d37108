//! The sixth stage of an update: one optimiser step over all trained parameters, by clip, learning rate, AdamW and master
//! weights.
//! Not here: AdamW's arithmetic, the schedule's and the norm's (`optim`).

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};

use super::ranks::Ranks;
use crate::model::parameters::Parameters;
use crate::ops::Parameter;
use crate::optim::adamw::{AdamW, AdamWSettings, Update, Weights};
use crate::optim::clip::{GradNorm, grad_norm};
use crate::optim::lr_schedule::LrSchedule;

/// What does not change over a run.
#[derive(Debug, Clone)]
pub struct OptimizerSettings {
    /// AdamW's own.
    pub adamw: AdamWSettings,
    /// The learning rate over the run.
    pub schedule: LrSchedule,
    /// The global norm that gradients are clipped to; infinite for none.
    pub clip_norm: f64,
    /// Whether weight decay also applies to norms and biases, that is to vectors.
    pub decay_vectors: bool,
}

/// The optimiser's state for one model.
#[derive(Debug)]
pub struct Optimizer {
    settings: OptimizerSettings,
    adamw: AdamW,
    /// f32 copies of parameters whose own dtype is too coarse to be moved in small steps.
    masters: BTreeMap<String, Tensor>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The learning rate of the step.
    pub lr: f64,
    /// The gradients' norm before clipping.
    pub grad_norm: f64,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Stepped {
    /// The parameters moved.
    Done(StepReport),
    /// Nothing moved: this norm is not finite.
    NonFinite(GradNorm),
}

impl Optimizer {
    /// A fresh optimiser for the trained ones of `parameters`.
    ///
    /// # Errors
    /// Master weights cannot be allocated.
    pub fn new(settings: OptimizerSettings, parameters: &Parameters) -> Result<Self> {
        let masters: BTreeMap<String, Tensor> = parameters
            .trained()
            .filter(|p| !has_own_precision(p))
            .map(|p| Ok((p.name().to_owned(), p.value().detach().to_dtype(DType::F32)?)))
            .collect::<Result<_>>()?;
        let adamw = AdamW::new(settings.adamw, moved(parameters, &masters)?)?;
        Ok(Self { settings, adamw, masters })
    }

    /// An optimiser that continues from a checkpoint's `state` and `masters`.
    ///
    /// # Errors
    /// The state is not exactly that of the model's trained parameters.
    pub fn restore(
        settings: OptimizerSettings,
        parameters: &Parameters,
        state: Vec<(String, Tensor)>,
        masters: Vec<(String, Tensor)>,
    ) -> Result<Self> {
        let masters: BTreeMap<String, Tensor> = masters.into_iter().collect();
        let adamw = AdamW::restore(settings.adamw, moved(parameters, &masters)?, state)?;
        Ok(Self { settings, adamw, masters })
    }

    /// AdamW's state, by name.
    ///
    /// # Errors
    /// See [`AdamW::state`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.adamw.state()
    }

    /// Master weights by name; none where the run's dtype is f32.
    pub fn masters(&self) -> Vec<(String, Tensor)> {
        self.masters.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// Makes one step of AdamW with the gradients in the buffers, then clears them.
    ///
    /// - `s`: finished updates of the run
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn step(&mut self, parameters: &Parameters, s: u64, ranks: &dyn Ranks) -> Result<Stepped> {
        let gradients = summed_gradients(parameters, ranks)?;
        let stepped = self.step_along(gradients, s);
        parameters.trained().for_each(Parameter::clear_gradient);
        stepped
    }

    fn step_along(&mut self, gradients: Vec<(&Parameter, Tensor)>, s: u64) -> Result<Stepped> {
        let norm: GradNorm = grad_norm(gradients.iter().map(|(p, g)| (p.name(), g)))?;
        if !norm.norm.is_finite() {
            return Ok(Stepped::NonFinite(norm));
        }
        let lr = self.settings.schedule.lr(s);
        let decay_vectors = self.settings.decay_vectors;
        let updates: Vec<Update> =
            gradients.iter().map(|(p, g)| update(p, g, &self.masters, decay_vectors)).collect();
        self.adamw.step(lr, norm.factor(self.settings.clip_norm), &updates)?;
        Ok(Stepped::Done(StepReport { lr, grad_norm: norm.norm }))
    }
}

/// A parameter's part in a step.
fn update<'a>(
    parameter: &'a Parameter,
    grad: &'a Tensor,
    masters: &'a BTreeMap<String, Tensor>,
    decay_vectors: bool,
) -> Update<'a> {
    let (name, value) = (parameter.name(), parameter.value());
    let weights = match masters.get(name) {
        None => Weights { master: value, copy: None },
        // In place, because rollouts share the parameter's storage.
        Some(master) => Weights { master, copy: Some(value) },
    };
    Update { name, weights, grad, decay: decay_vectors || value.rank() >= 2 }
}

/// The gradients, summed over the ranks, of the parameters that have one on any rank.
///
/// As in torch, a parameter without a gradient is left unchanged: it neither decays nor counts a step.
fn summed_gradients<'a>(
    parameters: &'a Parameters,
    ranks: &dyn Ranks,
) -> Result<Vec<(&'a Parameter, Tensor)>> {
    let has_gradient = |p: &Parameter| f64::from(u8::from(p.gradient().is_some()));
    let mut n_ranks: Vec<f64> = parameters.trained().map(has_gradient).collect();
    ranks.sum(&mut n_ranks)?;
    if let Some(whole) = parameters.whole_gradient()? {
        ranks.sum_tensors(std::slice::from_ref(whole))?;
    }
    let reached = parameters.trained().zip(n_ranks).filter(|(_, n_ranks)| *n_ranks > 0.0);
    Ok(reached.filter_map(|(p, _)| Some((p, p.gradient()?))).collect())
}

/// What the optimiser updates of each trained parameter: its master weights where it has any, else the parameter.
fn moved<'a>(
    parameters: &'a Parameters,
    masters: &'a BTreeMap<String, Tensor>,
) -> Result<Vec<(&'a str, &'a Tensor)>> {
    let moved = |p: &'a Parameter| match masters.get(p.name()) {
        Some(master) => Ok((p.name(), master)),
        None if has_own_precision(p) => Ok((p.name(), p.value())),
        None => bail!("{} has no master weights", p.name()),
    };
    parameters.trained().map(moved).collect()
}

/// f32 weights are their own master weights.
fn has_own_precision(parameter: &Parameter) -> bool {
    matches!(parameter.value().dtype(), DType::F32 | DType::F64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::config::RunConfig;
    use crate::model::Model;
    use crate::model::files::ModelFiles;
    use crate::model::open::open;
    use crate::model::parameters::Trained;
    use crate::train::ranks::Solo;
    use crate::train::settings::optimizer_settings;

    fn model(dtype: DType) -> Model {
        let files = ModelFiles::Folder("tests/golden/micro/policy".into());
        open(&files, dtype, &Device::Cpu, Trained::All).unwrap()
    }

    fn settings() -> OptimizerSettings {
        let mut config = RunConfig::default();
        config.optim.lr = 0.1;
        config.optim.weight_decay = 0.5;
        optimizer_settings(&config, 9)
    }

    #[test]
    fn a_parameter_that_no_gradient_reaches_neither_decays_nor_counts_a_step() {
        let model = model(DType::F32);
        let parameters = model.parameters();
        let bits = |p: &Parameter| -> Vec<u32> {
            let values = p.value().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        let before: Vec<Vec<u32>> = parameters.trained().map(bits).collect();
        let reached = "model.norm.weight";
        let parameter = parameters.get(reached).unwrap();
        parameter.accumulate(&parameter.value().ones_like().unwrap()).unwrap();
        let mut optimizer = Optimizer::new(settings(), parameters).unwrap();
        assert!(matches!(optimizer.step(parameters, 0, &Solo).unwrap(), Stepped::Done(_)));
        for (parameter, before) in parameters.trained().zip(&before) {
            let name = parameter.name();
            assert_eq!(bits(parameter) != *before, name == reached, "{name}");
        }
        for (key, steps) in optimizer.state().unwrap() {
            if let Some(name) = key.strip_prefix("step.") {
                let steps = steps.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap();
                assert_eq!(steps > 0.0, name == reached, "{name}");
            }
        }
    }

    #[test]
    fn weights_in_16_bits_are_not_restored_without_their_masters() {
        let model = model(DType::BF16);
        let optimizer = Optimizer::new(settings(), model.parameters()).unwrap();
        let (state, mut masters) = (optimizer.state().unwrap(), optimizer.masters());
        let restore = |masters: Vec<(String, Tensor)>| {
            Optimizer::restore(settings(), model.parameters(), state.clone(), masters)
        };
        assert!(restore(masters.clone()).is_ok());
        let (lost, _) = masters.pop().unwrap();
        let error = restore(masters).err().unwrap().to_string();
        assert!(error.contains(&format!("{lost} has no master weights")), "{error}");
    }
}
