//! Exercises about circles: angles at the centre and on the circle, tangents, chords.

use super::exercise::{Exercise, Named, Value, degrees, right_sides, unit, whole};
use super::figure::{Figure, Quantity};
use crate::data::plane::Point;
use crate::rng::Draws;

const CENTER: Point = Point::new(0.0, 0.0);

/// The angle at the centre is twice the one on the circle.
pub(super) fn central_and_inscribed(draws: &mut Draws) -> Exercise {
    let inscribed = degrees(30, 75, 5, draws);
    let central = 2 * inscribed;
    let half = f64::from(inscribed);
    let [a, b] = [-90.0 - half, -90.0 + half].map(Point::direction);
    let c = Point::direction(90.0 + draws.range(-35.0, 35.0));
    let acb = Named::new("angle ACB", Quantity::angle(c, a, b));
    let aob = Named::new("angle AOB", Quantity::angle(CENTER, a, b));
    let ((given, asked), [known, answer], reasoning) = if draws.below(2) == 0 {
        ((aob, acb), [central, inscribed], format!("{central} / 2 = {inscribed}"))
    } else {
        ((acb, aob), [inscribed, central], format!("2 * {inscribed} = {central}"))
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('O', CENTER)])
            .circle(CENTER, 1.0)
            .segment(CENTER, a)
            .segment(CENTER, b)
            .segment(c, a)
            .segment(c, b),
        setting: "A, B and C lie on circle O".to_owned(),
        given: vec![(given, Value::Degrees(known))],
        asked,
        answer: Value::Degrees(answer),
        reasoning,
    }
}

/// The angle over a diameter is a right angle.
pub(super) fn diameter(draws: &mut Draws) -> Exercise {
    let at_a = degrees(25, 65, 5, draws);
    let [a, b] = [Point::direction(180.0), Point::direction(0.0)];
    let c = Point::direction(2.0 * f64::from(at_a));
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('O', CENTER)])
            .circle(CENTER, 1.0)
            .polygon(&[a, b, c]),
        setting: "AB is a diameter of circle O, C lies on the circle".to_owned(),
        given: vec![(Named::new("angle A", Quantity::angle(a, b, c)), Value::Degrees(at_a))],
        asked: Named::new("angle B", Quantity::angle(b, a, c)),
        answer: Value::Degrees(90 - at_a),
        reasoning: format!("angle C = 90, 90 - {at_a} = {}", 90 - at_a),
    }
}

/// A tangent stands on the radius.
pub(super) fn tangent(draws: &mut Draws) -> Exercise {
    let at_p = whole(28, 62, draws);
    let a = Point::new(0.0, 1.0);
    let p = a + Point::new(1.0 / f64::from(at_p).to_radians().tan(), 0.0);
    let angle_p = Named::new("angle P", Quantity::angle(p, a, CENTER));
    let angle_o = Named::new("angle AOP", Quantity::angle(CENTER, a, p));
    let at_o = 90 - at_p;
    let ((given, asked), [known, answer]) = if draws.below(2) == 0 {
        ((angle_p, angle_o), [at_p, at_o])
    } else {
        ((angle_o, angle_p), [at_o, at_p])
    };
    Exercise {
        figure: Figure::named([('A', a), ('O', CENTER), ('P', p)])
            .circle(CENTER, 1.0)
            .polygon(&[a, CENTER, p]),
        setting: "PA touches circle O at A".to_owned(),
        given: vec![(given, Value::Degrees(known))],
        asked,
        answer: Value::Degrees(answer),
        reasoning: format!("angle OAP = 90, 90 - {known} = {answer}"),
    }
}

/// Opposite angles of a quadrilateral on a circle make 180 degrees.
pub(super) fn cyclic_quadrilateral(draws: &mut Draws) -> Exercise {
    let at_a = whole(62, 118, draws);
    let arc = 2.0 * f64::from(at_a);
    let share = draws.range(0.4, 0.6);
    let [b, c, d] = [0.0, arc * share, arc].map(Point::direction);
    let a = Point::direction(arc + (360.0 - arc) * draws.range(0.4, 0.6));
    let at_c = 180 - at_a;
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d), ('O', CENTER)])
            .circle(CENTER, 1.0)
            .polygon(&[a, b, c, d]),
        setting: "ABCD is inscribed in circle O".to_owned(),
        given: vec![(Named::new("angle A", Quantity::angle(a, b, d)), Value::Degrees(at_a))],
        asked: Named::new("angle C", Quantity::angle(c, b, d)),
        answer: Value::Degrees(at_c),
        reasoning: format!("180 - {at_a} = {at_c}"),
    }
}

/// Half a chord, its distance from the centre and the radius are a right triangle.
pub(super) fn chord(draws: &mut Draws) -> Exercise {
    let [one, other, radius] = right_sides(draws);
    // A chord near the centre leaves room for its labels.
    let [distance, half] = [one.min(other), one.max(other)];
    let unit = unit(draws);
    let m = Point::new(0.0, -f64::from(distance));
    let [a, b] = [-1.0, 1.0].map(|side| Point::new(side * f64::from(half), m.y));
    let side = |name: &str, from, to| Named::new(name, Quantity::length(from, to));
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('M', m), ('O', CENTER)])
            .circle(CENTER, f64::from(radius))
            .segment(a, b)
            .segment(CENTER, a)
            .segment(CENTER, m),
        setting: "OM is perpendicular to chord AB of circle O".to_owned(),
        given: vec![
            (side("OA", CENTER, a), Value::whole(radius, unit)),
            (side("OM", CENTER, m), Value::whole(distance, unit)),
        ],
        asked: side("AB", a, b),
        answer: Value::whole(2 * half, unit),
        reasoning: format!(
            "{radius}^2 - {distance}^2 = {}, root {half}, 2 * {half} = {}",
            half * half,
            2 * half
        ),
    }
}
