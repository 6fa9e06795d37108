//! A square picture one can fill and stroke outlines on, anti-aliased by tiny-skia.
//!
//! Coordinates are hundredths of the side, x to the right and y down, so that a drawing does not
//! depend on the picture's size.
//!
//! Not here: letters (`lettering`); what the procedural tasks draw (`synth_vc`, `synth_gr`).

use super::plane::Point;
use image::RgbImage;
use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Paint, Path, PathBuilder,
    Pixmap, RadialGradient, Rect, Shader, SpreadMode, Stroke, Transform,
};

/// The side of every canvas in its own coordinates.
pub(super) const SIDE: f64 = 100.0;

/// A colour with opacity; channels in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    red: f64,
    green: f64,
    blue: f64,
    opacity: f64,
}

impl Ink {
    pub(super) const WHITE: Self = Self::opaque([255, 255, 255]);
    pub(super) const BLACK: Self = Self::opaque([0, 0, 0]);

    pub(super) const fn opaque([red, green, blue]: [u8; 3]) -> Self {
        let [red, green, blue] = [red as f64 / 255.0, green as f64 / 255.0, blue as f64 / 255.0];
        Self { red, green, blue, opacity: 1.0 }
    }

    pub(super) fn with_opacity(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }

    /// This colour, `share` of the way to `other`; the opacity stays.
    pub(super) fn mixed(self, other: Self, share: f64) -> Self {
        Self {
            red: self.red + (other.red - self.red) * share,
            green: self.green + (other.green - self.green) * share,
            blue: self.blue + (other.blue - self.blue) * share,
            opacity: self.opacity,
        }
    }

    pub(super) fn lighter(self, share: f64) -> Self {
        self.mixed(Self::WHITE, share)
    }

    pub(super) fn darker(self, share: f64) -> Self {
        self.mixed(Self::BLACK, share)
    }

    fn color(self) -> Color {
        let channel = |value: f64| single(value.clamp(0.0, 1.0));
        Color::from_rgba(
            channel(self.red),
            channel(self.green),
            channel(self.blue),
            channel(self.opacity),
        )
        .unwrap_or(Color::BLACK)
    }
}

/// How an outline is filled. Stops are (share of the way, ink).
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill<'stops> {
    /// One ink.
    Flat(Ink),
    /// Inks along the line between two points.
    Linear(Point, Point, &'stops [(f64, Ink)]),
    /// Inks from a centre outwards to a radius.
    Radial(Point, f64, &'stops [(f64, Ink)]),
}

impl Fill<'_> {
    fn paint(&self) -> Paint<'static> {
        let spread = SpreadMode::Pad;
        let still = Transform::identity();
        let shader = match *self {
            Self::Flat(ink) => Some(Shader::SolidColor(ink.color())),
            Self::Linear(from, to, inks) => {
                LinearGradient::new(pixel(from), pixel(to), stops(inks), spread, still)
            }
            Self::Radial(center, radius, inks) => {
                let center = pixel(center);
                let radius = single(radius);
                RadialGradient::new(center, 0.0, center, radius, stops(inks), spread, still)
            }
        };
        Paint { shader: shader.unwrap_or(Shader::SolidColor(Color::BLACK)), ..Paint::default() }
    }
}

/// One or more closed or open curves. An outline of no extent draws nothing.
#[derive(Default)]
pub(super) struct Outline {
    builder: PathBuilder,
}

impl Outline {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds straight lines through the points.
    pub(super) fn polyline(mut self, points: &[Point]) -> Self {
        self.add_polyline(points);
        self
    }

    /// Adds straight lines through the points and back to the first.
    pub(super) fn polygon(mut self, points: &[Point]) -> Self {
        self.add_polyline(points);
        self.builder.close();
        self
    }

    /// Adds a smooth curve from the first to the last point that bends towards those between: a
    /// quadratic B-spline.
    pub(super) fn spline(mut self, points: &[Point]) -> Self {
        let [first, between @ .., last] = points else { return self };
        self.builder.move_to(single(first.x), single(first.y));
        for (idx, bend) in between.iter().enumerate() {
            let end = between.get(idx + 1).map_or(*last, |next| bend.towards(*next, 0.5));
            self.builder.quad_to(single(bend.x), single(bend.y), single(end.x), single(end.y));
        }
        self
    }

    /// Adds an ellipse with axes along the sides of the picture.
    pub(super) fn ellipse(mut self, center: Point, radius_x: f64, radius_y: f64) -> Self {
        let [left, top] = [single(center.x - radius_x), single(center.y - radius_y)];
        let [right, bottom] = [single(center.x + radius_x), single(center.y + radius_y)];
        if let Some(bounds) = Rect::from_ltrb(left, top, right, bottom) {
            self.builder.push_oval(bounds);
        }
        self
    }

