//! Exit codes.
//! Not here: which error has which (`failure`).

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done.
    Done,
    /// Something failed that the user's input is not to blame for, or only partly.
    Failed,
    /// Wrong usage, configuration or data: the same command will fail again until it is changed.
    Usage,
    /// Interrupted, after saving.
    Interrupted,
}

impl ExitStatus {
    /// The code that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Interrupted => 130, // 128 + SIGINT, as shells report it
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
