//! Losses, gradients and optimiser steps against transformers and torch.
//! Not here: the forward pass alone (`parity`), the objective on given numbers (`grpo`).
//! Longer than most because all of it compares with one recorded batch.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use othink::grpo::objective::{ClipRange, Normalizer, ObjectiveSettings, RatioLevel};
use othink::model::Model;
use othink::model::open::open;
use othink::model::parameters::{ParameterGroup, Trained};
use othink::model::stages::Checkpointing;
use othink::optim::adamw::AdamWSettings;
use othink::optim::lr_schedule::{Decay, LrSchedule};
use othink::processor::Prompt;
use othink::train::accumulate::{
    Anchors, LossSettings, ObjectiveSums, ScoringSettings, TrainedCompletion, TrainedGroup,
    accumulate, count, token_logps,
};
use othink::train::ranks::Solo;
use othink::train::step::{Optimizer, OptimizerSettings, Stepped};
use othink::train::supervised::{SupervisedSums, Taught, accumulate_supervised};
use serde_json::Value;

use crate::golden::{
    Golden, assert_number, assert_parity, device, ids, model, numbers, relative_difference,
};

/// The recorded GRPO batch: 2 prompts with 4 completions each.
pub(crate) struct Batch {
    prompts: Vec<Prompt>,
    completions: Vec<Vec<u32>>,
    advantages: Vec<f64>,
}

impl Batch {
    pub(crate) fn load(golden: &Golden) -> Self {
        let grpo = &golden.index["grpo"];
        let prompts = ["one", "two"].map(|name| golden.prompt(name)).to_vec();
        let rows = grpo["completion_ids"].as_array().unwrap();
        let masks = grpo["completion_mask"].as_array().unwrap();
        let completions = rows.iter().zip(masks).map(|(row, mask)| {
            let length = ids(mask).iter().filter(|&&m| m == 1).count();
            ids(row)[..length].to_vec()
        });
        let advantages = grpo["advantages"].as_array().unwrap();
        Self {
            prompts,
            completions: completions.collect(),
            advantages: advantages.iter().map(|a| a.as_f64().unwrap()).collect(),
        }
    }

    pub(crate) fn groups(&self) -> Vec<TrainedGroup<'_>> {
        self.prompts
            .iter()
            .enumerate()
            .map(|(g, prompt)| {
                let completions = (4 * g..4 * g + 4).map(|i| TrainedCompletion {
                    token_ids: &self.completions[i],
                    sampled_logps: &[],
                    advantage: self.advantages[i],
                    is_masked: false,
                });
                TrainedGroup { prompt, completions: completions.collect() }
            })
            .collect()
    }

    /// Every completion with a prompt of its own: nothing is shared.
    fn separate_groups(&self) -> Vec<TrainedGroup<'_>> {
        self.groups()
            .into_iter()
            .flat_map(|group| {
                let prompt = group.prompt;
                let alone = move |c| TrainedGroup { prompt, completions: vec![c] };
                group.completions.into_iter().map(alone).collect::<Vec<_>>()
            })
            .collect()
    }

    /// A recorded `[8, longest]` tensor as one packed `[N]` tensor.
    fn packed(&self, tensor: &Tensor) -> Tensor {
        let rows: Vec<Tensor> = self
            .completions
            .iter()
            .enumerate()
            .map(|(i, c)| tensor.get(i).unwrap().narrow(0, 0, c.len()).unwrap())
            .collect();
        Tensor::cat(&rows, 0).unwrap()
    }
}

pub(crate) const SCORING: ScoringSettings = ScoringSettings {
    temperature: 1.0,
    tokens_per_micro_batch: 10_000,
    checkpointing: Checkpointing::None,
};

pub(crate) const OBJECTIVE: ObjectiveSettings = ObjectiveSettings {
    ratio_level: RatioLevel::Token,
    normalizer: Normalizer::CompletionMean,
    clip_range: ClipRange { low: 0.2, high: 0.2 },
    log_ratio_limit: 20.0,
};

fn gradients(model: &Model) -> BTreeMap<String, Tensor> {
    let all = model.parameters().trained();
    all.map(|p| {
        (p.name().to_owned(), p.take_gradient().unwrap().unwrap_or_else(|| panic!("{}", p.name())))
    })
    .collect()
}

