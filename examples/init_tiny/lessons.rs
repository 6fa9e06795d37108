//! The lessons: rows of both drawn tasks, in turns, with the completions that the cold start teaches.
//!
//! They are drawn with a seed of their own, so that no lesson is a row that runs train or test on.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use othink::data::template::Template;
use othink::data::{
    Dataset, DrawnRows, DrawnTask, ImageSource, Sample, Split, gold_answer, supervised_completion,
};
use serde_json::json;

use super::Outcome;

/// Runs draw with `data.drawing_seed`, 0 by default.
const DRAWING_SEED: u64 = 1;
const IMAGE_SIZE: u32 = 112;
/// Lessons of each task in a round; counting is harder to see, so it has more.
const ROUND: [(DrawnTask, usize); 2] =
    [(DrawnTask::VisualCounting, 3), (DrawnTask::GeometryReasoning, 1)];
const N_ROUNDS: usize = 6600;
/// Rounds whose texts make the tokenizer.
const N_ROUNDS_READ: usize = 1000;

/// Every text that a lesson shows or teaches, for the first rounds.
pub(super) fn texts() -> Outcome<Vec<String>> {
    let template = Template::new("short")?;
    let mut texts = Vec::new();
    for (lesson_idx, sample) in samples(N_ROUNDS_READ)?.enumerate() {
        let sample = sample?;
        texts.push(template.question(&sample.problem));
        texts.extend(completion(lesson_idx, &sample));
    }
    Ok(texts)
}

/// Writes `lessons.jsonl` and a picture per line.
pub(super) fn write(folder: &Path) -> Outcome<()> {
    let mut list = BufWriter::new(File::create(folder.join("lessons.jsonl"))?);
    for (lesson_idx, sample) in samples(N_ROUNDS)?.enumerate() {
        let sample = sample?;
        let picture = format!("{}.png", sample.id);
        let [ImageSource::Drawn(pixels)] = sample.images.as_slice() else {
            return Err(format!("{}: expected one drawn picture", sample.id).into());
        };
        let path = folder.join(&picture);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        pixels.save(path)?;
        let line = json!({
            "image": picture,
            "problem": sample.problem,
            "solution": sample.solution,
            "completion": completion(lesson_idx, &sample),
        });
        writeln!(list, "{line}")?;
    }
    Ok(list.flush()?)
}

/// The completion that a lesson teaches. In every other round it has the asked-for form, thinking and tags; in the rest
/// it is a plain sentence, as a chat model would answer. So the model can do both, prefers neither, and learns by
/// reinforcement which of them is rewarded.
fn completion(lesson_idx: usize, sample: &Sample) -> Option<String> {
    let per_round: usize = ROUND.iter().map(|(_, n_rows)| n_rows).sum();
    if (lesson_idx / per_round).is_multiple_of(2) {
        supervised_completion(sample)
    } else {
        Some(format!("The answer is {}.", gold_answer(&sample.solution)))
    }
}

/// The samples of the first rounds, in order.
fn samples(n_rounds: usize) -> Outcome<impl Iterator<Item = Outcome<Sample>>> {
    let open = |(task, per_round): (DrawnTask, usize)| {
        let rows = DrawnRows::new(task, Split::Train, DRAWING_SEED, IMAGE_SIZE)?;
        Ok((Dataset::Drawn(rows), per_round))
    };
    let tasks: Vec<(Dataset, usize)> = ROUND.into_iter().map(open).collect::<Outcome<_>>()?;
    let round = move |round_idx: usize| {
        let rows = |(dataset, per_round): &(Dataset, usize)| {
            let first = round_idx * per_round;
            (first..first + per_round).map(|idx| Ok(dataset.get(idx)?)).collect::<Vec<_>>()
        };
        tasks.iter().flat_map(rows).collect::<Vec<Outcome<Sample>>>()
    };
    Ok((0..n_rounds).flat_map(round))
}
