//! Plain arithmetic such as `1/2` or `2*(3+4)`, read as Python reads it: math-verify hands it to sympy's `parse_expr`.
//! Not here: where it stands in the text (`scan`); LaTeX (`latex_parser`).
//!
//! What Python refuses is refused here: two numbers side by side, a leading zero, a call `5(3)`, the signs `×` and `÷`.

use crate::algebra::{Decimal, Expression, MAX_DEPTH, Rational};

/// The most digits of a decimal that are kept; sympy keeps as many as are written, but compares six.
const MAX_PLACES: usize = 30;
/// The longest arithmetic that is read.
const MAX_LENGTH: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Number(&'a str),
    Plus,
    Minus,
    Times,
    Over,
    FloorDivide,
    Power,
    Open,
    Close,
}

/// Reads `text`, a caret being a power; none where Python would raise an error.
pub(super) fn parse(text: &str) -> Option<Expression> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let text = text.replace('\n', " ").replace('^', "**");
    let tokens = tokenize(&text)?;
    let mut parser = Parser { tokens: &tokens, position: 0, depth: 0 };
    let expression = parser.sum()?;
    (parser.position == tokens.len()).then_some(expression)
}

/// A number with digits after a point, cut to the digits that can be kept.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let kept = &fraction[..fraction.len().min(MAX_PLACES)];
    let (unsigned, is_negative) =
        integer.strip_prefix('-').map_or((integer, false), |unsigned| (unsigned, true));
    let unsigned = if unsigned.is_empty() { "0" } else { unsigned };
    let magnitude = (0..=kept.len())
        .rev()
        .find_map(|places| Rational::from_decimal(&format!("{unsigned}.{}", &kept[..places])))?;
    let value = if is_negative { magnitude.negate()? } else { magnitude };
    Some(Decimal { value, places: kept.len() as i32 })
}

fn tokenize(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\u{c}']);
        let Some(first) = rest.chars().next() else { return Some(tokens) };
        let (token, length) = match first {
            '0'..='9' | '.' => {
                let length = number_length(rest)?;
                (Token::Number(&rest[..length]), length)
            }
            '*' if rest.starts_with("**") => (Token::Power, 2),
            '*' => (Token::Times, 1),
            '/' if rest.starts_with("//") => (Token::FloorDivide, 2),
            '/' => (Token::Over, 1),
            '+' => (Token::Plus, 1),
            '-' => (Token::Minus, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            _ => return None,
        };
        tokens.push(token);
        rest = &rest[length..];
    }
}

/// The length of `12`, `12.`, `1.5` or `.5`; Python has no integers such as `03`.
fn number_length(text: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let integer = digits(text);
    if text[integer..].starts_with('.') {
        let fraction = digits(&text[integer + 1..]);
        return (integer + fraction > 0).then_some(integer + 1 + fraction);
    }
    let is_padded = text.starts_with('0') && text[..integer].bytes().any(|digit| digit != b'0');
    (!is_padded).then_some(integer)
}

struct Parser<'a, 'text> {
    tokens: &'a [Token<'text>],
    position: usize,
    depth: usize,
}

impl<'text> Parser<'_, 'text> {
    fn peek(&self) -> Option<Token<'text>> {
        self.tokens.get(self.position).copied()
    }

    fn sum(&mut self) -> Option<Expression> {
        let mut sum = self.product()?;
        loop {
            let is_minus = match self.peek() {
                Some(Token::Plus) => false,
                Some(Token::Minus) => true,
                _ => return Some(sum),
            };
            self.position += 1;
            let term = self.product()?;
            sum = sum.plus(if is_minus { term.negate() } else { term });
        }
    }

    fn product(&mut self) -> Option<Expression> {
        let mut product = self.unary()?;
        loop {
            let operator = self.peek();
            if !matches!(operator, Some(Token::Times | Token::Over | Token::FloorDivide)) {
                return Some(product);
            }
            self.position += 1;
            let factor = self.unary()?;
            product = match operator {
                Some(Token::Times) => product.times(factor),
                Some(Token::Over) => product.times(factor.to_power(Expression::integer(-1))),
                // Rare enough that only whole numbers are divided.
                _ => floor_divide(&product, &factor)?,
            };
        }
    }

    fn unary(&mut self) -> Option<Expression> {
        match self.peek() {
            Some(Token::Plus) => self.nested(Self::unary),
            Some(Token::Minus) => Some(self.nested(Self::unary)?.negate()),
            _ => self.power(),
        }
    }

    fn power(&mut self) -> Option<Expression> {
        let base = self.atom()?;
        if self.peek() == Some(Token::Power) {
            let exponent = self.nested(Self::unary)?;
            return Some(base.to_power(exponent));
        }
        Some(base)
    }

    fn atom(&mut self) -> Option<Expression> {
        match self.peek()? {
            Token::Number(text) => {
                let number = if text.contains('.') {
                    Expression::Decimal(decimal(text)?)
                } else {
                    Expression::Number(Rational::from_decimal(text)?)
                };
                self.position += 1;
                Some(number)
            }
            Token::Open => {
                let inner = self.nested(Self::sum)?;
                (self.peek() == Some(Token::Close)).then_some(())?;
                self.position += 1;
                Some(inner)
            }
            _ => None,
        }
    }

    /// Steps over one token and reads on, one level deeper.
    fn nested(&mut self, read: fn(&mut Self) -> Option<Expression>) -> Option<Expression> {
        self.position += 1;
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())?;
        let inner = read(self)?;
        self.depth -= 1;
        Some(inner)
    }
}

fn floor_divide(above: &Expression, below: &Expression) -> Option<Expression> {
    let (Expression::Number(above), Expression::Number(below)) = (above, below) else {
        return None;
    };
    let quotient = above.divide(*below)?;
    Some(Expression::integer(quotient.numerator().div_euclid(quotient.denominator())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::exactly_equal;

    #[test]
    fn operators_bind_as_in_python() {
        for (text, value) in
            [("1+2*3", 7), ("-2^2", -4), ("2^3^2", 512), ("7//2", 3), ("(1+2)*3", 9), ("2 - -1", 3)]
        {
            let parsed = parse(text).unwrap();
            assert_eq!(exactly_equal(&parsed, &Expression::integer(value)), Some(true), "{text}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in
            ["1 2", "03/5", "5(3)", "3×4", "1.2.3", "(1", "1)", "2 **", "2 * *3", "()", "2***3"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"(".repeat(500)), None);
    }
}
