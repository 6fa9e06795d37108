//! AdamW: its state, which can be saved, its steps, and one parameter's update from tensor operations.
//! Not here: the same update as fused loops for the CPU (`adamw_fused`) and as a kernel for a GPU (`adamw_cuda`); the learning
//! rate (`lr_schedule`); the clipping factor (`clip`); which parameters decay (`train::step`); files (`run_folder::checkpoint`).
//!
//! The arithmetic is that of `torch.optim.AdamW` (`torch/optim/adam.py`, `_single_tensor_adam` with decoupled decay),
//! operation by operation; differences are one rounding at most, where torch fuses a multiply and an add.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use super::adamw_cuda;
use super::adamw_fused::{apply_fused, apply_rounded};
use super::memory::Memory;
use crate::rng::Stream;

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Decay factor of the first moment, the running mean of the gradients, 0 to 1.
    pub beta1: f64,
    /// Decay factor of the second moment, the running mean of their squares, 0 to 1.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    /// torch's betas and eps, and R1-V's weight decay (none).
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The running means of one parameter's gradients: the shape of what is moved, and its dtype, or f32 for weights in bf16.
#[derive(Clone, Debug)]
pub struct Moments {
    /// First moment: the mean of the gradients.
    pub m: Tensor,
    /// Second moment: the mean of their squares.
    pub v: Tensor,
}

/// The optimiser and its state, everything that has to survive an interruption.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    states: BTreeMap<String, State>,
    /// Where the moments are, and perhaps the master weights.
    memory: Memory,
}

/// What is kept of one parameter.
#[derive(Clone, Debug)]
struct State {
    moments: Moments,
    /// Steps that the parameter has made, for the bias correction. Fewer than the optimiser's where steps brought it no
    /// gradient, as in torch.
    n_steps: u64,
}

/// One parameter's part in a step.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Its name, as given to [`AdamW::new`].
    pub name: &'a str,
    /// What is moved.
    pub weights: Weights<'a>,
    /// The gradient: the weights' shape, on the device that the model is on; another dtype is widened to the moments'.
    pub grad: &'a Tensor,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// What one parameter's update writes to, besides the moments. All are contiguous; any tensor that shares their storage sees the
/// change.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// f32 or f64.
    Plain(&'a Tensor),
    /// Master weights and what a model computes with.
    Copied {
        /// f32 or f64.
        master: &'a Tensor,
        /// The same numbers in a shorter dtype, overwritten: the shape of `master`.
        copy: &'a Tensor,
    },
    /// No weights but those that a model computes with: moved in f32, and rounded by chance.
    Rounded {
        /// bf16.
        weights: &'a Tensor,
        /// Where the random bits come from, another one for each parameter and step.
        stream: Stream,
    },
}

impl<'a> Weights<'a> {
    /// What the optimiser moves.
    fn moved(self) -> &'a Tensor {
        match self {
            Self::Plain(master) | Self::Copied { master, .. } => master,
            Self::Rounded { weights, .. } => weights,
        }
    }

    /// What is wrong with their dtype or layout.
    fn check(self, name: &str) -> Result<()> {
        let moved = self.moved();
        let (expected, fits) = match self {
            Self::Plain(_) | Self::Copied { .. } => {
                ("f32 or f64 master weights", matches!(moved.dtype(), DType::F32 | DType::F64))
            }
            Self::Rounded { .. } => ("bf16 weights to round", moved.dtype() == DType::BF16),
        };
        if !fits || !moved.is_contiguous() {
            bail!("adamw: {name} is {moved:?}, expected contiguous {expected}");
        }
        Ok(())
    }
}

