//! What the program says of itself that only a build knows: the target, and in a release the commit.
//! Not here: how it is shown (`src/program.rs`).
//!
//! A development build has no commit, so that no commit makes it compile again. A release is compiled again after a commit,
//! but not what it depends on. Without git, as in a crate's archive, the archive's own note of its commit is taken, or none.

use std::path::Path;
use std::process::Command;

/// What cargo writes into a crate's archive.
const ARCHIVE_NOTE: &str = ".cargo_vcs_info.json";
/// What goes into the program; a change of it is a change of the commit's state.
const SOURCES: [&str; 9] = [
    "assets",
    "build.rs",
    "Cargo.lock",
    "Cargo.toml",
    "configs",
    "crates/cuda/src",
    "crates/grading/src",
    "crates/ops/src",
    "src",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=OTHINK_TARGET={}", variable("TARGET"));
    let commit = if variable("PROFILE") == "release" { commit() } else { None };
    println!("cargo::rustc-env=OTHINK_COMMIT={}", commit.unwrap_or_default());
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The commit that is built, with a mark where sources differ from it.
fn commit() -> Option<String> {
    if let Ok(note) = std::fs::read_to_string(ARCHIVE_NOTE) {
        return sha1_of(&note).map(str::to_owned);
    }
    // An archive may have been unpacked inside of another project's working tree.
    let is_own = git(&["rev-parse", "--show-prefix"])?.is_empty();
    let commit = is_own.then(|| git(&["rev-parse", "HEAD"])).flatten()?;
    // HEAD changes with the branch, its log with every commit.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in SOURCES.into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let status = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat())?;
    Some(if status.is_empty() { commit } else { format!("{commit}, modified") })
}

/// What git prints; none where there is no git, or it fails.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The commit in an archive's note: `{"git": {"sha1": "..."}}`.
fn sha1_of(note: &str) -> Option<&str> {
    let (_, value) = note.split_once("\"sha1\"")?;
    let sha1 = value.split('"').nth(1)?;
    sha1.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(sha1)
}
