//! Ctrl-C: the first press asks the run to end after the update, the second ends the process.
//! Not here: saving and the exit code after the first press (`train`, `cli`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a process that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// The handler of Ctrl-C cannot be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Ctrl-C: {0}")]
pub struct InterruptError(#[from] ctrlc::Error);

/// Whether the run was asked to end. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    is_requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// One that nothing requests but [`Interrupt::request`].
    pub fn new() -> Self {
        Self::default()
    }

    /// One that Ctrl-C requests. To be called once in a process, which clones it from then on.
    ///
    /// - `notice`: what a person reads after the first press
    /// - `notify`: shows a person one line; called from another thread
    ///
    /// # Errors
    /// The system refuses the handler, or there is one already.
    pub fn on_ctrl_c(
        notice: &'static str,
        notify: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, InterruptError> {
        let interrupt = Self::new();
        let pressed = interrupt.clone();
        let handler = move || {
            if pressed.request() {
                notify(notice);
            } else {
                stop_at_once();
            }
        };
        ctrlc::set_handler(handler)?;
        Ok(interrupt)
    }

    /// Asks the run to end after the update; whether this is the first time.
    pub fn request(&self) -> bool {
        !self.is_requested.swap(true, Ordering::SeqCst)
    }

    /// Whether the run was asked to end; the trainer looks between updates.
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
