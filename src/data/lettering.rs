//! A small stroke font: the letters, digits and signs that label geometry figures.
//!
//! A glyph is a list of pen strokes on a grid 4 wide and 6 high, (0, 0) at its top left; capitals
//! and digits fill the height. A stroke is straight from point to point or a smooth curve.
//!
//! Not here: where labels go (`synth_gr::sketch`).

use super::canvas::{Canvas, Ink, Outline};
use super::plane::Point;

/// Grid units between glyphs.
const GAP: f64 = 1.7;
/// Grid units in the height of a capital.
const HEIGHT: f64 = 6.0;
/// How much narrower the grid is drawn than it is high.
const SQUEEZE: f64 = 0.8;
/// The pen's width, as a share of the height of a capital.
const PEN: f64 = 0.14;

enum Pen {
    Straight(&'static [(i8, i8)]),
    Curved(&'static [(i8, i8)]),
}
use Pen::{Curved, Straight};

/// The width of a line of text whose capitals are `height` high, in canvas units.
pub(super) fn width(text: &str, height: f64) -> f64 {
    let units: f64 = text.chars().map(|letter| glyph_width(letter) + GAP).sum();
    (units - GAP).max(0.0) * SQUEEZE * height / HEIGHT
}

/// Writes a line of text with its middle at `center`; characters without a glyph leave a gap.
pub(super) fn write(canvas: &mut Canvas, text: &str, center: Point, height: f64, ink: Ink) {
    let unit = height / HEIGHT;
    let corner = center - Point::new(width(text, height), height) * 0.5;
    let mut left = 0.0;
    for letter in text.chars() {
        let origin = corner + Point::new(left * SQUEEZE * unit, 0.0);
        left += glyph_width(letter) + GAP;
        let place = |points: &[(i8, i8)]| -> Vec<Point> {
            points
                .iter()
                .map(|(x, y)| origin + Point::new(f64::from(*x) * SQUEEZE, f64::from(*y)) * unit)
                .collect()
        };
        for pen in glyph(letter) {
            let outline = match pen {
                Straight(points) => Outline::new().polyline(&place(points)),
                Curved(points) => Outline::new().spline(&place(points)),
            };
            canvas.stroke(outline, ink, height * PEN);
        }
    }
}

/// Whether the font can write this character.
#[cfg(test)]
pub(super) fn has_glyph(letter: char) -> bool {
    letter == ' ' || !glyph(letter).is_empty()
}

/// Grid units from a glyph's left to its right edge.
fn glyph_width(letter: char) -> f64 {
    if letter == '°' { 2.0 } else { 4.0 }
}

fn glyph(letter: char) -> &'static [Pen] {
    match letter {
        'A'..='Z' => capital(letter),
        '0'..='9' => digit(letter),
        'c' => &[Curved(&[(4, 3), (3, 2), (0, 2), (0, 6), (3, 6), (4, 5)])],
        'm' => &[
            Straight(&[(0, 6), (0, 2)]),
            Curved(&[(0, 4), (0, 2), (2, 2), (2, 4), (2, 6)]),
            Curved(&[(2, 4), (2, 2), (4, 2), (4, 4), (4, 6)]),
        ],
        '°' => &[Curved(&[(1, 0), (2, 0), (2, 2), (0, 2), (0, 0), (1, 0)])],
        '√' => &[Straight(&[(0, 4), (1, 3), (2, 6), (4, 0)])],
        '?' => &[
            Curved(&[(0, 1), (0, 0), (4, -1), (4, 2), (2, 3), (2, 4)]),
            Straight(&[(2, 6), (2, 6)]),
        ],
        _ => &[],
    }
}

fn digit(letter: char) -> &'static [Pen] {
    match letter {
        '0' => &[Curved(&[(2, 0), (0, 0), (0, 3), (0, 6), (4, 6), (4, 3), (4, 0), (2, 0)])],
        '1' => &[Straight(&[(1, 1), (2, 0), (2, 6)])],
        '2' => &[Curved(&[(0, 2), (0, 0), (4, -1), (4, 2), (0, 6)]), Straight(&[(0, 6), (4, 6)])],
        '3' => {
            &[Curved(&[(0, 0), (4, -1), (4, 3), (1, 3)]), Curved(&[(1, 3), (5, 3), (4, 7), (0, 6)])]
        }
        '4' => &[Straight(&[(3, 6), (3, 0), (0, 4), (4, 4)])],
        '5' => &[
            Straight(&[(4, 0), (1, 0), (0, 3)]),
            Curved(&[(0, 3), (3, 2), (5, 3), (4, 7), (0, 6)]),
        ],
        '6' => &[Curved(&[(3, 0), (0, 1), (0, 4), (0, 6), (4, 6), (4, 3), (1, 2), (0, 4)])],
        '7' => &[Straight(&[(0, 0), (4, 0), (1, 6)])],
        '8' => &[
            Curved(&[(2, 3), (0, 3), (0, 0), (4, 0), (4, 3), (2, 3)]),
            Curved(&[(2, 3), (0, 3), (0, 6), (4, 6), (4, 3), (2, 3)]),
        ],
        '9' => &[Curved(&[(1, 6), (4, 5), (4, 2), (4, 0), (0, 0), (0, 3), (3, 4), (4, 2)])],
        _ => &[],
    }
}

