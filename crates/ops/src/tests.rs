//! Every kernel against finite differences in f64 and against its plain composition.
//! Longer than most because all operations are held to the same checks.
#![expect(clippy::float_cmp, reason = "results that must be equal to the bit")]

use std::ops::Range;
use std::slice::from_ref;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;

#[cfg(feature = "cuda")]
mod cuda;

/// Repeatable numbers in [-1, 1).
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f64> = (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

type Operation<'a> = &'a dyn Fn(&[Tensor], &[Parameter]) -> Result<Tensor>;
type Composition<'a> = &'a dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>;

/// `sum(operation * weights)`: a scalar whose gradient depends on every output. The weights are the same in every dtype.
fn scalar(y: &Tensor) -> Result<Tensor> {
    let weights = numbers(y.dims(), 99).to_dtype(DType::BF16)?.to_dtype(y.dtype())?;
    (y * weights.to_device(y.device())?)?.sum_all()
}

/// Output, input gradients and parameter gradients of an operation.
fn gradients(
    op: Operation,
    inputs: &[Tensor],
    parameters: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let inputs: Vec<Var> = inputs.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let parameters: Vec<Parameter> =
        parameters.iter().map(|p| Parameter::trainable("p", p)).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors, &parameters)?;
    let mut store = scalar(&y)?.backward()?;
    let mut all: Vec<Tensor> = inputs.iter().map(|v| store.remove(v).unwrap()).collect();
    for parameter in &parameters {
        parameter.collect(&mut store)?;
        all.push(parameter.take_gradient().unwrap().unwrap());
    }
    Ok((y.detach(), all))
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap();
    let largest = difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    largest.to_scalar::<f64>().unwrap()
}

