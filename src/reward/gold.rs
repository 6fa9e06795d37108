//! Golds: what a solution is read as, once for every component that the settings ask for.
//! Not here: which component reads which kind, and how a text is read as it (the component's file).

use super::accuracy::ACCURACY;
use super::box_iou::{BoundingBox, gold_boxes};
use super::choice::choice_letter;
use super::component::Component;
use super::grading::answer::{Answer, last_answer, read};
use super::grading::{GoldAnswer, Reason, Rule, UnparsableGold, Verdict};
use super::set_match::set_items;
use super::settings::RewardSettings;

/// The kinds of gold that a solution can be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoldKind {
    /// An answer that a rule grades.
    Answer,
    /// A letter of multiple choice.
    Choice,
    /// A number, or a text where it is not a number.
    Value,
    /// The items of a set or a list.
    Items,
    /// Bounding boxes.
    Boxes,
}

/// A solution, read as one kind of gold.
#[derive(Clone, Debug)]
pub enum Gold {
    /// As the rule behind accuracy reads it.
    Answer(GoldAnswer),
    /// `A` to `H`.
    Choice(char),
    /// A number or a text.
    Value(Answer),
    /// At least one item.
    Items(Vec<Answer>),
    /// At least one box, each with an area.
    Boxes(Vec<BoundingBox>),
}

impl GoldKind {
    /// Reads a solution, bare or in `<answer>` tags of its own.
    ///
    /// # Errors
    /// It is no gold of this kind.
    pub fn read(self, rule: Rule, solution: &str) -> Result<Gold, UnparsableGold> {
        let text = last_answer(solution).unwrap_or(solution).trim();
        let (gold, expected) = match self {
            Self::Answer => return GoldAnswer::parse(rule, solution).map(Gold::Answer),
            Self::Choice => (choice_letter(text).map(Gold::Choice), "one letter from A to H"),
            Self::Value => {
                let value = Some(read(text)).filter(|value| *value != Answer::Text(String::new()));
                (value.map(Gold::Value), "a number or a text")
            }
            Self::Items => {
                (set_items(text).map(Gold::Items), "1 to 32 items, at most 8 of them formulas")
            }
            Self::Boxes => (
                gold_boxes(text).map(Gold::Boxes),
                "1 to 32 boxes [x1, y1, x2, y2], each with an area",
            ),
        };
        let hint = "correct the solution, or leave the row out";
        gold.ok_or_else(|| UnparsableGold { solution: solution.to_owned(), expected, hint })
    }
}

/// A solution that a component cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableGold {
    /// The accuracy's rule cannot read it.
    #[error(transparent)]
    Accuracy(#[from] UnparsableGold),
    /// Another component finds nothing in it.
    #[error(
        "found the solution {solution:?}, expected {expected} for the reward component {component}\n\
         hint: correct the solution, leave the row out, or take {component} out of [reward.weights] (--components of eval)"
    )]
    Component {
        /// The component.
        component: &'static Component,
        /// The solution as written in the data.
        solution: String,
        /// What the component can use.
        expected: &'static str,
    },
}

impl UnusableGold {
    fn new(component: &'static Component, error: UnparsableGold) -> Self {
        if *component == ACCURACY {
            return Self::Accuracy(error);
        }
        let UnparsableGold { solution, expected, .. } = error;
        Self::Component { component, solution, expected }
    }
}

/// A solution with every gold that the settings of a reward ask for.
#[derive(Clone, Debug)]
pub struct Golds {
    solution: String,
    /// Each kind at most once; only kinds that the solution could be read as.
    found: Vec<(GoldKind, Gold)>,
}

impl Golds {
    /// Reads a solution, bare or in `<answer>` tags of its own, for the components that count or are recorded.
    ///
    /// # Errors
    /// A component cannot use it, so that no completion could earn anything there; accuracy is exempt at weight 0.
    pub fn parse(settings: &RewardSettings, solution: &str) -> Result<Self, UnusableGold> {
        let (golds, unusable) = Self::read(settings, solution);
        unusable.map_or(Ok(golds), Err)
    }

    /// As [`Self::parse`], but without errors: a component that cannot use the solution gives 0.
    pub fn parse_or_unequal(settings: &RewardSettings, solution: &str) -> Self {
        Self::read(settings, solution).0
    }

    /// The golds that were read, and the first failure of a component.
    fn read(settings: &RewardSettings, solution: &str) -> (Self, Option<UnusableGold>) {
        let mut golds = Self { solution: solution.to_owned(), found: Vec::new() };
        let mut unusable = None;
        for (component, weight) in settings.components() {
            let Some(kind) = component.gold.filter(|kind| golds.of(*kind).is_none()) else {
                continue;
            };
            match kind.read(settings.rule, solution) {
                Ok(gold) => golds.found.push((kind, gold)),
                // Accuracy is always computed; at weight 0 it need not be readable.
                Err(_) if *component == ACCURACY && weight == 0.0 => {}
                Err(error) => unusable = unusable.or(Some(UnusableGold::new(component, error))),
            }
        }
        (golds, unusable)
    }

    /// The solution as this kind of gold; none where it could not be read so, or was not asked for.
    pub fn of(&self, kind: GoldKind) -> Option<&Gold> {
        self.found.iter().find(|(found, _)| *found == kind).map(|(_, gold)| gold)
    }

    /// The solution as written in the data.
    pub fn solution(&self) -> &str {
        &self.solution
    }

    /// Grades a completion under the rule.
    pub(super) fn grade(&self, completion: &str) -> Verdict {
        match self.of(GoldKind::Answer) {
            Some(Gold::Answer(gold)) => gold.grade(completion),
            _ => Verdict { is_correct: false, answer: None, reason: Reason::UnparsableGold },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::box_iou::BOX_IOU;
    use super::super::choice::CHOICE;
    use super::*;

    #[test]
    fn a_solution_is_read_as_what_the_settings_ask_for_and_nothing_else() {
        let weights = vec![(&BOX_IOU, 1.0), (&CHOICE, 1.0)];
        let settings = RewardSettings { weights, ..RewardSettings::default() };
        let golds = Golds::parse_or_unequal(&settings, "<answer> [1, 2, 3, 4] </answer>");
        assert_eq!(golds.solution(), "<answer> [1, 2, 3, 4] </answer>");
        assert!(matches!(golds.of(GoldKind::Answer), Some(Gold::Answer(_))));
        assert!(matches!(golds.of(GoldKind::Boxes), Some(Gold::Boxes(boxes)) if boxes.len() == 1));
        assert!(golds.of(GoldKind::Choice).is_none(), "it has no letter");
        assert!(golds.of(GoldKind::Items).is_none(), "not asked for");
    }

    #[test]
    fn each_kind_says_what_it_expects() {
        for (kind, solution, expected) in [
            (GoldKind::Answer, "", "a number, a formula, a choice or a short text"),
            (GoldKind::Choice, "42", "one letter from A to H"),
            (GoldKind::Value, " ", "a number or a text"),
            (GoldKind::Items, ",", "1 to 32 items, at most 8 of them formulas"),
            (GoldKind::Boxes, "cat", "1 to 32 boxes [x1, y1, x2, y2], each with an area"),
        ] {
            let error = kind.read(Rule::AnswerTag, solution).unwrap_err();
            assert_eq!((error.solution.as_str(), error.expected), (solution, expected));
        }
    }
}