fn capital(letter: char) -> &'static [Pen] {
    match letter {
        'A' => &[Straight(&[(0, 6), (2, 0), (4, 6)]), Straight(&[(1, 4), (3, 4)])],
        'B' => &[
            Straight(&[(0, 3), (0, 0)]),
            Straight(&[(0, 3), (0, 6)]),
            Curved(&[(0, 0), (2, 0), (4, 0), (4, 3), (2, 3), (0, 3)]),
            Curved(&[(0, 3), (2, 3), (5, 3), (5, 6), (2, 6), (0, 6)]),
        ],
        'C' => &[Curved(&[(4, 1), (3, 0), (0, 0), (0, 3), (0, 6), (3, 6), (4, 5)])],
        'D' => &[
            Straight(&[(0, 0), (0, 6)]),
            Curved(&[(0, 0), (2, 0), (4, 0), (4, 3), (4, 6), (2, 6), (0, 6)]),
        ],
        'E' => &[Straight(&[(4, 0), (0, 0), (0, 6), (4, 6)]), Straight(&[(0, 3), (3, 3)])],
        'F' => &[Straight(&[(4, 0), (0, 0), (0, 6)]), Straight(&[(0, 3), (3, 3)])],
        'M' => &[Straight(&[(0, 6), (0, 0), (2, 4), (4, 0), (4, 6)])],
        'N' => &[Straight(&[(0, 6), (0, 0), (4, 6), (4, 0)])],
        'O' => digit('0'),
        'P' => &[
            Straight(&[(0, 0), (0, 6)]),
            Curved(&[(0, 0), (2, 0), (4, 0), (4, 3), (2, 3), (0, 3)]),
        ],
        'Q' => &[
            Curved(&[(2, 0), (0, 0), (0, 3), (0, 6), (4, 6), (4, 3), (4, 0), (2, 0)]),
            Straight(&[(2, 4), (4, 6)]),
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> image::RgbImage {
        let mut canvas = Canvas::new(100, Ink::WHITE).unwrap();
        write(&mut canvas, text, Point::new(50.0, 50.0), 30.0, Ink::BLACK);
        canvas.into_image()
    }

    #[test]
    fn every_glyph_leaves_ink_of_its_own() {
        let letters = "ABCDEFMNPQ0123456789cm°√?";
        let pictures: Vec<_> = letters.chars().map(|letter| written(&letter.to_string())).collect();
        for (idx, picture) in pictures.iter().enumerate() {
            assert!(picture.pixels().any(|pixel| pixel.0 == [0; 3]), "glyph {idx} is empty");
            assert!(pictures[..idx].iter().all(|other| other != picture), "glyph {idx} is another");
        }
    }

    /// Glyphs of 4, 4 and 2 units and two gaps of 1.7, squeezed to 0.8; the unit is height/6.
    #[test]
    fn text_is_centred_and_as_wide_as_announced() {
        assert!((width("50°", 6.0) - 10.72).abs() < 1e-12);
        let picture = written("MM");
        let inked: Vec<u32> = picture
            .enumerate_pixels()
            .filter(|(_, _, pixel)| pixel.0 == [0; 3])
            .map(|(x, _, _)| x)
            .collect();
        let (left, right) = (inked.iter().min().unwrap(), inked.iter().max().unwrap());
        assert!(left.abs_diff(99 - right) <= 1, "{left} {right}");
        assert!((f64::from(right - left) - width("MM", 30.0)).abs() < 6.0);
    }

    #[test]
    fn a_character_without_a_glyph_leaves_a_gap() {
        assert!(written("~").pixels().all(|pixel| pixel.0 == [255; 3]));
        assert!(!has_glyph('~'));
    }
}
