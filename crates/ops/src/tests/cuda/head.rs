//! The vocabulary head.
#![expect(clippy::print_stdout, reason = "the errors found, for a look at the log")]

use super::*;

/// `[rows, inner]`, `[vocab, inner]` and `[rows]`, the weight `scale` times as large as [`numbers`].
struct Case {
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
}

impl Case {
    fn new([rows, inner, vocab]: [usize; 3], scale: f64) -> Self {
        let bf16 = |x: Tensor| x.to_dtype(DType::BF16).unwrap();
        let hidden = bf16(numbers(&[rows, inner], 1));
        let weight = bf16((numbers(&[vocab, inner], 2) * scale).unwrap());
        let targets: Vec<u32> =
            (0..rows).map(|i| ((i * 7919 + vocab - 1) % vocab) as u32).collect();
        Self { hidden, weight, targets: Tensor::new(targets, &Device::Cpu).unwrap() }
    }

    fn on(&self, device: &Device, dtype: DType) -> Self {
        let [hidden, weight] = [&self.hidden, &self.weight]
            .map(|x| x.to_dtype(dtype).unwrap().to_device(device).unwrap());
        Self { hidden, weight, targets: self.targets.to_device(device).unwrap() }
    }

    /// Log-probabilities with the gradients of hidden states and weight, and entropies.
    fn run(&self, temperature: f64) -> ([Tensor; 3], Tensor) {
        let entropy = std::cell::RefCell::new(None);
        let op = |x: &[Tensor], p: &[Parameter]| {
            let result = token_logprob(&x[0], &p[0], &self.targets, temperature)?;
            entropy.replace(Some(result.entropy));
            Ok(result.logp)
        };
        let all = [&self.hidden, &self.weight].map(from_ref);
        let (logp, gradients) = gradients(&op, all[0], all[1]).unwrap();
        let [hidden, weight] = gradients.try_into().unwrap();
        ([logp, hidden, weight], entropy.into_inner().unwrap())
    }
}

