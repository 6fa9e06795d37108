//! The process: its allocator, its threads, a stack deep enough, its exit code.
//! Not here: everything else (`cli`).

mod allocator;
mod threads;

use std::process::ExitCode;

use othink::cli::{self, ExitStatus};

/// candle walks the graph of a backward pass recursively, a few hundred frames a layer.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    threads::let_candle_sleep();
    allocator::keep_freed_memory();
    let command = std::thread::Builder::new().name("othink".to_owned()).stack_size(STACK_BYTES);
    let status = match command.spawn(run) {
        // A panic prints its own message on standard error.
        Ok(handle) => handle.join().unwrap_or(ExitStatus::Failed),
        Err(problem) => failed(problem, "cannot start a thread with a stack of 268 MB"),
    };
    status.into()
}

fn run() -> ExitStatus {
    match threads::join_pool() {
        Ok(()) => cli::main(),
        Err(problem) => failed(problem, "cannot start threads to compute with"),
    }
}

fn failed(
    problem: impl std::error::Error + Send + Sync + 'static,
    what: &'static str,
) -> ExitStatus {
    cli::report_error(&anyhow::Error::new(problem).context(what));
    ExitStatus::Failed
}
