//! From the run file to the run: each key's value arrives where it belongs and nowhere else.
//!
//! Every section is destructured without `..` and every field is used: a new key does not compile, or warns, until it is
//! tested here. Values are those of `config/every_key.toml`, which differ from each other and from the defaults.
//! Boolean keys are tried with both values, one at a time. Longer than most because every key has its line.
//!
//! Not here: what the values do (each stage's own tests); keys that decide when a run writes
//! (`tests/it/train`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{DType, Device};

use super::accumulate::ScoringSettings;
use super::health::Thresholds;
use super::settings::{
    generation_settings, grpo_settings, kl_schedule, lora, optimizer_settings, precision,
    recording_limits, reward_settings, supervised_settings, thresholds, total_updates, trained,
};
use super::setup::Setup;
use super::step::OptimizerSettings;
use super::supervised::Taught;
use super::supervised_update::SupervisedSettings;
use super::update::GrpoSettings;
use crate::config::{
    CheckpointingChoice, ConfigFile, DataConfig, EvalConfig, GradientSums, GrpoConfig, KlConfig,
    KlScheduleKind, LoraConfig, LrScheduleKind, MasterWeights, Method, ModelConfig, OptimConfig,
    RewardCommand, RewardConfig, RolloutConfig, RowBoxes, RunConfig, SftConfig, TrainConfig,
    UpdateSpan,
};
use crate::data::OpenOptions;
use crate::data::configured::{open_options, task_options, training_questions, training_rows};
use crate::data::tasks::TaskOptions;
use crate::data::{Split, Template};
use crate::eval::EvalSettings;
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::grpo::advantage::Estimator;
use crate::grpo::kl_schedule::KlSchedule;
use crate::grpo::objective::{ClipRange, Normalizer, ObjectiveSettings, RatioLevel};
use crate::model::files::ModelFiles;
use crate::model::lora::Lora;
use crate::model::parameters::{ParameterGroup, Trained};
use crate::model::precision::Precision;
use crate::model::stages::Checkpointing;
use crate::optim::adamw::AdamWSettings;
use crate::optim::lr_schedule::{Decay, LrSchedule};
use crate::processor::Markers;
use crate::processor::Processor;
use crate::reward::{ExternalCommand, RewardSettings};
use crate::rollout::engine::GenerationSettings;
use crate::rollout::replay::RecordingLimits;
use crate::rollout::sampler::{Sampler, Suppressed};

/// Updates of a run, where a test says how many; unlike every key's value.
const TOTAL: u64 = 60;

/// Rows of the vocabulary, likewise.
const VOCAB: usize = 512;

fn every_key(changes: &[&str]) -> RunConfig {
    let text = include_str!("../config/every_key.toml");
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    RunConfig::from_file(&ConfigFile::from_text("every_key.toml", text), &changes).unwrap()
}

fn processor() -> Processor {
    Processor::load(&ModelFiles::Folder("tests/golden/micro/policy".into())).unwrap()
}

/// The number of patches of three pictures, which different limits enlarge, leave or shrink.
fn patches(processor: &Processor) -> [usize; 3] {
    let of = |[width, height]: [u32; 2]| {
        processor.patches(&image::RgbImage::new(width, height)).unwrap().n_patches()
    };
    [[28, 56], [28, 84], [120, 120]].map(of)
}

