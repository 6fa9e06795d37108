//! The components of a reward by name, the gold that each needs, and their weighted sum.
//! Not here: a component's formula (a file each); what a solution is read as (`gold`); the command behind a custom reward (`external`); the run file's
//! section (`config::reward`).

use std::fmt;
use std::str::FromStr;

use super::box_iou::box_iou;
use super::choice::choice;
use super::external::ExternalCommand;
use super::gold::{Gold, GoldKind, Golds};
use super::grading::{Rule, format};
use super::length_penalty::length_penalty;
use super::relative_error::relative_error;
use super::repetition_penalty::repetition_penalty;
use super::set_match::set_match;
use super::{EXTERNAL, Reward};

/// What a reward is made of. Each is documented in the file of its name, all of them in `docs/rewards.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// 1 if the answer is right under the rule, else 0.
    Accuracy,
    /// 1 if the whole completion has the asked-for form, else 0.
    Format,
    /// 1 if the answer names the gold's letter, else 0.
    Choice,
    /// 1 if the answer's number is within a relative error of the gold's, else 0.
    RelativeError,
    /// F1 of the answer's items, 0 to 1.
    SetMatch,
    /// Intersection over union of the answer's boxes, 0 to 1.
    BoxIou,
    /// DAPO's soft overlong punishment, -1 to 0.
    LengthPenalty,
    /// Share of repeated n-grams, -1 to 0.
    RepetitionPenalty,
}

/// All components, in the order in which they are listed to people.
pub const COMPONENTS: [Component; 8] = [
    Component::Accuracy,
    Component::Format,
    Component::Choice,
    Component::RelativeError,
    Component::SetMatch,
    Component::BoxIou,
    Component::LengthPenalty,
    Component::RepetitionPenalty,
];

impl Component {
    /// The name under which run files and metrics know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Format => "format",
            Self::Choice => "choice",
            Self::RelativeError => "relative_error",
            Self::SetMatch => "set_match",
            Self::BoxIou => "box_iou",
            Self::LengthPenalty => "length_penalty",
            Self::RepetitionPenalty => "repetition_penalty",
        }
    }

    /// What it reads the solution as; none for what looks at the completion alone.
    pub fn gold(self) -> Option<GoldKind> {
        match self {
            Self::Accuracy => Some(GoldKind::Answer),
            Self::Choice => Some(GoldKind::Choice),
            Self::RelativeError => Some(GoldKind::Value),
            Self::SetMatch => Some(GoldKind::Items),
            Self::BoxIou => Some(GoldKind::Boxes),
            Self::Format | Self::LengthPenalty | Self::RepetitionPenalty => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A component of this name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found the reward component {name:?}, expected one of {}\nhint: docs/rewards.md describes each",
    names()
)]
pub struct UnknownComponent {
    /// The name that was asked for.
    pub name: String,
}

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(name: &str) -> Result<Self, UnknownComponent> {
        COMPONENTS
            .into_iter()
            .find(|component| component.name() == name)
            .ok_or_else(|| UnknownComponent { name: name.to_owned() })
    }
}

fn names() -> String {
    COMPONENTS.map(Component::name).join(", ")
}

/// How completions are rewarded.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardSettings {
    /// The rule behind the accuracy.
    pub rule: Rule,
    /// The format's weight, Eq. (1).
    pub alpha: f64,
    /// Further components and their weights, each at most once; 0 records a component without counting it. An entry
    /// for accuracy or format takes the place of 1 and of `alpha`.
    pub weights: Vec<(Component, f64)>,
    /// `relative_error`: the tolerance, a ratio.
    pub relative_error: f64,
    /// `length_penalty`: tokens from which a completion costs the full 1.
    pub length_limit: usize,
    /// `length_penalty`: tokens before the limit over which the cost grows.
    pub length_buffer: usize,
    /// `repetition_penalty`: words in an n-gram.
    pub repetition_ngram: usize,
    /// A custom reward and its weight.
    pub external: Option<(ExternalCommand, f64)>,
}

