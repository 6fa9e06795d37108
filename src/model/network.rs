//! A model on a packed token stream: scoring, and scoring with a backward pass.
//! Not here: the layers (`language`, `tower`), decoding over a cache
//! (`decoding`), sampling and continuous batching (`rollout`).

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::angles::language_angles;
use super::config::ModelConfig;
use super::error::ModelError;
use super::language::LanguageModel;
use super::lora::UpdateDropout;
use super::packed::Packed;
use super::parameters::{ParameterGroup, Parameters};
use super::stages::{Checkpointing, Inference, Part, Stages, Tape};
use super::tower::{ImageFeatures, VisionTower};
use crate::ops::{
    Angles, Parameter, Product, TokenLogprob, add_to_rows, select_rows, token_logprob,
};

/// A model of any family; cheap to clone, its parameters are shared.
#[derive(Debug, Clone)]
pub struct Model {
    pub(super) config: ModelConfig,
    pub(super) vision: VisionTower,
    pub(super) language: LanguageModel,
    parameters: Parameters,
    dtype: DType,
    device: Device,
}

impl Model {
    /// Builds the model over `parameters`; the run's dtype and device are theirs.
    ///
    /// # Errors
    /// A parameter is missing.
    pub fn new(config: &ModelConfig, parameters: Parameters) -> Result<Self> {
        let language = LanguageModel::new(&config.text, &parameters)?;
        let table = language.embed_tokens.value();
        let (dtype, device) = (table.dtype(), table.device().clone());
        let vision = VisionTower::new(config, &parameters)?;
        Ok(Self { config: config.clone(), vision, language, parameters, dtype, device })
    }

    /// The same model on the same storage, nothing trainable: for rollouts and evaluation.
    ///
    /// # Errors
    /// None in practice; the parameters are those it was built from.
    pub fn detached(&self) -> Result<Self> {
        Self::new(&self.config, self.parameters.detached())
    }

    /// The same model on the same storage without low-rank factors, nothing trainable: what an adapter is for.
    ///
    /// # Errors
    /// None in practice; the parameters are those it was built from.
    pub fn without_factors(&self) -> Result<Self> {
        Self::new(&self.config, self.parameters.without_factors())
    }

    /// The same model without low-rank factors, in whose weights they are; see [`Parameters::merged`].
    ///
    /// # Errors
    /// There is no memory for the weights.
    pub fn merged(&self) -> Result<Self> {
        Self::new(&self.config, self.parameters.merged()?)
    }

    /// The same model without low-rank factors, nothing trainable, with another parameter in the place of each one that is trained.
    ///
    /// # Errors
    /// What `other` returns.
    pub fn with_trained_replaced(
        &self,
        other: impl FnMut(&Parameter) -> std::result::Result<Parameter, ModelError>,
    ) -> std::result::Result<Self, ModelError> {
        let parameters = self.parameters.with_trained_replaced(other)?;
        Self::new(&self.config, parameters).map_err(|source| ModelError::Tensor {
            context: "building the model".to_owned(),
            source,
        })
    }

    /// The same model, parameters and gradients with dropout in one pass of an update, forward and backward.
    ///
    /// # Errors
    /// None in practice; the parameters are those it was built from.
    pub fn with_dropout(&self, dropout: UpdateDropout, pass: u32) -> Result<Self> {
        let parameters = self.parameters.with_dropout(|place| dropout.of_map(pass, place));
        Self::new(&self.config, parameters)
    }

