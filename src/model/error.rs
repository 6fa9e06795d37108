//! What can be wrong with a model's files, each with what was found and what was expected.
//! Not here: shape errors inside the model's arithmetic, which are `candle_core::Error`s and bugs of this program.

use std::path::PathBuf;

use crate::hub::error::HubError;

/// What is wrong with a model's files, or with the place they were looked for in.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file that exists cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Path or built-in name.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is read again and again was written to in between.
    #[error(
        "{file} has another time of modification than when the run opened it, expected the weights that the run began from\n\
         hint: a run reads its reference from these files at every batch of rollouts; put them back as they were, and \
         resume it"
    )]
    Changed {
        /// Its path.
        file: String,
    },
    /// A model that is to be saved holds a number that is none.
    #[error(
        "{tensor}: number {place} is {found}, expected a finite one: not saved\n\
         hint: the run has diverged; what was saved before stands. Start from that (model.path) with a lower optim.lr"
    )]
    NotFinite {
        /// The tensor's name.
        tensor: String,
        /// Which of its numbers, from 0.
        place: usize,
        /// The number.
        found: f64,
    },
    /// A file that every model has is not there.
    #[error("{file}: no such file, expected {expected}\nhint: {hint}")]
    MissingFile {
        /// Path or built-in name.
        file: String,
        /// What the file would have held.
        expected: &'static str,
        /// The next move.
        hint: &'static str,
    },
    /// A JSON file does not parse, or is not an object.
    #[error("{file}: not a JSON object ({found})\nhint: fetch the file again; it may be cut short")]
    Json {
        /// Path or built-in name.
        file: String,
        /// The parser's message, with line and column.
        found: String,
    },
    /// The files are those of another kind of model.
    #[error(
        "{file}: {field} is {found}, expected {expected}\n\
         hint: Qwen2-VL, Qwen2.5-VL and the dense Qwen3-VL checkpoints of any size, and their fine-tunes, are supported"
    )]
    Architecture {
        /// Path or built-in name.
        file: String,
        /// `model_type` or `architectures`.
        field: &'static str,
        /// The value in the file.
        found: String,
        /// The value of a known family.
        expected: String,
    },
    /// A field of `config.json` is absent, of the wrong type, out of range, or inconsistent with another.
    #[error(
        "{file}: {field} is {found}, expected {expected}\n\
         hint: take config.json from the checkpoint that the weights come from"
    )]
    Field {
        /// Path or built-in name.
        file: String,
        /// Dotted path of the field.
        field: String,
        /// The value in the file, or `missing`.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// Tensors that the model has and the files do not.
    #[error(
        "{file}: {count} of {total} tensors missing: {names}\n\
         hint: config.json describes a larger model than the files hold, or a shard is absent"
    )]
    MissingTensors {
        /// Path or built-in name of the file or index.
        file: String,
        /// How many are missing.
        count: usize,
        /// How many the model has.
        total: usize,
        /// The first few names.
        names: String,
    },
    /// Tensors that the files have and the model does not.
    #[error(
        "{file}: {count} tensors that the model does not have: {names}\n\
         hint: config.json describes a smaller or another model than the files hold"
    )]
    ExtraTensors {
        /// Path or built-in name of the file or index.
        file: String,
        /// How many there are.
        count: usize,
        /// The first few names.
        names: String,
    },
    /// A tensor of another shape than `config.json` implies.
    #[error(
        "{file}: {tensor} has shape {found:?}, expected {expected:?}\n\
         hint: take config.json from the checkpoint that the weights come from"
    )]
    Shape {
        /// Path or built-in name.
        file: String,
        /// The tensor's name as the file spells it.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A tensor of numbers that are not weights.
    #[error(
        "{file}: {tensor} holds {found}, expected BF16, F16 or F32\n\
         hint: quantised and converted checkpoints are not supported; fetch the original one"
    )]
    Dtype {
        /// Path or built-in name.
        file: String,
        /// The tensor's name as the file spells it.
        tensor: String,
        /// The number type in the file.
        found: String,
    },
    /// A safetensors file that is cut short or has an invalid header.
    #[error(
        "{file}: not a whole safetensors file of {bytes} bytes: {found}\n\
         hint: the download or copy was probably cut short; fetch the file again"
    )]
    Damaged {
        /// Path or built-in name.
        file: String,
        /// Its size.
        bytes: u64,
        /// What does not fit.
        found: String,
    },
    /// One tensor in two places, or under both of its names.
    #[error(
        "{tensor} is in {first} and again in {second}, expected once\n\
         hint: remove the safetensors files left over from another save"
    )]
    Duplicate {
        /// The tensor's original name.
        tensor: String,
        /// The file that had it first.
        first: String,
        /// The file that has it too.
        second: String,
    },
    /// The index and the shards disagree.
    #[error(
        "{index}: {found}\nhint: index and shards come from different saves; fetch all of them again"
    )]
    Index {
        /// The index file.
        index: String,
        /// The disagreement: tensor, shard, found, expected.
        found: String,
    },
    /// The output head stored in the files differs from the embedding that it is tied to.
    #[error(
        "{file}: lm_head.weight differs from model.embed_tokens.weight, expected equal values \
         because config.json sets tie_word_embeddings\n\
         hint: set tie_word_embeddings to false in config.json if the head was trained on its own"
    )]
    TiedHead {
        /// The file that holds the head.
        file: String,
    },
    /// A model was asked for by a name under which there is none.
    #[error("model {spec:?} not found: {tried}\nhint: {hint}")]
    NotFound {
        /// The name as given.
        spec: String,
        /// Every place that was searched, and what was there.
        tried: String,
        /// The next move.
        hint: String,
    },
    /// A model of the hub is not wholly in the cache, and cannot be fetched.
    #[error("model {spec:?} not found: no such folder; no complete copy in the cache; {source}")]
    Hub {
        /// The id as given.
        spec: String,
        /// What the hub, the network or the disk said.
        source: HubError,
    },
    /// A target of LoRA means no map of the model.
    #[error(
        "model.lora.targets: {target:?} is the end of no linear map's name, expected one of {known}\n\
         hint: {}", if *vision { "a whole name, or the end of one from a dot on, as in PEFT's target_modules" } else { "model.lora.vision = true adds the vision tower's maps" }
    )]
    Target {
        /// The target as given.
        target: String,
        /// Ends of names that there are.
        known: String,
        /// Whether the tower's maps are among them.
        vision: bool,
    },
    /// An adapter's files are not ones that this program can use.
    #[error("{file}: {found}, expected {expected}\nhint: {hint}")]
    Adapter {
        /// Path of the file.
        file: String,
        /// What it says.
        found: String,
        /// What would have been accepted.
        expected: String,
        /// The next move.
        hint: &'static str,
    },
    /// A device was asked for that this program or machine does not have.
    #[error("device {spec:?}: {found}, expected {expected}\nhint: {hint}")]
    Device {
        /// The name as given.
        spec: String,
        /// Why it cannot be used.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
        /// The next move.
        hint: String,
    },
    /// A number type was asked for that no model is computed in.
    #[error("number type {spec:?} is unknown, expected {expected}\nhint: leave it at auto")]
    NumberType {
        /// The name as given.
        spec: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A file of the saved model cannot be written.
    #[error("cannot write {}: {source}\nhint: check free space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tensor library refused a copy or a conversion.
    #[error("{context}: {source}")]
    Tensor {
        /// What was being done, to which tensor.
        context: String,
        /// What candle said.
        source: candle_core::Error,
    },
}