    /// Adds a circle.
    pub(super) fn circle(self, center: Point, radius: f64) -> Self {
        self.ellipse(center, radius, radius)
    }

    fn add_polyline(&mut self, points: &[Point]) {
        let [first, others @ ..] = points else { return };
        self.builder.move_to(single(first.x), single(first.y));
        for point in others {
            self.builder.line_to(single(point.x), single(point.y));
        }
    }

    fn path(self) -> Option<Path> {
        self.builder.finish()
    }
}

/// The picture being drawn.
pub(super) struct Canvas {
    pixmap: Pixmap,
    scale: Transform,
}

impl Canvas {
    /// A canvas of `side_pixels` x `side_pixels` pixels in one colour; `None` where that is 0 or too
    /// large for memory.
    pub(super) fn new(side_pixels: u32, background: Ink) -> Option<Self> {
        let mut pixmap = Pixmap::new(side_pixels, side_pixels)?;
        pixmap.fill(background.color());
        let factor = single(f64::from(side_pixels) / SIDE);
        Some(Self { pixmap, scale: Transform::from_scale(factor, factor) })
    }

    /// Fills an outline; where its curves cross, areas inside an even number of them stay empty.
    pub(super) fn fill(&mut self, outline: Outline, fill: Fill) {
        if let Some(path) = outline.path() {
            self.pixmap.fill_path(&path, &fill.paint(), FillRule::EvenOdd, self.scale, None);
        }
    }

    /// Draws along an outline with a round pen.
    pub(super) fn stroke(&mut self, outline: Outline, ink: Ink, width: f64) {
        let pen = Stroke {
            width: single(width),
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        if let Some(path) = outline.path() {
            self.pixmap.stroke_path(&path, &Fill::Flat(ink).paint(), &pen, self.scale, None);
        }
    }

    /// The picture. The background is opaque, so no transparency is lost.
    pub(super) fn into_image(self) -> RgbImage {
        let mut picture = RgbImage::new(self.pixmap.width(), self.pixmap.height());
        for (to, from) in picture.pixels_mut().zip(self.pixmap.pixels()) {
            to.0 = [from.red(), from.green(), from.blue()];
        }
        picture
    }
}

fn stops(inks: &[(f64, Ink)]) -> Vec<GradientStop> {
    inks.iter().map(|(share, ink)| GradientStop::new(single(*share), ink.color())).collect()
}

fn pixel(point: Point) -> tiny_skia::Point {
    tiny_skia::Point::from_xy(single(point.x), single(point.y))
}

#[expect(clippy::cast_possible_truncation, reason = "tiny-skia computes in f32")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Ink = Ink::opaque([255, 0, 0]);

    #[test]
    fn coordinates_are_hundredths_of_the_side() {
        let mut canvas = Canvas::new(10, Ink::WHITE).unwrap();
        let corners = [(50.0, 20.0), (90.0, 20.0), (90.0, 40.0), (50.0, 40.0)];
        let corners = corners.map(|(x, y)| Point::new(x, y));
        canvas.fill(Outline::new().polygon(&corners), Fill::Flat(RED));
        let picture = canvas.into_image();
        let red: Vec<(u32, u32)> = picture
            .enumerate_pixels()
            .filter(|(_, _, pixel)| pixel.0 == [255, 0, 0])
            .map(|(x, y, _)| (x, y))
            .collect();
        assert_eq!(red, [2, 3].map(|y| [5, 6, 7, 8].map(|x| (x, y))).concat());
        assert_eq!(picture.get_pixel(4, 2).0, [255, 255, 255]);
    }

    #[test]
    fn a_hole_stays_empty_and_an_edge_is_mixed() {
        let mut canvas = Canvas::new(100, Ink::WHITE).unwrap();
        let center = Point::new(50.0, 50.0);
        let ring = Outline::new().circle(center, 30.5).circle(center, 10.0);
        canvas.fill(ring, Fill::Flat(Ink::BLACK));
        let picture = canvas.into_image();
        assert_eq!(picture.get_pixel(50, 50).0, [255; 3]);
        assert_eq!(picture.get_pixel(70, 50).0, [0; 3]);
        // The circle ends at x = 80.5: pixel 80 is half covered there.
        let edge = picture.get_pixel(80, 50).0[0];
        assert!((100..160).contains(&edge), "{edge}");
    }

    #[test]
    fn a_canvas_without_pixels_is_none() {
        assert!(Canvas::new(0, Ink::WHITE).is_none());
    }
}
