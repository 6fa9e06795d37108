//! The named rules of grading: how an answer is found and when it is right.
//! Not here: reading answers (`answer`), R1-V's scorer (`math_verify`), the form of a completion (`format`).

use std::fmt;
use std::str::FromStr;

use super::answer::{self, Answer, Comparison};
use super::math_verify::{self, Extraction};
use super::verdict::{Explanation, Reason, Verdict};

/// How an answer is found and compared. Recorded results name the rule with its [version](Self::version).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The contents of the last closed `<answer>` alone, so that reasoning cannot earn the reward, compared by our own
    /// parser. The default for training.
    #[default]
    AnswerTag,
    /// R1-V's reward for training (`src/r1-v/src/open_r1/grpo.py`, `accuracy_reward`): math-verify on the whole
    /// completion, else equality of the first `<answer>` contents as text.
    ///
    /// Surprises: math-verify is given the completion where it expects the gold; the text comparison's dot does not
    /// match a line feed, so an answer on a line of its own is not found and the whole texts are compared.
    R1vReward,
    /// R1-V's evaluation on SuperCLEVR (`src/eval/test_qwen2vl_counting_superclevr.py`): the first `<answer>` that holds
    /// nothing but digits, as an integer.
    R1vSuperclevr,
    /// R1-V's evaluation on GeoQA (`src/eval/test_qwen2vl_geoqa.py`): math-verify on the whole completion.
    ///
    /// Surprise: the number in `<answer>140</answer>` is not seen, and one in the reasoning counts instead; with white
    /// space inside the tag it is.
    R1vGeoqa,
}

/// All rules, in the order in which they are listed to people.
pub const RULES: [Rule; 4] =
    [Rule::AnswerTag, Rule::R1vReward, Rule::R1vSuperclevr, Rule::R1vGeoqa];

impl Rule {
    /// The name under which run files and the command line know the rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnswerTag => "answer-tag",
            Self::R1vReward => "r1v-reward",
            Self::R1vSuperclevr => "r1v-superclevr",
            Self::R1vGeoqa => "r1v-geoqa",
        }
    }

    /// The version: raised when a verdict changes. Version 1 of `answer-tag` compared decimal numbers and text alone.
    pub fn version(self) -> u32 {
        match self {
            Self::AnswerTag => 2,
            Self::R1vReward | Self::R1vSuperclevr | Self::R1vGeoqa => 1,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule of this name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found the rule {name:?}, expected \"answer-tag\", \"r1v-reward\", \"r1v-superclevr\" or \"r1v-geoqa\"\n\
     hint: answer-tag compares the contents of the last <answer>, the others reproduce R1-V"
)]
pub struct UnknownRule {
    /// The name that was asked for.
    pub name: String,
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        RULES
            .into_iter()
            .find(|rule| rule.name() == name)
            .ok_or_else(|| UnknownRule { name: name.to_owned() })
    }
}

/// A gold answer that a rule cannot read, so that no completion, or none but a copy, can be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found the solution {solution:?}, expected {expected}\nhint: {hint}")]
pub struct UnparsableGold {
    /// The solution as it stands in the data.
    pub solution: String,
    /// What the rule can read.
    pub expected: &'static str,
    /// What may help.
    pub hint: &'static str,
}

/// A gold answer, parsed once under a rule.
#[derive(Clone, Debug)]
pub struct GoldAnswer {
    rule: Rule,
    solution: String,
    parsed: ParsedGold,
}

#[derive(Clone, Debug)]
enum ParsedGold {
    Answer(Answer),
    Extraction(Extraction),
    Integer(String),
    /// Nothing is equal to it.
    Nothing,
}

