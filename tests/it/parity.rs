//! The model against transformers: hidden states, logits, greedy completions.
//! Not here: gradients and optimiser steps (`training_parity`), the processor (its own unit tests).

use std::borrow::Cow;

use candle_core::{D, Result, Tensor};
use othink::model::Model;
use othink::model::packed::{Packed, PackedGroup};
use othink::model::stages::{Checkpointing, Inference, Part, Stages};
use othink::ops::TokenLogprob;
use othink::processor::Prompt;
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Completion, GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};

use crate::golden::{Golden, assert_parity, ids, model};

/// Runs stages and keeps what they return.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Vec<Tensor>);

impl<'m> Stages<'m> for Recorder {
    fn apply<const I: usize, const O: usize>(
        &mut self,
        inputs: [&Tensor; I],
        _part: Part,
        stage: impl Fn([&Tensor; I]) -> Result<[Tensor; O]> + 'm,
    ) -> Result<[Tensor; O]> {
        let outputs = stage(inputs)?;
        self.0.extend(outputs.iter().cloned());
        Ok(outputs)
    }
}

pub(crate) fn pack(prompts: &[&Prompt]) -> Packed {
    let groups: Vec<PackedGroup> =
        prompts.iter().map(|&prompt| PackedGroup { prompt, completions: vec![] }).collect();
    Packed::new(&groups).unwrap()
}

#[test]
fn every_hidden_state_equals_transformers() {
    let golden = Golden::open();
    let model = model("policy");
    let packed = pack(&[&golden.prompt("one")]);
    let hidden = &golden.index["cases"]["one"]["hidden"];

    let mut vision = Recorder::default();
    let images = model.embed_images(&mut vision, &packed).unwrap();
    let names = ["vis_patch", "vis_block0", "vis_block1"];
    // The patches, then two stages a block, of which the second ends it.
    for (name, ours) in names.iter().zip(vision.0.iter().step_by(2)) {
        assert_parity(ours, golden.tensor(&hidden[name]), name);
    }
    let embeds = model.embed_tokens(&packed, images.as_ref()).unwrap();
    assert_parity(&embeds, golden.tensor(&hidden["embeds"]), "embeds");

    let mut language = Recorder::default();
    let last = model.decoder_layers(&mut language, &packed, &embeds, &[]).unwrap();
    for (name, ours) in
        ["layer0", "layer1", "layer2"].iter().zip(language.0.iter().skip(1).step_by(2))
    {
        assert_parity(ours, golden.tensor(&hidden[name]), name);
    }
    assert_parity(&model.normalize(&last).unwrap(), golden.tensor(&hidden["norm"]), "norm");
}

#[test]
fn logits_of_every_case_equal_transformers() {
    let golden = Golden::open();
    let model = model("policy");
    for (name, case) in golden.index["cases"].as_object().unwrap() {
        let packed = pack(&[&golden.prompt(name)]);
        if !packed.grids.is_empty() {
            let images = model.embed_images(&mut Inference, &packed).unwrap().unwrap();
            assert_parity(
                &images.embeddings,
                golden.tensor(&case["vision_out"]),
                &format!("{name} images"),
            );
        }
        let logits = model.logits(&packed).unwrap();
        let rows = packed.len();
        let last2 = logits.narrow(0, rows - 2, 2).unwrap();
        assert_parity(&last2, golden.tensor(&case["logits_last2"]), &format!("{name} logits"));
        let argmax = logits.argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(argmax, ids(&case["argmax"]), "{name}");
        let logsumexp = logits.log_sum_exp(1).unwrap();
        assert_parity(&logsumexp, golden.tensor(&case["logsumexp"]), &format!("{name} lse"));
    }
}

