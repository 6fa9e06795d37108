//! What the dependencies are, as `deny.toml` allows it: their licences, and where they come from. `cargo deny check` asks the same
//! and more; this needs no other program. What is copied into the project (`assets/report/uplot`) is what its README says, and what
//! the program is measured against in Rust (`benches/vs_candle`) has the same dependencies.
//! Not here: advisories, which need a database of others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages that this machine's build of the program is made of.
fn packages() -> Vec<Value> {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let words = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform"];
    let cargo = std::env::var("CARGO").unwrap_or("cargo".to_owned());
    let metadata = output(&cargo, &[&words[..], &[host]].concat());
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met by licences of a list. `/` is how crates wrote `OR` before.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let words = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression}");
    met
}

fn any_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words[*at];
    *at += 1;
    if word == "(" {
        let met = any_of(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"));
        *at += 1;
        return met;
    }
    // An exception only adds permissions.
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    allowed.contains(word)
}

#[test]
fn every_dependency_has_an_allowed_licence_and_is_from_one_registry() {
    let rules = table("deny.toml");
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    let allowed: BTreeSet<String> =
        allowed.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    let mut sources = BTreeSet::new();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        match package["license"].as_str() {
            Some(expression) if is_met(expression, &allowed) => {}
            found => wrong.push(format!("{name}: {found:?}")),
        }
        // None for the project's own.
        if let Some(source) = package["source"].as_str() {
            assert!(source.starts_with("registry+"), "{name} is from {source}");
            sources.insert(source);
        }
    }
    assert!(wrong.is_empty(), "licences that deny.toml does not allow:\n{}", wrong.join("\n"));
    assert_eq!(sources.len(), 1, "{sources:?}");
}

fn table(file: &str) -> toml::Table {
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

/// Versions by name in a lock file.
fn locked(file: &str) -> BTreeMap<String, BTreeSet<String>> {
    let lock = table(file);
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in lock["package"].as_array().unwrap() {
        let of = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(of("name")).or_default().insert(of("version"));
    }
    versions
}

/// Else candle-transformers would be measured on other kernels than those of the program, which are a part of both.
#[test]
fn the_benchmark_against_candle_transformers_has_the_programs_versions() {
    let program = locked("Cargo.lock");
    let benchmark = locked("benches/vs_candle/Cargo.lock");
    assert!(benchmark.contains_key("candle-transformers"));
    assert!(!program.contains_key("candle-transformers"), "it is no part of the program");
    assert_eq!(benchmark["candle-transformers"], program["candle-core"]);
    let mut apart = Vec::new();
    // A lock file that lacks what the program's packages are built with is refused by `--locked`.
    let lock = table("benches/vs_candle/Cargo.lock");
    for folder in [".", "crates/ops", "crates/grading"] {
        let manifest = table(&format!("{folder}/Cargo.toml"));
        let name = &manifest["package"]["name"];
        let package = lock["package"].as_array().unwrap().iter().find(|x| x["name"] == *name);
        let known = package.unwrap()["dependencies"].as_array().unwrap();
        // "name" or, where there are several, "name version".
        let known: BTreeSet<&str> =
            known.iter().map(|x| x.as_str().unwrap().split(' ').next().unwrap()).collect();
        for (wanted, how) in manifest["dependencies"].as_table().unwrap() {
            let is_optional = how.get("optional").is_some_and(|x| x.as_bool() == Some(true));
            if !is_optional && !known.contains(wanted.as_str()) {
                apart.push(format!("{name}: no {wanted} in the benchmark's lock file"));
            }
        }
    }
    for (name, versions) in &benchmark {
        if let Some(ours) = program.get(name).filter(|ours| ours.is_disjoint(versions)) {
            apart.push(format!("{name}: {versions:?}, expected {ours:?}"));
        }
    }
    let hint = "cp Cargo.lock benches/vs_candle && cargo update --workspace --manifest-path benches/vs_candle/Cargo.toml";
    assert!(apart.is_empty(), "{}\nhint: {hint}", apart.join("\n"));
}

#[test]
fn an_expression_is_met_by_one_side_of_or_and_by_both_of_and() {
    let allowed: BTreeSet<String> = ["MIT", "Zlib"].map(str::to_owned).into();
    for met in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR Zlib) AND MIT", "MIT WITH x"] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR Zlib) AND GPL-2.0"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn copied_library_is_the_one_that_its_readme_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/report/uplot");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"));
    let rows: Vec<_> = rows.map(|row| row.split_once("` | `").unwrap()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (file, sum) in rows {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        assert_eq!(format!("{:x}", Sha256::digest(&bytes)), sum, "{file}");
        assert!(include_str!("../../src/report/page.rs").contains(&format!("uplot/{file}")));
    }
    let allowed = std::fs::read_to_string("deny.toml").unwrap();
    let licence = std::fs::read_to_string(folder.join("LICENSE")).unwrap();
    assert!(licence.starts_with("The MIT License") && allowed.contains("\"MIT\""));
}
