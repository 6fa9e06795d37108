//! Every kernel of the GPU against the CPU's in f64, on inputs of bf16. Needs a device, real or emulated.

#![expect(clippy::print_stdout, reason = "errors and times are read by people")]

use std::sync::OnceLock;

use super::*;

mod attention;
mod bandwidth;
mod elementwise;
mod gradients;
mod head;
mod layer;
mod linear;
mod mlp;
mod times;

/// The one device of all tests: a second opening would be a second stream.
fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::Cuda(othink_cuda::open(0).unwrap()))
}

/// Rounding to bf16 is a relative error of at most 2^-9, about 1.1e-3 in the norm of many numbers.
const ROUNDED_ONCE: f64 = 2.0e-3;
/// Sums in f32 of products of bf16.
const IN_F32: f64 = 1e-5;

/// `|a - b| / |b|` in the Euclidean norm.
fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (f64_here(a), f64_here(b));
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(1e-30)
}

fn bf16_on_device(x: &Tensor) -> Tensor {
    x.to_dtype(DType::BF16).unwrap().to_device(device()).unwrap()
}

/// Its numbers, on the host.
fn f64_here(x: &Tensor) -> Vec<f64> {
    let x = x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// A norm with a weight, and a bias where there is another parameter.
fn norm(p: &[Parameter]) -> NormParameters {
    NormParameters { weight: p[0].clone(), bias: p.get(1).cloned(), eps: 1e-6 }
}

/// Checks an operation on the device against the CPU's in f64: its output and the gradients of its inputs, rounded to
/// bf16, within `rounded`, the gradients of its parameters within `parameter`, twice as large after a second pass, and the
/// bits of a repetition.
fn check_on_device(
    what: &str,
    op: Operation,
    inputs: &[Tensor],
    parameters: &[Tensor],
    [rounded, parameter]: [f64; 2],
) {
    let bf16 = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
    let here: Vec<Vec<Tensor>> = [inputs, parameters]
        .map(|all| all.iter().map(|x| bf16(x).to_dtype(DType::F64).unwrap()).collect())
        .into();
    let there: Vec<Vec<Tensor>> = [inputs, parameters]
        .map(|all| all.iter().map(|x| bf16(x).to_device(device()).unwrap()).collect())
        .into();
    let (exact, exact_gradients) = gradients(op, &here[0], &here[1]).unwrap();
    let (y, found) = gradients(op, &there[0], &there[1]).unwrap();
    assert_eq!(y.dtype(), DType::BF16);
    let error = relative_error(&y, &exact);
    println!("{what}: output {error:.1e}");
    assert!(error < rounded, "{what}, output: {error:e}");
    for (i, (found, exact)) in found.iter().zip(&exact_gradients).enumerate() {
        let is_parameter = i >= inputs.len();
        let limit = if is_parameter { parameter } else { rounded };
        let error = relative_error(found, exact);
        println!("{what}: gradient {i} {error:.1e}");
        assert!(error < limit, "{what}, gradient {i}: {error:e}");
        assert_eq!(found.dtype(), if is_parameter { DType::F32 } else { DType::BF16 });
    }
    check_sums_in_bf16(what, op, &there, &exact_gradients[inputs.len()..], parameter);
    let (again, repeated) = gradients(op, &there[0], &there[1]).unwrap();
    let bits = |x: &Tensor| {
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(bits(&y), bits(&again), "{what}");
    for (a, b) in found.iter().zip(&repeated) {
        assert_eq!(bits(a), bits(b), "{what}");
    }
}

/// Checks gradients of parameters that are added up in bf16, after one pass and after another.
///
/// - `there`: inputs and parameters on the device; `exact`: the parameters' gradients
/// - `limit`: their error where they are added up in f32
fn check_sums_in_bf16(
    what: &str,
    op: Operation,
    there: &[Vec<Tensor>],
    exact: &[Tensor],
    limit: f64,
) {
    let parameter = |value: &Tensor| {
        let arena = GradientArena::new(value.elem_count(), DType::BF16, device()).unwrap();
        Parameter::trainable_in("p", value, &arena, 0).unwrap()
    };
    let parameters: Vec<Parameter> = there[1].iter().map(parameter).collect();
    for passes in [1, 2] {
        let inputs = there[0].iter().map(|x| Var::from_tensor(x).unwrap().into_inner());
        let y = op(&inputs.collect::<Vec<_>>(), &parameters).unwrap();
        let mut store = scalar(&y).unwrap().backward().unwrap();
        for (i, (parameter, exact)) in parameters.iter().zip(exact).enumerate() {
            parameter.collect(&mut store).unwrap();
            let sum = parameter.gradient().unwrap();
            assert_eq!(sum.dtype(), DType::BF16);
            let error = relative_error(&sum, &(exact * f64::from(passes)).unwrap());
            // Where numbers are few, each may be as far off as rounding to bf16 allows.
            let rounded = if exact.elem_count() < 100 { 1.0 / 256.0 } else { ROUNDED_ONCE };
            let limit = limit + f64::from(passes) * rounded;
            assert!(error < limit, "{what}, sum {i} of {passes} passes: {error:e}");
        }
    }
}

#[test]
fn rms_norm_on_the_device_is_that_of_the_cpu() {
    for (rows, width) in [(1, 8), (3, 64), (700, 1536), (9, 1544), (300, 3584), (5, 8960)] {
        check_on_device(
            &format!("rms_norm {rows} x {width}"),
            &|x, p| rms_norm(&x[0], &p[0], 1e-6),
            &[numbers(&[rows, width], 1)],
            &[numbers(&[width], 2)],
            [ROUNDED_ONCE, IN_F32],
        );
    }
}

#[test]
fn layer_norm_on_the_device_is_that_of_the_cpu() {
    for (rows, width) in [(1, 8), (3, 72), (600, 1280), (9, 1288), (300, 3584)] {
        check_on_device(
            &format!("layer_norm {rows} x {width}"),
            &|x, p| layer_norm(&x[0], &p[0], &p[1], 1e-6),
            &[numbers(&[rows, width], 1)],
            &[numbers(&[width], 2), numbers(&[width], 3)],
            [ROUNDED_ONCE, IN_F32],
        );
    }
}
