//! The families that are not Qwen2-VL against transformers: prompts, hidden states, logits, gradients, completions, files.
//! Not here: Qwen2-VL (`parity`, `training_parity`); what is wrong with a configuration (`model::config`).
//! Longer than most because every comparison runs over the same checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use othink::model::Model;
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::packed::{Packed, PackedGroup};
use othink::model::parameters::{ParameterGroup, Trained};
use othink::model::save::{SideFiles, save};
use othink::model::stages::{Checkpointing, Inference};
use othink::processor::Prompt;
use othink::rollout::sampler::Sampler;
use serde_json::Value;

use crate::golden::{Golden, TOLERANCE, assert_parity, device, ids, relative_difference};
use crate::parity::{Recorder, completions_of, pack};

/// A checkpoint with its golden values.
pub(crate) struct Checkpoint {
    pub(crate) name: &'static str,
    folder: PathBuf,
    pub(crate) golden: Golden,
}

const CHECKPOINTS: [&str; 4] =
    ["qwen2_5_vl/tied", "qwen2_5_vl/untied", "qwen3_vl/tied", "qwen3_vl/untied"];

pub(crate) fn checkpoints() -> impl Iterator<Item = Checkpoint> {
    CHECKPOINTS.into_iter().map(Checkpoint::of)
}

impl Checkpoint {
    pub(crate) fn of(name: &'static str) -> Self {
        let root = std::path::absolute("tests/golden/families").unwrap();
        let folder = root.join(name);
        let golden = Golden::of(&folder, &ModelFiles::Folder(folder.clone()), root.join("images"));
        Self { name, folder, golden }
    }

    pub(crate) fn files(&self) -> ModelFiles {
        ModelFiles::Folder(self.folder.clone())
    }

    pub(crate) fn model(&self, dtype: DType, trained: Trained) -> Model {
        open(&self.files(), dtype, &device(), trained).unwrap()
    }

    fn cases(&self) -> impl Iterator<Item = (String, &Value)> {
        let cases = self.golden.index["cases"].as_object().unwrap();
        cases.iter().map(|(case, recorded)| (format!("{} {case}", self.name), recorded))
    }

