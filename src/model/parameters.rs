//! All parameters of a model: their names, which of them are trained, and how rollouts see them.
//! Not here: which parameters a model has (`config`), reading and writing files (`weights`, `save`),
//! updating values (`optim`).

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};

use super::lora::{A, B, Factors};
#[cfg(feature = "cuda")]
use super::merged_weights::BaseWeights;
use crate::ops::{Dropout, GradientArena, LowRank, Parameter};

/// A component of a model that is trained or frozen as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterGroup {
    /// The vision tower, with what makes its patches into tokens.
    Vision,
    /// The embedding table, the decoder and the vocabulary head.
    Language,
}

/// Which parameters of a model are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// Every one.
    All,
    /// All but those of these groups.
    Frozen(&'static [ParameterGroup]),
    /// None: the model is used for sampling, evaluation or as the reference.
    Nothing,
}

impl Trained {
    /// Whether the parameters of a group are trained.
    pub fn contains(self, group: ParameterGroup) -> bool {
        match self {
            Self::All => true,
            Self::Frozen(groups) => !groups.contains(&group),
            Self::Nothing => false,
        }
    }
}

/// A parameter that a model has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterShape {
    /// The hub's name.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// The component that it belongs to.
    pub group: ParameterGroup,
}

impl ParameterShape {
    /// How many numbers it has.
    pub fn elem_count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A model's parameters under the hub's names.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    in_hub_order: Vec<Member>,
    /// The index of each one.
    by_name: BTreeMap<String, usize>,
    /// The gradients of the trained ones, in the same order; none where none is trained.
    gradients: Option<GradientArena>,
    /// LoRA's factors, by the name of their map.
    low_rank: BTreeMap<String, LowRank>,
    /// The weights that these change, without them.
    #[cfg(feature = "cuda")]
    base_weights: BaseWeights,
}

#[derive(Debug, Clone)]
struct Member {
    parameter: Parameter,
    group: ParameterGroup,
}

impl Parameters {
    /// Takes loaded tensors, in the order of the hub's module tree.
    ///
    /// - `gradients`: what those of trained parameters are added up in
    ///
    /// # Errors
    /// A trainable copy cannot be allocated.
    pub fn new(
        tensors: Vec<(ParameterShape, Tensor)>,
        trained: Trained,
        gradients: DType,
    ) -> Result<Self> {
        let gradients = arena(&tensors, trained, gradients)?;
        let mut parameters = Self { gradients, ..Self::default() };
        let mut start = 0;
        for (ParameterShape { name, group, .. }, value) in tensors {
            let parameter = match &parameters.gradients {
                Some(arena) if trained.contains(group) => {
                    start += value.elem_count();
                    Parameter::trainable_in(&name, &value, arena, start - value.elem_count())?
                }
                _ => Parameter::frozen(&name, &value),
            };
            parameters.by_name.insert(name, parameters.in_hub_order.len());
            parameters.in_hub_order.push(Member { parameter, group });
        }
        Ok(parameters)
    }

    /// The same parameters, none of them trainable, with low-rank factors for some of the maps.
    ///
    /// - `scale`: what the product of factors is multiplied by
    /// - `gradients`: what those of the factors are added up in; `None` where they are not trained
    ///
    /// # Errors
    /// A trainable copy cannot be allocated.
    pub fn with_factors(
        &self,
        factors: Vec<Factors>,
        scale: f64,
        gradients: Option<DType>,
    ) -> Result<Self> {
        let tensors = factors.iter().flat_map(|factors| {
            [(A, &factors.a), (B, &factors.b)].map(|(factor, value)| {
                let name = format!("{}.{factor}", factors.map);
                let shape =
                    ParameterShape { name, dims: value.dims().to_vec(), group: factors.group };
                (shape, value.clone())
            })
        });
        let (trained, dtype) = match gradients {
            Some(dtype) => (Trained::All, dtype),
            None => (Trained::Nothing, DType::F32),
        };
        let Self { in_hub_order, gradients, .. } = Self::new(tensors.collect(), trained, dtype)?;
        let mut adapted = Self {
            gradients,
            #[cfg(feature = "cuda")]
            base_weights: BaseWeights::default(),
            ..self.detached().without_factors()
        };
        for (pair, Factors { map, .. }) in in_hub_order.chunks_exact(2).zip(factors) {
            let [a, b] = [0, 1].map(|i: usize| pair[i].parameter.clone());
            adapted.low_rank.insert(map, LowRank { a, b, scale, dropout: None });
        }
        for member in in_hub_order {
            let name = member.parameter.name().to_owned();
            adapted.by_name.insert(name, adapted.in_hub_order.len());
            adapted.in_hub_order.push(member);
        }
        Ok(adapted)
    }

