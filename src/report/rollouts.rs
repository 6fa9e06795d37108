//! Rollouts and answers for the page's browser: groups, a small index of all of them, and chunks with the texts.
//! Not here: pictures (`pictures`); filters, order and looks (`assets/report/rollouts.js`).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use super::recorded_run::RecordedRun;
use crate::data::gold_answer;
use crate::eval::Answer;
use crate::run_folder::records::CompletionRecord;

/// Bytes of completions in a chunk, about: what the browser unpacks to show one group.
const CHUNK_BYTES: usize = 256 * 1024;
/// What a completion takes in a chunk besides its text, about.
const BYTES_BESIDE_TEXT: usize = 120;

/// A completion of a run, or an answer of an evaluation.
#[derive(Debug, Clone, Copy)]
struct Rollout<'a> {
    moment: u64,
    idx_in_group: usize,
    prompt_id: &'a str,
    problem: &'a str,
    solution: &'a str,
    accuracy: f64,
    reward: f64,
    is_truncated: bool,
    shown: ShownCompletion<'a>,
}

/// What a chunk has of a completion.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ShownCompletion<'a> {
    text: &'a str,
    answer: Option<&'a str>,
    format: f64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    components: &'a BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advantage: Option<f64>,
    n_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Rollout<'a> {
    fn of_run(record: &'a CompletionRecord) -> Self {
        Self {
            moment: record.update,
            idx_in_group: record.completion_idx,
            prompt_id: &record.prompt_id,
            problem: &record.problem,
            solution: &record.solution,
            accuracy: record.accuracy_reward,
            reward: record.reward,
            is_truncated: record.is_truncated,
            shown: ShownCompletion {
                text: &record.completion,
                answer: record.answer.as_deref(),
                format: record.format_reward,
                components: &record.components,
                advantage: Some(record.advantage),
                n_tokens: record.n_tokens,
                reason: None,
            },
        }
    }

    /// - `moment`: the place of the answer's file among those that are shown
    fn of_evaluation(answer: &'a Answer, moment: u64) -> Self {
        Self {
            moment,
            idx_in_group: answer.sample_idx,
            prompt_id: &answer.id,
            problem: &answer.problem,
            solution: &answer.solution,
            accuracy: answer.accuracy,
            reward: answer.accuracy,
            is_truncated: answer.is_truncated,
            shown: ShownCompletion {
                text: &answer.completion,
                answer: answer.answer.as_deref(),
                format: answer.format,
                components: &answer.components,
                advantage: None,
                n_tokens: answer.n_tokens,
                reason: Some(&answer.reason),
            },
        }
    }
}

/// Answers that `othink eval --out` wrote.
#[derive(Debug)]
pub struct NamedAnswers {
    /// The file's name.
    pub name: String,
    /// The answers.
    pub answers: Vec<Answer>,
}

/// Rollouts that are browsed together: those of a run, or the answers of evaluations.
#[derive(Debug)]
pub struct Source<'a> {
    label: &'a str,
    /// Names of the moments where they are no updates.
    moments: Vec<&'a str>,
    rollouts: Vec<Rollout<'a>>,
    /// The completions of one prompt at one moment each.
    groups: Vec<Range<usize>>,
    left_out: Option<String>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt<'a> {
    /// The data row's identifier.
    pub id: &'a str,
    problem: &'a str,
    solution: &'a str,
}

/// All groups of a source without their texts, column by column.
#[derive(Debug, Serialize)]
pub struct SourceIndex<'a> {
    label: &'a str,
    /// Names of the moments; none where they are updates.
    moments: Option<&'a [&'a str]>,
    /// What is not among the groups, in words.
    left_out: Option<&'a str>,
    /// The questions, in the order in which they came.
    pub prompts: Vec<Prompt<'a>>,
    moment: Vec<u64>,
    prompt: Vec<usize>,
    sizes: Vec<usize>,
    /// 1 where a group's rewards are all equal.
    silent: Vec<u8>,
    reward: Vec<f64>,
    accuracy: Vec<f64>,
    /// 1 where the token limit cut a completion off.
    cut: Vec<u8>,
    /// Groups of each chunk.
    chunks: Vec<usize>,
}

impl<'a> Source<'a> {
    /// The rollouts of a run.
    pub fn of_run(run: &'a RecordedRun) -> Self {
        let rollouts = run.completions.iter().map(Rollout::of_run).collect();
        Self::new(&run.label, Vec::new(), rollouts)
    }

