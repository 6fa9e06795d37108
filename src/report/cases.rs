//! Case studies, as in the paper's Figure 8: prompts with completions from the beginning and the end of a run.
//! Not here: how they look (`page`).
//!
//! They are chosen without regard to the completions: of the prompts that a run sampled at several updates, those with
//! the most updates between the first and the last time, the earlier prompt first where that is equal. A run
//! that never came back to a prompt shows the first prompts of its first and of its last update.

use std::collections::BTreeMap;

use image::RgbImage;

use super::recorded_run::RecordedRun;
use crate::data::Dataset;
use crate::run_folder::records::CompletionRecord;

/// Prompts of a run.
const N_CASES: usize = 4;
/// Completions of a prompt at one update: the group's first ones.
const N_COMPLETIONS: usize = 4;

/// The case studies of a run.
#[derive(Debug)]
pub struct CaseStudies<'a> {
    /// Whether each prompt is shown at two updates.
    pub shows_same_prompts: bool,
    /// The prompts.
    pub cases: Vec<Case<'a>>,
}

/// A prompt and what the policy made of it.
#[derive(Debug)]
pub struct Case<'a> {
    /// The data row's identifier.
    pub prompt_id: &'a str,
    /// The question, before the template.
    pub problem: &'a str,
    /// The right answer as the data has it.
    pub solution: &'a str,
    /// At one update or two, the earlier one first.
    pub moments: Vec<Moment<'a>>,
}

/// Completions of a prompt at an update.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The update, from 1.
    pub update: u64,
    /// The first completions of the group.
    pub completions: Vec<&'a CompletionRecord>,
}

/// A prompt's first and last update in a run.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Place of its first completion in the records.
    place: usize,
    first: u64,
    last: u64,
}

/// Chooses the case studies of a run.
pub fn case_studies(run: &RecordedRun) -> CaseStudies<'_> {
    let mut spans: BTreeMap<&str, Span> = BTreeMap::new();
    for (place, record) in run.completions.iter().enumerate() {
        let update = record.update;
        let span = Span { place, first: update, last: update };
        spans.entry(&record.prompt_id).or_insert(span).last = update;
    }
    let mut repeated: Vec<Span> =
        spans.values().filter(|span| span.last > span.first).copied().collect();
    repeated.sort_by_key(|span| (std::cmp::Reverse(span.last - span.first), span.place));
    let shows_same_prompts = !repeated.is_empty();
    let chosen = if shows_same_prompts { repeated } else { first_and_last(run, &spans) };
    let cases = chosen.iter().take(N_CASES).map(|span| case(run, span)).collect();
    CaseStudies { shows_same_prompts, cases }
}

/// The first prompts of the first update and of the last.
fn first_and_last(run: &RecordedRun, spans: &BTreeMap<&str, Span>) -> Vec<Span> {
    let ends = [run.completions.first(), run.completions.last()];
    let [Some(first), Some(last)] = ends.map(|record| record.map(|record| record.update)) else {
        return Vec::new();
    };
    let mut ordered: Vec<Span> = spans.values().copied().collect();
    ordered.sort_by_key(|span| span.place);
    let at = |update| ordered.iter().filter(move |span| span.first == update);
    if first == last {
        return at(first).copied().collect();
    }
    at(first).take(N_CASES / 2).chain(at(last).take(N_CASES / 2)).copied().collect()
}

fn case<'a>(run: &'a RecordedRun, span: &Span) -> Case<'a> {
    let record = &run.completions[span.place];
    let moment = |update| Moment {
        update,
        completions: run
            .completions
            .iter()
            .filter(|other| other.update == update && other.prompt_id == record.prompt_id)
            .take(N_COMPLETIONS)
            .collect(),
    };
    let mut moments = vec![moment(span.first)];
    if span.last > span.first {
        moments.push(moment(span.last));
    }
    let CompletionRecord { prompt_id, problem, solution, .. } = record;
    Case { prompt_id, problem, solution, moments }
}

/// The first picture of a prompt, where the run's data still has that row.
pub fn case_picture(dataset: &Dataset, prompt_id: &str) -> Option<RgbImage> {
    let sample = dataset.get(dataset.find(prompt_id)?).ok()?;
    sample.images.first()?.load().ok()
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::*;
    use crate::config::RunConfig;
    use crate::data::configured::training_rows;

    /// A run whose records are `(update, prompt)`, two completions each.
    fn run(records: &[(u64, &str)]) -> RecordedRun {
        let mut run = test_run("a", 1, &[]);
        for &(update, prompt) in records {
            for completion_idx in 0..2 {
                run.completions.push(test_record(update, prompt, completion_idx));
            }
        }
        run
    }

    fn test_record(update: u64, prompt_id: &str, completion_idx: usize) -> CompletionRecord {
        let record = serde_json::json!({
            "update": update, "prompt_id": prompt_id, "completion_idx": completion_idx, "problem": "?",
            "solution": "4", "completion": "<b>", "answer": null, "accuracy_reward": 0.0,
            "format_reward": 0.0, "reward": 0.0, "advantage": 0.0, "n_tokens": 1, "is_truncated": false,
        });
        serde_json::from_value(record).unwrap()
    }

    fn shown<'a>(studies: &CaseStudies<'a>) -> Vec<(&'a str, Vec<u64>)> {
        let moments = |case: &Case<'_>| case.moments.iter().map(|moment| moment.update).collect();
        studies.cases.iter().map(|case| (case.prompt_id, moments(case))).collect()
    }

    #[test]
    fn prompts_furthest_apart_come_first_and_are_shown_twice() {
        let run = run(&[(1, "x"), (1, "a"), (2, "b"), (5, "a"), (6, "b"), (9, "b"), (9, "y")]);
        let studies = case_studies(&run);
        assert!(studies.shows_same_prompts);
        assert_eq!(shown(&studies), [("b", vec![2, 9]), ("a", vec![1, 5])]);
        assert_eq!(studies.cases[0].moments[0].completions.len(), 2);
    }

    #[test]
    fn run_that_never_comes_back_shows_its_first_and_last_prompts() {
        let studies = [(1, "z"), (1, "a"), (1, "c"), (2, "d"), (3, "e")];
        let run = run(&studies);
        let studies = case_studies(&run);
        assert!(!studies.shows_same_prompts);
        assert_eq!(shown(&studies), [("z", vec![1]), ("a", vec![1]), ("e", vec![3])]);
    }

    #[test]
    fn run_without_completions_has_no_cases() {
        assert!(case_studies(&run(&[])).cases.is_empty());
    }

    #[test]
    fn picture_is_that_of_the_row_and_only_of_rows_there_are() {
        let mut config = RunConfig::default();
        config.data.task = Some("synth-vc".to_owned());
        let dataset = training_rows(&config).unwrap();
        let expected = dataset.get(17).unwrap().images[0].load().unwrap();
        assert_eq!(case_picture(&dataset, "synth-vc/train/17"), Some(expected));
        for unknown in ["synth-gr/train/17", "synth-vc/train/99999", "17", "", "synth-vc/train/"] {
            assert_eq!(case_picture(&dataset, unknown), None, "{unknown}");
        }
    }
}
