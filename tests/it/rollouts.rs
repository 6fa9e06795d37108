//! What sampled completions depend on, and what they do not.
//! Not here: greedy decoding against transformers (`parity`), the sampler's arithmetic (`rollout`).

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use othink::data::{OpenOptions, Questions, Template, open as open_rows};
use othink::model::Model;
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::packed::{Packed, PackedGroup};
use othink::model::parameters::Trained;
use othink::processor::{Processor, Prompt};
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Completion, GenerationSettings, Request, generate};
use othink::rollout::sampler::{Sampler, Suppressed};
use serde_json::Value;

use crate::families::{Checkpoint, checkpoints};
use crate::golden::{Golden, device, files, ids, model};
use crate::runs::{lines, train};
use crate::train::succeed;

const GROUP_SIZE: u32 = 4;

fn settings(golden: &Golden, max_batch: usize) -> GenerationSettings {
    GenerationSettings {
        sampler: Sampler { temperature: 1.2, top_k: 40, top_p: 0.95, ..Sampler::default() },
        suppressed: Suppressed::new(&[], &[], 0),
        max_new_tokens: 16,
        stop_ids: golden.processor.special().stop_ids.clone(),
        max_batch,
    }
}

/// A request for `n` completions of a prompt; their random streams are named after the prompt's index.
fn request(prompt: &Prompt, place: u32, n: u32) -> Request<'_> {
    let stream = |i| Stream::new(7, Purpose::Rollout, 3, place, i);
    Request { prompt: Cow::Borrowed(prompt), streams: (0..n).map(stream).collect() }
}

/// A group for each question: a prompt and its index.
fn sampled(
    (golden, model): (&Golden, &Model),
    questions: &[(&Prompt, u32)],
    max_batch: usize,
) -> Vec<Vec<Completion>> {
    let requests = questions.iter().map(|&(prompt, place)| request(prompt, place, GROUP_SIZE));
    generate(model, requests.collect(), &settings(golden, max_batch), &mut |_| {}).unwrap()
}

