//! From a figure to a picture: fits it in, draws it, and finds a free place for every label.
//!
//! A label has a list of places where it would be understood (inside its angle, beside its side,
//! around its point). It takes the one that is farthest from all lines and other labels, nearer
//! places first among those that are free.
//!
//! Not here: what a figure holds (`figure`).

use super::figure::{Figure, Mark, Quantity};
use crate::data::canvas::{Canvas, Ink, Outline, SIDE};
use crate::data::lettering;
use crate::data::plane::Point;
use image::RgbImage;

/// The height of letters and digits, canvas units.
const LETTER: f64 = 8.0;
/// Free space around the figure for letters, canvas units.
const MARGIN: f64 = 13.0;
/// A label this far from everything, canvas units, is clear; more is no better.
const CLEAR: f64 = 2.0;
/// A label nearer than this is hard to read: any other place is better.
const CROWDED: f64 = 0.6;
/// The radius of the arc in an angle, canvas units.
const ARC: f64 = 9.0;

/// The colours of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inks {
    pub(super) paper: Ink,
    pub(super) lines: Ink,
    pub(super) labels: Ink,
}

/// Draws a figure; `None` where a picture of that size cannot be made.
pub(super) fn sketch(figure: &Figure, inks: Inks, side_pixels: u32) -> Option<RgbImage> {
    let mut canvas = Canvas::new(side_pixels, inks.paper)?;
    let figure = fitted(figure);
    for [from, to] in &figure.segments {
        canvas.stroke(Outline::new().polyline(&[*from, *to]), inks.lines, 1.1);
    }
    for (center, radius) in &figure.circles {
        canvas.stroke(Outline::new().circle(*center, *radius), inks.lines, 1.1);
    }
    for (quantity, mark) in &figure.marks {
        if let Quantity::Angle { at, from, to } = *quantity {
            let corner = angle_corner(at, from, to, mark);
            canvas.stroke(Outline::new().polyline(&corner), inks.lines, 0.9);
        }
    }
    // A point that no line ends at is shown as a dot.
    for (_, point) in &figure.names {
        if figure.segments.iter().all(|ends| !ends.contains(point)) {
            canvas.stroke(Outline::new().circle(*point, 0.7), inks.lines, 1.0);
        }
    }
    for label in placed_labels(&figure) {
        lettering::write(&mut canvas, &label.text, label.center, LETTER, inks.labels);
    }
    Some(canvas.into_image())
}

/// The figure in canvas coordinates, as large as the margins allow.
fn fitted(figure: &Figure) -> Figure {
    let [low, high] = figure.bounds();
    let extent = high - low;
    let scale = (SIDE - 2.0 * MARGIN) / extent.x.max(extent.y).max(f64::MIN_POSITIVE);
    let middle = low.towards(high, 0.5);
    figure.mapped(scale, |point| {
        let moved = (point - middle) * scale;
        Point::new(SIDE / 2.0 + moved.x, SIDE / 2.0 - moved.y)
    })
}

/// The arc, or the square of a right angle, that shows which angle is meant.
fn angle_corner(at: Point, from: Point, to: Point, mark: &Mark) -> Vec<Point> {
    let [start, end] = [from, to].map(|end| (end - at) * (1.0 / at.distance(end)));
    if *mark == Mark::RightAngle {
        let square = ARC * 0.6;
        return vec![at + start * square, at + (start + end) * square, at + end * square];
    }
    let opening = opening(at, from, to);
    (0..=16).map(|step| at + start.turned(opening * f64::from(step) / 16.0) * ARC).collect()
}

/// How far to turn from one ray to the other, degrees of `(-180, 180]`.
fn opening(at: Point, from: Point, to: Point) -> f64 {
    let turn = (to - at).heading() - (from - at).heading();
    180.0 - (180.0 - turn).rem_euclid(360.0)
}

struct Label {
    text: String,
    center: Point,
}

