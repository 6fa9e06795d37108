//! Exercises about triangles.
//! Not here: triangles in circles (`circles`).

use super::exercise::{Exercise, Named, Value, degrees, right_sides, unit, whole};
use super::figure::{Figure, Quantity};
use crate::data::plane::Point;
use crate::rng::Draws;

/// A, B and C of a triangle with these angles at A and B; BC is 1 long.
fn triangle(at_a: u32, at_b: u32) -> [Point; 3] {
    let sine = |degrees: u32| f64::from(degrees).to_radians().sin();
    let [b, c] = [Point::new(0.0, 0.0), Point::new(1.0, 0.0)];
    let a = Point::direction(f64::from(at_b)) * (sine(180 - at_a - at_b) / sine(at_a));
    [a, b, c]
}

/// The third angle of a triangle.
pub(super) fn angle_sum(draws: &mut Draws) -> Exercise {
    let one = degrees(30, 100, 5, draws);
    let other = degrees(30, (150 - one).min(100), 5, draws);
    let [p, q, r] = triangle(one, other);
    let mut letters = ['A', 'B', 'C'];
    draws.shuffle(&mut letters);
    let [at_p, at_q, at_r] = letters;
    let third = 180 - one - other;
    Exercise {
        figure: Figure::named([(at_p, p), (at_q, q), (at_r, r)]).polygon(&[p, q, r]),
        setting: "ABC is a triangle".to_owned(),
        given: vec![
            (Named::new(format!("angle {at_p}"), Quantity::angle(p, q, r)), Value::Degrees(one)),
            (Named::new(format!("angle {at_q}"), Quantity::angle(q, p, r)), Value::Degrees(other)),
        ],
        asked: Named::new(format!("angle {at_r}"), Quantity::angle(r, p, q)),
        answer: Value::Degrees(third),
        reasoning: format!("180 - {one} - {other} = {third}"),
    }
}

/// The base angles and the apex of an isosceles triangle.
pub(super) fn isosceles(draws: &mut Draws) -> Exercise {
    let base = degrees(30, 75, 5, draws);
    let apex = 180 - 2 * base;
    let [a, b, c] = triangle(apex, base);
    let at_a = Named::new("angle A", Quantity::angle(a, b, c));
    let at_b = Named::new("angle B", Quantity::angle(b, a, c));
    let ((given, asked), [known, answer], reasoning) = if draws.below(2) == 0 {
        ((at_a, at_b), [apex, base], format!("(180 - {apex}) / 2 = {base}"))
    } else {
        ((at_b, at_a), [base, apex], format!("180 - 2 * {base} = {apex}"))
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c)]).polygon(&[a, b, c]),
        setting: "AB = AC in triangle ABC".to_owned(),
        given: vec![(given, Value::Degrees(known))],
        asked,
        answer: Value::Degrees(answer),
        reasoning,
    }
}

/// The exterior angle is the sum of the two angles far from it.
pub(super) fn exterior(draws: &mut Draws) -> Exercise {
    let one = degrees(30, 80, 5, draws);
    let other = degrees(30, 80.min(145 - one), 5, draws);
    let [a, b, c] = triangle(one, other);
    let d = c + (c - b) * 0.6;
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d)])
            .polygon(&[a, b, c])
            .segment(c, d),
        setting: "BC of triangle ABC is extended to D".to_owned(),
        given: vec![
            (Named::new("angle A", Quantity::angle(a, b, c)), Value::Degrees(one)),
            (Named::new("angle B", Quantity::angle(b, a, c)), Value::Degrees(other)),
        ],
        asked: Named::new("angle ACD", Quantity::angle(c, a, d)),
        answer: Value::Degrees(one + other),
        reasoning: format!("{one} + {other} = {}", one + other),
    }
}

