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
use crate::optim::memory::Memory;
use crate::rng::{Purpose, Stream};

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
    /// Whether weights in bf16 are moved themselves and rounded by chance; otherwise they are copies of master weights in f32.
    pub rounds_weights: bool,
    /// The run's seed, which rounding by chance takes its random bits from.
    pub seed: u64,
    /// Whether moments and master weights of a model on a GPU are in the host's memory.
    pub offload: bool,
}

/// The optimiser's state for one model.
#[derive(Debug)]
pub struct Optimizer {
    settings: OptimizerSettings,
    adamw: AdamW,
    /// f32 copies of parameters whose own dtype is too coarse to be moved in small steps; in `memory`.
    masters: BTreeMap<String, Tensor>,
    memory: Memory,
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
        let mut memory = memory(&settings, parameters)?;
        let mut masters = BTreeMap::new();
        for parameter in parameters.trained().filter(|p| has_master(p, &settings)) {
            let master = memory.hold(parameter.value().detach().to_dtype(DType::F32)?)?;
            masters.insert(parameter.name().to_owned(), master);
        }
        let moved = moved(parameters, &masters, &settings)?;
        let adamw = AdamW::new(settings.adamw, moved, memory.clone())?;
        Ok(Self { settings, adamw, masters, memory })
    }

    /// An optimiser that continues from a checkpoint's `state` and `masters`, which are on the host where that is where they
    /// are kept, else on the model's device.
    ///
    /// # Errors
    /// The state is not exactly that of the model's trained parameters.
    pub fn restore(
        settings: OptimizerSettings,
        parameters: &Parameters,
        state: Vec<(String, Tensor)>,
        masters: Vec<(String, Tensor)>,
    ) -> Result<Self> {
        let mut memory = memory(&settings, parameters)?;
        let held = masters.into_iter().map(|(name, master)| Ok((name, memory.hold(master)?)));
        let masters: BTreeMap<String, Tensor> = held.collect::<Result<_>>()?;
        let moved = moved(parameters, &masters, &settings)?;
        let adamw = AdamW::restore(settings.adamw, moved, state, memory.clone())?;
        Ok(Self { settings, adamw, masters, memory })
    }

    /// AdamW's state, by name.
    ///
    /// # Errors
    /// See [`AdamW::state`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.adamw.state()
    }

    /// Master weights by name; none where the parameters are moved themselves.
    ///
    /// # Errors
    /// The device fails.
    pub fn masters(&self) -> Result<Vec<(String, Tensor)>> {
        self.memory.wait()?;
        Ok(self.masters.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect())
    }

    /// Makes one step of AdamW with the gradients in the buffers, then clears them.
    ///
    /// - `s`: finished updates of the run
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn step(&mut self, parameters: &Parameters, s: u64, ranks: &dyn Ranks) -> Result<Stepped> {
        let gradients = summed_gradients(parameters, ranks)?;
        let stepped = self.step_along(&gradients, s);
        parameters.trained().for_each(Parameter::clear_gradient);
        stepped
    }

    fn step_along(&mut self, gradients: &[Reached], s: u64) -> Result<Stepped> {
        let named = gradients.iter().map(|reached| (reached.parameter.name(), &reached.gradient));
        let norm: GradNorm = grad_norm(named)?;
        if !norm.norm.is_finite() {
            return Ok(Stepped::NonFinite(norm));
        }
        let lr = self.settings.schedule.lr(s);
        let Self { settings, adamw, masters, .. } = self;
        let updates: Vec<Update> =
            gradients.iter().map(|reached| reached.update(settings, masters, s)).collect();
        adamw.step(lr, norm.factor(settings.clip_norm), &updates)?;
        Ok(Stepped::Done(StepReport { lr, grad_norm: norm.norm }))
    }
}

/// A trained parameter that has a gradient.
struct Reached<'a> {
    parameter: &'a Parameter,
    /// Its place among all trained parameters, in the order of the names.
    place: u32,
    gradient: Tensor,
}

impl Reached<'_> {
    /// - `s`: finished updates of the run
    fn update<'a>(
        &'a self,
        settings: &OptimizerSettings,
        masters: &'a BTreeMap<String, Tensor>,
        s: u64,
    ) -> Update<'a> {
        let (name, value) = (self.parameter.name(), self.parameter.value());
        // Values are changed in place, because rollouts share the parameter's storage.
        let weights = match masters.get(name) {
            Some(master) => Weights::Copied { master, copy: value },
            None if value.dtype() == DType::BF16 => {
                #[expect(clippy::cast_possible_truncation, reason = "a run has fewer updates")]
                let update = s as u32;
                let stream = Stream::new(settings.seed, Purpose::Rounding, update, self.place, 0);
                Weights::Rounded { weights: value, stream }
            }
            None => Weights::Plain(value),
        };
        let decay = settings.decay_vectors || value.rank() >= 2;
        Update { name, weights, grad: &self.gradient, decay }
    }
}

