//! Faults inside a process: `preload.c`, built and loaded with the program, counts its file operations and spoils one.
//! Not here: which operation is spoilt in which way (the areas), what has to hold then (`training`, `outcome`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What happens at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed by SIGKILL instead of doing it.
    KillBefore,
    /// The process is killed by SIGKILL once it is done.
    KillAfter,
    /// The process is stopped before it, until it gets SIGCONT.
    Stop,
    /// The operation fails: no space.
    NoSpace,
    /// The operation fails: input or output error.
    Io,
    /// The operation fails: quota exceeded.
    Quota,
    /// From this operation on there is no space.
    Full,
    /// Half of the bytes are written, and from then on there is no space.
    Short,
}

impl Fault {
    /// The faults in which the process lives on with an error.
    pub(crate) const ERRORS: [Self; 5] =
        [Self::NoSpace, Self::Io, Self::Quota, Self::Full, Self::Short];

    /// As `preload.c` spells it.
    fn name(self) -> &'static str {
        match self {
            Self::KillBefore => "kill-before",
            Self::KillAfter => "kill-after",
            Self::Stop => "stop",
            Self::NoSpace => "ENOSPC",
            Self::Io => "EIO",
            Self::Quota => "EDQUOT",
            Self::Full => "full",
            Self::Short => "short",
        }
    }

    /// What the system says of it, in English.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Io => "Input/output error",
            Self::Quota => "quota exceeded",
            _ => "No space left on device",
        }
    }
}

/// Which file operations of a process are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operations {
    Changes,
    Reads,
}

/// A file operation of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Of changes `open` for writing, `write`, `fsync`, `truncate`, `rename`, `mkdir`, `unlink`, ...; of reads `open`, `read`,
    /// `stat`, `map`, `list`.
    pub(crate) what: String,
    pub(crate) path: PathBuf,
    /// Where a rename leads.
    pub(crate) to: PathBuf,
}

/// The library; `None`, said once, where there is no C compiler.
pub(crate) fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(built).as_deref()
}

fn built() -> Option<PathBuf> {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-preload.so");
    // Under its own name at once, since test processes may run beside each other.
    let own = library.with_extension(std::process::id().to_string());
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
    let compiled = compiler.arg(&own).arg("tests/faults/preload.c").status();
    let Ok(status) = compiled else {
        eprintln!("skipped: no `cc` on this machine to build tests/faults/preload.c with");
        return None;
    };
    assert!(status.success(), "tests/faults/preload.c does not compile");
    std::fs::rename(&own, &library).unwrap();
    Some(library)
}

/// Has a command's changes below a folder written to `log`, and its `n`-th, from 1, spoilt.
pub(crate) fn load(command: &mut Command, below: &Path, log: &Path, at: Option<(usize, Fault)>) {
    load_for(Operations::Changes, command, below, log, at);
}

/// As [`load`], of other operations than changes.
pub(crate) fn load_for(
    operations: Operations,
    command: &mut Command,
    below: &Path,
    log: &Path,
    at: Option<(usize, Fault)>,
) {
    command.env("LD_PRELOAD", library().unwrap());
    if operations == Operations::Reads {
        command.env("OTHINK_FAULTS_OF", "reads");
    }
    command.env("OTHINK_FAULTS_BELOW", below).env("OTHINK_FAULTS_LOG", log);
    if let Some((n, fault)) = at {
        command.env("OTHINK_FAULTS_AT", n.to_string()).env("OTHINK_FAULTS_DO", fault.name());
    }
}

/// Has a command's clock go back by an hour each time it is asked.
pub(crate) fn turn_the_clock_back(command: &mut Command) {
    command.env("LD_PRELOAD", library().unwrap()).env("OTHINK_FAULTS_CLOCK", "back");
}

/// The operations in a log, in their order.
pub(crate) fn operations(log: &Path) -> Vec<Operation> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let parsed = text.lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, what, path, to] = fields[..] else { panic!("{line}") };
        Operation { what: what.to_owned(), path: path.into(), to: to.into() }
    });
    parsed.collect()
}

/// Which operations are worth a fault each, from 1: of neighbours that do the same to one file the first, one in the middle
/// and the last.
pub(crate) fn distinct(operations: &[Operation]) -> Vec<usize> {
    let mut distinct = Vec::new();
    let mut begin = 0;
    for group in operations.chunk_by(|a, b| (&a.what, &a.path) == (&b.what, &b.path)) {
        let mut chosen = [0, group.len() / 2, group.len() - 1].map(|idx| begin + idx + 1).to_vec();
        chosen.dedup();
        distinct.extend(chosen);
        begin += group.len();
    }
    distinct
}