fn norm(x: &Tensor) -> f64 {
    let x = x.to_dtype(DType::F64).unwrap();
    x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

/// Every parameter's gradient norm, and the recorded gradients element by element.
fn assert_gradients(
    golden: &Golden,
    recorded: &Value,
    ours: &BTreeMap<String, Tensor>,
    what: &str,
) {
    let norms = numbers(&recorded["grad_norms"]);
    assert_eq!(norms.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    let largest = norms.values().fold(0.0f64, |m, &x| m.max(x));
    for (name, expected) in &norms {
        let got = norm(&ours[name]);
        // A key's bias shifts all scores of a query alike: its gradient is zero but for rounding.
        let error = (got - expected).abs() / expected.max(1e-4 * largest);
        assert!(error < 1e-4, "{what}: gradient norm of {name} is {got}, expected {expected}");
    }
    for (name, tensor) in recorded["grads"].as_object().unwrap() {
        assert_parity(&ours[name], golden.tensor(tensor), &format!("{what}: gradient of {name}"));
    }
}

#[test]
fn log_probabilities_of_policy_and_reference_equal_transformers() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    for (name, key) in [("policy", "policy_logps"), ("ref", "ref_logps")] {
        let logp = token_logps(&model(name), &batch.groups(), SCORING).unwrap();
        let theirs = batch.packed(golden.tensor(&golden.index["grpo"][key]));
        assert_parity(&Tensor::cat(&logp, 0).unwrap(), &theirs, name);
    }
}

fn run_objective(
    golden: &Golden,
    batch: &Batch,
    model: &Model,
    (is_off, beta): (bool, f64),
    scoring: ScoringSettings,
    groups: &[TrainedGroup],
) -> ObjectiveSums {
    let grpo = &golden.index["grpo"];
    let cut = |tensor: Tensor| -> Vec<Tensor> {
        let tensor = tensor.to_device(&device()).unwrap();
        // Anchors come micro-batch by micro-batch, as scoring gives them.
        let lens: Vec<usize> =
            token_logps(model, groups, scoring).unwrap().iter().map(Tensor::elem_count).collect();
        let mut start = 0;
        lens.iter()
            .map(|&n| {
                start += n;
                tensor.narrow(0, start - n, n).unwrap()
            })
            .collect()
    };
    let old = cut(batch.packed(golden.tensor(&grpo["old_logps_off"])));
    let reference = cut(batch.packed(golden.tensor(&grpo["ref_logps"])));
    let anchors = Anchors {
        old: is_off.then_some(old.as_slice()),
        reference: (beta > 0.0).then_some(reference.as_slice()),
    };
    let totals = count(groups, &Solo).unwrap();
    let loss = LossSettings { scoring, objective: OBJECTIVE, beta, dropout: None };
    accumulate(model, groups, anchors, totals, &loss).unwrap().unwrap()
}

#[test]
fn anchors_that_do_not_fit_are_refused() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let (model, groups) = (model("policy"), batch.groups());
    let fitting = token_logps(&model, &groups, SCORING).unwrap();
    let totals = count(&groups, &Solo).unwrap();
    assert_eq!((totals.n_completions, totals.n_tokens), (8, fitting[0].elem_count()));
    let loss = LossSettings { scoring: SCORING, objective: OBJECTIVE, beta: 0.04, dropout: None };
    let short = [fitting[0].narrow(0, 1, fitting[0].elem_count() - 1).unwrap()];
    for (wrong, expected) in
        [(&[][..], "0 reference log-probabilities for 1"), (&short[..], "k3: ")]
    {
        let anchors = Anchors { old: None, reference: Some(wrong) };
        let error = accumulate(&model, &groups, anchors, totals, &loss).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let anchors = Anchors { old: Some(wrong), reference: None };
        assert!(accumulate(&model, &groups, anchors, totals, &loss).is_err());
    }
}

#[test]
fn loss_and_every_gradient_of_grpo_equal_transformers() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    for (name, recorded) in golden.index["grpo"]["variants"].as_object().unwrap() {
        let beta = recorded["beta"].as_f64().unwrap();
        let case = (name.starts_with("off"), beta);
        let model = model("policy");
        let sums = run_objective(&golden, &batch, &model, case, SCORING, &batch.groups());
        let loss = recorded["loss"].as_f64().unwrap();
        assert!((sums.loss - loss).abs() < 1e-5, "{name}: loss {} expected {loss}", sums.loss);
        if beta > 0.0 {
            assert_number(sums.kl, recorded["mean_kl"].as_f64().unwrap(), "kl");
        }
        let clipped = sums.n_clipped / sums.n_tokens;
        assert!((clipped - recorded["clip_fraction"].as_f64().unwrap()).abs() < 1e-6, "{name}");
        assert_gradients(&golden, recorded, &gradients(&model), name);
    }
}

