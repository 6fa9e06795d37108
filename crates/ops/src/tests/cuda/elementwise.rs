//! Operations that compute each number by itself: what the GPU returns is the exact result rounded once.

use super::*;

/// The share of numbers of `found` (bf16) that are not those of `exact` (f64) rounded to bf16.
fn share_rounded_otherwise(found: &Tensor, exact: &Tensor) -> f64 {
    assert_eq!(found.dims(), exact.dims());
    assert_eq!(found.dtype(), DType::BF16);
    let exact = exact.to_dtype(DType::F32).unwrap().to_dtype(DType::BF16).unwrap();
    let flat = |x: &Tensor| {
        let x = x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
        x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let (found, exact) = (flat(found), flat(&exact));
    let differing = found.iter().zip(&exact).filter(|(a, b)| a != b).count();
    differing as f64 / found.len() as f64
}

/// Checks an operation in bf16 on the device against `exact`, the same in f64: output and gradients.
pub(super) fn check_rounded_once(what: &str, op: Operation, exact: Operation, inputs: &[Tensor]) {
    // Arithmetic in f32 moves about one number in a thousand over a border of bf16; one of few by chance.
    let limit = |x: &Tensor| (4.0 / x.elem_count() as f64).max(4e-3);
    let bf16: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::BF16).unwrap()).collect();
    let wide: Vec<Tensor> = bf16.iter().map(|x| x.to_dtype(DType::F64).unwrap()).collect();
    let there: Vec<Tensor> = bf16.iter().map(|x| x.to_device(device()).unwrap()).collect();
    let (y, found) = gradients(op, &there, &[]).unwrap();
    let (y_exact, exact) = gradients(exact, &wide, &[]).unwrap();
    let (again, repeated) = gradients(op, &there, &[]).unwrap();
    let found = std::iter::once(y).chain(found);
    let repeated = std::iter::once(again).chain(repeated);
    for (i, ((found, again), exact)) in
        found.zip(repeated).zip(std::iter::once(y_exact).chain(exact)).enumerate()
    {
        let share = share_rounded_otherwise(&found, &exact);
        println!("{what}, result {i}: {share:.1e} of the numbers rounded otherwise");
        assert!(share <= limit(&found), "{what}, result {i}: {share:e}");
        assert_eq!(share_rounded_otherwise(&found, &again), 0.0, "{what}, result {i}, repeated");
    }
}

/// Tokens, heads, head dimension: the two towers', one token, halves that are no multiple of 8.
const ROTATED: [[usize; 3]; 5] =
    [[300, 12, 128], [257, 16, 80], [1, 2, 128], [33, 5, 20], [7, 1, 2]];

fn positions(tokens: usize, head_dim: usize) -> Tensor {
    (numbers(&[tokens, head_dim / 2], 8) * 50.0).unwrap().to_dtype(DType::F32).unwrap()
}

fn cos_and_sin(angles: &Tensor) -> [Tensor; 2] {
    let angles = angles.to_dtype(DType::F64).unwrap();
    [angles.cos().unwrap(), angles.sin().unwrap()]
}

#[test]
fn rotary_turns_by_cosines_and_sines_in_bf16() {
    for shape in ROTATED {
        let at = positions(shape[0], shape[2]);
        let angles = Angles::new(&at.to_device(device()).unwrap(), DType::BF16).unwrap();
        let [cos, sin] = cos_and_sin(&at).map(|x| {
            let x = x.to_dtype(DType::F32).unwrap().to_dtype(DType::BF16).unwrap();
            x.to_dtype(DType::F64).unwrap()
        });
        check_rounded_once(
            &format!("rotary {shape:?}"),
            &|x, _| rotary(&x[0], &angles),
            &|x, _| plain::rotary(&x[0], &cos, &sin),
            &[numbers(&shape, 9)],
        );
    }
}

#[test]
fn rotary_by_exact_angles_rounds_the_result_alone() {
    for shape in ROTATED {
        let at = positions(shape[0], shape[2]);
        let angles = Angles::exact(&at.to_device(device()).unwrap(), DType::BF16).unwrap();
        let [cos, sin] = cos_and_sin(&at);
        check_rounded_once(
            &format!("rotary {shape:?}, exact"),
            &|x, _| rotary(&x[0], &angles),
            &|x, _| plain::rotary(&x[0], &cos, &sin),
            &[numbers(&shape, 9)],
        );
    }
}

