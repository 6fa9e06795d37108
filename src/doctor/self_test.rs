//! Every operation with its gradients and the optimiser's step on a device, compared with the same in f64 on the CPU.
//! Not here: what they compute (`ops`, `optim`), whose own tests compare f64 with finite differences and with torch.

use candle_core::{DType, Device, Error, Result, Tensor, Var};

use crate::ops::{
    Angles, AttentionMaps, Dropout, GatedMaps, Gelu, LinearParameters, LinearPart, LowRank,
    MlpMaps, NormParameters, Parameter, Philox, Product, Segments, add, layer_norm, linear, mlp,
    residual_attention, residual_gated_mlp, residual_mlp, rms_norm, rotary, segment_attention,
    select_rows, swiglu, token_logprob,
};
use crate::optim::adamw::{AdamW, AdamWSettings, Update, Weights};
use crate::optim::clip::grad_norm;
use crate::optim::memory::Memory;

const TOKENS: usize = 9;
const HIDDEN: usize = 32;
const WIDE: usize = 48;
/// Some rows several times, some never.
const ROWS: [u32; 7] = [3, 0, 3, 8, 0, 3, 1];
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

const OPERATIONS: [(&str, Run); 21] = [
    ("add", |probe| {
        let (x, y) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.input(&[TOKENS, HIDDEN], 2)?);
        probe.run(&add(&x, &y)?, &[x, y], &[])
    }),
    ("rms_norm", |probe| {
        let (x, weight) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.weight(&[HIDDEN], 2)?);
        probe.run(&rms_norm(&x, &weight, EPS)?, &[x], &[weight])
    }),
    ("layer_norm", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        let (weight, bias) = (probe.weight(&[HIDDEN], 2)?, probe.weight(&[HIDDEN], 3)?);
        probe.run(&layer_norm(&x, &weight, &bias, EPS)?, &[x], &[weight, bias])
    }),
    ("linear", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        let map = probe.map([7, HIDDEN], 2)?;
        let parameters: Vec<Parameter> = Probe::of_map(&map).collect();
        probe.run(&linear(&x, &map, Product::Blocked)?, &[x], &parameters)
    }),
    ("linear_low_rank", |probe| probe.linear_low_rank(None)),
    ("linear_low_rank_dropout", |probe| {
        let stream = Philox { key: [1, 2], counter: [3, 4, 5] };
        probe.linear_low_rank(Some(Dropout::new(0.25, stream)))
    }),
    ("rotary", |probe| {
        let x = probe.input(&[TOKENS, 2, 8], 1)?;
        let angles = Angles::new(&probe.tensor(&[TOKENS, 4], 2)?, probe.dtype)?;
        probe.run(&rotary(&x, &angles)?, &[x], &[])
    }),
    ("swiglu", |probe| {
        let (gate, up) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.input(&[TOKENS, HIDDEN], 2)?);
        probe.run(&swiglu(&gate, &up)?, &[gate, up], &[])
    }),
    ("quick_gelu", |probe| probe.gelu(Gelu::Quick)),
    ("gelu_tanh", |probe| probe.gelu(Gelu::Tanh)),
    ("gelu_erf", |probe| probe.gelu(Gelu::Erf)),
    ("residual_gated_mlp", |probe| {
        let (x, norm) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.norm(2, None)?);
        let (gate, up) = (probe.map([WIDE, HIDDEN], 3)?, probe.map([WIDE, HIDDEN], 5)?);
        let maps = GatedMaps { gate, up, down: probe.map([HIDDEN, WIDE], 7)? };
        let parameters = Probe::parameters(&norm, &[&maps.gate, &maps.up, &maps.down]);
        probe.run(&residual_gated_mlp(&x, &norm, &maps, Product::Blocked)?, &[x], &parameters)
    }),
    ("residual_mlp", |probe| {
        let (x, norm) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.norm(2, Some(3))?);
        let (first, second) = (probe.map([WIDE, HIDDEN], 4)?, probe.map([HIDDEN, WIDE], 6)?);
        let maps = MlpMaps { first, activation: Gelu::Quick, second };
        let parameters = Probe::parameters(&norm, &[&maps.first, &maps.second]);
        probe.run(&residual_mlp(&x, &norm, &maps, Product::Blocked)?, &[x], &parameters)
    }),
    ("residual_attention", |probe| {
        let (x, norm) = (probe.input(&[TOKENS, HIDDEN], 1)?, probe.norm(2, None)?);
        let part = |rows, seed| LinearPart::whole(probe.map([rows, HIDDEN], seed)?);
        let (q, k, v) = (part(HIDDEN, 3)?, part(HIDDEN / 2, 5)?, part(HIDDEN / 2, 7)?);
        let maps = AttentionMaps {
            q,
            k,
            v,
            o: probe.map([HIDDEN, HIDDEN], 9)?,
            head_dim: 8,
            head_norms: None,
        };
        let angles = Angles::new(&probe.tensor(&[TOKENS, 4], 11)?, probe.dtype)?;
        let whole = [&maps.q, &maps.k, &maps.v].map(|part| &part.parameters);
        let parameters = Probe::parameters(&norm, &[&whole[..], &[&maps.o]].concat());
        probe.run(&residual_attention(&x, &norm, &maps, &angles, &segments()?)?, &[x], &parameters)
    }),
    ("mlp", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        let (first, second) = (probe.map([WIDE, HIDDEN], 2)?, probe.map([HIDDEN, WIDE], 4)?);
        let maps = MlpMaps { first, activation: Gelu::Erf, second };
        let parameters = [&maps.first, &maps.second].into_iter().flat_map(Probe::of_map);
        let parameters: Vec<Parameter> = parameters.collect();
        probe.run(&mlp(&x, &maps, Product::Blocked)?, &[x], &parameters)
    }),
    ("select_rows", |probe| {
        let x = probe.input(&[TOKENS, HIDDEN], 1)?;
        probe.run(&select_rows(&x, &ROWS)?, &[x], &[])
    }),
    ("accumulate_rows", |probe| {
        let table = probe.weight(&[TOKENS, HIDDEN], 1)?;
        table.accumulate_rows(&ROWS, &probe.tensor(&[ROWS.len(), HIDDEN], 2)?)?;
        Ok(vec![numbers(&table.gradient().ok_or_else(missing)?)?])
    }),
    ("segment_attention of 80", |probe| probe.attention([2, 2, 80])),
    ("segment_attention of 128", |probe| probe.attention([4, 2, 128])),
    ("token_logprob", |probe| {
        let (hidden, weight) =
            (probe.input(&[TOKENS, HIDDEN], 1)?, probe.weight(&[50, HIDDEN], 2)?);
        let targets: Vec<u32> = (0..TOKENS as u32).map(|i| i * 5).collect();
        let targets = Tensor::new(targets, probe.device)?;
        let scored = token_logprob(&hidden, &weight, &targets, 0.9)?;
        let mut all = probe.run(&scored.logp, &[hidden], &[weight])?;
        all.push(numbers(&scored.entropy)?);
        Ok(all)
    }),
    ("adamw", |probe| {
        // Masters and gradients are in f32, whatever a model computes in, and in f64 where the exact is wanted.
        let wide = if probe.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let [master, grad] = [
            probe.tensor(&[HIDDEN], 1)?.to_dtype(wide)?,
            probe.tensor(&[HIDDEN], 2)?.to_dtype(wide)?,
        ];
        let named = [("weight", &master)];
        let mut optimizer = AdamW::new(AdamWSettings::default(), named, Memory::beside_weights())?;
        for _ in 0..2 {
            let weights = Weights::Plain(&master);
            optimizer.step(
                0.01,
                0.5,
                &[Update { name: "weight", weights, grad: &grad, decay: true }],
            )?;
        }
        let norm = grad_norm([("weight", &grad)])?.norm;
        let moments = optimizer.state()?;
        let tensors = moments.iter().map(|(_, tensor)| tensor).chain([&master]);
        tensors.map(numbers).chain([Ok(vec![norm])]).collect()
    }),
];

