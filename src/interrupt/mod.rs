//! Requests to end the program: Ctrl-C, and the signals that schedulers, containers and closing terminals send.
//! Not here: saving and the exit code (`train`, `cli`).
//!
//! | request | first time | again |
//! |---|---|---|
//! | Ctrl-C (SIGINT) | training ends after the batch, evaluation after the answer | the process ends |
//! | SIGTERM, SIGHUP | the same | nothing, because some schedulers send them several times |
//!
//! A SIGHUP that is ignored from the start, as under `nohup`, stays ignored.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "elsewhere.rs")]
mod termination;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// The handlers of signals cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum InterruptError {
    /// That of Ctrl-C.
    #[error("cannot listen for Ctrl-C: {0}")]
    CtrlC(#[from] ctrlc::Error),
    /// Those of SIGTERM and SIGHUP.
    #[error("cannot listen for signals: {0}")]
    Termination(#[from] std::io::Error),
}

/// Whether the run was asked to end. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    is_requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// An interrupt that only [`Interrupt::request`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// An interrupt that Ctrl-C, SIGTERM and SIGHUP set. To be called once per process; clone the result.
    ///
    /// - `notice`: the line shown after the first request
    /// - `notify`: shows a line to the user; called from another thread
    ///
    /// # Errors
    /// The system refuses the handlers, or they are installed already.
    pub fn on_signals(
        notice: &'static str,
        notify: impl Fn(&str) + Clone + Send + 'static,
    ) -> Result<Self, InterruptError> {
        let interrupt = Self::new();
        let (pressed, pressed_notify) = (interrupt.clone(), notify.clone());
        ctrlc::set_handler(move || {
            if pressed.request() {
                pressed_notify(notice);
            } else {
                stop_at_once();
            }
        })?;
        let told = interrupt.clone();
        termination::listen(move || {
            if told.request() {
                notify(notice);
            }
        })?;
        Ok(interrupt)
    }

    /// Asks the run to end; returns whether this is the first request.
    pub fn request(&self) -> bool {
        !self.is_requested.swap(true, Ordering::SeqCst)
    }

    /// Whether the run was asked to end; training checks between batches, evaluation between answers.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::SeqCst)
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the second press asks for exactly this; checkpoints and records stand up to it"
)]
fn stop_at_once() {
    std::process::exit(INTERRUPTED);
}
