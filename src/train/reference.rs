//! The model that the KL term compares the policy with.
//! Not here: the term itself (`grpo::kl`), its weight over the run (`grpo::kl_schedule`).
//!
//! Beside the policy the reference takes no memory of its device: at every batch of rollouts it is put into the memory of the
//! gradients, which hold nothing between one backward pass and the next. On the CPU in f32 it is read from the files that the run began
//! from, on a GPU it is copied from the host's memory (`uploaded_reference`). On the CPU in 16 bits alone it is a copy beside the policy.
//! What the run does not train is the policy's own, on every device.

use candle_core::{DType, Device};

use super::error::TrainError;
#[cfg(feature = "cuda")]
use super::uploaded_reference::UploadedReference;
use crate::grpo::kl_schedule::KlSchedule;
use crate::model::Model;
use crate::model::error::ModelError;
use crate::model::files::ModelFiles;
use crate::model::weights::WeightFiles;
use crate::ops::{Parameter, Path};

/// A run's reference, with the weights that it owns.
pub enum Reference {
    /// The KL weight is zero throughout: nothing is compared.
    None,
    /// Weights that never move: a copy of those that the run began with, or the policy's own without its low-rank factors,
    /// where these alone move.
    Held(Box<Model>),
    /// A copy in the host's memory, of a policy on a GPU.
    #[cfg(feature = "cuda")]
    Uploaded(UploadedReference),
    /// The files of the model that the run began from.
    Files(Box<WeightFiles>),
}

impl Reference {
    /// The reference of a run, whatever checkpoint the policy is resumed from.
    ///
    /// - `files`: of the model that the run began from
    ///
    /// # Errors
    /// The model that the run began from cannot be loaded.
    pub(super) fn open(
        kl_schedule: &KlSchedule,
        files: &ModelFiles,
        policy: &Model,
    ) -> Result<Self, TrainError> {
        if !kl_schedule.needs_reference() {
            return Ok(Self::None);
        }
        if policy.has_factors() {
            let failed = TrainError::during("preparing the reference");
            return Ok(Self::Held(Box::new(policy.without_factors().map_err(failed)?)));
        }
        let mut files = WeightFiles::open(files, policy.config())?;
        let kept = (policy.dtype(), policy.device());
        if is_read_again(kept) {
            return Ok(Self::Files(Box::new(files)));
        }
        #[cfg(feature = "cuda")]
        if policy.device().is_cuda() {
            let read = |trained: &Parameter| files.read(trained.name(), (kept.0, &Device::Cpu));
            return Ok(Self::Uploaded(UploadedReference::new(policy, read)?));
        }
        let copy = policy.with_trained_replaced(|trained| {
            let value = files.read(trained.name(), kept)?;
            Ok(Parameter::frozen(trained.name(), &value))
        });
        Ok(Self::Held(Box::new(copy?)))
    }

    /// What `score` makes of the reference, where there is one. `policy` has no gradients: the reference may be in their memory,
    /// until `score` returns.
    ///
    /// # Errors
    /// The files cannot be read, or were written to since the run opened them; or those of `score`.
    pub(super) fn scored<T>(
        &mut self,
        policy: &Model,
        score: impl FnOnce(&Model) -> Result<T, TrainError>,
    ) -> Result<Option<T>, TrainError> {
        match self {
            Self::None => Ok(None),
            Self::Held(model) => score(model).map(Some),
            #[cfg(feature = "cuda")]
            Self::Uploaded(reference) => reference.scored(policy, score).map(Some),
            Self::Files(files) => score(&read_again(files, policy)?).map(Some),
        }
    }
}

/// Whether a run with whole models reads its reference at every batch, rather than holding a copy.
pub(super) fn is_read_again((dtype, device): (DType, &Device)) -> bool {
    dtype == DType::F32 && Path::resolve(device, dtype) == Path::Cpu
}

