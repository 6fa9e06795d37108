//! The parquet files that a split of a folder was cut into, as the hub's data sets lay them out:
//! `train-00000-of-00002.parquet`, `data/train-*`, `train/*.parquet`, `default/train/0000.parquet`.
//!
//! Not here: other files of a folder (`source`); reading them (`parquet`).

use super::DataError;
use super::row::file_name;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How deep below the folder files are looked for: `default/train/0000.parquet`.
const MAX_DEPTH: usize = 2;
/// Names that say which split a file is, so that it is never taken for another.
const KNOWN_SPLITS: [&str; 7] = ["train", "test", "validation", "valid", "val", "dev", "shifted"];

/// The parquet files of a folder, by split.
pub(super) struct Shards {
    folder: PathBuf,
    splits: BTreeMap<String, Vec<PathBuf>>,
}

/// The number that a shard's name gives it.
struct Numbered<'name> {
    split: &'name str,
    idx: usize,
    n_shards: usize,
}

impl Shards {
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn find(folder: &Path) -> Result<Self, DataError> {
        let mut splits: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in files_below(folder, "parquet", MAX_DEPTH)? {
            splits.entry(split_of(&file)).or_default().push(file);
        }
        Ok(Self { folder: folder.to_owned(), splits })
    }

    /// The names of the splits.
    pub(super) fn names(&self) -> Vec<&str> {
        self.splits.keys().map(String::as_str).collect()
    }

    /// The files of a split, sorted by name, or of the only one; none if the folder has no such split.
    ///
    /// # Errors
    /// Some of the split's files are missing, or they stand in several folders.
    pub(super) fn of(&self, split: Option<&str>) -> Result<Option<Vec<PathBuf>>, DataError> {
        let own = split.and_then(|split| self.splits.get(split));
        let only = || {
            let (name, files) = self.splits.first_key_value()?;
            let may_be = split.is_none() || !is_other_split(name, split);
            (self.splits.len() == 1 && may_be).then_some(files)
        };
        let Some(files) = own.or_else(only) else { return Ok(None) };
        let folders: BTreeSet<_> = files.iter().filter_map(|file| file.parent()).collect();
        if folders.len() > 1 {
            let folders: Vec<_> =
                folders.iter().map(|folder| folder.display().to_string()).collect();
            return Err(DataError::UnknownSource {
                path: self.folder.clone(),
                found: format!("parquet files of one split in {}", folders.join(" and ")),
                expected: "one folder of them".to_owned(),
            });
        }
        check_complete(&self.folder, files)?;
        Ok(Some(files.clone()))
    }
}

/// Whether a file's name says that it is another split than the one that was asked for.
pub(super) fn is_other_split(name: &str, split: Option<&str>) -> bool {
    KNOWN_SPLITS.contains(&name) && split.is_some_and(|split| split != name)
}

/// Checks that every shard that the names announce is there.
fn check_complete(folder: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    let stems: Vec<String> = files.iter().map(|file| stem(file)).collect();
    let numbered: Vec<Numbered> = stems.iter().filter_map(|stem| Numbered::parse(stem)).collect();
    let Some(&Numbered { split, n_shards, .. }) = numbered.first() else { return Ok(()) };
    let is_there =
        |idx: usize| numbered.iter().any(|shard| (shard.idx, shard.n_shards) == (idx, n_shards));
    match (0..n_shards).find(|idx| !is_there(*idx)) {
        None => Ok(()),
        Some(missing) => Err(DataError::MissingShard {
            path: files.first().and_then(|file| file.parent()).unwrap_or(folder).to_owned(),
            shard: format!("{split}-{missing:05}-of-{n_shards:05}.parquet"),
            n_shards,
        }),
    }
}

impl<'name> Numbered<'name> {
    /// `train-00000-of-00002`, perhaps with a hash at its end.
    fn parse(stem: &'name str) -> Option<Self> {
        let (before, after) = stem.split_once("-of-")?;
        let (split, idx) = before.rsplit_once('-')?;
        let n_shards = after.split('-').next()?;
        Some(Self { split, idx: idx.parse().ok()?, n_shards: n_shards.parse().ok()? })
    }
}

/// The split that a file's name gives, or, where it is a number alone, its folder's.
fn split_of(file: &Path) -> String {
    let stem = stem(file);
    if let Some(shard) = Numbered::parse(&stem) {
        return shard.split.to_owned();
    }
    let folder = file.parent().map(file_name).unwrap_or_default();
    let is_number = stem.chars().all(|c| c.is_ascii_digit());
    if is_number || KNOWN_SPLITS.contains(&folder.as_str()) { folder } else { stem }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a folder with this extension, sorted; hidden ones are passed over.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn files_below(
    folder: &Path,
    extension: &str,
    max_depth: usize,
) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if file_name(&path).starts_with('.') {
            continue;
        }
        if path.is_dir() && max_depth > 0 {
            files.extend(files_below(&path, extension, max_depth - 1)?);
        } else if path.is_file() && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn of(files: &[&str], split: Option<&str>) -> Option<Vec<String>> {
        let folder = folder(files);
        let files = Shards::find(folder.path()).unwrap().of(split).unwrap()?;
        let relative = |file: &PathBuf| {
            file.strip_prefix(folder.path()).unwrap().display().to_string().replace('\\', "/")
        };
        Some(files.iter().map(relative).collect())
    }

    #[test]
    fn every_layout_of_the_hub_gives_the_split_in_order() {
        let layouts: [&[&str]; 5] = [
            &["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
            &[
                "data/train-00000-of-00002-0123abcd.parquet",
                "data/train-00001-of-00002-4567ef.parquet",
            ],
            &["train/0000.parquet", "train/0001.parquet"],
            &["default/train/0000.parquet", "default/train/0001.parquet"],
            &["train/a.parquet", "train/b.parquet"],
        ];
        for layout in layouts {
            let mut files = layout.to_vec();
            assert_eq!(of(&files, None).unwrap(), layout);
            files.reverse();
            let test = layout[0].replace("train", "test").replace("-00002", "-00001");
            files.push(&test);
            assert_eq!(of(&files, Some("train")).unwrap(), layout);
            assert_eq!(of(&files, Some("test")).unwrap(), [test.as_str()]);
            assert_eq!(of(&files, Some("shifted")), None);
            assert_eq!(of(&files, None), None);
        }
    }

    #[test]
    fn an_only_file_is_any_split_unless_its_name_is_another() {
        assert_eq!(of(&["mine.parquet"], Some("test")).unwrap(), ["mine.parquet"]);
        assert_eq!(of(&["train.parquet"], Some("test")), None);
        assert_eq!(of(&[".cache/mine.parquet"], None), None);
    }

    #[test]
    fn a_missing_shard_is_named() {
        let folder =
            folder(&["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"]);
        let message =
            Shards::find(folder.path()).unwrap().of(Some("train")).unwrap_err().to_string();
        assert!(message.contains("found no train-00001-of-00003.parquet"), "{message}");
    }

    #[test]
    fn a_split_in_two_folders_is_not_guessed_at() {
        let folder = folder(&["a/train/0.parquet", "b/train/0.parquet"]);
        let message = Shards::find(folder.path()).unwrap().of(None).unwrap_err().to_string();
        assert!(message.contains("expected one folder of them"), "{message}");
    }
}