impl Default for RewardSettings {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            alpha: 1.0,           // the paper's; R1-V sums the two unweighted
            weights: Vec::new(),  // the paper's reward has no other component
            relative_error: 0.05, // ChartQA's relaxed accuracy
            length_limit: 512,    // R1-V's README: --max_completion_length 512
            length_buffer: 102,   // DAPO: a fifth of the limit, 4096 of 20480
            repetition_ngram: 3,  // open-r1's and TRL's default
            external: None,
        }
    }
}

impl RewardSettings {
    /// What a component counts in the total.
    pub fn weight_of(&self, component: Component) -> f64 {
        let given = self.weights.iter().find(|(other, _)| *other == component);
        given.map_or_else(|| self.default_weight(component), |(_, weight)| *weight)
    }

    fn default_weight(&self, component: Component) -> f64 {
        match component {
            Component::Accuracy => 1.0,
            Component::Format => self.alpha,
            _ => 0.0,
        }
    }

    /// Every component that is computed, with its weight: accuracy and format always, then those of the weights.
    pub(super) fn components(&self) -> impl Iterator<Item = (Component, f64)> {
        let always = [Component::Accuracy, Component::Format];
        always
            .map(|component| (component, self.weight_of(component)))
            .into_iter()
            .chain(self.extra())
    }

    /// The components beyond accuracy and format, in the order of the weights.
    fn extra(&self) -> impl Iterator<Item = (Component, f64)> {
        let is_extra = |(component, _): &(Component, f64)| {
            !matches!(component, Component::Accuracy | Component::Format)
        };
        self.weights.iter().copied().filter(is_extra)
    }
}

/// A completion as it is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoredText<'a> {
    /// The generated text, without stop tokens.
    pub text: &'a str,
    /// Its tokens, the stop token included.
    pub n_tokens: usize,
}

/// The rewards of a prompt's completions, in their order, without the custom reward:
/// `total = accuracy + alpha * format + sum of weight * component`.
///
/// A function of these alone. It takes the whole group, so that a component may compare its members.
pub fn score_group(
    settings: &RewardSettings,
    golds: &Golds,
    completions: &[ScoredText],
) -> Vec<Reward> {
    completions.iter().map(|completion| score_one(settings, golds, *completion)).collect()
}

fn score_one(settings: &RewardSettings, golds: &Golds, completion: ScoredText) -> Reward {
    let verdict = golds.grade(completion.text);
    let accuracy = if verdict.is_correct { 1.0 } else { 0.0 };
    let format = if format::is_well_formed(completion.text) { 1.0 } else { 0.0 };
    let mut total = settings.weight_of(Component::Accuracy) * accuracy
        + settings.weight_of(Component::Format) * format;
    let mut components = Vec::new();
    for (component, weight) in settings.extra() {
        let value = value_of(component, settings, golds, completion);
        total += weight * value;
        components.push((component.name(), value));
    }
    Reward { accuracy, format, components, total, answer: verdict.answer, reason: verdict.reason }
}

