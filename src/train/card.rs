//! The model card of a checkpoint, `README.md` as the hub shows it: what was trained by what on what, and how good it is.
//!
//! It has nothing in it that another start of the same run would have otherwise: no date, no host, no folder, and none of the
//! keys that change no number.
//! Not here: writing it (`run_folder::checkpoint`).

use std::fmt::Write as _;

use toml::{Table, Value};

use super::error::TrainError;
use crate::config::{LoraConfig, RunConfig};
use crate::hub::Repository;
use crate::ops;
use crate::printable::{count, line};
use crate::program;
use crate::run_folder::identity::decisive_config;
use crate::run_folder::records::EvaluationRecord;

/// What a card says of a run besides its configuration.
#[derive(Debug)]
pub(super) struct Trained<'a> {
    /// The path of the run's device and number format.
    pub(super) runs_on: ops::Path,
    /// Rows of an epoch.
    pub(super) n_rows: usize,
    /// Updates made, and of the whole run.
    pub(super) updates: [u64; 2],
    /// The run's evaluations so far.
    pub(super) evaluations: &'a [EvaluationRecord],
}

/// The card's text.
///
/// - `config`: with its task's keys filled in
///
/// # Errors
/// The configuration cannot be written as TOML.
pub(super) fn card(config: &RunConfig, trained: &Trained) -> Result<String, TrainError> {
    let settings = settings(config, trained.runs_on)?;
    let (method, base) = (config.method.name(), line(&config.model.path));
    let data = config.data.train.as_deref().or(config.data.task.as_deref()).unwrap_or_default();
    let data = line(data);
    let rows = count(trained.n_rows, "row");
    let [made, all] = trained.updates;
    let commit = program::COMMIT.map_or(String::new(), |commit| format!(", commit {commit}"));
    let version = program::VERSION;
    let mut text = front_matter(config);
    let lora = config.model.lora.as_ref();
    let trained_part = lora.map_or(String::new(), |LoraConfig { rank, alpha, .. }| {
        format!("| trained | low-rank factors (LoRA), rank {rank}, alpha {alpha}: an adapter for the base model |\n")
    });
    let told = format!(
        "\n# {base} after {updates} of {method} on {data}\n\n\
         | | |\n|---|---|\n\
         | base model | `{base}` |\n\
         | method | `{method}` |\n\
         {trained_part}\
         | data | `{data}`, {rows} |\n\
         | updates | {made} of {all} |\n\
         | program | othink {version}{commit} |\n",
        updates = count(made, "update"),
    );
    text.push_str(&told);
    text.push_str(&measured(trained.evaluations));
    text.push_str("\n## Settings that differ from the program's defaults\n\n```toml\n");
    text.push_str(&settings);
    text.push_str("```\n\n`trainer/`, where it is there, is what a resumed run needs; the model needs none of it.\n");
    Ok(text)
}

/// What the hub reads.
fn front_matter(config: &RunConfig) -> String {
    let path = config.model.path.as_str();
    let base = Repository::is_id(path).then(|| format!("base_model: {path}\n"));
    let base = base.unwrap_or_default();
    let (method, is_adapter) = (config.method.name(), config.model.lora.is_some());
    let library = if is_adapter { "peft" } else { "transformers" };
    format!(
        "---\nlibrary_name: {library}\npipeline_tag: image-text-to-text\n{base}tags:\n- othink\n- {method}\n---\n"
    )
}

/// A table of the evaluations; a sentence where there are none.
fn measured(evaluations: &[EvaluationRecord]) -> String {
    if evaluations.is_empty() {
        return "\n## Evaluation\n\nThe run has not measured itself.\n".to_owned();
    }
    let header = "\n## Evaluation\n\n\
                  | after updates | questions | accuracy, % (95% interval) | rule | form as asked for, % |\n\
                  |---|---|---|---|---|\n";
    let row = |text: &mut String, EvaluationRecord { update, summary }: &EvaluationRecord| {
        let [low, high] = summary.ci95.map(|bound| 100.0 * bound);
        let (accuracy, format) = (100.0 * summary.accuracy, 100.0 * summary.format_rate);
        let (task, n, rule) = (line(&summary.task), summary.n, &summary.rule);
        // A `String` takes every text.
        writeln!(
            text,
            "| {update} | {n} of {task} | {accuracy:.1} ({low:.1} to {high:.1}) | {rule} | {format:.1} |"
        )
        .unwrap_or_default();
    };
    evaluations.iter().fold(header.to_owned(), |mut text, record| {
        row(&mut text, record);
        text
    })
}

