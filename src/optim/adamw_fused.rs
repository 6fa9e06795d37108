//! AdamW's update as fused in-place loops on the CPU, threaded and vectorised, over f32 or f64, or over weights in bf16 that are
//! moved in f32 and rounded by chance.
//! Not here: the state and the same update from tensor operations (`adamw`); the rounding itself (`rounding`).
//!
//! Three passes, because only one operand of an in-place operation can be written. Elements do not depend on
//! each other, so the result depends neither on the number of threads nor on the chunks.

#![expect(
    clippy::inline_always,
    reason = "what is inlined into a dispatch is compiled for its vector width"
)]

use std::marker::PhantomData;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, WithDType};
use half::bf16;
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::adamw::{Moments, Rule};
use super::rounding::{OF_BLOCK, random_bits, rounded_by_chance};
use crate::rng::Stream;

/// Elements one task updates at a time: 128 KiB of f32, which stay in a core's second-level cache.
const CHUNK: usize = 1 << 15;

/// One update by the fused loops. All four tensors are contiguous, on the CPU, of one shape and dtype.
pub(super) fn apply_fused(
    rule: &Rule,
    parameter: &Tensor,
    grad: &Tensor,
    moments: &Moments,
) -> Result<()> {
    match parameter.dtype() {
        DType::F64 => apply::<f64>(rule, parameter, grad, moments),
        _ => apply::<f32>(rule, parameter, grad, moments),
    }
}

fn apply<T: Element>(
    rule: &Rule,
    parameter: &Tensor,
    grad: &Tensor,
    moments: &Moments,
) -> Result<()> {
    let Moments { m, v } = moments;
    m.inplace_op2(grad, &FirstMoment::<T>(*rule, PhantomData))?;
    v.inplace_op2(grad, &SecondMoment::<T>(*rule, PhantomData))?;
    parameter.inplace_op3(m, v, &Move::<T>(*rule, PhantomData))
}

/// One update of weights in bf16, rounded by chance with bits of `stream`. Gradient and moments are f32; all are contiguous,
/// on the CPU, of one shape.
pub(super) fn apply_rounded(
    rule: &Rule,
    weights: &Tensor,
    stream: Stream,
    grad: &Tensor,
    moments: &Moments,
) -> Result<()> {
    let Moments { m, v } = moments;
    m.inplace_op2(grad, &FirstMoment::<f32>(*rule, PhantomData))?;
    v.inplace_op2(grad, &SecondMoment::<f32>(*rule, PhantomData))?;
    weights.inplace_op3(m, v, &MoveRounded { rule: *rule, stream })
}

/// `m += (1 - beta1) * (g - m)`, torch's `lerp`.
struct FirstMoment<T>(Rule, PhantomData<T>);
/// `v = beta2 * v + (1 - beta2) * g * g`.
struct SecondMoment<T>(Rule, PhantomData<T>);
/// `p = shrink * p - step_size * m / (sqrt(v) / second_correction + eps)`.
struct Move<T>(Rule, PhantomData<T>);

/// [`Move`] in f32 of weights in bf16, then rounded.
struct MoveRounded {
    rule: Rule,
    stream: Stream,
}

/// The loop of [`FirstMoment`] over one chunk. A type rather than a closure, which the compiler would not
/// build for the vector width that the dispatch chooses; so are the two below.
struct FirstMomentLoop<'a, T> {
    m: &'a mut [T],
    grad: &'a [T],
    scale: T,
    share: T,
}

impl<T: Element> NullaryFnOnce for FirstMomentLoop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (m, &g) in self.m.iter_mut().zip(self.grad) {
            *m += self.share * (g * self.scale - *m);
        }
    }
}

/// The loop of [`SecondMoment`] over one chunk.
struct SecondMomentLoop<'a, T> {
    v: &'a mut [T],
    grad: &'a [T],
    scale: T,
    beta2: T,
    share: T,
}

impl<T: Element> NullaryFnOnce for SecondMomentLoop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (v, &g) in self.v.iter_mut().zip(self.grad) {
            let g = g * self.scale;
            *v = *v * self.beta2 + self.share * g * g;
        }
    }
}

/// The loop of [`Move`] over one chunk.
struct MoveLoop<'a, T> {
    parameter: &'a mut [T],
    m: &'a [T],
    v: &'a [T],
    shrink: T,
    minus_step_size: T,
    second_correction: T,
    eps: T,
}

impl<'a, T: Element> MoveLoop<'a, T> {
    fn new(rule: &Rule, parameter: &'a mut [T], m: &'a [T], v: &'a [T]) -> Self {
        Self {
            parameter,
            m,
            v,
            shrink: T::from_f64(rule.shrink),
            minus_step_size: T::from_f64(-rule.step_size),
            second_correction: T::from_f64(rule.second_correction),
            eps: T::from_f64(rule.eps),
        }
    }
}