/// Each question's group alone; among all, with so many completions at a time, twice; and among all in reverse order.
fn in_batches<'p>(
    questions: &[(&'p Prompt, u32)],
    sampled: impl Fn(&[(&'p Prompt, u32)], usize) -> Vec<Vec<Completion>>,
    [together, squeezed, backwards]: [usize; 3],
) -> Vec<[Vec<Completion>; 4]> {
    let reversed: Vec<(&'p Prompt, u32)> = questions.iter().copied().rev().collect();
    let backwards = sampled(&reversed, backwards).into_iter().rev();
    let all = sampled(questions, together).into_iter().zip(sampled(questions, squeezed));
    let alone =
        questions.iter().map(|question| sampled(std::slice::from_ref(question), 1).remove(0));
    let batches = alone.zip(all).zip(backwards);
    batches.map(|((alone, (all, squeezed)), backwards)| [alone, all, squeezed, backwards]).collect()
}

/// Token ids, and log-probabilities by their bits.
fn bits(completions: &[Completion]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let bits =
        |c: &Completion| (c.token_ids.clone(), c.logps.iter().map(|logp| logp.to_bits()).collect());
    completions.iter().map(bits).collect()
}

/// The same bits; on a GPU in f32, where cuBLAS chooses how it sums by the number of rows, the same tokens, with
/// log-probabilities that differ by rounding alone.
fn assert_same(a: &[Completion], b: &[Completion], case: &str) {
    if device().is_cpu() {
        return assert!(bits(a) == bits(b), "{case}: bits differ");
    }
    assert_eq!(a.len(), b.len(), "{case}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.token_ids, b.token_ids, "{case}");
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
        assert!(a.logps.iter().zip(&b.logps).all(near), "{case}: {:?} {:?}", a.logps, b.logps);
    }
}

#[test]
fn completions_of_a_prompt_are_the_same_bits_whatever_else_is_in_the_batch() {
    let of_family = |checkpoint: Checkpoint| {
        let model = checkpoint.model(DType::F32, Trained::Nothing);
        (checkpoint.name, checkpoint.golden, model)
    };
    let qwen2_vl = ("qwen2_vl", Golden::open(), model("policy").detached().unwrap());
    for (family, golden, model) in std::iter::once(qwen2_vl).chain(checkpoints().map(of_family)) {
        let names = golden.index["cases"].as_object().unwrap();
        let prompts: Vec<Prompt> = names.keys().map(|name| golden.prompt(name)).collect();
        let questions: Vec<(&Prompt, u32)> = prompts.iter().zip(0..).collect();
        let sampled = |questions: &[_], max_batch| sampled((&golden, &model), questions, max_batch);
        let batches = in_batches(&questions, sampled, [64, 3, 5]);
        for (i, [alone, others @ ..]) in batches.iter().enumerate() {
            for other in others {
                assert_same(alone, other, &format!("{family}, prompt {i}"));
            }
        }
        let first: Vec<_> =
            bits(&batches[0][0]).into_iter().map(|(token_ids, _)| token_ids).collect();
        assert!(first.iter().any(|other| *other != first[0]), "a group's members differ");
    }
}

/// On a GPU in bf16 too, where a decoder of its own runs, or each completion goes by itself; elsewhere there is nothing to
/// compare.
#[test]
fn completions_by_kernels_are_the_same_bits_whatever_else_is_in_the_batch() {
    if device().is_cpu() {
        return;
    }
    let golden = Golden::open();
    let of_family = Checkpoint::of("qwen3_vl/tied");
    let unusual = tempfile::tempdir().unwrap();
    let plain = Sampler { temperature: 1.2, ..Sampler::default() };
    let penalized = Sampler { repetition_penalty: 1.3, ..settings(&golden, 1).sampler };
    for (golden, files, sampler, n_questions) in [
        (&golden, files("policy"), plain.clone(), usize::MAX),
        (&golden, files("policy"), penalized, 2),
        (&golden, without_kernels(unusual.path()), plain.clone(), 2),
        (&of_family.golden, of_family.files(), plain, usize::MAX),
    ] {
        let names = golden.index["cases"].as_object().unwrap();
        let prompts = names.keys().take(n_questions).map(|name| golden.prompt(name));
        let prompts: Vec<Prompt> = prompts.collect();
        let questions: Vec<(&Prompt, u32)> = prompts.iter().zip(0..).collect();
        let model = open(&files, DType::BF16, &device(), Trained::Nothing).unwrap();
        let sampled = |questions: &[(&Prompt, u32)], max_batch| {
            let one = |&(prompt, place): &(_, _)| request(prompt, place, GROUP_SIZE);
            let requests = questions.iter().map(one).collect();
            let sampler = sampler.clone();
            let settings = GenerationSettings { sampler, ..settings(golden, max_batch) };
            generate(&model, requests, &settings, &mut |_| {}).unwrap()
        };
        for (i, [alone, others @ ..]) in
            in_batches(&questions, sampled, [64, 3, 17]).iter().enumerate()
        {
            for other in others {
                assert_eq!(bits(alone), bits(other), "prompt {i}, {sampler:?}");
            }
        }
    }
}

/// The policy's weights as heads of 8 numbers, for which decoding has no kernels.
fn without_kernels(folder: &Path) -> ModelFiles {
    for file in std::fs::read_dir(crate::golden::folder().join("policy")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["num_attention_heads"] = 8.into();
    config["num_key_value_heads"] = 4.into();
    config["rope_scaling"]["mrope_section"] = serde_json::json!([1, 1, 2]);
    std::fs::write(path, config.to_string()).unwrap();
    ModelFiles::Folder(folder.to_owned())
}

/// The whole sequence is scored by the kernels of training, which share none with decoding but the norm.
#[test]
fn tokens_drawn_by_kernels_have_the_log_probabilities_that_training_computes() {
    if device().is_cpu() {
        return;
    }
    // Qwen2.5-VL's are of a shape without kernels, heads of 12 numbers.
    let families = checkpoints().filter(|checkpoint| checkpoint.name.starts_with("qwen3_vl"));
    let families = families.map(|checkpoint| (checkpoint.files(), checkpoint.golden));
    for (files, golden) in std::iter::once((files("policy"), Golden::open())).chain(families) {
        let model = open(&files, DType::BF16, &device(), Trained::Nothing).unwrap();
        assert_drawn_as_scored(&golden, &model);
    }
}

/// Completions of a prompt decode together.
fn assert_drawn_as_scored(golden: &Golden, model: &Model) {
    let (settings, mut most_at_a_time) = (unfiltered(golden, 7), 0);
    let (mut largest, mut sum, mut n) = (0.0f32, 0.0, 0.0);
    for name in golden.index["cases"].as_object().unwrap().keys() {
        let prompt = golden.prompt(name);
        let requests = vec![request(&prompt, 0, 5)];
        let mut on_tokens = |n: usize| most_at_a_time = n.max(most_at_a_time);
        let completions = generate(model, requests, &settings, &mut on_tokens).unwrap().remove(0);
        let answers: Vec<&[u32]> = completions.iter().map(|c| &c.token_ids[..]).collect();
        let group = PackedGroup { prompt: &prompt, completions: answers };
        let scored = model.token_logps(&Packed::new(&[group]).unwrap(), 1.2).unwrap();
        let scored = scored.logp.to_vec1::<f32>().unwrap();
        let drawn: Vec<f32> = completions.iter().flat_map(|c| c.logps.clone()).collect();
        assert_eq!(drawn.len(), scored.len());
        for (drawn, scored) in drawn.iter().zip(&scored) {
            largest = largest.max((drawn - scored).abs());
            sum += (drawn - scored).abs();
            n += 1.0;
        }
    }
    assert!(most_at_a_time > 1, "one by one, as without kernels");
    // Rounding to bf16 between the operations, in another order.
    assert!(largest < 0.1 && sum / n < 0.02, "{largest} at most, {} in the mean", sum / n);
}

/// The sampling of training, which needs no filter.
fn unfiltered(golden: &Golden, max_batch: usize) -> GenerationSettings {
    let sampler = Sampler { temperature: 1.2, ..Sampler::default() };
    GenerationSettings { sampler, ..settings(golden, max_batch) }
}

/// The CPU's kernels compute up to 64 rows of a decoding step at a time, each independently of the others.
#[test]
fn completions_are_the_same_bits_where_more_decode_at_a_time_than_a_kernel_takes() {
    let golden = Golden::open();
    let name = golden.index["cases"].as_object().unwrap().keys().next().unwrap();
    let prompt = golden.prompt(name);
    let model = model("policy").detached().unwrap();
    let sample = |max_batch| {
        let settings = settings(&golden, max_batch);
        let mut most_at_a_time = 0;
        let mut on_tokens = |n: usize| most_at_a_time = n.max(most_at_a_time);
        let groups = generate(&model, vec![request(&prompt, 0, 70)], &settings, &mut on_tokens);
        (groups.unwrap().remove(0), most_at_a_time)
    };
    let (few, most_of_few) = sample(8);
    let (many, most_of_many) = sample(70);
    assert!(most_of_few == 8 && most_of_many > 64, "{most_of_few} {most_of_many}");
    assert_same(&few, &many, "8 and 70 at a time");
}

/// The plain path multiplies all rows at once; completions may differ by rounding, and so are not compared.
#[test]
fn the_plain_path_decodes_as_many_rows_at_a_time_as_it_is_told_to() {
    let golden = Golden::open();
    let name = golden.index["cases"].as_object().unwrap().keys().next().unwrap();
    let prompt = golden.prompt(name);
    let model = open(&files("policy"), DType::BF16, &device(), Trained::Nothing).unwrap();
    let mut most_at_a_time = 0;
    let mut on_tokens = |n: usize| most_at_a_time = n.max(most_at_a_time);
    let requests = vec![request(&prompt, 0, 70)];
    let groups = generate(&model, requests, &settings(&golden, 70), &mut on_tokens).unwrap();
    assert!(groups[0].iter().all(|completion| !completion.token_ids.is_empty()));
    assert!(most_at_a_time > 64, "{most_at_a_time}");
}

/// The token that the sampler draws from a row of the whole sequence's logits, computed at once and without a cache.
#[test]
fn tokens_are_drawn_from_the_models_logits_by_the_numbers_named_after_them() {
    let golden = Golden::open();
    let name = golden.index["cases"].as_object().unwrap().keys().next().unwrap();
    let prompt = golden.prompt(name);
    let model = model("policy").detached().unwrap();
    let stop_ids = golden.processor.special().stop_ids.clone();
    let settings = GenerationSettings {
        sampler: Sampler { temperature: 0.9, repetition_penalty: 1.5, ..Sampler::default() },
        suppressed: Suppressed::new(&[7, 8, 9], &stop_ids, 5),
        ..settings(&golden, 3)
    };
    let request = request(&prompt, 0, 6);
    let streams = request.streams.clone();
    let completions = generate(&model, vec![request], &settings, &mut |_| {}).unwrap().remove(0);
    for (Completion { token_ids, logps, .. }, stream) in completions.iter().zip(streams) {
        let mut whole = prompt.clone();
        whole.input_ids.extend(token_ids);
        let positions = (0..token_ids.len() as u32).map(|n| [prompt.next_position + n; 3]);
        whole.positions.extend(positions);
        let group = PackedGroup { prompt: &whole, completions: Vec::new() };
        let packed = Packed::new(&[group]).unwrap();
        let logits = model.logits(&packed).unwrap().to_vec2::<f32>().unwrap();
        for (n, (&token, logp)) in token_ids.iter().zip(logps).enumerate() {
            let so_far = prompt.input_ids.len() + n;
            let mut row = logits[so_far - 1].clone();
            let (seen, suppressed) = (&whole.input_ids[..so_far], settings.suppressed.after(n));
            let uniform = stream.uniform(n as u32);
            let drawn = settings.sampler.sample(&mut row, seen, suppressed, uniform).unwrap();
            assert_eq!(drawn.id, token, "token {n} of {token_ids:?}");
            assert!((drawn.logp - logp).abs() < 1e-3, "{} {logp}", drawn.logp);
        }
    }
}

/// With paths from the package's root. Rewards are equal and there is no KL term, so that the policy does not change and both batches can be drawn again.
const UNMOVED: &str = r#"
method = "grpo-d"
[model]
path = "tests/golden/micro/policy"
device = "cpu"
[data]
train = "tests/golden/trainer/rows.jsonl"
image_root = "tests/golden/micro/images"
template = "plain"
max_pixels = 6272
shuffle = false
[grpo]
group_size = 3
prompts_per_update = 2
[kl]
schedule = "zero"
[rollout]
temperature = 1.2
max_new_tokens = 8
[train]
updates = 2
seed = 77
"#;

#[test]
fn a_runs_completions_are_drawn_from_the_streams_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("run.toml");
    let golden = std::path::absolute("tests/golden").unwrap().display().to_string();
    std::fs::write(&config, UNMOVED.replace("tests/golden", &golden)).unwrap();
    let out = folder.path().join("run");
    succeed(train(&config, &out, &[]));
    let recorded = lines(&out.join("completions.jsonl"));

    let images = OpenOptions {
        image_root: Some("tests/golden/micro/images".into()),
        ..OpenOptions::default()
    };
    let rows = open_rows("tests/golden/trainer/rows.jsonl".as_ref(), None, &images).unwrap();
    let questions = Questions {
        dataset: Arc::new(rows),
        template: Template::new("plain").unwrap(),
        boxes: None,
    };
    let processor = Processor::load(&files("policy")).unwrap();
    let processor = processor.with_pixel_limits(Some(3136), Some(6272)).unwrap();
    let stop_ids = processor.special().stop_ids.clone();
    let settings = GenerationSettings {
        sampler: Sampler { temperature: 1.2, ..Sampler::default() },
        suppressed: Suppressed::new(&processor.never_sampled(512), &stop_ids, 0),
        max_new_tokens: 8,
        stop_ids,
        max_batch: 64,
    };
    // Two updates of two prompts: rows 1 to 4 of the file are the run's draws 0 to 3.
    let request = |draw: u32| {
        let (_, prompt) = questions.prompt(&processor, draw as usize).unwrap();
        let stream = |i| Stream::new(77, Purpose::Rollout, draw / 2, draw, i);
        Request { prompt: Cow::Owned(prompt), streams: (0..3).map(stream).collect() }
    };
    let model = open(&files("policy"), DType::F32, &Device::Cpu, Trained::Nothing).unwrap();
    let requests = (0..4).map(request).collect();
    let drawn = generate(&model, requests, &settings, &mut |_| {}).unwrap();
    let drawn: Vec<Vec<u32>> = drawn.into_iter().flatten().map(|c| c.token_ids).collect();
    let recorded: Vec<Vec<u32>> = recorded.iter().map(|line| ids(&line["token_ids"])).collect();
    assert_eq!(recorded, drawn);
}
