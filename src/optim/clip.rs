//! The global gradient norm, and the factor that clips it.
//! Not here: the multiplication itself, which AdamW folds into its own pass (`adamw`); what happens to a run
//! whose gradients are not finite (`train`).
//!
//! The factor is that of `torch.nn.utils.clip_grad_norm_`. Unlike there the squares are added in f64 and in a fixed
//! order, so the norm does not depend on the number of threads; but for f64 on a GPU, where candle adds them.

#![expect(
    clippy::inline_always,
    reason = "what is inlined into a dispatch is compiled for its vector width"
)]

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
use rayon::prelude::*;

/// Elements whose squares one task adds up; fixed, so that the sum does not depend on the threads.
const CHUNK: usize = 1 << 15;
/// Elements widened to f64 at a time on a device, to bound the temporary to 128 MiB.
const DEVICE_CHUNK: usize = 1 << 24;
/// Independent running sums, so that the additions vectorise.
const LANES: usize = 8;

/// The norm of all gradients of an update, taken as one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct GradNorm {
    /// The Euclidean norm; not finite if any gradient is not, and infinite where f64 cannot hold it.
    pub norm: f64,
    /// The gradients that hold a NaN or an infinity, in the order given. The update must not be made.
    pub non_finite: Vec<NonFinite>,
}

/// A gradient that is not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// Its parameter's name.
    pub name: String,
    /// Its first element that is not finite: a NaN or an infinity.
    pub found: f64,
}

impl GradNorm {
    /// The factor for every gradient: `min(1, max_norm / (norm + 1e-6))`; 1 for an infinite `max_norm`.
    ///
    /// NaN for a norm that is NaN, so that a caller who ignores [`GradNorm::non_finite`] does not get 1.
    pub fn factor(&self, max_norm: f64) -> f64 {
        if self.norm.is_nan() {
            return f64::NAN;
        }
        if max_norm.is_infinite() {
            return 1.0;
        }
        (max_norm / (self.norm + 1e-6)).min(1.0)
    }

    /// What is not finite, in words, and its value: the first gradient with such an element, else the norm.
    pub fn what_is_not_finite(&self) -> (String, f64) {
        match self.non_finite.first() {
            Some(NonFinite { name, found }) => (format!("the gradient of {name}"), *found),
            None => ("the gradients' norm (every gradient is finite)".to_owned(), self.norm),
        }
    }
}

/// Measures the gradients of an update.
///
/// - `grads`: parameter names and their gradients, of any shape, any floating dtype, any device; the order
///   fixes the order of summation, so pass them sorted
///
/// # Errors
/// A dtype cannot be widened to f64, or the device fails.
pub fn grad_norm<'a>(grads: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<GradNorm> {
    let grads: Vec<(&str, &Tensor)> = grads.into_iter().collect();
    let sums = sums_of_squares(&grads)?;
    let mut non_finite = Vec::new();
    for ((name, grad), _) in grads.iter().zip(&sums).filter(|(_, sum)| !sum.is_finite()) {
        let found = first_non_finite(grad)?;
        non_finite.extend(found.map(|found| NonFinite { name: (*name).to_owned(), found }));
    }
    Ok(GradNorm { norm: sums.iter().sum::<f64>().sqrt(), non_finite })
}

/// The sum of each gradient's squares.
fn sums_of_squares(grads: &[(&str, &Tensor)]) -> Result<Vec<f64>> {
    #[cfg(feature = "cuda")]
    if [DType::F32, DType::BF16]
        .into_iter()
        .any(|dtype| grads.iter().all(|(_, grad)| grad.device().is_cuda() && grad.dtype() == dtype))
    {
        return sums_of_squares_cuda(grads);
    }
    let sums: Vec<Tensor> =
        grads.iter().map(|(_, grad)| sum_of_squares(grad)).collect::<Result<_>>()?;
    // One transfer for all, because each waits for the device.
    if sums.is_empty() { Ok(Vec::new()) } else { Tensor::stack(&sums, 0)?.to_vec1() }
}

