//! Running a model as a sequence of stages, with or without a backward pass to follow.
//! Not here: what the stages compute (`language`, `tower`).
//!
//! candle's tape frees nothing before its backward pass ends. A [`Tape`] therefore cuts the model at
//! every half of a layer: each stage has a small tape of its own. The backward pass runs from the last stage
//! to the first and drops each tape after use; with activation checkpointing it first makes the tape again
//! from the stage's inputs. Both ways give the same gradients to the bit.
//!
//! A stage takes and returns several tensors. Any later stages may take what one stage returns: their
//! gradients add up, and an output that nothing uses gets none.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, Var};

use super::parameters::Parameters;
use crate::ops::backward;

/// Which stages keep no activations and compute them again for their gradient (activation checkpointing, Chen et al. 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// None: all activations are kept.
    None,
    /// MLPs, which hold the larger part of a layer's activations.
    Mlp,
    /// All but the vocabulary head.
    Full,
}

/// What a stage is of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An MLP with its norm.
    Mlp,
    /// Any other part of a layer.
    Layer,
    /// The vocabulary head: long to compute, little to keep.
    Head,
}

impl Checkpointing {
    fn keeps(self, part: Part) -> bool {
        match (self, part) {
            (Self::None, _) | (_, Part::Head) => true,
            (Self::Mlp, part) => part != Part::Mlp,
            (Self::Full, _) => false,
        }
    }
}

/// Elements that a layer's two stages keep per token until their backward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The first half, in which tokens see each other.
    pub mix: usize,
    /// The MLP.
    pub mlp: usize,
}

/// Something that runs stages.
pub trait Stages<'m> {
    /// Runs one stage: `inputs` are detached, and so are the outputs that come back.
    ///
    /// # Errors
    /// The stage's own.
    fn apply<const I: usize, const O: usize>(
        &mut self,
        inputs: [&Tensor; I],
        part: Part,
        stage: impl Fn([&Tensor; I]) -> Result<[Tensor; O]> + 'm,
    ) -> Result<[Tensor; O]>;
}

/// Runs stages and keeps nothing.
#[derive(Debug, Default)]
pub struct Inference;

impl<'m> Stages<'m> for Inference {
    fn apply<const I: usize, const O: usize>(
        &mut self,
        inputs: [&Tensor; I],
        _part: Part,
        stage: impl Fn([&Tensor; I]) -> Result<[Tensor; O]> + 'm,
    ) -> Result<[Tensor; O]> {
        Ok(stage(inputs)?.map(|output| output.detach()))
    }
}

/// Runs stages and keeps what their backward passes need.
pub struct Tape<'m> {
    parameters: &'m Parameters,
    checkpointing: Checkpointing,
    stages: Vec<Stage<'m>>,
}

struct Stage<'m> {
    inputs: Vec<Tensor>,
    outputs: Vec<TensorId>,
    kept: Option<Taped>,
    run: StageFn<'m>,
}

type StageFn<'m> = Box<dyn Fn(&[Var]) -> Result<Vec<Tensor>> + 'm>;

/// A stage's own small tape.
struct Taped {
    inputs: Vec<Var>,
    outputs: Vec<Tensor>,
}

/// Gradients of tensors that passed between stages.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// Removes and returns the gradient of a stage's input or output; `None` where there is none.
    pub fn take(&mut self, of: &Tensor) -> Option<Tensor> {
        self.0.remove(&of.id())
    }

    fn add(&mut self, of: TensorId, gradient: Tensor) -> Result<()> {
        let sum = match self.0.remove(&of) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.0.insert(of, sum);
        Ok(())
    }
}

impl<'m> Tape<'m> {
    /// An empty tape for a model with these parameters.
    pub fn new(parameters: &'m Parameters, checkpointing: Checkpointing) -> Self {
        Self { parameters, checkpointing, stages: Vec::new() }
    }