/// Checks an operation with a kernel: output and gradients equal the plain composition's in f64 and
/// f32, and the gradients equal central differences in f64.
fn check(op: Operation, plain: Composition, inputs: &[Tensor], parameters: &[Tensor]) {
    let composed = |inputs: &[Tensor], parameters: &[Parameter]| {
        let values: Vec<Tensor> = parameters.iter().map(|p| p.value().clone()).collect();
        plain(inputs, &values)
    };
    let (y, exact) = gradients(op, inputs, parameters).unwrap();
    let (y_plain, exact_plain) = gradients(&composed, inputs, parameters).unwrap();
    assert!(
        largest_difference(&y, &y_plain) < 1e-10,
        "forward {}",
        largest_difference(&y, &y_plain)
    );
    for (i, (a, b)) in exact.iter().zip(&exact_plain).enumerate() {
        assert!(largest_difference(a, b) < 1e-10, "gradient {i}: {}", largest_difference(a, b));
    }

    let narrow = |x: &[Tensor]| -> Vec<Tensor> {
        x.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect()
    };
    let (y_f32, f32_gradients) = gradients(op, &narrow(inputs), &narrow(parameters)).unwrap();
    assert!(largest_difference(&y, &y_f32) < 2e-5);
    for (a, b) in exact.iter().zip(&f32_gradients) {
        assert!(largest_difference(a, b) < 5e-5, "{}", largest_difference(a, b));
    }

    let all: Vec<Tensor> = inputs.iter().chain(parameters).cloned().collect();
    for (which, gradient) in exact.iter().enumerate() {
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for element in (0..gradient.len()).step_by(gradient.len() / 7 + 1) {
            let at = |h: f64| {
                let mut moved = all.clone();
                let mut values = moved[which].flatten_all().unwrap().to_vec1::<f64>().unwrap();
                values[element] += h;
                moved[which] =
                    Tensor::from_vec(values, moved[which].shape(), &Device::Cpu).unwrap();
                let frozen: Vec<Parameter> =
                    moved[inputs.len()..].iter().map(|p| Parameter::frozen("p", p)).collect();
                let y = op(&moved[..inputs.len()], &frozen).unwrap();
                scalar(&y).unwrap().to_scalar::<f64>().unwrap()
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            let error = (difference - gradient[element]).abs() / (1.0 + difference.abs());
            assert!(
                error < 1e-7,
                "input {which}, element {element}: {difference} {}",
                gradient[element]
            );
        }
    }
}

#[test]
fn linear_has_the_right_value_and_gradients() {
    check(
        &|x, p| linear(&x[0], &map(&p[0], Some(&p[1])), Product::Blocked),
        &|x, p| plain::linear(&x[0], &p[0], Some(&p[1])),
        &[numbers(&[5, 7], 1)],
        &[numbers(&[4, 7], 2), numbers(&[4], 3)],
    );
}

/// Some rows of a weight and a bias.
fn stacked(p: &[Parameter], rows: Range<usize>) -> LinearPart {
    LinearPart { parameters: map(&p[0], p.get(1)), rows }
}

fn map(weight: &Parameter, bias: Option<&Parameter>) -> LinearParameters {
    LinearParameters::new(weight.clone(), bias.cloned())
}

#[test]
fn parts_of_a_stacked_weight_fill_their_rows_of_the_gradient() {
    check(
        &|x, p| {
            let part = |rows| linear_heads(&x[0], &stacked(p, rows), 2, Product::RowByRow);
            part(0..4)? * part(4..8)?
        },
        &|x, p| {
            let y = plain::linear(&x[0], &p[0], Some(&p[1]))?.reshape((5, 4, 2))?;
            y.narrow(1, 0, 2)? * y.narrow(1, 2, 2)?
        },
        &[numbers(&[5, 7], 1)],
        &[numbers(&[8, 7], 2), numbers(&[8], 3)],
    );
}

/// The map of `weight`, `bias`, `A` and `B`.
fn adapted(p: &[Parameter]) -> LinearParameters {
    let low_rank = LowRank { a: p[2].clone(), b: p[3].clone(), scale: 1.7, dropout: None };
    LinearParameters { low_rank: Some(low_rank), ..map(&p[0], Some(&p[1])) }
}

fn adapted_values(outputs: usize) -> [Tensor; 4] {
    [
        numbers(&[outputs, 7], 2),
        numbers(&[outputs], 3),
        numbers(&[3, 7], 4),
        numbers(&[outputs, 3], 5),
    ]
}

/// The weight `W + s B A` itself, as merging writes it.
fn merged(p: &[Tensor]) -> Result<Tensor> {
    &p[0] + (p[3].matmul(&p[2])? * 1.7)?
}

#[test]
fn a_low_rank_change_has_the_value_and_gradients_of_the_merged_weight() {
    for product in [Product::Blocked, Product::RowByRow] {
        check(
            &|x, p| linear(&x[0], &adapted(p), product),
            &|x, p| plain::linear(&x[0], &merged(p)?, Some(&p[1])),
            &[numbers(&[5, 7], 1)],
            &adapted_values(4),
        );
    }
}

/// [`adapted`] under dropout, and what is left of `x` in it.
fn adapted_under_dropout(p: &[Parameter]) -> LinearParameters {
    let mut map = adapted(p);
    map.low_rank.as_mut().unwrap().dropout = Some(dropout());
    map
}

fn dropout() -> Dropout {
    Dropout::new(0.3, Philox { key: [7, 8], counter: [1, 2, 3] })
}

#[test]
fn under_dropout_a_low_rank_change_is_given_what_is_left() {
    for product in [Product::Blocked, Product::RowByRow] {
        check(
            &|x, p| linear(&x[0], &adapted_under_dropout(p), product),
            &|x, p| {
                let left = dropout().plain(&x[0])?;
                let added =
                    (plain::linear(&plain::linear(&left, &p[2], None)?, &p[3], None)? * 1.7)?;
                plain::linear(&x[0], &p[0], Some(&p[1]))? + added
            },
            &[numbers(&[5, 7], 1)],
            &adapted_values(4),
        );
    }
}

#[test]
fn parts_of_a_map_share_its_low_rank_change() {
    check(
        &|x, p| {
            let part = |rows| LinearPart { parameters: adapted(p), rows };
            let part = |rows| linear_heads(&x[0], &part(rows), 2, Product::Blocked);
            part(0..4)? * part(4..8)?
        },
        &|x, p| {
            let y = plain::linear(&x[0], &merged(p)?, Some(&p[1]))?.reshape((5, 4, 2))?;
            y.narrow(1, 0, 2)? * y.narrow(1, 2, 2)?
        },
        &[numbers(&[5, 7], 1)],
        &adapted_values(8),
    );
}

/// f16 on the CPU goes through the plain compositions.
#[test]
fn a_low_rank_change_is_the_same_on_the_plain_path() {
    let values = adapted_values(8);
    let run = |dtype: DType| {
        let values: Vec<Tensor> = values.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        let part = |p: &[Parameter]| LinearPart { parameters: adapted(p), rows: 2..6 };
        let op = |x: &[Tensor], p: &[Parameter]| linear_heads(&x[0], &part(p), 2, Product::Blocked);
        gradients(&op, &[numbers(&[5, 7], 1).to_dtype(dtype).unwrap()], &values).unwrap()
    };
    let ((exact, exact_gradients), (half, half_gradients)) = (run(DType::F64), run(DType::F16));
    assert!(largest_difference(&exact, &half) < 1e-2);
    for (exact, half) in exact_gradients.iter().zip(&half_gradients) {
        assert!(largest_difference(exact, half) < 2e-2);
    }
}

#[test]
fn a_row_with_a_low_rank_change_is_the_same_among_others() {
    let shapes = [&[33, 70][..], &[33], &[5, 70], &[33, 5]];
    let values = shapes.iter().zip(2..).map(|(shape, seed)| {
        Parameter::frozen("p", &numbers(shape, seed).to_dtype(DType::F32).unwrap())
    });
    let values: Vec<Parameter> = values.collect();
    let x = numbers(&[90, 70], 1).to_dtype(DType::F32).unwrap();
    let product = |x: &Tensor| linear(x, &adapted(&values), Product::RowByRow).unwrap();
    let all = product(&x);
    for row in [0, 70, 89] {
        let alone = product(&x.narrow(0, row, 1).unwrap());
        assert_eq!(largest_difference(&alone, &all.narrow(0, row, 1).unwrap()), 0.0);
    }
}

#[test]
fn factors_of_another_map_are_refused() {
    let value = |shape: &[usize]| Parameter::frozen("p", &numbers(shape, 1));
    for (a, b) in [([3, 8], [4, 3]), ([3, 7], [5, 3]), ([3, 7], [4, 2]), ([0, 7], [4, 0])] {
        let [weight, bias] = [value(&[4, 7]), value(&[4])];
        let map = adapted(&[weight, bias, value(&a), value(&b)]);
        assert!(linear(&numbers(&[5, 7], 1), &map, Product::Blocked).is_err(), "{a:?} {b:?}");
    }
}

#[test]
fn heads_are_rows_of_a_linear_map() {
    check(
        &|x, p| linear(&x[0], &map(&p[0], None), Product::Blocked),
        &|x, p| plain::linear(&x[0].flatten_from(1)?, &p[0], None),
        &[numbers(&[5, 2, 3], 1)],
        &[numbers(&[4, 6], 2)],
    );
}

#[test]
fn rows_that_do_not_make_whole_heads_are_refused() {
    let weight = Parameter::frozen("w", &numbers(&[6, 7], 2));
    for (rows, head_dim) in [(0..5, 2), (0..4, 0), (4..8, 2)] {
        let part = stacked(from_ref(&weight), rows);
        assert!(linear_heads(&numbers(&[5, 7], 1), &part, head_dim, Product::Blocked).is_err());
    }
}

#[test]
fn norms_have_the_right_value_and_gradients() {
    let x = [numbers(&[70, 19], 4)];
    check(
        &|x, p| rms_norm(&x[0], &p[0], 1e-6),
        &|x, p| plain::rms_norm(&x[0], &p[0], 1e-6),
        &x,
        &[numbers(&[19], 5)],
    );
    check(
        &|x, p| layer_norm(&x[0], &p[0], &p[1], 1e-6),
        &|x, p| plain::layer_norm(&x[0], &p[0], &p[1], 1e-6),
        &x,
        &[numbers(&[19], 6), numbers(&[19], 7)],
    );
}

#[test]
fn rotary_has_the_right_value_and_gradient() {
    let angles = Angles::new(&(numbers(&[6, 4], 8) * 3.0).unwrap(), DType::F64).unwrap();
    let angles_f32 = Angles::new(&(numbers(&[6, 4], 8) * 3.0).unwrap(), DType::F32).unwrap();
    let of = |x: &Tensor| if x.dtype() == DType::F64 { angles.clone() } else { angles_f32.clone() };
    let (cos, sin) = {
        let a = (numbers(&[6, 4], 8) * 3.0).unwrap();
        (a.cos().unwrap(), a.sin().unwrap())
    };
    check(
        &|x, _| rotary(&x[0], &of(&x[0])),
        &|x, _| plain::rotary(&x[0], &cos, &sin),
        &[numbers(&[6, 3, 8], 9)],
        &[],
    );
}

#[test]
fn activations_have_the_right_value_and_gradients() {
    let x = [(numbers(&[9, 11], 10) * 6.0).unwrap(), numbers(&[9, 11], 11)];
    check(&|x, _| swiglu(&x[0], &x[1]), &|x, _| plain::swiglu(&x[0], &x[1]), &x, &[]);
    check(&|x, _| quick_gelu(&x[0]), &|x, _| plain::quick_gelu(&x[0]), &x[..1], &[]);
    check(&|x, _| gelu_tanh(&x[0]), &|x, _| plain::gelu_tanh(&x[0]), &x[..1], &[]);
    // Candle's own has a gradient of six digits.
    let normal = |x: &Tensor| (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5);
    check(&|x, _| gelu_erf(&x[0]), &|x, _| &x[0] * normal(&x[0])?, &x[..1], &[]);
}

#[test]
fn a_sum_has_the_right_value_and_gradients() {
    let x = [numbers(&[9, 2111], 10), numbers(&[9, 2111], 11)];
    check(&|x, _| add(&x[0], &x[1]), &|x, _| &x[0] + &x[1], &x, &[]);
    let error = add(&numbers(&[2, 3], 1), &numbers(&[3], 2)).unwrap_err();
    assert!(error.to_string().contains("add: [2, 3] and [3]"), "{error}");
}

#[test]
fn halves_with_an_mlp_have_the_right_value_and_gradients() {
    check(
        &|x, p| {
            let [gate, up, down] = [1, 2, 3].map(|i| map(&p[i], None));
            let maps = GatedMaps { gate, up, down };
            residual_gated_mlp(&x[0], &rms(&p[0]), &maps, Product::Blocked)
        },
        &|x, p| {
            let h = plain::rms_norm(&x[0], &p[0], 1e-6)?;
            let [gate, up] = [1, 2].map(|i| plain::linear(&h, &p[i], None));
            &x[0] + plain::linear(&plain::swiglu(&gate?, &up?)?, &p[3], None)?
        },
        &[numbers(&[5, 6], 1)],
        &[&[6][..], &[7, 6], &[7, 6], &[6, 7]].map(|shape| numbers(shape, 2)),
    );
    for activation in [Gelu::Quick, Gelu::Tanh] {
        check(
            &|x, p| {
                let [first, second] = [1, 3].map(|i| map(&p[i], Some(&p[i + 1])));
                residual_mlp(
                    &x[0],
                    &rms(&p[0]),
                    &MlpMaps { first, activation, second },
                    Product::Blocked,
                )
            },
            &|x, p| {
                let h = plain::rms_norm(&x[0], &p[0], 1e-6)?;
                let wide = plain::linear(&h, &p[1], Some(&p[2]))?;
                let activated = match activation {
                    Gelu::Quick => plain::quick_gelu(&wide)?,
                    _ => plain::gelu_tanh(&wide)?,
                };
                &x[0] + plain::linear(&activated, &p[3], Some(&p[4]))?
            },
            &[numbers(&[5, 6], 1)],
            &[&[6][..], &[7, 6], &[7], &[6, 7], &[6]].map(|shape| numbers(shape, 2)),
        );
    }
}

fn attention_case(segments: &Segments, heads: usize, kv_heads: usize, scale: f64) {
    let n = segments.len();
    let inputs = [
        (numbers(&[n, heads, 8], 12) * scale).unwrap(),
        numbers(&[n, kv_heads, 8], 13),
        numbers(&[n, kv_heads, 8], 14),
    ];
    check(
        &|x, _| segment_attention(&x[0], &x[1], &x[2], segments),
        &|x, _| plain::segment_attention(&x[0], &x[1], &x[2], segments),
        &inputs,
        &[],
    );
}

#[test]
fn segment_attention_has_the_right_value_and_gradients() {
    attention_case(
        &Segments::prompts(&[(5, vec![3, 1, 4]), (2, vec![]), (1, vec![2])]).unwrap(),
        4,
        2,
        3.0,
    );
    attention_case(&Segments::separate(&[6, 1, 9]).unwrap(), 2, 2, 3.0);
}

#[test]
fn segment_attention_crosses_block_borders() {
    // More than one block of queries and of keys; a block that starts in the prompt and ends in a completion.
    attention_case(&Segments::prompts(&[(290, vec![30, 70, 5])]).unwrap(), 2, 1, 1.0);
    attention_case(&Segments::separate(&[270, 3]).unwrap(), 1, 1, 1.0);
}

fn rms(weight: &Parameter) -> NormParameters {
    NormParameters { weight: weight.clone(), bias: None, eps: 1e-6 }
}

/// Maps to heads of four and back, and norms of queries and keys.
fn maps_with_norms(p: &[Parameter]) -> Result<AttentionMaps> {
    let part = |i: usize| LinearPart::whole(map(&p[i], None));
    let head_norms = Some(HeadNorms { q: rms(&p[4]), k: rms(&p[5]) });
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    Ok(AttentionMaps { q, k, v, o: map(&p[3], None), head_dim: 4, head_norms })
}

/// Queries of two heads, keys and values of one, from a stream of 8 numbers a token; norms with weights of their own.
#[test]
fn attention_with_norms_of_heads_has_the_right_value_and_gradients() {
    let segments = Segments::prompts(&[(4, vec![2, 1])]).unwrap();
    let angles = (numbers(&[7, 2], 8) * 3.0).unwrap();
    let shapes = [&[8, 8][..], &[4, 8], &[4, 8], &[8, 8], &[4], &[4]];
    let parameters: Vec<Tensor> =
        shapes.iter().zip(20..).map(|(shape, seed)| numbers(shape, seed)).collect();
    let of = |x: &Tensor| Angles::new(&angles, x.dtype());
    check(
        &|x, p| {
            let maps = maps_with_norms(p)?;
            let attend = |h: Qkv| segment_attention(&h.q, &h.k, &h.v, &segments);
            self_attention(&x[0], &maps, &of(&x[0])?, Product::Blocked, attend)
        },
        &|x, p| {
            let angles = of(&x[0])?;
            let [cos, sin] = angles.parts();
            let heads = |i: usize, n: usize| {
                let heads = plain::linear(&x[0], &p[i], None)?.reshape((7, n, 4))?;
                let normed = plain::rms_norm(&heads, &p[4 + i], 1e-6)?;
                plain::rotary(&normed, cos, sin)
            };
            let v = plain::linear(&x[0], &p[2], None)?.reshape((7, 1, 4))?;
            let attended = plain::segment_attention(&heads(0, 2)?, &heads(1, 1)?, &v, &segments)?;
            plain::linear(&attended.flatten_from(1)?, &p[3], None)
        },
        &[numbers(&[7, 8], 12)],
        &parameters,
    );
}

/// Queries of two heads, keys and values of one, with norms of heads; and three stacked maps of two heads with biases, as in a tower.
#[test]
fn halves_with_attention_have_the_right_value_and_gradients() {
    let segments = Segments::prompts(&[(4, vec![2, 1])]).unwrap();
    let angles = (numbers(&[7, 2], 8) * 3.0).unwrap();
    let of = |x: &Tensor| Angles::new(&angles, x.dtype());
    let parameters = |shapes: &[&[usize]]| -> Vec<Tensor> {
        shapes.iter().zip(20..).map(|(shape, seed)| numbers(shape, seed)).collect()
    };
    check(
        &|x, p| {
            let maps = maps_with_norms(p)?;
            residual_attention(&x[0], &rms(&p[6]), &maps, &of(&x[0])?, &segments)
        },
        &|x, p| {
            let angles = of(&x[0])?;
            let [cos, sin] = angles.parts();
            let h = plain::rms_norm(&x[0], &p[6], 1e-6)?;
            let heads = |i: usize, n: usize| {
                let heads = plain::linear(&h, &p[i], None)?.reshape((7, n, 4))?;
                let normed = plain::rms_norm(&heads, &p[4 + i], 1e-6)?;
                plain::rotary(&normed, cos, sin)
            };
            let v = plain::linear(&h, &p[2], None)?.reshape((7, 1, 4))?;
            let attended = plain::segment_attention(&heads(0, 2)?, &heads(1, 1)?, &v, &segments)?;
            &x[0] + plain::linear(&attended.flatten_from(1)?, &p[3], None)?
        },
        &[numbers(&[7, 8], 12)],
        &parameters(&[&[8, 8], &[4, 8], &[4, 8], &[8, 8], &[4], &[4], &[8]]),
    );
    check(
        &|x, p| {
            let stacked = map(&p[0], Some(&p[1]));
            let [q, k, v] = [0, 1, 2]
                .map(|i| LinearPart { parameters: stacked.clone(), rows: 8 * i..8 * (i + 1) });
            let o = map(&p[2], Some(&p[3]));
            let maps = AttentionMaps { q, k, v, o, head_dim: 4, head_norms: None };
            residual_attention(&x[0], &rms(&p[4]), &maps, &of(&x[0])?, &segments)
        },
        &|x, p| {
            let angles = of(&x[0])?;
            let [cos, sin] = angles.parts();
            let qkv = plain::linear(&plain::rms_norm(&x[0], &p[4], 1e-6)?, &p[0], Some(&p[1]))?;
            let heads = |i: usize| qkv.narrow(1, 8 * i, 8)?.reshape((7, 2, 4));
            let [q, k] = [0, 1].map(|i| plain::rotary(&heads(i)?, cos, sin));
            let attended = plain::segment_attention(&q?, &k?, &heads(2)?, &segments)?;
            &x[0] + plain::linear(&attended.flatten_from(1)?, &p[2], Some(&p[3]))?
        },
        &[numbers(&[7, 8], 12)],
        &parameters(&[&[24, 8], &[24], &[8, 8], &[8], &[8]]),
    );
}

#[test]
fn rows_that_are_added_to_have_the_right_value_and_gradients() {
    let rows = [4, 0, 1];
    check(
        &|x, _| add_to_rows(&x[0], &rows, &x[1]),
        &|x, _| {
            // The identity's columns put each added row in its place.
            let places = Tensor::eye(5, x[0].dtype(), x[0].device())?;
            let places = places.index_select(&Tensor::new(&rows, x[0].device())?, 0)?;
            &x[0] + places.t()?.matmul(&x[1])?
        },
        &[numbers(&[5, 3], 1), numbers(&[3, 3], 2)],
        &[],
    );
    let error = add_to_rows(&numbers(&[5, 3], 1), &[5], &numbers(&[1, 3], 2)).unwrap_err();
    assert!(error.to_string().contains("add_to_rows: [1, 3] to 1 rows of [5, 3]"), "{error}");
}

#[test]
fn completions_do_not_see_each_other() {
    let segments = Segments::prompts(&[(4, vec![3, 3])]).unwrap();
    let (q, k, v) = (numbers(&[10, 2, 8], 1), numbers(&[10, 2, 8], 2), numbers(&[10, 2, 8], 3));
    let before = segment_attention(&q, &k, &v, &segments).unwrap();
    let other = Tensor::cat(&[&v.narrow(0, 0, 7).unwrap(), &numbers(&[3, 2, 8], 4)], 0).unwrap();
    let after = segment_attention(&q, &k, &other, &segments).unwrap();
    assert_eq!(
        largest_difference(&before.narrow(0, 0, 7).unwrap(), &after.narrow(0, 0, 7).unwrap()),
        0.0
    );
    assert!(
        largest_difference(&before.narrow(0, 7, 3).unwrap(), &after.narrow(0, 7, 3).unwrap()) > 0.1
    );
}

#[test]
fn token_logprob_has_the_right_value_and_gradients() {
    let targets = Tensor::new(&[3u32, 0, 30, 7, 7], &Device::Cpu).unwrap();
    check(
        &|x, p| Ok(token_logprob(&x[0], &p[0], &targets, 0.7)?.logp),
        &|x, p| plain::token_logprob(&x[0], &p[0], &targets, 0.7),
        &[numbers(&[5, 6], 15)],
        &[(numbers(&[31, 6], 16) * 2.0).unwrap()],
    );
}

/// More rows and more tokens than a block of logits has, neither a multiple of one; targets in several blocks.
fn head_of_several_blocks() -> (Tensor, Tensor, Tensor) {
    let targets: Vec<u32> = (0..530u32).map(|i| (i * 97) % 1100).collect();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    (numbers(&[530, 3], 15), (numbers(&[1100, 3], 16) * 2.0).unwrap(), targets)
}

#[test]
fn a_head_of_several_blocks_has_the_right_value_and_gradients() {
    let (hidden, weight, targets) = head_of_several_blocks();
    check(
        &|x, p| Ok(token_logprob(&x[0], &p[0], &targets, 0.7)?.logp),
        &|x, p| plain::token_logprob(&x[0], &p[0], &targets, 0.7),
        from_ref(&hidden),
        from_ref(&weight),
    );
    let logits = (hidden.matmul(&weight.t().unwrap()).unwrap() / 0.7).unwrap();
    let p = candle_nn::ops::softmax(&logits, 1).unwrap();
    let entropy = (&p * p.log().unwrap()).unwrap().sum(1).unwrap().neg().unwrap();
    let head = Parameter::frozen("head", &weight);
    let ours = token_logprob(&hidden, &head, &targets, 0.7).unwrap().entropy;
    assert!(largest_difference(&ours, &entropy) < 1e-10);
}

#[test]
fn the_head_has_the_same_bits_with_any_number_of_threads() {
    let (hidden, weight, targets) = head_of_several_blocks();
    let [hidden, weight] = [hidden, weight].map(|x| x.to_dtype(DType::F32).unwrap());
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let op =
            |x: &[Tensor], p: &[Parameter]| Ok(token_logprob(&x[0], &p[0], &targets, 0.7)?.logp);
        pool.install(|| gradients(&op, from_ref(&hidden), from_ref(&weight)).unwrap())
    };
    let (y, expected) = run(1);
    for threads in [2, 3] {
        let (again, found) = run(threads);
        assert_eq!(largest_difference(&y, &again), 0.0);
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(largest_difference(expected, found), 0.0, "{threads} threads");
        }
    }
}

