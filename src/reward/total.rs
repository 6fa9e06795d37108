//! Eq. (1): the weighted sum of a completion's components, `r = accuracy + alpha * format` in the paper.
//! Not here: a component's formula and gold (the file of its name), its weight (`settings`); the command behind a custom
//! reward (`external`).

use super::accuracy::ACCURACY;
use super::component::{Component, ScoredText, Scoring};
use super::format::FORMAT;
use super::gold::Golds;
use super::settings::RewardSettings;
use super::{EXTERNAL, Reason};

/// The reward of one completion, by component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    /// `R_acc`: 1 if the answer is right, else 0.
    pub accuracy: f64,
    /// `R_format`: 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// The further components by name, unweighted, in the order of the run file; a custom reward last, as [`EXTERNAL`].
    pub components: Vec<(&'static str, f64)>,
    /// The weighted sum of them all, what training maximises; `accuracy + alpha * format` in the paper.
    pub total: f64,
    /// The answer that was found in the completion, as shown to the user.
    pub answer: Option<String>,
    /// Why `accuracy` is what it is.
    pub reason: Reason,
}

/// The rewards of a prompt's completions, in their order, without the custom reward:
/// `total = accuracy + alpha * format + sum of weight * component`.
///
/// A pure function. It takes the whole group, so that a component may compare the group's completions.
pub fn score_group(
    settings: &RewardSettings,
    golds: &Golds,
    completions: &[ScoredText],
) -> Vec<Reward> {
    completions.iter().map(|completion| reward_of(settings, golds, *completion)).collect()
}

/// The reward of one completion, as [`score_group`] gives it.
pub fn reward_of(settings: &RewardSettings, golds: &Golds, completion: ScoredText) -> Reward {
    let verdict = golds.grade(completion.text);
    let value_of = |component: &Component| {
        let gold = component.gold.and_then(|kind| golds.of(kind));
        (component.score)(&Scoring { completion, verdict: &verdict, gold, settings })
    };
    let (accuracy, format) = (value_of(&ACCURACY), value_of(&FORMAT));
    let mut total = settings.weight_of(&ACCURACY) * accuracy + settings.weight_of(&FORMAT) * format;
    let mut components = Vec::new();
    for (component, weight) in settings.further() {
        let value = value_of(component);
        total += weight * value;
        components.push((component.name, value));
    }
    Reward { accuracy, format, components, total, answer: verdict.answer, reason: verdict.reason }
}

