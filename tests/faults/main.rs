//! What faults do to the program: killed at any moment, failing disks, damaged and moved files, processes beside each other.
//!
//! Each case spoils one thing. Then the command has to have succeeded or said what failed where, and the same command
//! without the fault has to end with what an undisturbed one leaves, to the bit. `cargo test` takes a few cases of each
//! area, `scripts/faults.sh` all.
//! In reading order: what a fault is and how it is brought about (`preload`, `preload.c`), how a command ends (`outcome`),
//! which cases are taken and counted (`area`), then an area a file.
//! Not here: being interrupted as a user does it (`it::signals`), files that others wrote (`it::hostile_input`).

#![expect(clippy::print_stderr, reason = "says what is skipped, and what came of each area")]
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

#[cfg(target_os = "linux")]
mod area;
#[cfg(target_os = "linux")]
mod damage;
#[cfg(target_os = "linux")]
mod evaluation;
#[cfg(target_os = "linux")]
mod moved;
#[cfg(target_os = "linux")]
mod outcome;
#[cfg(target_os = "linux")]
mod preload;
#[cfg(target_os = "linux")]
mod reads;
#[cfg(target_os = "linux")]
#[path = "../runs/mod.rs"]
mod runs;
#[cfg(target_os = "linux")]
mod scarce;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod together;
#[cfg(target_os = "linux")]
mod training;
#[cfg(target_os = "linux")]
mod writes;

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "faults are brought about by means that Linux alone has"]
fn faults() {}
