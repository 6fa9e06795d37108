//! What other trainers call the keys of the run file: TRL's `GRPOConfig` with transformers' `TrainingArguments` under it, and
//! the arguments of R1-V and VLM-R1, and the fields of peft's `LoraConfig`.
//! Not here: keys that are mistyped (`known_keys`).

/// A name that such a trainer has, and what to set instead: keys in backticks, then how their values differ.
type Renamed = (&'static str, &'static str);

const ROLLOUT_BATCH: &str = "`grpo.updates_per_rollout` and `grpo.mini_batches`: how often a batch of completions is learned from, and in how many pieces";
const NUMBER_FORMAT: &str = "`model.dtype` = \"bf16\" or \"f32\"";
const TASK_OR_FILE: &str = "`data.task` for a task by name, `data.train` for a file of rows";
const UNCHANGING: &str = "`method`: rewards are scaled within their group, tokens averaged within their completion, ratios are of tokens";
const RECORDED: &str = "nothing to set: each update and each completion is recorded, and TensorBoard's files are written";
const ONE_PROGRAM: &str = "nothing to set: this program samples and trains by itself";

const LORA_RANK: &str = "`model.lora.rank`";
const LORA_TARGETS: &str =
    "`model.lora.targets`, with the tower's maps where `model.lora.vision` = true";
const LORA_DROPOUT: &str = "`model.lora.dropout`";
const NO_OTHER_WEIGHTS: &str = "nothing to set: with [model.lora] the factors alone are trained";

const RENAMED: [Renamed; 80] = [
    ("adam_beta1", "`optim.betas` = [beta1, beta2]"),
    ("adam_beta2", "`optim.betas` = [beta1, beta2]"),
    ("adam_epsilon", "`optim.eps`"),
    ("attn_implementation", ONE_PROGRAM),
    ("beta", "`kl.beta`, which `kl.schedule` = \"constant\" reads"),
    ("bf16", NUMBER_FORMAT),
    ("data_seed", "`train.seed`"),
    ("dataloader_num_workers", "`data.workers`"),
    ("dataset_config", TASK_OR_FILE),
    ("dataset_name", TASK_OR_FILE),
    ("dataset_test_split", "`eval.split`, or `eval.data` for a file of questions"),
    ("dataset_train_split", TASK_OR_FILE),
    ("deepspeed", ONE_PROGRAM),
    ("disable_tqdm", "the flag --quiet"),
    ("dropout", LORA_DROPOUT),
    ("epsilon", "`grpo.clip_low` and `grpo.clip_high`"),
    ("epsilon_high", "`grpo.clip_high`"),
    ("eval_on_start", "`eval.before_training`"),
    ("eval_steps", "`train.eval_every`"),
    ("eval_strategy", "`train.eval_every` in updates, 0 for never"),
    ("evaluation_strategy", "`train.eval_every` in updates, 0 for never"),
    ("fp16", NUMBER_FORMAT),
    ("freeze_vision_modules", "`model.freeze_vision`"),
    ("generation_batch_size", ROLLOUT_BATCH),
    (
        "gradient_accumulation_steps",
        "`grpo.prompts_per_update` for all prompts of an update; `train.tokens_per_micro_batch` cuts it to memory",
    ),
    ("gradient_checkpointing", "`model.activation_checkpointing` = \"none\", \"mlp\" or \"full\""),
    ("image_folders", "`data.image_root`"),
    ("importance_sampling_level", UNCHANGING),
    ("learning_rate", "`optim.lr`"),
    ("load_best_model_at_end", "`train.keep_best`, which keeps the best one's checkpoint"),
    ("log_completions", RECORDED),
    ("logging_steps", RECORDED),
    ("lora_alpha", "`model.lora.alpha`"),
    ("lora_dropout", LORA_DROPOUT),
    ("lora_modules_to_save", NO_OTHER_WEIGHTS),
    ("lora_r", LORA_RANK),
    ("lora_target_modules", LORA_TARGETS),
    ("loss_type", UNCHANGING),
    ("lr_scheduler_type", "`optim.schedule` = \"constant\", \"linear\" or \"cosine\""),
    ("mask_truncated_completions", "`grpo.mask_truncated`"),
    ("max_completion_length", "`rollout.max_new_tokens`"),
    ("max_grad_norm", "`optim.clip_norm`"),
    (
        "max_prompt_length",
        "nothing to set: no prompt is cut; `data.max_pixels` bounds the tokens of a picture",
    ),
    ("max_steps", "`train.updates`"),
    ("model_name_or_path", "`model.path`"),
    ("modules_to_save", NO_OTHER_WEIGHTS),
    ("num_completions_to_print", RECORDED),
    ("num_generations", "`grpo.group_size`"),
    ("num_iterations", "`grpo.updates_per_rollout`, a multiple of `grpo.mini_batches`"),
    ("num_train_epochs", "`train.epochs`"),
    ("optim_args", "the keys of [optim]"),
    ("output_dir", "the flag --out"),
    ("overwrite_output_dir", "the flag --out, which names a new or empty folder"),
    ("per_device_eval_batch_size", "`eval.max_batch`"),
    (
        "per_device_train_batch_size",
        "`grpo.prompts_per_update` for all prompts of an update, where TRL counts completions of a device",
    ),
    ("per_gpu_train_batch_size", "`grpo.prompts_per_update` for all prompts of an update"),
    ("r", LORA_RANK),
    ("report_to", RECORDED),
    ("resume_from_checkpoint", "the flag --resume"),
    ("reward_funcs", "`reward.weights` for components, `reward.command` for a program of your own"),
    ("reward_weights", "`reward.weights`"),
    ("run_name", "the flag --out, which names the run's folder"),
    ("save_only_model", "`train.save_optimizer` = false"),
    ("save_steps", "`train.checkpoint_every`"),
    ("save_strategy", "`train.checkpoint_every` in updates"),
    ("save_total_limit", "`train.keep`"),
    ("scale_rewards", UNCHANGING),
    ("shuffle_dataset", "`data.shuffle`"),
    ("steps_per_generation", ROLLOUT_BATCH),
    ("target_modules", LORA_TARGETS),
    ("torch_dtype", NUMBER_FORMAT),
    ("use_dora", "nothing to set: plain LoRA alone, [model.lora], is there"),
    ("use_peft", "the section [model.lora], such as `model.lora.rank` = 16"),
    ("use_rslora", "`model.lora.rslora`"),
    ("use_vllm", ONE_PROGRAM),
    ("vllm_device", ONE_PROGRAM),
    ("vllm_gpu_memory_utilization", ONE_PROGRAM),
    ("vllm_mode", ONE_PROGRAM),
    ("warmup_ratio", "`optim.warmup`: a number with a point is a fraction of the run"),
    ("warmup_steps", "`optim.warmup`: a whole number counts updates"),
];

/// What another trainer's name is here, to be read after "here: ".
///
/// - `name`: without the section that it stands in
pub(super) fn named_here(name: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(theirs, _)| *theirs == name).map(|(_, here)| *here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::known_keys::is_known;

    #[test]
    fn every_key_that_is_named_is_one_of_the_run_file() {
        for (theirs, here) in RENAMED {
            for key in here.split('`').skip(1).step_by(2) {
                assert!(is_known(key), "{theirs}: {key}");
            }
        }
    }

    #[test]
    fn every_name_stands_once() {
        for (idx, (theirs, _)) in RENAMED.iter().enumerate() {
            assert!(RENAMED[idx + 1..].iter().all(|(other, _)| other != theirs), "{theirs}");
        }
    }
}
