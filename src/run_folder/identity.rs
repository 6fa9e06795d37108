//! Which keys of a configuration decide a run's numbers, and whether two configurations are of one run.
//! Not here: the folder that a configuration is stored in (`folder`), fingerprints (`experiment`).

use std::path::Path;

use toml::{Table, Value};

use super::error::RunFolderError;

/// Keys that a run may be resumed with in another value: what they decide is how fast the run is,
/// what it keeps and what it reports, not what it computes. `tokens_per_micro_batch` moves the last
/// bits of a gradient's sum and is here all the same: lowering it is the way out of a full memory.
const MAY_DIFFER: [&str; 12] = [
    "data.prefetch",
    "data.workers",
    "eval.after_training",
    "eval.max_batch",
    "model.activation_checkpointing",
    "rollout.max_batch",
    "train.checkpoint_every",
    "train.eval_every",
    "train.keep",
    "train.save_optimizer",
    "train.tokens_per_micro_batch",
    "train.warn_*",
];

/// A resolved configuration without the keys that change no number: two runs with the same one compute the same.
///
/// # Errors
/// It is not TOML.
pub fn decisive_config(resolved_config: &str) -> Result<String, RunFolderError> {
    let parsed = resolved_config.parse::<Table>().map_err(|error| RunFolderError::Config {
        place: "the given configuration".to_owned(),
        found: error.message().to_owned(),
        hint: "resolve it first",
    })?;
    Ok(without_free_keys("", parsed).to_string())
}

fn without_free_keys(prefix: &str, table: Table) -> Table {
    let kept = table.into_iter().filter_map(|(name, value)| {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) => {
                Some((name, Value::Table(without_free_keys(&format!("{key}."), table))))
            }
            value => (!may_differ(&key)).then_some((name, value)),
        }
    });
    kept.collect()
}

/// Refuses a configuration that would change the numbers of the run stored at `path`.
///
/// # Errors
/// Either is not TOML, or they differ; the error names the first key.
pub(super) fn require_same(path: &Path, stored: &str, given: &str) -> Result<(), RunFolderError> {
    let parse = |text: &str, place: String, hint| {
        text.parse::<Table>().map_err(|error| RunFolderError::Config {
            place,
            found: error.message().to_owned(),
            hint,
        })
    };
    let hint = "restore the file from a copy, or start again with another --out";
    let stored = parse(stored, path.display().to_string(), hint)?;
    let given = parse(given, "the given configuration".to_owned(), "resolve it first")?;
    let Some(difference) = first_difference("", &stored, &given) else { return Ok(()) };
    let spell = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    Err(RunFolderError::ConfigDiffers {
        path: path.to_owned(),
        stored: spell(difference.stored),
        given: spell(difference.given),
        key: difference.key,
    })
}

/// A key that changes the run's numbers, and its two values.
struct Difference<'a> {
    key: String,
    stored: Option<&'a Value>,
    given: Option<&'a Value>,
}

/// The first key, in the stored table's order and then in the given one's, whose values differ.
fn first_difference<'a>(
    prefix: &str,
    stored: &'a Table,
    given: &'a Table,
) -> Option<Difference<'a>> {
    let only_given = given.keys().filter(|key| !stored.contains_key(*key));
    for name in stored.keys().chain(only_given) {
        let key = format!("{prefix}{name}");
        let difference = match (stored.get(name), given.get(name)) {
            (Some(Value::Table(stored)), Some(Value::Table(given))) => {
                first_difference(&format!("{key}."), stored, given)
            }
            (stored, given) => {
                (stored != given && !may_differ(&key)).then_some(Difference { key, stored, given })
            }
        };
        if difference.is_some() {
            return difference;
        }
    }
    None
}

fn may_differ(key: &str) -> bool {
    MAY_DIFFER.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == *allowed,
    })
}
