//! Any two texts are graded under every rule, without a panic and, under `-timeout`, without delay.
//! Not here: what the verdicts are; `crates/grading/src/test_verdicts.rs` tests them.
//!
//! The input up to the first zero byte is the solution, the rest the completion.
//! `cargo +nightly fuzz run grading -- -max_total_time=600 -timeout=1 -malloc_limit_mb=10`

#![no_main]

use libfuzzer_sys::fuzz_target;
use othink_grading::{GoldAnswer, rule::RULES};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (solution, completion) = text.split_once('\0').unwrap_or(("5", &text));
    let tagged = format!("<answer>{completion}</answer>");
    for rule in RULES {
        let gold = GoldAnswer::parse_or_unequal(rule, solution);
        gold.grade(completion);
        gold.explain(&tagged);
    }
});
