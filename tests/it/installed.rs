//! What an installed program says of itself: version, environment, completions, manual pages, the run file's schema.
//! Not here: help texts (`cli`).

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn othink(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    command.args(words).current_dir(folder).env("HF_HOME", folder);
    command.env("HF_TOKEN", "hf_secret").env("HF_ENDPOINT", "http://user:hidden@localhost:1");
    command.output().unwrap()
}

fn printed(words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = othink(folder.path(), words);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_short_version_is_one_line_and_the_long_one_says_what_was_built() {
    let name = format!("othink {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed(&["-V"]), format!("{name}\n"));
    let long = printed(&["--version"]);
    let mut lines = long.lines();
    assert_eq!(lines.next(), Some(name.as_str()));
    let names: Vec<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["commit", "features", "target", "profile"]);
    assert!(long.contains(std::env::consts::ARCH), "{long}");
}

#[test]
fn what_a_bug_report_says_has_no_secret() {
    let text = printed(&["env"]);
    let names: Vec<&str> = text.lines().map(|line| line[2..].split(':').next().unwrap()).collect();
    let expected = [
        "othink",
        "commit",
        "target",
        "features",
        "profile",
        "system",
        "processor",
        "memory",
        "gpu",
        "driver",
        "hub",
        "cache",
        "variables",
        "date",
    ];
    assert_eq!(names, expected, "{text}");
    assert!(text.lines().all(|line| line.starts_with("- ")), "{text}");
    assert!(text.contains("- hub: http://localhost:1") && text.contains("HF_HOME="), "{text}");
    assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
    let object: Value = serde_json::from_str(&printed(&["env", "--json"])).unwrap();
    assert!(expected.iter().all(|name| object[name].is_string()), "{object}");
}

const COMMANDS: [&str; 18] = [
    "train",
    "init",
    "data",
    "eval",
    "cross-eval",
    "sweep",
    "infer",
    "grade",
    "replay",
    "report",
    "watch",
    "doctor",
    "gpu-check",
    "env",
    "schema",
    "completions",
    "man",
    "merge",
];

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("allow-changed-data"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = othink(folder.path(), &["completions", "cmd"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("[possible values: bash, "));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = othink(folder.path(), &["man", "share/man1"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "share/man1/othink.1\n");
    let pages = std::fs::read_dir(folder.path().join("share/man1")).unwrap();
    let mut pages: Vec<String> =
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort_unstable();
    let mut expected = COMMANDS.map(|command| format!("othink-{command}.1")).to_vec();
    expected.push("othink.1".to_owned());
    expected.sort_unstable();
    assert_eq!(pages, expected);
    let page = std::fs::read_to_string(folder.path().join("share/man1/othink-train.1")).unwrap();
    assert!(page.contains("allow\\-changed\\-data") && page.contains("quickstart"), "{page}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = othink(folder.path(), &["man", "file"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// The schema under a dotted key.
fn under<'a>(schema: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(schema, |schema, name| &schema["properties"][name])
}

#[test]
fn the_schema_describes_the_run_file() {
    let schema: Value = serde_json::from_str(&printed(&["schema"])).unwrap();
    assert_eq!(printed(&["schema", "--compact"]).lines().count(), 1);
    let group_size = under(&schema, "grpo.group_size");
    assert_eq!((&group_size["type"], &group_size["default"]), (&"integer".into(), &8.into()));
    assert!(
        group_size["description"].as_str().unwrap().contains("Completions drawn for each prompt")
    );
    let method = under(&schema, "method");
    assert!(
        method.to_string().contains("grpo-d") && method.to_string().contains("sft"),
        "{method}"
    );
    assert_eq!(under(&schema, "reward.weights.choice")["type"], "number");
    for section in ["", "kl", "reward.command"] {
        let closed = if section.is_empty() { &schema } else { under(&schema, section) };
        assert_eq!(closed["additionalProperties"], false, "[{section}]: {closed}");
    }
}

/// The tiny model says the same whether its answer is printed as it comes or at once, and it comes in pieces.
#[test]
fn an_answer_is_printed_while_it_is_decoded() {
    use std::io::Read as _;

    let ask = [
        "infer",
        "--model",
        "tiny",
        "--prompt",
        "How many items are in the image?",
        "--max-new-tokens",
        "60",
    ];
    let object: Value = serde_json::from_str(&printed(&[&ask[..], &["--json"]].concat())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    let mut child = command.args(ask).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut text, mut n_pieces, mut buffer) = (Vec::new(), 0, [0; 4096]);
    loop {
        let n = out.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        n_pieces += 1;
        text.extend_from_slice(&buffer[..n]);
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(String::from_utf8(text).unwrap(), format!("{}\n", object["text"].as_str().unwrap()));
    assert!(n_pieces > 3, "{n_pieces} pieces");
}
