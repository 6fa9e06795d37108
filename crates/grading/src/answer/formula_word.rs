//! Letters in a formula: functions, Greek letters, variables and their products.
//! Not here: the formula around them (`formula`); words that are units (`formula_unit`).

use super::formula::Parser;
use super::lexer::{Bracket, Kind, Sign};
use crate::algebra::{Constant, Expression, Function};

/// Letters that stand together are multiplied, up to this many; longer words are not formulas.
const MAX_LETTERS: usize = 3;

impl Parser<'_> {
    /// A function, a Greek letter, or letters that are multiplied.
    pub(super) fn word(&mut self, word: &str) -> Option<Expression> {
        self.position += 1;
        if let Some(function) = function(word) {
            return self.call(function);
        }
        if word.eq_ignore_ascii_case("log") {
            let argument = self.nested(Self::argument)?;
            let logarithm = |of| Expression::Call(Function::Ln, Box::new(of));
            return Some(logarithm(argument).over(logarithm(Expression::integer(10))));
        }
        let index = self.index();
        let is_greek = word.len() > 2 && GREEK.contains(&word);
        let n_letters = word.chars().count();
        if index.is_some() || is_greek || n_letters == 1 {
            return Some(symbol(&format!("{word}{}", index.unwrap_or_default())));
        }
        if n_letters > MAX_LETTERS || !word.is_ascii() {
            return None;
        }
        Some(Expression::Product(word.chars().map(|letter| symbol(&letter.to_string())).collect()))
    }

    /// `_1`, `_{12}`, `_a`.
    fn index(&mut self) -> Option<String> {
        self.take(Sign::Underscore)?;
        let is_braced = self.take(Sign::Open(Bracket::Brace)).is_some();
        let index = match &self.peek()?.kind {
            Kind::Number { value, .. } => value.to_string(),
            Kind::Word(word) => word.clone(),
            Kind::Sign(_) => return None,
        };
        self.position += 1;
        if is_braced {
            self.take(Sign::Close(Bracket::Brace))?;
        }
        Some(format!("_{index}"))
    }

    fn call(&mut self, function: Function) -> Option<Expression> {
        let had_degree = std::mem::take(&mut self.has_degree);
        let mut exponent = None;
        if self.peek_sign() == Some(Sign::Caret) {
            self.position += 1;
            exponent = Some(self.nested(Self::exponent)?);
        }
        let argument = self.nested(Self::argument)?;
        let argument = if self.has_degree {
            argument.times(Expression::Constant(Constant::Pi)).over(Expression::integer(180))
        } else {
            argument
        };
        self.has_degree = had_degree;
        let value = Expression::Call(function, Box::new(argument));
        Some(match exponent {
            Some(exponent) => value.to_power(exponent),
            None => value,
        })
    }

    /// What a function is taken of: a group, or a factor such as `60°`.
    fn argument(&mut self) -> Option<Expression> {
        if self.peek_sign() == Some(Sign::Open(Bracket::Round)) {
            return self.group(Bracket::Round);
        }
        self.factor()
    }
}

/// Greek letters as LaTeX names them.
const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
];

fn symbol(name: &str) -> Expression {
    match name {
        "e" => Expression::Constant(Constant::E),
        name => Expression::Symbol(name.to_owned()),
    }
}

fn function(word: &str) -> Option<Function> {
    Some(match word.to_ascii_lowercase().as_str() {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" => Function::Tan,
        "arcsin" | "asin" => Function::Arcsin,
        "arccos" | "acos" => Function::Arccos,
        "arctan" | "atan" => Function::Arctan,
        "ln" => Function::Ln,
        _ => return None,
    })
}
