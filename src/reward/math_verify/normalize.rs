//! What math-verify does to LaTeX before it parses it: commands made uniform, units dropped, malformed fractions mended.
//! Not here: boxes (`boxed`); the grammar (`latex_parser`).
//!
//! After `math_normalization.py` of latex2sympy2_extended 1.11 (its regular expressions written out), in its order. Left
//! out: matrices and `(n)_{k}`, which answers about figures do not contain.

use super::super::format::is_python_whitespace;

/// LaTeX longer than this is not parsed.
pub(super) const MAX_LENGTH: usize = 1000;

/// The text that is parsed, and that stands in for the answer where parsing fails.
pub(super) fn normalize(text: &str) -> String {
    let mut text = basic(text);
    text = without_units(text);
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if text == "0.5" {
        "\\frac{1}{2}".clone_into(&mut text);
    }
    mended(&text).trim_matches(is_python_whitespace).to_owned()
}

fn basic(text: &str) -> String {
    let text =
        text.replace("\\mathrm{T}", "T").replace("\\mathrm{d}", "d").replace("{\\rm d}", "d");
    let text = rewrite(&text, sizing);
    let text = rewrite(&text, removal);
    let text = rewrite(&text, replacement).replace(['\n', '\t'], " ");
    if text.contains("matrix") { text } else { rewrite(&text, doubled_backslash) }
}

/// A rule of rewriting: at an offset, how many bytes go and what comes in their place.
type Rule = fn(&str, usize) -> Option<(usize, &'static str)>;

/// Applies a rule from left to right, never to what it wrote itself.
fn rewrite(text: &str, rule: Rule) -> String {
    let mut written = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if let Some((length, new)) = rule(text, at) {
            written.push_str(new);
            at += length;
        } else {
            written.push(first);
            at += first.len_utf8();
        }
    }
    written
}

/// `\left(` is `(`.
fn sizing(text: &str, at: usize) -> Option<(usize, &'static str)> {
    const LEFT: [&str; 16] = [
        "\\{",
        "{",
        "\\|",
        "|",
        "[",
        "(",
        "\\rbracl",
        "\\lgroup",
        "\\lbrace",
        "\\lbrack",
        "\\vert",
        "\\lvert",
        "\\lceil",
        "\\lfloor",
        "\\langle",
        "\\llcorner",
    ];
    const RIGHT: [&str; 15] = [
        "\\}",
        "}",
        "\\|",
        "|",
        "]",
        ")",
        "\\rbrack",
        "\\rgroup",
        "\\rbrace",
        "\\vert",
        "\\rvert",
        "\\rceil",
        "\\rfloor",
        "\\rangle",
        "\\lrcorner",
    ];
    let rest = &text[at..];
    for (command, delimiters) in
        [("\\left", &LEFT[..]), ("\\mleft", &LEFT), ("\\right", &RIGHT), ("\\mright", &RIGHT)]
    {
        if let Some(after) = rest.strip_prefix(command) {
            let delimiter = delimiters.iter().find(|delimiter| after.starts_with(**delimiter))?;
            return Some((command.len() + delimiter.len(), delimiter));
        }
    }
    None
}

/// What is dropped: dollar signs, quotes, empty text.
fn removal(text: &str, at: usize) -> Option<(usize, &'static str)> {
    let rest = &text[at..];
    let after_space = |text: &str| text.len() - text.trim_start_matches(is_python_whitespace).len();
    let length = match rest.as_bytes().first()? {
        b'$' => 1,
        b'"' | b'\'' if !text[..at].ends_with('\\') => 1,
        b'\\' => {
            if rest.starts_with("\\mathrm{th}") {
                "\\mathrm{th}".len()
            } else if let Some(after) = rest.strip_prefix("\\!") {
                2 + after_space(after)
            } else if rest.starts_with("\\$") {
                2
            } else if rest.starts_with("\\displaystyle") {
                "\\displaystyle".len()
            } else {
                let after = rest.strip_prefix("\\text")?;
                let open = after_space(after);
                let inside = after[open..].strip_prefix('{')?;
                let close = after_space(inside);
                inside[close..].starts_with('}').then_some("\\text".len() + open + close + 2)?
            }
        }
        _ => return None,
    };
    Some((length, ""))
}

