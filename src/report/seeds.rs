//! Runs of one configuration under several seeds: which belong together, and their mean with its interval.
//! Not here: reading runs (`recorded_run`); the interval of one run's accuracy (`eval::interval`).

use super::recorded_run::RecordedRun;
use crate::eval::interval::mean95;
use crate::eval::{Summary, accuracy_over_seeds};
use crate::run_folder::records::EvaluationRecord;

/// Runs whose resolved configurations differ in `train.seed` alone.
#[derive(Debug)]
pub struct SeedGroup<'a> {
    /// The run's label; of several runs, what their labels share, and how many there are.
    pub label: String,
    /// The runs, at least one, in the order in which they were named.
    pub runs: Vec<&'a RecordedRun>,
}

/// Puts the runs into groups, in the order of each group's first run.
pub fn seed_groups(runs: &[RecordedRun]) -> Vec<SeedGroup<'_>> {
    let mut groups: Vec<SeedGroup<'_>> = Vec::new();
    for run in runs {
        let group = groups.iter_mut().find(|group| group.runs[0].settings == run.settings);
        match group {
            Some(group) => group.runs.push(run),
            None => groups.push(SeedGroup { label: String::new(), runs: vec![run] }),
        }
    }
    for group in &mut groups {
        let labels: Vec<&str> = group.runs.iter().map(|run| run.label.as_str()).collect();
        group.label = shared_label(&labels);
    }
    groups
}

/// `quick-s*  (3 seeds)` for `quick-s1`, `quick-s2`, `quick-s3`.
fn shared_label(labels: &[&str]) -> String {
    let [first, others @ ..] = labels else { return String::new() };
    if others.is_empty() {
        return (*first).to_owned();
    }
    let mut prefix = *first;
    while !others.iter().all(|label| label.starts_with(prefix)) {
        prefix = prefix.char_indices().next_back().map_or("", |(end, _)| &prefix[..end]);
    }
    let mut suffix = &first[prefix.len()..];
    while !others.iter().all(|label| label[prefix.len()..].ends_with(suffix)) {
        suffix = suffix.char_indices().nth(1).map_or("", |(start, _)| &suffix[start..]);
    }
    format!("{prefix}*{suffix} ({} seeds)", labels.len())
}

/// A mean and the 95% interval of what it estimates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Student's 95% interval of the mean; none for a single value.
    pub ci95: Option<[f64; 2]>,
}

impl Estimate {
    /// The same with the interval cut to the values that the figure can have.
    #[must_use]
    pub fn within(self, [least, greatest]: [f64; 2]) -> Self {
        let ci95 = self.ci95.map(|interval| interval.map(|end| end.clamp(least, greatest)));
        Self { ci95, ..self }
    }
}

/// The mean over seeds; `values` holds at least one.
pub fn estimate(values: &[f64]) -> Estimate {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    Estimate { mean, ci95: mean95(values) }
}

/// The accuracy, 0 to 1, that runs of one configuration have at an update; `records` holds at least one.
///
/// One evaluation has Wilson's interval over its questions, and so have the evaluations before training, which
/// measure one model whatever the seed; several have Student's interval of their mean.
pub fn accuracy(records: &[&EvaluationRecord]) -> Estimate {
    match records {
        [record, others @ ..] if others.is_empty() || record.update == 0 => {
            Estimate { mean: record.summary.accuracy, ci95: Some(record.summary.ci95) }
        }
        several => {
            let summaries: Vec<&Summary> = several.iter().map(|record| &record.summary).collect();
            let (mean, ci95) = accuracy_over_seeds(&summaries);
            Estimate { mean, ci95: Some(ci95) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_seeds_have_students_interval() {
        // Mean 2, standard deviation 1, half width 4.3027 / sqrt(3) = 2.4842.
        let Estimate { mean, ci95 } = estimate(&[1.0, 2.0, 3.0]);
        let [low, high] = ci95.unwrap();
        assert!((mean - 2.0).abs() < 1e-12);
        assert!((low + 0.4842).abs() < 1e-4 && (high - 4.4842).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn one_seed_has_no_interval() {
        assert_eq!(estimate(&[0.5]), Estimate { mean: 0.5, ci95: None });
    }

    #[test]
    fn group_is_called_by_what_its_labels_share() {
        assert_eq!(shared_label(&["quick"]), "quick");
        assert_eq!(shared_label(&["q-s1", "q-s2", "q-s11"]), "q-s* (3 seeds)");
        assert_eq!(shared_label(&["1/quick", "2/quick"]), "*/quick (2 seeds)");
        assert_eq!(shared_label(&["aa", "a"]), "a* (2 seeds)");
        assert_eq!(shared_label(&["größe", "grün"]), "gr* (2 seeds)");
    }
}
