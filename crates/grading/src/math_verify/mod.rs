//! math-verify 0.9 with its default settings, re-implemented for the texts that models write about figures.
//!
//! In reading order: `extract` takes the answer out of a text with the help of `scan` (numbers), `environment`
//! (LaTeX) and `boxed`; `understand` hands it on: LaTeX to `normalize` (with `unit_words` and `malformed`), `latex_lexer`
//! (with `latex_spellings`), `latex_parser` and `latex_formula`, plain arithmetic to `python_expression`; `value` is what they
//! make; `compare` says whether two of them are equal.
//! Not here: which texts R1-V compares (`rule`); our own reading of answers (`answer`).
//!
//! It exists to reproduce published scores, surprises included; each is named in the header of the file it lives in.
//! Departures from the original, all where an answer is out of the ordinary:
//! 1. Only the last [`MAX_CHARS`] characters are read. math-verify gives up on long texts after five seconds instead.
//! 2. At most 400 finds of a text are parsed, and LaTeX of at most 1000 bytes; matrices, integrals, sums, limits and unions of sets never are.
//! 3. Numbers beyond 128 bits are compared by their digits.
//! 4. Where sympy simplifies, normal forms decide (`algebra::normal_form`); an inequality is not solved for its set.

mod boxed;
mod compare;
mod environment;
mod extract;
mod latex_formula;
mod latex_lexer;
mod latex_parser;
mod latex_spellings;
mod malformed;
mod normalize;
mod python_expression;
mod scan;
mod understand;
mod unit_words;
mod value;

pub use extract::Extraction;

/// How many characters of a text are read, from its end.
pub const MAX_CHARS: usize = 1 << 14;

/// Finds and parses the answer in a text: math-verify's `parse`.
pub fn parse(text: &str) -> Extraction {
    let chars: Vec<char> = if text.len() > MAX_CHARS {
        let mut last: Vec<char> = text.chars().rev().take(MAX_CHARS).collect();
        last.reverse();
        last
    } else {
        text.chars().collect()
    };
    extract::extract(&chars)
}

/// Whether two parsed answers are equal: math-verify's `verify`, which does not treat its sides alike.
pub fn verify(gold: &Extraction, target: &Extraction) -> bool {
    let values_equal = match (&gold.value, &target.value) {
        (Some(gold), Some(target)) => compare::are_equal(gold, target),
        _ => false,
    };
    let texts_equal = match (&gold.text, &target.text) {
        (Some(gold), Some(target)) => !gold.trim().is_empty() && gold.trim() == target.trim(),
        _ => false,
    };
    values_equal || texts_equal
}

impl Extraction {
    /// Whether anything was found.
    pub fn is_empty(&self) -> bool {
        self.value.is_none() && self.text.is_none()
    }

    /// The first find, as text, for people to read.
    pub fn as_text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What was parsed, for people to read.
    pub fn parsed(&self) -> Option<String> {
        self.value.as_ref().map(|value| format!("{value:?}"))
    }
}