/// A component beyond accuracy and format, unweighted.
fn value_of(
    component: Component,
    settings: &RewardSettings,
    golds: &Golds,
    completion: ScoredText,
) -> f64 {
    let ScoredText { text, n_tokens } = completion;
    match (component, component.gold().and_then(|kind| golds.of(kind))) {
        (Component::Choice, Some(Gold::Choice(letter))) => choice(text, *letter),
        (Component::RelativeError, Some(Gold::Value(value))) => {
            relative_error(text, value, settings.relative_error)
        }
        (Component::SetMatch, Some(Gold::Items(items))) => set_match(text, items),
        (Component::BoxIou, Some(Gold::Boxes(boxes))) => box_iou(text, boxes),
        (Component::LengthPenalty, _) => {
            length_penalty(n_tokens, settings.length_limit, settings.length_buffer)
        }
        (Component::RepetitionPenalty, _) => repetition_penalty(text, settings.repetition_ngram),
        // Accuracy and format are fields of the reward; the solution is nothing that the others can use.
        _ => 0.0,
    }
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
    use super::super::gold::UnusableGold;
    use super::*;

    fn settings(weights: &[(Component, f64)]) -> RewardSettings {
        RewardSettings { weights: weights.to_vec(), ..RewardSettings::default() }
    }

    fn score(settings: &RewardSettings, text: &str, n_tokens: usize, solution: &str) -> Reward {
        let gold = Golds::parse(settings, solution).unwrap();
        score_group(settings, &gold, &[ScoredText { text, n_tokens }]).remove(0)
    }

    #[test]
    fn every_component_is_found_by_its_name() {
        for component in COMPONENTS {
            assert_eq!(component.name().parse::<Component>().unwrap(), component);
        }
        assert_eq!(
            "iou".parse::<Component>().unwrap_err().to_string(),
            "found the reward component \"iou\", expected one of accuracy, format, choice, \
             relative_error, set_match, box_iou, length_penalty, repetition_penalty\n\
             hint: docs/rewards.md describes each"
        );
    }

    #[test]
    fn every_component_is_documented() {
        let root = env!("CARGO_MANIFEST_DIR");
        let document = std::fs::read_to_string(format!("{root}/docs/rewards.md")).unwrap();
        for component in COMPONENTS {
            let row = format!("| `{component}` |");
            assert!(document.contains(&row), "docs/rewards.md has no row {row}");
        }
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
        let weights = [
            (Component::RelativeError, 0.5),
            (Component::LengthPenalty, 2.0),
            (Component::RepetitionPenalty, 1.0),
        ];
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
            (Component::Choice, "B", "B. cat", 1.0),
            (Component::RelativeError, "100", "98", 1.0),
            (Component::SetMatch, "1, 2, 3", "1, 2", 0.8),
            (Component::BoxIou, "[0, 0, 10, 10]", "[0, 0, 10, 5]", 0.5),
        ] {
            let settings = settings(&[(Component::Accuracy, 0.0), (component, 3.0)]);
            let reward = score(&settings, &format!("<answer>{answer}</answer>"), 5, solution);
            assert_eq!(reward.components, vec![(component.name(), value)]);
            assert!((reward.total - 3.0 * value).abs() < 1e-12, "{component}: {}", reward.total);
        }
    }

    #[test]
    fn weight_of_zero_records_without_counting() {
        let reward = score(&settings(&[(Component::Choice, 0.0)]), "<answer>B</answer>", 5, "B");
        assert_eq!((reward.components, reward.total), (vec![("choice", 1.0)], 1.0));
    }

    #[test]
    fn entries_for_accuracy_and_format_take_the_place_of_their_weights() {
        let weights = [(Component::Accuracy, 0.0), (Component::Format, 0.5)];
        let reward = score(&settings(&weights), "<think>a</think><answer>7</answer>", 5, "7");
        assert_eq!((reward.accuracy, reward.total), (1.0, 0.5));
        assert!(reward.components.is_empty());
    }

    #[test]
    fn solution_that_a_weighted_component_cannot_use_is_refused() {
        for (component, solution) in [
            (Component::Choice, "42"),
            (Component::Choice, "A or B"),
            (Component::BoxIou, "cat"),
            (Component::BoxIou, "[1, 1, 1, 5]"),
            (Component::SetMatch, ","),
        ] {
            let settings = settings(&[(Component::Accuracy, 0.0), (component, 1.0)]);
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
        let error = Golds::parse(&settings(&[(Component::Choice, 1.0)]), "42").unwrap_err();
        assert_eq!(
            error.to_string(),
            "found the solution \"42\", expected one letter from A to H for the reward component \
             choice\nhint: correct the solution, leave the row out, or take choice out of \
             [reward.weights]"
        );
    }

    #[test]
    fn rule_is_not_asked_where_accuracy_weighs_nothing() {
        let box_alone = [(Component::Accuracy, 0.0), (Component::BoxIou, 1.0)];
        let counted = RewardSettings { rule: Rule::R1vSuperclevr, ..settings(&box_alone[1..]) };
        let solution = "[1, 2, 3, 4]";
        assert!(matches!(Golds::parse(&counted, solution), Err(UnusableGold::Accuracy(_))));
        let recorded = RewardSettings { rule: Rule::R1vSuperclevr, ..settings(&box_alone) };
        assert!(Golds::parse(&recorded, solution).is_ok());
    }

    #[test]
    fn solution_may_stand_in_tags_of_its_own() {
        let settings = settings(&[(Component::Choice, 1.0)]);
        let reward = score(&settings, "<answer>(B)</answer>", 5, "<answer> B </answer>");
        assert_eq!(reward.total, 2.0);
    }
}
