//! What can be wrong with a run file.
//! Not here: exit codes and how errors are printed (`cli`).

use std::path::PathBuf;

/// A run file, or an override of it, that cannot be used. `place` is `FILE`, `FILE:LINE` or the
/// override as it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No file of that name anywhere.
    #[error(
        "no run file `{name}`: tried {}, then the built-in ones\nhint: {hint}",
        tried.join(", ")
    )]
    NotFound {
        /// The name as it was given.
        name: String,
        /// The paths that were looked at, in order.
        tried: Vec<String>,
        /// The nearest built-in name, or all of them.
        hint: String,
    },
    /// The file is there and cannot be read.
    #[error(
        "cannot read the run file {}\nhint: it must be a readable text file in UTF-8",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{place}: not valid TOML: {problem}\nhint: {hint}")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser says.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A section or key that does not exist.
    #[error("{place}: unknown key `{key}`\nhint: {hint}")]
    UnknownKey {
        /// File and line, or the override.
        place: String,
        /// Dotted name as it was written.
        key: String,
        /// The nearest known key in dotted form, if one is near.
        nearest: Option<String>,
        /// The nearest key, or all that stand there.
        hint: String,
    },
    /// A value of the wrong type, or a word that is not among the choices.
    #[error("{place}: {key}: {problem}\nhint: {hint}")]
    WrongType {
        /// File and line, or the override.
        place: String,
        /// Dotted name.
        key: String,
        /// What was found and what was expected.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A value outside its range, or in conflict with another.
    #[error("{place}: {key} is {found}, expected {expected}\nhint: {hint}")]
    OutOfRange {
        /// File and line, or the override.
        place: String,
        /// Dotted name.
        key: String,
        /// The value.
        found: String,
        /// The rule it breaks.
        expected: String,
        /// What to do.
        hint: String,
    },
    /// Keys that change nothing in the run.
    #[error("{keys}: no effect, because {why}\nhint: {hint}")]
    Unread {
        /// Dotted names.
        keys: String,
        /// Why they are not read.
        why: String,
        /// What to set instead.
        hint: String,
    },
    /// An override that is not `key=value`.
    #[error("--set {text}: expected section.key=value\nhint: for example --set grpo.group_size=4")]
    MalformedOverride {
        /// The override as it was given.
        text: String,
    },
    /// The resolved file cannot be written as TOML.
    #[error("cannot write the resolved run file as TOML\nhint: file names must be valid UTF-8")]
    Serialize(#[from] toml::ser::Error),
}
