//! A model of a checkpoint's shape with random weights, and a stream for it to read.
//! Not here: checkpoints (`model::weights`).

use candle_core::{DType, Device, Result, Tensor};

use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::model::packed::{Packed, PackedGroup};
use crate::model::parameters::{ParameterShape, Parameters, Trained};
use crate::model::precision::Precision;
use crate::processor::{ImagePatches, Prompt};

/// Numbers that are drawn; larger tensors repeat them.
const DRAWN: usize = (1 << 20) + 7;

/// Repeatable numbers of mean 0 and standard deviation `scale`.
///
/// # Errors
/// The device's own.
pub fn numbers(
    dims: &[usize],
    scale: f64,
    seed: u64,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    // A uniform number in [-1, 1) has standard deviation 1 / sqrt(3).
    let scale = scale * 3.0_f64.sqrt();
    let drawn: Vec<f32> = (0..n.min(DRAWN)).map(|_| (uniform() * scale) as f32).collect();
    let drawn = Tensor::new(drawn, device)?.to_dtype(dtype)?;
    if n <= DRAWN {
        return drawn.reshape(dims);
    }
    drawn.repeat(n.div_ceil(DRAWN))?.narrow(0, 0, n)?.reshape(dims)
}

/// A model of that shape: matrices random, scaled to keep the size of what passes through, norms one, biases zero.
///
/// # Errors
/// It cannot be allocated.
pub fn random_model(
    config: &ModelConfig,
    precision: impl Into<Precision>,
    device: &Device,
    trained: Trained,
) -> Result<Model> {
    let Precision { weights: dtype, gradients } = precision.into();
    let tensor = |(seed, shape): (usize, ParameterShape)| {
        let dims = shape.dims.as_slice();
        let value = match dims {
            [width] if shape.name.ends_with("weight") => Tensor::ones(*width, dtype, device)?,
            [width] => Tensor::zeros(*width, dtype, device)?,
            [_, inner @ ..] => {
                let inner: usize = inner.iter().product();
                numbers(dims, 0.5 / (inner as f64).sqrt(), seed as u64, dtype, device)?
            }
            [] => Tensor::zeros((), dtype, device)?,
        };
        Ok((shape, value))
    };
    let tensors: Result<Vec<_>> =
        config.parameter_shapes().into_iter().enumerate().map(tensor).collect();
    Model::new(config, Parameters::new(tensors?, trained, gradients)?)
}

/// What a stream is made of.
#[derive(Debug, Clone, Copy)]
pub struct StreamShape {
    /// Prompts, each with one square image.
    pub prompts: usize,
    /// Completions of each prompt.
    pub group_size: usize,
    /// Text tokens of a prompt.
    pub text_tokens: usize,
    /// Patches along an image's side; a multiple of the tower's merge size.
    pub image_side: usize,
    /// Tokens of a completion.
    pub completion_tokens: usize,
}

/// One of its prompts.
pub fn prompt(config: &ModelConfig, shape: StreamShape) -> Prompt {
    let (side, merge) = (shape.image_side, config.vision.spatial_merge_size);
    let image_tokens = (side / merge).pow(2);
    let tokens = shape.text_tokens + image_tokens;
    let mut input_ids: Vec<u32> = (0..tokens).map(|i| word(config, i)).collect();
    let first = shape.text_tokens / 2;
    input_ids[first..first + image_tokens].fill(config.image_token_id);
    let patches = side * side * config.vision.patch_dim();
    let pixel_values = (0..patches).map(|i| (i * 31 % 255) as f32 / 127.5 - 1.0).collect();
    Prompt {
        positions: (0..tokens as u32).map(|i| [i; 3]).collect(),
        next_position: tokens as u32,
        images: vec![ImagePatches { pixel_values, grid_thw: [1, side, side], merge_size: merge }],
        image_rows: (first as u32..(first + image_tokens) as u32).collect(),
        text: String::new(),
        input_ids,
    }
}

fn word(config: &ModelConfig, i: usize) -> u32 {
    (i * 7919 % (config.text.vocab_size - 64)) as u32
}

/// A packed stream of that shape.
///
/// # Errors
/// A shape that no image has.
pub fn stream(config: &ModelConfig, shape: StreamShape) -> Result<Packed> {
    let prompt = prompt(config, shape);
    let completion =
        |i: usize| (0..shape.completion_tokens).map(|t| word(config, t * 131 + i)).collect();
    let completions: Vec<Vec<u32>> = (0..shape.group_size).map(completion).collect();
    let group = PackedGroup {
        prompt: &prompt,
        completions: completions.iter().map(Vec::as_slice).collect(),
    };
    Packed::new(&vec![group; shape.prompts])
}
