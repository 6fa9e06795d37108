//! Every operation and its gradients on a device, compared with the same in f64 on the CPU.
//! Not here: what the operations compute (`ops`), whose own tests compare f64 with finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::ops::{
    Angles, Parameter, Product, Segments, layer_norm, linear, quick_gelu, rms_norm, rotary,
    segment_attention, swiglu, token_logprob,
};

const TOKENS: usize = 9;
const HIDDEN: usize = 32;
const EPS: f64 = 1e-6;

/// How far an operation is from f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OperationError {
    /// The operation's name.
    pub(super) operation: &'static str,
    /// The largest difference over its outputs and gradients, relative to the largest element of each.
    pub(super) error: f64,
}

/// The largest error of a device that computes as it should.
pub(super) fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-5 } else { 5e-2 }
}

/// # Errors
/// The device cannot run an operation.
pub(super) fn errors(device: &Device, dtype: DType) -> Result<Vec<OperationError>> {
    let [tested, exact] =
        [Probe { device, dtype }, Probe { device: &Device::Cpu, dtype: DType::F64 }];
    let error = |&(operation, run): &(&'static str, Run)| {
        let pairs = run(&tested)?.into_iter().zip(run(&exact)?);
        let error =
            pairs.map(|(found, expected)| difference(&found, &expected)).fold(0.0, f64::max);
        Ok(OperationError { operation, error })
    };
    OPERATIONS.iter().map(error).collect()
}

/// NaN counts as an infinite difference.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(0.0, |scale, x| x.abs().max(scale));
    let differences = found.iter().zip(expected).map(|(x, y)| (x - y).abs() / scale);
    differences.fold(0.0, |most, x| if x.is_nan() { f64::INFINITY } else { x.max(most) })
}

/// Where and in what an operation runs.
struct Probe<'a> {
    device: &'a Device,
    dtype: DType,
}

/// An operation's output and the gradients of its inputs.
type Run = fn(&Probe) -> Result<Vec<Vec<f64>>>;

const OPERATIONS: [(&str, Run); 8] = [
    ("rms_norm", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        probe.run(&rms_norm(&x, &probe.weight(&[HIDDEN], 2)?, EPS)?, &[x])
    }),
    ("layer_norm", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        let (weight, bias) = (probe.weight(&[HIDDEN], 2)?, probe.weight(&[HIDDEN], 3)?);
        probe.run(&layer_norm(&x, &weight, &bias, EPS)?, &[x])
    }),
    ("linear", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        let (weight, bias) = (probe.weight(&[7, HIDDEN], 2)?, probe.weight(&[7], 3)?);
        probe.run(&linear(&x, &weight, Some(&bias), Product::Blocked)?, &[x])
    }),
    ("rotary", |probe| {
        let x = probe.input(&[TOKENS, 2, 8], 1)?;
        let angles = Angles::new(&probe.tensor(&[TOKENS, 4], 2)?, probe.dtype)?;
        probe.run(&rotary(&x, &angles)?, &[x])
    }),
    ("swiglu", |probe| {
        let (gate, up) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.input(&[TOKENS, HIDDEN], 2)?);
        probe.run(&swiglu(&gate, &up)?, &[gate, up])
    }),
    ("quick_gelu", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        probe.run(&quick_gelu(&x)?, &[x])
    }),
    ("segment_attention", |probe| {
        let q = probe.input(&[TOKENS, 4, 8], 1)?;
        let (k, v) = (probe.input(&[TOKENS, 2, 8], 2)?, probe.input(&[TOKENS, 2, 8], 3)?);
        // A prompt with two completions, and one with none.
        let segments = Segments::prompts(&[(4, vec![2, 1]), (2, Vec::new())])?;
        probe.run(&segment_attention(&q, &k, &v, &segments)?, &[q, k, v])
    }),
    ("token_logprob", |probe| {
        let hidden = probe.input(&[TOKENS, HIDDEN], 1)?;
        let weight = probe.weight(&[50, HIDDEN], 2)?;
        let targets: Vec<u32> = (0..TOKENS as u32).map(|i| i * 5).collect();
        let targets = Tensor::new(targets, probe.device)?;
        probe.run(&token_logprob(&hidden, &weight, &targets, 0.9)?.logp, &[hidden])
    }),
];

impl Probe<'_> {
    /// Numbers in [-1, 1] without a pattern, the same for every device, representable in bf16.
    fn tensor(&self, dims: &[usize], seed: u32) -> Result<Tensor> {
        let n: usize = dims.iter().product();
        let number = |i: u32| {
            let mixed = (i + seed * 1000).wrapping_mul(2_654_435_761) >> 25; // 7 bits
            f64::from(mixed) / 64.0 - 1.0
        };
        let numbers: Vec<f64> = (0..n as u32).map(number).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(self.device)
    }

    fn input(&self, dims: &[usize], seed: u32) -> Result<Tensor> {
        Ok(Var::from_tensor(&self.tensor(dims, seed)?)?.into_inner())
    }

    fn weight(&self, dims: &[usize], seed: u32) -> Result<Parameter> {
        Ok(Parameter::frozen("weight", &self.tensor(dims, seed)?))
    }

    /// The output, and each input's gradient of a weighted sum of it.
    fn run(&self, output: &Tensor, inputs: &[Tensor]) -> Result<Vec<Vec<f64>>> {
        let weights = self.tensor(output.dims(), 9)?.to_dtype(output.dtype())?;
        let gradients = (output * weights)?.sum_all()?.backward()?;
        let numbers = |x: &Tensor| {
            x.flatten_all()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec1::<f64>()
        };
        let gradient = |input: &Tensor| match gradients.get(input) {
            Some(gradient) => numbers(gradient),
            None => Ok(vec![f64::NAN; input.elem_count()]),
        };
        std::iter::once(numbers(output)).chain(inputs.iter().map(gradient)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_kernels_are_within_the_tolerance_and_the_plain_path_in_bf16_is() {
        for dtype in [DType::F32, DType::BF16] {
            let errors = errors(&Device::Cpu, dtype).unwrap();
            assert_eq!(errors.len(), OPERATIONS.len());
            for error in errors {
                assert!(
                    error.error > 0.0 || dtype == DType::F32,
                    "{error:?} is compared with itself"
                );
                assert!(error.error < tolerance(dtype), "{error:?}");
            }
        }
    }

    #[test]
    fn a_wrong_number_and_nan_are_differences() {
        assert!((difference(&[1.0, 2.1], &[1.0, 2.0]) - 0.05).abs() < 1e-12);
        assert!(difference(&[f64::NAN], &[1.0]).is_infinite());
    }
}