    fn config(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.join("config.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Blocks of the tower that the decoder's first layers see.
    fn deepstack(&self) -> Vec<u64> {
        let blocks = &self.config()["vision_config"]["deepstack_visual_indexes"];
        let blocks = blocks.as_array().into_iter().flatten();
        blocks.map(|block| block.as_u64().unwrap()).collect()
    }

    fn recorded(&self, name: &Value) -> Tensor {
        self.golden.tensor(name).clone()
    }
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> String {
    let prime = 0x0100_0000_01b3;
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(prime));
    format!("{hash:016x}")
}

#[test]
fn prompts_of_every_family_equal_those_of_transformers() {
    for checkpoint in checkpoints() {
        for (name, case) in checkpoint.cases() {
            let prompt = checkpoint.golden.encode(case);
            assert_eq!(prompt.text, case["chat_text"].as_str().unwrap(), "{name}");
            assert_eq!(prompt.input_ids, ids(&case["input_ids"]), "{name}");
            let grids: Vec<_> = prompt.images.iter().map(|image| image.grid_thw).collect();
            assert_eq!(serde_json::to_value(grids).unwrap(), case["grids"], "{name}");
            let positions = checkpoint.recorded(&case["positions"]).to_vec2::<i32>().unwrap();
            for (axis, expected) in positions.iter().enumerate() {
                let ours = prompt.positions.iter().map(|position| position[axis] as i32);
                assert!(ours.eq(expected.iter().copied()), "{name}: positions, axis {axis}");
            }
            let delta = i64::from(prompt.next_position) - prompt.input_ids.len() as i64;
            assert_eq!(Some(delta), case["rope_delta"].as_i64(), "{name}");
            let pixels: Vec<f32> =
                prompt.images.iter().flat_map(|image| image.pixel_values.clone()).collect();
            if let Some(hash) = case["pixel_values_fnv1a"].as_str() {
                let row = checkpoint.recorded(&case["pixel_row"]).to_vec1::<f32>().unwrap();
                assert_eq!(pixels[pixels.len() - row.len()..], row, "{name}: the last patch");
                assert_eq!(fnv1a(pixels.iter().flat_map(|x| x.to_le_bytes())), hash, "{name}");
            }
        }
    }
}

/// Blocks of the tower in the order of their windows, features, and every layer of the decoder.
#[test]
fn every_hidden_state_of_every_family_equals_transformers() {
    for checkpoint in checkpoints() {
        let model = checkpoint.model(DType::F32, Trained::All);
        let case = &checkpoint.golden.index["cases"]["two"];
        let expect = |name: &str, ours: &Tensor| {
            let theirs = checkpoint.recorded(&case["hidden"][name]);
            assert_parity(ours, &theirs, &format!("{} {name}", checkpoint.name));
        };
        let packed = pack(&[&checkpoint.golden.encode(case)]);
        let mut vision = Recorder::default();
        let images = model.embed_images(&mut vision, &packed).unwrap().unwrap();
        // The patches; of each block the half that is not recorded and the one that is, and what the decoder sees of it.
        let mut stages = vision.0.iter().skip(1);
        let deepstack = checkpoint.deepstack();
        for i in 0..checkpoint.config()["vision_config"]["depth"].as_u64().unwrap() {
            expect(&format!("vis_block{i}"), stages.nth(1).unwrap());
            if let Some(nth) = deepstack.iter().position(|&block| block == i) {
                expect(&format!("deepstack{nth}"), stages.next().unwrap());
                assert_eq!(images.deepstack[nth].id(), vision.0[2 * i as usize + 3 + nth].id());
            }
        }
        assert_eq!(stages.count(), 1, "the merger is last");
        assert_eq!(images.deepstack.len(), deepstack.len());
        let embeds = model.embed_tokens(&packed, Some(&images)).unwrap();
        let mut language = Recorder::default();
        let last =
            model.decoder_layers(&mut language, &packed, &embeds, &images.deepstack).unwrap();
        let mut stages = language.0.iter();
        for i in 0.. {
            let Some(layer) = stages.nth(1) else { break };
            // What transformers records of a layer is without the features that are added behind it.
            expect(&format!("layer{i}"), layer);
            if i < deepstack.len() {
                stages.next();
            }
        }
        expect("norm", &model.normalize(&last).unwrap());
    }
}

#[test]
fn features_and_logits_of_every_family_equal_transformers() {
    for checkpoint in checkpoints() {
        let model = checkpoint.model(DType::F32, Trained::All);
        for (name, case) in checkpoint.cases() {
            let packed = pack(&[&checkpoint.golden.encode(case)]);
            if !packed.grids.is_empty() {
                let images = model.embed_images(&mut Inference, &packed).unwrap().unwrap();
                assert_parity(&images.embeddings, &checkpoint.recorded(&case["merged"]), &name);
            }
            let logits = model.logits(&packed).unwrap();
            let last2 = logits.narrow(0, packed.len() - 2, 2).unwrap();
            assert_parity(&last2, &checkpoint.recorded(&case["logits_last2"]), &name);
            let logsumexp = logits.log_sum_exp(1).unwrap();
            assert_parity(&logsumexp, &checkpoint.recorded(&case["logsumexp"]), &name);
        }
    }
}

/// The recorded completions, each with the weight of its tokens in the loss.
pub(crate) struct Scored {
    pub(crate) prompts: Vec<Prompt>,
    /// Of each prompt.
    pub(crate) completions: Vec<Vec<Vec<u32>>>,
    /// `[N]`, of all tokens.
    weights: Vec<f32>,
    /// `[N]`, transformers' log-probabilities.
    logps: Tensor,
}

impl Scored {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let index = &checkpoint.golden.index;
        let (mut prompts, mut completions) = (Vec::new(), Vec::new());
        let (mut weights, mut logps) = (Vec::new(), Vec::new());
        for group in index["scored"]["groups"].as_array().unwrap() {
            prompts.push(checkpoint.golden.prompt(group["prompt"].as_str().unwrap()));
            let recorded = group["completions"].as_array().unwrap();
            let advantages = group["advantages"].as_array().unwrap();
            for (completion, advantage) in recorded.iter().zip(advantages) {
                logps.push(checkpoint.recorded(&completion["logp"]));
                let n = ids(&completion["ids"]).len();
                let weight = -advantage.as_f64().unwrap() / n as f64;
                weights.extend(std::iter::repeat_n(weight as f32, n));
            }
            completions.push(recorded.iter().map(|c| ids(&c["ids"])).collect());
        }
        Self { prompts, completions, weights, logps: Tensor::cat(&logps, 0).unwrap() }
    }

    /// Every prompt once for all of its completions, or once for each.
    pub(crate) fn packed(&self, is_shared: bool) -> Packed {
        let mut groups = Vec::new();
        for (prompt, completions) in self.prompts.iter().zip(&self.completions) {
            let completions: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
            let size = if is_shared { completions.len() } else { 1 };
            let shares = completions.chunks(size);
            groups.extend(shares.map(|of| PackedGroup { prompt, completions: of.to_vec() }));
        }
        Packed::new(&groups).unwrap()
    }

    /// The loss of these log-probabilities.
    pub(crate) fn loss(&self, logp: &Tensor) -> f64 {
        let logp = logp.to_device(&Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
        let loss: f32 = logp.iter().zip(&self.weights).map(|(logp, weight)| logp * weight).sum();
        f64::from(loss)
    }

    /// Log-probabilities, and the loss's gradients of all trained parameters.
    pub(crate) fn learn(
        &self,
        model: &Model,
        packed: &Packed,
        checkpointing: Checkpointing,
    ) -> (Tensor, BTreeMap<String, Tensor>) {
        let (scored, backward) = model.token_logps_taped(packed, 1.0, checkpointing).unwrap();
        let weights = Tensor::new(self.weights.as_slice(), model.device()).unwrap();
        backward.run(&weights).unwrap();
        let gradients = model.parameters().trained().map(|p| {
            let gradient = p.take_gradient().unwrap();
            (p.name().to_owned(), gradient.unwrap_or_else(|| panic!("{} has none", p.name())))
        });
        (scored.logp, gradients.collect())
    }
}

fn largest(x: &Tensor) -> f64 {
    let largest = x.abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap();
    largest.to_scalar().unwrap()
}

/// Within the tolerance, relative to a tensor's largest element; where that is next to nothing, to the largest of all.
pub(crate) fn assert_gradients(
    ours: &BTreeMap<String, Tensor>,
    theirs: &BTreeMap<String, Tensor>,
    tolerance: f64,
    what: &str,
) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    let scale = theirs.values().map(largest).fold(0.0, f64::max);
    for (name, expected) in theirs {
        let own = largest(expected);
        let difference = relative_difference(&ours[name], expected) * own.max(1e-12);
        let difference = difference / own.max(1e-3 * scale);
        assert!(difference < tolerance, "{what}: {name} differs by {difference:e}");
    }
}

#[test]
fn log_probabilities_loss_and_every_gradient_of_every_family_equal_transformers() {
    for checkpoint in checkpoints() {
        let scored = Scored::of(&checkpoint);
        let model = checkpoint.model(DType::F32, Trained::All);
        let (logp, gradients) = scored.learn(&model, &scored.packed(true), Checkpointing::None);
        assert_parity(&logp, &scored.logps, checkpoint.name);
        let loss = scored.loss(&logp);
        let expected = checkpoint.golden.index["scored"]["loss"].as_f64().unwrap();
        assert!((loss - expected).abs() < TOLERANCE * expected.abs().max(1.0));
        let recorded = checkpoint.golden.index["scored"]["grads"].as_object().unwrap();
        let theirs =
            recorded.iter().map(|(name, tensor)| (name.clone(), checkpoint.recorded(tensor)));
        let ours = gradients.into_iter().map(|(name, gradient)| {
            let shape = gradient.shape().clone();
            (name, gradient.to_device(&Device::Cpu).unwrap().reshape(shape).unwrap())
        });
        assert_gradients(&ours.collect(), &theirs.collect(), TOLERANCE, checkpoint.name);
    }
}

/// What a completion and the gradients are does not depend on sharing the prompt or on what is kept for the backward pass.
#[test]
fn gradients_of_every_family_do_not_depend_on_sharing_or_checkpointing() {
    for checkpoint in checkpoints() {
        let scored = Scored::of(&checkpoint);
        let run = |is_shared, checkpointing| {
            let model = checkpoint.model(DType::F32, Trained::All);
            scored.learn(&model, &scored.packed(is_shared), checkpointing).1
        };
        let shared = run(true, Checkpointing::None);
        let separate = run(false, Checkpointing::None);
        assert_gradients(&separate, &shared, 3e-5, &format!("{}: separate", checkpoint.name));
        for checkpointing in [Checkpointing::Mlp, Checkpointing::Full] {
            let again = run(true, checkpointing);
            for (name, gradient) in &shared {
                let difference = relative_difference(&again[name], gradient);
                assert!(difference == 0.0, "{}, {checkpointing:?}: {name}", checkpoint.name);
            }
        }
    }
}

/// The decoder's gradients are what they are with the tower trained; the tower gets none.
#[test]
fn a_frozen_tower_of_every_family_gets_no_gradient_and_changes_no_other() {
    for checkpoint in checkpoints() {
        let scored = Scored::of(&checkpoint);
        let run = |trained| {
            let model = checkpoint.model(DType::F32, trained);
            scored.learn(&model, &scored.packed(true), Checkpointing::None).1
        };
        let frozen = run(Trained::Frozen(&[ParameterGroup::Vision]));
        let mut all = run(Trained::All);
        all.retain(|name, _| !name.starts_with("visual."));
        assert_gradients(&frozen, &all, 1e-9, checkpoint.name);
    }
}

fn norm(x: &Tensor) -> f64 {
    let x = x.to_dtype(DType::F64).unwrap();
    x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
}

/// 16-bit floats on the CPU go through the plain compositions, as f32 on a GPU does; bf16 on a GPU through its kernels. Bounds
/// are in roundings of the dtype: a log-probability may be some ten away, a gradient as a whole some seventy, and that of one
/// parameter, which passes through some hundred of them, a hundred.
#[test]
fn sixteen_bits_of_every_family_stay_near_the_kernels() {
    for checkpoint in checkpoints() {
        let scored = Scored::of(&checkpoint);
        let run = |dtype| {
            let model = checkpoint.model(dtype, Trained::All);
            scored.learn(&model, &scored.packed(true), Checkpointing::None)
        };
        let (exact_logp, exact) = run(DType::F32);
        let total = |squares: &[f64]| squares.iter().sum::<f64>().sqrt();
        let norms: BTreeMap<&String, f64> = exact.iter().map(|(name, g)| (name, norm(g))).collect();
        let scale = norms.values().copied().fold(0.0, f64::max);
        for (dtype, bits) in [(DType::F16, 11), (DType::BF16, 8)] {
            let what = format!("{}, {}", checkpoint.name, dtype.as_str());
            let rounding = 0.5_f64.powi(bits);
            let (logp, coarse) = run(dtype);
            let difference = relative_difference(&logp, &exact_logp) / rounding;
            assert!(difference < 10.0, "{what}: {difference} roundings");
            let mut squares = Vec::new();
            for (name, gradient) in &exact {
                let coarse = coarse[name].to_dtype(DType::F32).unwrap();
                let difference = norm(&(coarse - gradient).unwrap());
                squares.push(difference.powi(2));
                if norms[name] > 1e-2 * scale {
                    let difference = difference / norms[name] / rounding;
                    assert!(difference < 100.0, "{what}: {name}, {difference} roundings");
                }
            }
            let whole = total(&norms.values().map(|norm| norm.powi(2)).collect::<Vec<_>>());
            let difference = total(&squares) / whole / rounding;
            assert!(difference < 70.0, "{what}: {difference} roundings of the whole gradient");
        }
    }
}

#[test]
fn greedy_completions_of_every_family_equal_transformers_whatever_decodes_beside_them() {
    for checkpoint in checkpoints() {
        let model = checkpoint.model(DType::F32, Trained::Nothing);
        let (names, cases): (Vec<String>, Vec<&Value>) = checkpoint.cases().unzip();
        let prompts: Vec<Prompt> =
            cases.iter().map(|case| checkpoint.golden.encode(case)).collect();
        let prompts: Vec<&Prompt> = prompts.iter().collect();
        let penalized = Sampler { repetition_penalty: 1.2, ..Sampler::greedy() };
        for (sampler, recorded) in [(Sampler::greedy(), "greedy24"), (penalized, "penalized24")] {
            for max_batch in [1, 3, 8] {
                let limits = [max_batch, 24];
                let completions =
                    completions_of(&model, &checkpoint.golden, &prompts, &sampler, limits);
                for ((name, case), completion) in names.iter().zip(&cases).zip(&completions) {
                    assert_eq!(completion.token_ids, ids(&case[recorded]), "{name} {recorded}");
                }
            }
        }
    }
}

/// Names of tensors in a folder's files.
fn tensor_names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors")
            && !path.ends_with("golden.safetensors")
        {
            names.extend(candle_core::safetensors::load(&path, &Device::Cpu).unwrap().into_keys());
        }
    }
    names.sort_unstable();
    names
}

