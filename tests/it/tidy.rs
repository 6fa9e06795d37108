//! The house rules that no compiler checks: headers, lengths, names, words that must not appear.
//! Not here: what clippy and rustfmt check (`Cargo.toml`, `clippy.toml`, `rustfmt.toml`).

use std::path::{Path, PathBuf};

/// Lines a file may have without its tests, unless its header says why it is longer.
const MAX_LINES: usize = 400;

/// What a longer file's header says.
const REASON_FOR_LENGTH: &str = "Longer than most because";

/// The paper's equations, (1) to (5), one file each.
const EQUATIONS: [&str; 5] =
    ["reward/total", "grpo/advantage", "grpo/kl_schedule", "grpo/objective", "grpo/kl"];

/// File names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "common", "misc", "manager", "v2"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder of the project, sorted; without build outputs and hidden folders.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "runs" {
                files.extend(files_below(&path));
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The project's files that are read by people: path from the root, and contents.
fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let is_text = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    };
    let paths = files_below(root()).into_iter().filter(is_text);
    let named = paths.map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    named.collect()
}

/// Rust files of the library, the program, the tests and the benches.
fn rust_files() -> Vec<(String, String)> {
    let files = texts(&["rs"]);
    assert!(files.len() > 10, "the walk found next to nothing: it would prove nothing");
    files
}

/// A file without what stands under `#[cfg(test)]`: its tests and what only they call. Line numbers stay.
fn without_tests(text: &str) -> String {
    let mut in_test = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        in_test |= line == "#[cfg(test)]";
        lines.push(if in_test { "" } else { line });
        // An item at the file's outermost level ends with a brace, or a semicolon, of its own.
        in_test &= line != "}"
            && !(line.starts_with(|c: char| c != '#' && c != ' ') && line.ends_with(';'));
    }
    let length = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines[..length].join("\n")
}

/// Fails with every offence, one a line.
fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn every_rust_file_opens_by_saying_what_lives_in_it() {
    let headless = rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let offences: Vec<String> = headless.map(|(name, _)| name).collect();
    assert_none("files start with a `//!` header", &offences);
}

#[test]
fn every_cuda_source_is_short_and_opens_by_saying_what_lives_in_it() {
    let files = texts(&["cpp", "h", "cu", "cuh"]);
    assert!(files.len() > 10, "the walk found next to nothing: it would prove nothing");
    let offends = |text: &String| !text.starts_with("// ") || text.lines().count() > MAX_LINES;
    let offences: Vec<String> =
        files.into_iter().filter(|(_, text)| offends(text)).map(|(name, _)| name).collect();
    assert_none("a `// ` header, and at most as many lines as a Rust file", &offences);
}

#[test]
fn every_script_and_style_sheet_is_short_and_opens_by_saying_what_lives_in_it() {
    let files = texts(&["js", "css"]).into_iter().filter(|(name, _)| !name.contains("/uplot/"));
    let files: Vec<_> = files.collect();
    assert!(files.len() > 5, "the walk found next to nothing: it would prove nothing");
    let offends = |text: &String| {
        let has_header = text.starts_with("// ") || text.starts_with("/* ");
        !has_header || !text.contains("Not here: ") || text.lines().count() > MAX_LINES
    };
    let offences: Vec<String> =
        files.into_iter().filter(|(_, text)| offends(text)).map(|(name, _)| name).collect();
    assert_none(
        "a header that says what is not here, and at most as many lines as a Rust file",
        &offences,
    );
}

#[test]
fn files_are_short_or_say_why_they_are_not() {
    let mut offences = Vec::new();
    for (name, text) in rust_files() {
        let lines = without_tests(&text).lines().count();
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if lines > MAX_LINES && !header.join(" ").contains(REASON_FOR_LENGTH) {
            offences.push(format!("{name}: {lines} lines without its tests"));
        }
    }
    let rule = format!("at most {MAX_LINES} lines, or `{REASON_FOR_LENGTH} ...` in the header");
    assert_none(&rule, &offences);
}

#[test]
fn every_equation_has_the_file_that_bears_its_name() {
    let missing = EQUATIONS.iter().map(|name| format!("src/{name}.rs"));
    let offences: Vec<String> = missing.filter(|path| !root().join(path).is_file()).collect();
    assert_none("one file per equation", &offences);
}

