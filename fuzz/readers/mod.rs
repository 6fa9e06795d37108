//! Everything of the program that reads what others wrote, each as a function of any bytes: it must neither panic, nor hang,
//! nor take much memory, and what it accepts must be accepted again after it was written back.
//! Not here: where the bytes come from (libFuzzer in `fuzz_targets/reader.rs`, seeded mutations in `tests/it/fuzz.rs`); what
//! is right to accept (the tests beside each reader).
//!
//! These files use what the library makes public and nothing else, so it has no code for them: both callers take them in as a
//! module by its path.

#![expect(clippy::expect_used, reason = "a reader ends where something unexpected happens")]

mod answers;
mod config;
mod messages;
mod model;
mod records;
mod rows;
mod scratch;
mod shown;

/// A reader under the name of its folder of `corpus`.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    pub(super) name: &'static str,
    pub(super) read: fn(&[u8]),
}

const fn reader(name: &'static str, read: fn(&[u8])) -> Reader {
    Reader { name, read }
}

/// Every reader.
pub(super) const READERS: [Reader; 24] = [
    reader("metrics", records::metrics),
    reader("completions", records::completions),
    reader("evaluations", records::evaluations),
    reader("resume", records::resume),
    reader("manifest", records::manifest),
    reader("origin", records::origin),
    reader("run_file", config::run_file),
    reader("model_config", model::config),
    reader("safetensors", model::safetensors),
    reader("safetensors_index", model::index),
    reader("preprocessor", model::preprocessor),
    reader("tokenizer", model::tokenizer),
    reader("tokenizer_config", model::tokenizer_config),
    reader("json_lines", rows::json_lines),
    reader("csv", rows::csv),
    reader("parquet", rows::parquet),
    reader("zip", rows::zip),
    reader("image", rows::image),
    reader("chat", messages::chat),
    reader("template", messages::template),
    reader("grading", answers::grading),
    reader("answers", answers::answers),
    reader("recording", answers::recording),
    reader("printable", shown::printable),
];