impl Reward {
    /// Adds a custom reward's score.
    pub(super) fn add_external(&mut self, score: f64, weight: f64) {
        self.components.push((EXTERNAL, score));
        self.total += weight * score;
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactly representable")]
mod tests {
    use super::super::Rule;
    use super::super::gold::UnusableGold;
    use super::*;
    use crate::reward::box_iou::BOX_IOU;
    use crate::reward::choice::CHOICE;
    use crate::reward::length_penalty::LENGTH_PENALTY;
    use crate::reward::relative_error::RELATIVE_ERROR;
    use crate::reward::repetition_penalty::REPETITION_PENALTY;
    use crate::reward::set_match::SET_MATCH;

    fn settings(weights: &[(&'static Component, f64)]) -> RewardSettings {
        RewardSettings { weights: weights.to_vec(), ..RewardSettings::default() }
    }

    fn score(settings: &RewardSettings, text: &str, n_tokens: usize, solution: &str) -> Reward {
        let gold = Golds::parse(settings, solution).unwrap();
        score_group(settings, &gold, &[ScoredText { text, n_tokens }]).remove(0)
    }

    #[test]
    fn reward_without_weights_is_the_papers() {
        let text = "<think>a</think><answer>7</answer>";
        let reward = score(&RewardSettings { alpha: 0.25, ..settings(&[]) }, text, 9999, "7");
        assert_eq!((reward.accuracy, reward.format, reward.total), (1.0, 1.0, 1.25));
        assert!(reward.components.is_empty());
        let settings = RewardSettings { alpha: 0.25, ..settings(&[]) };
        let accuracy_alone = score(&settings, "<answer>7</answer>", 5, "7");
        assert_eq!((accuracy_alone.format, accuracy_alone.total), (0.0, 1.0));
        let format_alone = score(&settings, "<think>a</think><answer>8</answer>", 5, "7");
        assert_eq!((format_alone.accuracy, format_alone.total), (0.0, 0.25));
        assert_eq!(format_alone.answer.as_deref(), Some("8"));
        let nothing = score(&settings, "I do not know", 5, "7");
        assert_eq!((nothing.total, nothing.answer), (0.0, None));
    }

    #[test]
    fn total_is_the_weighted_sum_and_components_stay_unweighted() {
        let weights = [(&RELATIVE_ERROR, 0.5), (&LENGTH_PENALTY, 2.0), (&REPETITION_PENALTY, 1.0)];
        let settings =
            RewardSettings { length_limit: 100, length_buffer: 20, ..settings(&weights) };
        // Wrong but within 5%; 10 of 20 tokens into the buffer; "a a a a" repeats 1 of 2 trigrams.
        let reward = score(&settings, "a a a a<answer>98</answer>", 90, "100");
        let expected =
            vec![("relative_error", 1.0), ("length_penalty", -0.5), ("repetition_penalty", 0.0)];
        assert_eq!(reward.components, expected);
        assert_eq!(reward.total, 0.5 - 1.0);
        let reward = score(&settings, "a a a a <answer>98</answer>", 80, "100");
        // Trigrams: aaa aaa aa<answer>98</answer>: 1 of 3 repeats.
        assert!((reward.total - (0.5 - 1.0 / 3.0)).abs() < 1e-12);
    }

    #[test]
    fn each_component_reaches_the_total() {
        for (component, solution, answer, value) in [
            (&CHOICE, "B", "B. cat", 1.0),
            (&RELATIVE_ERROR, "100", "98", 1.0),
            (&SET_MATCH, "1, 2, 3", "1, 2", 0.8),
            (&BOX_IOU, "[0, 0, 10, 10]", "[0, 0, 10, 5]", 0.5),
        ] {
            let settings = settings(&[(&ACCURACY, 0.0), (component, 3.0)]);
            let reward = score(&settings, &format!("<answer>{answer}</answer>"), 5, solution);
            assert_eq!(reward.components, vec![(component.name, value)]);
            assert!((reward.total - 3.0 * value).abs() < 1e-12, "{component}: {}", reward.total);
        }
    }

    #[test]
    fn weight_of_zero_records_without_counting() {
        let reward = score(&settings(&[(&CHOICE, 0.0)]), "<answer>B</answer>", 5, "B");
        assert_eq!((reward.components, reward.total), (vec![("choice", 1.0)], 1.0));
    }

    #[test]
    fn entries_for_accuracy_and_format_take_the_place_of_their_weights() {
        let weights = [(&ACCURACY, 0.0), (&FORMAT, 0.5)];
        let reward = score(&settings(&weights), "<think>a</think><answer>7</answer>", 5, "7");
        assert_eq!((reward.accuracy, reward.total), (1.0, 0.5));
        assert!(reward.components.is_empty());
    }

    #[test]
    fn solution_that_a_weighted_component_cannot_use_is_refused() {
        for (component, solution) in [
            (&CHOICE, "42"),
            (&CHOICE, "A or B"),
            (&BOX_IOU, "cat"),
            (&BOX_IOU, "[1, 1, 1, 5]"),
            (&SET_MATCH, ","),
        ] {
            let settings = settings(&[(&ACCURACY, 0.0), (component, 1.0)]);
            let error = Golds::parse(&settings, solution).unwrap_err();
            assert!(
                matches!(&error, UnusableGold::Component { component: named, .. } if *named == component),
                "{component}: {error}"
            );
            let gold = Golds::parse_or_unequal(&settings, solution);
            let text = format!("<answer>{solution}</answer>");
            let rewards = score_group(&settings, &gold, &[ScoredText { text: &text, n_tokens: 5 }]);
            assert_eq!(rewards[0].total, 0.0, "{component}");
        }
        let error = Golds::parse(&settings(&[(&CHOICE, 1.0)]), "42").unwrap_err();
        assert_eq!(
            error.to_string(),
            "found the solution \"42\", expected one letter from A to H for the reward component \
             choice\nhint: correct the solution, leave the row out, or take choice out of \
             [reward.weights] (--components of eval)"
        );
    }

    #[test]
    fn rule_is_not_asked_where_accuracy_weighs_nothing() {
        let box_alone = [(&ACCURACY, 0.0), (&BOX_IOU, 1.0)];
        let counted = RewardSettings { rule: Rule::R1vSuperclevr, ..settings(&box_alone[1..]) };
        let solution = "[1, 2, 3, 4]";
        assert!(matches!(Golds::parse(&counted, solution), Err(UnusableGold::Accuracy(_))));
        let recorded = RewardSettings { rule: Rule::R1vSuperclevr, ..settings(&box_alone) };
        assert!(Golds::parse(&recorded, solution).is_ok());
    }

    #[test]
    fn solution_may_stand_in_tags_of_its_own() {
        let settings = settings(&[(&CHOICE, 1.0)]);
        let reward = score(&settings, "<answer>(B)</answer>", 5, "<answer> B </answer>");
        assert_eq!(reward.total, 2.0);
    }
}
