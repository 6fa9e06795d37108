//! The stages of an update on a GPU in bf16: operations and bytes, at a share of what the card reaches.
//!
//! Scoring and learning are bound by products, the optimiser by memory or, where its state is in the host's, by the bus; decoding
//! by whichever takes longer. A batch of rollouts and the passes that stay fixed with it serve `grpo.updates_per_rollout`
//! updates, which share them. All completions have their full length. Left out: grading, pictures, checkpoints, evaluations, and
//! copies of weights from the host's memory (the reference's, or those that decoding changed).
//!
//! A test compares the stages that learn with an H200's.
//! Not here: the shares, and figures of cards (`cards`); what is counted (`operations`, `traffic`).

use candle_core::DType;

use super::cards;
use super::ceilings::Ceilings;
use super::memory::trained_parameters;
use super::operations::{Forward, Sequences, Trains};
use super::time::{Bound, StageTime};
use super::traffic::{DecodingStep, OptimizerStep, decoding_step};
use super::workload::{Stream, Workload};
use crate::config::{MasterWeights, Method, RunConfig};
use crate::model::config::ModelConfig;
use crate::train::settings::{checkpointing, kl_schedule, precision, trains_vision};

/// Bytes of a number in bf16.
const WIDTH: usize = 2;

/// The stages of one update.
pub(super) fn stages(
    config: &RunConfig,
    model: &ModelConfig,
    work: &Workload,
    ceilings: Ceilings,
) -> Vec<StageTime> {
    let on = On { config, model, work, ceilings };
    let is_supervised = config.method == Method::Sft;
    let samples = !is_supervised && config.rollout.replay.is_none();
    let fixed = on.streams(Forward::total) * on.batches_per_update();
    let mut stages = Vec::new();
    if samples {
        stages.extend([on.prefill(), on.decoding()]);
    }
    if kl_schedule(config, 1).needs_reference() {
        stages.push(on.products("reference", fixed, cards::FORWARD));
    }
    if !is_supervised && config.grpo.updates_per_rollout > 1 {
        stages.push(on.products("old policy", fixed, cards::FORWARD));
    }
    stages.extend([on.policy(), on.optimizer()]);
    stages
}

/// What a run computes with.
struct On<'a> {
    config: &'a RunConfig,
    model: &'a ModelConfig,
    work: &'a Workload,
    ceilings: Ceilings,
}

