//! Exact equality of expressions made of fractions, their roots, π, e and letters.
//!
//! An expression becomes a quotient of two sums of terms; a term is a fraction times powers of generators. The
//! generators are the primes, with exponents in `[0, 1)`, and π, e and the letters, with any rational exponent. Positive
//! real roots of distinct primes are linearly independent over the rationals (Besicovitch 1940, "On the linear
//! independence of fractional powers of integers"), so a sum is zero exactly when it has no terms left, and
//! `a / b = c / d` exactly when `a d - b c` has none. Taken for granted: π, e and letters satisfy no equation (of π and e
//! together this is open), and a letter under a root is positive.
//!
//! A nested root, a logarithm, a sine stands as a generator of its own, known by what it is taken of. Forms that agree
//! are equal then, too, but forms that differ may still be: the answer is none, and callers look at floating point.

use std::cell::Cell;
use std::cmp::Ordering;

use super::{Constant, Expression, Function, Rational};

/// The most terms a sum may have on the way to its normal form.
pub const MAX_TERMS: usize = 48;
/// The largest power that is multiplied out.
const MAX_POWER: i32 = 32;
/// The largest number that is factored for a root: 10^4 trial divisions at most.
const MAX_FACTORED: u64 = 100_000_000;
/// The largest argument whose factorial is taken; 33! is the last that fits 128 bits.
const MAX_FACTORIAL: i128 = 33;

/// How many more products of terms one comparison may form; some milliseconds at most.
struct Work {
    n_products_left: Cell<usize>,
    /// Whether a generator was made that may be worth the same as others.
    has_opaque: Cell<bool>,
}

/// The longest name of an opaque generator, which contains the names of those it is taken of.
const MAX_NAME: usize = 2_000;

/// The products of terms one comparison may form.
const MAX_PRODUCTS: usize = 8_000;

impl Work {
    fn new() -> Self {
        Self { n_products_left: Cell::new(MAX_PRODUCTS), has_opaque: Cell::new(false) }
    }

    fn spend(&self, n_products: usize) -> Option<()> {
        self.n_products_left.set(self.n_products_left.get().checked_sub(n_products)?);
        Some(())
    }

    /// A generator known by its name alone.
    fn opaque(&self, name: String) -> Option<NormalForm> {
        self.has_opaque.set(true);
        (name.len() <= MAX_NAME).then(|| NormalForm::generator(Generator::Opaque(name)))
    }
}

/// A quotient of two sums of terms.
#[derive(Clone, Debug)]
pub struct NormalForm {
    above: Polynomial,
    below: Polynomial,
}

/// A sum of terms, by ascending monomial, none with coefficient zero.
#[derive(Clone, Debug, PartialEq)]
struct Polynomial(Vec<Term>);

#[derive(Clone, Debug, PartialEq)]
struct Term {
    coefficient: Rational,
    /// Generators with their exponents, ascending, none with exponent zero.
    monomial: Vec<(Generator, Rational)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Generator {
    Prime(u64),
    Pi,
    E,
    Letter(String),
    Opaque(String),
}

/// Whether two expressions are the same number, or the same function of their letters.
///
/// None if either has no normal form within the bounds, or a difference may be one of form alone.
pub fn exactly_equal(left: &Expression, right: &Expression) -> Option<bool> {
    if let (Expression::Number(left), Expression::Number(right)) = (left, right) {
        return Some(left == right);
    }
    let work = Work::new();
    let left = NormalForm::build(left, &work)?;
    let right = NormalForm::build(right, &work)?;
    let left_side = left.above.multiply(&right.below, &work)?;
    let is_equal = left_side == right.above.multiply(&left.below, &work)?;
    (is_equal || !work.has_opaque.get()).then_some(is_equal)
}

/// Whether `left` is `right` times a number other than zero, as the two sides of equivalent equations are.
///
/// None if either has no normal form within the bounds.
pub fn are_proportional(left: &Expression, right: &Expression) -> Option<bool> {
    let work = Work::new();
    let left = NormalForm::build(left, &work)?;
    let right = NormalForm::build(right, &work)?;
    let left_side = left.above.multiply(&right.below, &work)?;
    let right_side = right.above.multiply(&left.below, &work)?;
    let (Some(left_first), Some(right_first)) = (left_side.0.first(), right_side.0.first()) else {
        return Some(left_side == right_side);
    };
    let ratio = left_first.coefficient.divide(right_first.coefficient)?;
    Some(left_side == right_side.multiply(&Polynomial::number(ratio), &work)?)
}

impl NormalForm {
    /// The normal form of `expression`; none outside the kinds the header names, or beyond the bounds.
    pub fn of(expression: &Expression) -> Option<Self> {
        Self::build(expression, &Work::new())
    }

