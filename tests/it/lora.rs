//! LoRA against peft: log-probabilities, gradients of the factors, steps of AdamW, merged weights, files.
//! Not here: the operation itself (`othink_ops`), which maps a target means (`model::lora`), runs with it (`lora_runs`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use othink::grpo::objective::{ClipRange, Normalizer, ObjectiveSettings, RatioLevel};
use othink::model::Model;
use othink::model::adapter::{self, AdapterSettings};
use othink::model::files::ModelFiles;
use othink::model::lora::{Lora, UpdateDropout};
use othink::model::open::{open, open_with_factors};
use othink::model::parameters::{ParameterGroup, Trained};
use othink::model::save::SideFiles;
use othink::model::source;
use othink::model::stages::Checkpointing;
use othink::optim::adamw::{AdamW, AdamWSettings, Update, Weights};
use othink::optim::memory::Memory;
use othink::processor::Processor;
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};
use othink::train::accumulate::{
    Anchors, LossSettings, ScoringSettings, TrainedCompletion, TrainedGroup, accumulate, count,
};
use othink::train::ranks::Solo;
use othink::train::supervised::{Taught, accumulate_supervised};
use serde_json::Value;

use crate::decoded_tokens::prompts;
use crate::families::{Checkpoint, Scored, assert_gradients};
use crate::golden::{TOLERANCE, assert_parity, device, relative_difference};

/// An adapter that peft wrote, over its checkpoint, with golden values.
struct Adapter {
    name: &'static str,
    checkpoint: Checkpoint,
    folder: PathBuf,
    index: Value,
    tensors: std::collections::HashMap<String, Tensor>,
    lora: Lora,
}

fn adapters() -> [Adapter; 2] {
    let all = |rank, alpha, rslora, vision| Lora {
        rank,
        alpha,
        rslora,
        targets: None,
        vision,
        dropout: 0.0,
    };
    [
        ("qwen2_5_vl", "qwen2_5_vl/tied", all(4, 6.0, false, false)),
        ("qwen3_vl", "qwen3_vl/untied", all(3, 5.0, true, true)),
    ]
    .map(|(name, checkpoint, lora)| {
        let folder = Path::new("tests/golden/lora").join(name);
        let index = std::fs::read(folder.join("golden.json")).unwrap();
        let golden = folder.join("golden.safetensors");
        let tensors = candle_core::safetensors::load(golden, &device()).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["checkpoint"], checkpoint);
        Adapter { name, checkpoint: Checkpoint::of(checkpoint), folder, index, tensors, lora }
    })
}

impl Adapter {
    fn files(&self) -> ModelFiles {
        ModelFiles::adapter(self.folder.clone(), self.checkpoint.files())
    }

    fn trained(&self, dtype: DType) -> Model {
        open_with_factors(&self.files(), (dtype, &device()), &self.lora, 0).unwrap()
    }

    /// The golden tensors that the index lists under `key`, by name.
    fn golden(&self, key: &str) -> BTreeMap<String, Tensor> {
        let listed = self.index[key].as_object().unwrap();
        let named = listed
            .iter()
            .map(|(name, tensor)| (name.clone(), self.tensors[tensor.as_str().unwrap()].clone()));
        named.collect()
    }

    fn losses(&self) -> Vec<f64> {
        let losses = self.index["losses"].as_array().unwrap();
        losses.iter().map(|loss| loss.as_f64().unwrap()).collect()
    }

    fn scored(&self) -> Scored {
        Scored::of(&self.checkpoint)
    }
}

#[test]
fn log_probabilities_loss_and_gradients_of_factors_equal_those_of_peft() {
    for adapter in adapters() {
        let (model, scored) = (adapter.trained(DType::F32), adapter.scored());
        let (logp, gradients) = scored.learn(&model, &scored.packed(true), Checkpointing::None);
        let names = adapter.index["logp"].as_array().unwrap();
        let theirs: Vec<&Tensor> =
            names.iter().map(|name| &adapter.tensors[name.as_str().unwrap()]).collect();
        assert_parity(&logp, &Tensor::cat(&theirs, 0).unwrap(), adapter.name);
        let loss = scored.loss(&logp);
        assert!((loss - adapter.losses()[0]).abs() < TOLERANCE * adapter.losses()[0].abs());
        assert_gradients(&gradients, &adapter.golden("grads"), TOLERANCE, adapter.name);
    }
}

