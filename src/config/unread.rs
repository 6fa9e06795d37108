//! Keys that have no effect together with the other settings: which, why, and what to set instead.
//! Not here: keys that do not exist (`known_keys`), values out of range (each section's `check`).

use toml::{Table, Value};

use super::document::Document;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::overrides::Override;
use super::{
    DTypeChoice, DeviceChoice, GradientSums, KlScheduleKind, MasterWeights, Method, RunConfig,
};

/// What must hold for a key to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// The method samples completions.
    Samples,
    /// The method teaches answers.
    Teaches,
    /// The KL weight is constant.
    ConstantWeight,
    /// The KL weight moves.
    DynamicWeight,
    /// A batch of rollouts serves several updates.
    ReusesRollouts,
    /// The model's own weights are trained.
    TrainsWeights,
    /// Weights decay.
    Decays,
    /// Completions are sampled, or an evaluation uses their limit.
    LimitsCompletions,
    /// The reward has the component of this name.
    HasComponent(&'static str),
    /// The run trains on rows of its own and names no other questions.
    MayHoldOut,
    /// The run evaluates its policy while it goes on.
    EvaluatesOften,
    /// The model may be in bf16: what `auto` is, the machine decides.
    MayBeInBf16,
    /// The model may be on a GPU, likewise.
    MayBeOnGpu,
}

use Condition::{
    ConstantWeight, Decays, DynamicWeight, EvaluatesOften, HasComponent, LimitsCompletions,
    MayBeInBf16, MayBeOnGpu, MayHoldOut, ReusesRollouts, Samples, Teaches, TrainsWeights,
};

/// Keys, or whole sections, and all that must hold for them to be read; the first entry that matches a key decides, and
/// a key that no entry matches is always read.
const READ_WHERE: &[(&str, &[Condition])] = &[
    ("data.hold_out", &[MayHoldOut]),
    ("grpo.clip_high", &[Samples, ReusesRollouts]),
    ("grpo.clip_low", &[Samples, ReusesRollouts]),
    ("grpo.prompts_per_update", &[]), // supervised training's batch as well
    ("grpo", &[Samples]),
    ("kl.beta", &[Samples, ConstantWeight]),
    ("kl.beta_max", &[Samples, DynamicWeight]),
    ("kl.beta_min", &[Samples, DynamicWeight]),
    ("kl.explore", &[Samples, DynamicWeight]),
    ("kl", &[Samples]),
    ("model.freeze_vision", &[TrainsWeights]),
    ("optim.decay_norms_and_biases", &[Decays]),
    ("optim.gradients", &[MayBeInBf16]),
    ("optim.masters", &[MayBeInBf16]),
    ("optim.offload", &[MayBeOnGpu]),
    ("reward.length_buffer", &[Samples, HasComponent("length_penalty")]),
    ("reward.length_limit", &[Samples, HasComponent("length_penalty")]),
    ("reward.relative_error", &[Samples, HasComponent("relative_error")]),
    ("reward.repetition_ngram", &[Samples, HasComponent("repetition_penalty")]),
    ("reward", &[Samples]),
    ("rollout.max_new_tokens", &[LimitsCompletions]),
    ("rollout", &[Samples]),
    ("sft", &[Teaches]),
    ("train.keep_best", &[EvaluatesOften]),
    ("train.record_token_ids", &[Samples]),
    ("train.warn_after_silent_updates", &[Samples]),
    ("train.warn_duplicate_fraction", &[Samples]),
    ("train.warn_truncated_fraction", &[Samples]),
];