/// The theorem of Pythagoras, all sides whole.
pub(super) fn pythagoras(draws: &mut Draws) -> Exercise {
    let [height, base, longest] = right_sides(draws);
    let unit = unit(draws);
    let c = Point::new(0.0, 0.0);
    let [a, b] = [Point::new(0.0, f64::from(height)), Point::new(f64::from(base), 0.0)];
    let side = |name: &str, from, to| Named::new(name, Quantity::length(from, to));
    let [ac, bc, ab] = [side("AC", a, c), side("BC", b, c), side("AB", a, b)];
    let (given, asked, answer, reasoning) = if draws.below(2) == 0 {
        let square = longest * longest;
        let reasoning = format!("{height}^2 + {base}^2 = {square}, root {longest}");
        (
            vec![(ac, Value::whole(height, unit)), (bc, Value::whole(base, unit))],
            ab,
            longest,
            reasoning,
        )
    } else {
        let square = height * height;
        let reasoning = format!("{longest}^2 - {base}^2 = {square}, root {height}");
        (
            vec![(ab, Value::whole(longest, unit)), (bc, Value::whole(base, unit))],
            ac,
            height,
            reasoning,
        )
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c)])
            .polygon(&[a, b, c])
            .right_angle(c, a, b),
        setting: "angle C = 90° in triangle ABC".to_owned(),
        given,
        asked,
        answer: Value::whole(answer, unit),
        reasoning,
    }
}

/// Right triangles with an angle of 30 or 45 degrees.
pub(super) fn half_square_or_half_equilateral(draws: &mut Draws) -> Exercise {
    let short = whole(1, 9, draws);
    let unit = unit(draws);
    let kind = draws.below(3);
    let (base, at_b) = if kind == 0 { (1.0, 45) } else { (3.0_f64.sqrt(), 30) };
    let c = Point::new(0.0, 0.0);
    let [a, b] = [Point::new(0.0, f64::from(short)), Point::new(base * f64::from(short), 0.0)];
    let side = |name: &str, from, to| Named::new(name, Quantity::length(from, to));
    let (asked, answer, reasoning) = match kind {
        0 => (side("AB", a, b), Value::root(short, 2, unit), format!("{short} * √{{2}}")),
        1 => {
            let longest = 2 * short;
            let reasoning = format!("2 * {short} = {longest}");
            (side("AB", a, b), Value::whole(longest, unit), reasoning)
        }
        _ => (side("BC", b, c), Value::root(short, 3, unit), format!("{short} * √{{3}}")),
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c)])
            .polygon(&[a, b, c])
            .right_angle(c, a, b),
        setting: "angle C = 90° in triangle ABC".to_owned(),
        given: vec![
            (Named::new("angle B", Quantity::angle(b, a, c)), Value::Degrees(at_b)),
            (side("AC", a, c), Value::whole(short, unit)),
        ],
        asked,
        answer,
        reasoning,
    }
}

/// The segment between the midpoints of two sides is half the third.
pub(super) fn midline(draws: &mut Draws) -> Exercise {
    let half = whole(2, 14, draws);
    let unit = unit(draws);
    let (at_a, at_b) = (whole(45, 80, draws), whole(45, 80, draws));
    let [a, b, c] = triangle(at_a, at_b).map(|point| point * f64::from(2 * half));
    let [d, e] = [a.towards(b, 0.5), a.towards(c, 0.5)];
    let bc = Named::new("BC", Quantity::length(b, c));
    let de = Named::new("DE", Quantity::length(d, e));
    let whole_side = 2 * half;
    let (given, asked, answer, reasoning) = if draws.below(2) == 0 {
        let reasoning = format!("{whole_side} / 2 = {half}");
        ((bc, Value::whole(whole_side, unit)), de, half, reasoning)
    } else {
        let reasoning = format!("2 * {half} = {whole_side}");
        ((de, Value::whole(half, unit)), bc, whole_side, reasoning)
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d), ('E', e)])
            .polygon(&[a, b, c])
            .segment(d, e),
        setting: "D and E are the midpoints of AB and AC".to_owned(),
        given: vec![given],
        asked,
        answer: Value::whole(answer, unit),
        reasoning,
    }
}

/// The height of an equilateral triangle.
pub(super) fn equilateral_height(draws: &mut Draws) -> Exercise {
    let half = whole(1, 12, draws);
    let unit = unit(draws);
    let [a, b, c] = triangle(60, 60).map(|point| point * f64::from(2 * half));
    let d = b.towards(c, 0.5);
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d)])
            .polygon(&[a, b, c])
            .segment(a, d)
            .right_angle(d, a, c),
        setting: "ABC is an equilateral triangle, AD is perpendicular to BC".to_owned(),
        given: vec![(Named::new("AB", Quantity::length(a, b)), Value::whole(2 * half, unit))],
        asked: Named::new("AD", Quantity::length(a, d)),
        answer: Value::root(half, 3, unit),
        reasoning: format!("{} / 2 = {half}, times √{{3}}", 2 * half),
    }
}
