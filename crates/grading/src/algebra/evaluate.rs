//! What an expression is worth in floating point, letters standing for fixed numbers.
//! Not here: exact comparison, which is asked first (`normal_form`).

use super::{Constant, Expression, Function, Rational};

/// The largest argument whose factorial is taken.
const MAX_FACTORIAL: f64 = 170.0;

/// The value of `expression`, a letter standing for the number `value_of` gives it.
///
/// None where there is no real value: a negative root, a division by zero, an unknown function, an overflow.
pub fn evaluate(expression: &Expression, value_of: &dyn Fn(&str) -> f64) -> Option<f64> {
    let value = match expression {
        Expression::Number(value) => value.to_f64(),
        Expression::Decimal(decimal) => decimal.value.to_f64(),
        Expression::Symbol(name) => value_of(name),
        Expression::Constant(Constant::Pi) => std::f64::consts::PI,
        Expression::Constant(Constant::E) => std::f64::consts::E,
        Expression::Constant(_) => return None,
        Expression::Sum(terms) => {
            terms.iter().try_fold(0.0, |sum, term| Some(sum + evaluate(term, value_of)?))?
        }
        Expression::Product(factors) => factors
            .iter()
            .try_fold(1.0, |product, part| Some(product * evaluate(part, value_of)?))?,
        Expression::Power(base, exponent) => {
            let base = evaluate(base, value_of)?;
            match exponent.as_ref() {
                Expression::Number(exponent) if *exponent == Rational::integer(-1) => base.recip(),
                Expression::Number(exponent)
                    if exponent.numerator() == 1 && exponent.denominator() == 2 =>
                {
                    base.sqrt()
                }
                exponent => power(base, evaluate(exponent, value_of)?),
            }
        }
        Expression::Call(function, argument) => call(function, evaluate(argument, value_of)?)?,
        Expression::Percent(inner) => evaluate(inner, value_of)? / 100.0,
    };
    value.is_finite().then_some(value)
}

/// `base ^ exponent`, real odd roots of negative numbers included: the cube root of -8 is -2.
fn power(base: f64, exponent: f64) -> f64 {
    if base < 0.0 && exponent.fract() != 0.0 {
        let index = exponent.recip().round();
        if (exponent * index - 1.0).abs() < 1e-12 && index % 2.0 != 0.0 {
            return -(-base).powf(exponent);
        }
    }
    base.powf(exponent)
}

fn call(function: &Function, argument: f64) -> Option<f64> {
    Some(match function {
        Function::Sin => argument.sin(),
        Function::Cos => argument.cos(),
        Function::Tan => argument.tan(),
        Function::Arcsin => argument.asin(),
        Function::Arccos => argument.acos(),
        Function::Arctan => argument.atan(),
        Function::Ln => argument.ln(),
        Function::Abs => argument.abs(),
        Function::Factorial => {
            if argument < 0.0 || argument.fract() != 0.0 || argument > MAX_FACTORIAL {
                return None;
            }
            (1..=170u32).map(f64::from).take_while(|factor| *factor <= argument).product()
        }
        Function::Named(_) => return None,
    })
}