    fn build(expression: &Expression, work: &Work) -> Option<Self> {
        match expression {
            Expression::Number(value) => Some(Self::number(*value)),
            Expression::Decimal(decimal) => Some(Self::number(decimal.value)),
            Expression::Symbol(name) => Some(Self::generator(Generator::Letter(name.clone()))),
            Expression::Constant(Constant::Pi) => Some(Self::generator(Generator::Pi)),
            Expression::Constant(Constant::E) => Some(Self::generator(Generator::E)),
            Expression::Constant(Constant::ImaginaryUnit) => work.opaque("i".to_owned()),
            Expression::Constant(Constant::Infinity) => None,
            Expression::Sum(terms) => {
                terms.iter().try_fold(Self::number(Rational::ZERO), |sum, term| {
                    sum.add(&Self::build(term, work)?, work)
                })
            }
            Expression::Product(factors) => {
                factors.iter().try_fold(Self::number(Rational::ONE), |product, part| {
                    product.multiply(&Self::build(part, work)?, work)
                })
            }
            Expression::Power(base, exponent) => {
                let base = Self::build(base, work)?;
                let exponent = Self::build(exponent, work)?;
                match exponent.as_rational() {
                    Some(exponent) => base.power(exponent, work),
                    None => work.opaque(format!("({base:?})^({exponent:?})")),
                }
            }
            Expression::Call(function, argument) => {
                let argument = Self::build(argument, work)?;
                Self::call(function, &argument)
                    .or_else(|| work.opaque(format!("{function:?}({argument:?})")))
            }
            Expression::Percent(inner) => {
                let percent = Self::number(Rational::new(1, 100)?);
                Self::build(inner, work)?.multiply(&percent, work)
            }
        }
    }

    /// The fraction this is; none if a root, π or a letter is left.
    pub fn as_rational(&self) -> Option<Rational> {
        self.above.as_rational()?.divide(self.below.as_rational()?)
    }

    fn number(value: Rational) -> Self {
        Self { above: Polynomial::number(value), below: Polynomial::number(Rational::ONE) }
    }

    fn generator(generator: Generator) -> Self {
        let term = Term { coefficient: Rational::ONE, monomial: vec![(generator, Rational::ONE)] };
        Self { above: Polynomial(vec![term]), below: Polynomial::number(Rational::ONE) }
    }

    fn call(function: &Function, argument: &Self) -> Option<Self> {
        let value = argument.as_rational()?;
        match function {
            Function::Abs if value.is_negative() => Some(Self::number(value.negate()?)),
            Function::Abs => Some(Self::number(value)),
            Function::Factorial
                if value.is_integer() && (0..=MAX_FACTORIAL).contains(&value.numerator()) =>
            {
                let product = (1..=value.numerator()).try_fold(1i128, i128::checked_mul)?;
                Some(Self::number(Rational::integer(product)))
            }
            _ => None,
        }
    }

    fn add(&self, other: &Self, work: &Work) -> Option<Self> {
        if self.below == other.below {
            return Some(Self { above: self.above.add(&other.above)?, below: self.below.clone() });
        }
        let left = self.above.multiply(&other.below, work)?;
        let right = other.above.multiply(&self.below, work)?;
        Some(Self { above: left.add(&right)?, below: self.below.multiply(&other.below, work)? })
    }

    fn multiply(&self, other: &Self, work: &Work) -> Option<Self> {
        Some(Self {
            above: self.above.multiply(&other.above, work)?,
            below: self.below.multiply(&other.below, work)?,
        })
    }

    fn power(&self, exponent: Rational, work: &Work) -> Option<Self> {
        if !exponent.is_integer() {
            // A quotient of single terms is one term; sums under a root stay together.
            let root = || {
                let below = self.below.single_term()?.reciprocal()?;
                self.above.single_term()?.multiply(&below)?.root_power(exponent)
            };
            return match root() {
                Some(root) => {
                    let above = Polynomial(vec![root]);
                    Some(Self { above, below: Polynomial::number(Rational::ONE) })
                }
                None if self.above.0.is_empty() => Some(Self::number(Rational::ZERO)),
                None => work.opaque(format!("({self:?})^({exponent})")),
            };
        }
        let exponent = i32::try_from(exponent.numerator()).ok()?;
        let (base, below) =
            if exponent < 0 { (&self.below, &self.above) } else { (&self.above, &self.below) };
        if below.0.is_empty() {
            return None;
        }
        let exponent = exponent.checked_abs()?;
        Some(Self { above: base.power(exponent, work)?, below: below.power(exponent, work)? })
    }
}

impl Polynomial {
    fn number(value: Rational) -> Self {
        if value.is_zero() {
            return Self(Vec::new());
        }
        Self(vec![Term { coefficient: value, monomial: Vec::new() }])
    }

