//! The text of an answer as an answer: phrases around it, choices, words for numbers, plain text.
//! Not here: mathematics (`parse`, `formula`); where the text comes from (`extract`).

use super::lexer::{half_width, tokenize};
use super::{Answer, Brackets, Quantity, parse};
use crate::algebra::{Constant, Decimal, Expression, Rational};

/// An answer of more bytes is only compared as text, and that as it stands.
const MAX_LENGTH: usize = 600;

/// Phrases that lead to an answer, in lower case.
const LEADS: &[&str] = &[
    "the final answer is",
    "the correct answer is",
    "the correct option is",
    "the answer is",
    "final answer is",
    "answer is",
    "the result is",
    "the value is",
    "final answer",
    "correct answer",
    "the answer",
    "answer",
    "there are",
    "there is",
    "it is",
    "option",
    "choice",
    "so",
    "therefore",
    "thus",
    "hence",
    "approximately",
    "about",
    "exactly",
    "答案是",
    "答案为",
    "答案",
    "约",
];

/// Reads an answer; what is neither mathematics nor a choice is text.
pub fn read(text: &str) -> Answer {
    let text = text.trim();
    if text.len() > MAX_LENGTH {
        return Answer::Text(text.to_owned());
    }
    if text.contains(|c| half_width(c) != c) {
        let narrow: String = text.chars().map(half_width).collect();
        return read_narrow(&narrow);
    }
    read_narrow(text)
}

fn read_narrow(text: &str) -> Answer {
    if let Some(value) = bare_number(text) {
        return Answer::Quantity(Quantity { name: None, value, unit: None });
    }
    let text = without_lead(without_ornament(text));
    if let Some(choice) = choice(text) {
        return choice;
    }
    read_content(text)
}

/// `-12` and `3.50`, most answers there are, without the detour over tokens.
fn bare_number(text: &str) -> Option<Expression> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_plain = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_plain || unsigned.len() > 18 || !unsigned.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = Rational::from_decimal(unsigned)?;
    let value = if unsigned.len() < text.len() { value.negate()? } else { value };
    Some(match unsigned.split_once('.') {
        Some((_, fraction)) => {
            Expression::Decimal(Decimal { value, places: fraction.len() as i32 })
        }
        None => Expression::Number(value),
    })
}

/// Whether a text that was read as plain text is too long, or looks like mathematics that could not be read.
pub(super) fn is_broken(text: &str) -> bool {
    if text.len() > MAX_LENGTH {
        return true;
    }
    let text = without_commands(without_lead(without_ornament(text.trim())));
    // A number beyond 128 bits is compared as text.
    let is_long_number =
        text.len() > 30 && text.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.'));
    if is_long_number {
        return false;
    }
    text.is_empty()
        || text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | '('))
        || text.contains(['\\', '{', '}', '^', '√', '=', '_'])
}

fn mathematics(text: &str) -> Option<Answer> {
    let tokens = tokenize(text)?;
    let answer = parse::answer(&tokens)?;
    match &answer {
        // Letters alone are a word, not a product: "cat" is not "act".
        Answer::Quantity(quantity) if quantity.name.is_none() && is_letters(&quantity.value) => {
            None
        }
        Answer::List { .. } if is_word_list(&answer) => Some(text_list(text)),
        _ => Some(answer),
    }
}

/// Whether every item of a list consists of letters alone.
fn is_word_list(answer: &Answer) -> bool {
    match answer {
        Answer::List { items, brackets: Brackets::None } => items.iter().all(|item| match item {
            Answer::Quantity(quantity) => quantity.name.is_none() && is_letters(&quantity.value),
            _ => false,
        }),
        _ => false,
    }
}

fn is_letters(value: &Expression) -> bool {
    match value {
        Expression::Symbol(_) | Expression::Constant(Constant::E) => true,
        Expression::Product(factors) => factors.iter().all(is_letters),
        _ => false,
    }
}

fn text_list(text: &str) -> Answer {
    let items = text
        .split([',', ';'])
        .flat_map(|part| part.split(" and "))
        .flat_map(|part| part.split(" or "))
        .map(|part| plain(part.trim().trim_start_matches("and ")))
        .filter(|part| !part.is_empty());
    Answer::List {
        brackets: Brackets::None,
        items: items.map(|item| choice(&item).unwrap_or(Answer::Text(item))).collect(),
    }
}

/// Drops bold stars, quotes and the full stop around an answer.
fn without_ornament(text: &str) -> &str {
    let mut text = text;
    loop {
        let shorter = text
            .trim()
            .trim_end_matches(['.', '。', '!', ',', ';', '，'])
            .trim_matches(['"', '\'', '`', '“', '”', '’', '‘'])
            .trim_start_matches("**")
            .trim_end_matches("**");
        if shorter.len() == text.len() {
            return text;
        }
        // A factorial is no exclamation.
        if text.ends_with('!')
            && text.trim_end_matches('!').ends_with(|c: char| c.is_ascii_digit() || c == ')')
        {
            return text;
        }
        text = shorter;
    }
}