/// One file under the hub's names byte for byte as Python's library wrote it; shards under the names that they came in.
#[test]
fn checkpoints_of_every_family_are_saved_under_the_names_they_came_in() {
    for checkpoint in checkpoints() {
        let dtype = if checkpoint.name.ends_with("/tied") { DType::F32 } else { DType::BF16 };
        let model = checkpoint.model(dtype, Trained::Nothing);
        let tensors: Vec<(String, Tensor)> = model
            .parameters()
            .in_hub_order()
            .map(|p| (p.name().to_owned(), p.value().clone()))
            .collect();
        let saved = tempfile::tempdir().unwrap();
        let limit = if dtype == DType::F32 { u64::MAX } else { 100_000 };
        let side_files = SideFiles::read(&checkpoint.files()).unwrap();
        save(saved.path(), &tensors, dtype, &side_files, limit).unwrap();
        assert_eq!(tensor_names(saved.path()), tensor_names(&checkpoint.folder));
        let again = open(
            &ModelFiles::Folder(saved.path().to_owned()),
            dtype,
            &Device::Cpu,
            Trained::Nothing,
        );
        for (parameter, (name, tensor)) in again.unwrap().parameters().in_hub_order().zip(&tensors)
        {
            assert_eq!(parameter.name(), name);
            assert!(relative_difference(parameter.value(), tensor) == 0.0, "{name}");
        }
        if dtype == DType::F32 {
            let bytes = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
            assert!(bytes(saved.path()) == bytes(&checkpoint.folder), "{}", checkpoint.name);
        }
    }
}