    fn as_rational(&self) -> Option<Rational> {
        match self.0.as_slice() {
            [] => Some(Rational::ZERO),
            [term] if term.monomial.is_empty() => Some(term.coefficient),
            _ => None,
        }
    }

    fn single_term(&self) -> Option<&Term> {
        match self.0.as_slice() {
            [term] => Some(term),
            _ => None,
        }
    }

    fn add(&self, other: &Self) -> Option<Self> {
        Self::collect(self.0.iter().chain(&other.0).cloned().collect())
    }

    fn multiply(&self, other: &Self, work: &Work) -> Option<Self> {
        work.spend(self.0.len() * other.0.len())?;
        let products =
            self.0.iter().flat_map(|left| other.0.iter().map(|right| left.multiply(right)));
        Self::collect(products.collect::<Option<_>>()?)
    }

    fn power(&self, exponent: i32, work: &Work) -> Option<Self> {
        if let [term] = self.0.as_slice() {
            return Some(Self(vec![term.integer_power(exponent)?]));
        }
        if exponent > MAX_POWER {
            return None;
        }
        (0..exponent).try_fold(Self::number(Rational::ONE), |power, _| power.multiply(self, work))
    }

    /// Sorts the terms and adds those of one monomial.
    fn collect(mut terms: Vec<Term>) -> Option<Self> {
        terms.sort_by(|left, right| compare_monomials(&left.monomial, &right.monomial));
        let mut collected: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match collected.last_mut() {
                Some(last) if last.monomial == term.monomial => {
                    last.coefficient = last.coefficient.add(term.coefficient)?;
                }
                _ => collected.push(term),
            }
        }
        collected.retain(|term| !term.coefficient.is_zero());
        (collected.len() <= MAX_TERMS).then_some(Self(collected))
    }
}

impl Term {
    fn multiply(&self, other: &Self) -> Option<Self> {
        let mut product = Self {
            coefficient: self.coefficient.multiply(other.coefficient)?,
            monomial: self.monomial.clone(),
        };
        for (generator, exponent) in &other.monomial {
            product.multiply_by(generator.clone(), *exponent)?;
        }
        Some(product)
    }

    /// Multiplies by `generator ^ exponent`; whole powers of a prime join the coefficient.
    fn multiply_by(&mut self, generator: Generator, exponent: Rational) -> Option<()> {
        let place = self.monomial.binary_search_by(|(other, _)| other.cmp(&generator));
        let mut exponent = exponent;
        if let Ok(idx) = place {
            exponent = exponent.add(self.monomial.remove(idx).1)?;
        }
        if let Generator::Prime(prime) = generator {
            let whole = exponent.numerator().div_euclid(exponent.denominator());
            let factor = Rational::integer(i128::from(prime)).power(i32::try_from(whole).ok()?)?;
            self.coefficient = self.coefficient.multiply(factor)?;
            exponent = exponent.subtract(Rational::integer(whole))?;
        }
        if !exponent.is_zero() {
            let (Ok(idx) | Err(idx)) = place;
            self.monomial.insert(idx, (generator, exponent));
        }
        Some(())
    }

    fn reciprocal(&self) -> Option<Self> {
        self.integer_power(-1)
    }

    fn integer_power(&self, exponent: i32) -> Option<Self> {
        let mut power =
            Self { coefficient: self.coefficient.power(exponent)?, monomial: Vec::new() };
        let exponent = Rational::integer(i128::from(exponent));
        for (generator, of_one) in &self.monomial {
            power.multiply_by(generator.clone(), of_one.multiply(exponent)?)?;
        }
        Some(power)
    }

