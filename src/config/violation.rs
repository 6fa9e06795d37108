//! A value outside its range, as a section sees it: the key, what stands there, what may.
//! Not here: file and line, which a section does not know (`document` adds them).

use std::borrow::Cow;
use std::fmt::Display;

/// A value that breaks a rule of its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Dotted name, `section.key`.
    pub(super) key: Cow<'static, str>,
    /// The value as the user would write it.
    pub(super) found: String,
    /// The rule, to be read after "expected".
    pub(super) expected: String,
    /// What to do.
    pub(super) hint: String,
}

/// `Ok` where the rule holds, else the violation.
pub(super) fn require(
    holds: bool,
    key: impl Into<Cow<'static, str>>,
    found: impl Display,
    expected: &str,
    hint: &str,
) -> Result<(), Violation> {
    if holds {
        return Ok(());
    }
    let (found, expected, hint) = (found.to_string(), expected.to_owned(), hint.to_owned());
    Err(Violation { key: key.into(), found, expected, hint })
}

/// A count from one to `most`.
pub(super) fn count(
    key: &'static str,
    found: usize,
    most: usize,
    hint: &str,
) -> Result<(), Violation> {
    let expected = format!("a whole number from 1 to {most}");
    require((1..=most).contains(&found), key, found, &expected, hint)
}

/// A finite number of at least zero.
pub(super) fn not_negative(
    key: impl Into<Cow<'static, str>>,
    found: f64,
    hint: &str,
) -> Result<(), Violation> {
    require(found.is_finite() && found >= 0.0, key, found, "a finite number of at least 0", hint)
}

/// A finite number above zero.
pub(super) fn positive(key: &'static str, found: f64, hint: &str) -> Result<(), Violation> {
    require(found.is_finite() && found > 0.0, key, found, "a finite number above 0", hint)
}

/// A number from zero to one, both included.
pub(super) fn fraction(key: &'static str, found: f64, hint: &str) -> Result<(), Violation> {
    require((0.0..=1.0).contains(&found), key, found, "a number from 0 to 1", hint)
}