impl GoldAnswer {
    /// Parses a solution, bare or in `<answer>` tags of its own.
    ///
    /// # Errors
    /// The rule cannot read it: for `answer-tag` broken mathematics or nothing at all, for `r1v-superclevr` no
    /// integer, for `r1v-geoqa` nothing that math-verify finds, for `r1v-reward` nothing at all.
    pub fn parse(rule: Rule, solution: &str) -> Result<Self, UnparsableGold> {
        let unparsable =
            |expected, hint| UnparsableGold { solution: solution.to_owned(), expected, hint };
        let parsed = match rule {
            Rule::AnswerTag => {
                let gold = answer::last_answer(solution).unwrap_or(solution);
                let gold = answer::read_gold(gold).map_err(|_| {
                    unparsable(
                        "a number, a formula, a choice or a short text",
                        "correct the solution, or leave the row out",
                    )
                })?;
                ParsedGold::Answer(gold)
            }
            Rule::R1vSuperclevr => ParsedGold::Integer(integer(solution).ok_or_else(|| {
                unparsable(
                    "an integer",
                    "r1v-superclevr grades counts; answer-tag grades other answers",
                )
            })?),
            Rule::R1vGeoqa => {
                let extraction = math_verify::parse(solution);
                if extraction.is_empty() {
                    return Err(unparsable(
                        "an answer that math-verify finds",
                        "no completion is right under r1v-geoqa; answer-tag reads forms such as √{3}",
                    ));
                }
                ParsedGold::Extraction(extraction)
            }
            Rule::R1vReward => {
                if solution.trim().is_empty() {
                    return Err(unparsable(
                        "an answer",
                        "correct the solution, or leave the row out",
                    ));
                }
                ParsedGold::Extraction(math_verify::parse(solution))
            }
        };
        Ok(Self { rule, solution: solution.to_owned(), parsed })
    }

    /// As [`Self::parse`], but an unparsable solution is kept as one that nothing equals.
    pub fn parse_or_unequal(rule: Rule, solution: &str) -> Self {
        Self::parse(rule, solution).unwrap_or_else(|_| Self {
            rule,
            solution: solution.to_owned(),
            parsed: ParsedGold::Nothing,
        })
    }

    /// The rule it was parsed under.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The solution as it stands in the data.
    pub fn solution(&self) -> &str {
        &self.solution
    }

    /// Whether any completion can be right.
    pub fn is_parsed(&self) -> bool {
        !matches!(self.parsed, ParsedGold::Nothing)
    }

    /// Grades a completion. Never fails: what cannot be graded is wrong, and the reason says why.
    pub fn grade(&self, completion: &str) -> Verdict {
        match (&self.parsed, self.rule) {
            (ParsedGold::Nothing, _) => Verdict::wrong(None, Reason::UnparsableGold),
            (ParsedGold::Answer(gold), _) => grade_answer_tag(completion, gold),
            (ParsedGold::Integer(gold), _) => grade_integer(completion, gold),
            (ParsedGold::Extraction(gold), Rule::R1vReward) => {
                let verdict = grade_math_verify(completion, gold);
                if verdict.is_correct {
                    verdict
                } else {
                    grade_tag_text(completion, &self.solution, verdict)
                }
            }
            (ParsedGold::Extraction(gold), _) => grade_math_verify(completion, gold),
        }
    }

    /// How the rule reads the solution and a completion, for people.
    pub fn explain(&self, completion: &str) -> Explanation {
        let gold = match &self.parsed {
            ParsedGold::Nothing => None,
            ParsedGold::Answer(answer) => Some(answer.to_string()),
            ParsedGold::Integer(digits) => Some(format!("integer {digits}")),
            ParsedGold::Extraction(extraction) => extraction.parsed(),
        };
        let answer = match self.rule {
            Rule::AnswerTag => answer::last_answer(completion)
                .filter(|text| !text.is_empty())
                .map(|text| answer::read(text).to_string()),
            Rule::R1vSuperclevr => {
                first_integer(completion).map(|digits| format!("integer {digits}"))
            }
            Rule::R1vReward | Rule::R1vGeoqa => math_verify::parse(completion).parsed(),
        };
        Explanation { verdict: self.grade(completion), answer, gold }
    }
}

