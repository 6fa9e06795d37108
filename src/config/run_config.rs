//! The whole run file: its sections, how it is loaded, the rules that span sections.
//! Not here: a section's own keys, defaults and rules (one file each, named after it).

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::data::DEFAULT_HOLD_OUT;
use super::document::{Document, wrong_type};
use super::error::ConfigError;
use super::file::ConfigFile;
use super::overrides::{Override, contains, insert};
use super::run_file_paths::start_at;
use super::train::DEFAULT_EPOCHS;
use super::update_span::UpdateSpan;
use super::violation::{Violation, require};
use super::{
    DTypeChoice, DataConfig, EvalConfig, GrpoConfig, KlConfig, KlScheduleKind, ModelConfig,
    OptimConfig, RewardConfig, RolloutConfig, SftConfig, TrainConfig,
};

/// Everything that decides a training run. Out of [`RunConfig::load`] every value is in its range.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// What is minimised.
    pub method: Method,
    /// Which model, where, in which number format.
    pub model: ModelConfig,
    /// What is trained on.
    pub data: DataConfig,
    /// Groups, batches and the clip range.
    pub grpo: GrpoConfig,
    /// The weight of the KL term.
    pub kl: KlConfig,
    /// How accuracy and format make a reward.
    pub reward: RewardConfig,
    /// What supervised fine-tuning teaches.
    pub sft: SftConfig,
    /// How completions are sampled.
    pub rollout: RolloutConfig,
    /// The optimiser and its learning rate.
    pub optim: OptimConfig,
    /// Length, seed, micro-batches, checkpoints.
    pub train: TrainConfig,
    /// What the run measures itself on.
    pub eval: EvalConfig,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// GRPO with the dynamic KL weight of Eq. (3); another `kl.schedule` makes an ablation of it.
    #[default]
    GrpoD,
    /// Plain GRPO: the same trainer with a constant KL weight, or none.
    Grpo,
    /// Supervised fine-tuning on the answers.
    Sft,
}

impl Method {
    /// The name in run files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrpoD => "grpo-d",
            Self::Grpo => "grpo",
            Self::Sft => "sft",
        }
    }
}

impl RunConfig {
    /// Finds a run file from the working folder (see [`ConfigFile::find`]), applies the overrides
    /// (`section.key=value`) to it and validates the result.
    ///
    /// # Errors
    /// The file is not found, not readable or not TOML; a key is unknown; a value has the wrong
    /// type, is out of its range or in conflict with another.
    pub fn load(name: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::from_file(&ConfigFile::find(name, Path::new(""))?, overrides)
    }