#[test]
fn token_logprob_does_not_depend_on_its_chunks() {
    // On the plain path, a vocabulary of 2^22 gives chunks of 4 rows; the kernel's has 8192 blocks.
    let weight = numbers(&[1 << 22, 1], 17).to_dtype(DType::F32).unwrap();
    let hidden = numbers(&[9, 1], 18).to_dtype(DType::F32).unwrap();
    let targets: Vec<u32> = (0..9).map(|i| i * 1000).collect();
    let head = Parameter::frozen("head", &weight);
    let all = token_logprob(&hidden, &head, &Tensor::new(&targets[..], &Device::Cpu).unwrap(), 1.0)
        .unwrap();
    for row in [0, 4, 8] {
        let target = Tensor::new(&targets[row..=row], &Device::Cpu).unwrap();
        let one = plain::token_logprob(&hidden.narrow(0, row, 1).unwrap(), &weight, &target, 1.0)
            .unwrap();
        assert!(largest_difference(&one, &all.logp.narrow(0, row, 1).unwrap()) < 2e-5);
    }
}

#[test]
fn the_plain_head_gives_what_its_composition_over_all_rows_gives() {
    // A vocabulary of 2^23 gives chunks of 2 rows.
    let weight = numbers(&[1 << 23, 1], 17).to_dtype(DType::BF16).unwrap();
    let hidden = [numbers(&[3, 1], 18).to_dtype(DType::BF16).unwrap()];
    let targets = Tensor::new(&[8_000_000u32, 3, 3], &Device::Cpu).unwrap();
    let weights = from_ref(&weight);
    let chunks = |x: &[Tensor], p: &[Parameter]| token_logprob(&x[0], &p[0], &targets, 0.7);
    let ours = gradients(&|x, p| Ok(chunks(x, p)?.logp), &hidden, weights).unwrap();
    let whole =
        |x: &[Tensor], p: &[Parameter]| plain::token_logprob(&x[0], p[0].value(), &targets, 0.7);
    let theirs = gradients(&whole, &hidden, weights).unwrap();
    assert_eq!(largest_difference(&ours.0, &theirs.0), 0.0);
    assert_eq!(largest_difference(&ours.1[0], &theirs.1[0]), 0.0, "gradient of hidden");
    // Chunks are summed in f32; all rows at once are summed and then rounded to bf16.
    let difference = largest_difference(&ours.1[1], &theirs.1[1]);
    assert!(difference < 4e-3, "gradient of the weight: {difference}");
    let log = f64::from(1 << 23).ln();
    let entropy = chunks(&hidden, &[Parameter::frozen("head", &weight)]).unwrap().entropy;
    for entropy in entropy.to_vec1::<f32>().unwrap() {
        assert!((0.9 * log..log).contains(&f64::from(entropy)), "{entropy}");
    }
}