impl On<'_> {
    fn products(&self, name: &'static str, operations: f64, of_ceiling: f64) -> StageTime {
        let speed = self.ceilings.product_tflops * 1e12 * of_ceiling;
        let share = Some(of_ceiling);
        StageTime { share, ..StageTime::at(name, Bound::Products, operations, speed) }
    }

    fn memory(&self, name: &'static str, bytes: f64, of_ceiling: f64) -> StageTime {
        let speed = self.ceilings.copy_tb_per_s * 1e12 * of_ceiling;
        let share = Some(of_ceiling);
        StageTime { share, ..StageTime::at(name, Bound::Memory, bytes, speed) }
    }

    /// Batches of rollouts that an update pays for, each as large as the update's prompts.
    fn batches_per_update(&self) -> f64 {
        let grpo = &self.config.grpo;
        grpo.mini_batches as f64 / grpo.updates_per_rollout as f64
    }

    /// Operations of all packed streams.
    fn streams(&self, count: impl Fn(&Forward) -> f64) -> f64 {
        let of = |stream: &Stream| count(&Forward::of(self.model, &self.sequences(stream)));
        self.work.streams.iter().map(of).sum()
    }

    fn sequences(&self, stream: &Stream) -> Sequences {
        let work = self.work;
        Sequences {
            prompts: stream.groups,
            prompt_tokens: work.prompt_tokens,
            pictures: work.pictures,
            patches: work.patches,
            completions: stream.scored / work.completion_tokens.max(1),
            completion_tokens: work.completion_tokens,
        }
    }

    /// Prompts by themselves, up to each one's first token: at the speed of scoring.
    fn prefill(&self) -> StageTime {
        let Workload { prompt_tokens, patches, pictures, prompts, .. } = *self.work;
        let (completions, completion_tokens) = (prompts, 1);
        let sequences =
            Sequences { prompts, prompt_tokens, pictures, patches, completions, completion_tokens };
        let operations = Forward::of(self.model, &sequences).total() * self.batches_per_update();
        self.products("prefill", operations, cards::FORWARD)
    }

    /// The tokens after the first, in steps that each move what [`decoding_step`] counts.
    fn decoding(&self) -> StageTime {
        let (work, grpo) = (self.work, &self.config.grpo);
        let batch = work.completions() * grpo.mini_batches;
        let waves = batch.div_ceil(self.config.rollout.max_batch.clamp(1, batch.max(1)));
        let rows = batch as f64 / waves.max(1) as f64;
        let step = DecodingStep {
            rows,
            prompts: rows / work.group_size as f64,
            prompt_tokens: work.prompt_tokens,
            own_tokens: work.completion_tokens as f64 / 2.0,
        };
        let steps = waves * work.completion_tokens.saturating_sub(1);
        let updates = grpo.updates_per_rollout as f64;
        let bytes = decoding_step(self.model, WIDTH, step) * steps as f64 / updates;
        // Many rows on a card with little arithmetic: then products bound it.
        let rows = Sequences {
            prompts: 0,
            prompt_tokens: work.prompt_tokens,
            pictures: 0,
            patches: 0,
            completions: work.completions(),
            completion_tokens: work.completion_tokens,
        };
        let operations = Forward::of(self.model, &rows).total() * self.batches_per_update();
        let moved = self.memory("decoding", bytes, cards::DECODING);
        let computed = self.products("decoding", operations, cards::FORWARD);
        if moved.seconds >= computed.seconds { moved } else { computed }
    }

    fn policy(&self) -> StageTime {
        let choice = self.config.model.activation_checkpointing;
        let trains = Trains {
            vision: trains_vision(self.config),
            weights: self.config.model.lora.is_none(),
        };
        let learned = |forward: &Forward| forward.learned(checkpointing(choice), trains);
        self.products("policy", self.streams(learned), cards::learning(choice))
    }

    fn optimizer(&self) -> StageTime {
        let optim = &self.config.optim;
        let n = trained_parameters(self.config, self.model) as f64;
        let has_masters = optim.masters == MasterWeights::F32;
        let gradient = precision(self.config, DType::BF16).gradients.size_in_bytes();
        let OptimizerStep { all, offloaded } = OptimizerStep::of(WIDTH, gradient, has_masters);
        if optim.offload {
            return StageTime::at("optimizer", Bound::Bus, n * offloaded as f64, cards::BUS);
        }
        let share = if has_masters { cards::OPTIMIZER } else { cards::OPTIMIZER_WITHOUT_MASTERS };
        self.memory("optimizer", n * all as f64, share)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::test_model::groups_of_8;
    use super::*;
    use crate::config::{CheckpointingChoice, KlScheduleKind, PAPERS_MODEL};
    use crate::model::published;

    const PERFORMED: &str = "performed, TFLOP/s";
    const TRAFFIC: &str = "traffic, TB/s";
    const H200: Ceilings = Ceilings { product_tflops: 801.5, copy_tb_per_s: 4.194 };

    fn papers_model() -> ModelConfig {
        ModelConfig::load(&published::configuration(PAPERS_MODEL).unwrap()).unwrap()
    }

    /// A stage of 8 prompts of 356 tokens, each with 8 completions.
    fn stage_of(stage: &str, config: &RunConfig, tokens: usize, ceilings: Ceilings) -> StageTime {
        let stages = stages(config, &papers_model(), &groups_of_8(8, 356, tokens), ceilings);
        stages.into_iter().find(|of| of.name == stage).unwrap()
    }

    fn seconds(stage: &str, config: &RunConfig, tokens: usize, ceilings: Ceilings) -> f64 {
        stage_of(stage, config, tokens, ceilings).seconds
    }

    fn config() -> RunConfig {
        let mut config = RunConfig::default();
        config.model.activation_checkpointing = CheckpointingChoice::Mlp;
        config
    }

    /// `benches/results/gpu-check-2026-11-27-nvidia-h200-whole-update.jsonl`, the stage `learn`, each part beside the ceilings
    /// that were measured with it. The shares are means over this run and another one, so this
    /// holds the counts, not what another card will do.
    #[test]
    fn planned_times_of_learning_are_within_5_percent_of_a_real_gpus() {
        let file = "benches/results/gpu-check-2026-11-27-nvidia-h200-half-layers.jsonl";
        let text = std::fs::read_to_string(file).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let learn = lines.find(|stage| stage["stage"] == "learn").unwrap()["figures"].clone();
        let mut n_compared = 0;
        for checkpointing in
            [CheckpointingChoice::None, CheckpointingChoice::Mlp, CheckpointingChoice::Full]
        {
            let measured =
                |stage: &str, name: &str| learn[format!("{checkpointing}_{stage}")][name].as_f64();
            let ceilings = Ceilings {
                product_tflops: measured("ceilings", "product, TFLOP/s").unwrap(),
                copy_tb_per_s: measured("ceilings", "copy, TB/s").unwrap(),
            };
            let mut config = config();
            config.model.activation_checkpointing = checkpointing;
            let mut compare = |stage, config: &RunConfig, measured_as, speed| {
                let planned = stage_of(stage, config, 256, ceilings);
                let seconds = measured(measured_as, "seconds").unwrap();
                let ratio = planned.seconds / seconds;
                assert!((ratio - 1.0).abs() < 0.05, "{checkpointing}, {measured_as}: {ratio}");
                if planned.bound != Bound::Bus {
                    let counted = seconds * measured(measured_as, speed).unwrap() * 1e12;
                    let ratio = planned.amount / counted;
                    assert!((ratio - 1.0).abs() < 1e-4, "{checkpointing}, {measured_as}: {ratio}");
                }
                n_compared += 1;
            };
            compare("reference", &config, "reference", PERFORMED);
            compare("policy", &config, "policy", PERFORMED);
            compare("optimizer", &config, "optimizer", TRAFFIC);
            config.optim.masters = MasterWeights::Bf16;
            compare("optimizer", &config, "bf16_masters", TRAFFIC);
            (config.optim.masters, config.optim.offload) = (MasterWeights::F32, true);
            compare("optimizer", &config, "offload", TRAFFIC);
        }
        assert_eq!(n_compared, 15);
    }

    #[test]
    fn twice_the_bandwidth_halves_what_memory_bounds_and_twice_the_products_the_rest() {
        let Ceilings { product_tflops, copy_tb_per_s } = H200;
        for (stage, is_of_memory) in [
            ("prefill", false),
            ("decoding", true),
            ("reference", false),
            ("policy", false),
            ("optimizer", true),
        ] {
            let of = |ceilings| seconds(stage, &config(), 256, ceilings);
            let half = |is_halved: bool| if is_halved { 0.5 } else { 1.0 };
            let wider = of(Ceilings { copy_tb_per_s: 2.0 * copy_tb_per_s, ..H200 });
            assert!((wider / of(H200) - half(is_of_memory)).abs() < 1e-12, "{stage}");
            let faster = of(Ceilings { product_tflops: 2.0 * product_tflops, ..H200 });
            assert!((faster / of(H200) - half(!is_of_memory)).abs() < 1e-12, "{stage}");
        }
        let slow = Ceilings { product_tflops: 1.0, ..H200 };
        let slower = Ceilings { product_tflops: 0.5, ..H200 };
        let of = |ceilings| seconds("decoding", &config(), 256, ceilings);
        assert!((of(slower) / of(slow) - 2.0).abs() < 1e-12, "products bound decoding there");
    }

    #[test]
    fn twice_the_tokens_are_twice_the_steps_of_decoding_and_more_to_learn_from() {
        let ratio =
            |stage| seconds(stage, &config(), 512, H200) / seconds(stage, &config(), 256, H200);
        // 511 steps for 255, each with more keys and values: 128 tokens more of 64 rows, 28,672 bytes each, 7% of a step.
        assert!((2.1..2.2).contains(&ratio("decoding")), "{}", ratio("decoding"));
        assert!((1.5..2.2).contains(&ratio("policy")), "{}", ratio("policy"));
        assert!((ratio("prefill") - 1.0).abs() < 1e-12);
        assert!((ratio("optimizer") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn places_for_half_of_the_completions_are_twice_the_steps() {
        let mut config = config();
        let whole = seconds("decoding", &config, 256, H200);
        config.rollout.max_batch = 32;
        let halves = seconds("decoding", &config, 256, H200);
        // Weights are read twice as often; keys, values and logits are the same altogether.
        assert!((1.7..2.0).contains(&(halves / whole)), "{}", halves / whole);
    }

    #[test]
    fn checkpointing_changes_the_policy_and_offloading_the_optimizer() {
        let of = |stage, change: &dyn Fn(&mut RunConfig)| {
            let mut config = config();
            change(&mut config);
            seconds(stage, &config, 256, H200)
        };
        let policy = |choice| {
            of("policy", &|config: &mut RunConfig| config.model.activation_checkpointing = choice)
        };
        let [none, mlp, full] =
            [CheckpointingChoice::None, CheckpointingChoice::Mlp, CheckpointingChoice::Full]
                .map(policy);
        assert!(none * 1.1 < mlp && mlp * 1.03 < full, "{none}, {mlp}, {full}");
        let frozen = of("policy", &|config: &mut RunConfig| config.model.freeze_vision = true);
        assert!(frozen < 0.95 * mlp, "{frozen}, {mlp}");
        let optimizer =
            |offload| of("optimizer", &|config: &mut RunConfig| config.optim.offload = offload);
        assert!(optimizer(true) > 20.0 * optimizer(false));
    }

    /// A batch of rollouts of two mini-batches serves four updates.
    #[test]
    fn updates_share_their_batch_of_rollouts_and_pay_for_the_old_policy() {
        let mut config = config();
        config.rollout.max_batch = 64;
        let model = papers_model();
        let work = groups_of_8(8, 356, 256);
        let named = |config: &RunConfig| -> Vec<(&str, f64)> {
            let stages = stages(config, &model, &work, H200);
            stages.iter().map(|stage| (stage.name, stage.seconds)).collect()
        };
        let once = named(&config);
        (config.grpo.mini_batches, config.grpo.updates_per_rollout) = (2, 4);
        let shared = named(&config);
        let names: Vec<&str> = shared.iter().map(|stage| stage.0).collect();
        let expected = ["prefill", "decoding", "reference", "old policy", "policy", "optimizer"];
        assert_eq!(names, expected);
        for (i, j, part) in [(0, 0, 0.5), (1, 1, 0.5), (2, 2, 0.5), (3, 4, 1.0), (4, 5, 1.0)] {
            assert!((shared[j].1 / once[i].1 - part).abs() < 1e-12, "{}", once[i].0);
        }
        config.kl.schedule = KlScheduleKind::Zero;
        config.rollout.replay = Some("completions.jsonl".into());
        assert_eq!(named(&config).iter().map(|of| of.0).collect::<Vec<_>>(), expected[3..]);
        config.method = Method::Sft;
        assert_eq!(named(&config).iter().map(|of| of.0).collect::<Vec<_>>(), expected[4..]);
    }
}