#[test]
fn three_steps_of_adamw_are_those_of_peft_and_torch() {
    for adapter in adapters() {
        let (model, scored) = (adapter.trained(DType::F32), adapter.scored());
        let parameters = model.parameters();
        let settings = AdamWSettings { weight_decay: 0.1, ..AdamWSettings::default() };
        let moved: Vec<_> = parameters.trained().map(|p| (p.name(), p.value())).collect();
        let mut adamw = AdamW::new(settings, moved, Memory::beside_weights()).unwrap();
        for expected in adapter.losses() {
            let (logp, gradients) = scored.learn(&model, &scored.packed(true), Checkpointing::Full);
            let loss = scored.loss(&logp);
            assert!((loss - expected).abs() < 2e-5 * expected.abs(), "{loss}, not {expected}");
            let updates: Vec<Update> = parameters
                .trained()
                .map(|p| Update {
                    name: p.name(),
                    weights: Weights::Plain(p.value()),
                    grad: &gradients[p.name()],
                    decay: true,
                })
                .collect();
            adamw.step(adapter.index["lr"].as_f64().unwrap(), 1.0, &updates).unwrap();
        }
        for (name, expected) in adapter.golden("after") {
            let difference = relative_difference(parameters.get(&name).unwrap().value(), &expected);
            assert!(difference < 1e-5, "{}: {name} differs by {difference:e}", adapter.name);
        }
    }
}

/// The masks are drawn by another program; what is dropped is named, so a backward pass that computes again drops the same.
#[test]
fn under_dropout_loss_and_gradients_of_factors_equal_those_of_peft() {
    let [adapter, _] = adapters();
    let golden = &adapter.index["dropout"];
    let number = |key: &str| golden[key].as_u64().unwrap();
    let rate = golden["rate"].as_f64().unwrap();
    let dropout = UpdateDropout::new(rate, number("seed"), number("update")).unwrap();
    let model = adapter.trained(DType::F32);
    let dropped = model.with_dropout(dropout, number("pass") as u32).unwrap();
    let scored = adapter.scored();
    let run = |model, checkpointing| scored.learn(model, &scored.packed(false), checkpointing);
    let (logp, gradients) = run(&dropped, Checkpointing::None);
    let (loss, expected) = (scored.loss(&logp), golden["loss"].as_f64().unwrap());
    assert!((loss - expected).abs() < TOLERANCE * expected.abs(), "{loss}, not {expected}");
    let listed = golden["grads"].as_object().unwrap().iter();
    let theirs = listed
        .map(|(name, tensor)| (name.clone(), adapter.tensors[tensor.as_str().unwrap()].clone()));
    let theirs: BTreeMap<String, Tensor> = theirs.collect();
    assert_gradients(&gradients, &theirs, TOLERANCE, "under dropout");
    let (again, of_again) = run(&dropped, Checkpointing::Full);
    assert!(relative_difference(&logp, &again) == 0.0);
    for (name, gradient) in &gradients {
        assert!(relative_difference(gradient, &of_again[name]) == 0.0, "{name}");
    }
    // Nothing is dropped where nothing learns.
    let detached = dropped.detached().unwrap().token_logps(&scored.packed(false), 1.0).unwrap();
    let plain = model.token_logps(&scored.packed(false), 1.0).unwrap();
    assert!(relative_difference(&detached.logp, &plain.logp) == 0.0);
    assert!(relative_difference(&logp, &plain.logp) > 1e-3);
}

/// bf16 on a GPU has kernels of its own; f16 on the CPU, and f32 on a GPU, go through the plain compositions.
#[test]
fn the_same_inputs_are_dropped_on_every_path_and_others_by_another_name() {
    let [adapter, _] = adapters();
    let scored = adapter.scored();
    let dropout = |seed, update| UpdateDropout::new(0.25, seed, update).unwrap();
    let logp = |dtype, (seed, update, pass)| {
        let model = adapter.trained(dtype).with_dropout(dropout(seed, update), pass).unwrap();
        let logp = model.token_logps(&scored.packed(true), 1.0).unwrap().logp;
        logp.to_dtype(DType::F32).unwrap()
    };
    let name = (3, 2, 1);
    let exact = logp(DType::F32, name);
    assert!(relative_difference(&logp(DType::F16, name), &exact) < 1e-2);
    assert!(relative_difference(&logp(DType::BF16, name), &exact) < 5e-2);
    for other in [(4, 2, 1), (3, 3, 1), (3, 2, 0)] {
        assert!(relative_difference(&logp(DType::F32, other), &exact) > 0.1, "{other:?}");
    }
}

