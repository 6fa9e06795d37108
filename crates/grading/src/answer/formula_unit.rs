//! The unit behind a formula: `cm`, `square cm`, `m/s`, `km per hour`.
//! Not here: which units there are (`units`); the formula itself (`formula`).

use super::formula::Parser;
use super::lexer::{Bracket, Sign};
use super::units::Unit;

impl Parser<'_> {
    pub(super) fn is_unit_to_the_end(&self) -> bool {
        let mut ahead =
            Parser { tokens: self.tokens, position: self.position, depth: 0, has_degree: false };
        ahead.unit_to_the_end().is_some()
    }

    /// A unit that nothing follows; the position is past it only then.
    pub(super) fn unit_to_the_end(&mut self) -> Option<Unit> {
        let start = self.position;
        let unit = self.unit().filter(|_| self.position == self.tokens.len());
        if unit.is_none() {
            self.position = start;
        }
        unit
    }

    /// `cm`, `cm^2`, `square cm`, `m/s`, `km per hour`; in parentheses, too.
    fn unit(&mut self) -> Option<Unit> {
        if self.take(Sign::Open(Bracket::Round)).is_some() {
            let unit = self.nested(Self::unit)?;
            self.take(Sign::Close(Bracket::Round))?;
            return Some(unit);
        }
        let mut unit = self.unit_power()?;
        loop {
            let is_over =
                self.peek_sign() == Some(Sign::Over) || self.word_at(self.position) == Some("per");
            let is_times = self.peek_sign() == Some(Sign::Times);
            if !is_over && !is_times {
                return Some(unit);
            }
            self.position += 1;
            let next = self.unit_power()?;
            unit = unit.times(next, if is_over { -1 } else { 1 })?;
        }
    }

    fn unit_power(&mut self) -> Option<Unit> {
        let power = match self.word_at(self.position).map(str::to_ascii_lowercase).as_deref() {
            Some("square" | "sq") => 2,
            Some("cubic" | "cu") => 3,
            _ => 1,
        };
        let is_named_power = power > 1 && self.word_at(self.position + 1).is_some();
        let mut start = self.position + usize::from(is_named_power);
        // `sq. cm` has a full stop, which the lexer has dropped.
        let word = self.word_at(start)?;
        let follows_slash = start > 0 && matches!(self.sign_at(start - 1), Some(Sign::Over));
        let is_apart = self.tokens[start].is_apart || follows_slash || word.chars().count() > 1;
        let unit = Unit::named(word, is_apart)?;
        start += 1;
        self.position = start;
        if is_named_power {
            return if unit == Unit::Things || unit.is_length() { unit.power(power) } else { None };
        }
        match self.unit_exponent() {
            Some(exponent) => unit.power(exponent),
            None => Some(unit),
        }
    }

    /// `^2`, `^{2}`, `2` right behind the letters, and the closing caret of `cm^2^`.
    fn unit_exponent(&mut self) -> Option<i8> {
        let has_caret = self.take(Sign::Caret).is_some();
        let is_braced = has_caret && self.take(Sign::Open(Bracket::Brace)).is_some();
        let is_negative = has_caret && self.take(Sign::Minus).is_some();
        let number = self.number_at(self.position).filter(|number| number.is_integer());
        let exponent = number
            .and_then(|number| i8::try_from(number.numerator()).ok())
            .filter(|n| (1..=4).contains(n));
        let Some(exponent) = exponent else {
            // Step back, so that the caller sees that tokens remain.
            self.position -=
                usize::from(has_caret) + usize::from(is_braced) + usize::from(is_negative);
            return None;
        };
        self.position += 1;
        if is_braced {
            self.take(Sign::Close(Bracket::Brace))?;
        }
        if has_caret {
            self.take(Sign::Caret);
        }
        Some(if is_negative { -exponent } else { exponent })
    }
}
