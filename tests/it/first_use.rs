//! What docs/first-use.md shows: every command of its blocks, run in one folder, prints what stands below it.
//! Not here: the examples of `--help` (`examples`).

#![expect(clippy::print_stderr, reason = "says what is skipped")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use snapbox::Assert;
use snapbox::data::IntoData as _;

/// Stands for `othink` on the page: runs and evaluations in small sizes, plans as they are.
const SHORTER: &str = r#"#!/bin/sh
case "$1 $*" in
*--dry-run*) ;;
train*) set -- "$@" --set train.updates=2 --set train.checkpoint_every=1 --set grpo.prompts_per_update=2 --set grpo.group_size=2 \
  --set rollout.max_new_tokens=8 --set eval.limit=2 --set eval.max_new_tokens=8 ;;
eval*) set -- "$@" --limit 2 --max-new-tokens 8 ;;
esac
exec "$OTHINK" "$@"
"#;

/// A command of the page.
#[derive(Debug, PartialEq)]
struct Step {
    script: String,
    /// What it prints, and its exit code where that is not 0.
    printed: String,
    /// A program that it needs besides.
    needs: Option<String>,
}

/// The commands of a page's `console` blocks, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block: Option<Option<String>> = None;
    for line in page.lines() {
        if let Some(info) = line.strip_prefix("```") {
            let needs = info.strip_prefix("console").map(str::trim);
            block = needs.map(|needs| (!needs.is_empty()).then(|| needs.to_owned()));
            continue;
        }
        let Some(needs) = &block else { continue };
        if let Some(script) = line.strip_prefix("$ ") {
            let (script, printed) = (script.to_owned(), String::new());
            steps.push(Step { script, printed, needs: needs.clone() });
            continue;
        }
        let step = steps.last_mut().unwrap();
        match line.strip_prefix("> ") {
            Some(more) => write!(step.script, "\n{more}").unwrap(),
            None => writeln!(step.printed, "{line}").unwrap(),
        }
    }
    steps
}

/// The page's ellipses as wildcards: a line of its own stands for lines, any other for a part of its line.
fn pattern(printed: &str) -> String {
    let lines = printed.lines().map(|line| match line {
        "…" => "...\n".to_owned(),
        line => format!("{}\n", line.replace('…', "[..]")),
    });
    lines.collect()
}

/// Runs a script with the page's folder as its own; returns what it prints, and its exit code where that is not 0.
fn run(script: &str, folder: &Path) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{{ {script}\n}} 2>&1")]).current_dir(folder.join("work"));
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    command.env("OTHINK", env!("CARGO_BIN_EXE_othink")).env("HF_HOME", folder.join("hub"));
    command.env_remove("OTHINK_LOG");
    let output = command.output().unwrap();
    let mut printed = String::from_utf8(output.stdout).unwrap();
    match output.status.code() {
        Some(0) => {}
        code => writeln!(printed, "exit code {}", code.unwrap_or(-1)).unwrap(),
    }
    printed
}

fn is_here(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

#[test]
fn every_command_of_the_first_day_prints_what_the_page_shows() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (bin, photos) = (folder.path().join("bin"), folder.path().join("work/photos"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::create_dir_all(&photos).unwrap();
    std::fs::write(bin.join("othink"), SHORTER).unwrap();
    std::fs::set_permissions(bin.join("othink"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for n in 1..=4_u8 {
        let picture = image::RgbImage::from_pixel(56, 56, image::Rgb([60 * n, 90, 120]));
        picture.save(photos.join(format!("{n}.png"))).unwrap();
    }
    let steps = steps(include_str!("../../docs/first-use.md"));
    assert!(steps.len() > 30, "{} commands", steps.len());
    for Step { script, printed, needs } in steps {
        if let Some(program) = needs.filter(|program| !is_here(program)) {
            eprintln!("skipped, for want of {program}: {script}");
            continue;
        }
        let found = run(&script, folder.path());
        let expected = pattern(&printed);
        let same = Assert::new().try_eq(
            Some(&script),
            found.clone().into_data(),
            expected.clone().into_data(),
        );
        assert!(same.is_ok(), "$ {script}\n--- the page\n{expected}--- printed\n{found}");
    }
}

#[test]
fn a_page_is_read_command_by_command() {
    let page = "$ no\n```sh\n$ no\n```\n```console\n$ a <<E\n> b\n> E\nc\n…d…\n…\n$ e\n```\n```console python3\n$ f\n```\n";
    let step = |script: &str, printed: &str, needs: Option<&str>| Step {
        script: script.to_owned(),
        printed: printed.to_owned(),
        needs: needs.map(str::to_owned),
    };
    let found = steps(page);
    assert_eq!(
        found,
        [
            step("a <<E\nb\nE", "c\n…d…\n…\n", None),
            step("e", "", None),
            step("f", "", Some("python3"))
        ]
    );
    assert_eq!(pattern(&found[0].printed), "c\n[..]d[..]\n...\n");
}
