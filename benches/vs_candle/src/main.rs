//! candle-transformers' Qwen3-VL beside the program's: command line and exit code.
//! Not here: either implementation (`candle_side`, `our_side`), what is asked of them (`prompts`), comparing (`logits`), timing (`decode`).
//!
//! Exit codes: 0, done; 1, the two differ where nothing explains it, or a failure; 2, usage or a folder that cannot be compared.

mod candle_side;
mod decode;
mod faults;
mod logits;
mod our_side;
mod prompts;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use othink::model::error::ModelError;
use othink::processor::ProcessorError;

/// The program's allocator, for both implementations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Two implementations of Qwen3-VL in Rust, one of them candle-transformers', on the CPU in f32.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  benches/vs_candle/run.sh logits tests/golden/families/qwen3_vl/tied
  benches/vs_candle/run.sh decode tests/golden/families/qwen3_vl/tied --pairs 3 --json")]
enum Command {
    /// Compare the logits that follow prompts, with and without candle-transformers' known faults
    Logits {
        /// A Qwen3-VL checkpoint; where golden.json lies beside it, its cases are compared with transformers too
        model: PathBuf,
    },
    /// Measure greedy decoding, for one sequence and for a group
    Decode(decode::Args),
}

/// What a folder or a flag is, and cannot be compared or measured.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Logits { model } => logits::run(&model),
        Command::Decode(args) => decode::run(&args),
    };
    let printed = outcome.and_then(|(text, is_right)| {
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(is_right)
    });
    match printed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let is_input =
                error.is::<Refused>() || error.is::<ModelError>() || error.is::<ProcessorError>();
            if is_input {
                // It says itself what caused it.
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
