//! An answer as tokens, LaTeX and Unicode spellings made one.
//! Not here: what may stand beside what (`parse`); sentences around the answer (`read`).

use super::digits::{long_decimal, scientific, take_digits, take_groups};
use super::spellings::{COMMANDS, FRACTIONS, SPACING, TRANSPARENT};
use crate::algebra::Rational;

/// The most tokens an answer may have.
pub(super) const MAX_TOKENS: usize = 160;

/// A token and whether white space stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) is_apart: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A number without sign.
    Number { value: Rational, places: Option<i32> },
    /// Letters that stand together.
    Word(String),
    /// Everything else, in one spelling.
    Sign(Sign),
}

/// Signs and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    PlusMinus,
    Times,
    Over,
    Colon,
    Caret,
    Underscore,
    Open(Bracket),
    Close(Bracket),
    Bar,
    Comma,
    Semicolon,
    Equal,
    Approximate,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Element,
    Factorial,
    Root,
    Fraction,
    Pi,
    Infinity,
    Degree,
    Percent,
    /// ∠ and △, which belong to a name.
    Figure,
}

/// Brackets by their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bracket {
    Round,
    Square,
    /// Braces that group.
    Brace,
    /// Braces that make a set, `\{`.
    Set,
}

/// The tokens of an answer; none if a character or command has no place in one, or there are too many.
pub(super) fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut lexer = Lexer { rest: text, tokens: Vec::new(), braces: Vec::new(), is_apart: false };
    while let Some(first) = lexer.rest.chars().next() {
        if lexer.tokens.len() >= MAX_TOKENS {
            return None;
        }
        lexer.step(first)?;
    }
    lexer.braces.is_empty().then_some(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
    /// Whether each open brace is to be seen by the parser.
    braces: Vec<bool>,
    is_apart: bool,
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, is_apart: self.is_apart });
        self.is_apart = false;
    }

    fn step(&mut self, first: char) -> Option<()> {
        let first = half_width(first);
        if first.is_ascii_digit() || first == '.' {
            return self.number();
        }
        let length = self.rest.chars().next()?.len_utf8();
        if first == '\\' {
            self.rest = &self.rest[1..];
            return self.command();
        }
        if first.is_alphabetic() && first != 'π' && first != 'º' && !is_superscript(first) {
            self.word();
            return Some(());
        }
        let after = &self.rest[length..];
        self.rest = after;
        match first {
            '{' => self.open_brace(true),
            '}' => {
                if self.braces.pop()? {
                    self.push(Kind::Sign(Sign::Close(Bracket::Brace)));
                } else {
                    self.is_apart = true;
                }
            }
            // Dollar signs delimit mathematics or name a currency; stars, back-ticks and quotes are ornament.
            '$' | '€' | '£' | '¥' | '`' | '"' | '“' | '”' | '\u{200b}' | '…' | '~' => {
                self.is_apart = true;
            }
            '*' if after.starts_with('*') => {
                self.rest = &after[1..];
                // `2**3` is a power, `**2**` a bold number.
                let is_power = matches!(
                    self.tokens.last().map(|token| &token.kind),
                    Some(Kind::Number { .. })
                ) && self.rest.starts_with(|c: char| c.is_ascii_digit());
                if is_power {
                    self.push(Kind::Sign(Sign::Caret));
                } else {
                    self.is_apart = true;
                }
            }
            '<' if after.starts_with('=') => self.double(Sign::LessOrEqual),
            '>' if after.starts_with('=') => self.double(Sign::GreaterOrEqual),
            '!' if after.starts_with('=') => self.double(Sign::NotEqual),
            '=' if after.starts_with('=') => self.double(Sign::Equal),
            _ if first.is_whitespace() => self.is_apart = true,
            _ => return self.sign(first),
        }
        Some(())
    }

    fn double(&mut self, sign: Sign) {
        self.rest = &self.rest[1..];
        self.push(Kind::Sign(sign));
    }

    fn open_brace(&mut self, is_seen: bool) {
        self.braces.push(is_seen);
        if is_seen {
            self.push(Kind::Sign(Sign::Open(Bracket::Brace)));
        } else {
            self.is_apart = true;
        }
    }

    fn sign(&mut self, first: char) -> Option<()> {
        if let Some(digit) = superscript(first) {
            self.push(Kind::Sign(Sign::Caret));
            self.push(Kind::Number { value: Rational::integer(digit), places: None });
            return Some(());
        }
        if let Some((_, (above, below))) = FRACTIONS.iter().find(|(c, _)| *c == first) {
            self.push(Kind::Number { value: Rational::new(*above, *below)?, places: None });
            return Some(());
        }
        let sign = match first {
            '+' => Sign::Plus,
            '-' | '−' | '–' | '—' | '‐' | '‑' => Sign::Minus,
            '±' => Sign::PlusMinus,
            '*' | '×' | '·' | '⋅' | '∙' | '•' => Sign::Times,
            '/' | '÷' | '∕' | '⁄' => Sign::Over,
            ':' | '∶' => Sign::Colon,
            '^' => Sign::Caret,
            '_' => Sign::Underscore,
            '(' => Sign::Open(Bracket::Round),
            ')' => Sign::Close(Bracket::Round),
            '[' => Sign::Open(Bracket::Square),
            ']' => Sign::Close(Bracket::Square),
            '|' => Sign::Bar,
            ',' | '、' => Sign::Comma,
            ';' => Sign::Semicolon,
            '=' => Sign::Equal,
            '≈' | '≃' | '≅' => Sign::Approximate,
            '≠' => Sign::NotEqual,
            '<' => Sign::Less,
            '≤' | '⩽' => Sign::LessOrEqual,
            '>' => Sign::Greater,
            '≥' | '⩾' => Sign::GreaterOrEqual,
            '∈' => Sign::Element,
            '!' => Sign::Factorial,
            '√' => Sign::Root,
            'π' => Sign::Pi,
            '∞' => Sign::Infinity,
            '°' | 'º' | '˚' => Sign::Degree,
            '%' => Sign::Percent,
            '∠' | '△' | '▱' | '⊙' => Sign::Figure,
            _ => return None,
        };
        self.push(Kind::Sign(sign));
        Some(())
    }

    fn word(&mut self) {
        let is_ascii = |c: char| half_width(c).is_ascii_alphabetic();
        let first_is_ascii = self.rest.starts_with(is_ascii);
        // Letters of one script stand together: `cm` and `海里`, but not `x米`.
        let end = self
            .rest
            .find(|c: char| {
                !c.is_alphabetic()
                    || is_ascii(c) != first_is_ascii
                    || c == 'π'
                    || is_superscript(c)
                    || c == 'º'
            })
            .unwrap_or(self.rest.len());
        let word: String = self.rest[..end].chars().map(half_width).collect();
        self.rest = &self.rest[end..];
        if word.eq_ignore_ascii_case("pi") {
            self.push(Kind::Sign(Sign::Pi));
        } else if word == "sqrt" {
            self.push(Kind::Sign(Sign::Root));
        } else {
            self.push(Kind::Word(word));
        }
    }

    /// What follows a backslash.
    fn command(&mut self) -> Option<()> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        if name.is_empty() {
            let first = self.rest.chars().next()?;
            self.rest = &self.rest[first.len_utf8()..];
            match first {
                '{' => self.push(Kind::Sign(Sign::Open(Bracket::Set))),
                '}' => self.push(Kind::Sign(Sign::Close(Bracket::Set))),
                '%' => self.push(Kind::Sign(Sign::Percent)),
                '|' => self.push(Kind::Sign(Sign::Bar)),
                // Thin spaces, and the delimiters of mathematics.
                ',' | ';' | ':' | '!' | ' ' | '(' | ')' | '[' | ']' | '$' | '\\' => {
                    self.is_apart = true;
                }
                _ => return None,
            }
            return Some(());
        }
        self.rest = &self.rest[end..];
        if TRANSPARENT.contains(&name) {
            let inside = self.rest.trim_start();
            if let Some(inside) = inside.strip_prefix('{') {
                self.rest = inside;
                self.open_brace(false);
            }
            self.is_apart = true;
        } else if SPACING.contains(&name) {
            self.is_apart = true;
        } else if let Some((_, sign)) = COMMANDS.iter().find(|(command, _)| *command == name) {
            self.push(Kind::Sign(*sign));
        } else {
            // A Greek letter, a function: known by its name.
            self.push(Kind::Word(name.to_owned()));
        }
        Some(())
    }

    /// `12`, `1,234,567`, `1.50`, `.5`, `1.5e3`.
    fn number(&mut self) -> Option<()> {
        let mut digits = String::new();
        let mut rest = self.rest;
        take_digits(&mut rest, &mut digits);
        take_groups(&mut rest, &mut digits);
        let mut places = None;
        if let Some(mut fraction) = rest.strip_prefix('.') {
            let n_before = digits.len();
            let mut decimals = String::new();
            take_digits(&mut fraction, &mut decimals);
            if !decimals.is_empty() {
                places = Some(decimals.len() as i32);
                digits = format!("{}.{decimals}", &digits[..n_before]);
                rest = fraction;
            } else if n_before > 0 {
                // A full stop, or a point that nothing follows.
                rest = fraction.trim_start_matches('.');
            } else {
                // Dots alone.
                self.rest = fraction.trim_start_matches('.');
                self.is_apart = true;
                return (self.rest.len() < fraction.len() || !self.tokens.is_empty()).then_some(());
            }
        }
        if digits.is_empty() {
            return None;
        }
        let mut value = long_decimal(&digits)?;
        if let Some((exponent, after)) = scientific(rest) {
            value = value.multiply(Rational::integer(10).power(exponent)?)?;
            places = Some(places.unwrap_or(0) - exponent);
            rest = after;
        }
        self.rest = rest;
        self.push(Kind::Number { value, places });
        Some(())
    }
}