    /// The same storage without low-rank factors, nothing trainable: the model that an adapter is for.
    #[must_use]
    pub fn without_factors(&self) -> Self {
        let is_factor = |member: &Member| is_factor(member.parameter.name());
        let mut base = self.detached();
        base.in_hub_order.retain(|member| !is_factor(member));
        base.by_name.retain(|name, _| !self::is_factor(name));
        base.low_rank.clear();
        base
    }

    /// The model without low-rank factors whose weights are those that the factors change them to, nothing trainable. Weights
    /// without factors share their storage.
    ///
    /// # Errors
    /// There is no memory for the weights.
    pub fn merged(&self) -> Result<Self> {
        let mut merged = self.without_factors();
        for (map, low_rank) in &self.low_rank {
            let Some(&place) = merged.by_name.get(&format!("{map}.weight")) else { continue };
            let parameter = &mut merged.in_hub_order[place].parameter;
            *parameter = low_rank.merged(parameter)?;
        }
        Ok(merged)
    }

    /// The same parameters and gradients, with dropout of what each map's low-rank factors are given.
    ///
    /// - `dropout`: that of the i-th map in the order of the names
    #[must_use]
    pub fn with_dropout(&self, dropout: impl Fn(u32) -> Dropout) -> Self {
        let mut dropped = self.clone();
        for (place, factors) in (0..).zip(dropped.low_rank.values_mut()) {
            factors.dropout = Some(dropout(place));
        }
        dropped
    }

    /// The low-rank factors of a map, by the map's name.
    pub fn low_rank(&self, map: &str) -> Option<&LowRank> {
        self.low_rank.get(map)
    }

    /// All low-rank factors, by the names of their maps.
    pub fn low_ranks(&self) -> impl Iterator<Item = (&str, &LowRank)> {
        self.low_rank.iter().map(|(map, factors)| (map.as_str(), factors))
    }

    /// The same storage with nothing trainable: what rollouts and evaluation run on.
    #[must_use]
    pub fn detached(&self) -> Self {
        let detach = |member: &Member| Member { parameter: member.parameter.detached(), ..*member };
        let in_hub_order = self.in_hub_order.iter().map(detach).collect();
        let detach = |(map, LowRank { a, b, scale, .. }): (&String, &LowRank)| {
            let (a, b) = (a.detached(), b.detached());
            (map.clone(), LowRank { a, b, scale: *scale, dropout: None })
        };
        let low_rank = self.low_rank.iter().map(detach).collect();
        Self {
            in_hub_order,
            by_name: self.by_name.clone(),
            gradients: None,
            low_rank,
            #[cfg(feature = "cuda")]
            base_weights: self.base_weights.clone(),
        }
    }

    /// The same parameters without low-rank factors, nothing trainable, with another in the place of each one that is trained.
    ///
    /// # Errors
    /// What `other` returns.
    pub fn with_trained_replaced<E>(
        &self,
        mut other: impl FnMut(&Parameter) -> std::result::Result<Parameter, E>,
    ) -> std::result::Result<Self, E> {
        let mut replaced = self.without_factors(); // which are behind all others
        for (now, Member { parameter, .. }) in
            replaced.in_hub_order.iter_mut().zip(&self.in_hub_order)
        {
            if parameter.is_trainable() {
                now.parameter = other(parameter)?;
            }
        }
        Ok(replaced)
    }

