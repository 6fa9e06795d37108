//! `othink grade` as a user runs it: totals, explanations, what it writes, wrong input.
//! Not here: verdicts (`reward`'s own tests), the help's text (`cli`).

use std::path::Path;

use serde_json::Value;
use snapbox::cmd::{Command, OutputAssert, cargo_bin};
use snapbox::str;

const ANSWERS: &str = r#"{"id": "a", "completion": "<think>70 + 70</think> <answer> 140° </answer>", "solution": "140"}
{"id": "b", "completion": "<think>3</think><answer>\\frac{\\sqrt{3}}{3}</answer>", "solution": "\\frac{1}{\\sqrt{3}}"}
{"id": "c", "completion": "It is 8, or <answer>1, 2, 3</answer>", "solution": 8}
{"id": "d", "completion": "no idea", "ground_truth": "2"}
"#;

fn grade(folder: &Path, more: &[&str]) -> OutputAssert {
    Command::new(cargo_bin!("othink"))
        .args(["grade", "--input", "answers.jsonl"])
        .args(more)
        .current_dir(folder)
        .env_remove("OTHINK_LOG")
        .assert()
}

fn folder(answers: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answers.jsonl"), answers).unwrap();
    folder
}

#[test]
fn explanations_show_what_was_found_how_it_was_read_and_why_it_is_right_or_wrong() {
    let folder = folder(ANSWERS);
    grade(folder.path(), &["--explain"]).code(0).stderr_eq("").stdout_eq(str![[r#"
line 1: right: same number
  found     140°
  read as   number 140 in degree
  solution  140
  read as   number 140
  format    as asked for
line 2: right: same number
  found     /frac{/sqrt{3}}{3}
  read as   number 3^(1/2) * 3^(-1)
  solution  /frac{1}{/sqrt{3}}
  read as   number 1 * (3^(1/2))^(-1)
  format    as asked for
line 3: wrong: several answers where one was asked for
  found     1, 2, 3
  read as   list of 3 answers: number 1; number 2; number 3
  solution  8
  read as   number 8
  format    not as asked for
line 4: wrong: no answer where the rule looks for one
  found     nothing
  read as   nothing
  solution  2
  read as   number 2
  format    not as asked for
rule         answer-tag (version 2)
completions  4
correct      2
accuracy     50.00% (95%: 15.00% to 85.00%)
format rate  50.00%
ungraded     1 without an answer to grade

"#]]);
}

#[test]
fn graded_lines_keep_their_fields_and_gain_the_verdict() {
    let folder = folder(ANSWERS);
    let printed = grade(folder.path(), &["--out", "graded.jsonl", "--json"]).code(0);
    let summary: Value = serde_json::from_slice(&printed.get_output().stdout).unwrap();
    assert_eq!(summary["n"], 4);
    assert_eq!(summary["correct"], 2);
    assert_eq!(summary["ungraded"], 1);
    let text = std::fs::read_to_string(folder.path().join("graded.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let verdicts: Vec<f64> = lines.iter().map(|line| line["accuracy"].as_f64().unwrap()).collect();
    assert_eq!(verdicts, [1.0, 1.0, 0.0, 0.0]);
    assert!(lines.iter().all(|line| line["reason"].is_string() && line["format"].is_number()));
    // Fed to it once more, as a run's own records are, nothing changes.
    std::fs::rename(folder.path().join("graded.jsonl"), folder.path().join("answers.jsonl"))
        .unwrap();
    let again = grade(folder.path(), &["--json"]).code(0);
    assert_eq!(again.get_output().stdout, printed.get_output().stdout);
}

#[test]
fn rules_disagree_as_r1v_does() {
    // math-verify sees no number that follows `>` directly, and takes the one in the reasoning.
    let folder = folder(
        "{\"completion\": \"<think>so 140</think><answer>150</answer>\", \"solution\": \"140\"}\n",
    );
    for (rule, correct) in [("answer-tag", 0), ("r1v-geoqa", 1), ("r1v-superclevr", 0)] {
        let printed = grade(folder.path(), &["--rule", rule, "--json"]).code(0);
        let summary: Value = serde_json::from_slice(&printed.get_output().stdout).unwrap();
        assert_eq!((&summary["rule"], &summary["correct"]), (&rule.into(), &correct.into()));
    }
}

#[test]
fn wrong_input_is_code_2_and_named() {
    let folder = folder(ANSWERS);
    grade(folder.path(), &["--rule", "best"]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: invalid value 'best' for '--rule <RULE>': found the rule "best", expected "answer-tag", "r1v-reward", "r1v-superclevr" or "r1v-geoqa"
hint: answer-tag compares the contents of the last <answer>, the others reproduce R1-V

For more information, try '--help'.

"#]]);
    grade(folder.path(), &["--rule", "r1v-superclevr"]).code(2).stdout_eq("").stderr_eq(str![[
        r#"
error: answers.jsonl: line 2: found the solution "//frac{1}{//sqrt{3}}", expected an integer
hint: r1v-superclevr grades counts; answer-tag grades other answers
hint: --allow-unparsable counts such lines instead

"#
    ]]);
    grade(folder.path(), &["--out", "answers.jsonl"]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: --out answers.jsonl: found the file to be graded
hint: name another file

"#]]);
    let unread = std::fs::read_to_string(folder.path().join("answers.jsonl")).unwrap();
    assert_eq!(unread, ANSWERS, "the input is untouched");
    std::fs::write(folder.path().join("answers.jsonl"), "{\"solution\": 1}\n").unwrap();
    grade(folder.path(), &[]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: answers.jsonl: line 1: field `completion`: found nothing among the fields [solution], expected what the model said, as text
hint: `"completion": "<think>...</think> <answer> 7 </answer>"`

"#]]);
    std::fs::write(folder.path().join("answers.jsonl"), "\n").unwrap();
    grade(folder.path(), &[]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: answers.jsonl: found no line, expected at least one completion

"#]]);
}
