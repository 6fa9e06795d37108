//! Which keys of a configuration decide a run's numbers, and whether two configurations are of one run.
//! Not here: the folder that a configuration is stored in (`folder`), fingerprints (`experiment`).

use std::path::Path;

use toml::{Table, Value};

use super::error::RunFolderError;
use super::origin::Difference;
use crate::ops;

/// Keys that decide how fast a run is, what it keeps and what it reports.
const CHANGE_NO_NUMBER: [&str; 12] = [
    "data.prefetch",
    "data.workers",
    "eval.after_training",
    "model.activation_checkpointing",
    "optim.offload",
    "train.checkpoint_every",
    "train.eval_every",
    "train.keep",
    "train.keep_best",
    "train.record_token_ids",
    "train.save_optimizer",
    "train.warn_*",
];

/// Keys that decide which completions are decoded together: they change no number where kernels compute every row by
/// itself, and the last bits elsewhere.
const CHANGE_NEIGHBOURS: [&str; 2] = ["eval.max_batch", "rollout.max_batch"];

/// Keys that change the order of a sum, and so the last bits of all that follows. A run may be resumed with another value
/// all the same, because lowering it lets a run continue that has run out of memory; so it may with those above.
const CHANGE_LAST_BITS: [&str; 1] = ["train.tokens_per_micro_batch"];

/// Keys that say where a run finds what its origin has fingerprints of: a run may be resumed with the same contents
/// elsewhere, but not without them.
const SAY_WHERE: [&str; 4] = ["data.image_root", "data.train", "model.path", "rollout.replay"];
/// Keys that say how long a run is. It may be resumed at a greater length; whether earlier updates would then have been others
/// hangs on its schedules (`train::longer`).
const LENGTH: [&str; 2] = ["train.epochs", "train.updates"];

/// The value of a key that is not there; one that is a text has quotation marks.
const NOT_SET: &str = "not set";

/// What another value of a key changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    NoNumber,
    LastBits,
    Length,
    Numbers,
}

impl Change {
    fn of(key: &str, runs_on: ops::Path) -> Self {
        let is_among = |keys: &[&str]| {
            keys.iter().any(|named| match named.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix),
                None => key == *named,
            })
        };
        let changes_neighbours = is_among(&CHANGE_NEIGHBOURS);
        if is_among(&CHANGE_NO_NUMBER) || (changes_neighbours && runs_on.keeps_rows_apart()) {
            Self::NoNumber
        } else if changes_neighbours || is_among(&CHANGE_LAST_BITS) {
            Self::LastBits
        } else if is_among(&LENGTH) {
            Self::Length
        } else {
            Self::Numbers
        }
    }
}

/// Whether a run may be resumed with any other value of a key, on the path of its device and number format.
pub fn may_change(key: &str, runs_on: ops::Path) -> bool {
    matches!(Change::of(key, runs_on), Change::NoNumber | Change::LastBits)
}

/// A resolved configuration without the keys that change no number: two runs with the same one compute the same, to the
/// bit.
///
/// - `runs_on`: the path of the runs' device and number format
///
/// # Errors
/// It is not TOML.
pub fn decisive_config(
    resolved_config: &str,
    runs_on: ops::Path,
) -> Result<String, RunFolderError> {
    let parsed = resolved_config.parse::<Table>().map_err(|error| RunFolderError::Config {
        place: "the given configuration".to_owned(),
        found: error.message().to_owned(),
        hint: "give a resolved run file",
    })?;
    Ok(decisive_keys("", parsed, runs_on).to_string())
}

fn decisive_keys(prefix: &str, table: Table, runs_on: ops::Path) -> Table {
    let kept = table.into_iter().filter_map(|(name, value)| {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) => {
                let table = decisive_keys(&format!("{key}."), table, runs_on);
                Some((name, Value::Table(table)))
            }
            value => (Change::of(&key, runs_on) != Change::NoNumber).then_some((name, value)),
        }
    });
    kept.collect()
}

/// What a run that is resumed has other than before.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// What changes the last bits of its numbers.
    pub(super) last_bits: Vec<Difference>,
    /// What changes its length.
    pub(super) length: Vec<Difference>,
}

impl Difference {
    /// Whether it is about where the same contents are.
    fn is_elsewhere(&self) -> bool {
        let Self { key, stored, given } = self;
        SAY_WHERE.contains(&key.as_str()) && [stored, given].iter().all(|value| *value != NOT_SET)
    }
}

/// Refuses a configuration that would change the numbers of the run stored at `path`, and returns what may differ.
///
/// - `runs_on`: the path of the runs' device and number format
///
/// # Errors
/// Either is not TOML, or they differ; the error names the first key.
pub(super) fn require_same(
    path: &Path,
    [stored, given]: [&str; 2],
    runs_on: ops::Path,
) -> Result<Differences, RunFolderError> {
    let parse = |text: &str, place: String, hint| {
        text.parse::<Table>().map_err(|error| RunFolderError::Config {
            place,
            found: error.message().to_owned(),
            hint,
        })
    };
    let hint = "restore the file from a copy, or start again with another --out";
    let stored = parse(stored, path.display().to_string(), hint)?;
    let given = parse(given, "the given configuration".to_owned(), "give a resolved run file")?;
    let mut found = Differences::default();
    for difference in differences("", &stored, &given) {
        match Change::of(&difference.key, runs_on) {
            _ if difference.is_elsewhere() => {}
            Change::NoNumber => {}
            Change::LastBits => found.last_bits.push(difference),
            Change::Length => found.length.push(difference),
            Change::Numbers => {
                let Difference { key, stored, given } = difference;
                let path = path.to_owned();
                return Err(RunFolderError::ConfigDiffers { path, key, stored, given });
            }
        }
    }
    Ok(found)
}