#[test]
fn the_model_is_opened_as_its_section_says() {
    let config = every_key(&[]);
    let ModelConfig { path, dtype, device, freeze_vision, activation_checkpointing, lora: factors } =
        config.model.clone();
    let setup = Setup::open(&config).unwrap();
    assert!(matches!(&setup.files, ModelFiles::Folder(folder) if folder == Path::new(&path)));
    assert_eq!((dtype.to_string().as_str(), setup.dtype), ("f32", DType::F32));
    assert_eq!(device.to_string(), "cpu");
    assert!(matches!(setup.device, Device::Cpu));
    let bf16 = Setup::open(&every_key(&["model.dtype=bf16"])).unwrap();
    assert_eq!(bf16.dtype, DType::BF16);

    assert!(freeze_vision);
    assert_eq!(activation_checkpointing, CheckpointingChoice::Mlp);
    let LoraConfig { rank, alpha, rslora, targets, vision, dropout } = factors.unwrap();
    assert_eq!(lora(&config), Some(Lora { rank, alpha, rslora, targets, vision, dropout }));
    assert_eq!(trained(&config), Trained::Nothing, "but the factors");
    let mut weights = config.clone();
    weights.model.lora = None;
    assert_eq!(lora(&weights), None);
    assert_eq!(trained(&weights), Trained::Frozen(&[ParameterGroup::Vision]));
    assert_eq!(grpo_settings(&config, TOTAL).scoring.checkpointing, Checkpointing::Mlp);
    let mut whole = every_key(&["model.freeze_vision=false"]);
    whole.model.lora = None;
    assert_eq!(trained(&whole), Trained::All);
    for (word, expected) in [
        ("false", Checkpointing::None),
        ("none", Checkpointing::None),
        ("mlp", Checkpointing::Mlp),
        ("full", Checkpointing::Full),
        ("true", Checkpointing::Full),
    ] {
        let config = every_key(&[&format!("model.activation_checkpointing={word}")]);
        assert_eq!(grpo_settings(&config, TOTAL).scoring.checkpointing, expected, "{word}");
        assert_eq!(supervised_settings(&config).scoring.checkpointing, expected, "{word}");
    }
}

#[test]
fn rows_are_read_as_the_datas_section_says() {
    let config = every_key(&[]);
    let DataConfig {
        task,
        train,
        image_root,
        template,
        boxes,
        min_pixels,
        max_pixels,
        on_bad_row,
        allow_unparsable,
        allow_markers,
        image_size,
        drawing_seed,
        max_samples,
        shuffle,
        workers,
        prefetch,
        hold_out: _, // as_many_rows_are_held_out_as_the_datas_section_says
        fields,
    } = config.data.clone();
    assert_eq!(task.as_deref(), Some("gr"), "which `tasks::resolved` is tested on");
    let options = task_options(&config);
    let TaskOptions { data, open, drawing_seed: of_task, image_size: side } = options;
    assert_eq!((data, of_task, side), (train.map(PathBuf::from), drawing_seed, image_size));
    for options in [open, open_options(&config)] {
        let OpenOptions { image_root: root, on_bad_row: on_bad, markers, names, keeps_columns } =
            options;
        assert_eq!((root, on_bad), (image_root.clone(), on_bad_row));
        assert_eq!((&names, keeps_columns), (&fields, true), "there is a `[reward.command]`");
        assert_eq!(markers, Markers::AreTokens);
    }
    let questions = training_questions(&config, training_rows(&config).unwrap()).unwrap();
    assert_eq!(questions.template, Template::new(&template.unwrap()).unwrap());
    assert_eq!((questions.boxes, boxes), (boxes, Some(RowBoxes::Pixels)));

    let mut setup = Setup::open(&config).unwrap();
    let limited = processor().with_pixel_limits(Some(min_pixels), Some(max_pixels)).unwrap();
    assert_eq!(patches(&setup.processor), patches(&limited));
    // The run's 1568 to 3920 pixels, and the checkpoint's 3136 to 50176; a patch has 196.
    assert_eq!([patches(&limited), patches(&processor())], [[8, 12, 16], [24, 32, 64]]);
    assert_eq!(Some(setup.questions.n_rows()), max_samples);
    assert_eq!(setup.questions.bounds(), [workers, prefetch]);

    let order = |setup: &mut Setup| -> Vec<usize> {
        let batch = setup.questions.take(5).unwrap();
        batch.questions.iter().map(|question| question.draw.row).collect()
    };
    assert!(!shuffle);
    assert_eq!(order(&mut setup), [0, 1, 2, 3, 4]);
    let shuffled = every_key(&["data.shuffle=true"]);
    let by_seed = crate::rng::permutation(shuffled.train.seed, 0, 5);
    assert_ne!(by_seed, [0, 1, 2, 3, 4]);
    assert_eq!(order(&mut Setup::open(&shuffled).unwrap()), by_seed);

    assert!(allow_markers);
    let taught = |config: &RunConfig| {
        Setup::open(config).unwrap().processor.encode_taught("<|im_end|>").unwrap().len()
    };
    assert_eq!(taught(&config), 1);
    assert!(taught(&every_key(&["data.allow_markers=false"])) > 1);

    assert!(allow_unparsable);
    // No solution of these rows can be read by every component in `[reward.weights]`.
    assert!(Setup::open(&every_key(&["data.allow_unparsable=false"])).is_err());
}

