//! How a command ended, and whether it said what it must.
//! Not here: what it must have left (`training`).

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any command of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a running command is looked at.
const GLANCE: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// What it printed on standard error.
    pub(crate) told: String,
}

/// A command under way.
pub(crate) struct Started {
    pub(crate) child: Child,
    errors: std::path::PathBuf,
}

/// Starts a command whose standard error goes to a file.
///
/// - `folder`: where that file is
pub(crate) fn start(mut command: Command, folder: &Path) -> Started {
    let errors = folder.join("errors");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors).unwrap());
    // One thread is enough for the micro model, and cases run beside each other. What the hub keeps is the tests' own.
    command.env("RAYON_NUM_THREADS", "1").env_remove("OTHINK_LOG");
    if command.get_envs().all(|(name, _)| name != "HF_HOME") {
        command.env("HF_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-hub"));
    }
    Started { child: command.spawn().unwrap(), errors }
}

/// Runs a command to its end.
pub(crate) fn run(command: Command, folder: &Path) -> Outcome {
    start(command, folder).end()
}

impl Started {
    /// Waits for the command's end; one that does not end is killed, which the outcome shows.
    pub(crate) fn end(mut self) -> Outcome {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > PATIENCE {
                self.child.kill().unwrap();
            }
            std::thread::sleep(GLANCE);
        };
        Outcome { status, told: std::fs::read_to_string(&self.errors).unwrap_or_default() }
    }
}

impl Outcome {
    pub(crate) fn is_killed(&self) -> bool {
        self.status.signal() == Some(SIGKILL)
    }

    /// Success, or else what the command said.
    pub(crate) fn succeeded(&self) -> Result<(), String> {
        let Self { status, told } = self;
        if status.success() { Ok(()) } else { Err(format!("ended with {status}: {told}")) }
    }

    /// Success, or an error that exits with `code` and has all of the words.
    ///
    /// - returns whether it was a success
    pub(crate) fn succeeded_or_said(&self, code: i32, words: &[&str]) -> Result<bool, String> {
        let Self { status, told } = self;
        if told.contains("panicked") {
            return Err(format!("panicked: {told}"));
        }
        if status.success() {
            return Ok(true);
        }
        let says = |words: &[&str]| words.iter().all(|word| told.contains(word));
        if status.code() == Some(code) && says(&["error: "]) && says(words) {
            return Ok(false);
        }
        Err(format!("ended with {status}, expected success or {code} and words {words:?}: {told}"))
    }
}
