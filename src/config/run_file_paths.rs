//! Where relative paths of a run file start: at the file's own folder, so that it means the same from everywhere.
//!
//! Paths of `--set` start at the working folder, as those of every flag do. What a run writes down of itself has absolute
//! paths. A name that may be of the hub (`org/name`) or of the built-in model is a path only where there is such a file.
//!
//! Not here: opening what a path names (`data`, `model`).

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::RunConfig;
use super::overrides::insert;
use super::violation::{Violation, require};

/// Keys whose values are paths.
const PATHS: [&str; 5] =
    ["data.train", "data.image_root", "eval.data", "model.path", "rollout.replay"];

/// Of these, the ones that may name something of the hub.
const PATHS_OR_NAMES: [&str; 3] = ["data.train", "eval.data", "model.path"];

/// The built-in model.
const BUILT_IN: &str = "tiny";

/// Lets the relative paths of a run file's table start at its folder.
///
/// - `is_overridden`: whether a key's value will be replaced
///
/// # Errors
/// There is no such file, but one in the working folder, where such paths do not start.
pub(super) fn start_at(
    folder: &Path,
    table: &mut Table,
    is_overridden: impl Fn(&str) -> bool,
) -> Result<(), Violation> {
    if folder == Path::new("") || folder == Path::new(".") {
        return Ok(());
    }
    for key in PATHS.into_iter().filter(|key| !is_overridden(key)) {
        let named = key.split_once('.').and_then(|(section, name)| table.get(section)?.get(name));
        let Some(Value::String(named)) = named else { continue };
        let (path, below) = (Path::new(named), folder.join(named));
        if path.is_absolute() || named == BUILT_IN && key == "model.path" {
            continue;
        }
        let is_there = below.exists();
        require(
            is_there || !path.exists(),
            key,
            format!("{named:?}, which is in the working folder"),
            &format!("a path that starts at the run file's folder, {}", folder.display()),
            &format!("write the path from there, or say --set {key}={named}"),
        )?;
        if !is_there && PATHS_OR_NAMES.contains(&key) && may_be_a_name(named) {
            continue;
        }
        if let Some(below) = below.to_str() {
            insert(table, key, Value::String(below.to_owned()));
        }
    }
    Ok(())
}

/// `org/name`, as names of the hub are.
fn may_be_a_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.split_once('/').is_some_and(|(org, name)| is_part(org) && is_part(name))
}

impl RunConfig {
    /// The same with absolute paths, for what is written down of a run; names of the hub stay.
    #[must_use]
    pub fn with_absolute_paths(&self) -> Self {
        let mut config = self.clone();
        let (data, eval, model) = (&mut config.data, &mut config.eval, &mut config.model);
        let texts = [data.train.as_mut(), eval.data.as_mut(), Some(&mut model.path)];
        for text in texts.into_iter().flatten() {
            let path = Path::new(&*text);
            if text != BUILT_IN
                && path.exists()
                && let Some(absolute) =
                    std::path::absolute(path).ok().as_deref().and_then(Path::to_str)
            {
                absolute.clone_into(text);
            }
        }
        let paths = [data.image_root.as_mut(), config.rollout.replay.as_mut()];
        for path in paths.into_iter().flatten() {
            *path = std::path::absolute(&*path).unwrap_or_else(|_| PathBuf::clone(path));
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, ConfigFile};

    /// What a run file in `configs/` with this value of `data.train` trains on.
    fn trains_on(folder: &Path, value: &str) -> Result<String, ConfigError> {
        let configs = folder.join("configs");
        std::fs::create_dir_all(&configs).unwrap();
        std::fs::write(configs.join("own.toml"), format!("[data]\ntrain = \"{value}\"\n")).unwrap();
        let file = ConfigFile::find("own.toml", folder)?;
        Ok(RunConfig::from_file(&file, &[])?.data.train.unwrap())
    }

    #[test]
    fn relative_paths_start_at_the_run_files_folder_and_names_of_the_hub_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let of = |value: &str| trains_on(folder.path(), value).unwrap();
        let below = |name: &str| folder.path().join("configs").join(name).display().to_string();
        assert_eq!(of("rows.jsonl"), below("rows.jsonl"), "there or not");
        assert_eq!(of("../rows.jsonl"), below("../rows.jsonl"));
        assert_eq!(of("org/name"), "org/name");
        std::fs::create_dir_all(folder.path().join("configs/org/name")).unwrap();
        assert_eq!(of("org/name"), below("org/name"));
        let absolute = folder.path().join("rows.jsonl").display().to_string();
        assert_eq!(of(&absolute), absolute);
    }

    #[test]
    fn a_path_that_is_meant_from_the_working_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for value in ["Cargo.toml", "src/lib.rs"] {
            let message = trains_on(folder.path(), value).unwrap_err().to_string();
            let found =
                format!("own.toml:2: data.train is \"{value}\", which is in the working folder");
            assert!(message.contains(&found), "{message}");
            assert!(message.contains(&format!("say --set data.train={value}")), "{message}");
        }
    }

    #[test]
    fn what_is_written_down_has_absolute_paths() {
        let changes = ["data.train=Cargo.toml", "eval.data=org/name", "rollout.replay=none.jsonl"];
        let changes = changes.map(str::to_owned);
        let file = ConfigFile::from_text("run.toml", "[model]\npath = \"tiny\"\n");
        let config = RunConfig::from_file(&file, &changes).unwrap().with_absolute_paths();
        let here = |name: &str| std::path::absolute(name).unwrap();
        assert_eq!(config.data.train.as_deref(), here("Cargo.toml").to_str());
        assert_eq!(config.rollout.replay, Some(here("none.jsonl")));
        assert_eq!(
            (config.model.path.as_str(), config.eval.data.as_deref()),
            ("tiny", Some("org/name"))
        );
    }
}