/// Grades a completion against the sample's solution, which may stand in `<answer>` tags of its own.
///
/// Never fails: what cannot be graded is wrong, and the reason says why. [`GoldAnswer`] parses a solution once for
/// many completions.
pub fn grade(rule: Rule, completion: &str, solution: &str) -> Verdict {
    GoldAnswer::parse_or_unequal(rule, solution).grade(completion)
}

fn grade_answer_tag(completion: &str, gold: &Answer) -> Verdict {
    let Some(text) = answer::last_answer(completion) else {
        return Verdict::wrong(None, Reason::NoAnswer);
    };
    if text.is_empty() {
        return Verdict::wrong(Some(String::new()), Reason::EmptyAnswer);
    }
    let comparison = answer::compare(&answer::read(text), gold);
    Verdict {
        is_correct: comparison.is_equal(),
        answer: Some(text.to_owned()),
        reason: Reason::Compared(comparison),
    }
}

fn grade_math_verify(completion: &str, gold: &Extraction) -> Verdict {
    let found = math_verify::parse(completion);
    let answer = found.as_text().map(str::to_owned);
    // R1-V passes the completion first, where math-verify expects the gold.
    if math_verify::verify(&found, gold) {
        return Verdict::right(answer, Reason::MathVerifyEqual);
    }
    let reason = if found.is_empty() { Reason::NoAnswer } else { Reason::MathVerifyDifferent };
    Verdict::wrong(answer, reason)
}

/// Equality of what stands in the first tags, or of the whole texts where there are none.
fn grade_tag_text(completion: &str, solution: &str, otherwise: Verdict) -> Verdict {
    let text = |whole| first_tag_on_a_line(whole).unwrap_or(whole).trim();
    let answer = text(completion);
    if answer == text(solution) {
        return Verdict::right(Some(answer.to_owned()), Reason::SameTagText);
    }
    otherwise
}

/// The first match of `<answer>(.*?)</answer>`, whose dot does not match a line feed.
fn first_tag_on_a_line(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let (_, opened) = rest.split_once("<answer>")?;
        let (contents, _) = opened.split_once("</answer>")?;
        // A tag that opens before the last line feed does not close on its line, nor does one between them.
        match contents.rfind('\n') {
            None => return Some(contents),
            Some(line_end) => rest = &opened[line_end + 1..],
        }
    }
}

fn grade_integer(completion: &str, gold: &str) -> Verdict {
    let Some(digits) = first_integer(completion) else {
        return Verdict::wrong(None, Reason::NoAnswer);
    };
    let is_correct = digits == gold;
    let comparison = if is_correct { Comparison::SameNumber } else { Comparison::OtherNumber };
    Verdict { is_correct, answer: Some(digits.to_owned()), reason: Reason::Compared(comparison) }
}

/// The first match of `<answer>\s*(\d+)\s*</answer>`, without leading zeros.
fn first_integer(text: &str) -> Option<&str> {
    text.match_indices("<answer>").find_map(|(at, tag)| {
        let rest = text[at + tag.len()..].trim_start_matches(super::format::is_python_whitespace);
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = rest[n_digits..].trim_start_matches(super::format::is_python_whitespace);
        (n_digits > 0 && after.starts_with("</answer>")).then(|| without_zeros(&rest[..n_digits]))
    })
}

fn without_zeros(digits: &str) -> &str {
    let shorter = digits.trim_start_matches('0');
    if shorter.is_empty() { &digits[digits.len() - 1..] } else { shorter }
}

/// An integer as Python's `int` reads it, or one in a tag, without leading zeros.
fn integer(solution: &str) -> Option<String> {
    if let Some(digits) = first_integer(solution) {
        return Some(digits.to_owned());
    }
    let digits = solution.trim();
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = without_zeros(unsigned);
    Some(if digits.starts_with('-') && value != "0" {
        format!("-{value}")
    } else {
        value.to_owned()
    })
}