#[test]
fn entropy_of_equal_logits_is_the_logarithm_of_the_vocabulary() {
    let head =
        Parameter::frozen("head", &Tensor::zeros((50, 3), DType::F32, &Device::Cpu).unwrap());
    let hidden = numbers(&[2, 3], 19).to_dtype(DType::F32).unwrap();
    let targets = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
    let result = token_logprob(&hidden, &head, &targets, 1.0).unwrap();
    for value in result.entropy.to_vec1::<f32>().unwrap() {
        assert!((value - 50f32.ln()).abs() < 1e-6);
    }
    for value in result.logp.to_vec1::<f32>().unwrap() {
        assert!((value + 50f32.ln()).abs() < 1e-6);
    }
}

#[test]
fn a_target_beyond_the_vocabulary_is_refused() {
    let head = Parameter::frozen("head", &numbers(&[5, 3], 1));
    let targets = Tensor::new(&[5u32], &Device::Cpu).unwrap();
    assert!(token_logprob(&numbers(&[1, 3], 2), &head, &targets, 1.0).is_err());
}

#[test]
fn a_frozen_parameter_gathers_no_gradient() {
    let x = Var::from_tensor(&numbers(&[5, 7], 1)).unwrap();
    let weight = Parameter::frozen("w", &numbers(&[4, 7], 2));
    let y = linear(&x, &map(&weight, None), Product::Blocked).unwrap();
    let store = scalar(&y).unwrap().backward().unwrap();
    assert!(store.get(&x).is_some());
    assert!(weight.take_gradient().unwrap().is_none());
}

