//! Every reader of `fuzz/readers` on the inputs of `fuzz/corpus` and on seeded mutations of them: a short run that every
//! `cargo test` makes. `scripts/fuzz.sh` runs the same readers for longer, under libFuzzer.
//! Not here: what is asked of a reader (`fuzz/readers`).

#[path = "../../fuzz/readers/mod.rs"]
mod readers;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use othink::rng::{Draws, Purpose, Stream};
use rayon::prelude::*;

use self::readers::{READERS, Reader};

/// Mutations of a reader's inputs, unless the variable `FUZZ_MUTATIONS` says otherwise; a tenth of them for readers that take
/// milliseconds for one: a tokenizer, and files on disk.
const N_MUTATIONS: usize = 500;
const SLOW: [&str; 5] = ["preprocessor", "template", "tokenizer", "tokenizer_config", "resume"];
/// Far more than any of these inputs takes, unoptimised on a machine with other work.
const LONGEST: Duration = Duration::from_secs(10);
/// What mutations insert: numbers at the edges of their types, what JSON, TOML and templates are made of, markers.
const TOKENS: [&str; 32] = [
    "18446744073709551615",
    "9223372036854775808",
    "-1",
    "1e308",
    "1e999",
    "0.1",
    "NaN",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\u0000",
    "\\ud800",
    ",",
    ":",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "<|im_end|>",
    "<|image_pad|>",
    "../",
    "/",
    "{{ messages }}",
    "{% for m in messages %}",
    "{% endfor %}",
    "=",
    "<answer>",
    "\\frac{",
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a reader, in the order of their names.
fn inputs(name: &str) -> Vec<Vec<u8>> {
    let entries =
        std::fs::read_dir(corpus().join(name)).unwrap_or_else(|_| panic!("no corpus of {name}"));
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One to four changes: a bit, a byte, a piece left out or said twice, a token put in, the end of another input.
fn mutate(input: &[u8], inputs: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len() + 1);
        let end = (at + 1 + draws.below(16)).min(bytes.len());
        match draws.below(6) {
            0 if at < end => bytes[at] ^= 1 << draws.below(8),
            1 if at < end => bytes[at] = draws.below(256) as u8,
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => bytes
                .splice(at..at, input[at.min(input.len())..end.min(input.len())].to_vec())
                .for_each(drop),
            4 => bytes.splice(at..at, TOKENS[draws.below(TOKENS.len())].bytes()).for_each(drop),
            _ => {
                let other = &inputs[draws.below(inputs.len())];
                bytes.splice(at.., other[at.min(other.len())..].to_vec()).for_each(drop);
            }
        }
    }
    bytes
}

/// What a reader did wrong with an input, which is kept in a file of the build's folder.
fn offence(reader: Reader, input: &[u8]) -> Option<String> {
    let start = Instant::now();
    let is_quiet = catch_unwind(AssertUnwindSafe(|| (reader.read)(input))).is_ok();
    if is_quiet && start.elapsed() < LONGEST {
        return None;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", reader.name));
    std::fs::write(&file, input).unwrap();
    let what = if is_quiet { "takes too long over" } else { "panics over" };
    Some(format!("{} {what} {}", reader.name, file.display()))
}

/// A whole number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[expect(clippy::print_stderr, reason = "what a longer run is watched by")]
fn first_offence(reader: Reader) -> Option<String> {
    let inputs = inputs(reader.name);
    let most = setting("FUZZ_MUTATIONS", N_MUTATIONS);
    let n_mutations = if SLOW.contains(&reader.name) { most / 10 } else { most };
    let seed = setting("FUZZ_SEED", 1) as u64;
    let mutated = (0..n_mutations).map(|idx| {
        let mut draws = Stream::new(seed, Purpose::Inference, 0, idx as u32, 0).draws();
        mutate(&inputs[idx % inputs.len()], &inputs, &mut draws)
    });
    let start = Instant::now();
    let offence = inputs.iter().cloned().chain(mutated).find_map(|input| offence(reader, &input));
    eprintln!("{}: {n_mutations} mutations, {:.1} s", reader.name, start.elapsed().as_secs_f64());
    offence
}

#[test]
fn no_reader_panics_or_hangs_whatever_it_is_given() {
    let only = std::env::var("READER").ok();
    let readers = READERS.into_par_iter();
    let asked = readers.filter(|reader| only.as_ref().is_none_or(|name| name == reader.name));
    let offences: Vec<String> = asked.filter_map(first_offence).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_corpus_has_its_reader() {
    let readers: BTreeSet<String> = READERS.iter().map(|reader| reader.name.to_owned()).collect();
    let entries = std::fs::read_dir(corpus()).unwrap();
    let corpora = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert_eq!(corpora.collect::<BTreeSet<_>>(), readers);
}