    /// A power that is not whole; of a negative number only an odd root.
    fn root_power(&self, exponent: Rational) -> Option<Self> {
        let mut power = Self { coefficient: Rational::ONE, monomial: Vec::new() };
        let mut coefficient = self.coefficient;
        if coefficient.is_negative() {
            if exponent.denominator() % 2 == 0 {
                return None;
            }
            coefficient = coefficient.negate()?;
            if exponent.numerator() % 2 != 0 {
                power.coefficient = Rational::integer(-1);
            }
        }
        for (prime, count) in factor(coefficient.numerator())? {
            power.multiply_by(Generator::Prime(prime), exponent.multiply(count)?)?;
        }
        for (prime, count) in factor(coefficient.denominator())? {
            power.multiply_by(Generator::Prime(prime), exponent.multiply(count.negate()?)?)?;
        }
        for (generator, of_one) in &self.monomial {
            // The root of the square of a letter is its absolute value.
            if matches!(generator, Generator::Letter(_) | Generator::Opaque(_))
                && *of_one != Rational::ONE
            {
                return None;
            }
            power.multiply_by(generator.clone(), of_one.multiply(exponent)?)?;
        }
        Some(power)
    }
}

fn compare_monomials(left: &[(Generator, Rational)], right: &[(Generator, Rational)]) -> Ordering {
    let key = |(generator, exponent): &(Generator, Rational)| {
        (generator.clone(), exponent.numerator(), exponent.denominator())
    };
    left.iter().map(key).cmp(right.iter().map(key))
}

/// The primes of a positive number with their multiplicities.
fn factor(number: i128) -> Option<Vec<(u64, Rational)>> {
    let mut rest = u64::try_from(number).ok().filter(|number| *number <= MAX_FACTORED)?;
    let mut factors = Vec::new();
    let mut divisor = 2;
    while divisor * divisor <= rest {
        let mut count = 0;
        while rest % divisor == 0 {
            rest /= divisor;
            count += 1;
        }
        if count > 0 {
            factors.push((divisor, Rational::integer(count)));
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    if rest > 1 {
        factors.push((rest, Rational::ONE));
    }
    Some(factors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(number: i128) -> Expression {
        Expression::integer(number).square_root()
    }

    fn letter(name: &str) -> Expression {
        Expression::Symbol(name.to_owned())
    }

    #[test]
    fn rationalised_denominators_are_equal() {
        let third_of_root = root(3).over(Expression::integer(3));
        assert_eq!(
            exactly_equal(&third_of_root, &Expression::integer(1).over(root(3))),
            Some(true)
        );
        // 1 / (√2 - 1) = √2 + 1
        let below = root(2).plus(Expression::integer(-1));
        let sum = root(2).plus(Expression::integer(1));
        assert_eq!(exactly_equal(&Expression::integer(1).over(below), &sum), Some(true));
    }

    #[test]
    fn squares_leave_their_roots() {
        let twice = Expression::integer(2).times(root(3));
        assert_eq!(exactly_equal(&root(12), &twice), Some(true));
        assert_eq!(exactly_equal(&root(12), &root(13)), Some(false));
        // √2 √3 = √6, and √2 + √3 is not √5
        assert_eq!(exactly_equal(&root(2).times(root(3)), &root(6)), Some(true));
        assert_eq!(exactly_equal(&root(2).plus(root(3)), &root(5)), Some(false));
        // The cube root of -8
        let cube_root = Expression::integer(-8).root(Expression::integer(3));
        assert_eq!(exactly_equal(&cube_root, &Expression::integer(-2)), Some(true));
    }

    #[test]
    fn binomials_are_multiplied_out() {
        let square = letter("x").plus(Expression::integer(1)).to_power(Expression::integer(2));
        let expanded = letter("x")
            .to_power(Expression::integer(2))
            .plus(Expression::integer(2).times(letter("x")))
            .plus(Expression::integer(1));
        assert_eq!(exactly_equal(&square, &expanded), Some(true));
        assert_eq!(exactly_equal(&square, &expanded.plus(letter("y"))), Some(false));
    }

    #[test]
    fn what_is_beyond_the_bounds_has_no_normal_form() {
        let tower = Expression::integer(9)
            .to_power(Expression::integer(9).to_power(Expression::integer(9)));
        assert!(NormalForm::of(&tower).is_none());
        assert!(NormalForm::of(&Expression::integer(1).over(Expression::integer(0))).is_none());
    }

    #[test]
    fn opaque_parts_are_equal_by_form_alone() {
        let nested = || root(2).plus(root(3)).square_root();
        assert_eq!(exactly_equal(&nested().times(root(2)), &root(2).times(nested())), Some(true));
        // The square root of 3 + 2√2 is 1 + √2, but their forms differ.
        let denested = Expression::integer(1).plus(root(2));
        let sum = Expression::integer(3).plus(Expression::integer(2).times(root(2)));
        assert_eq!(exactly_equal(&sum.square_root(), &denested), None);
        // The root of a square is an absolute value.
        let square = letter("x").to_power(Expression::integer(2));
        assert_eq!(exactly_equal(&square.square_root(), &letter("x")), None);
    }
}
