//! A run that gets a signal at a moment of the clock.
//! Not here: kills at a given operation (`writes`), what a signal does in detail (`it::signals`).

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::area::{Area, takes_all};
use crate::outcome::start;
use crate::training::Kind;

const SIGNALS: [&str; 4] = ["KILL", "TERM", "HUP", "STOP"];
/// Moments for each signal and kind of run.
const N_MOMENTS: usize = 8;
/// How long a stopped process stays so.
const PAUSE: Duration = Duration::from_millis(20);

/// Numbers in [0, 1), evenly spread in the long run, the same in each run of the tests: the golden ratio's multiples.
fn fraction(n: usize) -> f64 {
    (n as f64 * 0.618_033_988_749_895).fract()
}

fn send(signal: &str, id: u32) {
    // The process may have ended by itself.
    Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().unwrap();
}

#[test]
fn a_run_that_gets_a_signal_at_any_moment_goes_on_to_the_bit() {
    let mut area = Area::new("training, signals at any moment");
    let (n_kinds, n_moments) = if takes_all() { (4, N_MOMENTS) } else { (1, 1) };
    let kinds = Kind::first(n_kinds, area.folder());
    let mut n = 0;
    for kind in &kinds {
        let started = Instant::now();
        let folder = area.folder().join("timed");
        std::fs::create_dir_all(&folder).unwrap();
        crate::outcome::run(kind.command(&folder.join("run"), &[]), &folder).succeeded().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let takes = started.elapsed();
        for signal in (0..n_moments).flat_map(|_| SIGNALS) {
            n += 1;
            let after = takes.mul_f64(fraction(n));
            area.case(&format!("{}, {signal} after {after:?}", kind.name), |folder| {
                let run = start(kind.command(&folder.join("run"), &[]), folder);
                std::thread::sleep(after);
                send(signal, run.child.id());
                if signal == "STOP" {
                    std::thread::sleep(PAUSE);
                    send("CONT", run.child.id());
                }
                let outcome = run.end();
                let number = [("KILL", 9), ("TERM", 15), ("HUP", 1)]
                    .into_iter()
                    .find(|(name, _)| *name == signal);
                let ended_by = outcome.status.signal();
                // Until the program listens, a signal does what it does to any process; afterwards the run saves and ends.
                let is_expected = outcome.status.success()
                    || (ended_by.is_some() && ended_by == number.map(|(_, number)| number))
                    || (["TERM", "HUP"].contains(&signal) && outcome.status.code() == Some(130));
                if !is_expected {
                    return Err(format!("{outcome:?}"));
                }
                kind.goes_on(folder).map(drop)
            });
        }
    }
    area.end();
}