/// One row, lengths that are no multiple of 8, several blocks.
const SHAPES: [[usize; 2]; 5] = [[1, 1], [1, 8], [3, 13], [37, 1001], [20, 8960]];

type Activation = fn(&Tensor) -> Result<Tensor>;

#[test]
fn activations_on_the_device_round_the_result_alone() {
    let activations: [(&str, Activation); 3] =
        [("quick_gelu", quick_gelu), ("gelu_tanh", gelu_tanh), ("gelu_erf", gelu_erf)];
    for (name, activation) in activations {
        for shape in SHAPES {
            check_rounded_once(
                &format!("{name} {shape:?}"),
                &|x, _| activation(&x[0]),
                &|x, _| activation(&x[0]),
                &[(numbers(&shape, 3) * 6.0).unwrap()],
            );
        }
    }
}

#[test]
fn swiglu_on_the_device_rounds_the_results_alone() {
    for shape in SHAPES {
        check_rounded_once(
            &format!("swiglu {shape:?}"),
            &|x, _| swiglu(&x[0], &x[1]),
            &|x, _| swiglu(&x[0], &x[1]),
            &[(numbers(&shape, 4) * 6.0).unwrap(), numbers(&shape, 5)],
        );
    }
}

#[test]
fn sums_on_the_device_are_rounded_once_and_hand_their_gradient_to_both_sides() {
    for shape in SHAPES {
        check_rounded_once(
            &format!("add {shape:?}"),
            &|x, _| add(&x[0], &x[1]),
            &|x, _| &x[0] + &x[1],
            &[numbers(&shape, 4), (numbers(&shape, 5) * 0.3).unwrap()],
        );
    }
    let [x, y] = [[2, 3], [3, 2]].map(|shape| bf16_on_device(&numbers(&shape, 1)));
    assert!(add(&x, &y).is_err());
}

#[test]
fn arrays_that_begin_anywhere_give_the_numbers_of_those_that_do_not() {
    let all = numbers(&[200], 6).to_dtype(DType::BF16).unwrap().to_device(device()).unwrap();
    let angles = Angles::exact(&positions(3, 16).to_device(device()).unwrap(), DType::BF16);
    let angles = angles.unwrap();
    for first in [1, 4, 7] {
        let view = all.narrow(0, first, 96).unwrap();
        let copy = view.force_contiguous().unwrap();
        let heads = |x: &Tensor| rotary(&x.reshape((3, 2, 16)).unwrap(), &angles).unwrap();
        let pairs = [
            (quick_gelu(&view).unwrap(), quick_gelu(&copy).unwrap()),
            (swiglu(&view, &copy).unwrap(), swiglu(&copy, &view).unwrap()),
            (add(&view, &copy).unwrap(), add(&copy, &view).unwrap()),
            (heads(&view), heads(&copy)),
        ];
        for (found, expected) in pairs {
            assert_eq!(share_rounded_otherwise(&found, &expected), 0.0);
        }
    }
}

#[test]
fn no_rows_give_no_rows() {
    let some = Tensor::zeros((4, 16), DType::BF16, device()).unwrap();
    let none = some.narrow(0, 2, 0).unwrap();
    for empty in [quick_gelu(&none), gelu_tanh(&none), gelu_erf(&none), swiglu(&none, &none)] {
        assert_eq!(empty.unwrap().dims(), [0, 16]);
    }
    assert_eq!(select_rows(&some, &[]).unwrap().dims(), [0, 16]);
    let heads = none.reshape((0, 2, 8)).unwrap();
    let angles = Tensor::zeros((4, 4), DType::F32, device()).unwrap().narrow(0, 0, 0).unwrap();
    let [heads, angles] = [&heads, &angles].map(|x| othink_cuda::Array::of(x).unwrap());
    let rotated = othink_cuda::rotary(heads, angles, angles, false).unwrap();
    assert_eq!(rotated.into_tensor().dims(), [0, 2, 8]);
}
