//! The updates of supervised training: answers instead of completions, their likelihood instead of rewards.
//! Not here: the loss (`supervised`), which rows come (`draw`).

use std::sync::Arc;

use super::OnStage;
use super::accumulate::{ScoringSettings, TrainedCompletion, TrainedGroup};
use super::draw::{DrawnQuestions, Question, check_lengths};
use super::error::TrainError;
use super::policy::Policy;
use super::record::UpdateClock;
use super::stage::Stage;
use super::supervised::{Taught, accumulate_supervised};
use super::update::TrainedBatch;
use crate::config::SftTarget;
use crate::data::{Sample, bare_answer, supervised_completion};
use crate::model::lora::UpdateDropout;
use crate::processor::Processor;
use crate::run_folder::metrics::UpdateMetrics;

/// What holds for every update of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisedSettings {
    /// Prompts of an update.
    pub prompts_per_update: usize,
    /// What a sample teaches.
    pub target: SftTarget,
    /// Which tokens the loss is taken over.
    pub taught: Taught,
    /// How log-probabilities are computed.
    pub scoring: ScoringSettings,
    /// The run's seed.
    pub seed: u64,
    /// The probability that an input of low-rank factors is dropped while they learn.
    pub dropout: f64,
}

/// Everything that supervised updates need besides the policy and the rows.
pub(super) struct SupervisedTrainer {
    pub(super) settings: SupervisedSettings,
    pub(super) processor: Arc<Processor>,
}

impl SupervisedTrainer {
    /// Makes one update.
    pub(super) fn train_batch(
        &mut self,
        policy: &mut Policy,
        questions: &mut DrawnQuestions,
        on_stage: &mut OnStage,
    ) -> Result<TrainedBatch, TrainError> {
        let SupervisedSettings { prompts_per_update, taught, scoring, seed, dropout, .. } =
            self.settings;
        let mut clock = UpdateClock::start();
        let drawn = questions.take(prompts_per_update)?;
        let answers = drawn.questions.iter().map(|question| self.answer(question));
        let answers: Vec<Vec<u32>> = answers.collect::<Result<_, _>>()?;
        let n_tokens = || answers.iter().map(Vec::len);
        check_lengths(&drawn.questions, n_tokens().max().unwrap_or(0), &policy.model)?;

        on_stage(Stage::Policy, 0);
        clock.policy_begins();
        let groups = drawn.questions.iter().zip(&answers).map(group).collect::<Vec<_>>();
        let samples = || drawn.questions.iter().map(|q| q.sample.id.clone()).collect::<Vec<_>>();
        let ranks = policy.ranks.as_ref();
        let settings = (scoring, UpdateDropout::new(dropout, seed, policy.update));
        let sums = accumulate_supervised(&policy.model, &groups, taught, settings, ranks)
            .map_err(TrainError::during("computing gradients"))
            .and_then(|sums| {
                if sums.loss.is_finite() {
                    Ok(sums)
                } else {
                    Err(policy.not_finite("loss", sums.loss, &samples()))
                }
            });
        let sums = policy.agreed(sums)?;
        on_stage(Stage::Optimizer, 0);
        clock.step_begins();
        let step = policy.step(samples)?;
        let line = UpdateMetrics {
            update: policy.update,
            lr: step.lr,
            loss: sums.loss,
            entropy: Some(sums.entropy / sums.n_tokens),
            completion_length: n_tokens().sum::<usize>() as f64 / answers.len() as f64,
            grad_norm: step.grad_norm,
            ..clock.update_ends(sums.n_packed, policy.model.device())
        };
        Ok(TrainedBatch { metrics: vec![line], groups: Vec::new(), skipped: drawn.skipped })
    }

    /// The tokens that a sample teaches, the end of the turn among them.
    fn answer(&self, question: &Question) -> Result<Vec<u32>, TrainError> {
        let text = taught_text(&question.sample, self.settings.target)?;
        let mut token_ids = self.processor.encode_taught(&text)?;
        token_ids.push(self.processor.special().im_end);
        Ok(token_ids)
    }
}

/// What supervised training teaches of a sample.
pub(super) fn taught_text(sample: &Sample, target: SftTarget) -> Result<String, TrainError> {
    match target {
        SftTarget::Solution => Ok(bare_answer(sample)),
        SftTarget::Auto => Ok(supervised_completion(sample).unwrap_or_else(|| bare_answer(sample))),
        SftTarget::Reasoning => supervised_completion(sample)
            .ok_or_else(|| TrainError::NoCompletion { sample: sample.id.clone() }),
    }
}

fn group<'a>((question, token_ids): (&'a Question, &'a Vec<u32>)) -> TrainedGroup<'a> {
    let completion =
        TrainedCompletion { token_ids, sampled_logps: &[], advantage: 0.0, is_masked: false };
    TrainedGroup { prompt: &question.prompt, completions: vec![completion] }
}