impl AdamW {
    /// An optimiser that has made no step: every moment is zero.
    ///
    /// - `parameters`: names of all that may ever be updated, and what is moved: master weights in f32 or f64, or weights in
    ///   bf16 that are rounded by chance
    /// - `memory`: gives the moments their room; master weights of these parameters may be there too
    ///
    /// # Errors
    /// The moments cannot be allocated.
    pub fn new<'a>(
        settings: AdamWSettings,
        parameters: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
        mut memory: Memory,
    ) -> Result<Self> {
        let mut states = BTreeMap::new();
        for (name, parameter) in parameters {
            let mut zeros =
                || memory.zeros(parameter.shape(), moments_dtype(parameter), parameter.device());
            let moments = Moments { m: zeros()?, v: zeros()? };
            states.insert(name.to_owned(), State { moments, n_steps: 0 });
        }
        Ok(Self { settings, states, memory })
    }

    /// Makes one step: updates parameters and their moments in place, in the order given.
    ///
    /// - `lr`: the learning rate of this step
    /// - `grad_scale`: multiplies every gradient first; the clipping factor, times any normaliser left over
    /// - `updates`: each parameter that has a gradient, once
    ///
    /// # Errors
    /// A name is not known, a dtype is another, a shape differs, or weights are not contiguous; names the parameter. No
    /// parameter has moved then.
    pub fn step(&mut self, lr: f64, grad_scale: f64, updates: &[Update]) -> Result<()> {
        let mut prepared = Vec::with_capacity(updates.len());
        for update in updates {
            let Update { weights, grad, decay, .. } = *update;
            let State { moments, n_steps } = self.checked(update)?.clone(); // copies no data
            let rule = Rule::new(&self.settings, n_steps + 1, [lr, grad_scale], decay);
            let grad = grad.detach().contiguous()?;
            prepared.push(Prepared { rule, weights, grad, moments });
        }
        apply(&prepared, &self.memory)?;
        for update in updates {
            if let Some(state) = self.states.get_mut(update.name) {
                state.n_steps += 1;
            }
        }
        Ok(())
    }

    /// The state of a parameter whose update fits it.
    fn checked(&self, update: &Update) -> Result<&State> {
        let Update { name, weights, grad, .. } = *update;
        weights.check(name)?;
        let moved = weights.moved();
        if grad.dims() != moved.dims() {
            bail!("adamw: gradient of {name} is {grad:?}, expected the shape of {moved:?}");
        }
        let Some(state) = self.states.get(name) else {
            bail!("adamw: {name} has no moments: it was not among the trained parameters");
        };
        if state.moments.m.dims() != moved.dims() || state.moments.m.dtype() != moments_dtype(moved)
        {
            let m = &state.moments.m;
            bail!("adamw: moments of {name} are {m:?}, expected those of {moved:?}");
        }
        Ok(state)
    }

    /// The state as named tensors, `m.NAME`, `v.NAME` and the scalar `step.NAME` (f32, exact to 2^24 steps, as torch's),
    /// in the order of names.
    ///
    /// The moments share their storage with the optimiser: write them out before the next step.
    ///
    /// # Errors
    /// A scalar cannot be made, or the device fails.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.memory.wait()?;
        let mut tensors = Vec::with_capacity(3 * self.states.len());
        for (name, State { moments, n_steps }) in &self.states {
            tensors.push((format!("m.{name}"), moments.m.clone()));
            tensors.push((format!("v.{name}"), moments.v.clone()));
            tensors.push((format!("step.{name}"), Tensor::new(*n_steps as f32, &Device::Cpu)?));
        }
        Ok(tensors)
    }

    /// An optimiser that continues where [`AdamW::state`] was taken.
    ///
    /// The tensors are used in place, and will be written to, where the memory is beside the weights.
    ///
    /// - `parameters`, `memory`: as of [`AdamW::new`]; the state must hold these and no others
    ///
    /// # Errors
    /// A tensor is missing, belongs to no parameter, or has another shape, dtype or device than its parameter.
    pub fn restore<'a>(
        settings: AdamWSettings,
        parameters: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
        state: impl IntoIterator<Item = (String, Tensor)>,
        mut memory: Memory,
    ) -> Result<Self> {
        let mut state: BTreeMap<String, Tensor> = state.into_iter().collect();
        let mut take = |key: String| match state.remove(&key) {
            Some(tensor) => Ok(tensor),
            None => bail!("optimiser state: {key} is missing"),
        };
        let mut states = BTreeMap::new();
        for (name, parameter) in parameters {
            let mut moment = |part: &str| {
                let moment = take(format!("{part}.{name}"))?;
                if moment.dims() != parameter.dims()
                    || moment.dtype() != moments_dtype(parameter)
                    || !moment.device().same_device(memory.device(parameter.device()))
                {
                    bail!(
                        "optimiser state: {part}.{name} is {moment:?}, expected a tensor like {parameter:?}"
                    );
                }
                memory.hold(moment)
            };
            let moments = Moments { m: moment("m")?, v: moment("v")? };
            let steps = take(format!("step.{name}"))?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            #[expect(clippy::cast_sign_loss, reason = "a count, written by `state`")]
            states.insert(name.to_owned(), State { moments, n_steps: steps as u64 });
        }
        if let Some(key) = state.keys().next() {
            bail!("optimiser state: {key} belongs to no trained parameter");
        }
        Ok(Self { settings, states, memory })
    }
}

