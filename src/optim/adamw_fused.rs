//! AdamW's update as fused in-place loops over f32 or f64 on the CPU, threaded and vectorised.
//! Not here: the state and the same update from tensor operations (`adamw`).
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
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::adamw::{Moments, Rule};

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

/// `m += (1 - beta1) * (g - m)`, torch's `lerp`.
struct FirstMoment<T>(Rule, PhantomData<T>);
/// `v = beta2 * v + (1 - beta2) * g * g`.
struct SecondMoment<T>(Rule, PhantomData<T>);
/// `p = shrink * p - step_size * m / (sqrt(v) / second_correction + eps)`.
struct Move<T>(Rule, PhantomData<T>);

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
        let (shrink, eps) = (T::from_f64(self.0.shrink), T::from_f64(self.0.eps));
        let minus_step_size = T::from_f64(-self.0.step_size);
        let second_correction = T::from_f64(self.0.second_correction);
        let moments = m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK));
        parameter.par_chunks_mut(CHUNK).zip(moments).for_each(|(parameter, (m, v))| {
            Arch::new().dispatch(MoveLoop {
                parameter,
                m,
                v,
                shrink,
                minus_step_size,
                second_correction,
                eps,
            });
        });
        Ok(())
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
