//! A geometry figure before it is drawn: points in the plane, what connects them, what labels them.
//!
//! Lengths are in the figure's own unit, so that a side labelled 3 is 3 long; y points up. The
//! quantity that is asked for is part of the figure: it is marked, and tests measure it.
//!
//! Not here: fitting it into a picture and placing labels (`sketch`); the families of exercises.

use crate::data::plane::Point;

/// A quantity that can be measured in a figure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quantity {
    /// The angle at `at` between the rays to `from` and `to`.
    Angle { at: Point, from: Point, to: Point },
    /// The distance between two points.
    Length { from: Point, to: Point },
}

impl Quantity {
    pub(super) fn angle(at: Point, from: Point, to: Point) -> Self {
        Self::Angle { at, from, to }
    }

    pub(super) fn length(from: Point, to: Point) -> Self {
        Self::Length { from, to }
    }

    fn mapped(self, map: impl Fn(Point) -> Point) -> Self {
        match self {
            Self::Angle { at, from, to } => Self::angle(map(at), map(from), map(to)),
            Self::Length { from, to } => Self::length(map(from), map(to)),
        }
    }
}

/// What stands at a quantity in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A value, a name such as "1", or "?".
    Text(String),
    /// The small square of a right angle.
    RightAngle,
}

/// The figure.
#[derive(Clone, Debug, Default)]
pub(super) struct Figure {
    /// Points with their letters.
    pub(super) names: Vec<(char, Point)>,
    pub(super) segments: Vec<[Point; 2]>,
    /// Centres and radii.
    pub(super) circles: Vec<(Point, f64)>,
    pub(super) marks: Vec<(Quantity, Mark)>,
}

impl Figure {
    /// A figure with named points.
    pub(super) fn named<const N: usize>(names: [(char, Point); N]) -> Self {
        Self { names: names.to_vec(), ..Self::default() }
    }

    pub(super) fn segment(mut self, from: Point, to: Point) -> Self {
        self.segments.push([from, to]);
        self
    }

    /// Adds the sides of a polygon.
    pub(super) fn polygon(mut self, corners: &[Point]) -> Self {
        let following = corners.iter().cycle().skip(1);
        self.segments.extend(corners.iter().zip(following).map(|(from, to)| [*from, *to]));
        self
    }

    pub(super) fn circle(mut self, center: Point, radius: f64) -> Self {
        self.circles.push((center, radius));
        self
    }

    pub(super) fn mark(mut self, quantity: Quantity, text: impl Into<String>) -> Self {
        self.marks.push((quantity, Mark::Text(text.into())));
        self
    }

    pub(super) fn right_angle(mut self, at: Point, from: Point, to: Point) -> Self {
        self.marks.push((Quantity::angle(at, from, to), Mark::RightAngle));
        self
    }

    /// The figure with every point moved by `map`, which must keep angles and ratios of lengths;
    /// radii are multiplied by `scale`.
    pub(super) fn mapped(&self, scale: f64, map: impl Fn(Point) -> Point) -> Self {
        Self {
            names: self.names.iter().map(|(name, point)| (*name, map(*point))).collect(),
            segments: self.segments.iter().map(|ends| ends.map(&map)).collect(),
            circles: self.circles.iter().map(|(at, r)| (map(*at), r * scale)).collect(),
            marks: self
                .marks
                .iter()
                .map(|(what, mark)| (what.mapped(&map), mark.clone()))
                .collect(),
        }
    }

    /// The smallest upright box around everything: its lowest and its highest corner.
    pub(super) fn bounds(&self) -> [Point; 2] {
        let ends = self.segments.iter().flatten().copied();
        let named = self.names.iter().map(|(_, point)| *point);
        let extremes = self.circles.iter().flat_map(|(center, radius)| {
            [Point::new(-radius, -radius), Point::new(*radius, *radius)].map(|r| *center + r)
        });
        let start = [Point::new(f64::MAX, f64::MAX), Point::new(f64::MIN, f64::MIN)];
        ends.chain(named).chain(extremes).fold(start, |[low, high], point| {
            [
                Point::new(low.x.min(point.x), low.y.min(point.y)),
                Point::new(high.x.max(point.x), high.y.max(point.y)),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_points_segments_and_circles() {
        let [a, b] = [Point::new(0.0, 0.0), Point::new(4.0, 1.0)];
        let figure = Figure::named([('A', a)]).segment(a, b).circle(b, 2.0);
        assert_eq!(figure.bounds(), [Point::new(0.0, -1.0), Point::new(6.0, 3.0)]);
        let doubled = figure.mapped(2.0, |point| point * 2.0);
        assert_eq!(doubled.bounds(), [Point::new(0.0, -2.0), Point::new(12.0, 6.0)]);
    }

    #[test]
    fn a_polygon_closes() {
        let corners = [Point::new(0.0, 0.0), Point::new(1.0, 0.0), Point::new(0.0, 1.0)];
        let figure = Figure::default().polygon(&corners);
        assert_eq!(figure.segments.len(), 3);
        assert_eq!(figure.segments[2], [corners[2], corners[0]]);
    }
}
