//! Tests of the rules against committed verdicts: real outputs, answers graded by hand, pairs graded by math-verify.
//! Not here: tests of single functions, which stand beside them; any text at all (`test_hostile`); what the files are
//! (`docs/grading.md`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::math_verify;
use super::{GoldAnswer, Rule, grade};

pub(super) const RECORDED: &str = include_str!("../tests/golden/recorded.jsonl");
pub(super) const HAND_CHECKED: &str = include_str!("../tests/golden/hand_checked.jsonl");
pub(super) const PAIRS: &str = include_str!("../tests/golden/pairs.jsonl");
const DISAGREEMENTS: &str = include_str!("../tests/golden/disagreements.jsonl");

pub(super) fn rows(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

pub(super) fn in_tag(answer: &str) -> String {
    format!("<answer>{answer}</answer>")
}

#[test]
fn recorded_verdicts_are_reproduced() {
    let mut n_right = BTreeMap::new();
    for row in rows(RECORDED) {
        let (completion, solution) = (text(&row, "completion"), text(&row, "solution"));
        let evaluation: Rule = text(&row, "evaluation").parse().unwrap();
        let verdict = grade(evaluation, completion, solution);
        assert_eq!(
            verdict.is_correct, row["correct"],
            "{evaluation}: {solution} and {completion:?}"
        );
        let reward = grade(Rule::R1vReward, completion, solution);
        assert_eq!(reward.is_correct, row["reward"], "r1v-reward: {solution} and {completion:?}");
        let counts: &mut [usize; 3] = n_right.entry(evaluation.name()).or_default();
        counts[0] += 1;
        counts[1] += usize::from(verdict.is_correct);
        counts[2] += usize::from(reward.is_correct);
    }
    // 48.0 % and 30.6366 %, as published; with R1-V's training reward 50.0 % and 30.9019 %.
    assert_eq!(n_right["r1v-superclevr"], [200, 96, 100]);
    assert_eq!(n_right["r1v-geoqa"], [754, 231, 233]);
}

#[test]
fn golds_that_math_verify_never_parses_are_read() {
    let rows = rows(RECORDED);
    let geoqa: Vec<&Value> =
        rows.iter().filter(|row| text(row, "evaluation") == "r1v-geoqa").collect();
    let unparsed: Vec<&str> = geoqa
        .iter()
        .map(|row| text(row, "solution"))
        .filter(|solution| GoldAnswer::parse(Rule::R1vGeoqa, solution).is_err())
        .collect();
    assert_eq!(unparsed.len(), 17, "{unparsed:?}");
    for solution in unparsed {
        assert!(grade(Rule::AnswerTag, &in_tag(solution), solution).is_correct, "{solution}");
        // The same written in LaTeX is right, and its double is not.
        let latex = solution.replace('√', "\\sqrt").replace('π', "\\pi");
        assert!(grade(Rule::AnswerTag, &in_tag(&latex), solution).is_correct, "{latex}");
        let double = format!("2({})", latex.trim_end_matches(|c: char| c == 'm' || !c.is_ascii()));
        assert!(!grade(Rule::AnswerTag, &in_tag(&double), solution).is_correct, "{double}");
    }
    for row in geoqa {
        assert!(GoldAnswer::parse(Rule::AnswerTag, text(row, "solution")).is_ok(), "{row}");
    }
}

#[test]
fn answers_are_graded_as_by_hand() {
    let rows = rows(HAND_CHECKED);
    assert!(rows.len() >= 400);
    for row in rows {
        let (gold, completion) = (text(&row, "gold"), text(&row, "completion"));
        let parsed = GoldAnswer::parse(Rule::AnswerTag, gold).unwrap();
        let explanation = parsed.explain(completion);
        assert_eq!(
            explanation.verdict.is_correct,
            row["verdict"],
            "{gold:?} and {completion:?}: {} ({explanation:?})",
            text(&row, "reason"),
        );
    }
}

#[test]
fn math_verify_is_reproduced_on_generated_pairs() {
    for row in rows(PAIRS) {
        let (gold, answer) = (text(&row, "gold"), text(&row, "answer"));
        let dressed = |text: &str| math_verify::parse(&format!("${text}$"));
        let best = math_verify::verify(&dressed(gold), &dressed(answer));
        assert_eq!(best, row["math_verify"], "{gold} and {answer}");
        let completion = format!("<think>Thinking.</think> <answer> {answer} </answer>");
        let reward =
            math_verify::verify(&math_verify::parse(&completion), &math_verify::parse(gold));
        assert_eq!(reward, row["r1v"], "{gold} and {completion}");
    }
}

#[test]
fn every_disagreement_with_math_verify_is_explained() {
    let explained = rows(DISAGREEMENTS);
    let is_explained = |gold: &str, answer: &str, ours: bool| {
        explained.iter().any(|row| {
            text(row, "gold") == gold && text(row, "answer") == answer && row["answer_tag"] == ours
        })
    };
    let document = include_str!("../../../docs/grading.md");
    for row in &explained {
        assert!(document.contains(&format!("| {} |", text(row, "class"))), "{row}");
    }
    let pairs = rows(PAIRS);
    assert!(pairs.len() >= 3000);
    let mut agreement: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for row in &pairs {
        let (gold, answer) = (text(row, "gold"), text(row, "answer"));
        let ours = grade(Rule::AnswerTag, &in_tag(answer), gold).is_correct;
        let counts = agreement.entry(text(row, "form")).or_default();
        counts[0] += 1;
        if row["math_verify"] == ours {
            counts[1] += 1;
        } else {
            assert!(is_explained(gold, answer, ours), "{gold} and {answer}: {ours}");
        }
    }
    for (form, [n_pairs, n_agree]) in agreement {
        let line = format!("| {form} | {n_pairs} | {n_agree} |");
        assert!(document.contains(&line), "docs/grading.md lacks {line}");
    }
}