#[test]
fn prompts_packed_together_equal_transformers_padded_batches() {
    let golden = Golden::open();
    let model = model("policy");
    for (name, batch) in golden.index["batches"].as_object().unwrap() {
        let members: Vec<&str> =
            batch["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
        let prompts: Vec<Prompt> = members.iter().map(|m| golden.prompt(m)).collect();
        let packed = pack(&prompts.iter().collect::<Vec<_>>());
        let logits = model.logits(&packed).unwrap();
        let theirs = golden.tensor(&batch["logits_last"]);
        let mut end = 0;
        for (i, prompt) in prompts.iter().enumerate() {
            end += prompt.input_ids.len();
            assert_parity(&logits.get(end - 1).unwrap(), &theirs.get(i).unwrap(), name);
        }
    }
}

/// Streams of fewer than 64 rows are among them. The reference and the old policy are scored without a tape, and before
/// the first step the ratio must be exactly one and the KL term exactly zero.
#[test]
fn scores_have_the_same_bits_with_and_without_a_tape() {
    let golden = Golden::open();
    let model = model("policy");
    let detached = model.detached().unwrap();
    for name in ["text", "tiny", "one"] {
        let prompt = &golden.prompt(name);
        let answer = ids(&golden.index["cases"][name]["greedy32"]["ids"]);
        let group = PackedGroup { prompt, completions: vec![&answer[..5], &answer[..3]] };
        let packed = Packed::new(&[group]).unwrap();
        let bits = |scored: &TokenLogprob| {
            [&scored.logp, &scored.entropy].map(|x| x.to_vec1::<f32>().unwrap())
        };
        let untaped = bits(&detached.token_logps(&packed, 0.7).unwrap());
        for checkpointing in [Checkpointing::None, Checkpointing::Mlp, Checkpointing::Full] {
            let (taped, _) = model.token_logps_taped(&packed, 0.7, checkpointing).unwrap();
            assert_eq!(bits(&taped), untaped, "{name}");
        }
    }
}

fn greedy(golden: &Golden, prompts: &[&Prompt], max_batch: usize) -> Vec<Completion> {
    completions_of(&model("policy"), golden, prompts, &Sampler::greedy(), [max_batch, 32])
}

/// Completions of `max_new_tokens` at most, `max_batch` at a time.
pub(crate) fn completions_of(
    model: &Model,
    golden: &Golden,
    prompts: &[&Prompt],
    sampler: &Sampler,
    [max_batch, max_new_tokens]: [usize; 2],
) -> Vec<Completion> {
    let settings = GenerationSettings {
        sampler: sampler.clone(),
        suppressed: Suppressed::new(&[], &[], 0),
        max_new_tokens,
        stop_ids: golden.processor.special().stop_ids.clone(),
        max_batch,
    };
    let stream = Stream::new(0, Purpose::Evaluation, 0, 0, 0);
    let requests: Vec<Request> = prompts
        .iter()
        .map(|prompt| Request { prompt: Cow::Borrowed(prompt), streams: vec![stream] })
        .collect();
    let model = model.detached().unwrap();
    let groups = generate(&model, requests, &settings, &mut |_| {}).unwrap();
    groups.into_iter().flatten().collect()
}

#[test]
fn greedy_generations_equal_transformers() {
    let golden = Golden::open();
    let cases = golden.index["cases"].as_object().unwrap();
    let prompts: Vec<Prompt> = cases.keys().map(|name| golden.prompt(name)).collect();
    let prompts: Vec<&Prompt> = prompts.iter().collect();
    // Fewer slots than prompts: a waiting prompt takes the slot of a finished completion.
    for max_batch in [1, 3, 8] {
        let completions = greedy(&golden, &prompts, max_batch);
        for ((name, case), completion) in cases.iter().zip(&completions) {
            assert_eq!(completion.token_ids, ids(&case["greedy32"]["ids"]), "{name}");
        }
    }
}

#[test]
fn greedy_generations_stop_where_transformers_stops() {
    let golden = Golden::open();
    let cases = golden.index["early_stop"]["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let prompt = golden.encode(case);
        let completion = &greedy(&golden, &[&prompt], 1)[0];
        assert_eq!(completion.token_ids, ids(&case["greedy32"]));
        assert!(completion.is_finished);
    }
}
