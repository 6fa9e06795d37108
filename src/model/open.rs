//! Opening a model: its configuration, its tensors, an adapter's factors, and which of them are trained.
//! Not here: finding its files (`source`), its tokenizer and image settings (`processor`).

use candle_core::{DType, Device};

use super::adapter::Adapter;
use super::config::ModelConfig;
use super::error::ModelError;
use super::files::{ADAPTER_CONFIG, ModelFiles};
use super::lora::Lora;
use super::network::Model;
use super::parameters::{Parameters, Trained};
use super::precision::Precision;
use super::weights;

/// Loads a model, of which the parameters named by `trained` are trainable. An adapter is loaded with the model that it is for.
///
/// # Errors
/// The files are not those of a model of a known family, a tensor cannot be made, or an adapter is to be trained as if it were
/// a model.
pub fn open(
    files: &ModelFiles,
    precision: impl Into<Precision>,
    device: &Device,
    trained: Trained,
) -> Result<Model, ModelError> {
    if trained != Trained::Nothing && matches!(files, ModelFiles::Adapter(_)) {
        return Err(ModelError::Adapter {
            file: files.describe(ADAPTER_CONFIG),
            found: "an adapter, to be trained as a whole model".to_owned(),
            expected: "[model.lora] with its settings, which trains it further".to_owned(),
            hint: "or merge it first: othink merge --adapter DIR --out DIR",
        });
    }
    let opened = Opened::of(files, (precision.into(), device), trained)?;
    let Some(adapter) = opened.adapter(files)? else { return opened.model(opened.base.clone()) };
    let scale = adapter.scale();
    let adapted = opened.base.with_factors(adapter.factors, scale, None);
    opened.model(adapted.map_err(failed)?)
}

/// Loads a model whose low-rank factors alone are trainable: those of an adapter, which must have these settings, or else fresh
/// ones.
///
/// - `seed`: what fresh factors are drawn from
///
/// # Errors
/// As [`open`], or the settings do not fit.
pub fn open_with_factors(
    files: &ModelFiles,
    (precision, device): (impl Into<Precision>, &Device),
    lora: &Lora,
    seed: u64,
) -> Result<Model, ModelError> {
    let precision = precision.into();
    let opened = Opened::of(files, (precision, device), Trained::Nothing)?;
    let factors = if let Some(adapter) = opened.adapter(files)? {
        adapter.require(lora, &opened.config, files)?;
        adapter.factors
    } else {
        lora.fresh(&opened.config, (precision.weights, device), seed)?
    };
    let gradients = Some(precision.gradients);
    opened.model(opened.base.with_factors(factors, lora.scale(), gradients).map_err(failed)?)
}

/// A model's configuration and parameters, without an adapter's factors.
struct Opened {
    config: ModelConfig,
    base: Parameters,
    kept: (DType, Device),
}

impl Opened {
    fn of(
        files: &ModelFiles,
        (Precision { weights: dtype, gradients }, device): (Precision, &Device),
        trained: Trained,
    ) -> Result<Self, ModelError> {
        let config = ModelConfig::load(files)?;
        let tensors = weights::load(files, &config, dtype, device)?;
        let base = Parameters::new(tensors, trained, gradients).map_err(failed)?;
        Ok(Self { config, base, kept: (dtype, device.clone()) })
    }

    fn adapter(&self, files: &ModelFiles) -> Result<Option<Adapter>, ModelError> {
        let (dtype, device) = &self.kept;
        let is_adapter = matches!(files, ModelFiles::Adapter(_));
        is_adapter.then(|| Adapter::load(files, &self.config, (*dtype, device))).transpose()
    }

    fn model(&self, parameters: Parameters) -> Result<Model, ModelError> {
        Model::new(&self.config, parameters).map_err(failed)
    }
}

fn failed(source: candle_core::Error) -> ModelError {
    ModelError::Tensor { context: "building the model".to_owned(), source }
}