    /// The parameter of that name, if the model has it.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.by_name.get(name).map(|&place| &self.in_hub_order[place].parameter)
    }

    /// The parameter of that name.
    ///
    /// # Errors
    /// There is none: the configuration and the loader disagree.
    pub fn get(&self, name: &str) -> Result<Parameter> {
        match self.find(name) {
            Some(parameter) => Ok(parameter.clone()),
            None => bail!("the model has no parameter {name}"),
        }
    }

    /// Every parameter, in the order in which the hub's files are filled; low-rank factors behind all others.
    pub fn in_hub_order(&self) -> impl Iterator<Item = &Parameter> {
        self.in_hub_order.iter().map(|member| &member.parameter)
    }

    /// The trained parameters, in the order of the names.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        let by_name = self.by_name.values().map(|&place| &self.in_hub_order[place].parameter);
        by_name.filter(|parameter| parameter.is_trainable())
    }

    /// The gradients of all trained parameters in one flat tensor, with zeros for parameters without a gradient.
    ///
    /// # Errors
    /// The device fails.
    pub fn whole_gradient(&self) -> Result<Option<&Tensor>> {
        self.trained().try_for_each(Parameter::complete_gradient)?;
        Ok(self.gradients.as_ref().map(GradientArena::numbers))
    }

    /// The memory of the gradients; none where no parameter is trained.
    pub fn gradients(&self) -> Option<&GradientArena> {
        self.gradients.as_ref()
    }

    /// The weights that low-rank factors change, where decoding changes them in place.
    #[cfg(feature = "cuda")]
    pub(super) fn base_weights(&self) -> &BaseWeights {
        &self.base_weights
    }

    /// Whether any parameter of a group is trained.
    pub fn trains(&self, group: ParameterGroup) -> bool {
        let mut of_group = self.in_hub_order.iter().filter(|member| member.group == group);
        of_group.any(|member| member.parameter.is_trainable())
    }
}

fn is_factor(name: &str) -> bool {
    name.ends_with(A) || name.ends_with(B)
}

/// Room for the gradients of the tensors that are trained; none where none is.
fn arena(
    tensors: &[(ParameterShape, Tensor)],
    trained: Trained,
    dtype: DType,
) -> Result<Option<GradientArena>> {
    let trained = || tensors.iter().filter(|(shape, _)| trained.contains(shape.group));
    let Some((_, first)) = trained().next() else { return Ok(None) };
    let n = trained().map(|(_, value)| value.elem_count()).sum();
    GradientArena::new(n, dtype, first.device()).map(Some)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn parameters(trained: Trained) -> Parameters {
        let shape = |(name, group): (&str, _)| {
            let shape = ParameterShape { name: name.to_owned(), dims: vec![2], group };
            (shape, Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap())
        };
        let tensors = [
            ("visual.b", ParameterGroup::Vision),
            ("model.c", ParameterGroup::Language),
            ("model.a", ParameterGroup::Language),
        ];
        Parameters::new(tensors.map(shape).into(), trained, DType::F32).unwrap()
    }

    fn names<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> Vec<&'a str> {
        parameters.map(Parameter::name).collect()
    }

    #[test]
    fn a_frozen_group_is_not_trained_and_all_else_is() {
        for (trained, expected) in [
            (Trained::All, vec!["model.a", "model.c", "visual.b"]),
            (Trained::Frozen(&[ParameterGroup::Vision]), vec!["model.a", "model.c"]),
            (Trained::Frozen(&[ParameterGroup::Language]), vec!["visual.b"]),
            (Trained::Nothing, vec![]),
        ] {
            let parameters = parameters(trained);
            assert_eq!(names(parameters.trained()), expected, "{trained:?}");
            for group in [ParameterGroup::Vision, ParameterGroup::Language] {
                assert_eq!(parameters.trains(group), trained.contains(group), "{trained:?}");
            }
        }
    }

    #[test]
    fn the_hubs_order_stays_and_what_is_detached_is_not_trained() {
        let detached = parameters(Trained::All).detached();
        assert_eq!(names(detached.in_hub_order()), ["visual.b", "model.c", "model.a"]);
        assert_eq!(names(detached.trained()), [""; 0]);
        assert_eq!(detached.get("model.c").unwrap().name(), "model.c");
        assert!(detached.find("model.d").is_none() && detached.get("model.d").is_err());
    }
}
