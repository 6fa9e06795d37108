//! Makes what the tiny model's cold start begins from: a Qwen2-VL checkpoint with random weights and a
//! tokenizer of its own, and the lessons, a file of drawn questions with worked answers.
//!
//!     cargo run --release --example init_tiny -- --seed 0 --out DIR
//!
//! writes `DIR/model` (a Hugging Face folder) and `DIR/lessons` (`lessons.jsonl` and its pictures). Both
//! are functions of the seed. `scripts/make_tiny.sh` goes on from there.
//!
//! Not here: training on the lessons (`othink train --config cold-start.toml`).

mod checkpoint;
mod lessons;
mod tokenizer;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// Any failure ends the program with its message.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let Arguments { seed, out } = Arguments::from_words(std::env::args().skip(1))?;
    let (model, lessons) = (out.join("model"), out.join("lessons"));
    for folder in [&model, &lessons] {
        fs::create_dir_all(folder)?;
    }
    let texts = lessons::texts()?;
    let tokenizer = tokenizer::train(&texts)?;
    tokenizer::write(&tokenizer, &model)?;
    checkpoint::write(&tokenizer, seed, &model)?;
    lessons::write(&lessons)
}

struct Arguments {
    seed: u64,
    out: PathBuf,
}

impl Arguments {
    fn from_words(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let (mut seed, mut out) = (0, None);
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag}: a value is missing"))?;
            match flag.as_str() {
                "--seed" => seed = value.parse()?,
                "--out" => out = Some(PathBuf::from(value)),
                _ => return Err(format!("{flag}: expected --seed N or --out DIR").into()),
            }
        }
        let out = out.ok_or("--out DIR is missing")?;
        Ok(Self { seed, out })
    }
}
