//! LoRA in a model: which linear maps have low-rank factors, of which shapes, and how these begin (Hu et al. 2021).
//! Not here: what factors do to a map (`ops`), their files (`adapter`), how a run file asks for them (`config`).

use candle_core::{DType, Device, Result, Tensor};

use super::config::ModelConfig;
use super::error::ModelError;
use super::parameters::{ParameterGroup, ParameterShape};
use super::tower_parts::POSITIONS;
use super::weights::{EMBEDDING, HEAD};
use crate::ops::Dropout;
use crate::rng::{Purpose, Stream};

/// A factor's name behind that of its map: `[rank, in]`.
pub const A: &str = "lora_A.weight";
/// Likewise: `[out, rank]`.
pub const B: &str = "lora_B.weight";

/// The settings of a model's low-rank factors, all of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Rows of `A`, columns of `B`.
    pub rank: usize,
    /// The scale is this over the rank, or over its square root.
    pub alpha: f64,
    /// Whether the scale is `alpha / sqrt(rank)` (Kalajdzievski 2023) and not `alpha / rank`.
    pub rslora: bool,
    /// Ends of maps' names, as PEFT's `target_modules`; `None` for every map.
    pub targets: Option<Vec<String>>,
    /// Whether maps of the vision tower are meant, too.
    pub vision: bool,
    /// The probability that an input of a factor `A` is dropped while the factors are trained.
    pub dropout: f64,
}

impl Lora {
    /// What the factors' product is multiplied by.
    pub fn scale(&self) -> f64 {
        scale(self.rank, self.alpha, self.rslora)
    }

    /// The maps that have factors, in the hub's order.
    ///
    /// # Errors
    /// A target is the end of no map's name.
    pub fn maps(&self, config: &ModelConfig) -> std::result::Result<Vec<LinearMap>, ModelError> {
        let mut maps = linear_maps(config);
        maps.retain(|map| self.vision || map.group == ParameterGroup::Language);
        let Some(targets) = &self.targets else { return Ok(maps) };
        if let Some(target) = targets.iter().find(|target| !maps.iter().any(|map| map.is(target))) {
            let mut known: Vec<&str> = maps.iter().map(LinearMap::last_name).collect();
            known.sort_unstable();
            known.dedup();
            let (target, known) = (target.clone(), known.join(", "));
            return Err(ModelError::Target { target, known, vision: self.vision });
        }
        maps.retain(|map| targets.iter().any(|target| map.is(target)));
        Ok(maps)
    }

    /// How many numbers the factors have.
    ///
    /// # Errors
    /// As [`Self::maps`].
    pub fn elem_count(&self, config: &ModelConfig) -> std::result::Result<usize, ModelError> {
        Ok(self.maps(config)?.iter().map(|map| self.rank * (map.out + map.inner)).sum())
    }

    /// Factors that change nothing yet, as PEFT's begin: `A` uniform within `1 / sqrt(in)` (Kaiming's with `a = sqrt(5)`), `B`
    /// zero.
    ///
    /// # Errors
    /// A target is the end of no map's name, or a tensor cannot be made.
    pub fn fresh(
        &self,
        config: &ModelConfig,
        (dtype, device): (DType, &Device),
        seed: u64,
    ) -> std::result::Result<Vec<Factors>, ModelError> {
        let begun = |(place, map): (usize, LinearMap)| {
            let made = map.begun((place, self.rank), (dtype, device), seed);
            made.map_err(|source| ModelError::Tensor {
                context: format!("cannot make the factors of {}", map.name),
                source,
            })
        };
        self.maps(config)?.into_iter().enumerate().map(begun).collect()
    }
}

/// Dropout of what the factors are given in one update. Which inputs are dropped is named by the seed, the update, the pass,
/// the map and the input's place, so that a resumed run drops the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateDropout {
    rate: f64,
    seed: u64,
    update: u32,
}

impl UpdateDropout {
    /// None where nothing is dropped.
    ///
    /// - `rate`: the probability that an input is dropped
    /// - `seed`: the run's
    /// - `update`: updates made before this one
    pub fn new(rate: f64, seed: u64, update: u64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "runs are shorter")]
        (rate > 0.0).then_some(Self { rate, seed, update: update as u32 })
    }

    /// - `pass`: which of the update's passes, each a forward pass with its backward pass
    /// - `map`: which of the model's maps with factors
    pub(super) fn of_map(self, pass: u32, map: u32) -> Dropout {
        let stream = Stream::new(self.seed, Purpose::Dropout, self.update, pass, map);
        Dropout::new(self.rate, stream.generator())
    }
}