    /// Whether some of its maps have low-rank factors.
    pub fn has_factors(&self) -> bool {
        self.parameters.low_ranks().next().is_some()
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Tokens of the vocabulary: the rows of the head.
    pub fn vocab_size(&self) -> usize {
        self.config.text.vocab_size
    }

    /// Tokens of the longest sequence that the model was made for.
    pub fn max_positions(&self) -> usize {
        self.config.text.max_position_embeddings
    }

    /// Numbers of a patch of an image.
    pub fn patch_dim(&self) -> usize {
        self.config.vision.patch_dim()
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The run's dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// M-RoPE angles of the language model at these positions.
    ///
    /// # Errors
    /// The tensor cannot be made.
    pub(super) fn angles(&self, positions: &[[u32; 3]]) -> Result<Angles> {
        let text = &self.config.text;
        let sections = (text.mrope_section, text.parts.axes);
        language_angles(positions, sections, text.rope_theta, self.dtype, &self.device)
    }

    /// What the vision tower makes of all images of a stream; `None` where it has no image.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn embed_images<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        packed: &Packed,
    ) -> Result<Option<ImageFeatures>> {
        if packed.grids.is_empty() {
            return Ok(None);
        }
        let width = self.patch_dim();
        let shape = (packed.pixel_values.len() / width, width);
        let patches = Tensor::from_slice(&packed.pixel_values, shape, &self.device)?;
        let patches = patches.to_dtype(self.dtype)?; // pixels are f32, the tower may not be
        self.vision.forward(stages, &patches, &packed.grids).map(Some)
    }

    /// Token embeddings with the images' in their places, `[T, hidden]`, detached.
    ///
    /// # Errors
    /// The number of image rows and embeddings differ.
    pub fn embed_tokens(&self, packed: &Packed, images: Option<&ImageFeatures>) -> Result<Tensor> {
        let text = select_rows(&self.language.embed_tokens.value().detach(), &packed.input_ids)?;
        let Some(ImageFeatures { embeddings: images, .. }) = images else { return Ok(text) };
        if images.dim(0)? != packed.image_rows.len() {
            let (rows, got) = (packed.image_rows.len(), images.dim(0)?);
            bail!("{got} image embeddings for {rows} image tokens");
        }
        let tokens = packed.len() as u32;
        let mut order: Vec<u32> = (0..tokens).collect();
        for (i, &row) in packed.image_rows.iter().enumerate() {
            order[row as usize] = tokens + i as u32;
        }
        select_rows(&Tensor::cat(&[&text, &images.detach()], 0)?, &order)
    }

    /// Runs the decoder layers over embeddings `[T, hidden]`, with what the tower gives the first of them; not yet
    /// normalised.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn decoder_layers<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        packed: &Packed,
        embeddings: &Tensor,
        deepstack: &[Tensor],
    ) -> Result<Tensor> {
        let context = Arc::new((self.angles(&packed.positions)?, packed.segments.clone()));
        let mut x = embeddings.clone();
        for (i, layer) in self.language.layers.iter().enumerate() {
            let context = context.clone();
            [x] = stages.apply([&x], Part::Layer, move |[x]| {
                let (angles, segments) = &*context;
                Ok([layer.mix(x, angles, segments)?])
            })?;
            [x] =
                stages.apply([&x], Part::Mlp, |[x]| Ok([layer.transform(x, Product::Blocked)?]))?;
            if let Some(feature) = deepstack.get(i) {
                let rows = packed.image_rows.clone();
                [x] = stages.apply([&x, feature], Part::Layer, move |[x, feature]| {
                    Ok([add_to_rows(x, &rows, feature)?])
                })?;
            }
        }
        Ok(x)
    }

