//! Finding a run file by name.
//! Not here: what stands in it (`document`, `run_config`).

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::builtin::{builtin_names, builtin_text};
use super::error::ConfigError;
use super::nearest::nearest;
use crate::input_file;
use crate::limits::RUN_FILE_BYTES;

/// A run file's text and the name that messages give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    name: String,
    text: Cow<'static, str>,
    /// Where relative paths in it start; none where they start at the working folder.
    folder: Option<PathBuf>,
}

impl ConfigFile {
    /// A run file from memory; its relative paths start at the working folder.
    pub fn from_text(name: impl Into<String>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), text: text.into(), folder: None }
    }

    /// The run file that a run has written down of itself, with the paths as they were then.
    ///
    /// # Errors
    /// It cannot be read as UTF-8 text.
    pub fn of_run(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self { folder: None, ..Self::read(path)? })
    }

    /// Finds a run file: the path itself, then (for a name without a folder) `configs/NAME`, both
    /// from `folder`, then the built-in files.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read as UTF-8 text; it is no regular file, or far too large for a run file.
    pub fn find(name: &str, folder: &Path) -> Result<Self, ConfigError> {
        let mut candidates = vec![folder.join(name)];
        if is_bare(name) {
            candidates.push(folder.join("configs").join(name));
        }
        for path in &candidates {
            // A folder of that name may stand beside the file that is meant.
            if path.exists() && !path.is_dir() {
                return Self::read(path);
            }
        }
        if let Some(text) = builtin_text(name) {
            return Ok(Self::from_text(name, text));
        }
        let tried = candidates.iter().map(|path| path.display().to_string()).collect();
        Err(ConfigError::NotFound { name: name.to_owned(), tried, hint: not_found_hint(name) })
    }

    /// The file's path as messages show it, or a built-in file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where relative paths in it start; none where they start at the working folder.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name without folder and extension: the default name of a run.
    pub fn stem(&self) -> &str {
        Path::new(&self.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("run")
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        match input_file::read_text(path, RUN_FILE_BYTES) {
            Ok(text) => {
                let folder = path.parent().map(Path::to_owned);
                Ok(Self { folder, ..Self::from_text(path.display().to_string(), text) })
            }
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }
}

/// A name without a folder.
fn is_bare(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(std::path::Component::Normal(_)))
        && components.next().is_none()
}

fn not_found_hint(name: &str) -> String {
    let with_extension = format!("{name}.toml");
    let near = nearest(name, builtin_names()).or_else(|| nearest(&with_extension, builtin_names()));
    match near {
        Some(near) => format!("did you mean `{near}`, which is built in?"),
        None => format!("built in are {}", builtin_names().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("# {}", path.display())).unwrap();
        }
        folder
    }

    fn found_in(folder: &Path, name: &str) -> String {
        let file = ConfigFile::find(name, folder).unwrap();
        file.name().replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn file_in_the_working_folder_wins_over_configs_and_that_over_the_built_in_one() {
        let both = folder_with(&["quickstart.toml", "configs/quickstart.toml"]);
        assert_eq!(found_in(both.path(), "quickstart.toml"), "quickstart.toml");
        let configs = folder_with(&["configs/quickstart.toml"]);
        assert_eq!(found_in(configs.path(), "quickstart.toml"), "configs/quickstart.toml");
        let empty = folder_with(&[]);
        let builtin = ConfigFile::find("quickstart.toml", empty.path()).unwrap();
        assert_eq!(builtin.text(), builtin_text("quickstart.toml").unwrap());
    }

    #[test]
    fn path_with_a_folder_is_not_looked_up_elsewhere() {
        let folder = folder_with(&["configs/own.toml"]);
        let error = ConfigFile::find("./own.toml", folder.path()).unwrap_err();
        let ConfigError::NotFound { tried, .. } = error else { panic!("{error}") };
        assert_eq!(tried.len(), 1);
    }

    #[test]
    fn folder_of_that_name_is_passed_over() {
        let folder = folder_with(&["own/inner.txt", "configs/own"]);
        assert_eq!(found_in(folder.path(), "own"), "configs/own");
    }

    #[test]
    fn missing_file_lists_what_was_tried_and_what_is_built_in() {
        let error = ConfigFile::find("mine.toml", Path::new("")).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("tried mine.toml, configs/mine.toml, then the built-in ones"));
        assert!(message.contains("hint: built in are quickstart.toml, "), "{message}");
        let message = ConfigFile::find("quikstart", Path::new("")).unwrap_err().to_string();
        assert!(message.ends_with("hint: did you mean `quickstart.toml`, which is built in?"));
    }

    #[test]
    fn file_that_is_not_text_is_named() {
        let folder = folder_with(&[]);
        std::fs::write(folder.path().join("bad.toml"), b"\xff\xfe\x00").unwrap();
        let error = ConfigFile::find("bad.toml", folder.path()).unwrap_err();
        assert!(matches!(&error, ConfigError::Read { path, .. } if path.ends_with("bad.toml")));
        assert!(error.to_string().contains("UTF-8"));
    }
}
