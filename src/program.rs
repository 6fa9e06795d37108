//! What this program is: its version, and what it was built from and for.
//! Not here: the machine that it runs on (`doctor`).

use std::sync::LazyLock;

use serde::Serialize;

/// The version in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from, followed by ", modified" where its sources differed from it; none in development builds, and
/// where git was not at hand.
pub const COMMIT: Option<&str> = {
    let commit = env!("OTHINK_COMMIT");
    if commit.is_empty() { None } else { Some(commit) }
};
/// What it was built for, such as `x86_64-unknown-linux-gnu`.
pub const TARGET: &str = env!("OTHINK_TARGET");
/// The features it was built with.
pub const FEATURES: &[&str] = if cfg!(feature = "cuda") { &["cuda"] } else { &[] };
/// How it was built: `release` or `development`.
pub const PROFILE: &str = if cfg!(debug_assertions) { "development" } else { "release" };

/// All of the above, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Program {
    /// [`VERSION`].
    pub version: &'static str,
    /// [`COMMIT`].
    pub commit: Option<&'static str>,
    /// [`TARGET`].
    pub target: &'static str,
    /// [`FEATURES`].
    pub features: &'static [&'static str],
    /// [`PROFILE`].
    pub profile: &'static str,
}

impl Program {
    /// This program.
    pub const THIS: Self = Self {
        version: VERSION,
        commit: COMMIT,
        target: TARGET,
        features: FEATURES,
        profile: PROFILE,
    };
}

/// Version, commit, features and target in lines, without the name.
pub fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(described);
    TEXT.as_str()
}

fn described() -> String {
    let commit = COMMIT.unwrap_or("not known");
    let features = if FEATURES.is_empty() { "none".to_owned() } else { FEATURES.join(", ") };
    format!(
        "{VERSION}\ncommit    {commit}\nfeatures  {features}\ntarget    {TARGET}\nprofile   {PROFILE}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_knows_its_target_and_a_development_build_no_commit() {
        assert!(TARGET.contains(std::env::consts::OS) && TARGET.contains(std::env::consts::ARCH));
        assert!(!cfg!(debug_assertions) || COMMIT.is_none());
        let has_cuda = long_version().contains("features  cuda");
        assert_eq!(has_cuda, cfg!(feature = "cuda"));
    }
}
