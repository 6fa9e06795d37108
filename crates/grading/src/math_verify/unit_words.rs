//! The units math-verify drops from the end of LaTeX before it parses it.
//! Not here: the other steps of normalization (`normalize`); units as we read them (`answer::units`).

use crate::format::is_python_whitespace;

/// The words that are dropped from the end as units; in them a point stands for any character, since math-verify uses
/// them as a regular expression. Surprises among them: `o`, `a .`, `per`, `prime`, `number`, and `c` or `d`, so that
/// the LaTeX `3 d` is 3.
const UNITS: &[&str] = &[
    "integerpoint",
    "feet",
    "sue",
    "digit",
    "pound",
    "meal",
    "edge",
    "student",
    "children ticket",
    "multiple",
    "east",
    "degree",
    "mph",
    "kmph",
    "ft",
    "m square",
    " m east",
    "sq m",
    "deg",
    "mile",
    "q .",
    "monkey",
    "prime",
    "ratio",
    "profit of rs",
    "rd",
    "o",
    "gm",
    "p . m",
    "lb",
    "tile",
    "per",
    "dm",
    "lt",
    "gain",
    "ab",
    "way",
    "west",
    "a .",
    "b .",
    "c .",
    "d .",
    "e .",
    "f .",
    "g .",
    "h .",
    "t",
    "h",
    "no change",
    "men",
    "soldier",
    "pie",
    "bc",
    "excess",
    "st",
    "inches",
    "noon",
    "cent",
    "by",
    "gal",
    "kmh",
    "c",
    "acre",
    "rise",
    "a . m",
    "th",
    "π r 2",
    "sq",
    "mark",
    "l",
    "toy",
    "coin",
    "sq . m",
    "gallon",
    "° f",
    "profit",
    "minw",
    "yr",
    "women",
    "am",
    "pm",
    "hr",
    "cu cm",
    "square",
    "v â € ™",
    "are",
    "rupee",
    "rounds",
    "cubic",
    "cc",
    "mtr",
    "s",
    "ohm",
    "number",
    "kmph",
    "day",
    "hour",
    "minute",
    "min",
    "second",
    "man",
    "woman",
    "sec",
    "cube",
    "mt",
    "sq inch",
    "mp",
    "∏ cm ³",
    "hectare",
    "more",
    "sec",
    "unit",
    "cu . m",
    "cm 2",
    "rs .",
    "rs",
    "kg",
    "g",
    "month",
    "km",
    "m",
    "cm",
    "mm",
    "apple",
    "liter",
    "loss",
    "yard",
    "pure",
    "year",
    "increase",
    "decrease",
    "d",
    "less",
    "Surface",
    "litre",
    "pi sq m",
    "s .",
    "metre",
    "meter",
    "inch",
];

/// The most characters a unit with its plural has.
const MAX_UNIT_LENGTH: usize = 17;

/// `5 cm` and `5 \\text{ cm}^2` as 5; what is nothing but a unit stays.
pub(super) fn without_units(text: String) -> String {
    let mut text = text;
    if let Some(shorter) = without_text_unit(&text) {
        text = shorter;
    }
    for _ in 0..2 {
        if let Some(shorter) = without_word_unit(&text) {
            text = shorter;
        }
    }
    text
}

/// Drops a last `\text{...}` or `\mbox{...}` with its superscript: `(\\(?:text|mbox){.*?})(\^\d|\{\^\d\})?$`.
fn without_text_unit(text: &str) -> Option<String> {
    let opens = |at: &usize| {
        ["\\text{", "\\mbox{"]
            .iter()
            .any(|open| text.get(*at..).is_some_and(|rest| rest.starts_with(open)))
    };
    let start = (0..text.len()).filter(opens).find(|start| {
        // The lazy contents stretch from brace to brace until the end follows, but not over a line.
        let rest = &text[*start..];
        let line = rest.split('\n').next().unwrap_or_default();
        line.match_indices('}').any(|(at, _)| {
            let after = &rest[at + 1..];
            let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            let bare = after.strip_prefix('^').filter(|rest| is_digit(rest.chars().next()));
            let braced = after.strip_prefix("{^").filter(|rest| is_digit(rest.chars().next()));
            let superscript =
                bare.map(|rest| &rest[1..]).or(braced.and_then(|rest| rest[1..].strip_prefix('}')));
            [superscript, Some(after)]
                .into_iter()
                .flatten()
                .any(|end| end.is_empty() || end == "\n")
        })
    })?;
    let shorter = text[..start].trim_matches(is_python_whitespace);
    (!shorter.is_empty()).then(|| shorter.to_owned())
}

/// Drops a last word that counts as a unit, after a digit, a closing brace or white space.
fn without_word_unit(text: &str) -> Option<String> {
    let trimmed = text.trim_end_matches(is_python_whitespace);
    let chars: Vec<(usize, char)> = trimmed.char_indices().collect();
    let first = chars.len().saturating_sub(MAX_UNIT_LENGTH + 1);
    // The leftmost character after which nothing but white space and a unit follows; white space may come before.
    let mut starts: Vec<usize> = (first..chars.len()).collect();
    let gap = chars[..first].iter().rev().take_while(|(_, c)| is_python_whitespace(*c)).count();
    starts.splice(0..0, (first - gap).saturating_sub(1)..first);
    for start in starts {
        let (at, c) = chars[start];
        if !(c.is_ascii_digit() || c == '}' || is_python_whitespace(c)) {
            continue;
        }
        let rest = &trimmed[at + c.len_utf8()..];
        let word = rest.trim_start_matches(is_python_whitespace);
        if is_unit(word) || is_unit(rest) {
            return Some(trimmed[..at + c.len_utf8()].to_owned());
        }
    }
    None
}

fn is_unit(text: &str) -> bool {
    if text.is_empty() || text.chars().count() > MAX_UNIT_LENGTH {
        return false;
    }
    let matches = |text: &str| {
        UNITS.iter().any(|unit| {
            text.chars().count() == unit.chars().count()
                && text
                    .chars()
                    .zip(unit.chars())
                    .all(|(c, expected)| c == expected || expected == '.')
        })
    };
    let plural = |ending| text.strip_suffix(ending).filter(|text| !text.is_empty());
    matches(text) || plural("s").is_some_and(matches) || plural("es").is_some_and(matches)
}