impl Condition {
    fn holds(self, config: &RunConfig) -> bool {
        let samples = config.method != Method::Sft;
        match self {
            Samples => samples,
            Teaches => !samples,
            ConstantWeight => config.kl.schedule == KlScheduleKind::Constant,
            DynamicWeight => config.kl.schedule == KlScheduleKind::Dynamic,
            ReusesRollouts => config.grpo.updates_per_rollout > 1,
            TrainsWeights => config.model.lora.is_none(),
            Decays => config.optim.weight_decay > 0.0,
            LimitsCompletions => {
                let (eval, data) = (&config.eval, &config.data);
                let has_own =
                    eval.max_new_tokens.is_some() || eval.task.is_some() || data.task.is_some();
                samples || !has_own
            }
            HasComponent(name) => {
                config.reward.weights.named().iter().any(|(known, _)| known.name == name)
            }
            MayHoldOut => config.data.train.is_some() && config.eval.data.is_none(),
            EvaluatesOften => config.train.eval_every > 0,
            MayBeInBf16 => match config.model.dtype {
                DTypeChoice::Bf16 => true,
                DTypeChoice::Auto => MayBeOnGpu.holds(config),
                DTypeChoice::F32 | DTypeChoice::F16 => false,
            },
            MayBeOnGpu => config.model.device != DeviceChoice::Cpu,
        }
    }

    /// Why a key has no effect while this condition does not hold, and what to set instead.
    fn explain(self, config: &RunConfig) -> (String, String) {
        let method = format!("method = \"{}\"", config.method.name());
        let kl = format!("kl.schedule = \"{}\"", config.kl.schedule.name());
        let schedules = "\"constant\" reads kl.beta, \"dynamic\" (method = \"grpo-d\") reads kl.beta_min, \
                         kl.beta_max and kl.explore, \"zero\" reads none of them";
        let (why, hint) = match self {
            Samples => (
                format!("{method} samples no completions"),
                "it reads [sft], [optim], and for the samples of an update grpo.prompts_per_update"
                    .to_owned(),
            ),
            Teaches => (
                format!("{method} does not train on answers"),
                "method = \"sft\" reads it".to_owned(),
            ),
            ConstantWeight | DynamicWeight => {
                (format!("{kl} does not read it"), schedules.to_owned())
            }
            ReusesRollouts => (
                "with grpo.updates_per_rollout = 1 every ratio is 1 and none is clipped".to_owned(),
                "set grpo.updates_per_rollout above 1".to_owned(),
            ),
            TrainsWeights => (
                "with [model.lora] no weight of the model is trained".to_owned(),
                "model.lora.vision says whether the tower's maps have factors".to_owned(),
            ),
            Decays => {
                ("optim.weight_decay is 0".to_owned(), "set optim.weight_decay as well".to_owned())
            }
            LimitsCompletions => (
                format!("{method} samples no completions"),
                "eval.max_new_tokens limits the answers of evaluations".to_owned(),
            ),
            HasComponent(name) => (
                format!("reward.weights.{name} is not set"),
                format!("set reward.weights.{name} as well"),
            ),
            MayHoldOut => (
                "the run trains on a task's own rows, or measures itself on eval.data".to_owned(),
                "rows of data.train are held out where eval.data is not set".to_owned(),
            ),
            EvaluatesOften => {
                ("train.eval_every is 0".to_owned(), "set train.eval_every as well".to_owned())
            }
            MayBeInBf16 => (
                "the model is not in bf16".to_owned(),
                "model.dtype = \"bf16\" reads it, and so does \"auto\" on a GPU".to_owned(),
            ),
            MayBeOnGpu => (
                "the model is in the host's memory itself".to_owned(),
                "a model on a GPU reads it".to_owned(),
            ),
        };
        (why, hint)
    }
}

impl RunConfig {
    /// Refuses a key that has no effect in this run.
    ///
    /// # Errors
    /// The method, a schedule or another key leaves it unread.
    pub fn require_read(&self, key: &str) -> Result<(), ConfigError> {
        self.unmet(key).map_or(Ok(()), |condition| Err(self.unread(&[key], condition)))
    }