    /// As [`RunConfig::load`], of a file that was found already.
    ///
    /// # Errors
    /// As [`RunConfig::load`].
    pub fn from_file(file: &ConfigFile, overrides: &[String]) -> Result<Self, ConfigError> {
        let document = Document::parse(file)?;
        let overrides: Vec<Override> =
            overrides.iter().map(|text| Override::parse(text)).collect::<Result<_, _>>()?;
        let out_of_range = |violation: Violation| {
            let Violation { key, found, expected, hint } = violation;
            let place =
                Override::place_of(&overrides, &key).unwrap_or_else(|| document.place_of(&key));
            ConfigError::OutOfRange { place, key: key.into_owned(), found, expected, hint }
        };
        let mut table = document.table.clone();
        if let Some(folder) = file.folder() {
            let is_overridden = |key: &str| Override::place_of(&overrides, key).is_some();
            start_at(folder, &mut table, is_overridden).map_err(&out_of_range)?;
        }
        for change in &overrides {
            change.apply(&mut table);
        }
        fill_dependent_defaults(&mut table);
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            wrong_type(file.name().to_owned(), "run file", error.message())
        })?;
        config.check().map_err(out_of_range)?;
        Ok(config)
    }

    /// The run file with every default written out; loading it gives the same value.
    ///
    /// # Errors
    /// A path is not valid UTF-8.
    pub fn resolved_toml(&self) -> Result<String, ConfigError> {
        Ok(toml::to_string(self)?)
    }

    /// The fraction of the rows of `data.train` that the run is measured on instead of trained on; `None` where it is
    /// measured on other questions, trains on a task's own rows, or on all rows.
    pub fn held_out(&self) -> Option<f64> {
        let has_own_alone = self.data.train.is_some() && self.eval.data.is_none();
        self.data.hold_out.filter(|fraction| has_own_alone && *fraction > 0.0)
    }

    fn check(&self) -> Result<(), Violation> {
        self.model.check()?;
        self.data.check()?;
        self.grpo.check()?;
        self.kl.check()?;
        self.reward.check()?;
        self.rollout.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.eval.check()?;
        self.check_across_sections()
    }

    fn check_across_sections(&self) -> Result<(), Violation> {
        require(
            self.method != Method::Grpo || self.kl.schedule != KlScheduleKind::Dynamic,
            "kl.schedule",
            "\"dynamic\"",
            "\"constant\" or \"zero\" beside method = \"grpo\"",
            "GRPO with the dynamic weight is method = \"grpo-d\"",
        )?;
        if let Some(n_updates) = self.train.updates {
            for (key, span) in
                [("kl.explore", self.kl.explore), ("optim.warmup", self.optim.warmup)]
            {
                let UpdateSpan::Updates(updates) = span else { continue };
                require(
                    updates <= n_updates,
                    key,
                    updates,
                    &format!("at most train.updates ({n_updates})"),
                    "a number from 0.0 to 1.0 is a fraction of the run, whatever its length",
                )?;
            }
        }
        require(
            self.method != Method::Sft || self.rollout.replay.is_none(),
            "rollout.replay",
            "set",
            "no file beside method = \"sft\"",
            "supervised fine-tuning is taught the data's answers and samples no completions",
        )?;
        require(
            !self.optim.offload || self.model.dtype != DTypeChoice::F16,
            "optim.offload",
            "true",
            "false beside model.dtype = \"f16\"",
            "the GPU reaches the host's memory from its kernels, and these take bf16 and f32",
        )?;
        let (limit, buffer) = self.reward.length(self.rollout.max_new_tokens);
        require(
            buffer <= limit,
            "reward.length_buffer",
            buffer,
            &format!("at most reward.length_limit, or rollout.max_new_tokens without it ({limit})"),
            "leave it out for a fifth of the limit",
        )?;
        let evaluates =
            self.train.eval_every > 0 || self.eval.before_training || self.eval.after_training;
        let has_questions = self.eval.task.is_some()
            || self.eval.data.is_some()
            || self.data.task.is_some()
            || self.held_out().is_some();
        require(
            !evaluates || has_questions,
            "eval.task",
            "not set",
            "a task, a file (eval.data) or data.hold_out above 0.0, as the run evaluates itself and trains on a file",
            "or set train.eval_every = 0, eval.before_training and eval.after_training = false",
        )
    }
}

/// Writes the defaults that depend on what the file says.
fn fill_dependent_defaults(table: &mut Table) {
    let is_grpo = table.get("method").and_then(Value::as_str) == Some("grpo");
    if is_grpo && !contains(table, "kl.schedule") {
        insert(table, "kl.schedule", Value::String("constant".to_owned()));
    }
    if !contains(table, "train.updates") && !contains(table, "train.epochs") {
        insert(table, "train.epochs", Value::from(DEFAULT_EPOCHS));
    }
    let names_questions = ["data.task", "eval.task", "eval.data", "data.hold_out"]
        .iter()
        .any(|key| contains(table, key));
    if evaluates(table) && contains(table, "data.train") && !names_questions {
        insert(table, "data.hold_out", Value::from(DEFAULT_HOLD_OUT));
    }
}

