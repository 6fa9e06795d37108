//! What a machine has for a run: memory, within the container's limit; a GPU's; room on a disk.
//! Not here: what the run needs (`memory`, `gpu_memory`, `disk`).

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use candle_core::Device;

use super::gpu_memory::{DRIVER_BYTES, WORKSPACE};
use crate::model::gpu::{self, Occupied};
use crate::run_folder::metrics::{field_bytes, resident_bytes};

/// Bytes that this process may hold, including those it holds already. None where they are not known: on the CPU outside
/// Linux, on a GPU whose driver does not answer.
///
/// - `device`: if a GPU, one that has been opened and holds no tensors yet
pub fn available_bytes(device: &Device) -> Option<u64> {
    if !device.is_cpu() {
        return Some(gpu::describe(device).ok()?.free_bytes + DRIVER_BYTES);
    }
    let free = free_bytes(&read_to_string("/proc/meminfo").ok()?)? + resident_bytes()?;
    let limit = read_to_string("/sys/fs/cgroup/memory.max").ok();
    Some(limit.and_then(|limit| limit_bytes(&limit)).map_or(free, |limit| limit.min(free)))
}

/// Bytes of a GPU that a run in progress may hold, in the plan's terms: with what the driver and CUDA's libraries hold, of
/// which the run's own pool has the workspace.
pub(in crate::train) fn available_to_run(occupied: &Occupied) -> u64 {
    occupied.reachable_bytes() + DRIVER_BYTES - WORKSPACE
}

/// What the kernel could give without swapping (`proc_meminfo(5)`).
fn free_bytes(meminfo: &str) -> Option<u64> {
    field_bytes(meminfo, "MemAvailable:")
}

/// A control group's limit in bytes; none where it says `max`.
fn limit_bytes(memory_max: &str) -> Option<u64> {
    memory_max.trim().parse().ok()
}

/// The folder, or the nearest one above it that exists.
pub fn existing_ancestor(folder: &Path) -> PathBuf {
    let mut ancestors = folder.ancestors().filter(|folder| folder.is_dir());
    ancestors.next().unwrap_or(Path::new(".")).to_owned()
}

/// Bytes that this user may still write to the disk of a folder, which need not exist yet. None where they are not known.
#[cfg(unix)]
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(existing_ancestor(folder)).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that this user may still write to the disk of a folder: not known on this system.
#[cfg(not(unix))]
pub fn free_disk_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let meminfo = "MemTotal:       24689764 kB\nMemFree: 9 kB\nMemAvailable:   22013152 kB\n";
        assert_eq!(free_bytes(meminfo), Some(22_013_152 * 1024));
        assert_eq!(free_bytes("MemTotal: 24689764 kB\n"), None);
        assert_eq!((limit_bytes("max\n"), limit_bytes("2147483648\n")), (None, Some(1 << 31)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_room_for_what_the_test_holds() {
        let available = available_bytes(&Device::Cpu).unwrap();
        assert!(available > resident_bytes().unwrap() && available < 1 << 50, "{available}");
    }

    #[test]
    fn the_disk_of_a_folder_that_will_be_made_is_that_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(existing_ancestor(&folder.path().join("file/hub")), folder.path());
        let free = free_disk_bytes(&folder.path().join("a/b"));
        assert_eq!(free.is_some(), cfg!(unix));
        assert!(free.is_none_or(|bytes| bytes > 0 && bytes < 1 << 60), "{free:?}");
    }
}
