//! Exact fractions of 128-bit integers, every operation checked.
//! Not here: roots, letters and π (`normal_form`); rounding to floating point (`evaluate`).

use std::cmp::Ordering;
use std::fmt;

/// A fraction in lowest terms, its denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub struct Rational {
    numerator: i128,
    denominator: i128,
}

/// The most decimal places that are kept exactly; 10^36 still leaves room for two digits before the point.
const MAX_DECIMAL_PLACES: usize = 36;

impl Rational {
    /// Zero.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };
    /// One.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// `numerator / denominator` in lowest terms; none if the denominator is zero.
    pub fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?;
        let sign = if denominator < 0 { -1 } else { 1 };
        Some(Self {
            numerator: (numerator / divisor).checked_mul(sign)?,
            denominator: (denominator / divisor).checked_mul(sign)?,
        })
    }

    /// The integer `value`.
    pub fn integer(value: i128) -> Self {
        Self { numerator: value, denominator: 1 }
    }

    /// Reads ASCII digits with at most one point among them: `12`, `0.50`, `.5`, `7.`.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = fraction.trim_end_matches('0');
        let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() <= usize::from(text.contains('.'))
            || !is_digits(integer)
            || !is_digits(fraction)
            || fraction.len() > MAX_DECIMAL_PLACES
        {
            return None;
        }
        let numerator =
            integer.bytes().chain(fraction.bytes()).try_fold(0i128, |value, digit| {
                value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
            })?;
        Self::new(numerator, 10i128.checked_pow(fraction.len() as u32)?)
    }

    /// The numerator.
    pub fn numerator(self) -> i128 {
        self.numerator
    }

    /// The denominator, at least 1.
    pub fn denominator(self) -> i128 {
        self.denominator
    }

    /// Whether the denominator is 1.
    pub fn is_integer(self) -> bool {
        self.denominator == 1
    }

    /// Whether this is 0.
    pub fn is_zero(self) -> bool {
        self.numerator == 0
    }

    /// Whether this is below 0.
    pub fn is_negative(self) -> bool {
        self.numerator < 0
    }

    /// The sum; none where it does not fit.
    #[expect(
        clippy::should_implement_trait,
        reason = "a sum may not fit, which operators cannot say"
    )]
    pub fn add(self, other: Self) -> Option<Self> {
        if self.denominator == other.denominator {
            return Self::new(self.numerator.checked_add(other.numerator)?, self.denominator);
        }
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    /// The same number with the other sign.
    pub fn negate(self) -> Option<Self> {
        Some(Self { numerator: self.numerator.checked_neg()?, ..self })
    }

    /// The difference; none where it does not fit.
    pub fn subtract(self, other: Self) -> Option<Self> {
        self.add(other.negate()?)
    }

    /// The product; none where it does not fit.
    pub fn multiply(self, other: Self) -> Option<Self> {
        let left = Self::new(self.numerator, other.denominator)?;
        let right = Self::new(other.numerator, self.denominator)?;
        Some(Self {
            numerator: left.numerator.checked_mul(right.numerator)?,
            denominator: left.denominator.checked_mul(right.denominator)?,
        })
    }

    /// One over this number; none for zero.
    pub fn reciprocal(self) -> Option<Self> {
        Self::new(self.denominator, self.numerator)
    }

    /// The quotient; none where it does not fit or `other` is zero.
    pub fn divide(self, other: Self) -> Option<Self> {
        self.multiply(other.reciprocal()?)
    }

    /// `self` to an integer power; none where it does not fit, or for zero to a negative power.
    pub fn power(self, exponent: i32) -> Option<Self> {
        let base = if exponent < 0 { self.reciprocal()? } else { self };
        let exponent = exponent.unsigned_abs();
        Some(Self {
            numerator: base.numerator.checked_pow(exponent)?,
            denominator: base.denominator.checked_pow(exponent)?,
        })
    }

    /// The order of the two; none where the cross products do not fit.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        Some(self.subtract(other)?.numerator.cmp(&0))
    }

    /// Rounded to `places` decimals, as an integer of the last place, a tie to the even one.
    pub fn round_half_even(self, places: u32) -> Option<i128> {
        let scaled = self.multiply(Self::integer(10i128.checked_pow(places)?))?;
        let floor = scaled.numerator.div_euclid(scaled.denominator);
        let twice_rest = scaled.numerator.rem_euclid(scaled.denominator).checked_mul(2)?;
        let is_up = match twice_rest.cmp(&scaled.denominator) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => floor % 2 != 0,
        };
        Some(floor + i128::from(is_up))
    }

    /// The nearest f64, correctly rounded while both sides fit 53 bits.
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_integer() {
            write!(f, "{}", self.numerator)
        } else {
            write!(f, "{}/{}", self.numerator, self.denominator)
        }
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    // Numbers here are mostly small, where the machine divides in a few cycles.
    if let (Ok(mut a), Ok(mut b)) = (u64::try_from(a), u64::try_from(b)) {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        return u128::from(a);
    }
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rational(numerator: i128, denominator: i128) -> Rational {
        Rational::new(numerator, denominator).unwrap()
    }

    #[test]
    fn fractions_are_kept_in_lowest_terms() {
        assert_eq!(rational(6, -8), rational(-3, 4));
        assert_eq!(rational(0, -5), Rational::ZERO);
        assert_eq!(Rational::new(1, 0), None);
        assert_eq!(rational(-3, 4).to_string(), "-3/4");
    }

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in
            [("0.50", (1, 2)), (".5", (1, 2)), ("7.", (7, 1)), ("007", (7, 1)), ("2.4", (12, 5))]
        {
            assert_eq!(
                Rational::from_decimal(text),
                Some(rational(expected.0, expected.1)),
                "{text}"
            );
        }
        for text in ["", ".", "1.2.3", "-1", "1e5", "x"] {
            assert_eq!(Rational::from_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let huge = Rational::integer(i128::MAX);
        assert_eq!(huge.add(Rational::ONE), None);
        assert_eq!(huge.multiply(huge), None);
        assert_eq!(Rational::integer(9).power(1000), None);
        assert_eq!(Rational::ZERO.power(-1), None);
        assert_eq!(Rational::from_decimal(&"9".repeat(50)), None);
    }

    #[test]
    fn ties_round_to_the_even_digit() {
        // 0.125 and 0.375 lie halfway between two decimals.
        assert_eq!(rational(1, 8).round_half_even(2), Some(12));
        assert_eq!(rational(3, 8).round_half_even(2), Some(38));
        assert_eq!(rational(-1, 3).round_half_even(2), Some(-33));
        assert_eq!(rational(2, 3).round_half_even(2), Some(67));
    }
}