/// Whether the run measures itself: these keys are off by default.
fn evaluates(table: &Table) -> bool {
    let value = |section: &str, key: &str| table.get(section).and_then(|of| of.get(key));
    let is_on = |key: &str| value("eval", key).and_then(Value::as_bool) == Some(true);
    let is_repeated = value("train", "eval_every").and_then(Value::as_integer) > Some(0);
    is_on("before_training") || is_on("after_training") || is_repeated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{LrScheduleKind, RunLength};

    const MINIMAL: &str = "[data]\ntask = \"synth-vc\"\n";

    fn load(text: &str, overrides: &[&str]) -> Result<RunConfig, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        RunConfig::from_file(&ConfigFile::from_text("run.toml", text.to_owned()), &overrides)
    }

    fn message(text: &str, overrides: &[&str]) -> String {
        load(text, overrides).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_r1_v_and_the_paper() {
        let config = load(MINIMAL, &[]).unwrap();
        assert_eq!(config.method, Method::GrpoD);
        assert_eq!(config.kl.schedule, KlScheduleKind::Dynamic);
        assert_eq!((config.grpo.group_size, config.grpo.prompts_per_rollout()), (8, 16));
        assert_eq!((config.reward.alpha, config.rollout.temperature), (1.0, 1.0));
        assert_eq!((config.optim.lr, config.optim.schedule), (1e-6, LrScheduleKind::Linear));
        assert_eq!(config.train.length(), RunLength::Epochs(2));
        assert_eq!(config.train.seed, 42);
    }

    #[test]
    fn grpo_has_a_constant_weight_by_default_and_never_a_dynamic_one() {
        let constant = load(MINIMAL, &["method=grpo"]).unwrap();
        assert_eq!(constant.kl.schedule, KlScheduleKind::Constant);
        let zero = load(MINIMAL, &["method=grpo", "kl.schedule=zero"]).unwrap();
        assert_eq!(zero.kl.schedule, KlScheduleKind::Zero);
        assert_eq!(
            message("method = \"grpo\"\n[kl]\nschedule = \"dynamic\"\n[data]\ntask = \"x\"", &[]),
            "run.toml:3: kl.schedule is \"dynamic\", expected \"constant\" or \"zero\" beside \
             method = \"grpo\"\nhint: GRPO with the dynamic weight is method = \"grpo-d\""
        );
    }

    #[test]
    fn overrides_replace_what_the_file_says_and_the_last_one_wins() {
        let text = "[data]\ntask = \"synth-vc\"\n[train]\nepochs = 3\n[grpo]\ngroup_size = 4\n";
        let overrides = ["grpo.group_size=6", "train.updates=10", "grpo.group_size=2"];
        let config = load(text, &overrides).unwrap();
        assert_eq!(config.grpo.group_size, 2);
        assert_eq!(config.train.length(), RunLength::Updates(10));
    }

    #[test]
    fn value_out_of_range_is_named_with_file_line_and_rule() {
        assert_eq!(
            message("[data]\ntask = \"synth-vc\"\n\n[grpo]\ngroup_size = 1\n", &[]),
            "run.toml:5: grpo.group_size is 1, expected a whole number from 2 to 65536\nhint: \
             advantages compare the completions of a group with each other; 8 is usual"
        );
    }

    #[test]
    fn override_out_of_range_is_named_as_it_was_given() {
        let text = "[data]\ntask = \"synth-vc\"\n[rollout]\ntop_p = 0.9\n";
        assert!(
            message(text, &["rollout.top_p=1.5"])
                .starts_with("--set rollout.top_p=1.5: rollout.top_p is 1.5, expected a number")
        );
    }

    #[test]
    fn every_number_outside_its_range_is_refused() {
        for change in [
            "grpo.prompts_per_update=0",
            "grpo.updates_per_rollout=0",
            "grpo.mini_batches=2",
            "grpo.clip_low=0",
            "grpo.clip_low=1.1",
            "grpo.clip_high=-0.1",
            "grpo.log_ratio_limit=100",
            "kl.beta=-0.04",
            "kl.beta=inf",
            "kl.beta_max=nan",
            "kl.beta_min=0.1",
            "reward.alpha=-1",
            "reward.relative_error=-0.1",
            "reward.length_limit=0",
            "reward.length_buffer=513",
            "reward.repetition_ngram=0",
            "reward.weights.choice=-1",
            "reward.weights.length_penalty=nan",
            "reward.command.program= ",
            "reward.command={program=\"x\", weight=-1}",
            "reward.command={program=\"x\", timeout_s=0}",
            "reward.command={program=\"x\", timeout_s=1e9}",
            "rollout.temperature=0",
            "rollout.top_p=0",
            "rollout.min_p=1.01",
            "rollout.repetition_penalty=0",
            "rollout.max_new_tokens=0",
            "rollout.min_new_tokens=513",
            "rollout.max_batch=0",
            "rollout.replay=",
            "optim.lr=0",
            "optim.betas=[0.9, 1.0]",
            "optim.eps=0",
            "optim.weight_decay=-0.1",
            "optim.clip_norm=-1",
            "train.updates=0",
            "train.epochs=0",
            "train.keep=0",
            "train.tokens_per_micro_batch=0",
            "train.warn_truncated_fraction=2.0",
            "data.max_pixels=100",
            "data.max_samples=0",
            "data.image_size=8",
            "data.train=",
            "data.template=",
            "data.hold_out=1.0",
            "data.fields.problem=",
            "data.fields={problem=\"a\", solution=\"a\"}",
            "model.path=",
            "eval.limit=0",
            "eval.max_new_tokens=0",
            "eval.max_batch=0",
            "eval.split=",
        ] {
            let error = load(MINIMAL, &[change]).expect_err(change);
            assert!(matches!(error, ConfigError::OutOfRange { .. }), "{change}: {error}");
            assert!(error.to_string().contains("\nhint: "), "{change}: {error}");
        }
    }

    #[test]
    fn task_or_file_to_train_on_is_needed_and_both_may_stand() {
        assert!(message("", &[]).starts_with("run.toml: data.task is not set, expected a task"));
        assert!(load("", &["data.train=a.jsonl"]).is_ok());
        let config = load(MINIMAL, &["data.train=a.jsonl"]).unwrap();
        assert_eq!(config.data.task.as_deref(), Some("synth-vc"));
        assert_eq!(config.data.train.as_deref(), Some("a.jsonl"));
    }

    #[test]
    fn exploration_and_warm_up_end_within_the_run() {
        let changes = ["train.updates=10", "kl.explore=11"];
        assert!(message(MINIMAL, &changes).contains("kl.explore is 11, expected at most"));
        assert!(load(MINIMAL, &["train.updates=10", "kl.explore=10"]).is_ok());
        assert!(load(MINIMAL, &["train.updates=10", "optim.warmup=11"]).is_err());
    }

    #[test]
    fn run_that_evaluates_itself_needs_questions() {
        let text = "[data]\ntrain = \"a.jsonl\"\n[eval]\nafter_training = true\n";
        let without = message(text, &["data.hold_out=0.0"]);
        assert!(without.starts_with("run.toml: eval.task is not set"), "{without}");
        assert!(load(text, &["eval.data=b.jsonl"]).is_ok());
    }

    #[test]
    fn rows_are_held_out_by_default_where_a_run_on_ones_own_measures_itself_on_nothing_else() {
        let own = "[data]\ntrain = \"a.jsonl\"\n";
        let measuring = "eval.after_training=true";
        let held_out = |changes: &[&str]| load(own, changes).unwrap().held_out();
        for measures in [measuring, "eval.before_training=true", "train.eval_every=5"] {
            assert_eq!(held_out(&[measures]), Some(0.1), "{measures}");
        }
        assert_eq!(held_out(&[]), None, "nothing is measured");
        for others in ["eval.data=b.jsonl", "eval.task=synth-vc", "data.task=synth-vc"] {
            assert_eq!(held_out(&[measuring, others]), None, "{others}");
        }
        assert_eq!(held_out(&["data.hold_out=0.2"]), Some(0.2));
        assert_eq!(held_out(&["data.hold_out=0.2", "data.task=synth-vc"]), Some(0.2));
        assert_eq!(held_out(&["data.hold_out=0.2", "eval.data=b.jsonl"]), None);
        let resolved = load(own, &[measuring]).unwrap().resolved_toml().unwrap();
        assert!(resolved.contains("hold_out = 0.1"), "a run is identified by it: {resolved}");
    }

    #[test]
    fn resolved_file_names_every_section_and_the_values_in_force() {
        let resolved = load(MINIMAL, &["method=grpo"]).unwrap().resolved_toml().unwrap();
        for line in ["method = \"grpo\"", "[kl]", "schedule = \"constant\"", "epochs = 2"] {
            assert!(resolved.lines().any(|found| found == line), "{line} is not in\n{resolved}");
        }
    }

    proptest! {
        #[test]
        fn resolved_file_loads_back_to_the_same_value(
            method in prop::sample::select(vec!["grpo-d", "grpo", "sft"]),
            device in prop::sample::select(vec!["auto", "cpu", "cuda", "cuda:7"]),
            explore in prop_oneof![(0_u32..100).prop_map(|n| n.to_string()),
                                   (0.0..=1.0_f64).prop_map(|x| format!("{x:?}"))],
            lr in 1e-12..1.0_f64,
            beta in 0.0..10.0_f64,
            seed in 0..i64::MAX,
            length in prop::sample::select(vec!["train.updates=100", "train.epochs=3"]),
            template in "[ -~\\n\"äß]{1,20}",
        ) {
            prop_assume!(!template.trim().is_empty());
            let overrides = [
                format!("method={method}"), format!("model.device={device}"),
                format!("kl.explore={explore}"), format!("optim.lr={lr:?}"),
                format!("kl.beta={beta:?}"), format!("train.seed={seed}"), length.to_owned(),
                format!("data.template={}", Value::String(template)),
            ];
            let file = ConfigFile::from_text("run.toml", MINIMAL);
            let config = RunConfig::from_file(&file, &overrides).unwrap();
            let resolved = config.resolved_toml().unwrap();
            prop_assert_eq!(load(&resolved, &[]).unwrap(), config);
        }
    }
}
