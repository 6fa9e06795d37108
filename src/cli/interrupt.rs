//! Ctrl-C: once asks for an orderly end, twice ends at once.
//! Not here: what an orderly end is (`train`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use super::exit_status::ExitStatus;

/// Whether Ctrl-C has been pressed.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Whether an orderly end is asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for an orderly end, as Ctrl-C does.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Asks for an orderly end; returns whether that had been asked for before.
    fn request_again(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

/// Catches Ctrl-C for the rest of the process.
///
/// # Errors
/// The system refuses the handler, or there is one already.
pub fn catch_interrupts() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let seen = interrupt.clone();
    ctrlc::set_handler(move || {
        if seen.request_again() {
            end_at_once();
        }
        tracing::warn!("interrupted: finishing the update and saving; Ctrl-C again ends at once");
    })
    .context("cannot catch Ctrl-C")?;
    Ok(interrupt)
}

/// Leaves files that are written by rename as they are: either whole or not there.
#[expect(clippy::disallowed_methods, clippy::exit, reason = "the user asked twice to end at once")]
fn end_at_once() {
    std::process::exit(i32::from(ExitStatus::Interrupted.code()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_request_is_orderly_and_every_clone_sees_it() {
        let interrupt = Interrupt::default();
        let clone = interrupt.clone();
        assert!(!interrupt.is_requested());
        assert!(!clone.request_again(), "the first request must not end the process");
        assert!(interrupt.is_requested());
        assert!(clone.request_again());
    }
}