/// The gradients, summed over the ranks, of the parameters that have one on any rank.
///
/// As in torch, a parameter without a gradient is left unchanged: it neither decays nor counts a step.
fn summed_gradients<'a>(parameters: &'a Parameters, ranks: &dyn Ranks) -> Result<Vec<Reached<'a>>> {
    let has_gradient = |p: &Parameter| f64::from(u8::from(p.gradient().is_some()));
    let mut n_ranks: Vec<f64> = parameters.trained().map(has_gradient).collect();
    ranks.sum(&mut n_ranks)?;
    if let Some(whole) = parameters.whole_gradient()? {
        ranks.sum_tensors(std::slice::from_ref(whole))?;
    }
    let trained = (0..).zip(parameters.trained()).zip(n_ranks);
    let reached = trained.filter(|(_, n_ranks)| *n_ranks > 0.0).filter_map(|((place, p), _)| {
        Some(Reached { parameter: p, place, gradient: p.gradient()? })
    });
    Ok(reached.collect())
}

/// Where moments and master weights are kept.
fn memory(settings: &OptimizerSettings, parameters: &Parameters) -> Result<Memory> {
    let Some(first) = parameters.trained().next().filter(|_| settings.offload) else {
        return Ok(Memory::beside_weights());
    };
    // Two moments each, and a master.
    let shapes = parameters.trained().flat_map(|parameter| {
        let n = 2 + usize::from(has_master(parameter, settings));
        std::iter::repeat_n(parameter.value().shape(), n)
    });
    Memory::on_host(first.value().device(), shapes)
}

/// What the optimiser updates of each trained parameter: its master weights where it has any, else the parameter.
fn moved<'a>(
    parameters: &'a Parameters,
    masters: &'a BTreeMap<String, Tensor>,
    settings: &OptimizerSettings,
) -> Result<Vec<(&'a str, &'a Tensor)>> {
    let moved = |p: &'a Parameter| match masters.get(p.name()) {
        Some(master) => Ok((p.name(), master)),
        None if has_master(p, settings) => bail!("{} has no master weights", p.name()),
        None => Ok((p.name(), p.value())),
    };
    parameters.trained().map(moved).collect()
}

/// Whether a parameter is moved through master weights: f32 weights are their own.
fn has_master(parameter: &Parameter, settings: &OptimizerSettings) -> bool {
    match parameter.value().dtype() {
        DType::F32 | DType::F64 => false,
        DType::BF16 => !settings.rounds_weights,
        _ => true,
    }
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
        let (state, mut masters) = (optimizer.state().unwrap(), optimizer.masters().unwrap());
        let restore = |masters: Vec<(String, Tensor)>| {
            Optimizer::restore(settings(), model.parameters(), state.clone(), masters)
        };
        assert!(restore(masters.clone()).is_ok());
        let (lost, _) = masters.pop().unwrap();
        let error = restore(masters).err().unwrap().to_string();
        assert!(error.contains(&format!("{lost} has no master weights")), "{error}");
    }

    #[test]
    fn rounding_is_named_by_seed_update_and_place_among_all_trained_parameters() {
        let model = model(DType::BF16);
        let parameters = model.parameters();
        let name = "model.norm.weight";
        let place = parameters.trained().position(|p| p.name() == name).unwrap();
        assert!(place > 0, "others come before it, and no gradient reaches them");
        let parameter = parameters.get(name).unwrap();
        parameter.accumulate(&parameter.value().ones_like().unwrap()).unwrap();
        let reached = summed_gradients(parameters, &Solo).unwrap();
        assert_eq!(reached.len(), 1);
        let settings = OptimizerSettings { rounds_weights: true, seed: 77, ..settings() };
        let masters = BTreeMap::new();
        let update = reached[0].update(&settings, &masters, 5);
        let Weights::Rounded { stream, .. } = update.weights else { panic!("{update:?}") };
        assert_eq!(stream, Stream::new(77, Purpose::Rounding, 5, place as u32, 0));
    }

    #[test]
    fn weights_that_are_rounded_have_no_masters_and_are_restored_without() {
        let model = model(DType::BF16);
        let settings = OptimizerSettings { rounds_weights: true, ..settings() };
        let optimizer = Optimizer::new(settings.clone(), model.parameters()).unwrap();
        assert!(optimizer.masters().unwrap().is_empty());
        let state = optimizer.state().unwrap();
        assert!(state.iter().all(|(_, tensor)| tensor.dtype() == DType::F32));
        assert!(Optimizer::restore(settings, model.parameters(), state, Vec::new()).is_ok());
    }
}
