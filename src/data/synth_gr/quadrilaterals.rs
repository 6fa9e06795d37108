//! Exercises about figures with four sides.
//! Not here: quadrilaterals on a circle (`circles`).

use super::exercise::{Exercise, Named, Value, right_sides, unit, whole};
use super::figure::{Figure, Quantity};
use crate::data::plane::Point;
use crate::rng::Draws;

fn named(corners: [Point; 4]) -> Figure {
    let [a, b, c, d] = corners;
    Figure::named([('A', a), ('B', b), ('C', c), ('D', d)]).polygon(&corners)
}

/// The fourth angle of a quadrilateral.
pub(super) fn angle_sum(draws: &mut Draws) -> Exercise {
    let [at_a, at_b] = [0; 2].map(|_| whole(65, 115, draws));
    // AB is 1 long, BC and AD are nearly so: then the angle at C follows, and is made whole by
    // moving D along AD.
    let [a, b] = [Point::new(0.0, 0.0), Point::new(1.0, 0.0)];
    let c = b + Point::direction(180.0 - f64::from(at_b)) * draws.range(0.75, 1.0);
    let along = Point::direction(f64::from(at_a));
    let (at_c, d) = corner(b, c, along, draws.range(0.75, 1.0));
    let at_d = 360 - at_a - at_b - at_c;
    let angle = |name: &str, at, from, to| Named::new(name, Quantity::angle(at, from, to));
    Exercise {
        figure: named([a, b, c, d]),
        setting: "ABCD is a quadrilateral".to_owned(),
        given: vec![
            (angle("angle A", a, b, d), Value::Degrees(at_a)),
            (angle("angle B", b, a, c), Value::Degrees(at_b)),
            (angle("angle C", c, b, d), Value::Degrees(at_c)),
        ],
        asked: angle("angle D", d, a, c),
        answer: Value::Degrees(at_d),
        reasoning: format!("360 - {at_a} - {at_b} - {at_c} = {at_d}"),
    }
}

/// The point D near `reach` on the ray from the origin along `along` for which angle BCD is a whole
/// number of degrees, and that number.
fn corner(b: Point, c: Point, along: Point, reach: f64) -> (u32, Point) {
    let to_b = (b - c).heading();
    let opening = (to_b - (along * reach - c).heading()).rem_euclid(360.0);
    let mut whole_opening = 1;
    while f64::from(whole_opening) + 0.5 < opening {
        whole_opening += 1;
    }
    let ray = Point::direction(to_b - f64::from(whole_opening));
    // c + s * ray = t * along, solved for t.
    let cross = |one: Point, other: Point| one.x * other.y - one.y * other.x;
    let t = cross(c, ray) / cross(along, ray);
    (whole_opening, along * t)
}

/// Opposite angles of a parallelogram are equal, neighbours make 180 degrees.
pub(super) fn parallelogram(draws: &mut Draws) -> Exercise {
    let acute = whole(48, 82, draws);
    let at_a = if draws.below(2) == 0 { acute } else { 180 - acute };
    let a = Point::new(0.0, 0.0);
    let b = Point::new(draws.range(1.1, 1.6), 0.0);
    let d = Point::direction(f64::from(at_a));
    let c = b + d;
    let (asked, answer, reasoning) = if draws.below(2) == 0 {
        let at_c = Named::new("angle C", Quantity::angle(c, b, d));
        (at_c, at_a, format!("opposite angles are equal: {at_a}"))
    } else {
        let at_b = Named::new("angle B", Quantity::angle(b, a, c));
        (at_b, 180 - at_a, format!("180 - {at_a} = {}", 180 - at_a))
    };
    Exercise {
        figure: named([a, b, c, d]),
        setting: "ABCD is a parallelogram".to_owned(),
        given: vec![(Named::new("angle A", Quantity::angle(a, b, d)), Value::Degrees(at_a))],
        asked,
        answer: Value::Degrees(answer),
        reasoning,
    }
}

/// The diagonal of a rectangle with whole sides.
pub(super) fn rectangle_diagonal(draws: &mut Draws) -> Exercise {
    let [height, width, diagonal] = right_sides(draws);
    let unit = unit(draws);
    let [a, b, c, d] = rectangle(width, height);
    let side = |name: &str, from, to| Named::new(name, Quantity::length(from, to));
    Exercise {
        figure: named([a, b, c, d]).segment(a, c),
        setting: "ABCD is a rectangle".to_owned(),
        given: vec![
            (side("AB", a, b), Value::whole(width, unit)),
            (side("BC", b, c), Value::whole(height, unit)),
        ],
        asked: side("AC", a, c),
        answer: Value::whole(diagonal, unit),
        reasoning: format!("{width}^2 + {height}^2 = {}, root {diagonal}", diagonal * diagonal),
    }
}

/// The diagonal of a square.
pub(super) fn square_diagonal(draws: &mut Draws) -> Exercise {
    let length = whole(2, 15, draws);
    let unit = unit(draws);
    let [a, b, c, d] = rectangle(length, length);
    Exercise {
        figure: named([a, b, c, d]).segment(a, c),
        setting: "ABCD is a square".to_owned(),
        given: vec![(Named::new("AB", Quantity::length(a, b)), Value::whole(length, unit))],
        asked: Named::new("AC", Quantity::length(a, c)),
        answer: Value::root(length, 2, unit),
        reasoning: format!("{length} * √{{2}}"),
    }
}

fn rectangle(width: u32, height: u32) -> [Point; 4] {
    let [width, height] = [width, height].map(f64::from);
    [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)].map(|(x, y)| Point::new(x, y))
}