/// Commands and words with one spelling for many.
fn replacement(text: &str, at: usize) -> Option<(usize, &'static str)> {
    const COMMANDS: [(&str, &str); 14] = [
        ("\\mathrm", "\\text"),
        ("\\mathit", "\\text"),
        ("\\mathbf", "\\text"),
        ("\\textnormal", "\\text"),
        ("\\textbf", "\\text"),
        ("\\textit", "\\text"),
        ("\\textrm", "\\text"),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\cfrac", "\\frac"),
        ("{.", "{0."),
        ("~=", "\\approx"),
        ("infinity", "\\infty"),
        (" sqrt", "\\sqrt"),
    ];
    let rest = &text[at..];
    let first = rest.chars().next()?;
    if is_python_whitespace(first) && rest[first.len_utf8()..].starts_with('.') {
        return Some((first.len_utf8() + 1, " 0."));
    }
    let fixed = COMMANDS.iter().find(|(old, _)| rest.starts_with(old));
    if let Some((old, new)) = fixed.filter(|(old, _)| *old != " sqrt") {
        return Some((old.len(), new));
    }
    separator(text, at)
        .or_else(|| {
            // A backslash before white space, `\ `, is a space.
            let space =
                rest.strip_prefix('\\')?.chars().next().filter(|c| is_python_whitespace(*c))?;
            (!text[..at].ends_with('\\')).then_some((1 + space.len_utf8(), " "))
        })
        .or_else(|| {
            let dots = rest.strip_prefix(',').unwrap_or(rest);
            dots.starts_with("\\ldots").then_some((rest.len() - dots.len() + 6, " "))
        })
        .or_else(|| percent(text, at))
        .or_else(|| {
            let is_infinity = rest.starts_with("inf") && !text[..at].ends_with('\\');
            is_infinity.then_some((3, "\\infty"))
        })
        .or_else(|| fixed.map(|(old, new)| (old.len(), *new)))
}

/// `{,}`, "and" and "or" are commas.
fn separator(text: &str, at: usize) -> Option<(usize, &'static str)> {
    let rest = &text[at..];
    let skip = |text: &'_ str| text.len() - text.trim_start_matches(is_python_whitespace).len();
    let start = skip(rest);
    if let Some(inside) = rest[start..].strip_prefix('{') {
        let comma = skip(inside);
        if let Some(after) = inside[comma..].strip_prefix(',') {
            let close = skip(after);
            if after[close..].starts_with('}') {
                return Some((start + 1 + comma + 1 + close + 1, ","));
            }
        }
    }
    let after_comma = usize::from(rest.starts_with(','));
    let word_at = after_comma + skip(&rest[after_comma..]);
    let word = &rest[word_at..];
    let is_letter_before = text[..at].ends_with(|c: char| c.is_ascii_alphabetic());
    for conjunction in ["and", "or"] {
        if let Some(after) = word.strip_prefix(conjunction)
            && !is_letter_before
            && !after.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Some((word_at + conjunction.len(), ","));
        }
        if let Some(inside) = word.strip_prefix("\\text{") {
            let start = skip(inside);
            if let Some(after) = inside[start..].strip_prefix(conjunction) {
                let close = skip(after);
                if after[close..].starts_with('}') {
                    return Some((word_at + 6 + start + conjunction.len() + close + 1, ","));
                }
            }
        }
    }
    None
}

/// "percent" and its like are percent signs.
fn percent(text: &str, at: usize) -> Option<(usize, &'static str)> {
    let rest = &text[at..];
    let word = rest.trim_start_matches(is_python_whitespace);
    let skipped = rest.len() - word.len();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for name in ["percentage", "percent", "pct"] {
        if let Some(after) = word.strip_prefix(name)
            && !text[..at + skipped].ends_with(is_word)
            && !after.starts_with(is_word)
        {
            return Some((skipped + name.len(), "\\%"));
        }
        if let Some(inside) = rest.strip_prefix("\\text{")
            && inside.strip_prefix(name).is_some_and(|after| after.starts_with('}'))
        {
            return Some(("\\text{}".len() + name.len(), "%"));
        }
    }
    None
}

/// `\\frac` is `\frac`.
fn doubled_backslash(text: &str, at: usize) -> Option<(usize, &'static str)> {
    let after = text[at..].strip_prefix("\\\\")?;
    after.starts_with(|c: char| c.is_ascii_alphabetic()).then_some((2, "\\"))
}

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

fn without_units(text: String) -> String {
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

/// Mends what models write instead of LaTeX: `^(2)`, `sqrt(3)`, `\frac12`, `\sqrt3`, `3/4`.
fn mended(text: &str) -> String {
    let text = parentheses_as_braces(text, "^", "^{");
    // Of `\sqrt(3)` this leaves `\\sqrt{3}`, which the parser refuses: the backslash is not part of the pattern.
    let text = parentheses_as_braces(&text, "sqrt", "\\sqrt{");
    let text = two_digits(&text, "\\frac");
    let text = two_digits(&text, "\\log_");
    let text = half_braced_fraction(&text);
    let text = digit_root(&text).replace(" sqrt", "\\sqrt");
    let text = braced_root(&text);
    whole_slash(braced_fractions(text))
}

/// `NAME(...)` becomes `NEW...}`: `NAME\s?\((.*?)\)`.
fn parentheses_as_braces(text: &str, name: &str, new: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let after = &rest[at + name.len()..];
        let inside = after
            .strip_prefix('(')
            .or_else(|| after.strip_prefix(is_python_whitespace)?.strip_prefix('('));
        let close = inside.and_then(|inside| inside.split('\n').next()?.find(')'));
        match (inside, close) {
            (Some(inside), Some(close)) => {
                written.push_str(&rest[..at]);
                written.push_str(new);
                written.push_str(&inside[..close]);
                written.push('}');
                rest = &inside[close + 1..];
            }
            _ => {
                written.push_str(&rest[..at + name.len()]);
                rest = after;
            }
        }
    }
    written + rest
}