    /// Keys without effect that a run file or its overrides set, an error for each reason. A resolved file, as in a
    /// run's folder, sets every key and is not searched.
    ///
    /// # Errors
    /// Those of [`RunConfig::from_file`].
    pub fn unread_keys(
        file: &ConfigFile,
        overrides: &[String],
    ) -> Result<Vec<ConfigError>, ConfigError> {
        let config = Self::from_file(file, overrides)?;
        let mut named = Document::parse(file)?.table;
        let is_resolved = |own: Self| Table::try_from(own).is_ok_and(|own| own == named);
        if Self::from_file(file, &[]).is_ok_and(is_resolved) {
            named = Table::new();
        }
        for text in overrides {
            Override::parse(text)?.apply(&mut named);
        }
        let mut unread: Vec<(Condition, Vec<String>)> = Vec::new();
        for key in leaf_keys("", &named) {
            let Some(condition) = config.unmet(&key) else { continue };
            match unread.iter_mut().find(|(known, _)| *known == condition) {
                Some((_, keys)) => keys.push(key),
                None => unread.push((condition, vec![key])),
            }
        }
        let told = unread.into_iter().map(|(condition, keys)| config.unread(&keys, condition));
        Ok(told.collect())
    }

    /// Keys without effect in any of several runs that overrides set, an error for each, with the first run's reason.
    ///
    /// # Errors
    /// An override that is none.
    pub fn unread_by_all(
        runs: &[Self],
        overrides: &[String],
    ) -> Result<Vec<ConfigError>, ConfigError> {
        let mut named = Table::new();
        for text in overrides {
            Override::parse(text)?.apply(&mut named);
        }
        let is_unread = |key: &String| runs.iter().all(|run| run.unmet(key).is_some());
        let unread = leaf_keys("", &named).into_iter().filter(is_unread);
        let explained = unread.filter_map(|key| runs.first()?.require_read(&key).err());
        Ok(explained.collect())
    }

    /// Keys of the optimiser's memory that are set and have no effect, where `auto` left it to the machine to decide: the
    /// others are among [`RunConfig::unread_keys`].
    ///
    /// - `in_bf16`, `on_gpu`: what the model is in, and where
    pub fn unread_here(&self, in_bf16: bool, on_gpu: bool) -> Vec<ConfigError> {
        let rounds_sums = self.optim.gradients == GradientSums::Bf16;
        let set = [
            ("optim.gradients", MayBeInBf16, rounds_sums, in_bf16),
            ("optim.masters", MayBeInBf16, self.optim.masters == MasterWeights::Bf16, in_bf16),
            ("optim.offload", MayBeOnGpu, self.optim.offload, on_gpu),
        ];
        let unread = set
            .into_iter()
            .filter(|(_, condition, is_set, is_read)| *is_set && !is_read && condition.holds(self));
        unread.map(|(key, condition, ..)| self.unread(&[key], condition)).collect()
    }

