//! The digits of a number: groups of thousands, powers of ten.
//! Not here: what else a number stands among (`lexer`).

use super::lexer::half_width;
use crate::algebra::Rational;

/// The value of digits; places beyond the 30th are dropped.
pub(super) fn long_decimal(digits: &str) -> Option<Rational> {
    let kept = digits.find('.').map_or(digits.len(), |point| digits.len().min(point + 31));
    (0..=kept.saturating_sub(digits.find('.').unwrap_or(kept)))
        .find_map(|n_dropped| Rational::from_decimal(&digits[..kept - n_dropped]))
}

/// Moves digits from the start of `rest` to the end of `digits`.
pub(super) fn take_digits(rest: &mut &str, digits: &mut String) {
    while let Some(first) = rest.chars().next() {
        let digit = half_width(first);
        if !digit.is_ascii_digit() {
            break;
        }
        digits.push(digit);
        *rest = &rest[first.len_utf8()..];
    }
}

/// Groups of three digits after a comma, a space or LaTeX's `{,}` and `\,`, if nothing but groups follows.
pub(super) fn take_groups(rest: &mut &str, digits: &mut String) {
    if digits.is_empty() || digits.len() > 3 || digits.starts_with('0') {
        return;
    }
    for separator in [",", "{,}", "\\,", " ", "\u{a0}", "\u{202f}", "\u{2009}", "，"] {
        let mut after = *rest;
        let mut grouped = String::new();
        while let Some(mut group) = after.strip_prefix(separator) {
            let mut three = String::new();
            take_digits(&mut group, &mut three);
            if three.len() != 3 {
                break;
            }
            grouped.push_str(&three);
            after = group;
        }
        // `1,234,5` is a list.
        let is_number = !grouped.is_empty()
            && !after
                .strip_prefix(separator)
                .is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()));
        if is_number {
            digits.push_str(&grouped);
            *rest = after;
            return;
        }
    }
}

/// `e3`, `E+3`, `e-3` right after a number.
pub(super) fn scientific(rest: &str) -> Option<(i32, &str)> {
    let exponent = rest.strip_prefix(['e', 'E'])?;
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let n_digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=2).contains(&n_digits) {
        return None;
    }
    let length = exponent.len() - unsigned.len() + n_digits;
    let value = exponent[..length].trim_start_matches('+').parse().ok()?;
    Some((value, &exponent[length..]))
}