#[test]
fn a_row_multiplied_by_itself_is_the_same_among_others() {
    let weight = Parameter::frozen("w", &numbers(&[33, 70], 2).to_dtype(DType::F32).unwrap());
    let x = numbers(&[90, 70], 1).to_dtype(DType::F32).unwrap();
    let product = |x: &Tensor| linear(x, &map(&weight, None), Product::RowByRow).unwrap();
    let all = product(&x);
    for row in [0, 70, 89] {
        let alone = product(&x.narrow(0, row, 1).unwrap());
        assert_eq!(largest_difference(&alone, &all.narrow(0, row, 1).unwrap()), 0.0);
    }
}

#[test]
fn gradients_of_several_backward_passes_add_up() {
    let weight = Parameter::trainable("w", &numbers(&[4, 7], 2)).unwrap();
    let run = |seed| {
        let x = Var::from_tensor(&numbers(&[5, 7], seed)).unwrap();
        scalar(&linear(&x, &map(&weight, None), Product::Blocked).unwrap())
            .unwrap()
            .backward()
            .unwrap();
    };
    run(1);
    let first = weight.take_gradient().unwrap().unwrap();
    run(2);
    let second = weight.take_gradient().unwrap().unwrap();
    run(1);
    run(2);
    let both = weight.take_gradient().unwrap().unwrap();
    assert!(largest_difference(&both, &(first + second).unwrap()) < 1e-12);
    assert!(weight.take_gradient().unwrap().is_none());
}