/// `\frac12` becomes `\frac{1}{2}`: `NAME\s?(\d)\s?(\d+)`.
fn two_digits(text: &str, name: &str) -> String {
    substitute(text, name, |after| {
        let (first, rest) = digit(skip_one_space(after))?;
        let rest = skip_one_space(rest);
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        (length > 0).then(|| (format!("{{{first}}}{{{}}}", &rest[..length]), &rest[length..]))
    })
}

/// `\frac{a}2` and `\frac1{b}`.
fn half_braced_fraction(text: &str) -> String {
    let text = substitute(text, "\\frac", |after| {
        let inside = skip_one_space(after).strip_prefix('{')?;
        let line = inside.split('\n').next()?;
        // The first closing brace that a digit follows.
        line.match_indices('}').find_map(|(close, _)| {
            let (second, rest) = digit(skip_one_space(&inside[close + 1..]))?;
            Some((format!("{{{}}}{{{second}}}", &inside[..close]), rest))
        })
    });
    substitute(&text, "\\frac", |after| {
        let (first, rest) = digit(skip_one_space(after))?;
        let inside = rest.strip_prefix('{')?;
        let close = inside.split('\n').next()?.find('}')?;
        Some((format!("{{{first}}}{{{}}}", &inside[..close]), &inside[close + 1..]))
    })
}

/// `\sqrt3` becomes `\sqrt{3}`.
fn digit_root(text: &str) -> String {
    substitute(text, "\\sqrt", |after| {
        let (digit, rest) = digit(skip_one_space(after))?;
        Some((format!("{{{digit}}}"), rest))
    })
}

/// Rewrites what follows each `name` where `rule` finds something there.
fn substitute<'a>(
    text: &'a str,
    name: &str,
    rule: impl Fn(&'a str) -> Option<(String, &'a str)>,
) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        written.push_str(&rest[..at + name.len()]);
        rest = &rest[at + name.len()..];
        if let Some((new, after)) = rule(rest) {
            written.push_str(&new);
            rest = after;
        }
    }
    written + rest
}

fn skip_one_space(text: &str) -> &str {
    text.strip_prefix(is_python_whitespace).unwrap_or(text)
}

fn digit(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next().filter(char::is_ascii_digit)?;
    Some((first, &text[1..]))
}

/// `\sqrt x` becomes `\sqrt{x}`: one character, unless a brace or a bracket follows.
fn braced_root(text: &str) -> String {
    let mut parts = text.split("\\sqrt");
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = part.trim_start_matches(is_python_whitespace);
        written.push_str("\\sqrt");
        match part.chars().next() {
            Some(first) if first != '{' && first != '[' => {
                written.extend(['{', first, '}']);
                written.push_str(&part[first.len_utf8()..]);
            }
            _ => written.push_str(part),
        }
    }
    written
}

/// `\frac ab` becomes `\frac{a}{b}`: one character each, unless a brace follows.
fn braced_fractions(text: String) -> String {
    let mut parts = text.split("\\frac");
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let part = part.trim_start_matches(is_python_whitespace);
        written.push_str("\\frac");
        if part.starts_with('{') {
            written.push_str(part);
            continue;
        }
        let mut chars = part.chars();
        let (Some(first), Some(second)) = (chars.next(), chars.next()) else { return text };
        written.extend(['{', first, '}']);
        if second == '{' {
            written.push('{');
        } else {
            written.extend(['{', second, '}']);
        }
        written.push_str(chars.as_str());
    }
    written
}

/// The whole text `3/4` becomes `\frac{3}{4}`, if both are written as Python writes integers.
fn whole_slash(text: String) -> String {
    let is_integer = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain && (text == "0" || !digits.starts_with('0'))
    };
    match text.split_once('/') {
        Some((above, below)) if is_integer(above) && is_integer(below) => {
            format!("\\frac{{{above}}}{{{below}}}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_dropped() {
        for (text, expected) in [
            ("5 cm", "5"),
            ("5 \\text{ cm}^2", "5"),
            ("5\\mathrm{cm}", "5"),
            ("50 degrees", "50"),
            ("3 d", "3"),
            ("x = 5", "x = 5"),
            ("cm", "cm"),
        ] {
            assert_eq!(normalize(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_operators_are_mended() {
        for (text, expected) in [
            ("\\frac12", "\\frac{1}{2}"),
            ("\\dfrac{1}{2}", "\\frac{1}{2}"),
            ("\\sqrt3", "\\sqrt{3}"),
            ("\\sqrt(3)", "\\\\sqrt{3}"),
            ("x^(2)", "x^{2}"),
            ("3/4", "\\frac{3}{4}"),
            ("0.5", "\\frac{1}{2}"),
            (".25", "0.25"),
            ("1{,}000", "1,000"),
            ("3 and 4", "3, 4"),
            ("\\left(1,2\\right)", "(1,2)"),
            ("50 percent", "50\\%"),
        ] {
            assert_eq!(normalize(text), expected, "{text}");
        }
    }
}
