//! The optimiser's kernels against f64, against the CPU's arithmetic to the bit, and against torch's recorded numbers.
//! Needs a device, real or emulated.
//! Not here: kernels of operations, which are compared with those of the CPU where those are.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]
#![expect(clippy::print_stdout, reason = "times are read by people")]

use std::sync::OnceLock;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use half::bf16;
use othink_cuda::{
    AdamWArrays, AdamWRule, AdamWUpdate, Array, HostArray, PhiloxStream, RoundedAdamWUpdate, adamw,
    adamw_rounded, sums_of_squares,
};
use serde_json::Value;

/// The one device of all tests: a second opening would be a second stream.
fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::Cuda(othink_cuda::open(0).unwrap()))
}

fn upload(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers, numbers.len(), device()).unwrap()
}

fn download(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Repeatable numbers in [-1, 1).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

/// A parameter with all that its step needs: each array from element `start` on of a longer one.
struct Parameter {
    whole: [Tensor; 5],
    start: usize,
    n: usize,
}

/// Numbers of the longer array behind a parameter's own.
const BEHIND: usize = 3;

impl Parameter {
    /// - `contents`: weights, moments and gradient, of one length
    fn new(contents: [&[f32]; 4], start: usize) -> Self {
        let n = contents[0].len();
        let padded = |inside: &[f32]| upload(&[&vec![7.0; start], inside, &[7.0; BEHIND]].concat());
        let [weights, m, v, grad] = contents.map(padded);
        let copy = padded(&vec![0.0; n]).to_dtype(DType::BF16).unwrap();
        Self { whole: [weights, m, v, grad, copy], start, n }
    }

    /// Its own elements, in the order of `whole`.
    fn own(&self) -> [Tensor; 5] {
        self.whole.each_ref().map(|x| x.narrow(0, self.start, self.n).unwrap())
    }

    fn step(&self, rule: AdamWRule, has_copy: bool) {
        adamw(&[update(&self.own(), rule, has_copy)]).unwrap();
    }

    /// Weights, moments, gradient and copy, after a look at what is around them.
    fn contents(&self) -> [Vec<f32>; 5] {
        self.whole.each_ref().map(|whole| {
            let whole = download(whole);
            let (before, rest) = whole.split_at(self.start);
            let (own, behind) = rest.split_at(self.n);
            assert!(
                before.iter().chain(behind).all(|x| x.to_bits() == 7f32.to_bits()),
                "{whole:?}"
            );
            own.to_vec()
        })
    }
}

fn update(own: &[Tensor; 5], rule: AdamWRule, has_copy: bool) -> AdamWUpdate<'_> {
    let [parameter, m, v, grad, copy] = own.each_ref().map(|x| Array::of(x).unwrap());
    let copy = has_copy.then_some(copy);
    AdamWUpdate { rule, arrays: AdamWArrays { parameter, m, v, grad, copy } }
}

const RULE: AdamWRule = AdamWRule {
    grad_scale: 0.7,
    first_share: 0.1,
    beta2: 0.999,
    step_size: 0.05,
    second_correction: 0.06,
    eps: 1e-8,
    shrink: 0.99,
};

/// torch's step of AdamW, operation by operation, in that number type.
macro_rules! torchs_step {
    ($real:ty, $p:expr, $m:expr, $v:expr, $g:expr) => {{
        let [p, m, v] = [$p, $m, $v].map(<$real>::from);
        let g = <$real>::from($g) * (RULE.grad_scale as $real);
        let m = m + (RULE.first_share as $real) * (g - m);
        let v = v * (RULE.beta2 as $real) + ((1.0 - RULE.beta2) as $real) * g * g;
        let denominator = v.sqrt() / (RULE.second_correction as $real) + (RULE.eps as $real);
        let p = p * (RULE.shrink as $real) + (-RULE.step_size as $real) * m / denominator;
        [p, m, v]
    }};
}

#[test]
fn a_step_is_torchs_in_f64_up_to_rounding_and_the_cpus_in_f32_to_the_bit() {
    for n in [1, 3, 4, 5, 1023, 70_001] {
        for start in [0, 1, 2, 4] {
            let [p, m, v, g] = [1, 2, 3, 4].map(|seed| numbers(n, seed));
            let v: Vec<f32> = v.iter().map(|x| x * x).collect();
            let parameter = Parameter::new([&p, &m, &v, &g], start);
            parameter.step(RULE, true);
            let [found_p, found_m, found_v, grad, copy] = parameter.contents();
            assert_eq!(bits(&grad), bits(&g));
            for i in 0..n {
                let found = [found_p[i], found_m[i], found_v[i]];
                let exact = torchs_step!(f64, p[i], m[i], v[i], g[i]);
                for (found, exact) in found.iter().zip(exact) {
                    let error = (f64::from(*found) - exact).abs();
                    assert!(error <= 1e-6 * exact.abs() + 1e-6, "{i} of {n}: {found} != {exact}");
                }
                let on_cpu = torchs_step!(f32, p[i], m[i], v[i], g[i]);
                assert_eq!(bits(&found), bits(&on_cpu), "{i} of {n} from {start}");
                assert_eq!(copy[i].to_bits(), bf16::from_f32(found[0]).to_f32().to_bits());
            }
        }
    }
}