#[test]
fn rows_added_to_a_table_follow_their_ids() {
    for dtype in [DType::F32, DType::BF16] {
        let table = Parameter::trainable("t", &Tensor::zeros((3, 2), dtype, &Device::Cpu).unwrap())
            .unwrap();
        let rows = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [10.0, 20.0]], &Device::Cpu).unwrap();
        table.accumulate_rows(&[2, 0, 2], &rows).unwrap();
        let sum = table.take_gradient().unwrap().unwrap();
        assert_eq!(sum.to_vec2::<f32>().unwrap(), [[3.0, 4.0], [0.0, 0.0], [11.0, 22.0]]);
    }
}

#[test]
fn an_id_beyond_a_table_is_named() {
    let table = numbers(&[3, 2], 1);
    let table = Parameter::trainable("embedding", &table).unwrap();
    let error = table.accumulate_rows(&[0, 3], &numbers(&[2, 2], 2)).unwrap_err().to_string();
    assert!(error.contains("row 3 is beyond embedding"), "{error}");
    assert!(table.take_gradient().unwrap().is_none());
    let error = select_rows(table.value(), &[1, 7]).unwrap_err().to_string();
    assert!(error.contains("row 7 of 3"), "{error}");
}

/// What [`backward()`] stands for: the gradients of one sum of products, on candle's tape.
fn gradients_of_sum(outputs: &[(&Tensor, &Tensor)], of: &Var) -> Tensor {
    let product = |(y, g): &(&Tensor, &Tensor)| (*y * *g).unwrap().sum_all().unwrap();
    let products: Vec<Tensor> = outputs.iter().map(product).collect();
    let sum = products.into_iter().reduce(|a, b| (a + b).unwrap()).unwrap();
    sum.backward().unwrap().remove(of).unwrap()
}