    /// Runs the stages' backward passes, the last stage first. Adds the parameters' gradients to their buffers;
    /// returns those of tensors that no stage made.
    ///
    /// - `outputs`: outputs with their gradients; all other outputs have none
    ///
    /// # Errors
    /// A stage's own.
    pub fn backward(mut self, outputs: &[(&Tensor, &Tensor)]) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        for (output, gradient) in outputs {
            gradients.add(output.id(), gradient.detach())?;
        }
        while let Some(Stage { inputs, outputs, kept, run }) = self.stages.pop() {
            let arrived = outputs.iter().map(|output| gradients.0.remove(output));
            let arrived: Vec<Option<Tensor>> = arrived.collect();
            if arrived.iter().all(Option::is_none) {
                continue; // nothing later depends on this stage
            }
            let taped = match kept {
                Some(taped) => taped,
                None => run_taped(&inputs, &run)?,
            };
            let Some(mut store) = taped.backward(&arrived)? else { continue };
            for (input, variable) in inputs.iter().zip(&taped.inputs) {
                if let Some(gradient) = store.remove(variable) {
                    gradients.add(input.id(), gradient.detach())?;
                }
            }
            for parameter in self.parameters.trained() {
                parameter.collect(&mut store)?;
            }
        }
        Ok(gradients)
    }
}

impl Taped {
    /// The backward pass from the outputs' gradients; `None` where nothing of the stage is trained and no output depends on
    /// an input, so that no gradient passes through.
    fn backward(&self, gradients: &[Option<Tensor>]) -> Result<Option<GradStore>> {
        let with_gradients = self.outputs.iter().zip(gradients);
        let tracked: Vec<(&Tensor, &Tensor)> = with_gradients
            .filter(|(output, _)| output.track_op())
            .filter_map(|(output, gradient)| Some((output, gradient.as_ref()?)))
            .collect();
        backward(&tracked)
    }
}

fn run_taped(inputs: &[Tensor], run: &dyn Fn(&[Var]) -> Result<Vec<Tensor>>) -> Result<Taped> {
    let inputs: Vec<Var> = inputs.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let outputs = run(&inputs)?;
    Ok(Taped { inputs, outputs })
}