#[test]
fn a_step_without_a_copy_moves_the_same_weights() {
    for start in [0, 1] {
        let [with, without] = [true, false].map(|has_copy| {
            let all = [1, 2, 3, 4].map(|seed| numbers(999, seed).iter().map(|x| x.abs()).collect());
            let parameter = Parameter::new(all.each_ref().map(|x: &Vec<f32>| x.as_slice()), start);
            parameter.step(RULE, has_copy);
            parameter.contents()
        });
        assert_eq!(bits(&with[..4].concat()), bits(&without[..4].concat()));
        assert!(without[4].iter().all(|x| *x == 0.0) && with[4] != without[4]);
    }
}

#[test]
fn steps_in_one_launch_are_those_made_one_by_one() {
    // Each with a rule, a length, an alignment and a copy or none of its own; a block's whole share, and one more.
    let lengths = [5, 0, 32_768, 1, 32_769, 100_003, 0, 3, 70_000, 0];
    let new = |i: usize| {
        let all = [1, 2, 3, 4].map(|seed| {
            numbers(lengths[i], 10 * i as u64 + seed).iter().map(|x| x.abs()).collect()
        });
        Parameter::new(all.each_ref().map(|x: &Vec<f32>| x.as_slice()), i % 3)
    };
    let rule = |i: usize| {
        let own = |x: f64| x * (1.0 + 0.01 * i as f64);
        let AdamWRule { grad_scale, first_share, beta2, step_size, .. } = RULE;
        let AdamWRule { second_correction, eps, shrink, .. } = RULE;
        AdamWRule {
            grad_scale: own(grad_scale),
            first_share: own(first_share),
            beta2: beta2 - 0.01 * i as f64,
            step_size: own(step_size),
            second_correction: own(second_correction),
            eps: own(1e5 * eps),
            shrink: own(shrink),
        }
    };
    let [together, alone] = [(); 2].map(|()| (0..lengths.len()).map(new).collect::<Vec<_>>());
    let own: Vec<[Tensor; 5]> = together.iter().map(Parameter::own).collect();
    let updates: Vec<AdamWUpdate> =
        own.iter().enumerate().map(|(i, own)| update(own, rule(i), i % 2 == 0)).collect();
    adamw(&updates).unwrap();
    for (i, (together, alone)) in together.iter().zip(&alone).enumerate() {
        alone.step(rule(i), i % 2 == 0);
        assert_eq!(bits(&together.contents().concat()), bits(&alone.contents().concat()), "{i}");
    }
    adamw(&[]).unwrap();
}