/// The same prompt with the same completion twice, in a pass each.
#[test]
fn each_pass_of_an_update_drops_inputs_of_its_own() {
    let [adapter, _] = adapters();
    let (model, scored) = (adapter.trained(DType::F32), adapter.scored());
    let (prompt, token_ids) = (&scored.prompts[0], &scored.completions[0][0]);
    let completion =
        TrainedCompletion { token_ids, sampled_logps: &[], advantage: 1.0, is_masked: false };
    let group = TrainedGroup { prompt, completions: vec![completion] };
    let scoring = ScoringSettings {
        temperature: 1.0,
        tokens_per_micro_batch: 1,
        checkpointing: Checkpointing::None,
    };
    let objective = ObjectiveSettings {
        ratio_level: RatioLevel::Token,
        normalizer: Normalizer::CompletionMean,
        clip_range: ClipRange { low: 0.2, high: 0.2 },
        log_ratio_limit: 20.0,
    };
    let entropies = |groups: &[TrainedGroup], dropout| {
        let settings = LossSettings { scoring, objective, beta: 0.0, dropout };
        let totals = count(groups, &Solo).unwrap();
        let anchors = Anchors { old: None, reference: None };
        let learned = accumulate(&model, groups, anchors, totals, &settings).unwrap().unwrap();
        let settings = (scoring, dropout);
        let taught =
            accumulate_supervised(&model, groups, Taught::Completion, settings, &Solo).unwrap();
        [learned.entropy, taught.entropy]
    };
    for (dropout, is_same) in [(None, true), (UpdateDropout::new(0.25, 3, 2), false)] {
        let once = entropies(std::slice::from_ref(&group), dropout);
        let twice = entropies(&[group.clone(), group.clone()], dropout);
        for (once, twice) in once.iter().zip(twice) {
            assert_eq!((twice - 2.0 * once).abs() < 1e-9 * once, is_same, "{once} {twice}");
        }
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    for adapter in adapters() {
        let model = open(&adapter.files(), DType::F32, &device(), Trained::Nothing).unwrap();
        let merged = model.merged().unwrap();
        assert!(!merged.has_factors());
        let golden = adapter.golden("merged");
        assert!(golden.len() >= 7);
        for (name, expected) in golden {
            let found = merged.parameters().get(&name).unwrap();
            let difference = relative_difference(found.value(), &expected);
            assert!(difference < 1e-6, "{}: {name} differs by {difference:e}", adapter.name);
        }
        let packed = adapter.scored().packed(false);
        let [factors, merged] = [&model, &merged].map(|model| model.logits(&packed).unwrap());
        assert!(relative_difference(&factors, &merged) < 1e-5);
    }
}

#[test]
fn factors_that_are_saved_are_those_that_were_loaded_with_pefts_settings() {
    for adapter in adapters() {
        let model = adapter.trained(DType::F32);
        let saved = tempfile::tempdir().unwrap();
        let settings = AdapterSettings { lora: &adapter.lora, base: "some/base" };
        let side_files = SideFiles::read(&adapter.files()).unwrap();
        adapter::save(saved.path(), &model, &settings, DType::F32, &side_files).unwrap();
        let tensors = |folder: &Path| {
            let path = folder.join("adapter_model.safetensors");
            let loaded = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
            loaded.into_iter().collect::<BTreeMap<String, Tensor>>()
        };
        let (ours, theirs) = (tensors(saved.path()), tensors(&adapter.folder));
        assert_eq!(ours.len(), theirs.len());
        for (name, expected) in &theirs {
            assert!(relative_difference(&ours[name], expected) == 0.0, "{name}");
        }
        let settings = |folder: &Path| -> Value {
            let text = std::fs::read(folder.join("adapter_config.json")).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let (ours, theirs) = (settings(saved.path()), settings(&adapter.folder));
        for (field, value) in ours.as_object().unwrap() {
            if !["base_model_name_or_path", "target_modules"].contains(&field.as_str()) {
                assert_eq!(value, &theirs[field], "{field}");
            }
        }
        // Maps that the tower has under the same names are told apart by the number of their block.
        let targets: Vec<&str> =
            ours["target_modules"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        match adapter.name {
            "qwen2_5_vl" => {
                assert_eq!(targets.len(), 14);
                assert_eq!(targets[0], "layers.0.mlp.down_proj");
            }
            _ => {
                // `proj` alone would mean the tower's convolution, too.
                assert!(targets.contains(&"attn.proj") && !targets.contains(&"proj"));
            }
        }
    }
}

/// Without factors a policy is the model that it began from; nothing of that has a gradient.
#[test]
fn a_policy_without_its_factors_is_the_base_model() {
    for adapter in adapters() {
        let (model, scored) = (adapter.trained(DType::F32), adapter.scored());
        let packed = scored.packed(true);
        let base = adapter.checkpoint.model(DType::F32, Trained::Nothing);
        let [with, without, base] = [&model, &model.without_factors().unwrap(), &base]
            .map(|model| model.token_logps(&packed, 1.0).unwrap().logp);
        assert!(relative_difference(&without, &base) == 0.0);
        assert!(relative_difference(&with, &base) > 1e-2);
        assert!(model.parameters().trained().all(|p| p.name().contains(".lora_")));
        assert_eq!(model.parameters().trains(ParameterGroup::Vision), adapter.lora.vision);
    }
}

/// f16 on the CPU goes through the plain compositions, as f32 on a GPU does; bf16 through a GPU's kernels.
#[test]
fn gradients_of_factors_are_near_those_on_every_path() {
    for adapter in adapters() {
        let scored = adapter.scored();
        let run = |dtype, is_shared| {
            let model = adapter.trained(dtype);
            scored.learn(&model, &scored.packed(is_shared), Checkpointing::None).1
        };
        let exact = run(DType::F32, true);
        assert_gradients(&run(DType::F32, false), &exact, 3e-5, "separate");
        let norm = |x: &Tensor| -> f64 {
            let x = x.to_dtype(DType::F64).unwrap();
            x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
        };
        let whole = |gradients: &BTreeMap<String, Tensor>| {
            gradients.values().map(|gradient| norm(gradient).powi(2)).sum::<f64>().sqrt()
        };
        for (dtype, bound) in [(DType::F16, 3e-2), (DType::BF16, 0.4)] {
            let mut difference = run(dtype, true);
            for (name, gradient) in &mut difference {
                *gradient = (gradient.to_dtype(DType::F32).unwrap() - &exact[name]).unwrap();
            }
            let difference = whole(&difference) / whole(&exact);
            assert!(difference < bound, "{} {dtype:?}: {difference:e}", adapter.name);
        }
    }
}

/// The built-in model with random factors: the shapes have kernels for decoding on a GPU.
fn adapted_tiny(dtype: DType) -> (Model, Processor) {
    let files = source::resolve("tiny").unwrap();
    let base = open(&files, dtype, &device(), Trained::Nothing).unwrap();
    let lora =
        Lora { rank: 4, alpha: 8.0, rslora: false, targets: None, vision: false, dropout: 0.0 };
    let mut factors = lora.fresh(base.config(), (dtype, &device()), 7).unwrap();
    for (place, factors) in (0..).zip(&mut factors) {
        let mut draws = Stream::new(9, Purpose::LowRank, 0, place, 0).draws();
        let values = (0..factors.b.elem_count()).map(|_| 0.05 * draws.normal() as f32).collect();
        let random = Tensor::from_vec::<_, f32>(values, factors.b.shape(), &Device::Cpu).unwrap();
        factors.b = random.to_dtype(dtype).unwrap().to_device(&device()).unwrap();
    }
    let parameters = base.parameters().with_factors(factors, lora.scale(), None).unwrap();
    (Model::new(base.config(), parameters).unwrap(), Processor::load(&files).unwrap())
}

fn sampled(model: &Model, processor: &Processor, max_batch: usize) -> Vec<Vec<u32>> {
    let stop_ids = processor.special().stop_ids.clone();
    let suppressed = Suppressed::new(&processor.never_sampled(model.vocab_size()), &stop_ids, 3);
    let sampler = Sampler::default();
    let settings =
        GenerationSettings { sampler, suppressed, max_new_tokens: 16, stop_ids, max_batch };
    let prompts = prompts(processor, 3);
    let request = |(question, prompt)| Request {
        prompt: Cow::Borrowed(prompt),
        streams: (0..2).map(|i| Stream::new(3, Purpose::Rollout, 0, question, i)).collect(),
    };
    let requests = (0..).zip(&prompts).map(request).collect();
    let sampled = generate(model, requests, &settings, &mut |_| {}).unwrap();
    sampled.into_iter().flatten().map(|completion| completion.token_ids).collect()
}

/// In bf16 on a GPU factors are merged for decoding; elsewhere each row passes through them by itself.
#[test]
fn completions_of_a_model_with_factors_are_those_of_the_merged_model_whatever_decodes_beside_them()
{
    let dtype = if device().is_cpu() { DType::F32 } else { DType::BF16 };
    let (model, processor) = adapted_tiny(dtype);
    let (detached, merged) = (model.detached().unwrap(), model.merged().unwrap());
    let alone = sampled(&detached, &processor, 1);
    for max_batch in [4, 6] {
        assert_eq!(sampled(&detached, &processor, max_batch), alone);
        assert_eq!(sampled(&merged, &processor, max_batch), alone);
    }
    assert_ne!(sampled(&model.without_factors().unwrap(), &processor, 6), alone);
    // A GPU merged the factors where the weights are, and put these back: nothing adds up, and the next factors count alone.
    let weights = |model: &Model| -> Vec<Vec<f32>> {
        let all = model.parameters().in_hub_order().map(|p| p.value().to_dtype(DType::F32));
        all.map(|value| value.unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    assert!(weights(&detached) == weights(&adapted_tiny(dtype).0));
    for (_, factors) in model.parameters().low_ranks() {
        let value = factors.b.value();
        value.slice_set(&value.affine(-1.0, 0.0).unwrap(), 0, 0).unwrap();
    }
    let others = sampled(&detached, &processor, 6);
    assert!(others != alone && others == sampled(&model.merged().unwrap(), &processor, 6));
}