/// A prompt with two completions, and one with none.
fn segments() -> Result<Segments> {
    Segments::prompts(&[(4, vec![2, 1]), (2, Vec::new())])
}

fn missing() -> Error {
    Error::Msg("a gradient is missing".to_owned())
}

/// The numbers of a tensor, on the host.
fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec1::<f64>()
}

impl Probe<'_> {
    /// Numbers in [-1, 1] without a pattern, the same for every device, representable in bf16.
    fn tensor(&self, dims: &[usize], seed: u32) -> Result<Tensor> {
        let n: usize = dims.iter().product();
        let number = |i: u32| {
            let mixed = (i + seed * 1000).wrapping_mul(2_654_435_761) >> 24; // 8 bits
            f64::from(mixed) / 128.0 - 1.0
        };
        let numbers: Vec<f64> = (0..n as u32).map(number).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(self.device)
    }

    fn input(&self, dims: &[usize], seed: u32) -> Result<Tensor> {
        Ok(Var::from_tensor(&self.tensor(dims, seed)?)?.into_inner())
    }

    fn weight(&self, dims: &[usize], seed: u32) -> Result<Parameter> {
        Parameter::trainable("weight", &self.tensor(dims, seed)?)
    }

    /// A linear map with a bias.
    fn map(&self, dims: [usize; 2], seed: u32) -> Result<LinearParameters> {
        let (weight, bias) = (self.weight(&dims, seed)?, self.weight(&dims[..1], seed + 1)?);
        Ok(LinearParameters::new(weight, Some(bias)))
    }

    /// A norm, with a bias where there is a seed for one.
    fn norm(&self, weight: u32, bias: Option<u32>) -> Result<NormParameters> {
        let parameter = |seed| self.weight(&[HIDDEN], seed);
        let bias = bias.map(parameter).transpose()?;
        Ok(NormParameters { weight: parameter(weight)?, bias, eps: EPS })
    }

    fn of_map(map: &LinearParameters) -> impl Iterator<Item = Parameter> {
        map.bias.iter().chain([&map.weight]).cloned()
    }

    fn parameters(norm: &NormParameters, maps: &[&LinearParameters]) -> Vec<Parameter> {
        let of_norm = norm.bias.iter().chain([&norm.weight]).cloned();
        of_norm.chain(maps.iter().flat_map(|map| Self::of_map(map))).collect()
    }

    fn linear_low_rank(&self, dropout: Option<Dropout>) -> Result<Vec<Vec<f64>>> {
        let x = self.input(&[TOKENS, HIDDEN], 1)?;
        let mut map = self.map([7, HIDDEN], 2)?;
        let (a, b) = (self.weight(&[3, HIDDEN], 4)?, self.weight(&[7, 3], 5)?);
        map.low_rank = Some(LowRank { a: a.clone(), b: b.clone(), scale: 0.5, dropout });
        let parameters: Vec<Parameter> = Self::of_map(&map).chain([a, b]).collect();
        self.run(&linear(&x, &map, Product::Blocked)?, &[x], &parameters)
    }

    fn gelu(&self, form: Gelu) -> Result<Vec<Vec<f64>>> {
        let x = self.input(&[TOKENS, HIDDEN], 1)?;
        self.run(&form.apply(&x)?, &[x], &[])
    }

    /// Among [`segments`]; heads of queries, heads of keys, dimensions of a head.
    fn attention(&self, [heads, kv_heads, dim]: [usize; 3]) -> Result<Vec<Vec<f64>>> {
        let q = self.input(&[TOKENS, heads, dim], 1)?;
        let k = self.input(&[TOKENS, kv_heads, dim], 2)?;
        let v = self.input(&[TOKENS, kv_heads, dim], 3)?;
        self.run(&segment_attention(&q, &k, &v, &segments()?)?, &[q, k, v], &[])
    }

    /// The output, and the gradients of inputs and parameters of a weighted sum of it.
    fn run(
        &self,
        output: &Tensor,
        inputs: &[Tensor],
        parameters: &[Parameter],
    ) -> Result<Vec<Vec<f64>>> {
        let weights = self.tensor(output.dims(), 9)?.to_dtype(output.dtype())?;
        let mut gradients = (output * weights)?.sum_all()?.backward()?;
        let mut all = vec![numbers(output)?];
        for input in inputs {
            all.push(numbers(gradients.get(input).ok_or_else(missing)?)?);
        }
        for parameter in parameters {
            parameter.collect(&mut gradients)?;
            all.push(numbers(&parameter.gradient().ok_or_else(missing)?)?);
        }
        Ok(all)
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
                // Sums of a few such numbers are exact in bf16, and in f32 much else is.
                let sums = ["add", "select_rows", "accumulate_rows"];
                let may_be_exact = dtype == DType::F32 || sums.contains(&error.operation);
                assert!(error.error > 0.0 || may_be_exact, "{error:?} is compared with itself");
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
