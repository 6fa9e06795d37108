//! Running a model as a row of stages, with or without a backward pass to follow.
//! Not here: what the stages compute (`vision`, `language`).
//!
//! candle's tape frees nothing before its backward pass ends. A [`Tape`] therefore cuts the model at
//! every layer: each stage has a small tape of its own, walked and dropped from the last to the first,
//! or, with activation checkpointing, made anew from the stage's input when its turn comes (Chen et
//! al. 2016). Both ways give the same gradients to the bit.

use candle_core::{Result, Tensor, Var};

use super::parameters::Parameters;

/// Whether a stage may be computed a second time for its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As the tape is set.
    AsSet,
    /// Never again: the stage is dear to compute and cheap to keep.
    Always,
}

/// Something that runs stages.
pub trait Stages<'m> {
    /// Runs one stage on a detached input; the output is detached too.
    ///
    /// # Errors
    /// The stage's own.
    fn apply(
        &mut self,
        input: &Tensor,
        keep: Keep,
        stage: impl Fn(&Tensor) -> Result<Tensor> + 'm,
    ) -> Result<Tensor>;
}

/// Runs stages and remembers nothing.
#[derive(Debug, Default)]
pub struct Inference;

impl<'m> Stages<'m> for Inference {
    fn apply(
        &mut self,
        input: &Tensor,
        _keep: Keep,
        stage: impl Fn(&Tensor) -> Result<Tensor> + 'm,
    ) -> Result<Tensor> {
        stage(input)
    }
}

/// Runs stages and remembers how to go back.
pub struct Tape<'m> {
    parameters: &'m Parameters,
    recompute: bool,
    stages: Vec<Stage<'m>>,
}

struct Stage<'m> {
    input: Tensor,
    kept: Option<Taped>,
    run: StageFn<'m>,
}

type StageFn<'m> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'm>;

struct Taped {
    input: Var,
    output: Tensor,
}

impl<'m> Tape<'m> {
    /// A tape for a model with these parameters; `recompute` turns activation checkpointing on.
    pub fn new(parameters: &'m Parameters, recompute: bool) -> Self {
        Self { parameters, recompute, stages: Vec::new() }
    }

    /// Walks back through the stages with the gradient of the last output. Parameters gather their
    /// gradients; the gradient of the first input comes back.
    ///
    /// # Errors
    /// A stage's own.
    pub fn backward(mut self, gradient: &Tensor) -> Result<Tensor> {
        let mut gradient = gradient.detach();
        while let Some(stage) = self.stages.pop() {
            let taped = match stage.kept {
                Some(taped) => taped,
                None => run_taped(&stage.input, &stage.run)?,
            };
            if !taped.output.track_op() {
                // Nothing of this stage is trained, nor its input used: no gradient passes it.
                gradient = stage.input.zeros_like()?;
                continue;
            }
            // The scalar whose gradient with respect to the output is `gradient`.
            let product = (&taped.output * gradient.to_dtype(taped.output.dtype())?)?.sum_all()?;
            let mut store = product.backward()?;
            gradient = match store.remove(&taped.input) {
                Some(gradient) => gradient.detach(),
                None => stage.input.zeros_like()?,
            };
            for parameter in self.parameters.trained() {
                parameter.collect(&mut store)?;
            }
        }
        Ok(gradient)
    }
}

fn run_taped<'m>(input: &Tensor, run: &(dyn Fn(&Tensor) -> Result<Tensor> + 'm)) -> Result<Taped> {
    let input = Var::from_tensor(input)?;
    let output = run(input.as_tensor())?;
    Ok(Taped { input, output })
}

impl<'m> Stages<'m> for Tape<'m> {
    fn apply(
        &mut self,
        input: &Tensor,
        keep: Keep,
        stage: impl Fn(&Tensor) -> Result<Tensor> + 'm,
    ) -> Result<Tensor> {
        let run = Box::new(stage);
        // Taped also where the tape is dropped at once: the same kernels then run both times.
        let taped = run_taped(input, &run)?;
        let output = taped.output.detach();
        let kept = (!self.recompute || keep == Keep::Always).then_some(taped);
        self.stages.push(Stage { input: input.detach(), kept, run });
        Ok(output)
    }
}
