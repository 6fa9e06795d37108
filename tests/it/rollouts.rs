//! What sampled completions depend on, and what they do not.
//! Not here: greedy decoding against transformers (`parity`), the sampler's arithmetic (`rollout`).

use std::borrow::Cow;

use othink::processor::Prompt;
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Completion, GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};

use crate::golden::{Golden, model};

const GROUP_SIZE: u32 = 4;

/// Each question is a prompt and the place its random streams are named after.
fn sampled(
    golden: &Golden,
    questions: &[(&Prompt, u32)],
    max_batch: usize,
) -> Vec<Vec<Completion>> {
    let settings = GenerationSettings {
        sampler: Sampler { temperature: 1.2, top_k: 40, top_p: 0.95, ..Sampler::default() },
        suppressed: Suppressed::new(&[], &[], 0),
        max_new_tokens: 16,
        stop_ids: golden.processor.special().stop_ids.clone(),
        max_batch,
    };
    let streams = |place| move |i| Stream::new(7, Purpose::Rollout, 3, place, i);
    let requests: Vec<Request> = questions
        .iter()
        .map(|&(prompt, place)| Request {
            prompt: Cow::Borrowed(prompt),
            streams: (0..GROUP_SIZE).map(streams(place)).collect(),
        })
        .collect();
    let model = model("policy").detached().unwrap();
    generate(&model, requests, &settings, &mut |_| {}).unwrap()
}

/// Token ids, and log-probabilities by their bits.
fn bits(completions: &[Completion]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let bits =
        |c: &Completion| (c.token_ids.clone(), c.logps.iter().map(|logp| logp.to_bits()).collect());
    completions.iter().map(bits).collect()
}

#[test]
fn completions_of_a_prompt_are_the_same_bits_whatever_else_is_in_the_batch() {
    let golden = Golden::open();
    let names = golden.index["cases"].as_object().unwrap();
    let prompts: Vec<Prompt> = names.keys().map(|name| golden.prompt(name)).collect();
    let questions: Vec<(&Prompt, u32)> = prompts.iter().zip(0..).collect();
    let together = sampled(&golden, &questions, 64);
    let squeezed = sampled(&golden, &questions, 3);
    let reversed: Vec<(&Prompt, u32)> = questions.iter().copied().rev().collect();
    let mut backwards = sampled(&golden, &reversed, 5);
    backwards.reverse();
    for (i, question) in questions.iter().enumerate() {
        let alone = sampled(&golden, std::slice::from_ref(question), 1);
        for other in [&together[i], &squeezed[i], &backwards[i]] {
            assert_eq!(bits(&alone[0]), bits(other), "prompt {i}");
        }
    }
    let first: Vec<_> = bits(&together[0]).into_iter().map(|(token_ids, _)| token_ids).collect();
    assert!(first.iter().any(|other| *other != first[0]), "a group's members differ");
}
