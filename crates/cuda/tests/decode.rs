//! Kernels of a step of decoding against f64. Needs a device, real or emulated.
//! Not here: kernels of operations, which are compared with those of the CPU where those are.
//!
//! Longer than most because products and attention share what they are compared by.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]
#![expect(clippy::print_stdout, reason = "errors are read by people")]

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use othink_cuda::{
    Array, DeviceSampler, Drawing, Finish, HeadShape, KeptTokens, NewestTokens, PhiloxStream,
    RowMap, RowStates, Workspace, decode_attention, row_product,
};

/// The one device of all tests: a second opening would be a second stream.
fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::Cuda(othink_cuda::open(0).unwrap()))
}

/// Repeatable numbers in [-1, 1) that bf16 holds, on the host.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let n = shape.iter().product();
    let all: Vec<f32> = (0..n).map(next).collect();
    Tensor::from_vec(all, shape, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap()
}

fn there(x: &Tensor) -> Tensor {
    x.to_device(device()).unwrap()
}

fn exact(x: &Tensor) -> Tensor {
    x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    let x = x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// `|a - b| / |b|` in the Euclidean norm.
fn relative_error(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    norm(&(exact(a) - b).unwrap()) / norm(b)
}

/// Checks an error, and prints it for `scripts/emulated_cuda.sh errors`.
fn within(what: &str, error: f64, limit: f64) {
    println!("{what}: output {error:.1e}");
    assert!(error < limit, "{what}: {error:e}");
}

/// Rounding to bf16 is a relative error of at most 2^-9, about 1.1e-3 in the norm of many numbers.
const ROUNDED_ONCE: f64 = 2.0e-3;
const ROUNDED_BETWEEN: f64 = 5.0e-3;
/// The mean of attention's errors where its result alone is rounded; with weights that are rounded to bf16 as well it is 2.0e-3.
const ATTENDED_MEAN: f64 = 1.8e-3;

/// A room for results that holds NaN until a kernel writes it.
fn room(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::full(f32::NAN, shape, device()).unwrap().to_dtype(dtype).unwrap()
}

fn workspace(rows: usize, inner: usize, columns: &[usize]) -> Workspace {
    let Device::Cuda(device) = device() else { panic!("no GPU") };
    Workspace::new(device, rows, [(inner, columns.to_vec())]).unwrap()
}

/// `x W^T` in f64.
fn product(x: &Tensor, weight: &Tensor) -> Tensor {
    exact(x).matmul(&exact(weight).t().unwrap()).unwrap()
}

#[test]
fn maps_with_biases_are_those_of_f64() {
    for (rows, inner, columns) in [
        (1, 8, vec![5]),
        (3, 72, vec![64, 7, 130]),
        (17, 1536, vec![96, 32, 32]),
        (64, 328, vec![70]),
        (70, 264, vec![40, 9]),
        (2, 64, vec![17_000]),
    ] {
        let x = numbers(&[rows, inner], 1);
        let weights: Vec<Tensor> =
            columns.iter().map(|n| numbers(&[*n, inner], *n as u64)).collect();
        let biases: Vec<Tensor> = columns.iter().map(|n| numbers(&[*n], 7 + *n as u64)).collect();
        let outs: Vec<Tensor> = columns.iter().map(|n| room(&[rows, *n], DType::BF16)).collect();
        let (on_device, there_x) =
            ([&weights, &biases].map(|all| all.iter().map(there).collect::<Vec<_>>()), there(&x));
        let maps: Vec<RowMap> = (0..columns.len())
            .map(|i| RowMap {
                weight: Array::of(&on_device[0][i]).unwrap(),
                // Some maps have none.
                bias: (i != 1).then(|| Array::of(&on_device[1][i]).unwrap()),
            })
            .collect();
        let arrays: Vec<Array> = outs.iter().map(|out| Array::of(out).unwrap()).collect();
        let space = workspace(rows, inner, &columns);
        let run = || {
            row_product(Array::of(&there_x).unwrap(), &maps, Finish::Rounded, &arrays, &space)
                .unwrap();
        };
        run();
        for (i, out) in outs.iter().enumerate() {
            let mut expected = product(&x, &weights[i]);
            if i != 1 {
                expected = expected.broadcast_add(&exact(&biases[i])).unwrap();
            }
            let error = relative_error(out, &expected);
            within(
                &format!("step's maps {rows} x {inner} -> {columns:?}, map {i}"),
                error,
                ROUNDED_ONCE,
            );
        }
        let first: Vec<_> = outs.iter().map(bits).collect();
        run();
        assert_eq!(first, outs.iter().map(bits).collect::<Vec<_>>(), "a second launch");
    }
}

#[test]
fn a_residual_is_added_to_the_rounded_product() {
    for (rows, inner, columns) in [(5, 1536, 72), (64, 512, 9)] {
        let (x, weight) = (numbers(&[rows, inner], 1), numbers(&[columns, inner], 2));
        let residual = numbers(&[rows, columns], 3);
        // In place, as a step does it.
        let (there_x, there_w, sum) = (there(&x), there(&weight), there(&residual));
        let space = workspace(rows, inner, &[columns]);
        let map = RowMap { weight: Array::of(&there_w).unwrap(), bias: None };
        let array = Array::of(&sum).unwrap();
        let finish = Finish::Added(array);
        row_product(Array::of(&there_x).unwrap(), &[map], finish, &[array], &space).unwrap();
        let rounded = product(&x, &weight).to_dtype(DType::BF16).unwrap();
        let expected = (exact(&rounded) + exact(&residual)).unwrap();
        let error = relative_error(&sum, &expected);
        within(
            &format!("step's map with a residual {rows} x {inner} -> {columns}"),
            error,
            ROUNDED_ONCE,
        );
    }
}

#[test]
fn a_gated_pair_is_silu_of_the_first_times_the_second() {
    for (rows, inner, columns) in [(3, 72, 5), (33, 512, 130), (64, 64, 64)] {
        let x = numbers(&[rows, inner], 1);
        let weights = [numbers(&[columns, inner], 2), numbers(&[columns, inner], 3)];
        let there_w = [there(&weights[0]), there(&weights[1])];
        let (there_x, out) = (there(&x), room(&[rows, columns], DType::BF16));
        let space = workspace(rows, inner, &[columns, columns]);
        let maps = [0, 1].map(|i| RowMap { weight: Array::of(&there_w[i]).unwrap(), bias: None });
        let array = Array::of(&out).unwrap();
        row_product(Array::of(&there_x).unwrap(), &maps, Finish::Gated, &[array], &space).unwrap();
        let rounded = |i: usize| exact(&product(&x, &weights[i]).to_dtype(DType::BF16).unwrap());
        let expected = (silu(&rounded(0)) * rounded(1)).unwrap();
        let error = relative_error(&out, &expected);
        within(&format!("step's gated pair {rows} x {inner} -> {columns}"), error, ROUNDED_BETWEEN);
    }
}

/// `x / (1 + exp(-x))`.
fn silu(x: &Tensor) -> Tensor {
    (x / (x.neg().unwrap().exp().unwrap() + 1.0).unwrap()).unwrap()
}

#[test]
fn logits_are_in_f32() {
    let (rows, inner, columns) = (9, 264, 300);
    let (x, weight) = (numbers(&[rows, inner], 1), numbers(&[columns, inner], 2));
    let (there_x, there_w, out) = (there(&x), there(&weight), room(&[rows, columns], DType::F32));
    let map = RowMap { weight: Array::of(&there_w).unwrap(), bias: None };
    let space = workspace(rows, inner, &[columns]);
    let array = Array::of(&out).unwrap();
    row_product(Array::of(&there_x).unwrap(), &[map], Finish::InF32, &[array], &space).unwrap();
    within("step's logits", relative_error(&out, &product(&x, &weight)), 1e-6);
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let (inner, columns) = (1536, 70);
    let (all, weight) = (numbers(&[130, inner], 1), there(&numbers(&[columns, inner], 2)));
    let results = |first: usize, rows: usize| {
        let x = there(&all.narrow(0, first, rows).unwrap().contiguous().unwrap());
        let out = room(&[rows, columns], DType::BF16);
        let map = RowMap { weight: Array::of(&weight).unwrap(), bias: None };
        let space = workspace(rows, inner, &[columns]);
        let array = Array::of(&out).unwrap();
        row_product(Array::of(&x).unwrap(), &[map], Finish::Rounded, &[array], &space).unwrap();
        bits(&out)
    };
    let together = results(0, 130);
    for (first, rows) in [(0, 1), (5, 16), (20, 17), (60, 64), (129, 1)] {
        assert_eq!(results(first, rows), together[first * columns..(first + rows) * columns]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = there(&numbers(&[4, 64], 1));
    let [weight, other, odd] = [[6, 64], [7, 64], [6, 60]].map(|shape| there(&numbers(&shape, 2)));
    let bias = there(&numbers(&[6], 3));
    let out = room(&[4, 6], DType::BF16);
    let space = workspace(4, 64, &[6]);
    let map = |weight| RowMap { weight: Array::of(weight).unwrap(), bias: None };
    let biased = RowMap { bias: Some(Array::of(&bias).unwrap()), ..map(&weight) };
    let out_array = Array::of(&out).unwrap();
    for (maps, finish, n_outs) in [
        (vec![], Finish::Rounded, 0),
        (vec![map(&odd)], Finish::Rounded, 1),
        (vec![map(&other)], Finish::Rounded, 1),
        (vec![map(&weight)], Finish::InF32, 1),
        (vec![biased], Finish::Added(out_array), 1),
        (vec![map(&weight), map(&other)], Finish::Gated, 1),
        (vec![map(&weight)], Finish::Rounded, 0),
    ] {
        let outs = vec![out_array; n_outs];
        let x = Array::of(&x).unwrap();
        assert!(row_product(x, &maps, finish, &outs, &space).is_err());
    }
    let long = there(&numbers(&[4, 4096], 1));
    let weight = there(&numbers(&[6, 4096], 1));
    let tight = row_product(
        Array::of(&long).unwrap(),
        &[map(&weight)],
        Finish::Rounded,
        &[out_array],
        &space,
    );
    assert!(tight.unwrap_err().to_string().contains("smaller products"));
}

/// Keys or values of one row, `[n, kv_heads, dim]` in f64: the prompt's, then those that are kept.
fn seen(prompt: &Tensor, layer: usize, which: usize, own: &[Tensor]) -> Tensor {
    let of_prompt = prompt.get(layer).unwrap().get(which).unwrap();
    let own = own.iter().map(|token| token.unsqueeze(0).unwrap());
    let all: Vec<Tensor> = std::iter::once(of_prompt).chain(own).map(|x| exact(&x)).collect();
    Tensor::cat(&all, 0).unwrap()
}

/// Rotate-half by the angles of one token, rounded to bf16: `x` is `[heads, dim]`.
fn turned(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let half = x.dim(1).unwrap() / 2;
    let x = exact(x);
    let (low, high) = (x.narrow(1, 0, half).unwrap(), x.narrow(1, half, half).unwrap());
    let times = |x: &Tensor, by: &Tensor| x.broadcast_mul(&exact(by)).unwrap();
    let low_turned = (times(&low, cos) - times(&high, sin)).unwrap();
    let high_turned = (times(&high, cos) + times(&low, sin)).unwrap();
    Tensor::cat(&[low_turned, high_turned], 1).unwrap().to_dtype(DType::BF16).unwrap()
}

/// Softmax attention of `q [heads, dim]` to `keys` and `values`, `[n, kv_heads, dim]`, in f64.
fn attended(q: &Tensor, keys: &Tensor, values: &Tensor) -> Tensor {
    let (heads, dim) = q.dims2().unwrap();
    let group = heads / keys.dim(1).unwrap();
    let of_head = |head: usize| {
        let pick = |x: &Tensor| x.narrow(1, head / group, 1).unwrap().squeeze(1).unwrap();
        let q = exact(q).narrow(0, head, 1).unwrap();
        let scores = (q.matmul(&pick(keys).t().unwrap()).unwrap() / (dim as f64).sqrt()).unwrap();
        let weights = (&scores - scores.max_all().unwrap().to_scalar::<f64>().unwrap()).unwrap();
        let weights = weights.exp().unwrap();
        let sum = weights.sum_all().unwrap().to_scalar::<f64>().unwrap();
        (weights.matmul(&pick(values)).unwrap() / sum).unwrap()
    };
    Tensor::cat(&(0..heads).map(of_head).collect::<Vec<_>>(), 0).unwrap()
}

/// Rows in steps of decoding: some prompts, as many steps as a completion may have.
struct Batch {
    shape: HeadShape,
    max_new_tokens: usize,
    layers: usize,
    layer: usize,
    cos: Tensor,
    sin: Tensor,
}

impl Batch {
    fn new(shape: HeadShape, rows: usize, max_new_tokens: usize) -> Self {
        let angles = |seed| numbers(&[rows, max_new_tokens, shape.head_dim / 2], seed);
        let [cos, sin] = [angles(8), angles(9)].map(|x| x.to_dtype(DType::F32).unwrap());
        Self { shape, max_new_tokens, layers: 3, layer: 1, cos, sin }
    }

    fn prompt(&self, tokens: usize, seed: u64) -> Tensor {
        numbers(&[self.layers, 2, tokens, self.shape.kv_heads, self.shape.head_dim], seed)
    }

    /// What the newest token of a row is, from its number and the row's seed: query, key, value.
    fn token(&self, number: usize, seed: u64) -> [Tensor; 3] {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let seed = seed * 1000 + number as u64 * 3;
        // Queries that see differences.
        let q = (numbers(&[heads, head_dim], seed) * 3.0).unwrap();
        [q, numbers(&[kv_heads, head_dim], seed + 1), numbers(&[kv_heads, head_dim], seed + 2)]
    }

    /// Attended values of every step, `[steps][rows]` of `[heads, dim]`; a row is a prompt and a seed, or is not taken.
    fn run(&self, rows: &[Option<(&Tensor, u64)>], steps: usize) -> Vec<Vec<Tensor>> {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let Device::Cuda(cuda) = device() else { panic!("no GPU") };
        let n = rows.len();
        let mut states = RowStates::new(cuda, n, [self.layers, kv_heads, head_dim]).unwrap();
        let stream = PhiloxStream { key: [1, 2], counter: [3, 4, 5] };
        for (row, taken) in rows.iter().enumerate() {
            if let Some((prompt, _)) = taken {
                states.take(row, &there(prompt), stream).unwrap();
            }
        }
        let kept = room(&[n, self.max_new_tokens, kv_heads, head_dim], DType::BF16);
        let (keys, values) = (kept.copy().unwrap(), kept);
        let (cos, sin) = (there(&self.cos), there(&self.sin));
        // Logits that draw token 0, since drawing counts a row's tokens.
        let drawing = Drawing {
            temperature: None,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            suppressed: Vec::new(),
            stops: Vec::new(),
            min_new_tokens: 0,
            max_new_tokens: self.max_new_tokens,
        };
        let sampler = DeviceSampler::new(cuda, n, 8, &drawing).unwrap();
        let logits = there(&numbers(&[n, 8], 5).to_dtype(DType::F32).unwrap());
        let step = |number: usize| {
            let tokens: Vec<[Tensor; 3]> = rows
                .iter()
                .map(|row| self.token(number, row.map_or(0, |(_, seed)| seed)))
                .collect();
            let stacked = |i: usize| {
                let all: Vec<&Tensor> = tokens.iter().map(|token| &token[i]).collect();
                there(&Tensor::stack(&all, 0).unwrap())
            };
            let (q, k, v, out) =
                (stacked(0), stacked(1), stacked(2), room(&[n, heads, head_dim], DType::BF16));
            let of = |x| Array::of(x).unwrap();
            let newest =
                NewestTokens { q: of(&q), k: of(&k), v: of(&v), cos: of(&cos), sin: of(&sin) };
            let kept = KeptTokens { keys: of(&keys), values: of(&values), layer: self.layer };
            decode_attention(newest, kept, &states, of(&out)).unwrap();
            sampler.draw(of(&logits), &states).unwrap();
            let out = out.to_device(&Device::Cpu).unwrap();
            (0..n).map(|row| out.get(row).unwrap()).collect()
        };
        (0..steps).map(step).collect()
    }
}

#[test]
fn newest_tokens_attend_to_their_prompt_and_to_what_is_kept() {
    let mut errors = Vec::new();
    for (heads, kv_heads, head_dim, steps) in [
        (2, 1, 128, 3),
        (6, 1, 128, 2),
        (4, 2, 32, 40),
        (3, 3, 80, 2),
        (8, 1, 64, 2),
        (7, 1, 16, 1),
    ] {
        let shape = HeadShape { heads, kv_heads, head_dim };
        assert!(shape.is_decoded());
        let batch = Batch::new(shape, 4, steps);
        let [long, one] = [batch.prompt(300, 1), batch.prompt(1, 2)];
        let rows = [Some((&long, 1)), None, Some((&one, 2)), Some((&long, 3))];
        let found = batch.run(&rows, steps);
        for (row, taken) in rows.iter().enumerate() {
            let Some((prompt, seed)) = *taken else { continue };
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (number, found) in found.iter().enumerate() {
                let [q, k, v] = batch.token(number, seed);
                let angles = |x: &Tensor| x.get(row).unwrap().get(number).unwrap();
                let (cos, sin) = (angles(&batch.cos), angles(&batch.sin));
                keys.push(turned(&k, &cos, &sin));
                values.push(v);
                let all = |which, own: &[Tensor]| seen(prompt, batch.layer, which, own);
                let q = turned(&q, &cos, &sin);
                let expected = attended(&q, &all(0, &keys), &all(1, &values));
                let error = relative_error(&found[row], &expected);
                let what = format!(
                    "step's attention {heads}/{kv_heads} heads of {head_dim}, row {row}, token {number}"
                );
                within(&what, error, ROUNDED_BETWEEN);
                errors.push(error);
            }
        }
        for found in &found {
            assert!(exact(&found[1]).sum_all().unwrap().to_scalar::<f64>().unwrap().is_nan());
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(mean < ATTENDED_MEAN, "{mean:e}");
}

#[test]
fn what_a_row_attends_to_does_not_depend_on_the_rows_beside_it() {
    let shape = HeadShape { heads: 4, kv_heads: 2, head_dim: 32 };
    let batch = Batch::new(shape, 1, 3);
    let [cos, sin] = [8, 9].map(|seed| numbers(&[1, 3, 16], seed).to_dtype(DType::F32).unwrap());
    let [mine, other] = [batch.prompt(1100, 1), batch.prompt(70, 2)];
    let results = |rows: &[Option<(&Tensor, u64)>], row: usize| {
        let all = |x: &Tensor| x.broadcast_as((rows.len(), 3, 16)).unwrap().contiguous().unwrap();
        let batch = Batch { cos: all(&cos), sin: all(&sin), ..Batch::new(shape, rows.len(), 3) };
        batch.run(rows, 3).iter().map(|step| bits(&step[row])).collect::<Vec<_>>()
    };
    let alone = results(&[Some((&mine, 1))], 0);
    assert_eq!(results(&[Some((&other, 2)), None, Some((&mine, 1)), Some((&mine, 4))], 2), alone);
}

#[test]
fn a_row_that_has_all_of_its_tokens_is_left_alone() {
    let shape = HeadShape { heads: 2, kv_heads: 1, head_dim: 16 };
    let batch = Batch::new(shape, 1, 2);
    let prompt = batch.prompt(5, 1);
    let found = batch.run(&[Some((&prompt, 1))], 3);
    let is_nan = |x: &Tensor| exact(x).sum_all().unwrap().to_scalar::<f64>().unwrap().is_nan();
    assert_eq!(found.iter().map(|step| is_nan(&step[0])).collect::<Vec<_>>(), [false, false, true]);
}