fn list(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn steps_equal_those_that_torch_recorded() {
    // From the package's folder, where tests start, wherever this was built.
    let path = "../../tests/golden/adamw.json";
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let number = |name: &str| golden[name].as_f64().unwrap();
    let run = &golden["f32"];
    for name in ["decayed", "plain"] {
        let initial = list(&run["initial"][name]);
        let zeros = vec![0.0; initial.len()];
        let mut state = [initial, zeros.clone(), zeros];
        for (step, n_steps) in run["steps"].as_array().unwrap().iter().zip(1..) {
            let lr = step["lr"].as_f64().unwrap();
            let rule = AdamWRule {
                grad_scale: (number("max_norm") / (step["norm"].as_f64().unwrap() + 1e-6)).min(1.0),
                first_share: 1.0 - number("beta1"),
                beta2: number("beta2"),
                step_size: lr / (1.0 - number("beta1").powi(n_steps)),
                second_correction: (1.0 - number("beta2").powi(n_steps)).sqrt(),
                eps: number("eps"),
                shrink: if name == "decayed" { 1.0 - lr * number("weight_decay") } else { 1.0 },
            };
            let grad = list(&step["grads"][name]);
            let [p, m, v] = &state;
            let parameter = Parameter::new([p, m, v, &grad], 0);
            parameter.step(rule, false);
            let [p, m, v, ..] = parameter.contents();
            state = [p, m, v];
            for (found, part) in state.iter().zip(["parameters", "m", "v"]) {
                for (found, expected) in found.iter().zip(list(&step[part][name])) {
                    let error = (found - expected).abs();
                    assert!(error <= 1e-6 * expected.abs() + 1e-8, "{part}: {found} != {expected}");
                }
            }
        }
    }
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let [short, long] = [2, 3].map(|n| upload(&vec![1.0; n]));
    let half = short.to_dtype(DType::BF16).unwrap();
    let whole = &short;
    let [short, long, half] = [&short, &long, &half].map(|x| Array::of(x).unwrap());
    let fits = AdamWArrays { parameter: short, m: short, v: short, grad: short, copy: Some(half) };
    for (refused, named) in [
        (AdamWArrays { parameter: half, ..fits }, "a parameter is"),
        (AdamWArrays { m: long, ..fits }, "a first moment"),
        (AdamWArrays { v: long, ..fits }, "a second moment"),
        (AdamWArrays { grad: half, ..fits }, "gradient"),
        (AdamWArrays { copy: Some(short), ..fits }, "copy"),
    ] {
        // Behind one that fits, which is then left as it is.
        let updates = [fits, refused].map(|arrays| AdamWUpdate { rule: RULE, arrays });
        let message = adamw(&updates).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
    let stream = PhiloxStream { key: [1, 2], counter: [3, 4, 5] };
    let (m, v, grad) = (short, short, short);
    let fits = RoundedAdamWUpdate { rule: RULE, weights: half, m, v, grad, stream };
    for (refused, named) in [
        (RoundedAdamWUpdate { weights: short, ..fits }, "rounded by chance"),
        (RoundedAdamWUpdate { m: long, ..fits }, "a first moment"),
        (RoundedAdamWUpdate { v: half, ..fits }, "a second moment"),
        (RoundedAdamWUpdate { grad: long, ..fits }, "gradient"),
    ] {
        let message = adamw_rounded(&[fits, refused]).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(download(whole), [1.0, 1.0]);
    assert!(sums_of_squares(&[short, half]).is_err());
}

#[test]
fn sums_of_squares_are_those_in_f64_and_depend_on_no_neighbour() {
    let whole = numbers(2_200_000, 5);
    let on_device = upload(&whole);
    // Nothing, one number, fewer than a thread's four, a block's whole share, one more, many blocks, an end within a pass.
    let ranges = [
        (5, 0),
        (0, 1),
        (1, 3),
        (4, 4),
        (8, 5),
        (16, 1536),
        (64, 32_768),
        (2, 32_769),
        (9, 0),
        (0, 2_200_000),
        (1, 2_199_999),
        (3, 600_001),
        (7, 0),
    ];
    let parts = ranges.map(|(start, n)| on_device.narrow(0, start, n).unwrap());
    let sums = sums_of_squares(&parts.each_ref().map(|x| Array::of(x).unwrap())).unwrap();
    for ((start, n), sum) in ranges.into_iter().zip(&sums) {
        // Exact: every number is an integer times 2^-23.
        let integer = |x: &f32| (*x * (1u64 << 23) as f32) as i128;
        let squares = whole[start..start + n].iter().map(|x| integer(x) * integer(x));
        let exact = squares.sum::<i128>() as f64 / (1u64 << 46) as f64;
        assert!((sum - exact).abs() <= 1e-14 * exact, "{n} from {start}: {sum} != {exact}");
        // Alone, and from an aligned start.
        let alone = upload(&whole[start..start + n]);
        let alone = sums_of_squares(&[Array::of(&alone).unwrap()]).unwrap()[0];
        assert_eq!(sum.to_bits(), alone.to_bits(), "{n} from {start}");
    }
    assert!(sums_of_squares(&[]).unwrap().is_empty());
}

#[test]
fn a_sum_shows_what_is_not_finite_and_holds_squares_beyond_f32() {
    for n in [1, 6, 5000] {
        let with = |place: usize, found: f32| {
            let mut numbers = vec![0.5; n];
            numbers[place] = found;
            upload(&numbers)
        };
        let arrays = [with(n - 1, f32::NAN), with(n / 2, f32::NEG_INFINITY), with(0, 3e30)];
        let sums = sums_of_squares(&arrays.each_ref().map(|x| Array::of(x).unwrap())).unwrap();
        assert!(sums[0].is_nan() && sums[1] == f64::INFINITY, "{sums:?}");
        assert!((sums[2] / 9e60 - 1.0).abs() < 1e-6, "{sums:?}");
    }
}

/// Each number of the result in f32 has two neighbours in bf16; one that lies x of the way between them takes the farther one
/// with probability x.
#[test]
fn rounding_by_chance_takes_neighbours_as_often_as_they_are_near() {
    let n = 40_000;
    for start in [0, 1] {
        let ones =
            Parameter::new([&vec![1.0; n], &vec![0.0; n], &vec![1.0; n], &vec![0.0; n]], start);
        let own = ones.own();
        let weights = own[0].to_dtype(DType::BF16).unwrap();
        let weights = Tensor::cat(&[&weights.narrow(0, 0, start).unwrap(), &weights], 0).unwrap();
        let weights = weights.narrow(0, start, n).unwrap();
        let [_, m, v, grad, _] = own.each_ref().map(|x| Array::of(x).unwrap());
        // The gradient is zero: only decay moves a weight, from 1 to a quarter of the way to the next smaller number.
        let rule = AdamWRule { shrink: 1.0 - 0.25 / 256.0, ..RULE };
        let stream = PhiloxStream { key: [1, 2], counter: [3, 4, 5] };
        let weights_array = Array::of(&weights).unwrap();
        let update = RoundedAdamWUpdate { rule, weights: weights_array, m, v, grad, stream };
        adamw_rounded(&[update]).unwrap();
        let found = download(&weights);
        let are = |number: f32| found.iter().filter(|x| x.to_bits() == number.to_bits()).count();
        let moved = are(1.0 - 1.0 / 256.0);
        assert_eq!(moved + are(1.0), n);
        // 10,000 with a standard error of 87.
        assert!((9_600..10_400).contains(&moved), "{moved}");
    }
}

/// Seconds that one call takes, after a first one.
fn seconds(call: impl Fn()) -> f64 {
    const REPETITIONS: u32 = 10;
    call();
    device().synchronize().unwrap();
    let start = Instant::now();
    (0..REPETITIONS).for_each(|_| call());
    device().synchronize().unwrap();
    start.elapsed().as_secs_f64() / f64::from(REPETITIONS)
}

/// Prints what share of the memory's speed the kernels reach.
#[test]
#[ignore = "takes 11 GB of a real device and 6 GB of the host"]
fn speed() {
    const N: usize = 500_000_000;
    let new = |value: f32| Tensor::full(value, N, device()).unwrap();
    let [p, m, v, g] = [new(0.1), new(0.01), new(0.001), new(0.02)];
    let copy = new(0.0).to_dtype(DType::BF16).unwrap();
    let [parameter, m, v, grad, copy] = [&p, &m, &v, &g, &copy].map(|x| Array::of(x).unwrap());
    let arrays = AdamWArrays { parameter, m, v, grad, copy: Some(copy) };
    let report = |what: &str, seconds: f64, bytes_each: usize| {
        let speed = (N * bytes_each) as f64 / seconds / 1e9;
        println!("{what}, {N} parameters: {:.3} ms, {speed:.0} GB/s", seconds * 1e3);
    };
    // Read: weights, moments, gradient; written: weights, moments, copy.
    let update = AdamWUpdate { rule: RULE, arrays };
    report("adamw", seconds(|| adamw(&[update]).unwrap()), 4 * 4 + 3 * 4 + 2);
    let weights = Tensor::full(0.1f32, N, device()).unwrap().to_dtype(DType::BF16).unwrap();
    let stream = PhiloxStream { key: [1, 2], counter: [3, 4, 5] };
    let weights = Array::of(&weights).unwrap();
    let rounded = RoundedAdamWUpdate { rule: RULE, weights, m, v, grad, stream };
    report("adamw, rounded", seconds(|| adamw_rounded(&[rounded]).unwrap()), 2 * 2 + 5 * 4);
    report("gradient norm", seconds(|| drop(sums_of_squares(&[grad]).unwrap())), 4);
    // Master weights and moments in the host's memory: what crosses the bus one way.
    let Device::Cuda(on) = device() else { unreachable!() };
    let host = Tensor::full(0.1f32, 3 * N, &Device::Cpu).unwrap();
    let host = HostArray::new(host, on).unwrap();
    let parts = [0, 1, 2].map(|i| host.numbers().narrow(0, i * N, N).unwrap());
    let [parameter, m, v] = parts.each_ref().map(|part| host.part(part).unwrap());
    let arrays = AdamWArrays { parameter, m, v, grad, copy: Some(copy) };
    let update = AdamWUpdate { rule: RULE, arrays };
    report("adamw, state on the host", seconds(|| adamw(&[update]).unwrap()), 3 * 4);
}