impl Label {
    /// Half the width and half the height.
    fn half(&self) -> Point {
        Point::new(lettering::width(&self.text, LETTER), LETTER) * 0.5
    }

    /// How far a point lies outside the label's box; 0 inside.
    fn distance(&self, point: Point) -> f64 {
        let [away, half] = [point - self.center, self.half()];
        Point::new((away.x.abs() - half.x).max(0.0), (away.y.abs() - half.y).max(0.0)).length()
    }

    /// How far another label's box lies outside this one's; 0 where they overlap.
    fn gap(&self, other: &Self) -> f64 {
        let [away, half] = [other.center - self.center, self.half() + other.half()];
        Point::new((away.x.abs() - half.x).max(0.0), (away.y.abs() - half.y).max(0.0)).length()
    }

    fn is_on_paper(&self) -> bool {
        let half = self.half();
        let fits = |middle: f64, half: f64| (half + 1.0..=SIDE - 1.0 - half).contains(&middle);
        fits(self.center.x, half.x) && fits(self.center.y, half.y)
    }
}

/// Places labels of angles first, since they have the fewest places to choose from.
fn placed_labels(figure: &Figure) -> Vec<Label> {
    let obstacles = obstacles(figure);
    let [low, high] = figure.bounds();
    let middle = low.towards(high, 0.5);
    let mut labels: Vec<Label> = Vec::new();
    let marked = figure.marks.iter().filter_map(|(quantity, mark)| match mark {
        Mark::Text(text) => Some((text.clone(), places_at(*quantity, text))),
        Mark::RightAngle => None,
    });
    let named =
        figure.names.iter().map(|(name, point)| (name.to_string(), places_around(*point, middle)));
    for (text, places) in marked.chain(named) {
        let scored = places.into_iter().filter_map(|(center, reluctance)| {
            let label = Label { text: text.clone(), center };
            let lines = obstacles.iter().map(|point| label.distance(*point));
            // Labels keep twice the distance, so that two of them do not read as one.
            let others = labels.iter().map(|other| label.gap(other) * 0.5);
            let clearance = lines.chain(others).fold(CLEAR, f64::min);
            let penalty = if clearance < CROWDED { 3.0 } else { 0.0 };
            label.is_on_paper().then_some((clearance - penalty - reluctance, label))
        });
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        labels.extend(best.map(|(_, label)| label));
    }
    labels
}

/// Points along everything that is drawn, about a unit apart.
fn obstacles(figure: &Figure) -> Vec<Point> {
    let mut points = Vec::new();
    let mut along = |from: Point, to: Point| {
        points.extend((0..=80).map(|step| from.towards(to, f64::from(step) / 80.0)));
    };
    for [from, to] in &figure.segments {
        along(*from, *to);
    }
    for (quantity, mark) in &figure.marks {
        if let Quantity::Angle { at, from, to } = *quantity {
            for ends in angle_corner(at, from, to, mark).windows(2) {
                if let [from, to] = ends {
                    points.extend([*from, from.towards(*to, 0.5), *to]);
                }
            }
        }
    }
    for (center, radius) in &figure.circles {
        points.extend(
            (0..240).map(|step| *center + Point::direction(f64::from(step) * 1.5) * *radius),
        );
        points.push(*center);
    }
    points
}