/// Those of gradients on a GPU, all in f32 or all in bf16.
#[cfg(feature = "cuda")]
fn sums_of_squares_cuda(grads: &[(&str, &Tensor)]) -> Result<Vec<f64>> {
    let dense: Vec<Tensor> =
        grads.iter().map(|(_, grad)| grad.detach().contiguous()).collect::<Result<_>>()?;
    let arrays: Vec<Array> = dense.iter().map(Array::of).collect::<Result<_>>()?;
    othink_cuda::sums_of_squares(&arrays)
}

/// The first element that is a NaN or an infinity; none where the squares alone are too large.
fn first_non_finite(grad: &Tensor) -> Result<Option<f64>> {
    for chunk in chunks(&grad.detach().flatten_all()?, DEVICE_CHUNK)? {
        let values = chunk.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        if let Some(found) = values.into_iter().find(|x| !x.is_finite()) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The sum of a tensor's squares: a f64 scalar tensor on its device.
fn sum_of_squares(grad: &Tensor) -> Result<Tensor> {
    let flat = grad.detach().flatten_all()?.contiguous()?;
    let on_cpu = {
        let (storage, layout) = flat.storage_and_layout();
        let range = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(data)) => Some(sum_of_squares_cpu(&data[range])),
            _ => None,
        }
    };
    match on_cpu {
        Some(sum) => Tensor::new(sum, &Device::Cpu),
        None => sum_of_squares_device(&flat),
    }
}

/// The plain composition, for devices and dtypes without a loop of their own; a `[n]` tensor in.
fn sum_of_squares_device(flat: &Tensor) -> Result<Tensor> {
    let mut sum = Tensor::zeros((), DType::F64, flat.device())?;
    for chunk in chunks(flat, DEVICE_CHUNK)? {
        sum = (sum + chunk.to_dtype(DType::F64)?.sqr()?.sum_all()?)?;
    }
    Ok(sum)
}

/// A `[n]` tensor in pieces of `len` elements, the last of what is left.
fn chunks(flat: &Tensor, len: usize) -> Result<Vec<Tensor>> {
    let n = flat.elem_count();
    (0..n).step_by(len).map(|start| flat.narrow(0, start, len.min(n - start))).collect()
}

/// Adds squares in f64: within a chunk in `LANES` running sums, then lane by lane, then chunk by chunk.
fn sum_of_squares_cpu(data: &[f32]) -> f64 {
    let chunk_sums: Vec<f64> =
        data.par_chunks(CHUNK).map(|chunk| pulp::Arch::new().dispatch(ChunkSum(chunk))).collect();
    chunk_sums.iter().sum()
}

