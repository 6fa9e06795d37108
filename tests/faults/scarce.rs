//! A run on a small disk, with few file descriptors, under a clock that goes back.
//! Not here: a disk that is full from a given operation on (`writes`).

use std::path::Path;
use std::process::Command;

use crate::area::{Area, chosen, takes_all};
use crate::outcome::{Outcome, run};
use crate::preload::{self, Fault, distinct};
use crate::training::Kind;

/// In `cargo test`, of each area; all of them otherwise.
const N_CASES: usize = 2;
/// Of a file system in memory, KiB.
const PAGE: u32 = 4;
/// Sizes tried below the least one on which a run succeeds.
const N_JUST_BELOW: u32 = 30;

/// A command run by `sh`, with something before it.
///
/// - `script`: it ends in `"$@"`, the command
fn through_shell(mut shell: Command, script: &str, command: &Command) -> Command {
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    shell
}

fn in_own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh"]);
    command
}

fn can_mount(folder: &Path) -> bool {
    let script = format!("mount -t tmpfs faults '{}' && \"$@\"", folder.display());
    let command = through_shell(in_own_mounts(), &script, &Command::new("true"));
    run(command, folder).status.success()
}

#[test]
fn a_run_on_a_small_disk_says_that_it_is_full_and_goes_on_to_the_bit() {
    let mut area = Area::new("training, a file system of few KiB");
    if !can_mount(area.folder()) {
        eprintln!(
            "skipped: no file system may be mounted here; that a disk is full is tested by `writes` alone"
        );
        return;
    }
    for kind in Kind::first(if takes_all() { 2 } else { 1 }, area.folder()) {
        let mut sizes = chosen((1..=60).map(|n| 120 * n).collect(), N_CASES);
        if takes_all() {
            let enough = least_size(&kind, area.folder());
            sizes.extend((1..=N_JUST_BELOW).map(|n| enough - n * PAGE));
        }
        for size in sizes {
            area.case(&format!("{}, {size} KiB", kind.name), |folder| {
                let outcome = on_small_disk(&kind, size, folder);
                let out = folder.join("small/run");
                let words = [&out.display().to_string(), Fault::Full.cause(), "hint: "];
                if outcome.succeeded_or_said(1, &words)? {
                    return kind.is_whole(&folder.join("run"));
                }
                kind.goes_on(folder).map(drop)
            });
        }
    }
    area.end();
}

/// A run on a file system of `size` KiB; what it has left is copied to `folder/run`.
fn on_small_disk(kind: &Kind, size: u32, folder: &Path) -> Outcome {
    let small = folder.join("small");
    std::fs::create_dir(&small).unwrap();
    let out = small.join("run");
    // The file system goes with its mount: what is left is copied out of it.
    let script = format!(
        "mount -t tmpfs -o size={size}k faults '{}' && \"$@\"; code=$?; cp -a '{}' '{}' 2>/dev/null; exit $code",
        small.display(),
        out.display(),
        folder.join("run").display(),
    );
    run(through_shell(in_own_mounts(), &script, &kind.command(&out, &[])), folder)
}

/// The least size, in KiB, of a file system on which a run succeeds. Below it the disk is full at the last and smallest
/// files, where a failure is the easiest to overlook.
fn least_size(kind: &Kind, folder: &Path) -> u32 {
    let succeeds = |pages: u32| {
        let tried = folder.join(format!("size-{pages}"));
        std::fs::create_dir(&tried).unwrap();
        let outcome = on_small_disk(kind, pages * PAGE, &tried);
        std::fs::remove_dir_all(tried).unwrap();
        outcome.status.success()
    };
    let (mut too_small, mut enough) = (0, 4096);
    assert!(succeeds(enough), "{enough} pages are not enough");
    while enough - too_small > 1 {
        let middle = u32::midpoint(too_small, enough);
        *(if succeeds(middle) { &mut enough } else { &mut too_small }) = middle;
    }
    enough * PAGE
}

#[test]
fn a_run_with_few_descriptors_says_so_and_goes_on_to_the_bit() {
    let mut area = Area::new("training, few file descriptors");
    for kind in Kind::first(if takes_all() { 2 } else { 1 }, area.folder()) {
        for limit in chosen((4..=40).collect::<Vec<u32>>(), N_CASES) {
            area.case(&format!("{}, {limit} descriptors", kind.name), |folder| {
                let script = format!("ulimit -n {limit} && exec \"$@\"");
                let command = kind.command(&folder.join("run"), &[]);
                let outcome = run(through_shell(Command::new("sh"), &script, &command), folder);
                outcome.succeeded_or_said(1, &["Too many open files"])?;
                kind.goes_on(folder).map(drop)
            });
        }
    }
    area.end();
}

#[test]
fn a_clock_that_goes_back_changes_no_run() {
    if preload::library().is_none() {
        return;
    }
    let mut area = Area::new("training, a clock that goes back");
    for kind in Kind::first(if takes_all() { 4 } else { 1 }, area.folder()) {
        area.case(kind.name, |folder| {
            let out = folder.join("run");
            let mut command = kind.command(&out, &[]);
            preload::turn_the_clock_back(&mut command);
            run(command, folder).succeeded()?;
            kind.is_whole(&out)
        });
        for n in chosen(crate::area::spread(distinct(&kind.operations), 12), 2) {
            area.case(&format!("{}, killed at operation {n}", kind.name), |folder| {
                let out = folder.join("run");
                for flags in [&[][..], &["--resume"]] {
                    let mut command = kind.command(&out, flags);
                    preload::load(
                        &mut command,
                        &out,
                        &folder.join("log"),
                        Some((n, Fault::KillBefore)),
                    );
                    preload::turn_the_clock_back(&mut command);
                    let outcome = run(command, folder);
                    // The second may have less to do, or not have begun.
                    if flags.is_empty() && !outcome.is_killed() {
                        return Err(format!("it was not killed: {outcome:?}"));
                    }
                }
                kind.goes_on(folder).map(drop)
            });
        }
    }
    area.end();
}
