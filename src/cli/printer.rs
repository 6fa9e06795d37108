//! Standard output: results, for people or as one JSON object.
//! Not here: progress and logs, which belong on standard error (`progress`, `logging`).

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::printable;

/// Why a result could not be printed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrintError {
    /// The reader closed standard output, as `head` does; the command ends without a message.
    #[error("standard output is closed")]
    ClosedPipe,
    /// Any other failure of the output.
    #[error("cannot write to standard output\nhint: check the disk that it is redirected to")]
    Write(#[source] std::io::Error),
    /// A result that is not JSON.
    #[error("cannot write the result as JSON")]
    Serialize(#[source] serde_json::Error),
}

impl From<std::io::Error> for PrintError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Write(error),
        }
    }
}

/// Where results go.
pub struct Printer {
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer").finish_non_exhaustive()
    }
}

impl Printer {
    /// Prints on standard output.
    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }

    /// Prints into a writer.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out) }
    }

    /// Prints text and a line end, without what could steer a terminal.
    ///
    /// # Errors
    /// Standard output is closed, or cannot be written.
    pub fn line(&mut self, text: impl Display) -> Result<(), PrintError> {
        self.write(&printable::whole(&text.to_string()))
    }

    /// Prints a piece of a text that goes on, at once.
    ///
    /// # Errors
    /// As [`Printer::line`].
    pub fn piece(&mut self, text: &str) -> Result<(), PrintError> {
        write!(self.out, "{}", printable::whole(text))?;
        Ok(self.out.flush()?)
    }

    /// Prints one JSON object on one line.
    ///
    /// # Errors
    /// As [`Printer::line`], or the value has no JSON form.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), PrintError> {
        let text = serde_json::to_string(value).map_err(PrintError::Serialize)?;
        self.write(&printable::json(&text))
    }

    fn write(&mut self, text: &str) -> Result<(), PrintError> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closed_pipe_is_told_from_other_failures() {
        let closed = Printer::new(Closed(ErrorKind::BrokenPipe)).line("x").unwrap_err();
        assert!(matches!(closed, PrintError::ClosedPipe));
        let full = Printer::new(Closed(ErrorKind::StorageFull)).line("x").unwrap_err();
        assert!(matches!(full, PrintError::Write(_)));
    }
}