/// The loop over one chunk, a type of its own because a closure would not be compiled for the vector width.
struct ChunkSum<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for ChunkSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let (groups, rest) = self.0.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                let x = f64::from(group[lane]);
                lanes[lane] += x * x;
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            let x = f64::from(x);
            *lane += x * x;
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    fn norm_of(grads: &[(&str, Tensor)]) -> GradNorm {
        grad_norm(grads.iter().map(|(name, grad)| (*name, grad))).unwrap()
    }

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn norm_is_that_of_all_gradients_as_one_vector() {
        let norm = norm_of(&[("a", tensor(&[3.0, 0.0])), ("b", tensor(&[-4.0]))]);
        assert_eq!(norm, GradNorm { norm: 5.0, non_finite: vec![] });
        assert!((norm.factor(1.0) - 1.0 / (5.0 + 1e-6)).abs() < 1e-15);
        assert!((norm.factor(10.0) - 1.0).abs() < 1e-15);
        assert!((norm.factor(f64::INFINITY) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn norm_and_factor_equal_torchs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adamw.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let numbers = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let (mut n_clipped, mut n_kept) = (0, 0);
        for step in golden["f64"]["steps"].as_array().unwrap() {
            let grads = ["decayed", "plain"].map(|name| {
                (name, Tensor::new(numbers(&step["grads"][name]), &Device::Cpu).unwrap())
            });
            let norm = norm_of(&grads);
            let expected = step["norm"].as_f64().unwrap();
            assert!((norm.norm - expected).abs() < 1e-14 * expected, "{norm:?} != {expected}");
            let factor = norm.factor(golden["max_norm"].as_f64().unwrap());
            if factor < 1.0 {
                n_clipped += 1;
            } else {
                n_kept += 1;
            }
            for (raw, clipped) in
                numbers(&step["grads"]["plain"]).into_iter().zip(numbers(&step["clipped"]["plain"]))
            {
                assert!((raw * factor - clipped).abs() < 1e-14, "{raw} * {factor} != {clipped}");
            }
        }
        assert!(n_clipped > 0 && n_kept > 0, "the golden shows both cases");
    }

    #[test]
    fn no_gradients_have_norm_zero() {
        assert_eq!(norm_of(&[]), GradNorm { norm: 0.0, non_finite: vec![] });
    }

    #[test]
    fn gradients_that_are_not_finite_are_named_with_what_they_hold() {
        let norm = norm_of(&[
            ("nan", tensor(&[0.0, f32::NAN, f32::INFINITY])),
            ("fine", tensor(&[1.0])),
            ("negative", tensor(&[f32::NEG_INFINITY, f32::NAN])),
            ("positive", tensor(&[-1.0, f32::INFINITY])),
        ]);
        let found: Vec<_> =
            norm.non_finite.iter().map(|g| format!("{} {}", g.name, g.found)).collect();
        assert_eq!(found, ["nan NaN", "negative -inf", "positive inf"]);
        assert!(
            norm.what_is_not_finite().0 == "the gradient of nan"
                && norm.what_is_not_finite().1.is_nan()
        );
        assert!(norm.factor(1.0).is_nan());
    }

    #[test]
    fn a_norm_that_overflows_blames_no_gradient() {
        let large = Tensor::new(&[1e200, -1e200], &Device::Cpu).unwrap();
        let norm = norm_of(&[("large", large), ("fine", tensor(&[1.0]))]);
        assert_eq!(norm, GradNorm { norm: f64::INFINITY, non_finite: vec![] });
        let words = "the gradients' norm (every gradient is finite)".to_owned();
        assert_eq!(norm.what_is_not_finite(), (words, f64::INFINITY));
    }

    #[test]
    fn squares_beyond_f32_are_still_finite() {
        assert!((norm_of(&[("a", tensor(&[3e30, 4e30]))]).norm / 5e30 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn cpu_loop_equals_the_plain_composition_on_strided_views_and_across_chunks() {
        let n = CHUNK * 2 + 13;
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
        let long = tensor(&values);
        let strided =
            long.narrow(0, 1, 2 * CHUNK).unwrap().reshape((2, CHUNK)).unwrap().t().unwrap();
        for grad in [&long, &strided] {
            let flat = grad.flatten_all().unwrap();
            let plain = sum_of_squares_device(&flat).unwrap().to_scalar::<f64>().unwrap().sqrt();
            let found = norm_of(&[("a", grad.clone())]).norm;
            assert!((found / plain - 1.0).abs() < 1e-12, "{found} != {plain}");
        }
    }

    #[test]
    fn pieces_of_a_tensor_hold_every_element_once() {
        let pieces = |n: usize| -> Vec<Vec<f32>> {
            let flat = Tensor::arange(0.0f32, n as f32, &Device::Cpu).unwrap();
            chunks(&flat, 2).unwrap().iter().map(|chunk| chunk.to_vec1().unwrap()).collect()
        };
        assert_eq!(pieces(5), [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
        assert_eq!(pieces(2), [[0.0, 1.0]]);
    }

    #[test]
    fn norm_does_not_depend_on_the_number_of_threads() {
        let values: Vec<f32> = (0..CHUNK * 5).map(|i| (i as f32 * 0.37).sin()).collect();
        let grad = tensor(&values);
        let with_threads = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| norm_of(&[("a", grad.clone())]).norm.to_bits())
        };
        assert_eq!(with_threads(1), with_threads(5));
    }
}
