//! How completions are rewarded: the rule, the weights, the components' tolerances and limits.
//! Not here: the run file's section (`config::reward`), the components (`registry`).

use super::accuracy::ACCURACY;
use super::component::Component;
use super::external::ExternalCommand;
use super::format::FORMAT;
use super::grading::Rule;

/// How completions are rewarded.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardSettings {
    /// The rule behind the accuracy.
    pub rule: Rule,
    /// The format's weight, Eq. (1).
    pub alpha: f64,
    /// Further components and their weights, each at most once; 0 records a component without counting it. An entry
    /// for accuracy or format takes the place of 1 and of `alpha`.
    pub weights: Vec<(&'static Component, f64)>,
    /// `relative_error`: the tolerance, a ratio.
    pub relative_error: f64,
    /// `length_penalty`: tokens from which a completion costs the full 1.
    pub length_limit: usize,
    /// `length_penalty`: tokens before the limit over which the cost grows.
    pub length_buffer: usize,
    /// `repetition_penalty`: words in an n-gram.
    pub repetition_ngram: usize,
    /// A custom reward and its weight.
    pub external: Option<(ExternalCommand, f64)>,
}

impl Default for RewardSettings {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            alpha: 1.0,           // the paper's; R1-V sums the two unweighted
            weights: Vec::new(),  // the paper's reward has no other component
            relative_error: 0.05, // ChartQA's relaxed accuracy
            length_limit: 512,    // R1-V's README: --max_completion_length 512
            length_buffer: 102,   // DAPO: a fifth of the limit, 4096 of 20480
            repetition_ngram: 3,  // open-r1's and TRL's default
            external: None,
        }
    }
}

impl RewardSettings {
    /// What a component counts in the total.
    pub fn weight_of(&self, component: &Component) -> f64 {
        let given = self.weights.iter().find(|(other, _)| *other == component);
        given.map_or_else(|| self.default_weight(component), |(_, weight)| *weight)
    }

    fn default_weight(&self, component: &Component) -> f64 {
        if *component == ACCURACY {
            1.0
        } else if *component == FORMAT {
            self.alpha
        } else {
            0.0
        }
    }

    /// Every component that is computed, with its weight: accuracy and format, then [`Self::further`].
    pub fn components(&self) -> impl Iterator<Item = (&'static Component, f64)> {
        let always = [&ACCURACY, &FORMAT];
        let weighed = always.map(|component| (component, self.weight_of(component)));
        weighed.into_iter().chain(self.further())
    }

    /// The components beyond accuracy and format, in the order of the weights.
    pub fn further(&self) -> impl Iterator<Item = (&'static Component, f64)> {
        let is_further = |(component, _): &(&'static Component, f64)| {
            **component != ACCURACY && **component != FORMAT
        };
        self.weights.iter().copied().filter(is_further)
    }
}
