//! Systems that ask a process to end by no signal but Ctrl-C.
//! Not here: those that do (`unix`).

use std::io;

/// Does nothing.
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of systems that can refuse")]
pub(super) fn listen(_on_signal: impl Fn() + Send + 'static) -> io::Result<()> {
    Ok(())
}
