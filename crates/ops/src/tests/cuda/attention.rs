//! Attention within segments on the device. Needs a device, real or emulated.

use std::time::{Duration, Instant};

use othink_cuda::{Array, Attended, AttentionBackward, Qkv};

use super::*;

/// Weights and their slopes are rounded to bf16 before the products, results once more.
const ROUNDED_TWICE: f64 = 4.0e-3;
/// The same of few numbers, in which the output's rounding, part of every slope, does not average out.
const OF_FEW: f64 = 8.0e-3;

/// Heads of queries, heads of keys, dimensions of a head.
type Heads = [usize; 3];

fn check_attention(what: &str, segments: &Segments, [heads, kv_heads, head_dim]: Heads) {
    let n = segments.len();
    check_on_device(
        &format!("segment_attention, {what}, {heads}/{kv_heads} heads of {head_dim}"),
        &|x, _| segment_attention(&x[0], &x[1], &x[2], segments),
        &[
            (numbers(&[n, heads, head_dim], 12) * 3.0).unwrap(),
            numbers(&[n, kv_heads, head_dim], 13),
            numbers(&[n, kv_heads, head_dim], 14),
        ],
        &[],
        [if n < 10 { OF_FEW } else { ROUNDED_TWICE }, 0.0],
    );
}

fn prompts(groups: &[(usize, &[usize])]) -> Segments {
    let groups: Vec<_> = groups.iter().map(|(prompt, own)| (*prompt, own.to_vec())).collect();
    Segments::prompts(&groups).unwrap()
}

#[test]
fn attention_of_every_head_dimension_is_that_of_the_cpu() {
    let segments = prompts(&[(70, &[9, 1, 66]), (3, &[]), (1, &[5])]);
    for head_dim in [8, 16, 40, 64, 72, 80, 96, 104, 128] {
        check_attention("prompts", &segments, [2, 1, head_dim]);
    }
}

#[test]
fn attention_of_grouped_heads_is_that_of_the_cpu() {
    let segments = prompts(&[(20, &[9, 17])]);
    check_attention("grouped", &segments, [12, 2, 128]);
    check_attention("grouped", &segments, [3, 3, 64]);
}

#[test]
fn attention_within_images_is_that_of_the_cpu() {
    check_attention("images", &Segments::separate(&[130, 1, 64, 7]).unwrap(), [2, 2, 80]);
}

#[test]
fn attention_of_ragged_groups_is_that_of_the_cpu() {
    for groups in [
        &[(1, &[][..])][..],
        &[(1, &[1, 1])],
        &[(1, &[0, 3, 0]), (65, &[64, 63, 0, 65])],
        &[(64, &[]), (128, &[1])],
    ] {
        check_attention(&format!("{groups:?}"), &prompts(groups), [2, 1, 16]);
    }
}

#[test]
fn attention_to_a_prompt_of_many_is_that_of_the_cpu() {
    // Its keys are seen by more queries than one block takes.
    check_attention("many", &prompts(&[(70, &[300, 300]), (9, &[3])]), [6, 1, 16]);
}

#[test]
fn attention_without_a_kernel_is_composed() {
    let segments = prompts(&[(5, &[3])]);
    let x = |heads, seed| numbers(&[8, heads, 12], seed).to_dtype(DType::BF16).unwrap();
    let [q, k, v] = [x(2, 1), x(1, 2), x(1, 3)];
    let exact = segment_attention(&q, &k, &v, &segments).unwrap();
    let [q, k, v] = [q, k, v].map(|x| x.to_device(device()).unwrap());
    let found = segment_attention(&q, &k, &v, &segments).unwrap();
    assert!(relative_error(&found, &exact) < 1e-2);
}

/// Pairs of a query and a key it sees.
fn visible_pairs(segments: &Segments) -> usize {
    let pairs = |group: &Group| {
        let own: usize = group.rows().map(|row| segments.own_rows(group, row).len()).sum();
        own + (group.len() - group.prompt_len) * group.prompt_len
    };
    segments.groups().iter().map(pairs).sum()
}

/// The mean time of ten runs, after one that is not counted.
fn time<T>(run: impl Fn() -> T) -> Duration {
    const RUNS: u32 = 10;
    run();
    device().synchronize().unwrap();
    let start = Instant::now();
    for _ in 0..RUNS {
        run();
    }
    device().synchronize().unwrap();
    start.elapsed() / RUNS
}

fn print_times(what: &str, segments: &Segments, [heads, kv_heads, head_dim]: Heads) {
    let n = segments.len();
    let input = |heads, seed| {
        let x = numbers(&[n, heads, head_dim], seed).to_dtype(DType::BF16).unwrap();
        x.to_device(device()).unwrap()
    };
    let (q, k, v, grad) =
        (input(heads, 1), input(kv_heads, 2), input(kv_heads, 3), input(heads, 4));
    let of = |x| Array::of(x).unwrap();
    let x = Qkv { q: of(&q), k: of(&k), v: of(&v) };
    let tiles = segments.tiles(device(), heads / kv_heads).unwrap();
    let forward = || othink_cuda::attention(x, &tiles).unwrap();
    let (out, lse) = {
        let Attended { out, lse } = forward();
        (out.into_tensor(), lse.into_tensor())
    };
    let saved = AttentionBackward { x, out: of(&out), lse: of(&lse), grad: of(&grad) };
    let backward = || othink_cuda::attention_backward(saved, &tiles).unwrap();
    // A product has two operations for a pair and a dimension. There are two of them forward and, with the scores computed
    // once, five backward.
    let product = 2.0 * (visible_pairs(segments) * heads * head_dim) as f64;
    let times = [("forward", time(forward), 2.0), ("backward", time(backward), 5.0)];
    for (pass, time, n_products) in times {
        let (ms, rate) = (time.as_secs_f64() * 1e3, n_products * product / time.as_secs_f64());
        println!("{what}, {pass}: {ms:.3} ms, {:.0} TFLOP/s of visible pairs", rate / 1e12);
    }
}

#[test]
#[ignore = "prints times; for a real device"]
fn times_on_the_device() {
    let language = prompts(&[(356, &[256; 8][..]); 8]);
    print_times("language", &language, [12, 2, 128]);
    print_times("vision", &Segments::separate(&[1024; 8]).unwrap(), [16, 16, 80]);
}