fn largest_error(a: &Tensor, b: &Tensor) -> f64 {
    f64_here(a).iter().zip(f64_here(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn token_logprob_on_the_device_is_that_of_the_cpu() {
    let cases = [
        ([1, 8, 1], 1.0, 1.0),
        ([1, 8, 9], 1.0, 0.7),
        ([5, 16, 1001], 1.0, 1.0),
        ([3, 16, 32003], 2.0, 0.7),
        ([1024, 8, 9], 1.0, 1.0),
        ([1025, 8, 4], 1.0, 0.7),
        ([2100, 24, 1001], 1.0, 0.7), // three chunks of rows
    ];
    for (shape, scale, temperature) in cases {
        let case = Case::new(shape, scale);
        let ([logp, hidden, weight], entropy) = case.on(device(), DType::BF16).run(temperature);
        let (exact, exact_entropy) = case.on(&Device::Cpu, DType::F64).run(temperature);
        assert_eq!([logp.dtype(), entropy.dtype(), weight.dtype()], [DType::F32; 3]);
        assert_eq!(hidden.dtype(), DType::BF16);
        let nats = [largest_error(&logp, &exact[0]), largest_error(&entropy, &exact_entropy)];
        let slopes = [relative_error(&hidden, &exact[1]), relative_error(&weight, &exact[2])];
        for error in nats {
            println!("token_logprob {shape:?}: output {error:.1e}");
        }
        for error in slopes {
            println!("token_logprob {shape:?}: gradient {error:.1e}");
        }
        assert!(nats.iter().all(|&error| error < 1e-5), "{nats:?}");
        // Slopes are rounded to bf16, and the gradient of a hidden state again. One row has one large slope.
        let limit = if shape[0] == 1 { 1.0 / 256.0 } else { 2.5e-3 };
        assert!(slopes[0] < 2.0 * limit && slopes[1] < limit, "{slopes:?}");
    }
}

#[test]
fn large_logits_are_exact_to_f32_on_the_device() {
    let case = Case::new([64, 32, 1001], 9.0);
    let ([logp, hidden, weight], entropy) = case.on(device(), DType::BF16).run(0.7);
    let case = case.on(&Device::Cpu, DType::F64);
    let logits = (case.hidden.matmul(&case.weight.t().unwrap()).unwrap() / 0.7).unwrap();
    let largest = logits.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
    assert!(largest > 40.0, "{largest}"); // where bf16 has a spacing of 0.25
    let (exact, exact_entropy) = case.run(0.7);
    assert!(largest_error(&logp, &exact[0]) < 2e-4);
    assert!(largest_error(&entropy, &exact_entropy) < 1e-4);
    assert!(relative_error(&hidden, &exact[1]) < 5e-3);
    assert!(relative_error(&weight, &exact[2]) < 2.5e-3);
}

#[test]
fn a_repeated_head_has_the_same_bits_on_the_device() {
    let case = Case::new([1100, 16, 503], 3.0).on(device(), DType::BF16);
    let (first, first_entropy) = case.run(0.9);
    let (second, second_entropy) = case.run(0.9);
    for (a, b) in first.iter().zip(&second).chain([(&first_entropy, &second_entropy)]) {
        assert_eq!(f64_here(a), f64_here(b));
    }
}

#[test]
fn a_tied_head_adds_to_the_gradient_of_the_embeddings_on_the_device() {
    let case = Case::new([1030, 8, 11], 1.0);
    let there = case.on(device(), DType::BF16);
    let weight = Parameter::trainable("tied", &there.weight).unwrap();
    let rows = numbers(&[3, 8], 5);
    let ids = [4u32, 0, 10];
    let pass = |weight: &Parameter| {
        let x = Var::from_tensor(&there.hidden).unwrap();
        let logp = token_logprob(&x, weight, &there.targets, 1.0).unwrap().logp;
        let store = scalar(&logp).unwrap().backward().unwrap();
        store.get(&x).unwrap().detach()
    };
    pass(&weight);
    weight.accumulate_rows(&ids, &rows.to_device(device()).unwrap()).unwrap();
    let of_hidden = pass(&weight);
    let mut expected = Tensor::zeros((11, 8), DType::F64, &Device::Cpu).unwrap();
    expected = expected.index_add(&Tensor::new(&ids, &Device::Cpu).unwrap(), &rows, 0).unwrap();
    let ([_, _, once], _) = case.on(&Device::Cpu, DType::F64).run(1.0);
    expected = (expected + (once * 2.0).unwrap()).unwrap();
    assert!(relative_error(&weight.gradient().unwrap(), &expected) < 2.5e-3);
    let frozen = weight.detached();
    assert_eq!(f64_here(&pass(&frozen)), f64_here(&of_hidden));
    assert!(frozen.gradient().is_none());
}

#[test]
fn a_target_beyond_the_vocabulary_is_nan_on_the_device() {
    let mut case = Case::new([3, 8, 21], 1.0);
    case.targets = Tensor::new(&[4u32, 21, u32::MAX], &Device::Cpu).unwrap();
    let ([logp, hidden, _], entropy) = case.on(device(), DType::BF16).run(1.0);
    let is_nan: Vec<bool> = f64_here(&logp).iter().map(|x| x.is_nan()).collect();
    assert_eq!(is_nan, [false, true, true]);
    assert!(f64_here(&hidden).iter().chain(&f64_here(&entropy)).all(|x| x.is_finite()));
}

#[test]
fn a_head_without_rows_is_no_work_on_the_device() {
    let case = Case::new([3, 8, 21], 1.0).on(device(), DType::BF16);
    let weight = Parameter::frozen("head", &case.weight);
    let [hidden, targets] = [&case.hidden, &case.targets].map(|x| x.narrow(0, 2, 0).unwrap());
    let result = token_logprob(&hidden, &weight, &targets, 1.0).unwrap();
    assert_eq!((result.logp.dims(), result.entropy.dims()), (&[0][..], &[0][..]));
}
