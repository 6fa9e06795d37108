//! How much memory a run may hold on this machine: what is free, within the container's limit.
//! Not here: what the run needs (`memory`).

use std::fs::read_to_string;

use candle_core::Device;

use crate::run_folder::metrics::{field_bytes, resident_bytes};

/// Bytes that this process may hold, including those it holds already. None where they are not known: on a GPU, outside
/// Linux.
pub fn available_bytes(device: &Device) -> Option<u64> {
    if !device.is_cpu() {
        return None;
    }
    let free = free_bytes(&read_to_string("/proc/meminfo").ok()?)? + resident_bytes()?;
    let limit = read_to_string("/sys/fs/cgroup/memory.max").ok();
    Some(limit.and_then(|limit| limit_bytes(&limit)).map_or(free, |limit| limit.min(free)))
}

/// What the kernel could give without swapping (`proc_meminfo(5)`).
fn free_bytes(meminfo: &str) -> Option<u64> {
    field_bytes(meminfo, "MemAvailable:")
}

/// A control group's limit in bytes; none where it says `max`.
fn limit_bytes(memory_max: &str) -> Option<u64> {
    memory_max.trim().parse().ok()
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
}
