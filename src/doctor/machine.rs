//! The program, the processor, memory and disks.
//! Not here: the GPU (`gpu`).

use std::path::Path;

use candle_core::Device;

use super::Finding;
use crate::model::identity;
use crate::printable::gigabytes;
use crate::program;
use crate::train::plan::{available_bytes, existing_ancestor, free_disk_bytes};

/// Name, version and how it was built.
pub(super) fn program() -> Finding {
    let profile = if cfg!(debug_assertions) { "development build" } else { "release build" };
    let gpu = if cfg!(feature = "cuda") { "with CUDA" } else { "for the CPU alone" };
    let (version, os, arch) = (program::VERSION, std::env::consts::OS, std::env::consts::ARCH);
    let found = format!("othink {version}, {profile} {gpu}, {os} {arch}");
    if cfg!(debug_assertions) {
        let hint = "cargo build --release makes a program that is several times faster";
        return Finding::bad("program", found, hint, false);
    }
    Finding::good("program", found)
}

/// Its model, cores and the vector instructions that the kernels choose from.
pub(super) fn processor() -> Finding {
    let (vectors, is_fast) = vector_instructions();
    let found = format!("{}, {vectors}", identity::processor());
    if is_fast {
        return Finding::good("processor", found);
    }
    let hint = "the CPU's kernels are written for AVX2 and AVX-512; without them they are slow";
    Finding::bad("processor", found, hint, false)
}

/// What the kernels choose, and whether they are written for it.
#[cfg(target_arch = "x86_64")]
pub(super) fn vector_instructions() -> (&'static str, bool) {
    match pulp::Arch::new() {
        pulp::Arch::V4(_) => ("AVX-512", true),
        pulp::Arch::V3(_) => ("AVX2", true),
        _ => ("no AVX2", false),
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn vector_instructions() -> (&'static str, bool) {
    ("no choice of vector instructions at run time", cfg!(target_arch = "aarch64"))
}

/// What a run may hold.
pub(super) fn memory() -> Finding {
    match available_bytes(&Device::Cpu) {
        Some(bytes) => Finding::good("memory", format!("{} available", gigabytes(bytes))),
        None => Finding::good("memory", "not known on this system"),
    }
}

/// The hub's cache: whether files can be written there, and the room for them.
pub(super) fn cache(folder: &Path, is_asked: bool) -> Finding {
    let existing = existing_ancestor(folder);
    let place = folder.display();
    let written = tempfile_in(&existing);
    if let Err(error) = written {
        let found = format!("{place}: cannot be written: {error}");
        return Finding::bad(
            "cache",
            found,
            "point HF_HOME at a folder that can be written",
            is_asked,
        );
    }
    let free = free_disk_bytes(&existing)
        .map_or(String::new(), |bytes| format!(", {} free", gigabytes(bytes)));
    Finding::good("cache", format!("{place}{free}"))
}

/// Creates a file and removes it.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".othink-doctor-{}", std::process::id()));
    std::fs::File::create_new(&path)?;
    std::fs::remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_does_not_exist_yet_is_tried_where_it_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let finding = cache(&folder.path().join("a/b"), true);
        assert_eq!(finding.problem, None, "{finding:?}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left");
    }
}
