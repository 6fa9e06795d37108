//! Which repository of the hub is meant: a model or a data set, its id, a revision of it.
//! Not here: where it lies on this machine (`folder`); what it holds (`mod`).

use std::fmt::{Display, Formatter};

use hf_hub::{Repo, RepoType};

/// The revision that is meant where none is named.
pub const MAIN: &str = "main";

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// One revision of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Model or data set.
    pub kind: RepositoryKind,
    /// `org/name`; the oldest ones have a name alone.
    pub id: String,
    /// A branch, a tag, `refs/...` or a commit.
    pub revision: String,
}

impl Repository {
    /// A model's main branch.
    pub fn model(id: &str) -> Self {
        Self { kind: RepositoryKind::Model, id: id.to_owned(), revision: MAIN.to_owned() }
    }

    /// A data set's main branch.
    pub fn dataset(id: &str) -> Self {
        Self { kind: RepositoryKind::Dataset, ..Self::model(id) }
    }

    /// The same repository at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self.clone() }
    }

    /// Whether `text` is `org/name`, both of the characters that the hub allows.
    pub fn is_id(text: &str) -> bool {
        let is_part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        text.split_once('/').is_some_and(|(org, name)| is_part(org) && is_part(name))
    }

    /// hf-hub's object for the repository's addresses and the name of its folder.
    pub(super) fn addresses(&self) -> Repo {
        let kind = match self.kind {
            RepositoryKind::Model => RepoType::Model,
            RepositoryKind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.id.clone(), kind, self.revision.clone())
    }
}

impl Display for Repository {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            RepositoryKind::Model => "model",
            RepositoryKind::Dataset => "data set",
        };
        write!(f, "{kind} {}", self.id)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, " at {}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_two_plain_words() {
        for id in ["Qwen/Qwen2-VL-2B-Instruct", "_a/b.c", "0/1"] {
            assert!(Repository::is_id(id), "{id}");
        }
        for other in ["", "a", "a/b/c", "./a", "../a", "/a", "~/a", "a/..", "a/b c", "a/b?x"] {
            assert!(!Repository::is_id(other), "{other}");
        }
    }

    #[test]
    fn messages_name_kind_id_and_an_unusual_revision() {
        assert_eq!(Repository::model("a/b").to_string(), "model a/b");
        assert_eq!(Repository::dataset("a/b").at("v1").to_string(), "data set a/b at v1");
    }
}