/// The dtype of the moments of what is moved.
fn moments_dtype(moved: &Tensor) -> DType {
    if moved.dtype() == DType::BF16 { DType::F32 } else { moved.dtype() }
}

/// An update with all that it reads and writes, each of one shape.
pub(super) struct Prepared<'a> {
    pub(super) rule: Rule,
    pub(super) weights: Weights<'a>,
    pub(super) grad: Tensor,
    pub(super) moments: Moments,
}

/// Makes all updates of a step: those that have a kernel on a GPU together, the others one by one.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "kernels reach into it"))]
fn apply(updates: &[Prepared], memory: &Memory) -> Result<()> {
    #[cfg(feature = "cuda")]
    let updates = adamw_cuda::apply(updates, memory)?;
    for Prepared { rule, weights, grad, moments } in updates {
        let grad = &grad.to_dtype(moments.m.dtype())?;
        match *weights {
            Weights::Plain(master) => apply_to_master(rule, master, grad, moments)?,
            Weights::Copied { master, copy } => {
                apply_to_master(rule, master, grad, moments)?;
                copy.detach().slice_set(&master.detach().to_dtype(copy.dtype())?, 0, 0)?;
            }
            Weights::Rounded { weights, stream } => {
                apply_rounded(rule, &weights.detach(), stream, grad, moments)?;
            }
        }
    }
    Ok(())
}

fn apply_to_master(rule: &Rule, master: &Tensor, grad: &Tensor, moments: &Moments) -> Result<()> {
    let master = master.detach();
    match master.device() {
        Device::Cpu => apply_fused(rule, &master, grad, moments),
        _ => apply_composed(rule, &master, grad, moments),
    }
}

/// The numbers of one parameter's update, worked out once per step in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Multiplies the gradient first.
    pub(super) grad_scale: f64,
    /// 1 - beta1: the weight of the new gradient in the first moment.
    pub(super) first_share: f64,
    /// The weight of the previous second moment.
    pub(super) beta2: f64,
    /// lr / (1 - beta1^step).
    pub(super) step_size: f64,
    /// sqrt(1 - beta2^step).
    pub(super) second_correction: f64,
    /// Added to the root of the corrected second moment.
    pub(super) eps: f64,
    /// 1 - lr * `weight_decay`, or 1: the factor by which weight decay shrinks the parameter.
    pub(super) shrink: f64,
}

impl Rule {
    /// - `n_steps`: the parameter's, with this one
    fn new(
        settings: &AdamWSettings,
        n_steps: u64,
        [lr, grad_scale]: [f64; 2],
        decay: bool,
    ) -> Self {
        let AdamWSettings { beta1, beta2, eps, weight_decay } = *settings;
        let steps = n_steps as f64;
        Self {
            grad_scale,
            first_share: 1.0 - beta1,
            beta2,
            step_size: lr / (1.0 - beta1.powf(steps)),
            second_correction: (1.0 - beta2.powf(steps)).sqrt(),
            eps,
            shrink: if decay { 1.0 - lr * weight_decay } else { 1.0 },
        }
    }
}