/// With questions of its own a run holds out none; `data::held_out` and `tests/it/own_data` say which rows it does.
#[test]
fn as_many_rows_are_held_out_as_the_datas_section_says() {
    let mut config = every_key(&[]);
    let n_rows = |config: &RunConfig| training_rows(config).unwrap().len();
    assert_eq!((config.data.hold_out, n_rows(&config)), (Some(0.4), 6));
    config.eval.data = None;
    assert_eq!(n_rows(&config), 4);
}

#[test]
fn updates_are_made_as_grpo_kl_and_rollout_say() {
    let config = every_key(&[]);
    assert_eq!(config.method, Method::Grpo);
    let GrpoConfig {
        group_size,
        prompts_per_update,
        updates_per_rollout,
        mini_batches,
        clip_low,
        clip_high,
        mask_truncated,
        log_ratio_limit,
    } = config.grpo.clone();
    let KlConfig { schedule, beta, beta_min, beta_max, explore } = config.kl;
    assert_eq!(schedule, KlScheduleKind::Constant);
    let expected = GrpoSettings {
        seed: config.train.seed,
        group_size,
        prompts_per_update,
        mini_batches,
        updates_per_rollout,
        mask_truncated,
        dropout: 0.375,
        estimator: Estimator::GroupNormalized,
        scoring: ScoringSettings {
            temperature: config.rollout.temperature,
            tokens_per_micro_batch: config.train.tokens_per_micro_batch,
            checkpointing: Checkpointing::Mlp,
        },
        objective: ObjectiveSettings {
            ratio_level: RatioLevel::Token,
            normalizer: Normalizer::CompletionMean,
            clip_range: ClipRange { low: clip_low, high: clip_high },
            log_ratio_limit,
        },
        kl_schedule: KlSchedule::Constant(beta),
        total_updates: TOTAL,
    };
    assert_eq!(grpo_settings(&config, TOTAL), expected);
    assert!(mask_truncated);
    assert!(!grpo_settings(&every_key(&["grpo.mask_truncated=false"]), TOTAL).mask_truncated);

    let dynamic = every_key(&["method=grpo-d", "kl.schedule=dynamic"]);
    assert_eq!(explore, UpdateSpan::Fraction(0.35));
    let explore_updates = 21; // 0.35 of 60
    let expected =
        KlSchedule::Dynamic { beta_min, beta_max, explore_updates, total_updates: TOTAL };
    assert_eq!(kl_schedule(&dynamic, TOTAL), expected);
    let none = ["kl.schedule=zero"];
    assert_eq!(kl_schedule(&every_key(&none), TOTAL), KlSchedule::Zero);
    let mut supervised = config;
    supervised.method = Method::Sft;
    assert_eq!(kl_schedule(&supervised, TOTAL), KlSchedule::Zero);
}

#[test]
fn completions_are_sampled_or_taken_as_rollout_says() {
    let config = every_key(&[]);
    let RolloutConfig {
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        max_new_tokens,
        min_new_tokens,
        max_batch,
        replay,
    } = config.rollout.clone();
    let processor = processor();
    let settings = generation_settings(&config, &processor, VOCAB);
    let GenerationSettings {
        sampler,
        suppressed,
        max_new_tokens: room,
        stop_ids,
        max_batch: at_once,
    } = settings;
    let expected = Sampler { temperature, top_k, top_p, min_p, repetition_penalty };
    assert_eq!(sampler, expected);
    assert_eq!((room, at_once), (max_new_tokens, max_batch));
    assert_eq!(stop_ids, processor.special().stop_ids);
    let markers = processor.never_sampled(VOCAB);
    assert!(markers.contains(&processor.special().image_pad) && !stop_ids.is_empty());
    let expected = Suppressed::new(&markers, &stop_ids, min_new_tokens);
    for n in [0, min_new_tokens - 1, min_new_tokens, min_new_tokens + 1] {
        assert_eq!(suppressed.after(n), expected.after(n), "after {n} tokens");
    }

    let expected = RecordingLimits {
        vocab_size: VOCAB,
        max_new_tokens,
        group_size: config.grpo.group_size,
        updates_per_rollout: config.grpo.updates_per_rollout as u64,
        total_updates: TOTAL,
    };
    assert_eq!(recording_limits(&config, VOCAB, TOTAL), expected);
    assert!(replay.is_some(), "which `tests/it/replay` runs on");
}