/// The keys whose values differ, in the stored table's order and then in the given one's.
fn differences(prefix: &str, stored: &Table, given: &Table) -> Vec<Difference> {
    let only_given = given.keys().filter(|key| !stored.contains_key(*key));
    let spell = |value: Option<&Value>| value.map_or(NOT_SET.to_owned(), Value::to_string);
    let mut found = Vec::new();
    for name in stored.keys().chain(only_given) {
        let key = format!("{prefix}{name}");
        match (stored.get(name), given.get(name)) {
            (Some(Value::Table(stored)), Some(Value::Table(given))) => {
                found.extend(differences(&format!("{key}."), stored, given));
            }
            (stored, given) if stored != given => {
                found.push(Difference { key, stored: spell(stored), given: spell(given) });
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    /// A configuration of one key.
    fn config(key: &str, value: u64) -> String {
        let (section, name) = key.split_once('.').unwrap();
        format!("[{section}]\n{name} = {value}\n")
    }

    /// Whether another value of the key makes another run.
    fn is_decisive(key: &str, runs_on: ops::Path) -> bool {
        let decisive = |value| decisive_config(&config(key, value), runs_on).unwrap();
        decisive(1) != decisive(2)
    }

    /// What resuming with another value of the key gives: the keys that change last bits, or the one that is refused.
    fn resumed(key: &str, runs_on: ops::Path) -> Result<Vec<String>, String> {
        let configs = [config(key, 1), config(key, 2)];
        let configs = configs.each_ref().map(String::as_str);
        match require_same(Path::new("config.toml"), configs, runs_on) {
            Ok(found) => {
                assert!(found.length.is_empty(), "{found:?}");
                Ok(found.last_bits.into_iter().map(|d| d.key).collect())
            }
            Err(RunFolderError::ConfigDiffers { key, stored, given, .. }) => {
                assert_eq!([stored, given], ["1", "2"]);
                Err(key)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn speed_and_reports_make_no_other_run() {
        for key in ["data.workers", "model.activation_checkpointing", "train.warn_duplicates"] {
            for runs_on in [ops::Path::Cpu, ops::Path::Plain] {
                assert!(!is_decisive(key, runs_on), "{key}");
                assert_eq!(resumed(key, runs_on), Ok(Vec::new()));
            }
        }
    }

    #[test]
    fn how_many_decode_at_a_time_decides_numbers_where_no_kernel_treats_each_by_itself() {
        for key in ["rollout.max_batch", "eval.max_batch"] {
            assert!(!is_decisive(key, ops::Path::Cpu), "{key}");
            assert_eq!(resumed(key, ops::Path::Cpu), Ok(Vec::new()));
            assert!(is_decisive(key, ops::Path::Plain), "{key}");
            assert_eq!(resumed(key, ops::Path::Plain), Ok(vec![key.to_owned()]));
        }
    }

    /// Its own kernels of decoding do, and a model without them is decoded one completion at a time.
    #[cfg(feature = "cuda")]
    #[test]
    fn how_many_decode_at_a_time_changes_no_number_on_a_gpu_in_bf16() {
        for key in ["rollout.max_batch", "eval.max_batch"] {
            assert!(!is_decisive(key, ops::Path::Cuda), "{key}");
            assert_eq!(resumed(key, ops::Path::Cuda), Ok(Vec::new()));
        }
    }

    #[test]
    fn micro_batches_belong_to_a_runs_identity_and_may_change_when_it_is_resumed() {
        let key = "train.tokens_per_micro_batch";
        for runs_on in [ops::Path::Cpu, ops::Path::Plain] {
            assert!(is_decisive(key, runs_on));
            assert_eq!(resumed(key, runs_on), Ok(vec![key.to_owned()]));
        }
    }

    #[test]
    fn the_same_contents_may_be_elsewhere_when_a_run_is_resumed() {
        for key in SAY_WHERE {
            assert!(is_decisive(key, ops::Path::Cpu), "{key}");
            assert_eq!(resumed(key, ops::Path::Cpu), Ok(Vec::new()), "{key}");
        }
        assert_eq!(resumed("eval.data", ops::Path::Cpu), Err("eval.data".to_owned()));
    }

    #[test]
    fn everything_else_makes_another_run() {
        for key in ["train.seed", "rollout.max_new_tokens", "optim.lr", "trainer.keep"] {
            assert!(is_decisive(key, ops::Path::Cpu), "{key}");
            assert_eq!(resumed(key, ops::Path::Cpu), Err(key.to_owned()));
            assert!(!may_change(key, ops::Path::Cpu));
        }
    }

    #[test]
    fn another_length_makes_another_run_and_is_told_apart_on_resuming() {
        for key in LENGTH {
            assert!(is_decisive(key, ops::Path::Cpu) && !may_change(key, ops::Path::Cpu));
            let configs = [config(key, 1), config(key, 2)];
            let configs = configs.each_ref().map(String::as_str);
            let found = require_same(Path::new("config.toml"), configs, ops::Path::Cpu).unwrap();
            let [Difference { key: found, stored, given }] = found.length.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!([found.as_str(), stored, given], [key, "1", "2"]);
        }
    }

    #[test]
    fn every_key_that_is_named_is_one_of_the_run_files() {
        let config = RunConfig::default().resolved_toml().unwrap().parse::<Table>().unwrap();
        for named in CHANGE_NO_NUMBER.iter().chain(&CHANGE_NEIGHBOURS).chain(&CHANGE_LAST_BITS) {
            let (section, name) = named.split_once('.').unwrap();
            let section = config[section].as_table().unwrap();
            let is_named = |key: &str| match name.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix),
                None => key == name,
            };
            assert!(section.keys().any(|key| is_named(key)), "{named}");
        }
    }
}