/// One update from tensor operations, for devices and dtypes without an implementation of their own. All four tensors have one
/// shape and dtype.
fn apply_composed(rule: &Rule, parameter: &Tensor, grad: &Tensor, moments: &Moments) -> Result<()> {
    let Moments { m, v } = moments;
    let grad = (grad * rule.grad_scale)?;
    let new_m = (m + ((&grad - m)? * rule.first_share)?)?;
    let new_v = ((v * rule.beta2)? + ((&grad * (1.0 - rule.beta2))? * &grad)?)?;
    let denominator = ((new_v.sqrt()? / rule.second_correction)? + rule.eps)?;
    let step = ((&new_m * -rule.step_size)? / denominator)?;
    let new_parameter = ((parameter * rule.shrink)? + step)?;
    for (old, new) in [(m, new_m), (v, new_v), (parameter, new_parameter)] {
        // Flattened, because a scalar has no dimension to write along.
        old.flatten_all()?.slice_set(&new.flatten_all()?, 0, 0)?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test numbers are small"
)]
mod tests {
    use super::*;
    use crate::optim::rounding::{random_bits, rounded_by_chance};
    use crate::rng::Purpose;
    use candle_core::{Var, WithDType};
    use serde_json::Value;
    use std::path::Path;

    type Apply = fn(&Rule, &Tensor, &Tensor, &Moments) -> Result<()>;

