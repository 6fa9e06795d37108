//! The files of records of a run that goes on: exactly those of the updates up to its checkpoint, or an error.
//! Not here: single files (`othink::run_folder`), resumption after a kill (`train`).

use std::path::Path;
use std::process::Output;

use crate::runs::{config, train};
use crate::train::{assert_same_run, succeed};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn without_line(path: &Path, i: usize) -> String {
    let text = text(path);
    let lines = text.lines().enumerate().filter(|(at, _)| *at != i);
    let kept: Vec<&str> = lines.map(|(_, line)| line).collect();
    kept.join("\n") + "\n"
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_whose_records_have_a_gap_goes_on_only_where_a_repair_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "grpo");
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    succeed(train(&config, &whole, &[]));
    succeed(train(&config, &run, &[]));
    let more = ["--resume", "--set", "train.updates=6"];
    let without = |name: &str, i| without_line(&run.join(name), i);
    let damaged = text(&run.join("metrics.jsonl")).replacen("{\"update\":4,", "{\"update\":,", 1);
    for (name, changed, found, is_copied) in [
        (
            "metrics.jsonl",
            without("metrics.jsonl", 2),
            "jsonl:3: 0 records of update 3, expected 1",
            false,
        ),
        (
            "completions.jsonl",
            without("completions.jsonl", 3),
            "jsonl:12: 11 records of update 1, expected 12",
            false,
        ),
        (
            "metrics.jsonl",
            damaged,
            "jsonl:4: expected value at line 1 column 11, expected a record",
            true,
        ),
    ] {
        let file = run.join(name);
        let before = text(&file);
        std::fs::write(&file, &changed).unwrap();
        let refused = train(&config, &run, &more).output().unwrap();
        assert!(!refused.status.success());
        assert!(stderr(&refused).contains(found), "{}", stderr(&refused));
        assert_eq!(text(&file), changed, "nothing is changed");
        let repaired = succeed(train(&config, &run, &[&more[..], &["--repair"]].concat()));
        assert!(stderr(&repaired).contains(found), "{}", stderr(&repaired));
        let copy = run.join(format!("{name}.before-repair"));
        if is_copied {
            assert_eq!(text(&copy), changed);
        } else {
            assert_eq!((text(&file), copy.exists()), (changed, false));
        }
        std::fs::write(&file, before).unwrap();
    }
    succeed(train(&config, &run, &more));
    assert_same_run(&whole, &run);
}

#[test]
fn lines_after_the_checkpoint_are_cut_off_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "sft");
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    succeed(train(&config, &whole, &[]));
    succeed(train(&config, &run, &[]));
    std::fs::remove_dir_all(run.join("checkpoints/step-000006")).unwrap();
    std::fs::remove_file(run.join("finished")).unwrap();
    let resumed = succeed(train(&config, &run, &["--resume"]));
    let told = "metrics.jsonl: 2 lines after update 4, the last of update 6, are cut off";
    assert!(stderr(&resumed).contains(told), "{}", stderr(&resumed));
    assert_same_run(&whole, &run);
}
