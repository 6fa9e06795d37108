//! The lessons: rows of both drawn tasks with the completions that the cold start teaches, and pictures to describe.
//!
//! They are drawn with seeds of their own, so that no lesson is a row that runs train or test on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use othink::data::template::Template;
use othink::data::{
    Dataset, DrawnRows, DrawnTask, ImageSource, Sample, Split, gold_answer, supervised_completion,
};
use serde_json::{Value, json};

use super::Outcome;

const IMAGE_SIZE: u32 = 112;
const N_ROUNDS: usize = 400;
/// Rounds whose texts make the tokenizer.
const N_ROUNDS_READ: usize = 50;

/// One kind of lesson.
struct Kind {
    task: DrawnTask,
    /// In each round.
    n_lessons: usize,
    /// The seed of the first rows; when they are used up, the next seed's follow. Runs draw with `data.drawing_seed`, 0 by
    /// default.
    first_seed: u64,
    /// Makes the lesson of a row.
    teach: fn(round_idx: usize, Sample) -> Option<Lesson>,
}

const ROUND: [Kind; 3] = [
    Kind { task: DrawnTask::VisualCounting, n_lessons: 48, first_seed: 100, teach: describe },
    Kind { task: DrawnTask::VisualCounting, n_lessons: 1, first_seed: 1, teach: answer },
    Kind { task: DrawnTask::GeometryReasoning, n_lessons: 10, first_seed: 1, teach: answer },
];

/// A question about a picture and the completion that is taught.
struct Lesson {
    row: Sample,
    completion: String,
}

/// All items of a picture of the counting task: what a model that can see has learned from captions.
fn describe(_: usize, row: Sample) -> Option<Lesson> {
    let names = row.columns.get("scene")?.as_array()?.iter().filter_map(Value::as_str);
    let completion = format!("{}.", names.collect::<Vec<_>>().join(", "));
    let problem = "What is on the shelf?".to_owned();
    Some(Lesson { row: Sample { problem, ..row }, completion })
}

/// The row's own question. In three rounds of four the completion has the asked-for form, thinking and tags; in the fourth it is a
/// plain sentence, as a chat model would answer. So the model can do both, and learns by reinforcement which of them is
/// rewarded.
fn answer(round_idx: usize, row: Sample) -> Option<Lesson> {
    let completion = if round_idx % 4 == 3 {
        format!("The answer is {}.", gold_answer(&row.solution))
    } else {
        supervised_completion(&row)?
    };
    Some(Lesson { row, completion })
}

/// Every text that a lesson shows or teaches, for the first rounds.
pub(super) fn texts() -> Outcome<Vec<String>> {
    let template = Template::new("short")?;
    let mut texts = Vec::new();
    for lesson in lessons(N_ROUNDS_READ) {
        let Lesson { row, completion } = lesson?;
        texts.extend([template.question(&row.problem), completion]);
    }
    Ok(texts)
}

/// Writes `lessons.jsonl` and a picture per line.
pub(super) fn write(folder: &Path) -> Outcome<()> {
    let mut list = BufWriter::new(File::create(folder.join("lessons.jsonl"))?);
    for (lesson_idx, lesson) in lessons(N_ROUNDS).enumerate() {
        let Lesson { row, completion } = lesson?;
        let [ImageSource::Drawn(pixels)] = row.images.as_slice() else {
            return Err(format!("{}: expected one drawn picture", row.id).into());
        };
        let picture = format!("{lesson_idx}.png");
        pixels.save(folder.join(&picture))?;
        let line = json!({
            "image": picture,
            "problem": row.problem,
            "solution": row.solution,
            "completion": completion,
        });
        writeln!(list, "{line}")?;
    }
    Ok(list.flush()?)
}

/// The lessons of the first rounds, in order.
fn lessons(n_rounds: usize) -> impl Iterator<Item = Outcome<Lesson>> {
    (0..n_rounds).flat_map(|round_idx| {
        let of_kind = move |kind: &'static Kind| {
            (0..kind.n_lessons).map(move |idx| {
                let row = row(kind, round_idx * kind.n_lessons + idx)?;
                let id = row.id.clone();
                (kind.teach)(round_idx, row).ok_or_else(|| format!("{id} teaches nothing").into())
            })
        };
        ROUND.iter().flat_map(of_kind)
    })
}

/// A kind's `idx`-th row.
fn row(kind: &Kind, idx: usize) -> Outcome<Sample> {
    let open = |seed| DrawnRows::new(kind.task, Split::Train, seed, IMAGE_SIZE).map(Dataset::Drawn);
    let n_rows = open(kind.first_seed)?.len();
    let rows = open(kind.first_seed + u64::try_from(idx / n_rows)?)?;
    Ok(rows.get(idx % n_rows)?)
}
