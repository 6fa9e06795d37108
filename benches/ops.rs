//! Each operation's kernel beside its plain composition, forward and backward, on shapes of Qwen2-VL.
//!
//! `cargo bench --bench ops` prints times; compare the two of a group within one run, since machines differ.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say so and stop")]

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use othink::ops::{
    LinearParameters, Parameter, Product, Segments, linear, plain, quick_gelu, rms_norm,
    segment_attention, swiglu, token_logprob,
};
use othink::rng::{Purpose, Stream};

fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut draws = Stream::new(seed, Purpose::ColdStart, 0, 0, 0).draws();
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| draws.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

type Operation<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

/// Forward and backward of both forms of an operation.
fn pair(c: &mut Criterion, name: &str, x: &Tensor, kernel: Operation, composition: Operation) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    for (form, op) in [("kernel", kernel), ("plain", composition)] {
        group.bench_function(format!("{form} forward"), |b| b.iter(|| op(x).unwrap()));
        group.bench_function(format!("{form} forward and backward"), |b| {
            b.iter(|| {
                let x = Var::from_tensor(x).unwrap();
                op(&x).unwrap().sum_all().unwrap().backward().unwrap()
            });
        });
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    let (tokens, hidden) = (512, 256);
    let x = numbers(&[tokens, hidden], 1);
    let norm = Parameter::frozen("norm", &numbers(&[hidden], 2));
    let slow = |x: &Tensor| plain::rms_norm(x, norm.value(), 1e-6);
    pair(c, "rms_norm", &x, &|x| rms_norm(x, &norm, 1e-6), &slow);

    let wide = numbers(&[tokens, 1024], 3);
    pair(c, "swiglu", &wide, &|x| swiglu(x, x), &|x| plain::swiglu(x, x));
    pair(c, "quick_gelu", &wide, &quick_gelu, &plain::quick_gelu);

    let weight = Parameter::frozen("w", &numbers(&[1024, hidden], 4));
    let slow = |x: &Tensor| plain::linear(x, weight.value(), None);
    let map = LinearParameters::new(weight.clone(), None);
    pair(c, "linear", &x, &|x| linear(x, &map, Product::Blocked), &slow);

    let segments = Segments::prompts(&[(256, vec![32; 8])]).unwrap();
    let (k, v) = (numbers(&[tokens, 2, 64], 5), numbers(&[tokens, 2, 64], 6));
    let q = numbers(&[tokens, 4, 64], 7);
    let fast = |q: &Tensor| segment_attention(q, &k, &v, &segments);
    let slow = |q: &Tensor| plain::segment_attention(q, &k, &v, &segments);
    pair(c, "segment_attention", &q, &fast, &slow);

    let head = Parameter::frozen("head", &numbers(&[32_000, hidden], 8));
    let rows = numbers(&[128, hidden], 9);
    let targets = Tensor::arange(0u32, 128, &Device::Cpu).unwrap();
    let fast = |x: &Tensor| Ok(token_logprob(x, &head, &targets, 1.0)?.logp);
    let slow = |x: &Tensor| plain::token_logprob(x, head.value(), &targets, 1.0);
    pair(c, "token_logprob", &rows, &fast, &slow);

    // A decoding step's product: few rows, many outputs.
    let step = numbers(&[8, hidden], 10);
    let map = LinearParameters::new(head.clone(), None);
    let mut group = c.benchmark_group("decoding head");
    group.bench_function("kernel", |b| {
        b.iter(|| linear(&step, &map, Product::RowByRow).unwrap());
    });
    group.bench_function("plain", |b| {
        b.iter(|| plain::linear(&step, head.value(), None).unwrap());
    });
}

criterion_group!(all, benches);
criterion_main!(all);
