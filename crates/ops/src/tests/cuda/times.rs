//! Times of products, which mean something on a real device alone.
#![expect(clippy::print_stdout, reason = "the times")]

use std::time::Instant;

use candle_core::backend::BackendDevice;
use othink_cuda::{Array, Head, LinearGradients, Target};

use super::*;

/// `[rows, columns]` bf16 within 0.05 of zero, the same thousand rows again and again.
fn random(rows: usize, columns: usize, seed: u64) -> Tensor {
    let block = bf16_on_device(&(numbers(&[rows.min(1000), columns], seed) * 0.05).unwrap());
    let all = block.repeat((rows.div_ceil(1000), 1)).unwrap();
    all.narrow(0, 0, rows).unwrap()
}

/// Prints the time of ten repetitions after a first, and the rate of `tera_flops` of work.
fn time(what: &str, tera_flops: f64, mut run: impl FnMut()) {
    let wait = || device().as_cuda_device().unwrap().synchronize().unwrap();
    run();
    wait();
    let start = Instant::now();
    (0..10).for_each(|_| run());
    wait();
    let seconds = start.elapsed().as_secs_f64() / 10.0;
    println!("{what}: {:.3} ms, {:.0} TFLOP/s", seconds * 1e3, tera_flops / seconds);
}

#[test]
#[ignore = "prints times, which mean something on a real device alone"]
fn time_of_linear_on_the_device() {
    let (rows, inner, outputs) = (19_232, 1536, 8960);
    let (x, weight, grad) =
        (random(rows, inner, 1), random(outputs, inner, 2), random(rows, outputs, 3));
    let bias = bf16_on_device(&numbers(&[outputs], 4));
    let sum = Tensor::zeros((outputs, inner), DType::F32, device()).unwrap();
    let bias_sum = Tensor::zeros(outputs, DType::F32, device()).unwrap();
    let work = 2.0 * (rows * inner * outputs) as f64 / 1e12;
    let [x, weight, bias, grad] = [&x, &weight, &bias, &grad].map(|x| Array::of(x).unwrap());
    time("linear", work, || drop(othink_cuda::linear(x, weight, None, 0..outputs).unwrap()));
    time("linear with a bias", work, || {
        drop(othink_cuda::linear(x, weight, Some(bias), 0..outputs).unwrap());
    });
    let sum = Some(Target::of(&sum, true).unwrap());
    let bias_sum = Some(Target::of(&bias_sum, true).unwrap());
    let backward = |weight_sum, bias_sum| {
        let parameters = LinearGradients { weight: weight_sum, bias: bias_sum };
        drop(othink_cuda::linear_backward(x, weight, grad, 0..outputs, &parameters).unwrap());
    };
    time("linear, backward", 2.0 * work, || backward(sum, None));
    time("linear with a bias, backward", 2.0 * work, || backward(sum, bias_sum));
    time("linear, backward, frozen", work, || backward(None, None));
}

#[test]
#[ignore = "prints times, which mean something on a real device alone"]
fn time_of_token_logprob_on_the_device() {
    let (rows, inner, vocab) = (16_384, 1536, 151_936);
    let (hidden, weight) = (random(rows, inner, 1), random(vocab, inner, 2));
    let targets: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocab) as u32).collect();
    let targets = Tensor::new(targets, device()).unwrap();
    let grad = numbers(&[rows], 3).to_dtype(DType::F32).unwrap().to_device(device()).unwrap();
    let sum = Tensor::zeros((vocab, inner), DType::F32, device()).unwrap();
    let [hidden, weight, targets, grad] =
        [&hidden, &weight, &targets, &grad].map(|x| Array::of(x).unwrap());
    let work = 2.0 * (rows * inner * vocab) as f64 / 1e12;
    let sum = Some(Target::of(&sum, true).unwrap());
    for rows_at_once in [1024, 2048, 4096] {
        let head = Head { hidden, weight, targets, temperature: 1.0, rows_at_once };
        let what = format!("token_logprob, {rows_at_once} rows at once");
        time(&what, work, || drop(othink_cuda::token_logprob(head).unwrap()));
        let log_sum_exp = othink_cuda::token_logprob(head).unwrap().log_sum_exp;
        let backward = |weight_sum| {
            let log_sum_exp = log_sum_exp.array().unwrap();
            drop(othink_cuda::token_logprob_backward(head, log_sum_exp, grad, weight_sum).unwrap());
        };
        time(&format!("{what}, backward"), 3.0 * work, || backward(sum));
        time(&format!("{what}, backward, frozen"), 2.0 * work, || backward(None));
    }
}
