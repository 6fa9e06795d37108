//! Runs of one configuration under several seeds: which belong together, and their mean with its interval.
//! Not here: reading runs (`recorded_run`); the interval of one run's accuracy (`eval::interval`).

use super::recorded_run::RecordedRun;
use crate::eval::interval::mean95;
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

/// Up to that many seeds are shown one by one: Student's interval of so few is wider than what it is about.
pub const FEW_SEEDS: usize = 3;

/// A mean and how far from it the values may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// What is around it.
    pub spread: Spread,
}

/// What is known of the values around a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Nothing: it is a single figure.
    None,
    /// A 95% interval: Wilson's of one evaluation, Student's of a mean over more than [`FEW_SEEDS`].
    Interval([f64; 2]),
    /// The lowest and the highest of a few seeds, which is no interval.
    Seeds([f64; 2]),
}

impl Estimate {
    /// The same with its interval cut to the values that the figure can have.
    #[must_use]
    pub fn within(self, [least, greatest]: [f64; 2]) -> Self {
        let Spread::Interval(interval) = self.spread else { return self };
        let cut = interval.map(|end| end.clamp(least, greatest));
        Self { spread: Spread::Interval(cut), ..self }
    }

    /// The 95% interval, if there is one.
    pub fn interval(self) -> Option<[f64; 2]> {
        if let Spread::Interval(interval) = self.spread { Some(interval) } else { None }
    }
}

/// The mean over seeds; `values` holds at least one.
pub fn estimate(values: &[f64]) -> Estimate {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let spread = match (values.len(), mean95(values)) {
        (2..=FEW_SEEDS, _) => {
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            Spread::Seeds([lowest, values.iter().copied().fold(f64::NEG_INFINITY, f64::max)])
        }
        (_, Some(interval)) => Spread::Interval(interval),
        (_, None) => Spread::None,
    };
    Estimate { mean, spread }
}

/// The accuracy, 0 to 1, that runs of one configuration have at an update; `records` holds at least one.
///
/// One evaluation has Wilson's interval over its questions, and so have the evaluations before training, which
/// measure one model whatever the seed; several have what [`estimate`] says.
pub fn accuracy(records: &[&EvaluationRecord]) -> Estimate {
    match records {
        [record, others @ ..] if others.is_empty() || record.update == 0 => Estimate {
            mean: record.summary.accuracy,
            spread: Spread::Interval(record.summary.ci95),
        },
        several => {
            let accuracies: Vec<f64> =
                several.iter().map(|record| record.summary.accuracy).collect();
            estimate(&accuracies).within([0.0, 1.0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_seeds_have_students_interval() {
        // Mean 2.5, standard deviation 1.2910, half width 3.1824 * 1.2910 / sqrt(4) = 2.0543.
        let estimate = estimate(&[1.0, 2.0, 3.0, 4.0]);
        let [low, high] = estimate.interval().unwrap();
        assert!((estimate.mean - 2.5).abs() < 1e-12);
        assert!((low - 0.4457).abs() < 1e-4 && (high - 4.5543).abs() < 1e-4, "{low} {high}");
        let cut = estimate.within([1.0, 3.0]);
        assert_eq!(cut.interval(), Some([1.0, 3.0]));
    }

    #[test]
    fn few_seeds_have_a_lowest_and_a_highest_and_one_has_nothing_around_it() {
        let few = estimate(&[3.0, 1.0, 2.0]);
        assert_eq!((few.mean, few.spread, few.interval()), (2.0, Spread::Seeds([1.0, 3.0]), None));
        assert_eq!(estimate(&[0.5]), Estimate { mean: 0.5, spread: Spread::None });
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
