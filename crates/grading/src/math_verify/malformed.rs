//! What models write instead of LaTeX, corrected as math-verify corrects it.
//! Not here: the other steps of normalization (`normalize`).

use crate::format::is_python_whitespace;

/// Corrects what models write instead of LaTeX: `^(2)`, `sqrt(3)`, `\frac12`, `\sqrt3`, `3/4`.
pub(super) fn mended(text: &str) -> String {
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
        if let (Some(inside), Some(close)) = (inside, close) {
            written.push_str(&rest[..at]);
            written.push_str(new);
            written.push_str(&inside[..close]);
            written.push('}');
            rest = &inside[close + 1..];
        } else {
            written.push_str(&rest[..at + name.len()]);
            rest = after;
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
