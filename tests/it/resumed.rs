//! Runs that are resumed: what `--resume` says, greater lengths, what is written down of each start.
//! Not here: that a resumed run has the bits of one that never stopped (`train`), changed data (`identities`).

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::runs::{config, last_checkpoint, lines, train};
use crate::train::{assert_same_run, succeed};

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Trains by `method` with changes; must succeed.
fn trained(folder: &Path, method: &str, out: &str, flags: &[&str], changes: &[&str]) -> Output {
    succeed(command(folder, method, out, flags, changes))
}

fn command(
    folder: &Path,
    method: &str,
    out: &str,
    flags: &[&str],
    changes: &[&str],
) -> std::process::Command {
    let mut command = train(&config(folder, method), &folder.join(out), flags);
    for change in changes {
        command.args(["--set", change]);
    }
    command
}

/// What such a command says when it refuses, with code 2.
fn refused(folder: &Path, method: &str, out: &str, changes: &[&str]) -> String {
    let output = command(folder, method, out, &["--resume"], changes).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    told(&output)
}

#[test]
fn one_command_begins_a_run_goes_on_with_it_and_finds_it_finished() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let go = || trained(root, "sft", "run", &["--resume"], &[]);
    let run = root.join("run");
    let begun = told(&go());
    assert!(
        begun.contains(&format!("no run to resume in {}: a new one begins", run.display())),
        "{begun}"
    );

    for update in ["step-000004", "step-000006"] {
        std::fs::remove_dir_all(run.join("checkpoints").join(update)).unwrap();
    }
    let went_on = told(&go());
    let from = run.join("checkpoints/step-000002");
    assert!(
        went_on.contains(&format!("going on after update 2 of 6, from {}", from.display())),
        "{went_on}"
    );

    let records = std::fs::read(run.join("metrics.jsonl")).unwrap();
    let starts = std::fs::read(run.join("starts.jsonl")).unwrap();
    let finished = go();
    let last = run.join("checkpoints/step-000006").display().to_string();
    let said = told(&finished);
    assert!(said.contains(&format!("the run is finished, after 6 updates: {last}")), "{said}");
    assert_eq!(String::from_utf8(finished.stdout).unwrap().trim_end(), last);
    assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), records);
    assert_eq!(std::fs::read(run.join("starts.jsonl")).unwrap(), starts, "nothing was started");

    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let over = told(&go());
    assert!(
        over.contains(&format!("no checkpoint in {} yet: the run starts over", run.display())),
        "{over}"
    );
}

#[test]
fn what_is_no_run_is_neither_resumed_nor_begun_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("letters")).unwrap();
    std::fs::write(root.join("letters/a"), "mine").unwrap();
    assert!(
        refused(root, "sft", "letters", &[]).contains("holds \"a\", expected a new or empty one")
    );
    std::fs::create_dir(root.join("records")).unwrap();
    std::fs::write(root.join("records/metrics.jsonl"), "{}\n").unwrap();
    assert!(
        refused(root, "sft", "records", &[])
            .contains("holds no config.toml, expected a run to resume")
    );
}

/// Neither the learning rate nor the KL weight hangs on the length.
const FLAT: [&str; 2] = ["optim.schedule=constant", "kl.schedule=constant"];

fn with<'a>(flat: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [flat, more].concat()
}

#[test]
fn a_run_whose_schedules_are_flat_becomes_the_run_of_the_greater_length_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for method in ["grpo", "sft"] {
        let [whole, grown] = ["whole", "grown"].map(|name| format!("{method}-{name}"));
        trained(root, method, &whole, &[], &FLAT);
        trained(root, method, &grown, &[], &with(&FLAT, &["train.updates=2"]));
        assert!(root.join(&grown).join("finished").is_file());
        let output = trained(root, method, &grown, &["--resume"], &FLAT);
        let said = told(&output);
        let note = "the run had 2 updates and now has 6; no schedule of the 2 that are made hangs on that\n";
        assert!(said.contains(note) && !said.contains("warning: the run had"), "{said}");
        assert_same_run(&root.join(&whole), &root.join(&grown));
        let card = |run: &str| {
            let run = root.join(run);
            std::fs::read_to_string(run.join(last_checkpoint(&run)).join("README.md")).unwrap()
        };
        assert_eq!(card(&whole), card(&grown));
        let finished = std::fs::read_to_string(root.join(&grown).join("finished")).unwrap();
        assert_eq!(finished, "step-000006\n");
    }
    let replayed = replay(&root.join("grpo-grown"), 1);
    assert_eq!(replayed.status.code(), Some(0), "{}", told(&replayed));
}

fn replay(run: &Path, update: u64) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_othink"));
    command.arg("replay").arg(run).args(["--update", &update.to_string()]);
    command.output().unwrap()
}

fn origin(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("origin.json")).unwrap()).unwrap()
}