fn read_again(files: &mut WeightFiles, policy: &Model) -> Result<Model, ModelError> {
    let model = policy.with_trained_replaced(|trained| {
        let mut outcome = Ok(());
        let read = |values: &mut [f32]| outcome = files.read_into(trained.name(), values);
        let parameter = trained.in_memory_of_gradient(read);
        outcome?;
        parameter.map_err(|source| ModelError::Tensor {
            context: format!("reading the reference's {}", trained.name()),
            source,
        })
    });
    // Where a file was written to, neither what was read counts nor what went wrong in reading it.
    files.require_unchanged()?;
    model
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{CpuStorage, Storage, Tensor};

    use super::*;
    use crate::model::open::open;
    use crate::model::parameters::{ParameterGroup, Trained};
    use crate::model::source::TINY;

    const KL: KlSchedule = KlSchedule::Constant(0.04);
    const WEIGHTS: &str = "model.safetensors";
    const FROZEN_TOWER: Trained = Trained::Frozen(&[ParameterGroup::Vision]);

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in TINY {
            std::fs::write(folder.path().join(file.name), file.bytes).unwrap();
        }
        folder
    }

    fn files(folder: &Path) -> ModelFiles {
        ModelFiles::Folder(folder.to_owned())
    }

    fn policy(folder: &Path, dtype: DType, trained: Trained) -> Model {
        open(&files(folder), dtype, &Device::Cpu, trained).unwrap()
    }

    fn numbers(parameter: &Parameter) -> Vec<f32> {
        let value = parameter.value().to_dtype(DType::F32).unwrap();
        value.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Where a tensor's storage begins, whatever part of it is the tensor's.
    fn storage(tensor: &Tensor) -> *const u8 {
        match &*tensor.storage_and_layout().0 {
            Storage::Cpu(CpuStorage::F32(numbers)) => numbers.as_ptr().cast(),
            Storage::Cpu(CpuStorage::BF16(numbers)) => numbers.as_ptr().cast(),
            _ => panic!("neither f32 nor bf16 on the CPU"),
        }
    }

    /// The reference, beyond the call that it is lent to: no gradient comes in these tests before it is looked at.
    fn model(reference: &mut Reference, policy: &Model) -> Result<Model, TrainError> {
        reference.scored(policy, |model| Ok(model.clone())).map(Option::unwrap)
    }

    /// What an optimiser does: changes values in place.
    fn overwrite_values(policy: &Model) {
        for parameter in policy.parameters().trained() {
            let other = parameter.value().zeros_like().unwrap();
            parameter
                .value()
                .flatten_all()
                .unwrap()
                .slice_set(&other.flatten_all().unwrap(), 0, 0)
                .unwrap();
        }
    }

    #[test]
    fn the_reference_is_what_the_files_hold_however_often_policy_and_gradients_changed() {
        let folder = folder();
        for dtype in [DType::F32, DType::BF16] {
            let stored = policy(folder.path(), dtype, Trained::Nothing);
            let policy = policy(folder.path(), dtype, FROZEN_TOWER);
            overwrite_values(&policy); // as in a run that was resumed
            let mut reference = Reference::open(&KL, &files(folder.path()), &policy).unwrap();
            for _ in 0..2 {
                let model = model(&mut reference, &policy).unwrap();
                assert_eq!(model.parameters().trained().count(), 0);
                let both =
                    model.parameters().in_hub_order().zip(stored.parameters().in_hub_order());
                for (found, expected) in both {
                    assert_eq!(found.name(), expected.name());
                    assert_eq!(numbers(found), numbers(expected), "{dtype:?}: {}", found.name());
                    let of_policy = policy.parameters().get(found.name()).unwrap();
                    let is_shared = storage(of_policy.value()) == storage(found.value());
                    assert_eq!(is_shared, !of_policy.is_trainable(), "{}", found.name());
                }
                overwrite_values(&policy);
                for parameter in policy.parameters().trained() {
                    assert!(parameter.gradient().is_none(), "{}", parameter.name());
                    let ones = parameter.value().ones_like().unwrap();
                    parameter.accumulate(&ones).unwrap();
                    let gradient = parameter.take_gradient().unwrap().unwrap();
                    let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                    assert_eq!(gradient, vec![1.0; ones.elem_count()], "{}", parameter.name());
                }
            }
        }
    }

    #[test]
    fn no_memory_is_held_for_a_reference_in_f32_and_none_is_lent_while_a_gradient_is_in_it() {
        let folder = folder();
        let policy = policy(folder.path(), DType::F32, Trained::All);
        let mut reference = Reference::open(&KL, &files(folder.path()), &policy).unwrap();
        let model = model(&mut reference, &policy).unwrap();
        let gradients = policy.parameters().whole_gradient().unwrap().unwrap().clone();
        for parameter in model.parameters().in_hub_order() {
            assert_eq!(storage(parameter.value()), storage(&gradients), "{}", parameter.name());
        }
        let error = self::model(&mut reference, &policy).unwrap_err().to_string();
        assert!(error.contains("reading the reference's "), "{error}");
    }

    #[test]
    fn files_that_are_written_to_are_an_error() {
        let folder = folder();
        let path = folder.path().join(WEIGHTS);
        let policy = policy(folder.path(), DType::F32, Trained::All);
        let open = || Reference::open(&KL, &files(folder.path()), &policy).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        for changed in [&bytes[..], &bytes[..bytes.len() / 2]] {
            let mut reference = open();
            std::fs::write(&path, changed).unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
            let error = model(&mut reference, &policy).unwrap_err();
            let TrainError::Model(ModelError::Changed { file }) = &error else { panic!("{error}") };
            assert_eq!(file, &path.display().to_string());
            std::fs::write(&path, &bytes).unwrap();
        }
    }

    #[cfg(unix)] // not tried elsewhere
    #[test]
    fn files_that_are_replaced_or_deleted_stay_as_they_were() {
        let folder = folder();
        let path = folder.path().join(WEIGHTS);
        let policy = policy(folder.path(), DType::F32, Trained::All);
        let first = |model: &Model| numbers(model.parameters().in_hub_order().next().unwrap());
        let expected = first(&policy);
        let mut reference = Reference::open(&KL, &files(folder.path()), &policy).unwrap();
        std::fs::write(folder.path().join("new"), "of another model").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(first(&model(&mut reference, &policy).unwrap()), expected, "replaced");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(first(&model(&mut reference, &policy).unwrap()), expected, "deleted");
    }
}
