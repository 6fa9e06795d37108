//! How large an input may be: every bound that is checked before memory is asked for, with its reason.
//! Not here: the checks (each where the input is read); the sizes that a model's configuration may have (`model::fields`);
//! what a format bounds itself (`data::zip`, `model::shard`).

/// A run file. The longest of ours has 3 KB.
pub const RUN_FILE_BYTES: u64 = 1 << 20;
/// A list of rows or of completions as text, and a chat. Rows are held in memory.
pub const LIST_FILE_BYTES: u64 = 4 << 30;
/// A line of such a list: sixteen times the longest question that may stand in it, since JSON spells a letter with six.
pub const LINE_BYTES: u64 = 16 << 20;
/// A JSON file of a model. The largest tokenizers take 35 MB.
pub const MODEL_JSON_BYTES: u64 = 256 << 20;
/// A picture file, in a folder or in an archive.
pub const PICTURE_BYTES: u64 = 64 << 20;
/// A question, a solution or a taught completion: ten times the context of any Qwen2-VL, at four bytes a token.
pub const QUESTION_BYTES: usize = 1 << 20;
/// A rendered chat: a few of the longest questions.
pub const PROMPT_BYTES: usize = 4 << 20;
/// Steps of a chat template: instructions, of which Qwen2-VL's spends about 50 on a message, and one for every 64 bytes that
/// it makes. Enough for a few thousand messages, far more than a context holds, or for 16 MB of text made on the way.
pub const TEMPLATE_FUEL: u64 = 250_000;
/// Blanks by which a chat template may indent JSON: the engine does not count what it writes until it is written.
pub const TEMPLATE_INDENT: usize = 16;
/// Pixels of a picture. Larger ones are refused before any pixel is decoded.
pub const PICTURE_PIXELS: u64 = 100_000_000;
/// What a picture's colour profile and texts may take once they are unpacked: the largest profiles in use take 4 MB.
pub const PICTURE_METADATA_BYTES: u64 = 16 << 20;

/// Letters of a line of a message: longer ones are cut where a person reads them.
pub const SHOWN_LETTERS: usize = 2000;

/// Questions, samples, and rows in general: what a row's number fits into.
pub const ROWS: usize = u32::MAX as usize;
/// Answers to one question, completions of one prompt, prompts of one update, sequences decoded at a time: buffers and
/// lists are made for so many at once. A thousand times what is usual.
pub const BATCH: usize = 1 << 16;
/// Completions of one rollout, over all of its prompts.
pub const ROLLOUT: usize = 1 << 20;
/// Tokens of an answer or of a micro-batch: positions are 32-bit, and no context is longer.
pub const TOKENS: usize = 1 << 24;
/// Updates and epochs: the number of an update names its random streams, in 32 bits.
pub const UPDATES: usize = 1_000_000_000;
/// Threads that prepare rows.
pub const WORKERS: usize = 1024;
/// Rows that a run draws in its whole life: far more than [`UPDATES`] of the largest batch, and far from overflow.
pub const DRAWS: u64 = 1 << 56;
/// Rank of LoRA's factors: far above any in use; at a model's width they are as large as the weights.
pub const MOST_RANK: usize = 4096;
