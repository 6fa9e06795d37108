//! How fast kernels that compute little move their arrays, on a real device:
//! `cargo test --release -p othink-ops --features cuda --lib -- cuda::bandwidth --ignored --nocapture`.

use std::time::Instant;

use othink_cuda::{Activation, Array, NormBackward, NormGradients, Output, Target};

use super::*;

/// Tokens of a batch: 8 prompts of 356 tokens with 8 completions of 256 each.
const ROWS: usize = 19_232;
/// Widths of hidden rows and of an MLP's, those of Qwen2-VL-2B.
const WIDTHS: [usize; 2] = [1536, 8960];

/// Prints the bandwidth of ten runs after one for warming up; `bytes` are what a run has to read and write.
fn report(what: &str, bytes: usize, run: &dyn Fn() -> Result<()>) {
    const REPETITIONS: u32 = 10;
    run().unwrap();
    device().synchronize().unwrap();
    let start = Instant::now();
    for _ in 0..REPETITIONS {
        run().unwrap();
    }
    device().synchronize().unwrap();
    let seconds = start.elapsed().as_secs_f64() / f64::from(REPETITIONS);
    println!("{what:48} {:8.1} us {:7.0} GB/s", seconds * 1e6, bytes as f64 / seconds / 1e9);
}

/// Numbers on the device, a row like the other.
fn filled(shape: &[usize], dtype: DType) -> Tensor {
    let row = numbers(&shape[shape.len() - 1..], 1).to_dtype(dtype).unwrap();
    row.to_device(device()).unwrap().broadcast_as(shape).unwrap().contiguous().unwrap()
}

fn array(x: &Tensor) -> Array<'_> {
    Array::of(x).unwrap()
}

fn drop_output(_: Output) {}

#[test]
#[ignore = "a measurement; needs a real device"]
fn bandwidth_of_the_kernels() {
    of_elementwise_kernels();
    of_rotary();
    of_gradients_and_rows();
}

fn of_elementwise_kernels() {
    for width in WIDTHS {
        let n = ROWS * width;
        let [x, y, z] = [0; 3].map(|_| filled(&[ROWS, width], DType::BF16));
        let name = |what: &str| format!("{what} {ROWS} x {width}");
        report(&name("copy"), 4 * n, &|| x.copy().map(drop));
        report(&name("candle: x + y"), 6 * n, &|| (&x + &y).map(drop));
        report(&name("add"), 6 * n, &|| othink_cuda::add(array(&x), array(&y)).map(drop_output));
        report(&name("candle: bf16 as f32"), 6 * n, &|| x.to_dtype(DType::F32).map(drop));
        report(&name("swiglu"), 6 * n, &|| {
            othink_cuda::swiglu(array(&x), array(&y)).map(drop_output)
        });
        report(&name("swiglu, backward"), 10 * n, &|| {
            othink_cuda::swiglu_backward(array(&x), array(&y), array(&z)).map(drop)
        });
        for activation in [Activation::QuickGelu, Activation::GeluTanh, Activation::GeluErf] {
            report(&name(&format!("{activation:?}")), 4 * n, &|| {
                othink_cuda::activate(array(&x), activation).map(drop_output)
            });
            report(&name(&format!("{activation:?}, backward")), 6 * n, &|| {
                othink_cuda::activate_backward(array(&x), array(&y), activation).map(drop_output)
            });
        }
        let weight = filled(&[width], DType::BF16);
        let sums = filled(&[width], DType::F32);
        report(&name("rms_norm"), 4 * n, &|| {
            othink_cuda::norm(array(&x), array(&weight), None, 1e-6).map(drop_output)
        });
        report(&name("rms_norm, backward"), 6 * n, &|| {
            let weight_sum = Some(Target::of(&sums, true)?);
            let parameters = NormGradients { weight: weight_sum, bias: None };
            let norm = NormBackward { weight: array(&weight), is_centred: false, eps: 1e-6 };
            othink_cuda::norm_backward(array(&x), array(&y), None, &norm, &parameters)
                .map(drop_output)
        });
    }
}

fn of_rotary() {
    for [heads, head_dim] in [[12, 128], [2, 128], [16, 80]] {
        let x = filled(&[ROWS, heads, head_dim], DType::BF16);
        let angles = filled(&[ROWS, head_dim / 2], DType::F32);
        let bytes = 4 * x.elem_count() + 8 * angles.elem_count();
        for is_inverse in [false, true] {
            let what = format!("rotary {ROWS} x {heads} x {head_dim}, inverse: {is_inverse}");
            report(&what, bytes, &|| {
                let (x, angles) = (array(&x), array(&angles));
                othink_cuda::rotary(x, angles, angles, is_inverse).map(drop_output)
            });
        }
    }
}

fn of_gradients_and_rows() {
    for width in WIDTHS {
        let n = ROWS * width;
        let sum = Tensor::zeros((ROWS, width), DType::F32, device()).unwrap();
        let name = |what: &str| format!("{what} {ROWS} x {width}");
        report(&name("zeros, f32"), 4 * n, &|| othink_cuda::fill_with_zeros(array(&sum)));
        for (dtype, bytes) in [(DType::BF16, 10), (DType::F32, 12)] {
            let gradient = filled(&[ROWS, width], dtype);
            report(&name(&format!("accumulate {dtype:?}")), bytes * n, &|| {
                othink_cuda::accumulate(array(&gradient), Target::of(&sum, true)?)
            });
        }
    }
    let (width, vocab) = (WIDTHS[0], 151_936);
    // Scored rows: all but some of the stream's, a few of them several times.
    let ids: Vec<u32> =
        (0..16_384).map(|i| if i % 256 == 0 { i / 2048 } else { i + 2848 }).collect();
    let x = filled(&[ROWS, width], DType::BF16);
    let gradient = filled(&[ids.len(), width], DType::BF16);
    report("select_rows, 16,384 of 1536", 4 * ids.len() * width, &|| {
        othink_cuda::select_rows(array(&x), &ids).map(drop_output)
    });
    let bytes = 2 * (ids.len() + 2 * ROWS) * width;
    report("select_rows, 16,384 of 1536, backward", bytes, &|| {
        othink_cuda::select_rows_backward(array(&gradient), &ids, ROWS).map(drop_output)
    });
    let table = Tensor::zeros((vocab, width), DType::F32, device()).unwrap();
    // Text as it is: few tokens often, many seldom.
    let tokens = |most: u32| (0..16_384u32).map(|i| (i * i) % most * 17).collect::<Vec<u32>>();
    for most in [1, 300, 8000] {
        let ids = tokens(most);
        let distinct = ids.iter().collect::<std::collections::HashSet<_>>().len();
        let bytes = (2 * ids.len() + 8 * distinct) * width;
        report(&format!("accumulate_rows, {distinct} distinct of 16,384"), bytes, &|| {
            let target = Target::of(&table, true)?;
            othink_cuda::accumulate_rows(array(&gradient), &ids, target)
        });
    }
}
