//! Points of the plane, for drawing and for geometry.
//!
//! Not here: what is drawn with them (`canvas`, `synth_vc`, `synth_gr`).

use std::ops::{Add, Mul, Sub};

/// A point, or the arrow to it from the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Point {
    pub(super) const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// The point at distance 1 from the origin, `degrees` from the x axis towards the y axis.
    pub(super) fn direction(degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self::new(cos, sin)
    }

    pub(super) fn length(self) -> f64 {
        self.x.hypot(self.y)
    }

    pub(super) fn distance(self, other: Self) -> f64 {
        (self - other).length()
    }

    /// The direction of this arrow, in degrees of `(-180, 180]`.
    pub(super) fn heading(self) -> f64 {
        self.y.atan2(self.x).to_degrees()
    }

    /// Turned about the origin by `degrees`, from the x axis towards the y axis.
    pub(super) fn turned(self, degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self::new(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }

    /// The point a share `t` of the way from here to `other`.
    pub(super) fn towards(self, other: Self, t: f64) -> Self {
        self + (other - self) * t
    }
}

impl Add for Point {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f64> for Point {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self::new(self.x * factor, self.y * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_takes_the_x_axis_to_the_y_axis() {
        let turned = Point::new(2.0, 0.0).turned(90.0);
        assert!(turned.distance(Point::new(0.0, 2.0)) < 1e-12);
        assert!((turned.heading() - 90.0).abs() < 1e-12);
        assert!(Point::direction(90.0).distance(turned * 0.5) < 1e-12);
    }

    #[test]
    fn halfway_is_the_midpoint() {
        let midpoint = Point::new(1.0, 1.0).towards(Point::new(3.0, 5.0), 0.5);
        assert_eq!(midpoint, Point::new(2.0, 3.0));
        assert!((Point::new(0.0, 0.0).distance(Point::new(3.0, 4.0)) - 5.0).abs() < 1e-12);
    }
}
