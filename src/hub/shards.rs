//! Which of a data set's files hold a split: its parquet shards, in order, none missing.
//!
//! A file belongs to split `train` if it is called `train.parquet` or `train-...parquet`, or stands
//! in a folder `train`; so do `datasets`' own uploads (`data/train-00000-of-00005.parquet`, with a
//! hash at the end in older ones) and the hub's conversion (`default/train/0000.parquet`).
//! Not here: reading them (`data`); fetching them (`mod`).

use std::collections::{BTreeMap, BTreeSet};

use super::error::HubError;
use super::repository::Repository;

/// Where the rows are if several folders have the split: what `datasets` would take by default.
const USUAL_PLACES: [&str; 3] = ["data", "", "default"];

/// How many names an error shows.
const MAX_SHOWN: usize = 6;

/// A split's files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shards {
    /// Names in the repository, in the order of the rows.
    pub(super) names: Vec<String>,
    /// Whether the names say how many there are, so that none can be missing unnoticed.
    pub(super) are_counted: bool,
}

/// Whether any of the files is a parquet file.
pub(super) fn has_parquet(names: &[String]) -> bool {
    names.iter().any(|name| name.ends_with(PARQUET))
}

const PARQUET: &str = ".parquet";

/// The shards of `split` among a repository's files.
///
/// # Errors
/// None has the split, several folders have it, or a shard of a numbered set is missing or doubled.
pub(super) fn of_split(
    names: &[String],
    split: &str,
    repository: &Repository,
) -> Result<Shards, HubError> {
    let contents = |found: String, expected: String, hint| HubError::Contents {
        repository: repository.to_string(),
        found,
        expected,
        hint,
    };
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        if let Some(place) = place_of(name, split) {
            places.entry(place).or_default().push(name);
        }
    }
    let usual = USUAL_PLACES.iter().find_map(|place| places.get(place));
    let mut shards = match (usual, places.len()) {
        (Some(shards), _) => shards.clone(),
        (None, 1) => places.into_values().flatten().collect(),
        (None, 0) => {
            let parquet = names.iter().filter(|name| name.ends_with(PARQUET));
            let expected = format!("parquet files of the split `{split}`");
            let hint = "name one of the splits that are there";
            return Err(contents(shown(parquet.map(String::as_str)), expected, hint));
        }
        (None, _) => {
            let found = shown(places.keys().copied());
            let expected = format!("the split `{split}` in one folder or in `default`");
            let hint = "fetch the folder you mean, and give it with --data";
            return Err(contents(found, expected, hint));
        }
    };
    shards.sort_unstable();
    let are_counted = check_numbers(&shards)
        .map_err(|(found, expected)| contents(found, expected, "ask whoever uploaded the set"))?;
    Ok(Shards { names: shards.into_iter().map(str::to_owned).collect(), are_counted })
}

/// The folder that has the split, if the file belongs to it.
fn place_of<'a>(name: &'a str, split: &str) -> Option<&'a str> {
    let stem = name.strip_suffix(PARQUET)?;
    let (folder, stem) = stem.rsplit_once('/').unwrap_or(("", stem));
    let rest = stem.strip_prefix(split);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
        return Some(folder);
    }
    let (parent, last) = folder.rsplit_once('/').unwrap_or(("", folder));
    (last == split).then_some(parent)
}

/// Whether the shards say how many they are; if so, each must be there once.
fn check_numbers(shards: &[&str]) -> Result<bool, (String, String)> {
    let numbers: Vec<(usize, usize)> = shards.iter().filter_map(|name| number_of(name)).collect();
    let Some(&(_, n_shards)) = numbers.first() else { return Ok(false) };
    let is_sound = numbers.len() == shards.len() && numbers.iter().all(|(_, n)| *n == n_shards);
    if !is_sound || n_shards < numbers.len() {
        let found = shown(shards.iter().copied());
        return Err((found, format!("one set of {n_shards} shards, each once")));
    }
    let there: BTreeSet<usize> = numbers.iter().map(|(idx, _)| *idx).collect();
    match (0..n_shards).find(|idx| !there.contains(idx)) {
        None => Ok(true),
        Some(missing) => {
            let found = format!("{} of {n_shards} shards", there.len());
            Err((found, format!("shard {missing:05}-of-{n_shards:05} too")))
        }
    }
}