    /// The answers of evaluations, which are told apart by their files' names.
    pub fn of_evaluations(files: &'a [NamedAnswers]) -> Self {
        let rollouts = (0..).zip(files).flat_map(|(moment, file)| {
            file.answers.iter().map(move |answer| Rollout::of_evaluation(answer, moment))
        });
        let moments = files.iter().map(|file| file.name.as_str()).collect();
        Self::new("evaluations", moments, rollouts.collect())
    }

    fn new(label: &'a str, moments: Vec<&'a str>, rollouts: Vec<Rollout<'a>>) -> Self {
        let mut groups: Vec<Range<usize>> = Vec::new();
        for (place, rollout) in rollouts.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| &rollouts[before]);
            let is_next = before.is_some_and(|before| {
                (before.moment, before.prompt_id) == (rollout.moment, rollout.prompt_id)
                    && before.idx_in_group < rollout.idx_in_group
            });
            match groups.last_mut() {
                Some(group) if is_next => group.end = place + 1,
                _ => groups.push(place..place + 1),
            }
        }
        Self { label, moments, rollouts, groups, left_out: None }
    }

    /// Leaves out all but every second, fourth, eighth, ... moment, until what is left takes at most `max_bytes`; the first
    /// and the last moment stay.
    #[must_use]
    pub fn thinned(mut self, max_bytes: usize) -> Self {
        let n_rollouts = self.rollouts.len();
        let mut moments: Vec<u64> =
            self.groups.iter().map(|group| self.rollouts[group.start].moment).collect();
        moments.dedup();
        let last = moments.last().copied();
        let mut step = 1;
        while self.bytes() > max_bytes && step < moments.len() {
            step *= 2;
            let stays = |moment| {
                moments.binary_search(&moment).is_ok_and(|place| place % step == 0)
                    || Some(moment) == last
            };
            let rollouts = &self.rollouts;
            self.groups.retain(|group| stays(rollouts[group.start].moment));
        }
        if step > 1 {
            let n: usize = self.groups.iter().map(Range::len).sum();
            self.left_out = Some(format!(
                "Of {}, this page holds the rollouts of about every {step}th update, {n} of {n_rollouts}, to stay small. \
                 othink watch shows all of them.",
                self.label
            ));
        }
        self
    }

    /// What the completions of all groups take, about.
    fn bytes(&self) -> usize {
        self.groups.iter().map(|group| self.bytes_of(group)).sum()
    }

    fn bytes_of(&self, group: &Range<usize>) -> usize {
        let texts = self.rollouts[group.clone()].iter().map(|rollout| rollout.shown.text.len());
        texts.map(|bytes| bytes + BYTES_BESIDE_TEXT).sum()
    }

    /// The places of each chunk's groups. More groups at the end change no chunk but the last.
    pub fn chunks(&self) -> Vec<Range<usize>> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let mut bytes = CHUNK_BYTES;
        for (place, group) in self.groups.iter().enumerate() {
            let more = self.bytes_of(group);
            match chunks.last_mut() {
                Some(chunk) if bytes + more <= CHUNK_BYTES => chunk.end = place + 1,
                _ => {
                    chunks.push(place..place + 1);
                    bytes = 0;
                }
            }
            bytes += more;
        }
        chunks
    }

    /// The completions of a chunk, group by group.
    pub fn chunk(&self, groups: Range<usize>) -> Vec<Vec<ShownCompletion<'a>>> {
        let shown = |group: &Range<usize>| {
            self.rollouts[group.clone()].iter().map(|rollout| rollout.shown).collect()
        };
        self.groups[groups].iter().map(shown).collect()
    }

    /// All groups, without their texts.
    pub fn index(&self) -> SourceIndex<'_> {
        let mut index = SourceIndex {
            label: self.label,
            moments: (!self.moments.is_empty()).then_some(&self.moments),
            left_out: self.left_out.as_deref(),
            prompts: Vec::new(),
            moment: Vec::new(),
            prompt: Vec::new(),
            sizes: Vec::new(),
            silent: Vec::new(),
            reward: Vec::new(),
            accuracy: Vec::new(),
            cut: Vec::new(),
            chunks: self.chunks().iter().map(Range::len).collect(),
        };
        let mut places: BTreeMap<[&str; 2], usize> = BTreeMap::new();
        for group in &self.groups {
            let rollouts = &self.rollouts[group.clone()];
            let Rollout { moment, prompt_id: id, problem, solution, .. } = rollouts[0];
            let place = *places.entry([id, problem]).or_insert_with(|| {
                index.prompts.push(Prompt { id, problem, solution: gold_answer(solution) });
                index.prompts.len() - 1
            });
            let first = rollouts[0].reward.to_bits();
            let is_silent = rollouts.iter().all(|rollout| rollout.reward.to_bits() == first);
            index.moment.push(moment);
            index.prompt.push(place);
            index.sizes.push(rollouts.len());
            index.silent.push(u8::from(is_silent && rollouts.len() > 1));
            index.reward.extend(rollouts.iter().map(|rollout| rollout.reward));
            index.accuracy.extend(rollouts.iter().map(|rollout| rollout.accuracy));
            index.cut.extend(rollouts.iter().map(|rollout| u8::from(rollout.is_truncated)));
        }
        index
    }
}

