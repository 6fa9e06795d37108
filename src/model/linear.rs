//! A linear map's parameters by their names in a checkpoint.
//! Not here: the product and its gradients (`ops`); the vocabulary head, which is scored against and shared
//! with the embedding table (`language`).

use candle_core::Result;

use super::parameters::Parameters;
use crate::ops::LinearParameters;

/// `{name}.weight`, and `{name}.bias` and low-rank factors where the model has them.
///
/// # Errors
/// There is no such weight.
pub fn find(parameters: &Parameters, name: &str) -> Result<LinearParameters> {
    let weight = parameters.get(&format!("{name}.weight"))?;
    let bias = parameters.find(&format!("{name}.bias")).cloned();
    Ok(LinearParameters { weight, bias, low_rank: parameters.low_rank(name).cloned() })
}