/// Places where the label of a quantity would be understood, each with a penalty for using it.
fn places_at(quantity: Quantity, text: &str) -> Vec<(Point, f64)> {
    match quantity {
        Quantity::Angle { at, from, to } => {
            let opening = opening(at, from, to);
            let start = (from - at).heading();
            let place = |step: i32, share: f64| {
                let reach = ARC + f64::from(step);
                let ray = Point::direction(start + opening * share);
                (at + ray * reach, f64::from(step) * 0.05 + (share - 0.5).abs())
            };
            let shares = [0.5, 0.42, 0.58, 0.34, 0.66];
            let inside = (2..26).flat_map(|step| shares.map(|share| place(step, share)));
            // An angle too narrow for its label has it beyond its corner.
            let beyond = Point::direction(start + opening * 0.5 + 180.0);
            let outside = (8..14).map(|reach| (at + beyond * f64::from(reach), 1.6));
            inside.chain(outside).collect()
        }
        Quantity::Length { from, to } => {
            let along = (to - from) * (1.0 / from.distance(to));
            let normal = along.turned(90.0);
            let half = Point::new(lettering::width(text, LETTER), LETTER) * 0.5;
            let reach = half.x * normal.x.abs() + half.y * normal.y.abs();
            let mut places = Vec::new();
            for side in [1.0, -1.0] {
                for share in [0.5, 0.4, 0.6, 0.3, 0.7] {
                    let foot = from.towards(to, share);
                    places
                        .push((foot + normal * (side * (reach + CLEAR)), (share - 0.5_f64).abs()));
                }
            }
            places
        }
    }
}

/// Places around a point, with a preference for the side away from the figure's middle.
fn places_around(point: Point, middle: Point) -> Vec<(Point, f64)> {
    let inwards = (middle - point) * (1.0 / point.distance(middle).max(1.0));
    let place = |step: i32, reach: f64| {
        let ray = Point::direction(f64::from(step) * 15.0);
        let inwardness = (ray.x * inwards.x + ray.y * inwards.y).max(0.0);
        (point + ray * reach, (reach - 7.0) * 0.25 + inwardness)
    };
    let around = |reach: f64| (0..24).map(move |step| place(step, reach));
    [7.0, 8.0, 9.5, 11.5].into_iter().flat_map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right_triangle() -> Figure {
        let [a, b, c] = [Point::new(0.0, 3.0), Point::new(4.0, 0.0), Point::new(0.0, 0.0)];
        Figure::named([('A', a), ('B', b), ('C', c)])
            .polygon(&[a, b, c])
            .right_angle(c, a, b)
            .mark(Quantity::length(a, b), "?")
            .mark(Quantity::angle(a, c, b), "53°")
    }

    #[test]
    fn an_opening_is_the_short_way_round() {
        let o = Point::default();
        let ray = Point::direction;
        for (from, to, turn) in [(10.0, 40.0, 30.0), (40.0, 10.0, -30.0), (350.0, 20.0, 30.0)] {
            assert!((opening(o, ray(from), ray(to)) - turn).abs() < 1e-9);
        }
    }

    #[test]
    fn a_fitted_figure_fills_the_space_between_the_margins() {
        let [low, high] = fitted(&right_triangle()).bounds();
        assert!((low.x - MARGIN).abs() < 1e-9 && (high.x - (SIDE - MARGIN)).abs() < 1e-9);
        // 4 wide and 3 high: three quarters of the width, in the middle.
        assert!((high.y - low.y - 55.5).abs() < 1e-9 && (high.y + low.y - SIDE).abs() < 1e-9);
    }

    #[test]
    fn labels_are_clear_of_lines_and_of_each_other() {
        let figure = fitted(&right_triangle());
        let labels = placed_labels(&figure);
        assert_eq!(labels.len(), 5);
        for (idx, label) in labels.iter().enumerate() {
            assert!(label.is_on_paper());
            assert!(obstacles(&figure).iter().all(|point| label.distance(*point) > 0.9));
            assert!(labels[..idx].iter().all(|other| label.gap(other) > 0.9), "{}", label.text);
        }
    }

    #[test]
    fn a_picture_has_paper_and_lines() {
        let inks = Inks { paper: Ink::WHITE, lines: Ink::BLACK, labels: Ink::BLACK };
        let picture = sketch(&right_triangle(), inks, 112).unwrap();
        let n_dark = picture.pixels().filter(|pixel| pixel.0[0] < 128).count();
        assert!((200..2000).contains(&n_dark), "{n_dark} dark pixels");
    }
}