#[test]
fn gradients_do_not_depend_on_sharing_checkpointing_or_micro_batches() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let run = |scoring, groups: &[TrainedGroup]| {
        let model = model("policy");
        run_objective(&golden, &batch, &model, (true, 0.04), scoring, groups);
        gradients(&model)
    };
    let shared = run(SCORING, &batch.groups());
    let compare = |others: &BTreeMap<String, Tensor>, tolerance: f64, what: &str| {
        let largest = shared.values().map(norm).fold(0.0, f64::max);
        for (name, gradient) in &shared {
            let difference = relative_difference(&others[name], gradient);
            let is_zero = norm(gradient) < 1e-5 * largest;
            assert!(difference <= tolerance || is_zero, "{what}: {name} differs by {difference:e}");
        }
    };
    for checkpointing in [Checkpointing::Mlp, Checkpointing::Full] {
        let again = ScoringSettings { checkpointing, ..SCORING };
        compare(&run(again, &batch.groups()), 0.0, &format!("{checkpointing:?}"));
    }
    // cuBLAS chooses its kernels by shape, and each rounds in its own way.
    let rounding = if device().is_cpu() { 1e-5 } else { 3e-5 };
    compare(&run(SCORING, &batch.separate_groups()), rounding, "separate sequences");
    let small = ScoringSettings { tokens_per_micro_batch: 120, ..SCORING };
    compare(&run(small, &batch.groups()), rounding, "small micro-batches");
}

/// In f32 through the CPU's kernels, in bf16 through the plain compositions.
#[test]
fn activation_checkpointing_changes_no_bit_of_a_gradient() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let files = crate::golden::files("policy");
    for dtype in [DType::F32, DType::BF16] {
        let run = |checkpointing| {
            let model = open(&files, dtype, &device(), Trained::All).unwrap();
            let scoring = ScoringSettings { checkpointing, ..SCORING };
            run_objective(&golden, &batch, &model, (false, 0.0), scoring, &batch.groups());
            gradients(&model)
        };
        let bits = |gradient: &Tensor| -> Vec<u32> {
            let flat = gradient.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            flat.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        let kept = run(Checkpointing::None);
        for checkpointing in [Checkpointing::Mlp, Checkpointing::Full] {
            let recomputed = run(checkpointing);
            for (name, gradient) in &kept {
                let again = &recomputed[name];
                assert!(bits(gradient) == bits(again), "{dtype:?}, {checkpointing:?}: {name}");
            }
        }
    }
}

#[test]
fn a_frozen_vision_tower_gets_no_gradient_and_changes_no_other() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let files = crate::golden::files("policy");
    let is_language = |name: &str| !name.starts_with("visual.");
    let trained = Trained::Frozen(&[ParameterGroup::Vision]);
    let frozen = open(&files, DType::F32, &device(), trained).unwrap();
    run_objective(&golden, &batch, &frozen, (true, 0.04), SCORING, &batch.groups());
    let frozen = gradients(&frozen);
    assert!(frozen.keys().all(|name| is_language(name)));
    let recorded = &golden.index["grpo"]["variants"]["off_beta0.04"]["grad_norms"];
    for (name, expected) in numbers(recorded).iter().filter(|(name, _)| is_language(name)) {
        if *expected > 1e-2 {
            assert_number(norm(&frozen[name]), *expected, name);
        }
    }
}

/// bf16 has no kernels of our own on the CPU: every operation goes through its plain composition, as on
/// a device that has none either.
#[test]
fn bf16_through_plain_compositions_stays_near_f32() {
    let golden = Golden::open();
    let batch = Batch::load(&golden);
    let run = |dtype| {
        let files = crate::golden::files("policy");
        let model = open(&files, dtype, &device(), Trained::All).unwrap();
        let case = (false, 0.0);
        let loss = run_objective(&golden, &batch, &model, case, SCORING, &batch.groups()).loss;
        (loss, gradients(&model))
    };
    let ((exact_loss, exact), (loss, coarse)) = (run(DType::F32), run(DType::BF16));
    assert!((loss - exact_loss).abs() < 1e-2, "loss {loss}, expected {exact_loss}");
    let largest = exact.values().map(norm).fold(0.0, f64::max);
    for (name, gradient) in exact.iter().filter(|(_, g)| norm(g) > 1e-2 * largest) {
        let coarse = coarse[name].to_dtype(DType::F32).unwrap();
        let difference = norm(&(coarse - gradient).unwrap()) / norm(gradient);
        // bf16 keeps 8 bits, 4e-3 a rounding, and a gradient passes through some hundred of them.
        assert!(difference < 0.1, "{name} differs by {difference:e}");
    }
}