/// `3` and `5` of `train-00003-of-00005`, whatever hash follows.
fn number_of(name: &str) -> Option<(usize, usize)> {
    let stem = name.strip_suffix(PARQUET)?;
    let (before, after) = stem.rsplit_once("-of-")?;
    let total = after.split('-').next()?.parse().ok()?;
    Some((before.rsplit('-').next()?.parse().ok()?, total))
}

/// The first few names.
fn shown<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let more = if names.len() > MAX_SHOWN { ", ..." } else { "" };
    match names.len() {
        0 => "no parquet file".to_owned(),
        _ => format!("{}{more}", names[..names.len().min(MAX_SHOWN)].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train_of(names: &[&str]) -> Result<Shards, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let shards = of_split(&names, "train", &Repository::dataset("org/set"));
        shards.map_err(|error| {
            let message = error.to_string();
            assert!(
                message.starts_with("data set org/set: found ") && message.contains("\nhint: ")
            );
            message
        })
    }

    #[track_caller]
    fn assert_train(names: &[&str], expected: &[&str], are_counted: bool) {
        let names_expected = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(train_of(names), Ok(Shards { names: names_expected, are_counted }));
    }

    #[test]
    fn every_usual_layout_is_understood() {
        assert_train(
            &[
                "README.md",
                "data/test-00000-of-00001.parquet",
                "data/train-00001-of-00002.parquet",
                "data/train-00000-of-00002.parquet",
            ],
            &["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            true,
        );
        let hashed = "data/train-00000-of-00001-b21ad2ea33d1c2a3.parquet";
        assert_train(&[hashed], &[hashed], true);
        assert_train(
            &["train-a.parquet", "train-b.parquet"],
            &["train-a.parquet", "train-b.parquet"],
            false,
        );
        assert_train(&["test.parquet", "train.parquet"], &["train.parquet"], false);
        assert_train(
            &["train/1.parquet", "train/0.parquet", "train/0.json"],
            &["train/0.parquet", "train/1.parquet"],
            false,
        );
        assert_train(
            &["default/train/0000.parquet", "extra/train/0000.parquet"],
            &["default/train/0000.parquet"],
            false,
        );
        assert_train(&["vqa/train/0000.parquet"], &["vqa/train/0000.parquet"], false);
    }

    #[test]
    fn missing_doubled_and_mixed_shards_are_errors() {
        let missing =
            train_of(&["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"]);
        let missing = missing.unwrap_err();
        assert!(
            missing.contains("2 of 3 shards") && missing.contains("00001-of-00003"),
            "{missing}"
        );
        for mixed in [
            ["train-00000-of-00001-aaaa.parquet", "train-00000-of-00001-bbbb.parquet"],
            ["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"],
            ["train-00000-of-00001.parquet", "train-more.parquet"],
        ] {
            let message = train_of(&mixed).unwrap_err();
            assert!(message.contains("each once") && message.contains(mixed[1]), "{message}");
        }
    }

    #[test]
    fn split_that_is_nowhere_or_in_several_folders_is_named() {
        let nowhere =
            train_of(&["data/test-00000-of-00001.parquet", "trains/0.parquet"]).unwrap_err();
        assert!(nowhere.contains("data/test-00000-of-00001.parquet"), "{nowhere}");
        assert!(nowhere.contains("`train`"), "{nowhere}");
        assert!(train_of(&["a.json"]).unwrap_err().contains("found no parquet file"));
        let several = train_of(&["a/train/0.parquet", "b/train/0.parquet"]).unwrap_err();
        assert!(several.contains("found a, b"), "{several}");
    }
}
