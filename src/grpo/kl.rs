//! Eq. (5): how far the policy has moved from the reference, token by token.
//! Not here: the weight beta (`kl_schedule`); averaging over tokens and completions (`objective`).

use candle_core::{DType, Result, Tensor, bail};

/// The k3 estimate of KL(policy || reference), Eq. (5): `exp(d) - d - 1` with `d = logp_ref - logp_theta`.
///
/// - `logp_theta`, `logp_ref`: `[N]` f32 (or f64), nats; one row per completion token of the packed stream
/// - `log_ratio_limit`: d is clamped to +-this before `exp`, so that one token cannot overflow the loss;
///   beyond it the gradient is zero, as of any clamp
/// - returns `[N]` of the same dtype, nats, >= 0 up to 1e-15; exactly zero where the two agree.
///   Gradient through `logp_theta` alone.
///
/// # Errors
/// Shapes or dtypes differ, the shape is not `[N]`, or the dtype is neither f32 nor f64.
pub fn k3(logp_theta: &Tensor, logp_ref: &Tensor, log_ratio_limit: f64) -> Result<Tensor> {
    check_tokens("k3", logp_theta, &[("logp_ref", logp_ref)])?;
    let d = (logp_ref.detach() - logp_theta)?.clamp(-log_ratio_limit, log_ratio_limit)?;
    // f64, because exp(d) - 1 and d cancel: at d = 1e-4 the value, 5e-9, is below f32's resolution at 1.
    let d = d.to_dtype(DType::F64)?;
    ((d.exp()? - &d)? - 1.0)?.to_dtype(logp_theta.dtype())
}

/// Checks that all inputs are `[N]` tensors of one shape and dtype, f32 or f64.
pub(super) fn check_tokens(
    operation: &str,
    logp_theta: &Tensor,
    others: &[(&str, &Tensor)],
) -> Result<()> {
    let (dims, dtype) = (logp_theta.dims(), logp_theta.dtype());
    if dims.len() != 1 || !matches!(dtype, DType::F32 | DType::F64) {
        bail!("{operation}: logp_theta is {dims:?} {dtype:?}, expected [N] f32 or f64");
    }
    for (name, tensor) in others {
        if tensor.dims() != dims || tensor.dtype() != dtype {
            let (found_dims, found_dtype) = (tensor.dims(), tensor.dtype());
            bail!(
                "{operation}: {name} is {found_dims:?} {found_dtype:?}, expected {dims:?} {dtype:?} as logp_theta"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    const LIMIT: f64 = 20.0;

    fn k3_of(logp_theta: &[f32], logp_ref: &[f32]) -> Vec<f32> {
        let theta = Tensor::new(logp_theta, &Device::Cpu).unwrap();
        let reference = Tensor::new(logp_ref, &Device::Cpu).unwrap();
        k3(&theta, &reference, LIMIT).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn k3_is_that_computed_by_hand() {
        // d = ln 2: 2 - ln 2 - 1; d = -ln 2: 1/2 + ln 2 - 1.
        let found = k3_of(&[-1.0, -1.0], &[-0.306_852_8, -1.693_147_2]);
        assert!((found[0] - 0.306_852_8).abs() < 1e-6, "{found:?}");
        assert!((found[1] - 0.193_147_2).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn k3_is_zero_where_policy_and_reference_agree() {
        assert_eq!(k3_of(&[-0.3, -7.0], &[-0.3, -7.0]), [0.0, 0.0]);
    }

    #[test]
    fn small_divergence_is_not_lost_to_cancellation() {
        // d = 2^-13, so d^2/2 = 2^-27; the f32 formula would give 0 or 2^-24.
        let found = k3_of(&[0.0], &[2.0f32.powi(-13)])[0];
        assert!((found / 2.0f32.powi(-27) - 1.0).abs() < 1e-4, "{found}");
    }

    #[test]
    fn gradient_is_one_minus_the_ratio_and_flows_through_the_policy_alone() {
        let theta = Var::new(&[-1.0f64, -2.0, -0.5], &Device::Cpu).unwrap();
        let reference = Var::new(&[-1.5f64, -1.0, -0.5], &Device::Cpu).unwrap();
        let loss = k3(&theta, &reference, LIMIT).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let grad: Vec<f64> = grads.get(&theta).unwrap().to_vec1().unwrap();
        // d/dtheta (exp(d) - d - 1) = 1 - exp(d).
        for (found, d) in grad.iter().zip([-0.5f64, 1.0, 0.0]) {
            assert!((found - (1.0 - d.exp())).abs() < 1e-12, "{found}");
        }
        assert!(grads.get(&reference).is_none());
    }

    #[test]
    fn log_ratio_beyond_the_limit_is_clamped_without_gradient() {
        let theta = Var::new(&[-200.0f32], &Device::Cpu).unwrap();
        let reference = Tensor::new(&[-1.0f32], &Device::Cpu).unwrap();
        let kl = k3(&theta, &reference, 3.0).unwrap();
        let found = kl.to_vec1::<f32>().unwrap()[0];
        assert!((found - (3.0f32.exp() - 4.0)).abs() < 1e-5, "{found}");
        let grads = kl.sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&theta).unwrap().to_vec1::<f32>().unwrap(), [0.0]);
    }

    #[test]
    fn nan_is_not_swallowed_by_the_clamp() {
        assert!(k3_of(&[f32::NAN], &[0.0])[0].is_nan());
        assert!(k3_of(&[0.0], &[f32::NAN])[0].is_nan());
    }

    #[test]
    fn other_shapes_and_dtypes_are_refused_by_name() {
        let device = Device::Cpu;
        let two = Tensor::zeros(2, DType::F32, &device).unwrap();
        let three = Tensor::zeros(3, DType::F32, &device).unwrap();
        let message = k3(&two, &three, LIMIT).unwrap_err().to_string();
        assert!(message.contains("logp_ref is [3] F32, expected [2] F32"), "{message}");
        let half = two.to_dtype(DType::BF16).unwrap();
        assert!(k3(&half, &half, LIMIT).is_err());
        let table = Tensor::zeros((2, 2), DType::F32, &device).unwrap();
        assert!(k3(&table, &table, LIMIT).is_err());
    }

    proptest! {
        #[test]
        fn k3_is_never_negative(theta in -30.0..0.0f32, reference in -30.0..0.0f32) {
            prop_assert!(k3_of(&[theta], &[reference])[0] >= -1e-15);
        }
    }
}
