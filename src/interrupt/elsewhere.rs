//! Systems on which Ctrl-C is the only signal that asks a process to end.
//! Not here: systems with other such signals (`unix`).

use std::io;

/// Does nothing.
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of systems that can refuse")]
pub(super) fn listen(_on_signal: impl Fn() + Send + 'static) -> io::Result<()> {
    Ok(())
}