impl<T: Element> NullaryFnOnce for MoveLoop<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (p, (&m, &v)) in self.parameter.iter_mut().zip(self.m.iter().zip(self.v)) {
            let denominator = v.root() / self.second_correction + self.eps;
            *p = *p * self.shrink + self.minus_step_size * m / denominator;
        }
    }
}

impl<T: Element> InplaceOp2 for FirstMoment<T> {
    fn name(&self) -> &'static str {
        "adamw-first-moment"
    }

    fn cpu_fwd(
        &self,
        m: &mut CpuStorage,
        m_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let (m, grad) = (T::written(m, m_layout)?, T::read(grad, grad_layout)?);
        let scale = T::from_f64(self.0.grad_scale);
        let share = T::from_f64(self.0.first_share);
        m.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).for_each(|(m, grad)| {
            Arch::new().dispatch(FirstMomentLoop { m, grad, scale, share });
        });
        Ok(())
    }
}

impl<T: Element> InplaceOp2 for SecondMoment<T> {
    fn name(&self) -> &'static str {
        "adamw-second-moment"
    }

    fn cpu_fwd(
        &self,
        v: &mut CpuStorage,
        v_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
    ) -> Result<()> {
        let (v, grad) = (T::written(v, v_layout)?, T::read(grad, grad_layout)?);
        let scale = T::from_f64(self.0.grad_scale);
        let (beta2, share) = (T::from_f64(self.0.beta2), T::from_f64(1.0 - self.0.beta2));
        v.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).for_each(|(v, grad)| {
            Arch::new().dispatch(SecondMomentLoop { v, grad, scale, beta2, share });
        });
        Ok(())
    }
}

impl<T: Element> InplaceOp3 for Move<T> {
    fn name(&self) -> &'static str {
        "adamw-move"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<()> {
        let parameter = T::written(parameter, layout)?;
        let (m, v) = (T::read(m, m_layout)?, T::read(v, v_layout)?);
        let moments = m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK));
        parameter.par_chunks_mut(CHUNK).zip(moments).for_each(|(parameter, (m, v))| {
            Arch::new().dispatch(MoveLoop::new(&self.0, parameter, m, v));
        });
        Ok(())
    }
}

impl InplaceOp3 for MoveRounded {
    fn name(&self) -> &'static str {
        "adamw-move-rounded"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<()> {
        let CpuStorage::BF16(weights) = weights else {
            return wrong_dtype(BackendStorage::dtype(weights), DType::BF16);
        };
        let weights = &mut weights[elements(layout)?];
        let (m, v) = (f32::read(m, m_layout)?, f32::read(v, v_layout)?);
        let moments = m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK));
        weights.par_chunks_mut(CHUNK).zip(moments).enumerate().for_each(
            |(i, (weights, (m, v)))| {
                let mut moved: Vec<f32> = weights.iter().map(|x| x.to_f32()).collect();
                Arch::new().dispatch(MoveLoop::new(&self.rule, &mut moved, m, v));
                self.round(i * CHUNK, &moved, weights);
            },
        );
        Ok(())
    }
}

impl MoveRounded {
    /// Rounds the numbers of a chunk that begins at number `start` of the parameter.
    fn round(&self, start: usize, moved: &[f32], weights: &mut [bf16]) {
        let blocks = weights.chunks_mut(OF_BLOCK).zip(moved.chunks(OF_BLOCK));
        for (position, (weights, moved)) in (start / OF_BLOCK..).zip(blocks) {
            let random = random_bits(&self.stream, position);
            for ((weight, &x), random) in weights.iter_mut().zip(moved).zip(random) {
                *weight = rounded_by_chance(x, random);
            }
        }
    }
}

/// The number types that the loops are compiled for.
trait Element: WithDType {
    /// The square root.
    fn root(self) -> Self;

    /// All elements of a CPU storage, to be written to.
    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;

    /// The elements of a contiguous tensor.
    fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [Self]> {
        Ok(&Self::cpu_storage_as_slice(storage)?[elements(layout)?])
    }

    /// The elements of a contiguous tensor, to be written to.
    fn written<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [Self]> {
        Ok(&mut Self::storage_mut(storage)?[elements(layout)?])
    }
}

impl Element for f32 {
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Ok(data),
            other => wrong_dtype(BackendStorage::dtype(other), DType::F32),
        }
    }
}

impl Element for f64 {
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    fn storage_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(data) => Ok(data),
            other => wrong_dtype(BackendStorage::dtype(other), DType::F64),
        }
    }
}

fn wrong_dtype<T>(found: DType, expected: DType) -> Result<T> {
    candle_core::bail!("adamw: found {found:?} to write to, expected {expected:?}")
}

fn elements(layout: &Layout) -> Result<std::ops::Range<usize>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("adamw: found a strided tensor, expected a contiguous one");
    };
    Ok(start..end)
}