#[test]
fn completions_are_rewarded_as_reward_says() {
    let config = every_key(&[]);
    let RewardConfig {
        alpha,
        rule,
        relative_error,
        length_limit,
        length_buffer,
        repetition_ngram,
        weights,
        command,
    } = config.reward.clone();
    let RewardCommand { program, args, weight, timeout_s } = command.unwrap();
    let command = ExternalCommand { program, args, timeout: Duration::from_secs_f64(timeout_s) };
    let expected = RewardSettings {
        rule: rule.unwrap(),
        alpha,
        weights: weights.named().to_vec(),
        relative_error,
        length_limit: length_limit.unwrap(),
        length_buffer: length_buffer.unwrap(),
        repetition_ngram,
        external: Some((command, weight)),
    };
    assert_eq!(reward_settings(&config), expected);
    assert_eq!(expected.weights.len(), 7);
}

#[test]
fn supervised_training_teaches_what_its_section_says() {
    let mut config = every_key(&[]);
    config.method = Method::Sft;
    let SftConfig { target, train_on_prompt } = config.sft.clone();
    assert!(train_on_prompt);
    let expected = SupervisedSettings {
        prompts_per_update: config.grpo.prompts_per_update,
        target,
        taught: Taught::PromptAndCompletion,
        scoring: ScoringSettings {
            temperature: 1.0,
            tokens_per_micro_batch: config.train.tokens_per_micro_batch,
            checkpointing: Checkpointing::Mlp,
        },
        seed: config.train.seed,
        dropout: 0.375,
    };
    assert_eq!(supervised_settings(&config), expected);
    let taught = supervised_settings(&every_key(&["sft.train_on_prompt=false"])).taught;
    assert_eq!(taught, Taught::Completion);
}

/// - `config`: asks for bf16
fn sums_of_gradients_are_in_bf16_where_the_model_is_and_the_run_file_says_so(config: &RunConfig) {
    let in_f32 = every_key(&["optim.gradients=f32"]);
    for (config, weights, gradients) in [
        (config, DType::BF16, DType::BF16),
        (config, DType::F32, DType::F32),
        (config, DType::F64, DType::F64),
        (&in_f32, DType::BF16, DType::F32),
        (&in_f32, DType::F32, DType::F32),
    ] {
        assert_eq!(precision(config, weights), Precision { weights, gradients });
    }
}

#[test]
fn the_optimiser_is_what_its_section_says() {
    let config = every_key(&[]);
    let OptimConfig {
        lr,
        schedule: kind,
        warmup,
        betas: [beta1, beta2],
        eps,
        weight_decay,
        decay_norms_and_biases,
        clip_norm,
        masters,
        gradients,
        offload,
    } = config.optim.clone();
    assert_eq!(kind, LrScheduleKind::Cosine);
    let UpdateSpan::Updates(warmup) = warmup else { panic!("{warmup:?}") };
    let settings = optimizer_settings(&config, TOTAL);
    let OptimizerSettings {
        adamw,
        schedule,
        clip_norm: clip,
        decay_vectors,
        rounds_weights,
        seed,
        offload: is_offloaded,
    } = settings;
    assert_eq!((masters, rounds_weights), (MasterWeights::Bf16, true));
    assert_eq!(gradients, GradientSums::Bf16);
    sums_of_gradients_are_in_bf16_where_the_model_is_and_the_run_file_says_so(&config);
    assert_eq!((seed, is_offloaded), (config.train.seed, offload));
    assert!(offload);
    assert_eq!(adamw, AdamWSettings { beta1, beta2, eps, weight_decay });
    let expected = LrSchedule {
        decay: Decay::Cosine,
        base_lr: lr,
        warmup_updates: warmup as u64,
        total_updates: TOTAL,
    };
    assert_eq!(schedule, expected);
    assert_eq!((clip.to_bits(), decay_vectors), (clip_norm.to_bits(), true));
    assert!(decay_norms_and_biases);
    let changed = every_key(&["optim.decay_norms_and_biases=false", "optim.clip_norm=0"]);
    let settings = optimizer_settings(&changed, TOTAL);
    assert!(settings.clip_norm.is_infinite() && !settings.decay_vectors);
    for (changed, expected) in
        [("optim.masters=f32", [false, true]), ("optim.offload=false", [true, false])]
    {
        let settings = optimizer_settings(&every_key(&[changed]), TOTAL);
        assert_eq!([settings.rounds_weights, settings.offload], expected, "{changed}");
    }
    for (kind, decay) in [
        (LrScheduleKind::Constant, Decay::Constant),
        (LrScheduleKind::Linear, Decay::Linear),
        (LrScheduleKind::Cosine, Decay::Cosine),
    ] {
        let mut config = config.clone();
        config.optim.schedule = kind;
        assert_eq!(optimizer_settings(&config, TOTAL).schedule.decay, decay);
    }
}