/// A completion of a run, for tests.
#[cfg(test)]
pub(super) fn test_record(update: u64, prompt_id: &str, completion_idx: usize) -> CompletionRecord {
    let record = serde_json::json!({
        "update": update, "prompt_id": prompt_id, "completion_idx": completion_idx, "problem": "?",
        "solution": "<answer> 4 </answer>", "completion": format!("{prompt_id} {update}.{completion_idx}"),
        "answer": null, "accuracy_reward": 0.0, "format_reward": 0.0, "reward": 0.0, "advantage": 0.0,
        "n_tokens": 1, "is_truncated": false,
    });
    serde_json::from_value(record).unwrap()
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::*;

    /// A run whose groups are `(update, prompt)`, two completions each.
    fn run(groups: &[(u64, &str)]) -> RecordedRun {
        let mut run = test_run("a", 1, &[]);
        for &(update, prompt) in groups {
            run.completions.extend((0..2).map(|idx| test_record(update, prompt, idx)));
        }
        run
    }

    #[test]
    fn index_has_every_group_with_its_question_and_its_completions() {
        let mut run = run(&[(1, "x"), (1, "y"), (1, "y"), (2, "x")]);
        run.completions[1].reward = 1.0;
        run.completions[7].is_truncated = true;
        let source = Source::of_run(&run);
        let index = source.index();
        assert_eq!(index.prompts.iter().map(|prompt| prompt.id).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(index.prompts[0].solution, "4");
        // The same prompt drawn twice in an update is two groups.
        assert_eq!((index.moment, index.prompt), (vec![1, 1, 1, 2], vec![0, 1, 1, 0]));
        assert_eq!((index.sizes, index.silent), (vec![2; 4], vec![0, 1, 1, 1]));
        assert_eq!(index.reward[..2], [0.0, 1.0]);
        assert_eq!(index.cut, [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(index.chunks, [4]);
        let texts =
            |place: usize| source.chunk(0..4)[place].iter().map(|one| one.text).collect::<Vec<_>>();
        assert_eq!(texts(3), ["x 2.0", "x 2.1"]);
    }

    #[test]
    fn chunks_are_bounded_and_more_groups_change_the_last_alone() {
        let long = |run: &mut RecordedRun| {
            run.completions.iter_mut().for_each(|one| one.completion = "a".repeat(50_000));
        };
        let groups = [(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")];
        let [mut short_run, mut long_run] = [run(&groups[..4]), run(&groups)];
        long(&mut short_run);
        long(&mut long_run);
        // Two groups of twice 50,120 bytes are below 256 KiB, three above.
        assert_eq!(Source::of_run(&short_run).chunks(), [0..2, 2..4]);
        assert_eq!(Source::of_run(&long_run).chunks(), [0..2, 2..4, 4..5]);
    }

    #[test]
    fn too_many_rollouts_are_thinned_to_whole_updates_and_that_is_said() {
        let names: Vec<String> = (0..9).map(|idx| idx.to_string()).collect();
        let groups: Vec<(u64, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
        let run = run(&groups);
        let whole = Source::of_run(&run);
        let bytes = whole.bytes();
        let whole = whole.thinned(bytes);
        assert_eq!((whole.groups.len(), whole.left_out), (9, None));
        let thinned = Source::of_run(&run).thinned(bytes / 2);
        assert_eq!(thinned.index().moment, [1, 5, 9]);
        let said = thinned.left_out.unwrap();
        assert!(said.contains("every 4th update, 6 of 18"), "{said}");
        // However little room there is, the first and the last stay.
        assert_eq!(Source::of_run(&run).thinned(0).index().moment, [1, 9]);
    }
}
