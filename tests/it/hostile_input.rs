//! Input that asks for more memory or time than there is, or would say more than it may: refused at once, with its name.
//! `SNAPSHOTS=overwrite cargo test --test it` rewrites the expected texts; read the difference.
//! Not here: mistakes (`wrong_input`); decoders and readers by themselves, whose tests stand beside them.

use snapbox::cmd::{Command, cargo_bin};
use snapbox::str;

use crate::wrong_input::{ASK, Folder, MEASURE, RUN_FILE, TRAIN};

#[test]
fn count_beyond_its_range_is_refused_before_anything_is_made_for_it() {
    let folder = Folder::new();
    folder.write("run.toml", RUN_FILE);
    folder.refuses(
        &format!("{MEASURE} --task synth-vc --samples 1000000000000"),
        str![[r#"
error: invalid value '1000000000000' for '--samples <K>': expected a whole number from 1 to 65536

For more information, try '--help'.

"#]],
    );
    for flag in ["--limit", "--max-batch", "--max-new-tokens", "--samples"] {
        folder.refuses(
            &format!("eval --model policy --task synth-vc {flag} 1000000000000"),
            str!["error: invalid value '1000000000000' for '[..]': expected a whole number from 1 to [..]\n..."],
        );
    }
    folder.refuses(
        "cross-eval --train synth-vc --test synth-vc --seeds 1000000000000",
        str!["error: invalid value '1000000000000' for '--seeds <N>': expected a whole number from 1 to 65536\n..."],
    );
    for key in [
        "grpo.group_size",
        "grpo.prompts_per_update",
        "grpo.updates_per_rollout",
        "rollout.max_batch",
        "rollout.max_new_tokens",
        "train.updates",
        "train.tokens_per_micro_batch",
        "data.prefetch",
        "data.workers",
        "data.max_samples",
        "data.max_pixels",
        "eval.limit",
    ] {
        folder.refuses(
            &format!("{TRAIN} --set {key}=100000000000000"),
            str!["error: --set [..]=100000000000000: [..] is 100000000000000, expected [..]\n..."],
        );
    }
    folder.refuses(
        &format!("{TRAIN} --set grpo.group_size=60000 --set grpo.prompts_per_update=60000"),
        str![[r#"
error: --set grpo.group_size=60000: grpo.group_size is 60000, expected at most 1048576 completions of a rollout, and these settings make 3600000000
hint: lower grpo.group_size, grpo.prompts_per_update or grpo.mini_batches

"#]],
    );
}

#[test]
fn text_that_no_model_reads_is_refused_by_its_length() {
    let folder = Folder::new();
    let long = "a".repeat(12_000_000);
    folder.write("rows.jsonl", format!("{{\"problem\":\"{long}\",\"solution\":\"1\"}}\n"));
    folder.refuses(
        &format!("{MEASURE} --data rows.jsonl"),
        str![[r#"
error: rows.jsonl: line 1: field `problem`: found a text of 12000000 bytes, expected at most 1048576
hint: a model reads some ten thousand words; split the row, or leave it out

"#]],
    );
    folder.write("rows.jsonl", "a".repeat((16 << 20) + 2));
    folder.refuses(
        &format!("{MEASURE} --data rows.jsonl"),
        str![[r#"
error: rows.jsonl: line 1: found more than 16777216 bytes, expected a row
hint: each line holds one JSON object; pictures stand in files of their own

"#]],
    );
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_input() {
    let folder = Folder::new();
    let made = std::process::Command::new("mkfifo").arg(folder.path("pipe")).status().unwrap();
    assert!(made.success());
    for file in ["pipe", "/dev/zero"] {
        for line in [
            format!("{ASK} --image {file}"),
            format!("infer --model policy --messages {file}"),
            format!("{MEASURE} --data {file}"),
            format!("train --config {file} --out run"),
            format!("grade --input {file} --rule answer-tag"),
        ] {
            refuses_with(&folder, &line, "not a regular file");
        }
        for part in ["model.safetensors", "config.json", "tokenizer.json"] {
            let path = folder.path("policy").join(part);
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(folder.path(file), &path).unwrap();
            refuses_with(&folder, ASK, "not a regular file");
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(crate::golden::folder().join("policy").join(part), path).unwrap();
        }
    }
}

/// Runs a command line that must be refused at once with code 2 and words of this kind. Unlike [`Folder::refuses`] it does
/// not read the folder, which may hold what never ends.
#[cfg(unix)]
fn refuses_with(folder: &Folder, line: &str, words: &str) {
    Command::new(cargo_bin!("othink"))
        .args(line.split_whitespace())
        .current_dir(folder.0.path())
        .timeout(std::time::Duration::from_mins(1))
        .assert()
        .code(2)
        .stdout_eq("")
        .stderr_eq(format!("...\n[..]{words}[..]\n..."));
}

#[test]
fn tokenizer_that_draws_or_a_template_that_never_ends_is_refused() {
    let folder = Folder::new();
    folder.edit("policy/tokenizer.json", "\"dropout\": null", "\"dropout\": 0.5");
    folder.refuses(
        ASK,
        str![[r#"
error: policy/tokenizer.json: model.dropout is 0.5, expected null: prompts are made of the same tokens every time
hint: set it to null; the tokens stay those that the model knows

"#]],
    );
    folder.edit("policy/tokenizer.json", "\"dropout\": 0.5", "\"dropout\": null");
    folder.write(
        "policy/chat_template.jinja",
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ j }}{% endfor %}{% endfor %}",
    );
    folder.refuses(
        ASK,
        str![
            "error: policy/chat_template.jinja: the chat template fails: it [..] more than [..]\n"
        ],
    );
}