/// Full-width forms as their ASCII twins.
pub(super) fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        '。' => '.',
        other => other,
    }
}

fn superscript(c: char) -> Option<i128> {
    Some(match c {
        '⁰' => 0,
        '¹' => 1,
        '²' => 2,
        '³' => 3,
        '⁴'..='⁹' => c as i128 - '⁴' as i128 + 4,
        _ => return None,
    })
}

fn is_superscript(c: char) -> bool {
    superscript(c).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Option<Vec<Kind>> {
        Some(tokenize(text)?.into_iter().map(|token| token.kind).collect())
    }

    fn number(value: i128) -> Kind {
        Kind::Number { value: Rational::integer(value), places: None }
    }

    #[test]
    fn one_number_has_many_spellings() {
        for text in [
            "1234",
            "1,234",
            "1 234",
            "1{,}234",
            "1\\,234",
            "１２３４",
            "$1234$",
            "\\boxed{1234}",
            "1234.",
        ] {
            assert_eq!(kinds(text), Some(vec![number(1234)]), "{text}");
        }
        assert_eq!(kinds("1,23"), Some(vec![number(1), Kind::Sign(Sign::Comma), number(23)]));
        assert_eq!(kinds("1.5e3"), kinds("1.5E+3"));
    }

    #[test]
    fn latex_and_unicode_are_one() {
        assert_eq!(kinds("2√{3}"), kinds("2\\sqrt{3}"));
        assert_eq!(kinds("5π"), kinds("5\\pi"));
        assert_eq!(kinds("cm²"), kinds("cm^2"));
        assert_eq!(kinds("3 \\text{cm}"), kinds("3 cm"));
        assert_eq!(
            kinds("½"),
            Some(vec![Kind::Number { value: Rational::new(1, 2).unwrap(), places: None }])
        );
    }

    #[test]
    fn strangers_are_refused() {
        for text in ["{", "}", "\u{1}", "5 # 6"] {
            assert_eq!(kinds(text), None, "{text}");
        }
        assert_eq!(kinds(&"1+".repeat(MAX_TOKENS)), None);
    }
}