#[test]
fn a_run_is_as_long_as_train_says_and_warns_from_where_it_says() {
    let config = every_key(&[]);
    let TrainConfig {
        updates,
        epochs,
        seed,
        tokens_per_micro_batch,
        checkpoint_every,
        keep,
        keep_best,
        eval_every,
        save_optimizer,
        record_token_ids,
        warn_after_silent_updates,
        warn_duplicate_fraction,
        warn_truncated_fraction,
    } = config.train.clone();
    assert_eq!((Some(total_updates(&config, 5)), epochs), (updates.map(|n| n as u64), None));
    let epochs = every_key(&["train.epochs=3"]);
    // 3 * 50 rows in batches of 4 * 7 prompts are 6 batches, each of 14 updates.
    assert_eq!(total_updates(&epochs, 50), 6 * 14);
    let mut supervised = epochs;
    supervised.method = Method::Sft;
    // In batches of 4 prompts they are 38 updates.
    assert_eq!(total_updates(&supervised, 50), 38);
    let expected = Thresholds {
        silent_updates: warn_after_silent_updates,
        duplicate_fraction: warn_duplicate_fraction,
        truncated_fraction: warn_truncated_fraction,
        most_entropy: None,
        is_dropped: true,
    };
    assert_eq!(thresholds(&config), expected);
    assert_eq!(grpo_settings(&config, TOTAL).seed, seed);
    let scoring = grpo_settings(&config, TOTAL).scoring;
    assert_eq!(scoring.tokens_per_micro_batch, tokens_per_micro_batch);
    // What they do: `tests/it/train`, a_run_saves_and_measures_itself_when_its_file_says; `tests/it/replay`.
    assert_eq!((checkpoint_every, keep, keep_best, eval_every), (15, 2, true, 25));
    assert!(!save_optimizer && !record_token_ids);
}

#[test]
fn a_run_measures_itself_on_what_eval_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.jsonl");
    std::fs::write(&path, "{\"asked\": \"How many?\", \"gold\": \"3\"}\n").unwrap();
    let config = every_key(&[&format!("eval.data='{}'", path.display())]);
    let EvalConfig {
        task,
        data,
        split,
        template,
        rule,
        components,
        limit,
        max_new_tokens,
        min_pixels,
        max_pixels,
        max_batch,
        before_training,
        after_training,
    } = config.eval.clone();
    let asked = evaluation_questions(&config).unwrap();
    assert_eq!(patches(&asked.processor(&Setup::open(&config).unwrap().files).unwrap()), {
        patches(&processor().with_pixel_limits(min_pixels, max_pixels).unwrap())
    });
    let EvaluationQuestions {
        label,
        task_version,
        split: of_rows,
        questions,
        settings,
        golds,
        pixel_limits,
        markers,
    } = asked;
    assert_eq!((label, task_version.is_some()), (task.unwrap(), true));
    assert_eq!(data.as_deref(), path.to_str());
    assert_eq!(questions.dataset.get(0).unwrap().problem, "How many?");
    assert_eq!(questions.boxes, config.data.boxes);
    assert_eq!(of_rows, split.parse::<Split>().unwrap());
    assert_eq!(questions.template, Template::new(&template.unwrap()).unwrap());
    let expected = EvalSettings {
        max_new_tokens: max_new_tokens.unwrap(),
        max_batch,
        rule: rule.unwrap(),
        components,
        limit,
        samples: 1,
        sampler: Sampler::greedy(),
        seed: config.train.seed,
    };
    assert_eq!(settings, expected);
    assert_eq!(golds.rule, crate::reward::Rule::AnswerTag, "whatever the task's rule is");
    assert_eq!(pixel_limits, (min_pixels, max_pixels));
    assert_eq!(markers, Markers::AreTokens);
    // What they do: `tests/it/train`, a_run_saves_and_measures_itself_when_its_file_says.
    assert!(before_training && after_training);
}