    /// The final norm over hidden rows `[n, hidden]`.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn normalize(&self, hidden: &Tensor) -> Result<Tensor> {
        self.language.normalize(hidden)
    }

    /// Logits of every row of the stream, `[T, vocab]` f32: for inspection, not for training.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn logits(&self, packed: &Packed) -> Result<Tensor> {
        let images = self.embed_images(&mut Inference, packed)?;
        let embeddings = self.embed_tokens(packed, images.as_ref())?;
        let deepstack = deepstack(images.as_ref());
        let hidden = self.decoder_layers(&mut Inference, packed, &embeddings, deepstack)?;
        self.language.logits(&hidden, Product::Blocked)
    }

    /// Log-probabilities and entropies of the stream's scored tokens at `temperature`.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn token_logps(&self, packed: &Packed, temperature: f64) -> Result<TokenLogprob> {
        let images = self.embed_images(&mut Inference, packed)?;
        let embeddings = self.embed_tokens(packed, images.as_ref())?;
        let inputs = (&embeddings, deepstack(images.as_ref()));
        self.logps_of_embeddings(&mut Inference, packed, inputs, temperature)
    }

    /// [`Self::token_logps`] with a backward pass to the parameters.
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn token_logps_taped(
        &self,
        packed: &Packed,
        temperature: f64,
        checkpointing: Checkpointing,
    ) -> Result<(TokenLogprob, Backward<'_>)> {
        let trains_vision = self.parameters.trains(ParameterGroup::Vision);
        let mut vision = Tape::new(&self.parameters, checkpointing);
        let images = if trains_vision {
            self.embed_images(&mut vision, packed)?
        } else {
            self.embed_images(&mut Inference, packed)?
        };
        let mut language = Tape::new(&self.parameters, checkpointing);
        let embeddings = self.embed_tokens(packed, images.as_ref())?;
        let inputs = (&embeddings, deepstack(images.as_ref()));
        let scored = self.logps_of_embeddings(&mut language, packed, inputs, temperature)?;
        let vision = images.filter(|_| trains_vision).map(|images| (vision, images));
        let (logp, stream_rows) = (scored.logp.clone(), StreamRows::of(packed));
        let embed_tokens = self.language.embed_tokens.clone();
        Ok((scored, Backward { vision, language, embeddings, logp, embed_tokens, stream_rows }))
    }

    fn logps_of_embeddings<'m>(
        &'m self,
        stages: &mut impl Stages<'m>,
        packed: &Packed,
        (embeddings, deepstack): (&Tensor, &[Tensor]),
        temperature: f64,
    ) -> Result<TokenLogprob> {
        let hidden = self.decoder_layers(stages, packed, embeddings, deepstack)?;
        let rows = packed.scored_rows.clone();
        let targets = Tensor::new(packed.targets.as_slice(), &self.device)?;
        let [logp, entropy] = stages.apply([&hidden], Part::Head, move |[hidden]| {
            let normalized = self.language.normalize(&select_rows(hidden, &rows)?)?;
            let scored = token_logprob(&normalized, &self.language.head, &targets, temperature)?;
            Ok([scored.logp, scored.entropy])
        })?;
        Ok(TokenLogprob { logp, entropy })
    }
}

/// What the tower gives the decoder's first layers.
fn deepstack(images: Option<&ImageFeatures>) -> &[Tensor] {
    images.map_or(&[], |images| &images.deepstack)
}

/// Which rows of a stream are text, and which are images.
struct StreamRows {
    text_rows: Vec<u32>,
    text_ids: Vec<u32>,
    image_rows: Vec<u32>,
}

impl StreamRows {
    fn of(packed: &Packed) -> Self {
        let mut is_image = vec![false; packed.len()];
        packed.image_rows.iter().for_each(|&row| is_image[row as usize] = true);
        let text_rows: Vec<u32> =
            (0..packed.len() as u32).filter(|&row| !is_image[row as usize]).collect();
        let text_ids = text_rows.iter().map(|&row| packed.input_ids[row as usize]).collect();
        Self { text_rows, text_ids, image_rows: packed.image_rows.clone() }
    }
}

/// The backward pass from log-probabilities to every trained parameter.
pub struct Backward<'m> {
    /// The tower's tape and output, where the tower is trained and there are images.
    vision: Option<(Tape<'m>, ImageFeatures)>,
    language: Tape<'m>,
    /// Input (`embeddings`) and output (`logp`) of the language model's tape.
    embeddings: Tensor,
    logp: Tensor,
    embed_tokens: Parameter,
    stream_rows: StreamRows,
}

impl Backward<'_> {
    /// Adds the gradients of `sum(gradient * logp)` to the parameters' buffers.
    ///
    /// - `gradient`: `[N]`, the loss's gradient with respect to each log-probability
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn run(self, gradient: &Tensor) -> Result<()> {
        let mut gradients = self.language.backward(&[(&self.logp, gradient)])?;
        let Some(embeddings) = gradients.take(&self.embeddings) else { return Ok(()) };
        if self.embed_tokens.is_trainable() {
            let gradient = select_rows(&embeddings, &self.stream_rows.text_rows)?;
            self.embed_tokens.accumulate_rows(&self.stream_rows.text_ids, &gradient)?;
        }
        if let Some((vision, images)) = self.vision {
            let gradient = select_rows(&embeddings, &self.stream_rows.image_rows)?;
            let seen = images.deepstack.iter();
            let seen = seen.filter_map(|feature| Some((feature, gradients.take(feature)?)));
            let seen: Vec<(&Tensor, Tensor)> = seen.collect();
            let mut outputs = vec![(&images.embeddings, &gradient)];
            outputs.extend(seen.iter().map(|(feature, gradient)| (*feature, gradient)));
            vision.backward(&outputs)?;
        }
        Ok(())
    }
}