#[test]
fn a_run_whose_schedules_hang_on_the_length_says_what_jumps_and_writes_it_down() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let run = root.join("run");
    trained(root, "grpo-d", "run", &[], &["train.updates=2"]);
    assert_eq!(origin(&run)["changes"], Value::Array(Vec::new()));
    let said = told(&trained(root, "grpo-d", "run", &["--resume"], &[]));
    // A linear rate of 1e-2 at 2 of 6, and 0 at 2 of 2; Eq. (3) with 1 and with 3 updates of exploration.
    let jump = "warning: the run had 2 updates and now has 6: schedules go on as those of 6, so that in update 3 the learning rate is \
                6.667e-3 where it was to be 0.000e0 and beta is 1.333e-2 where it was to be 8.000e-2; a run of 6";
    assert!(said.contains(jump), "{said}");
    let rates: Vec<f64> =
        lines(&run.join("metrics.jsonl")).iter().map(|line| line["lr"].as_f64().unwrap()).collect();
    let expected = [1e-2, 5e-3, 4e-2 / 6.0, 3e-2 / 6.0, 2e-2 / 6.0, 1e-2 / 6.0];
    assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
    let change = &origin(&run)["changes"][0];
    assert_eq!(
        (&change["after_update"], &change["changed"][0]["key"]),
        (&2.into(), &"train.updates".into())
    );
    let refused = replay(&run, 1);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains("or to a greater length after update 2"), "{}", told(&refused));
    assert_eq!(replay(&run, 3).status.code(), Some(0));
}

#[test]
fn a_run_becomes_no_shorter_and_does_not_go_on_in_the_midst_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    trained(root, "grpo-d", "run", &[], &["train.updates=3"]);
    let config = std::fs::read(root.join("run/config.toml")).unwrap();
    let shorter = refused(root, "grpo-d", "run", &["train.updates=2"]);
    assert!(
        shorter
            .contains("the run has 3 updates, expected at most as many as it is resumed with: 2"),
        "{shorter}"
    );
    let cut = refused(root, "grpo-d", "run", &["train.updates=4"]);
    assert!(
        cut.contains(
            "ended after update 3 in the midst of a batch of rollouts, expected a multiple of 2"
        ),
        "{cut}"
    );
    assert_eq!(std::fs::read(root.join("run/config.toml")).unwrap(), config);
    assert!(root.join("run/finished").is_file(), "it stays finished");
}

#[test]
fn each_start_has_a_line_with_program_command_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    trained(root, "sft", "run", &[], &["train.updates=2"]);
    let starts: PathBuf = root.join("run/starts.jsonl");
    let first = lines(&starts);
    let [line] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(
        (&line["outcome"], &line["from_update"], &line["to_update"]),
        (&"finished".into(), &0.into(), &2.into())
    );
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    assert!(line["command"].as_array().unwrap().contains(&"train".into()), "{line}");
    for key in ["host", "target", "started", "ended"] {
        assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {line}");
    }
    // A run that fails says why, and earlier lines stay as they are, whatever they hold.
    std::fs::write(&starts, "not JSON").unwrap();
    let more = ["optim.lr=3e37", "train.updates=9"];
    let output = command(root, "sft", "fails", &[], &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failed = lines(&root.join("fails/starts.jsonl")).remove(0);
    assert!(failed["outcome"].as_str().unwrap().contains("expected a finite number"), "{failed}");
    trained(root, "sft", "run", &["--resume"], &["train.updates=4"]);
    let text = std::fs::read_to_string(&starts).unwrap();
    let (kept, last) = text.trim_end().split_once('\n').unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        (kept, &last["from_update"], &last["to_update"]),
        ("not JSON", &2.into(), &4.into())
    );
}

#[test]
fn a_checkpoint_has_a_card_that_its_list_covers() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let measured =
        ["train.updates=4", "eval.before_training=true", "eval.limit=2", "eval.max_new_tokens=2"];
    trained(root, "sft", "whole", &[], &measured);
    trained(root, "sft", "halved", &[], &measured);
    let [whole, halved] = ["whole", "halved"].map(|name| root.join(name));
    std::fs::remove_dir_all(halved.join("checkpoints/step-000004")).unwrap();
    trained(root, "sft", "halved", &["--resume"], &with(&measured, &["train.keep=8"]));
    let card = |run: &Path| {
        std::fs::read_to_string(run.join("checkpoints/step-000004/README.md")).unwrap()
    };
    assert_eq!(card(&whole), card(&halved), "neither a date nor what changes no number");
    let card = card(&whole);
    assert!(card.contains("| 0 | 2 of synth-vc | 0.0 (0.0 to 65.8) |"), "{card}");
    assert!(card.contains("[optim]\nlr = 0.01\n"), "{card}");

    let list = whole.join("checkpoints/step-000004/trainer/manifest.json");
    let list: Value = serde_json::from_slice(&std::fs::read(list).unwrap()).unwrap();
    assert_eq!(list["files"]["README.md"]["bytes"], card.len());
    // One that was changed is no whole checkpoint.
    std::fs::write(whole.join("checkpoints/step-000004/README.md"), "# mine\n").unwrap();
    let output = trained(root, "sft", "whole", &["--resume"], &measured);
    let said = told(&output);
    assert!(
        said.contains("step-000004 is damaged: README.md has ")
            && said.contains("going on after update 2 of 4"),
        "{said}"
    );
}