/// Which modules each module of the library may use: the table in ARCHITECTURE.md, `None` for all.
fn arrows() -> Vec<(String, Option<Vec<String>>)> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.lines().skip_while(|line| *line != "| module | holds | uses |").skip(2);
    let rows = table.take_while(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let named = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let uses = cells.last().unwrap();
        (cells[0].trim_matches('`').to_owned(), (*uses != "all").then(|| named(uses)))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 10, "the table was not found");
    rows
}

#[test]
fn modules_use_no_others_than_architecture_says() {
    let arrows = arrows();
    let mut offences = Vec::new();
    let mut used = std::collections::BTreeSet::new();
    for (name, text) in rust_files().iter().filter(|(name, _)| name.starts_with("src/")) {
        let module = name["src/".len()..].split('/').next().unwrap().trim_end_matches(".rs");
        if ["main", "lib", "allocator", "threads"].contains(&module) || name.contains("/test_") {
            continue;
        }
        let Some((_, uses)) = arrows.iter().find(|(known, _)| known == module) else {
            offences.push(format!("{module} is not in ARCHITECTURE.md's table"));
            continue;
        };
        let code = without_tests(text);
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for part in code.flat_map(|line| line.split("crate::").skip(1)) {
            let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let other = &part[..end.unwrap_or(part.len())];
            used.insert((module.to_owned(), other.to_owned()));
            let allowed = uses.as_ref().is_none_or(|uses| uses.iter().any(|used| used == other));
            if other != module && !allowed {
                offences.push(format!("{name} uses {other}"));
            }
        }
    }
    for (module, uses) in &arrows {
        for other in uses.iter().flatten() {
            if !used.contains(&(module.clone(), other.clone())) {
                offences
                    .push(format!("ARCHITECTURE.md says that {module} uses {other}; it does not"));
            }
        }
    }
    assert_none("modules use each other as ARCHITECTURE.md says", &offences);
}

#[test]
fn no_file_is_named_after_nothing() {
    let files = rust_files().into_iter().map(|(name, _)| name);
    let is_empty_name = |name: &String| {
        let stem = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
        EMPTY_NAMES.contains(&stem.as_str())
    };
    assert_none("name the thing", &files.filter(is_empty_name).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Each in two pieces, so that this file does not contain them.
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];
    assert_none("finish it or leave it out", &lines_with(&rust_files(), &words));
    let scripts = texts(&["py", "sh", "toml", "md", "html", "css", "js", "cpp", "h", "cu", "cuh"]);
    let scripts: Vec<_> =
        scripts.into_iter().filter(|(name, _)| !name.ends_with(".min.js")).collect();
    assert_none("finish it or leave it out", &lines_with(&scripts, &words));
}

#[test]
fn nothing_panics_outside_tests() {
    let code: Vec<(String, String)> = rust_files()
        .into_iter()
        .filter(|(name, _)| name.starts_with("src/") || name.contains("/src/"))
        .filter(|(name, _)| !["/tests.rs", "/tests/", "/test_"].iter().any(|of| name.contains(of)))
        .map(|(name, text)| (name, without_tests(&text)))
        .collect();
    let calls = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "let _ ="];
    assert_none("errors are returned", &lines_with(&code, &calls));
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let files = texts(&[
        "rs", "py", "sh", "toml", "md", "json", "txt", "html", "css", "js", "cpp", "h", "cu",
    ]);
    let roots = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/op", "t/ref"),
    ];
    assert_none("paths start at the project or come from the user", &lines_with(&files, &roots));
}

#[test]
fn every_run_file_opens_with_its_launch_line() {
    let mut offences = Vec::new();
    let run_files = texts(&["toml"]).into_iter().filter(|(name, _)| name.starts_with("configs"));
    for (name, text) in run_files {
        let file = Path::new(&name).file_name().unwrap().to_string_lossy().into_owned();
        let mut header = text.lines().take_while(|line| line.starts_with('#'));
        if !header.any(|line| line.contains(&format!("othink train --config {file}"))) {
            offences.push(name);
        }
    }
    assert_none("`othink train --config NAME` stands in the opening comment", &offences);
}

#[test]
fn the_image_is_built_by_the_toolchain_that_the_manifest_names() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let image = format!("FROM rust:{}-", version.unwrap().trim_matches('"'));
    assert!(read("Containerfile").lines().any(|line| line.starts_with(&image)), "{image}");
}

/// `file:line: word` of every code line, comments included, that has one of the words.
fn lines_with(files: &[(String, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        for (line_idx, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{name}:{}: {word}", line_idx + 1));
            }
        }
    }
    found
}