impl<'m> Stages<'m> for Tape<'m> {
    fn apply<const I: usize, const O: usize>(
        &mut self,
        inputs: [&Tensor; I],
        part: Part,
        stage: impl Fn([&Tensor; I]) -> Result<[Tensor; O]> + 'm,
    ) -> Result<[Tensor; O]> {
        let run = move |inputs: &[Var]| -> Result<Vec<Tensor>> {
            Ok(stage(std::array::from_fn(|i| inputs[i].as_tensor()))?.into())
        };
        let inputs: Vec<Tensor> = inputs.into_iter().cloned().collect();
        // Taped even where the tape is dropped at once, so that the same kernels run both times.
        let taped = run_taped(&inputs, &run)?;
        let outputs: [Tensor; O] = std::array::from_fn(|i| taped.outputs[i].detach());
        let kept = self.checkpointing.keeps(part).then_some(taped);
        let output_ids = outputs.iter().map(Tensor::id).collect();
        self.stages.push(Stage { inputs, outputs: output_ids, kept, run: Box::new(run) });
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::parameters::{ParameterGroup, ParameterShape, Trained};
    use super::*;
    use crate::ops::plain::linear;

    fn numbers(shape: (usize, usize), seed: u32) -> Tensor {
        let n = shape.0 * shape.1;
        let values = (0..n as u32).map(|i| f64::from((i * 37 + seed * 101) % 29) / 14.0 - 1.0);
        Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
    }

    fn weight() -> Parameters {
        let group = ParameterGroup::Language;
        let shape = ParameterShape { name: "w".to_owned(), dims: vec![3, 3], group };
        Parameters::new(vec![(shape, numbers((3, 3), 3))], Trained::All, DType::F64).unwrap()
    }

    /// Two tensors become two; the second output skips a stage, and two stages take it.
    fn model<'m>(
        parameters: &'m Parameters,
        stages: &mut impl Stages<'m>,
        [x, y]: [&Tensor; 2],
    ) -> Result<[Tensor; 2]> {
        let [a, b] = stages.apply([x, y], Part::Mlp, |[x, y]| {
            let h = linear(x, parameters.get("w")?.value(), None)?;
            Ok([(&h + y)?, (&h * y)?])
        })?;
        let [c] = stages.apply([&a], Part::Layer, |[a]| Ok([a.tanh()?]))?;
        let [d, e] =
            stages.apply([&c, &b], Part::Layer, |[c, b]| Ok([(c * b)?, (c + b)?.exp()?]))?;
        stages.apply([&d, &e, &b], Part::Head, |[d, e, b]| Ok([(d * b)?, e.detach()]))
    }

    /// Runs all stages on one tape of candle's.
    struct Whole;

    impl<'m> Stages<'m> for Whole {
        fn apply<const I: usize, const O: usize>(
            &mut self,
            inputs: [&Tensor; I],
            _part: Part,
            stage: impl Fn([&Tensor; I]) -> Result<[Tensor; O]> + 'm,
        ) -> Result<[Tensor; O]> {
            stage(inputs)
        }
    }

    fn values(x: &Tensor) -> Vec<f64> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Outputs, and the gradients of both inputs and of the weight.
    fn run(checkpointing: Option<Checkpointing>) -> Vec<Vec<f64>> {
        let parameters = weight();
        let [x, y] = [1, 2].map(|seed| Var::from_tensor(&numbers((4, 3), seed)).unwrap());
        let gradient = numbers((4, 3), 9);
        let (outputs, [dx, dy]) = if let Some(checkpointing) = checkpointing {
            let [x, y] = [x.as_detached_tensor(), y.as_detached_tensor()];
            let mut tape = Tape::new(&parameters, checkpointing);
            let outputs = model(&parameters, &mut tape, [&x, &y]).unwrap();
            let mut gradients = tape.backward(&[(&outputs[0], &gradient)]).unwrap();
            let inputs = [&x, &y].map(|input| gradients.take(input).unwrap());
            assert!(gradients.0.is_empty());
            (outputs, inputs)
        } else {
            let outputs = model(&parameters, &mut Whole, [&x, &y]).unwrap();
            let product = (&outputs[0] * &gradient).unwrap().sum_all().unwrap();
            let mut store = product.backward().unwrap();
            parameters.get("w").unwrap().collect(&mut store).unwrap();
            (outputs, [&x, &y].map(|input| store.remove(input).unwrap()))
        };
        let dw = parameters.get("w").unwrap().take_gradient().unwrap().unwrap();
        assert_eq!(dw.dtype(), DType::F64);
        [&outputs[0], &outputs[1], &dx, &dy, &dw].map(values).into()
    }

    #[test]
    fn gradients_through_several_tensors_equal_those_of_one_tape() {
        let (whole, kept) = (run(None), run(Some(Checkpointing::None)));
        for (ours, theirs) in kept.iter().flatten().zip(whole.iter().flatten()) {
            assert!((ours - theirs).abs() < 1e-13, "{ours} {theirs}");
        }
        for again in [Checkpointing::Mlp, Checkpointing::Full] {
            assert_eq!(kept, run(Some(again)), "{again:?}: made anew, a stage gives the same bits");
        }
    }

    #[test]
    fn checkpointing_keeps_the_activations_of_the_parts_it_names() {
        let kept = |checkpointing| {
            let parameters = weight();
            let [x, y] = [1, 2].map(|seed| numbers((4, 3), seed));
            let mut tape = Tape::new(&parameters, checkpointing);
            model(&parameters, &mut tape, [&x, &y]).unwrap();
            tape.stages.iter().map(|stage| stage.kept.is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(kept(Checkpointing::None), [true, true, true, true]);
        assert_eq!(kept(Checkpointing::Mlp), [false, true, true, true]);
        assert_eq!(kept(Checkpointing::Full), [false, false, false, true]);
    }

    #[test]
    fn inference_gives_the_bits_of_a_tape_and_no_way_back() {
        let parameters = weight();
        let [x, y] = [1, 2].map(|seed| numbers((4, 3), seed));
        let outputs = model(&parameters, &mut Inference, [&x, &y]).unwrap();
        assert_eq!(outputs.each_ref().map(values)[..], run(Some(Checkpointing::Full))[..2]);
        assert!(!outputs[0].track_op());
    }

    #[test]
    fn stages_behind_no_gradient_are_not_walked() {
        let parameters = weight();
        let [x, y] = [1, 2].map(|seed| numbers((4, 3), seed));
        let mut tape = Tape::new(&parameters, Checkpointing::Full);
        let outputs = model(&parameters, &mut tape, [&x, &y]).unwrap();
        let gradient = outputs[1].ones_like().unwrap();
        // The second output was detached inside its stage, so its gradient reaches nothing.
        assert!(tape.backward(&[(&outputs[1], &gradient)]).unwrap().0.is_empty());
        assert!(parameters.get("w").unwrap().take_gradient().unwrap().is_none());
    }
}
