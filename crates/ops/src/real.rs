//! The floating-point types the CPU kernels are written for, and reading tensors as slices of them.
//! Not here: bf16 and f16, which run through the plain compositions.

use std::mem::MaybeUninit;

use super::row_product::RowProduct;
use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType, bail};

/// f32 for training, f64 for checking gradients by finite differences.
pub(crate) trait Real: WithDType {
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn exp(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn neg(self) -> Self;
    /// `out[i][o] = x[i] . w[o]` for dense `x [rows, inner]` and `w [outputs, inner]`, with an `out` for each row; all of them are
    /// written. A product's order of summation depends on `inner` alone.
    fn multiply_rows(out: &mut [&mut [MaybeUninit<Self>]], x: &[Self], w: &[Self]);
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        erf_f32(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn neg(self) -> Self {
        -self
    }
    fn multiply_rows(out: &mut [&mut [MaybeUninit<Self>]], x: &[Self], w: &[Self]) {
        let inner = x.len() / out.len();
        pulp::Arch::new().dispatch(RowProduct { out, x, w, inner });
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn exp(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn erf(self) -> Self {
        libm::erf(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn neg(self) -> Self {
        -self
    }
    fn multiply_rows(out: &mut [&mut [MaybeUninit<Self>]], x: &[Self], w: &[Self]) {
        let inner = x.len() / out.len();
        for (out, x) in out.iter_mut().zip(x.chunks_exact(inner)) {
            for (y, w) in out.iter_mut().zip(w.chunks_exact(inner)) {
                y.write(x.iter().zip(w).map(|(x, w)| x * w).sum());
            }
        }
    }
}

/// `exp` without a branch or a call, so that loops over it become vector code.
///
/// The argument is split as `n ln 2 + r`; `exp(r)` is its Taylor polynomial of degree 7 on
/// `|r| <= ln 2 / 2` and `2^n` is put together from bits. Relative error below 2e-7; arguments
/// under -87.3 give 0 to within 1.2e-38, arguments over 88.3 saturate near 2.2e38; NaN stays NaN.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.3 { 88.3 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, coefficient);
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// The error function without a branch or a call, so that loops over it become vector code: the rational function of Eigen's
/// `generic_fast_erf_float`, odd over even powers on `|x| <= 4`, beyond which the function is 1 in f32. Error below 5e-7; NaN stays NaN.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    const ODD: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_4e-2,
    ];
    const EVEN: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let square = x * x;
    let (mut odd, mut even) = (ODD[0], EVEN[0]);
    for coefficient in &ODD[1..] {
        odd = odd.mul_add(square, *coefficient);
    }
    for coefficient in &EVEN[1..] {
        even = even.mul_add(square, *coefficient);
    }
    x * odd / even
}

/// Runs a loop compiled for the widest vector instructions that this processor has.
///
/// The closure and everything it calls must be `#[inline(always)]`: what is not inlined is compiled for the
/// oldest x86-64, where a fused multiply-add is a function call. It is taken as `FnMut` on purpose: calling a
/// closure through `FnOnce` goes through a shim that is never inlined.
#[inline(always)]
pub(crate) fn vectorized<O>(run: impl FnMut() -> O) -> O {
    struct Loop<F>(F);
    impl<O, F: FnMut() -> O> pulp::NullaryFnOnce for Loop<F> {
        type Output = O;
        #[inline(always)]
        fn call(mut self) -> O {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Loop(run))
}

/// The elements of a contiguous tensor's storage.
pub(crate) fn slice_of<'a, R: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [R]> {
    let data = R::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => bail!("a kernel needs a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Calls `f` with the elements of a contiguous CPU tensor.
pub(crate) fn with_slice<R: Real, O>(
    tensor: &Tensor,
    f: impl FnOnce(&[R]) -> Result<O>,
) -> Result<O> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice_of(storage, layout)?),
        _ => bail!("a CPU kernel was given a tensor on {:?}", tensor.device().location()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_agrees_with_libm() {
        let mut worst = 0.0f64;
        for i in -60_000..=60_000 {
            let x = i as f32 * 1e-4;
            worst = worst.max((f64::from(erf_f32(x)) - libm::erf(f64::from(x))).abs());
        }
        assert!(worst < 5e-7, "error {worst}");
        assert_eq!(erf_f32(0.0).to_bits(), 0.0f32.to_bits());
        assert!(erf_f32(f32::NAN).is_nan());
    }

    #[test]
    fn exp_agrees_with_the_standard_library() {
        let mut worst = 0.0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_f32(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "relative error {worst}");
        assert_eq!(exp_f32(0.0).to_bits(), 1.0f32.to_bits());
        assert!(exp_f32(-200.0) < 1.3e-38);
        assert!(exp_f32(200.0).is_finite());
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
