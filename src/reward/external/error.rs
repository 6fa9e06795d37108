//! What can go wrong with the command of a custom reward, a variant per failure.
//! Not here: how failures are detected (the parent module).

use std::io;
use std::process::ExitStatus;

/// Why a custom reward failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalError {
    /// There is no such program, or it may not be run.
    #[error(
        "cannot start the reward command {program:?}: {source}\n\
         hint: program is a path or a name on the search path, its arguments go into args; no shell reads them"
    )]
    CannotStart {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended before every request had its answer.
    #[error(
        "the reward command {program:?} ended with {status} after {n_answered} of {n_requests} answers{}\n\
         hint: it must answer every line of its stdin until stdin ends",
        quoted(.stderr)
    )]
    Ended {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Answers it gave to the batch.
        n_answered: usize,
        /// Requests in the batch.
        n_requests: usize,
        /// The last lines of its stderr.
        stderr: String,
    },
    /// It is still running, but has closed a pipe.
    #[error(
        "the reward command {program:?} closed its {pipe} after {n_answered} of {n_requests} answers{}\n\
         hint: it must read its stdin to the end and answer every line on its stdout",
        quoted(.stderr)
    )]
    ClosedPipe {
        /// The program.
        program: String,
        /// `stdin` or `stdout`.
        pipe: &'static str,
        /// Answers it gave to the batch.
        n_answered: usize,
        /// Requests in the batch.
        n_requests: usize,
        /// The last lines of its stderr.
        stderr: String,
    },
    /// It did not answer in time.
    #[error(
        "the reward command {program:?} timed out: {n_answered} of {n_requests} answers within {timeout_s} s{}\n\
         hint: raise timeout_s, and let it flush its stdout after each line",
        quoted(.stderr)
    )]
    TimedOut {
        /// The program.
        program: String,
        /// The limit, in seconds.
        timeout_s: f64,
        /// Answers it gave to the batch.
        n_answered: usize,
        /// Requests in the batch.
        n_requests: usize,
        /// The last lines of its stderr.
        stderr: String,
    },
    /// A line that is no answer.
    #[error(
        "the reward command {program:?} wrote {line:?}: {problem}, expected {{\"id\": 0, \"score\": 1.0}}\n\
         hint: stdout is for answers alone, one a line; anything else goes to stderr"
    )]
    NotAnAnswer {
        /// The program.
        program: String,
        /// The line, or its beginning.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An answer to a request that was not made.
    #[error(
        "the reward command {program:?} answered id {id}, expected one of {first_id} to {last_id}\n\
         hint: an answer repeats the id of its request, and each request has one answer"
    )]
    UnknownId {
        /// The program.
        program: String,
        /// The id it gave.
        id: u64,
        /// The first id of the batch.
        first_id: u64,
        /// The last id of the batch.
        last_id: u64,
    },
    /// Two answers to one request.
    #[error(
        "the reward command {program:?} answered id {id} twice\n\
         hint: each request has one answer"
    )]
    RepeatedId {
        /// The program.
        program: String,
        /// The id it gave.
        id: u64,
    },
    /// A score that cannot be added up.
    #[error(
        "the reward command {program:?} wrote {line:?}, expected a finite score\n\
         hint: give a completion that cannot be scored a number, such as 0"
    )]
    NotFinite {
        /// The program.
        program: String,
        /// The line, or its beginning.
        line: String,
    },
}

/// The last lines of a command's stderr, as they are appended to a message.
fn quoted(stderr: &str) -> String {
    if stderr.is_empty() {
        return ", and nothing on its stderr".to_owned();
    }
    format!("; its stderr ends:\n  {}", stderr.replace('\n', "\n  "))
}