/// What the product of factors is multiplied by.
pub fn scale(rank: usize, alpha: f64, rslora: bool) -> f64 {
    let rank = rank as f64;
    alpha / if rslora { rank.sqrt() } else { rank }
}

/// A linear map of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearMap {
    /// The hub's name, without `.weight`.
    pub name: String,
    /// How many outputs.
    pub out: usize,
    /// How many inputs.
    pub inner: usize,
    /// The component that it belongs to.
    pub group: ParameterGroup,
}

impl LinearMap {
    /// Whether a target of PEFT's means this map: its name, or the end of it from a dot on.
    pub fn is(&self, target: &str) -> bool {
        is_end_of(&self.name, target)
    }

    /// The end of its name that says which map of a block it is: `q_proj`, or `mlp.0` where that is a number.
    pub(super) fn last_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.').map(|(at, _)| at);
        let is_number = |at: usize| self.name[at + 1..].bytes().all(|byte| byte.is_ascii_digit());
        dots.find(|&at| !is_number(at)).map_or(&self.name, |at| &self.name[at + 1..])
    }

    /// All of its name behind the number of its block: `self_attn.q_proj`; of a map outside of all blocks, behind its first two
    /// parts.
    pub(super) fn name_in_block(&self) -> &str {
        let numbered = self.numbered_name();
        let rest = numbered.split_once('.').and_then(|(_, rest)| rest.split_once('.'));
        rest.map_or(numbered, |(_, rest)| rest)
    }

    /// The end of its name from `layers` or `blocks` on: `layers.3.self_attn.q_proj`; of a map outside of all blocks the whole
    /// name.
    pub(super) fn numbered_name(&self) -> &str {
        let start = ["layers.", "blocks."].iter().find_map(|blocks| self.name.find(blocks));
        start.map_or(&self.name, |at| &self.name[at..])
    }

    fn begun(
        &self,
        (place, rank): (usize, usize),
        (dtype, device): (DType, &Device),
        seed: u64,
    ) -> Result<Factors> {
        #[expect(clippy::cast_possible_truncation, reason = "a model has fewer maps")]
        let mut draws = Stream::new(seed, Purpose::LowRank, 0, place as u32, 0).draws();
        let bound = 1.0 / (self.inner as f64).sqrt();
        let a = (0..rank * self.inner).map(|_| draws.range(-bound, bound) as f32).collect();
        let a: Tensor = Tensor::from_vec::<_, f32>(a, (rank, self.inner), device)?;
        let b = Tensor::zeros((self.out, rank), dtype, device)?;
        Ok(Factors { map: self.name.clone(), group: self.group, a: a.to_dtype(dtype)?, b })
    }
}

/// Whether PEFT takes `target` for this module: its name, or the end of it from a dot on.
pub(super) fn is_end_of(name: &str, target: &str) -> bool {
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        && !target.is_empty()
}

/// The low-rank factors of one map.
#[derive(Debug, Clone)]
pub struct Factors {
    /// The map's name.
    pub map: String,
    /// The component that it belongs to.
    pub group: ParameterGroup,
    /// `[rank, in]`
    pub a: Tensor,
    /// `[out, rank]`
    pub b: Tensor,
}

/// Every linear map of a model, in the hub's order: not the tables of embeddings, not the vocabulary's head, and not the
/// tower's patches, which are a convolution in transformers.
pub fn linear_maps(config: &ModelConfig) -> Vec<LinearMap> {
    config.parameter_shapes().iter().filter_map(linear_map).collect()
}

fn linear_map(parameter: &ParameterShape) -> Option<LinearMap> {
    let [out, inner] = parameter.dims[..] else { return None };
    let is_table = [EMBEDDING, HEAD, POSITIONS].contains(&parameter.name.as_str());
    let name = parameter.name.strip_suffix(".weight").filter(|_| !is_table)?;
    Some(LinearMap { name: name.to_owned(), out, inner, group: parameter.group })
}