/// Drops phrases such as `The answer is:`; each must be followed by white space, a colon or mathematics.
fn without_lead(text: &str) -> &str {
    let mut text = text;
    if !text.starts_with(char::is_alphabetic) {
        return text;
    }
    // Two phrases may follow each other: "So the answer is".
    for _ in 0..3 {
        let Some(rest) = LEADS.iter().find_map(|lead| after_lead(text, lead)) else { return text };
        text = rest;
    }
    text
}

fn after_lead<'a>(text: &'a str, lead: &str) -> Option<&'a str> {
    let head = text.get(..lead.len())?;
    let rest = &text[lead.len()..];
    let is_lead = head.eq_ignore_ascii_case(lead)
        && (!lead.is_ascii()
            || rest.starts_with(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '：')));
    let rest =
        rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '：'));
    (is_lead && !rest.is_empty()).then_some(without_ornament(rest))
}

/// `B`, `(B)`, `B.`, `C. 30°`.
fn choice(text: &str) -> Option<Answer> {
    let text = without_commands(text);
    let is_open = text.starts_with(['(', '（']);
    let text = text.trim_start_matches(['(', '（']);
    let first = half_width(text.chars().next()?);
    let letter = first.to_ascii_uppercase();
    if !('A'..='H').contains(&letter) {
        return None;
    }
    let rest = &text[text.chars().next()?.len_utf8()..];
    if rest.is_empty() {
        return (!is_open).then_some(Answer::Choice { letter, content: None });
    }
    let after = rest.strip_prefix([')', '）', '.', '、', ':', '：'])?;
    if is_open && !rest.starts_with([')', '）']) {
        return None;
    }
    let after = after.trim_start_matches(['.', ':', '、']).trim();
    if after.is_empty() {
        return Some(Answer::Choice { letter, content: None });
    }
    // Only capital letters name choices before a text: `a: 5` is a ratio's or a name's beginning.
    (first.is_ascii_uppercase()
        && rest
            .chars()
            .nth(1)
            .is_some_and(|c| c.is_whitespace() || is_open || rest.starts_with(['.', ')', '、'])))
    .then(|| {
        let content = read_content(after);
        Answer::Choice { letter, content: Some(Box::new(content)) }
    })
}

fn read_content(text: &str) -> Answer {
    if let Some(value) = spelled_number(text) {
        return Answer::Quantity(Quantity {
            name: None,
            value: Expression::Number(value),
            unit: None,
        });
    }
    mathematics(text).unwrap_or_else(|| Answer::Text(plain(text)))
}

/// What LaTeX puts around text.
const TEXT_COMMANDS: &[&str] = &[
    "\\text{",
    "\\textbf{",
    "\\textit{",
    "\\textrm{",
    "\\mathrm{",
    "\\mathbf{",
    "\\mbox{",
    "\\boxed{",
];

/// Drops dollar signs and text commands around the whole text.
fn without_commands(text: &str) -> &str {
    let mut text = text;
    loop {
        let shorter = text.trim().trim_matches('$');
        let inside = TEXT_COMMANDS
            .iter()
            .find_map(|command| shorter.strip_prefix(command)?.strip_suffix('}'));
        let shorter = inside
            .filter(|inside| !inside.contains(['{', '}']) || inside.starts_with('\\'))
            .unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// Text in lower case, white space made single, without article, ornament or LaTeX around it.
fn plain(text: &str) -> String {
    let text = without_ornament(without_commands(without_ornament(text)));
    let mut words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if words.len() > 1 && matches!(words[0].as_str(), "a" | "an" | "the") {
        words.remove(0);
    }
    match words.join(" ").as_str() {
        "true" | "yes" => "yes".to_owned(),
        "false" | "no" => "no".to_owned(),
        other => other.to_owned(),
    }
}

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] =
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// `three`, `twenty-one`, `one hundred`, `half`.
fn spelled_number(text: &str) -> Option<Rational> {
    if text.len() > 40 || !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let lower = text.to_ascii_lowercase().replace('-', " ");
    let words: Vec<&str> =
        lower.split(' ').filter(|word| !word.is_empty() && *word != "and").collect();
    let one = |word: &str| ONES.iter().position(|one| *one == word).map(|value| value as i128);
    let ten =
        |word: &str| TENS.iter().position(|ten| *ten == word).map(|value| (value as i128 + 2) * 10);
    let below_hundred = |words: &[&str]| match words {
        [] => Some(0),
        [word] => one(word).or_else(|| ten(word)),
        [tens, ones] => Some(ten(tens)? + one(ones).filter(|ones| (1..10).contains(ones))?),
        _ => None,
    };
    let value = match words.as_slice() {
        [] => return None,
        ["half"] | ["one" | "a", "half"] => return Rational::new(1, 2),
        ["hundred"] => 100,
        [hundreds, "hundred", rest @ ..] => {
            let hundreds = if *hundreds == "a" { 1 } else { one(hundreds)? };
            hundreds * 100 + below_hundred(rest)?
        }
        words => below_hundred(words)?,
    };
    Some(Rational::integer(value))
}