/// The recorded supervised batch: prompts and the answers' tokens.
fn supervised_batch(golden: &Golden) -> (Vec<Prompt>, Vec<Vec<u32>>) {
    let sft = &golden.index["sft"];
    let rows = sft["input_ids"].as_array().unwrap();
    let labels = sft["variants"]["assistant_only"]["labels"].as_array().unwrap();
    let members = sft["members"].as_array().unwrap();
    let prompts: Vec<Prompt> = members.iter().map(|m| golden.prompt(m.as_str().unwrap())).collect();
    let answers = rows.iter().zip(labels).zip(&prompts).map(|((row, labels), prompt)| {
        let n = labels.as_array().unwrap().iter().filter(|l| l.as_i64() != Some(-100)).count();
        let start = prompt.input_ids.len();
        ids(row)[start..start + n].to_vec()
    });
    let answers = answers.collect();
    (prompts, answers)
}

fn supervised_groups<'a>(prompts: &'a [Prompt], answers: &'a [Vec<u32>]) -> Vec<TrainedGroup<'a>> {
    let group = |(prompt, answer): (&'a Prompt, &'a Vec<u32>)| TrainedGroup {
        prompt,
        completions: vec![TrainedCompletion {
            token_ids: answer,
            sampled_logps: &[],
            advantage: 0.0,
            is_masked: false,
        }],
    };
    prompts.iter().zip(answers).map(group).collect()
}

fn teach(model: &Model, groups: &[TrainedGroup], taught: Taught) -> SupervisedSums {
    accumulate_supervised(model, groups, taught, (SCORING, None), &Solo).unwrap()
}

/// On the answers alone, and as R1-V's script does on everything that is no image token.
#[test]
fn loss_and_every_gradient_of_sft_equal_transformers() {
    let golden = Golden::open();
    let (prompts, answers) = supervised_batch(&golden);
    for (variant, taught) in
        [("assistant_only", Taught::Completion), ("r1v_labels", Taught::PromptAndCompletion)]
    {
        let recorded = &golden.index["sft"]["variants"][variant];
        let model = model("policy");
        let groups = supervised_groups(&prompts, &answers);
        let sums = teach(&model, &groups, taught);
        assert_eq!(Some(sums.n_tokens), recorded["target_tokens"].as_f64());
        assert_number(sums.loss, recorded["loss"].as_f64().unwrap(), variant);
        assert_gradients(&golden, recorded, &gradients(&model), variant);
    }
}

#[test]
fn three_adamw_steps_equal_torch() {
    let golden = Golden::open();
    let (prompts, answers) = supervised_batch(&golden);
    let supervised = supervised_groups(&prompts, &answers);
    let batch = Batch::load(&golden);
    for (key, recorded) in golden.index["adamw"]["runs"].as_object().unwrap() {
        let model = model("policy");
        let settings = OptimizerSettings {
            adamw: AdamWSettings { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 },
            schedule: LrSchedule {
                decay: Decay::Constant,
                base_lr: recorded["lr"].as_f64().unwrap(),
                warmup_updates: 0,
                total_updates: 3,
            },
            clip_norm: 1.0,
            decay_vectors: key.ends_with("decay=all"),
            rounds_weights: false,
            seed: 0,
            offload: false,
        };
        let loss = |model: &Model| {
            if key.starts_with("sft") {
                teach(model, &supervised, Taught::Completion).loss
            } else {
                run_objective(&golden, &batch, model, (true, 0.04), SCORING, &batch.groups()).loss
            }
        };
        let mut optimizer = Optimizer::new(settings, model.parameters()).unwrap();
        for step in 0..3 {
            let ours = loss(&model);
            let theirs = recorded["losses"][step].as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-4 * theirs.abs().max(0.1),
                "{key} step {step}: {ours} {theirs}"
            );
            let Stepped::Done(report) =
                optimizer.step(model.parameters(), step as u64, &Solo).unwrap()
            else {
                panic!("gradients are not finite")
            };
            let expected = recorded["grad_norms_before_clip"][step].as_f64().unwrap();
            assert!(
                (report.grad_norm / expected - 1.0).abs() < 1e-3,
                "{key}: {}",
                report.grad_norm
            );
        }
        for (name, expected) in numbers(&recorded["param_norms"]) {
            assert_number(norm(model.parameters().get(&name).unwrap().value()), expected, &name);
        }
        for (name, tensor) in recorded["params"].as_object().unwrap() {
            let ours = model.parameters().get(name).unwrap();
            assert_parity(ours.value(), golden.tensor(tensor), &format!("{key}: {name}"));
        }
        let after = recorded["loss_after"].as_f64().unwrap();
        assert!((loss(&model) - after).abs() < 1e-4 * after.abs().max(0.1), "{key} after");
    }
}