#[test]
fn a_backward_pass_from_gradients_has_the_bits_of_one_from_their_sum_of_products() {
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let x = Var::from_tensor(&numbers(&[5, 7], 1).to_dtype(dtype).unwrap()).unwrap();
        // The second output depends on the first, and the gradient of the second holds a negative zero.
        let y = x.exp().unwrap();
        let z = (&y * &y.tanh().unwrap()).unwrap().narrow(0, 1, 3).unwrap();
        let dy = numbers(&[5, 7], 2).to_dtype(dtype).unwrap();
        let dz = (numbers(&[3, 7], 3).relu().unwrap() * -1.0).unwrap().to_dtype(dtype).unwrap();
        for outputs in [&[(&y, &dy), (&z, &dz)][..], &[(&z, &dz), (&y, &dy)], &[(&z, &dz)]] {
            let found = backward(outputs).unwrap().unwrap().remove(&x).unwrap();
            let bits = |x: &Tensor| -> Vec<u64> {
                let x = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
                x.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
            };
            assert_eq!(bits(&found), bits(&gradients_of_sum(outputs, &x)), "{dtype:?}");
        }
    }
}

#[test]
fn outputs_of_several_dtypes_start_one_backward_pass() {
    let x = Var::from_tensor(&numbers(&[2, 3], 1).to_dtype(DType::BF16).unwrap()).unwrap();
    let wide = (x.to_dtype(DType::F32).unwrap() * 2.0).unwrap();
    let ones = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
    let found = backward(&[(&x, &ones), (&wide, &ones)]).unwrap().unwrap().remove(&x).unwrap();
    assert_eq!(found.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap(), [[3.0; 3]; 2]);
    assert!(backward(&[(&x, &ones.narrow(0, 0, 1).unwrap())]).is_err());
    assert!(backward(&[]).unwrap().is_none());
}

