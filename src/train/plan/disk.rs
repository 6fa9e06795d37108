//! How much of a disk a run's checkpoints take.
//! Not here: writing them (`run_folder::checkpoint`).

use std::path::Path;

use candle_core::DType;
use serde::Serialize;

use super::available::free_disk_bytes;
use super::memory::optimizer_bytes;
use crate::config::RunConfig;
use crate::printable::gigabytes;
use crate::run_folder::folder::bytes_of_checkpoints;

/// The disk under a run's folder, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What one checkpoint takes.
    pub checkpoint_bytes: u64,
    /// What all of them take that there are at once.
    pub needed_bytes: u64,
    /// What is free, with what checkpoints of this run take already; none where it is not known.
    pub available_bytes: Option<u64>,
}

impl Disk {
    /// A checkpoint has every parameter in the run's dtype and, where the run can be resumed, two moments of each trained
    /// one in f32, with master weights in f32 where the parameters are narrower. One is removed only when one more than
    /// `train.keep` are there, and with `train.keep_best` the best one besides.
    ///
    /// - `updates`: of the whole run; `out`: the run's folder, which need not exist
    /// - `[all, trained]`: parameters
    pub(super) fn of(
        config: &RunConfig,
        updates: u64,
        out: &Path,
        [all, trained]: [u64; 2],
        dtype: DType,
    ) -> Self {
        let train = &config.train;
        let width = dtype.size_in_bytes() as u64;
        let state = optimizer_bytes(config, trained, dtype);
        let state = if train.save_optimizer { state } else { 0 };
        let checkpoint_bytes = all * width + state;
        let every =
            if train.checkpoint_every == 0 { updates } else { train.checkpoint_every as u64 };
        let evaluations = updates.checked_div(train.eval_every as u64).unwrap_or(0);
        let bests = if train.keep_best { evaluations } else { 0 };
        let written = updates.div_ceil(every.max(1)) + bests;
        let at_once = written.min(train.keep as u64 + 1 + bests.min(1));
        let held = free_disk_bytes(out).map(|free| free.saturating_add(bytes_of_checkpoints(out)));
        let needed_bytes = checkpoint_bytes.saturating_mul(at_once);
        Self { checkpoint_bytes, needed_bytes, available_bytes: held }
    }

    /// If the disk is known to have less: a warning, and what would need less.
    pub fn shortage(&self) -> Option<String> {
        let available = self.available_bytes.filter(|available| self.needed_bytes > *available)?;
        Some(format!(
            "the run's checkpoints take about {} of the disk and {} are free: it may end when one is written\n\
             hint: a smaller train.keep needs less, as does train.save_optimizer = false, without which a run cannot be \
             resumed; --out chooses another disk",
            gigabytes(self.needed_bytes),
            gigabytes(available),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MasterWeights;

    fn disk(dtype: DType, change: impl Fn(&mut RunConfig)) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let mut config = RunConfig::default();
        (config.train.checkpoint_every, config.train.keep) = (10, 3);
        change(&mut config);
        Disk::of(&config, 95, &folder.path().join("run"), [100, 60], dtype)
    }

    #[test]
    fn a_checkpoint_has_weights_and_what_resuming_needs_and_one_more_is_there_than_is_kept() {
        // 100 weights of 2 bytes, 60 masters and 120 moments of 4; after updates 10, 20 and so on, and 95.
        let bf16 = disk(DType::BF16, |_| {});
        assert_eq!((bf16.checkpoint_bytes, bf16.needed_bytes), (920, 4 * 920));
        assert_eq!(disk(DType::F32, |_| {}).checkpoint_bytes, 400 + 480, "f32 is its own master");
        let rounded = disk(DType::BF16, |config| config.optim.masters = MasterWeights::Bf16);
        assert_eq!(rounded.checkpoint_bytes, 200 + 480);
        let alone = disk(DType::BF16, |config| config.train.save_optimizer = false);
        assert_eq!(alone.checkpoint_bytes, 200);
        let best = disk(DType::BF16, |config| {
            (config.train.keep_best, config.train.eval_every) = (true, 20);
        });
        assert_eq!(
            best.needed_bytes,
            5 * 920,
            "the best so far beside the three newest and one more"
        );
    }

    #[test]
    fn a_run_with_few_checkpoints_holds_no_more_than_it_writes() {
        let few = disk(DType::BF16, |config| config.train.checkpoint_every = 50);
        assert_eq!(few.needed_bytes, 2 * 920, "after 50 and 95");
        let last = disk(DType::BF16, |config| config.train.checkpoint_every = 0);
        assert_eq!(last.needed_bytes, 920);
        let best = disk(DType::BF16, |config| {
            config.train.checkpoint_every = 0;
            (config.train.keep_best, config.train.eval_every) = (true, 50);
        });
        assert_eq!(best.needed_bytes, 2 * 920, "after 50 where that is the best, and 95");
    }

    #[test]
    fn checkpoints_that_are_there_already_are_counted_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("checkpoints/step-000001/trainer");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("optimizer.safetensors"), [0; 1000]).unwrap();
        std::fs::write(folder.path().join("checkpoints/step-000001/config.json"), [0; 24]).unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), [0; 5]).unwrap();
        assert_eq!(bytes_of_checkpoints(folder.path()), 1024);
        assert_eq!(bytes_of_checkpoints(&folder.path().join("none")), 0);
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_with_what_would_need_less() {
        let disk = |available_bytes| Disk {
            checkpoint_bytes: 1_000_000_000,
            needed_bytes: 4_000_000_000,
            available_bytes,
        };
        assert_eq!(disk(None).shortage(), None);
        assert_eq!(disk(Some(4_000_000_000)).shortage(), None);
        let told = disk(Some(3_999_999_999)).shortage().unwrap();
        let expected = "the run's checkpoints take about 4.0 GB of the disk and 4.0 GB are free";
        assert!(
            told.starts_with(expected) && told.contains("\nhint: a smaller train.keep"),
            "{told}"
        );
    }
}
