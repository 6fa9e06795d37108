//! The golden files that transformers made (`tests/golden/README.md`), opened for comparison.
//! Not here: the comparisons themselves (`parity`, `training_parity`, `families`).
#![expect(clippy::unwrap_used, reason = "a golden file that cannot be read is a failed test")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use othink::model::Model;
use othink::model::files::ModelFiles;
use othink::model::open::open;
use othink::model::parameters::Trained;
use othink::processor::{Processor, Prompt, decode_image, parse_chat};
use serde_json::Value;

/// A checkpoint's golden values.
pub(crate) struct Golden {
    pub(crate) index: Value,
    tensors: HashMap<String, Tensor>,
    pub(crate) processor: Processor,
    images: PathBuf,
}

/// Relative to the working folder, which is the package's root for a test, wherever the test was built.
pub(crate) fn folder() -> PathBuf {
    std::path::absolute("tests/golden/micro").unwrap()
}

/// Where the comparisons compute: `OTHINK_TEST_DEVICE`, or the CPU. Opened once: a GPU opened again has another stream,
/// and candle does not let one stream wait for the other when tensors of both meet.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let spec = std::env::var("OTHINK_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        othink::model::device::device(&spec).unwrap()
    };
    DEVICE.get_or_init(open).clone()
}

pub(crate) fn files(name: &str) -> ModelFiles {
    ModelFiles::Folder(folder().join(name))
}

/// The policy or the reference checkpoint on [`device`], everything trainable, in f32.
pub(crate) fn model(name: &str) -> Model {
    open(&files(name), DType::F32, &device(), Trained::All).unwrap()
}

impl Golden {
    /// The micro checkpoint's.
    pub(crate) fn open() -> Self {
        Self::of(&folder(), &files("policy"), folder().join("images"))
    }

    /// Those in a folder, of a model that is asked about pictures in another.
    pub(crate) fn of(folder: &Path, model: &ModelFiles, images: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        let tensors =
            candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu);
        Self {
            index: serde_json::from_str(&text).unwrap(),
            tensors: tensors.unwrap(),
            processor: Processor::load(model).unwrap(),
            images,
        }
    }

    pub(crate) fn tensor(&self, name: &Value) -> &Tensor {
        &self.tensors[name.as_str().unwrap()]
    }

    /// The prompt of one of the recorded cases, made by our own processor.
    pub(crate) fn prompt(&self, case: &str) -> Prompt {
        self.encode(&self.index["cases"][case])
    }

    pub(crate) fn encode(&self, case: &Value) -> Prompt {
        let chat = parse_chat(&case["messages"].to_string(), "golden.json").unwrap();
        let images: Vec<_> = case["images"]
            .as_array()
            .unwrap_or(&Vec::new())
            .iter()
            .map(|name| {
                let name = name.as_str().unwrap();
                let path = self.images.join(format!("{name}.png"));
                decode_image(&std::fs::read(&path).unwrap(), name).unwrap()
            })
            .collect();
        self.processor.encode(&chat.0, &images).unwrap()
    }
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub(crate) fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let object = value.as_object().unwrap();
    object.iter().map(|(name, x)| (name.clone(), x.as_f64().unwrap())).collect()
}

/// The largest difference of two tensors, relative to the largest element of the second.
pub(crate) fn relative_difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.dims(), theirs.dims());
    let flat = |x: &Tensor| {
        let x = x.detach().to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        x.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let (ours, theirs) = (flat(ours), flat(theirs));
    let largest = theirs.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let difference = ours.iter().zip(&theirs).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(ours.iter().all(|x| x.is_finite()));
    difference / largest.max(1e-12)
}

/// The tolerance of all comparisons: f32 arithmetic in another order than torch's.
pub(crate) const TOLERANCE: f64 = 1e-4;

pub(crate) fn assert_parity(ours: &Tensor, theirs: &Tensor, what: &str) {
    let difference = relative_difference(ours, theirs);
    assert!(difference < TOLERANCE, "{what} differs by {difference:e} relative");
}

pub(crate) fn assert_number(ours: f64, theirs: f64, what: &str) {
    let difference = (ours - theirs).abs() / theirs.abs().max(1e-6);
    assert!(difference < TOLERANCE, "{what} is {ours}, expected {theirs}");
}
