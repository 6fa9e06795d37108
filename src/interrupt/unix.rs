//! The signals with which a Unix system asks a process to end.
//! Not here: Ctrl-C, and the effect of a request (the parent module); systems without such signals (`elsewhere`).

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `on_signal` from a thread of its own for every SIGTERM and SIGHUP.
///
/// # Errors
/// The system refuses the handlers or the thread.
pub(super) fn listen(on_signal: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM])?;
    // Only Linux reports this without unsafe code; elsewhere no signal is taken for ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !is_ignored(&status, SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let listener = thread::Builder::new().name("signals".to_owned());
    listener.spawn(move || signals.forever().for_each(|_| on_signal()))?;
    Ok(())
}

/// Whether a process with this `/proc/self/status` ignores the signal: a mask in hexadecimal, SIGHUP (1) its lowest bit.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        // As Linux shows it under `nohup`; Rust itself ignores SIGPIPE (13).
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SIGHUP) && is_ignored(status, 13));
        assert!(!is_ignored(status, SIGTERM));
        assert!(!is_ignored("", SIGHUP));
    }
}
