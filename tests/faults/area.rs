//! The cases of an area: which are taken, how many there were, and which did not end as they must.
//! Not here: what a case is and what must hold (the areas).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set by `scripts/faults.sh`: the file that gets a row of its table for each area, and that all cases are taken.
const TABLE: &str = "OTHINK_FAULTS_TABLE";

/// An area and what came of its cases.
pub(crate) struct Area {
    name: &'static str,
    tried: usize,
    failures: Vec<String>,
    /// Removed at the end, unless something failed.
    folder: PathBuf,
}

/// Whether all cases are taken.
pub(crate) fn takes_all() -> bool {
    std::env::var_os(TABLE).is_some()
}

/// All cases or, in `cargo test`, `n` of them, evenly spread.
pub(crate) fn chosen<T>(cases: Vec<T>, n: usize) -> Vec<T> {
    spread(cases, if takes_all() { usize::MAX } else { n })
}

/// `n` of the cases, evenly spread, or all.
pub(crate) fn spread<T>(cases: Vec<T>, n: usize) -> Vec<T> {
    let total = cases.len();
    // The case in which the count of those to be taken steps up.
    let is_taken = |idx: usize| n >= total || (idx + 1) * n / total > idx * n / total;
    cases.into_iter().enumerate().filter(|(idx, _)| is_taken(*idx)).map(|(_, case)| case).collect()
}

impl Area {
    pub(crate) fn new(name: &'static str) -> Self {
        static N: AtomicUsize = AtomicUsize::new(0);
        let number = N.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.join(format!("faults-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        Self { name, tried: 0, failures: Vec::new(), folder }
    }

    /// Where the area's own files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tries a case in a folder of its own, which stays if the case fails.
    pub(crate) fn case(&mut self, name: &str, case: impl FnOnce(&Path) -> Result<(), String>) {
        self.tried += 1;
        let folder = self.folder.join(format!("case-{:05}", self.tried));
        std::fs::create_dir(&folder).unwrap();
        match case(&folder) {
            Ok(()) => std::fs::remove_dir_all(&folder).unwrap(),
            Err(failure) => {
                let failure = format!("{name}: {failure}\n  in {}", folder.display());
                eprintln!("{}: {failure}", self.name);
                self.failures.push(failure);
            }
        }
    }

    /// Writes the area's row and fails if a case did.
    pub(crate) fn end(self) {
        let Self { name, tried, failures, folder } = self;
        let failed = failures.len();
        eprintln!("{name}: {tried} tried, {} handled, {failed} failed", tried - failed);
        if let Some(table) = std::env::var_os(TABLE) {
            let row = format!("| {name} | {tried} | {} | {failed} |\n", tried - failed);
            let table = std::fs::File::options().create(true).append(true).open(table);
            table.unwrap().write_all(row.as_bytes()).unwrap();
        }
        assert!(tried > 0, "{name}: no case was tried");
        assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
