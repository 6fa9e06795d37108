//! The stages of a run, by the names that its progress and its errors call them.
//! Not here: what they do, each in the file of its name.

/// A stage of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Weights, gradients, the optimiser's state and the reference are made, before the first update.
    Loading,
    /// Rows become prompts.
    Prompts,
    /// Completions are sampled.
    Rollout,
    /// They are rewarded.
    Reward,
    /// The reference scores them.
    Reference,
    /// The policy that sampled scores them, where a batch serves several updates.
    OldPolicy,
    /// The policy scores them, and its gradients are computed.
    Policy,
    /// The optimiser moves the weights.
    Optimizer,
    /// The run measures its policy.
    Evaluation,
    /// A checkpoint is written.
    Checkpoint,
}

impl Stage {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading weights",
            Self::Prompts => "prompts",
            Self::Rollout => "rollout",
            Self::Reward => "reward",
            Self::Reference => "reference",
            Self::OldPolicy => "old policy",
            Self::Policy => "policy",
            Self::Optimizer => "optimizer step",
            Self::Evaluation => "evaluation",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// With the update that it belongs to.
    ///
    /// - `update`: finished updates
    pub fn in_words(self, update: u64) -> String {
        let name = self.name();
        match self {
            Self::Loading => format!("stage {name}"),
            Self::Evaluation | Self::Checkpoint => format!("stage {name}, after update {update}"),
            _ => format!("stage {name}, update {}", update + 1),
        }
    }

    /// Whether it is one of an update, rather than before, between or after updates.
    pub fn is_of_an_update(self) -> bool {
        !matches!(self, Self::Loading | Self::Evaluation | Self::Checkpoint)
    }

    /// Whether it decodes with caches, rather than computing on packed streams.
    pub fn decodes(self) -> bool {
        matches!(self, Self::Rollout | Self::Evaluation)
    }
}
