//! All parameters of a model by name: which are trained, and how rollouts see them.
//! Not here: reading and writing files (`weights`, `save`), updating values (`optim`).

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};

use crate::ops::Parameter;

/// A model's parameters under the hub's names.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    by_name: BTreeMap<String, Parameter>,
}

impl Parameters {
    /// Takes loaded tensors; those for which `is_trained` says so become trainable.
    ///
    /// # Errors
    /// A trainable copy cannot be allocated.
    pub fn new(
        tensors: BTreeMap<String, Tensor>,
        is_trained: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let by_name = tensors.into_iter().map(|(name, value)| {
            let parameter = if is_trained(&name) {
                Parameter::trainable(&name, &value)?
            } else {
                Parameter::frozen(&name, &value)
            };
            Ok((name, parameter))
        });
        Ok(Self { by_name: by_name.collect::<Result<_>>()? })
    }

    /// The same storage with nothing trainable: what rollouts and evaluation run on.
    #[must_use]
    pub fn detached(&self) -> Self {
        let detach = |(name, p): (&String, &Parameter)| (name.clone(), p.detached());
        Self { by_name: self.by_name.iter().map(detach).collect() }
    }

    /// The parameter of that name.
    ///
    /// # Errors
    /// There is none: the configuration and the loader disagree.
    pub fn get(&self, name: &str) -> Result<Parameter> {
        match self.by_name.get(name) {
            Some(parameter) => Ok(parameter.clone()),
            None => bail!("the model has no parameter {name}"),
        }
    }

    /// Every parameter, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.by_name.values()
    }

    /// The trained parameters, in the order of the names.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|parameter| parameter.is_trainable())
    }
}