#[test]
fn cached_attention_equals_segment_attention_on_the_last_token() {
    let (prompt, own) = (6, [3, 2]);
    let segments = Segments::prompts(&[(prompt, own.to_vec())]).unwrap();
    let n = segments.len();
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let [q, k, v] = [(4, 20), (2, 21), (2, 22)]
            .map(|(heads, seed)| numbers(&[n, heads, 8], seed).to_dtype(dtype).unwrap());
        let all = segment_attention(&q, &k, &v, &segments).unwrap();
        let sequence = |start: usize, len| CachedSequence {
            prompt_keys: k.narrow(0, 0, prompt).unwrap().contiguous().unwrap(),
            prompt_values: v.narrow(0, 0, prompt).unwrap().contiguous().unwrap(),
            suffix_start: start,
            suffix_len: len,
        };
        let sequences = [sequence(0, own[0]), sequence(own[0], own[1])];
        let suffix = |x: &Tensor| x.narrow(0, prompt, n - prompt).unwrap().contiguous().unwrap();
        let last = Tensor::new(&[8u32, 10], &Device::Cpu).unwrap();
        let queries = q.index_select(&last, 0).unwrap();
        let cached = cached_attention(&queries, &suffix(&k), &suffix(&v), &sequences).unwrap();
        let tolerance = if dtype == DType::BF16 { 2e-2 } else { 1e-6 };
        assert!(largest_difference(&cached, &all.index_select(&last, 0).unwrap()) < tolerance);
        let alone = cached_attention(
            &queries.narrow(0, 1, 1).unwrap(),
            &suffix(&k),
            &suffix(&v),
            &sequences[1..],
        );
        assert_eq!(largest_difference(&alone.unwrap(), &cached.narrow(0, 1, 1).unwrap()), 0.0);
    }
}
