//! One of the program's readers, named by the variable `READER`, under libFuzzer. `scripts/fuzz.sh` runs each in turn.
//! Not here: the readers and what is asked of them (`readers`).

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../readers/mod.rs"]
mod readers;

static READ: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("READER").unwrap_or_default();
    let found = readers::READERS.iter().find(|reader| reader.name == name);
    let names = readers::READERS.map(|reader| reader.name).join(" ");
    found.unwrap_or_else(|| panic!("READER is {name:?}, expected one of: {names}")).read
});

fuzz_target!(|bytes: &[u8]| READ(bytes));
