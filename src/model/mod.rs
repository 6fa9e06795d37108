//! Qwen2-VL on a packed token stream, and its files.
pub mod files;
