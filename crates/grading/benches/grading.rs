//! Gradings a second on one core, short answers and whole completions, rule by rule.
//! Not here: math-verify's own time on the same pairs (`scripts/reference/bench_math_verify.py`); `benches/grading.sh` runs both.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say so and stop")]

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;

use othink_grading::{GoldAnswer, Rule, grade};

fn rows(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let lines = std::fs::read_to_string(path).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap().to_owned()
}

/// The pairs that math-verify is timed on: an answer in its tag, and the gold, parsed before as in training.
fn short_answers(criterion: &mut Criterion) {
    let pairs: Vec<(String, String)> = rows("pairs.jsonl")
        .iter()
        .map(|row| (format!("<answer> {} </answer>", text(row, "answer")), text(row, "gold")))
        .collect();
    let mut group = criterion.benchmark_group("short");
    group
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(pairs.len() as u64));
    for rule in [Rule::AnswerTag, Rule::R1vReward, Rule::R1vGeoqa] {
        let golds: Vec<GoldAnswer> =
            pairs.iter().map(|(_, gold)| GoldAnswer::parse_or_unequal(rule, gold)).collect();
        group.bench_function(format!("{rule}, gold parsed before"), |bencher| {
            bencher.iter(|| {
                let graded = pairs
                    .iter()
                    .zip(&golds)
                    .filter(|((answer, _), gold)| gold.grade(answer).is_correct);
                graded.count()
            });
        });
        group.bench_function(format!("{rule}, gold parsed each time"), |bencher| {
            bencher.iter(|| {
                pairs.iter().filter(|(answer, gold)| grade(rule, answer, gold).is_correct).count()
            });
        });
    }
    group.finish();
}

/// Recorded outputs of a model, several hundred characters each.
fn completions(criterion: &mut Criterion) {
    let rows: Vec<(String, String)> = rows("recorded.jsonl")
        .iter()
        .map(|row| (text(row, "completion"), text(row, "solution")))
        .collect();
    let mut group = criterion.benchmark_group("recorded completions");
    group
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(rows.len() as u64));
    for rule in [Rule::AnswerTag, Rule::R1vReward, Rule::R1vGeoqa] {
        group.bench_function(rule.name(), |bencher| {
            bencher.iter(|| {
                rows.iter().filter(|(answer, gold)| grade(rule, answer, gold).is_correct).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, short_answers, completions);
criterion_main!(benches);
