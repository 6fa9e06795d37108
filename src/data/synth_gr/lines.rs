//! Exercises about lines: parallels, bisectors, crossings, angles on a line.
//! Not here: lines at circles (`circles`).

use super::exercise::{Exercise, Named, Value, degrees, whole};
use super::figure::{Figure, Quantity};
use crate::data::plane::Point;
use crate::rng::Draws;

/// Two parallel lines and one that crosses both: corresponding, alternate and interior angles.
pub(super) fn parallels(draws: &mut Draws) -> Exercise {
    let acute = degrees(40, 80, 5, draws);
    let slope = if draws.below(2) == 0 { acute } else { 180 - acute };
    // The crossing line goes up from F through q on CD and p on AB to E; `slope` is angle DqE.
    let upwards = Point::direction(f64::from(slope)) * (1.5 / f64::from(slope).to_radians().sin());
    let q = Point::new(0.0, 0.0);
    let p = q + upwards;
    let [e, f] = [p + upwards * 0.5, q - upwards * 0.5];
    let middle = p.towards(q, 0.5).x;
    let [a, b] = [-1.8, 1.8].map(|x| Point::new(middle + x, p.y));
    let [c, d] = [-1.8, 1.8].map(|x| Point::new(middle + x, q.y));
    let two = Quantity::angle(q, d, p);
    let (one, known, reasoning) = match draws.below(3) {
        0 => (Quantity::angle(p, b, e), slope, format!("corresponding angles are equal: {slope}")),
        1 => (Quantity::angle(p, a, q), slope, format!("alternate angles are equal: {slope}")),
        _ => (Quantity::angle(p, b, q), 180 - slope, format!("180 - {} = {slope}", 180 - slope)),
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d), ('E', e), ('F', f)])
            .segment(a, b)
            .segment(c, d)
            .segment(e, f),
        setting: "AB is parallel to CD".to_owned(),
        given: vec![(Named::labelled("1", one), Value::Degrees(known))],
        asked: Named::labelled("2", two),
        answer: Value::Degrees(slope),
        reasoning,
    }
}

/// An angle and its half.
pub(super) fn bisector(draws: &mut Draws) -> Exercise {
    let half = degrees(20, 70, 5, draws);
    let o = Point::new(0.0, 0.0);
    let ray = |degrees: u32| Point::direction(f64::from(degrees));
    let [a, b, c] = [ray(0), ray(2 * half), ray(half)];
    let aoc = Named::new("angle AOC", Quantity::angle(o, a, c));
    let aob = Named::new("angle AOB", Quantity::angle(o, a, b));
    let both = 2 * half;
    let ((given, asked), [known, answer], reasoning) = if draws.below(2) == 0 {
        ((aob, aoc), [both, half], format!("{both} / 2 = {half}"))
    } else {
        ((aoc, aob), [half, both], format!("2 * {half} = {both}"))
    };
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('O', o)])
            .segment(o, a)
            .segment(o, b)
            .segment(o, c),
        setting: "OC bisects angle AOB".to_owned(),
        given: vec![(given, Value::Degrees(known))],
        asked,
        answer: Value::Degrees(answer),
        reasoning,
    }
}

/// Two lines that cross: opposite and neighbouring angles.
pub(super) fn crossing(draws: &mut Draws) -> Exercise {
    let acute = whole(35, 85, draws);
    let o = Point::new(0.0, 0.0);
    let a = Point::direction(180.0);
    let c = Point::direction(180.0 + f64::from(acute));
    let [b, d] = [o - a, o - c];
    let (asked, answer, reasoning) = if draws.below(2) == 0 {
        let bod = Named::new("angle BOD", Quantity::angle(o, b, d));
        (bod, acute, format!("opposite angles are equal: {acute}"))
    } else {
        let aod = Named::new("angle AOD", Quantity::angle(o, a, d));
        (aod, 180 - acute, format!("180 - {acute} = {}", 180 - acute))
    };
    let given = Named::new("angle AOC", Quantity::angle(o, a, c));
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d), ('O', o)])
            .segment(a, b)
            .segment(c, d),
        setting: "lines AB and CD meet at O".to_owned(),
        given: vec![(given, Value::Degrees(acute))],
        asked,
        answer: Value::Degrees(answer),
        reasoning,
    }
}

/// Three angles side by side on a straight line.
pub(super) fn straight(draws: &mut Draws) -> Exercise {
    let left = whole(38, 75, draws);
    let right = whole(38, 68, draws);
    let between = 180 - left - right;
    let o = Point::new(0.0, 0.0);
    let [a, b] = [Point::direction(180.0), Point::direction(0.0)];
    let [c, d] = [180.0 - f64::from(left), f64::from(right)].map(Point::direction);
    Exercise {
        figure: Figure::named([('A', a), ('B', b), ('C', c), ('D', d), ('O', o)])
            .segment(a, b)
            .segment(o, c)
            .segment(o, d),
        setting: "O lies on line AB".to_owned(),
        given: vec![
            (Named::new("angle AOC", Quantity::angle(o, a, c)), Value::Degrees(left)),
            (Named::new("angle BOD", Quantity::angle(o, b, d)), Value::Degrees(right)),
        ],
        asked: Named::new("angle COD", Quantity::angle(o, c, d)),
        answer: Value::Degrees(between),
        reasoning: format!("180 - {left} - {right} = {between}"),
    }
}
