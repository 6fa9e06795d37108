//! What math-verify does to LaTeX before it parses it: commands made uniform, units dropped, malformed fractions corrected.
//! Not here: boxes (`boxed`); the units (`unit_words`); what is malformed (`malformed`); the grammar (`latex_parser`).
//!
//! After `math_normalization.py` of `latex2sympy2_extended` 1.11 (its regular expressions written out), in its order. Left
//! out: matrices and `(n)_{k}`, which answers about figures do not contain.

use super::malformed::mended;
use super::unit_words::without_units;
use crate::format::is_python_whitespace;

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