    /// The first condition of a key that does not hold.
    fn unmet(&self, key: &str) -> Option<Condition> {
        let is_below = |section: &str| {
            key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let (_, conditions) = READ_WHERE.iter().find(|(name, _)| is_below(name))?;
        conditions.iter().copied().find(|condition| !condition.holds(self))
    }

    fn unread(&self, keys: &[impl AsRef<str>], condition: Condition) -> ConfigError {
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        let (why, hint) = condition.explain(self);
        ConfigError::Unread { keys: keys.join(", "), why, hint }
    }
}

/// The dotted keys of a table and of the tables in it.
fn leaf_keys(prefix: &str, table: &Table) -> Vec<String> {
    let keys = table.iter().flat_map(|(name, value)| match value {
        Value::Table(inner) => leaf_keys(&format!("{prefix}{name}."), inner),
        _ => vec![format!("{prefix}{name}")],
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin_names;
    use crate::config::known_keys::{is_known, of_section};

    fn loaded(overrides: &[&str]) -> RunConfig {
        let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RunConfig::from_file(&file, &overrides).unwrap()
    }

    fn told(text: &'static str, overrides: &[&str]) -> Vec<String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let unread = RunConfig::unread_keys(&ConfigFile::from_text("run.toml", text), &overrides);
        unread.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_in_the_table_is_a_key_or_a_section() {
        for (name, _) in READ_WHERE {
            assert!(is_known(name) || of_section(name).is_some(), "{name}");
        }
    }

    /// Settings, keys that are read under them, and keys that are not.
    const CASES: [[&str; 3]; 17] = [
        [
            "method=grpo-d",
            "kl.schedule kl.beta_min kl.beta_max kl.explore grpo.group_size rollout.top_p reward.alpha reward.weights",
            "kl.beta sft.target sft.train_on_prompt grpo.clip_low grpo.clip_high",
        ],
        [
            "method=grpo",
            "kl.schedule kl.beta reward.command.program train.warn_truncated_fraction grpo.mask_truncated",
            "kl.beta_min kl.beta_max kl.explore sft.target optim.decay_norms_and_biases",
        ],
        [
            "kl.schedule=zero grpo.updates_per_rollout=2",
            "kl.schedule grpo.clip_low grpo.clip_high",
            "kl.beta kl.beta_min kl.beta_max kl.explore",
        ],
        [
            "method=sft kl.schedule=constant",
            "sft.target grpo.prompts_per_update optim.warmup optim.lr train.seed data.template method",
            "kl.beta kl.schedule grpo.group_size grpo.mini_batches reward.alpha reward.weights.choice \
             rollout.temperature rollout.max_new_tokens train.warn_after_silent_updates",
        ],
        [
            "method=sft grpo.updates_per_rollout=2 reward.weights.length_penalty=1",
            "sft.train_on_prompt",
            "kl.beta_min grpo.clip_low reward.length_limit train.warn_duplicate_fraction",
        ],
        [
            "reward.weights.length_penalty=0",
            "reward.length_limit reward.length_buffer",
            "reward.relative_error reward.repetition_ngram",
        ],
        [
            "reward.weights.relative_error=1",
            "reward.relative_error",
            "reward.length_limit reward.length_buffer reward.repetition_ngram",
        ],
        [
            "reward.weights.repetition_penalty=1 optim.weight_decay=0.1",
            "reward.repetition_ngram optim.decay_norms_and_biases",
            "reward.relative_error",
        ],
        ["model.dtype=auto model.device=auto", "optim.masters optim.offload", "kl.beta"],
        ["model.device=cpu model.dtype=bf16", "optim.masters", "optim.offload"],
        ["model.device=cpu model.dtype=auto", "optim.lr", "optim.masters optim.offload"],
        ["model.device=cuda model.dtype=f16", "optim.lr", "optim.masters"],
        ["data.train=a.jsonl", "data.hold_out", "kl.beta"],
        ["data.train=a.jsonl eval.data=b.jsonl", "data.fields.problem", "data.hold_out"],
        ["method=grpo-d", "data.train", "data.hold_out"],
        ["method=grpo-d", "model.freeze_vision model.lora.rank", "kl.beta"],
        ["model.lora.rank=4", "model.lora.vision", "model.freeze_vision"],
    ];

    #[test]
    fn keys_are_read_by_their_own_method_schedule_and_component_alone() {
        for [chosen, read, unread] in CASES {
            let config = loaded(&chosen.split(' ').collect::<Vec<_>>());
            for key in read.split(' ') {
                assert!(config.require_read(key).is_ok(), "{chosen}: {key}");
            }
            for key in unread.split(' ') {
                assert!(is_known(key) && config.require_read(key).is_err(), "{chosen}: {key}");
            }
        }
    }

    #[test]
    fn evaluation_of_ones_own_file_reads_the_limit_of_completions() {
        let file =
            ConfigFile::from_text("run.toml", "method = \"sft\"\n[data]\ntrain = \"a.jsonl\"\n");
        let config = |overrides: &[String]| RunConfig::from_file(&file, overrides).unwrap();
        assert!(config(&[]).require_read("rollout.max_new_tokens").is_ok());
        let limited = config(&["eval.max_new_tokens=9".to_owned()]);
        assert!(limited.require_read("rollout.max_new_tokens").is_err());
    }

    #[test]
    fn key_that_changes_nothing_is_explained() {
        let refused = loaded(&[]).require_read("kl.beta").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "kl.beta: no effect, because kl.schedule = \"dynamic\" does not read it\nhint: \"constant\" reads kl.beta, \
             \"dynamic\" (method = \"grpo-d\") reads kl.beta_min, kl.beta_max and kl.explore, \"zero\" reads none of them"
        );
    }

    #[test]
    fn what_is_named_and_changes_nothing_is_told_once_for_each_reason() {
        let text = "method = \"sft\"\n[data]\ntask = \"synth-vc\"\n[kl]\nbeta = 0.04\n[reward.weights]\nchoice = 1.0\n\
                    [grpo]\nprompts_per_update = 2\n[optim]\nlr = 1e-4\n";
        let found = told(text, &["rollout.top_k=3", "optim.decay_norms_and_biases=true"]);
        let [samples, decays] = found.as_slice() else { panic!("{found:?}") };
        let start = "kl.beta, reward.weights.choice, rollout.top_k: no effect, because method = \"sft\" samples no completions";
        assert!(samples.starts_with(start), "{samples}");
        assert!(decays.starts_with(
            "optim.decay_norms_and_biases: no effect, because optim.weight_decay is 0"
        ));
        assert!(told("[data]\ntask = \"synth-vc\"\n", &[]).is_empty());
    }

    #[test]
    fn what_the_machine_decided_against_is_told_by_those_who_asked_it() {
        let keys = |config: RunConfig, in_bf16, on_gpu| -> Vec<String> {
            let unread = config.unread_here(in_bf16, on_gpu);
            unread.iter().map(|e| e.to_string().split(':').next().unwrap().to_owned()).collect()
        };
        let both = ["optim.masters=bf16", "optim.offload=true"];
        assert_eq!(keys(loaded(&both), false, false), ["optim.masters", "optim.offload"]);
        assert_eq!(keys(loaded(&both), true, false), ["optim.offload"]);
        assert_eq!(keys(loaded(&both), false, true), ["optim.masters"]);
        assert!(keys(loaded(&[]), false, false).is_empty());
        // Told from the run file alone already.
        let on_cpu = loaded(&[&both[..], &["model.device=cpu"]].concat());
        assert!(keys(on_cpu, false, false).is_empty());
    }

    #[test]
    fn what_one_of_several_runs_reads_has_an_effect() {
        let runs = ["method=grpo", "method=grpo-d", "method=sft"].map(|method| loaded(&[method]));
        let overrides = ["kl.beta=0.1", "sft.target=solution", "optim.lr=1e-4"].map(str::to_owned);
        let keys = |runs: &[RunConfig]| -> Vec<String> {
            let unread = RunConfig::unread_by_all(runs, &overrides).unwrap();
            unread.iter().map(|e| e.to_string().split(':').next().unwrap().to_owned()).collect()
        };
        assert!(keys(&runs).is_empty());
        assert_eq!(keys(&runs[..2]), ["sft.target"]);
        assert_eq!(keys(&runs[1..]), ["kl.beta"]);
        assert_eq!(keys(&runs[1..2]), ["kl.beta", "sft.target"]);
    }

    #[test]
    fn run_file_of_a_runs_folder_names_everything_and_means_nothing_by_it() {
        let resolved: &'static str = loaded(&["method=grpo"]).resolved_toml().unwrap().leak();
        assert!(resolved.contains("beta_max"));
        assert!(told(resolved, &[]).is_empty());
        assert_eq!(told(resolved, &["kl.beta_max=1"]).len(), 1);
    }

    #[test]
    fn built_in_run_files_name_nothing_that_changes_nothing() {
        for name in builtin_names() {
            let file = ConfigFile::find(name, std::path::Path::new("nowhere")).unwrap();
            let unread = RunConfig::unread_keys(&file, &[]).unwrap();
            assert!(unread.is_empty(), "{name}: {unread:?}");
        }
    }
}
