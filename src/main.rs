//! The process: its allocator, a thread with a stack deep enough, its exit code.
//! Not here: everything else (`cli`).

mod allocator;

use std::process::ExitCode;

use othink::cli::{self, ExitStatus};

/// candle walks the graph of a backward pass recursively, a few hundred frames a layer.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let command = std::thread::Builder::new().name("othink".to_owned()).stack_size(STACK_BYTES);
    let status = match command.spawn(cli::main) {
        // A panic prints its own message on standard error.
        Ok(handle) => handle.join().unwrap_or(ExitStatus::Failed),
        Err(problem) => {
            let problem = anyhow::Error::new(problem);
            cli::report_error(&problem.context("cannot start a thread with a stack of 268 MB"));
            ExitStatus::Failed
        }
    };
    status.into()
}