    fn golden() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adamw.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn tensor(values: &Value, shape: &Value, dtype: DType) -> Tensor {
        let list = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let shape: Vec<usize> = list(shape).into_iter().map(|n| n as usize).collect();
        Tensor::from_vec(list(values), shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Equal within `relative` of the expected value plus `absolute`, which allows for rounding after a cancellation.
    fn assert_close(found: &Tensor, expected: &Tensor, [relative, absolute]: [f64; 2], what: &str) {
        for (found, expected) in flat(found).into_iter().zip(flat(expected)) {
            let difference = (found - expected).abs();
            assert!(
                difference <= relative * expected.abs() + absolute,
                "{what}: {found} != {expected}"
            );
        }
    }

    fn settings(golden: &Value) -> AdamWSettings {
        let number = |name: &str| golden[name].as_f64().unwrap();
        AdamWSettings {
            beta1: number("beta1"),
            beta2: number("beta2"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
        }
    }

    fn fresh(name: &str, parameter: &Tensor) -> AdamW {
        AdamW::new(AdamWSettings::default(), [(name, parameter)], Memory::beside_weights()).unwrap()
    }

    /// The update of weights that are in no other dtype.
    fn update<'a>(name: &'a str, master: &'a Tensor, grad: &'a Tensor, decay: bool) -> Update<'a> {
        Update { name, weights: Weights::Plain(master), grad, decay }
    }

    /// Repeats torch's recorded run; gradients are scaled here because they were clipped there.
    fn follow_torch(dtype: DType, key: &str, tolerance: [f64; 2]) {
        let golden = golden();
        let run = &golden[key];
        let names = ["decayed", "plain"];
        let parameters =
            names.map(|name| tensor(&run["initial"][name], &run["shapes"][name], dtype));
        let named = names.iter().copied().zip(&parameters);
        let mut optimizer = AdamW::new(settings(&golden), named, Memory::beside_weights()).unwrap();
        for step in run["steps"].as_array().unwrap() {
            let norm = step["norm"].as_f64().unwrap();
            let factor = (golden["max_norm"].as_f64().unwrap() / (norm + 1e-6)).min(1.0);
            let grads = names.map(|name| tensor(&step["grads"][name], &run["shapes"][name], dtype));
            let updates: Vec<Update> = (0..names.len())
                .map(|i| update(names[i], &parameters[i], &grads[i], names[i] == "decayed"))
                .collect();
            optimizer.step(step["lr"].as_f64().unwrap(), factor, &updates).unwrap();
            for (name, parameter) in names.iter().zip(&parameters) {
                let expected = |part: &str| tensor(&step[part][name], &run["shapes"][name], dtype);
                let moments = &optimizer.states[*name].moments;
                assert_close(&moments.m, &expected("m"), tolerance, "m");
                assert_close(&moments.v, &expected("v"), tolerance, "v");
                assert_close(parameter, &expected("parameters"), tolerance, name);
            }
        }
        assert!(optimizer.states.values().all(|state| state.n_steps == 5));
    }

    #[test]
    fn steps_equal_torchs_in_f32() {
        follow_torch(DType::F32, "f32", [1e-6, 1e-8]);
    }

    #[test]
    fn steps_equal_torchs_in_f64() {
        follow_torch(DType::F64, "f64", [1e-14, 1e-16]);
    }

    fn wave<T: WithDType>(n: usize, frequency: f64) -> Vec<T> {
        (0..n).map(|i| T::from_f64((i as f64 * frequency).sin())).collect()
    }

    /// Two steps by `apply` over more than one chunk, starting from moments that are not zero.
    fn two_steps<T: WithDType>(apply: Apply) -> [Tensor; 3] {
        let n = 70_001;
        let new = |frequency| Tensor::new(wave::<T>(n, frequency), &Device::Cpu).unwrap();
        let parameter = new(0.31);
        let moments = Moments { m: new(0.17), v: new(0.23).sqr().unwrap() };
        let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
        for n_steps in 1..=2 {
            let rule = Rule::new(&settings, n_steps, [1e-2, 0.7], true);
            apply(&rule, &parameter, &new(0.41), &moments).unwrap();
        }
        [parameter, moments.m, moments.v]
    }

    #[test]
    fn fused_loops_equal_the_composition() {
        for (fused, composed) in
            two_steps::<f32>(apply_fused).iter().zip(&two_steps::<f32>(apply_composed))
        {
            assert_close(fused, composed, [1e-6, 1e-7], "f32");
        }
        for (fused, composed) in
            two_steps::<f64>(apply_fused).iter().zip(&two_steps::<f64>(apply_composed))
        {
            assert_close(fused, composed, [1e-14, 1e-16], "f64");
        }
    }

    #[test]
    fn step_does_not_depend_on_the_number_of_threads() {
        let with_threads = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| two_steps::<f32>(apply_fused).map(|tensor| flat(&tensor)))
        };
        assert_eq!(with_threads(1), with_threads(4));
    }

    /// Weights in bf16 and an optimiser for them.
    fn to_round(values: &[f32]) -> (Tensor, AdamW) {
        let weights = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        let optimizer = fresh("p", &weights);
        (weights, optimizer)
    }

    fn rounded<'a>(weights: &'a Tensor, grad: &'a Tensor, update: u32) -> Update<'a> {
        let stream = Stream::new(9, Purpose::Rounding, update, 4, 0);
        Update { name: "p", weights: Weights::Rounded { weights, stream }, grad, decay: true }
    }

    #[test]
    fn weights_that_are_rounded_make_the_step_of_f32_and_take_their_own_bits() {
        let n = 70_003; // more than one chunk, and a block that is not whole
        let (weights, mut optimizer) = to_round(&wave::<f32>(n, 0.31));
        let grad = Tensor::new(wave::<f32>(n, 0.41), &Device::Cpu).unwrap();
        for update in 0..2 {
            let in_f32 = weights.to_dtype(DType::F32).unwrap();
            let State { moments, n_steps } = optimizer.states["p"].clone();
            let moments = Moments { m: moments.m.copy().unwrap(), v: moments.v.copy().unwrap() };
            let rule = Rule::new(&optimizer.settings, n_steps + 1, [1e-2, 0.7], true);
            apply_fused(&rule, &in_f32, &grad, &moments).unwrap();
            optimizer.step(1e-2, 0.7, &[rounded(&weights, &grad, update)]).unwrap();
            let Moments { m, v } = &optimizer.states["p"].moments;
            assert_eq!([flat(m), flat(v)], [flat(&moments.m), flat(&moments.v)]);
            let stream = Stream::new(9, Purpose::Rounding, update, 4, 0);
            let expected =
                in_f32.to_vec1::<f32>().unwrap().into_iter().enumerate().map(|(i, x)| {
                    f64::from(rounded_by_chance(x, random_bits(&stream, i / 8)[i % 8]).to_f32())
                });
            assert_eq!(flat(&weights), expected.collect::<Vec<_>>(), "update {update}");
        }
    }

    /// A weight of 1 has no neighbour in bf16 nearer than 1/256: no step of 1e-4 would move it. Each of 500 moves it by 1/256
    /// with probability 0.0256, so 2000 weights move by 0.05 in the mean, with a standard error of 0.0003.
    #[test]
    fn steps_too_small_for_bf16_add_up_when_they_are_rounded_by_chance() {
        let n = 2000;
        let (weights, mut optimizer) = to_round(&vec![1.0; n]);
        let grad = Tensor::new(vec![0.5f32; n], &Device::Cpu).unwrap();
        for update in 0..500 {
            optimizer.step(1e-4, 1.0, &[rounded(&weights, &grad, update)]).unwrap();
        }
        let mean = flat(&weights).iter().sum::<f64>() / n as f64;
        assert!((mean - 0.95).abs() < 0.0015, "{mean}");
    }

    #[test]
    fn first_step_moves_by_the_learning_rate_against_the_sign_of_the_gradient() {
        // m / (1 - beta1) = g and v / (1 - beta2) = g^2, so the step is lr * g / (|g| + eps).
        let parameter = Var::new(&[1.0f32, 2.0, 3.0], &Device::Cpu).unwrap();
        let grad = Tensor::new(&[0.5f32, -8.0, 0.0], &Device::Cpu).unwrap();
        let mut optimizer = fresh("p", &parameter);
        optimizer.step(0.1, 1.0, &[update("p", &parameter, &grad, false)]).unwrap();
        let moved = flat(&parameter);
        for (found, expected) in moved.iter().zip([0.9, 2.1, 3.0]) {
            assert!((found - expected).abs() < 1e-6, "{moved:?}");
        }
    }

    #[test]
    fn scalar_parameters_and_bf16_gradients_are_taken() {
        let parameter = Tensor::new(1.0f32, &Device::Cpu).unwrap();
        let grad = Tensor::new(0.5f32, &Device::Cpu).unwrap();
        let mut optimizer = fresh("p", &parameter);
        let half = grad.to_dtype(DType::BF16).unwrap();
        optimizer.step(0.1, 1.0, &[update("p", &parameter, &half, false)]).unwrap();
        assert!((parameter.to_scalar::<f32>().unwrap() - 0.9).abs() < 1e-6);
        let moments = optimizer.states["p"].moments.clone();
        let rule = Rule::new(&AdamWSettings::default(), 2, [0.1, 1.0], false);
        apply_composed(&rule, &parameter, &grad, &moments).unwrap();
        assert!((parameter.to_scalar::<f32>().unwrap() - 0.8).abs() < 1e-6);
    }

    #[test]
    fn restored_optimizer_continues_bit_for_bit() {
        let grads: [Vec<f32>; 3] = [wave(40, 0.3), wave(40, 0.7), wave(40, 1.1)];
        let start: Vec<f32> = wave(40, 0.2);
        let step = |optimizer: &mut AdamW, parameter: &Tensor, grad: &[f32]| {
            let grad = Tensor::new(grad, &Device::Cpu).unwrap();
            let update = update("layer.weight", parameter, &grad, true);
            optimizer.step(1e-3, 0.5, &[update]).unwrap();
        };
        let through = Tensor::new(start.as_slice(), &Device::Cpu).unwrap();
        let mut never_stopped = fresh("layer.weight", &through);
        for grad in &grads {
            step(&mut never_stopped, &through, grad);
        }

        let resumed = Tensor::new(start.as_slice(), &Device::Cpu).unwrap();
        let mut first = fresh("layer.weight", &resumed);
        step(&mut first, &resumed, &grads[0]);
        let state = first.state().unwrap().into_iter();
        let copies = state.map(|(name, tensor)| (name, tensor.copy().unwrap()));
        let parameters = [("layer.weight", &resumed)];
        let mut second =
            AdamW::restore(AdamWSettings::default(), parameters, copies, Memory::beside_weights())
                .unwrap();
        for grad in &grads[1..] {
            step(&mut second, &resumed, grad);
        }
        assert_eq!(flat(&through), flat(&resumed));
        let state = second.state().unwrap();
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["m.layer.weight", "v.layer.weight", "step.layer.weight"]);
        assert_eq!(state[2].1.to_scalar::<f32>().unwrap().to_bits(), 3f32.to_bits());
    }

    /// torch counts a parameter's steps from its first gradient: both parameters move by the learning rate then.
    #[test]
    fn a_parameter_whose_first_gradient_comes_late_is_corrected_for_its_own_steps() {
        let new = || Tensor::new(&[1.0f32], &Device::Cpu).unwrap();
        let (early, late, grad) = (new(), new(), Tensor::new(&[0.25f32], &Device::Cpu).unwrap());
        let parameters = [("early", &early), ("late", &late)];
        let mut optimizer =
            AdamW::new(AdamWSettings::default(), parameters, Memory::beside_weights()).unwrap();
        for _ in 0..5 {
            optimizer.step(0.1, 1.0, &[update("early", &early, &grad, false)]).unwrap();
        }
        optimizer.step(0.1, 1.0, &[update("late", &late, &grad, false)]).unwrap();
        assert!((flat(&late)[0] - 0.9).abs() < 1e-6, "{late}");
        assert!((flat(&early)[0] - 0.5).abs() < 1e-5, "{early}");
    }

    #[test]
    fn state_that_does_not_fit_the_parameters_is_refused_by_name() {
        let zeros = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap();
        let parameter = zeros(2);
        let refusal = |state: Vec<(&str, Tensor)>| {
            let state = state.into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
            let parameters = [("a", &parameter)];
            AdamW::restore(AdamWSettings::default(), parameters, state, Memory::beside_weights())
                .unwrap_err()
                .to_string()
        };
        let step = || ("step.a", Tensor::new(1.0f32, &Device::Cpu).unwrap());
        let whole = || vec![("m.a", zeros(2)), ("v.a", zeros(2)), step()];
        assert!(refusal(vec![("v.a", zeros(2)), step()]).contains("m.a is missing"));
        assert!(refusal(vec![("m.a", zeros(2)), step()]).contains("v.a is missing"));
        assert!(refusal(whole()[..2].to_vec()).contains("step.a is missing"));
        assert!(refusal(vec![("m.a", zeros(2)), ("v.a", zeros(3)), step()]).contains("v.a is"));
        let wide = zeros(2).to_dtype(DType::F64).unwrap();
        assert!(refusal(vec![("m.a", zeros(2)), ("v.a", wide), step()]).contains("v.a is"));
        let foreign = [whole(), vec![("m.b", zeros(2))]].concat();
        assert!(refusal(foreign).contains("m.b belongs to no trained parameter"));
    }

    #[test]
    fn wrong_shapes_dtypes_and_layouts_are_refused_by_name() {
        let zeros = |n: usize| Tensor::zeros((n, 2), DType::F32, &Device::Cpu).unwrap();
        let parameter = zeros(2);
        let parameters = ["a", "b", "c", "d"].map(|name| (name, &parameter));
        let mut optimizer =
            AdamW::new(AdamWSettings::default(), parameters, Memory::beside_weights()).unwrap();
        let mut step = |name: &str, parameter: &Tensor, grad: &Tensor| {
            optimizer.step(0.1, 1.0, &[update(name, parameter, grad, false)])
        };
        step("a", &zeros(2), &zeros(2)).unwrap();
        let message = step("a", &zeros(3), &zeros(3)).unwrap_err().to_string();
        assert!(message.contains("moments of a"), "{message}");
        let message = step("b", &zeros(2), &zeros(3)).unwrap_err().to_string();
        assert!(message.contains("gradient of b"), "{message}");
        let half = zeros(2).to_dtype(DType::BF16).unwrap();
        let message = step("c", &half, &half).unwrap_err().to_string();
        assert!(message.contains("expected contiguous f32 or f64"), "{message}");
        let message = step("e", &zeros(2), &zeros(2)).unwrap_err().to_string();
        assert!(message.contains("e has no moments"), "{message}");
        let whole = zeros(2);
        let stream = Stream::new(0, Purpose::Rounding, 0, 0, 0);
        let weights = Weights::Rounded { weights: &whole, stream };
        let rounded = Update { name: "c", weights, grad: &whole, decay: false };
        let message = optimizer.step(0.1, 1.0, &[rounded]).unwrap_err().to_string();
        assert!(message.contains("expected contiguous bf16 weights"), "{message}");
        let mut step = |name: &str, parameter: &Tensor, grad: &Tensor| {
            optimizer.step(0.1, 1.0, &[update(name, parameter, grad, false)])
        };
        let strided = zeros(3).t().unwrap();
        let message = step("d", &strided, &strided).unwrap_err().to_string();
        assert!(message.contains("expected contiguous f32 or f64"), "{message}");
    }
}