/// The keys that decide the run's numbers and are not at their defaults, as TOML.
fn settings(config: &RunConfig, runs_on: ops::Path) -> Result<String, TrainError> {
    let decisive = |config: &RunConfig| -> Result<Table, TrainError> {
        let toml = config.resolved_toml().map_err(|source| TrainError::Resolve { source })?;
        Ok(decisive_config(&toml, runs_on)?.parse().unwrap_or_default())
    };
    let changed = changed(&decisive(config)?, &decisive(&RunConfig::default())?);
    Ok(changed.to_string())
}

/// What a table has that another has not, or has otherwise.
fn changed(table: &Table, default: &Table) -> Table {
    let kept = table.iter().filter_map(|(name, value)| match (value, default.get(name)) {
        (Value::Table(inner), Some(Value::Table(default))) => {
            let inner = changed(inner, default);
            (!inner.is_empty()).then(|| (name.clone(), Value::Table(inner)))
        }
        (value, default) => (Some(value) != default).then(|| (name.clone(), value.clone())),
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::eval::summary::test_summary;

    fn carded(changes: &[&str], evaluations: &[EvaluationRecord]) -> String {
        let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
        let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
        let config = RunConfig::from_file(&file, &changes).unwrap();
        let updates = [2, 9];
        let trained = Trained { runs_on: ops::Path::Cpu, n_rows: 5, updates, evaluations };
        card(&config, &trained).unwrap()
    }

    #[test]
    fn a_card_has_data_method_settings_evaluation_and_version() {
        let evaluation = EvaluationRecord { update: 2, summary: test_summary(92, 200) };
        let changes = ["train.updates=9", "optim.lr=1e-4", "reward.weights.choice=0.5"];
        let card = carded(&changes, &[evaluation]);
        for part in [
            "\n# tiny after 2 updates of grpo-d on synth-vc\n",
            "| data | `synth-vc`, 5 rows |\n| updates | 2 of 9 |\n| program | othink 0.",
            "| 2 | 200 of synth-vc | 46.0 (39.2 to 52.9) | answer-tag | 100.0 |\n",
            "```toml\n[data]\ntask = \"synth-vc\"\n\n[optim]\nlr = 0.0001\n\n\
             [reward.weights]\nchoice = 0.5\n\n[train]\nupdates = 9\n```\n",
        ] {
            assert!(card.contains(part), "{part}: {card}");
        }
        assert!(!card.contains("base_model"), "no name on the hub");
        let of_hub = carded(&["model.path=Qwen/Qwen2-VL-2B-Instruct"], &[]);
        assert!(
            of_hub.contains(
                "\nbase_model: Qwen/Qwen2-VL-2B-Instruct\ntags:\n- othink\n- grpo-d\n---\n"
            ),
            "{of_hub}"
        );
        assert!(of_hub.contains("library_name: transformers\n") && !of_hub.contains("LoRA"));
        let adapter = carded(&["model.lora.rank=4"], &[]);
        assert!(adapter.contains("library_name: peft\n"), "{adapter}");
        let trained = "| trained | low-rank factors (LoRA), rank 4, alpha 32: an adapter for the base model |\n";
        assert!(adapter.contains(trained), "{adapter}");
    }

    #[test]
    fn what_changes_no_number_changes_no_card() {
        let quick = ["data.workers=1", "optim.offload=true", "train.keep=1", "rollout.max_batch=3"];
        assert_eq!(carded(&quick, &[]), carded(&[], &[]));
        assert_ne!(carded(&["train.seed=1"], &[]), carded(&[], &[]));
    }
}
