//! `synth-gr`: angles and lengths in drawn geometry figures, in the manner of GeoQA.
//!
//! A row is a pure function of (seed, split, index). Each family of exercises makes a figure to
//! scale, with what is given and asked in it:
//!
//! | split | families, each equally likely | numbers | figures |
//! |---|---|---|---|
//! | train, test | angle sum, isosceles, exterior angle, Pythagoras, 30 and 45 degrees, parallels, bisector, central and inscribed angle, diameter | angles in steps of 5 | nearly upright, black on white |
//! | shifted | midline, equilateral height, crossing lines, angles on a line, tangent, cyclic quadrilateral, chord, quadrilateral, parallelogram, rectangle, square | any whole degrees | turned at will, blue on cream |
//!
//! The given values stand in the text for half of the rows, in the figure for a quarter, in both
//! for a quarter. Answers are written as GeoQA's: `50°`, `5cm`, `2√{3}cm`, `√{3}`.
//!
//! `figure` and `exercise` say what an exercise is, `sketch` draws it, the other files hold the
//! families.

mod circles;
mod exercise;
mod figure;
mod lines;
mod quadrilaterals;
mod sketch;
mod triangles;

use super::canvas::Ink;
use super::{Demonstration, ImageSource, Sample, Split};
use crate::rng::Draws;
use exercise::{Exercise, Presentation};
use figure::Figure;
use sketch::Inks;
use std::sync::Arc;

type Family = fn(&mut Draws) -> Exercise;

const TRAINING: [Family; 9] = [
    triangles::angle_sum,
    triangles::isosceles,
    triangles::exterior,
    triangles::pythagoras,
    triangles::half_square_or_half_equilateral,
    lines::parallels,
    lines::bisector,
    circles::central_and_inscribed,
    circles::diameter,
];

const SHIFTED: [Family; 11] = [
    triangles::midline,
    triangles::equilateral_height,
    lines::crossing,
    lines::straight,
    circles::tangent,
    circles::cyclic_quadrilateral,
    circles::chord,
    quadrilaterals::angle_sum,
    quadrilaterals::parallelogram,
    quadrilaterals::rectangle_diagonal,
    quadrilaterals::square_diagonal,
];

/// What may appear in a split.
struct Look {
    families: &'static [Family],
    /// The largest turn from upright, degrees.
    max_turn: f64,
    inks: Inks,
}

impl Look {
    fn of(split: Split) -> Self {
        match split {
            Split::Train | Split::Test => Self {
                families: &TRAINING,
                max_turn: 12.0,
                inks: Inks { paper: Ink::WHITE, lines: Ink::BLACK, labels: Ink::BLACK },
            },
            Split::Shifted => Self {
                families: &SHIFTED,
                max_turn: 180.0,
                inks: Inks {
                    paper: Ink::opaque([250, 244, 228]),
                    lines: Ink::opaque([28, 52, 140]),
                    labels: Ink::opaque([128, 24, 36]),
                },
            },
        }
    }

    fn exercise(&self, draws: &mut Draws) -> Exercise {
        let family = self.families.get(draws.below(self.families.len()));
        family.copied().unwrap_or(triangles::angle_sum)(draws)
    }

    /// The figure turned, and seen in a mirror half of the time: both keep angles and lengths.
    fn posed(&self, figure: &Figure, draws: &mut Draws) -> Figure {
        let turn = draws.range(-self.max_turn, self.max_turn);
        let mirror = if draws.below(2) == 0 { 1.0 } else { -1.0 };
        figure.mapped(1.0, |mut point| {
            point.x *= mirror;
            point.turned(turn)
        })
    }
}

/// Draws a row; `None` where a picture of that size cannot be made.
pub(super) fn sample(
    id: String,
    split: Split,
    side_pixels: u32,
    draws: &mut Draws,
) -> Option<Sample> {
    let look = Look::of(split);
    let exercise = look.exercise(draws);
    let presentation = Presentation::draw(draws);
    let figure = look.posed(&exercise.marked_figure(presentation), draws);
    let picture = sketch::sketch(&figure, look.inks, side_pixels)?;
    Some(Sample {
        id,
        images: vec![ImageSource::Drawn(Arc::new(picture))],
        problem: exercise.problem(presentation),
        solution: exercise.answer.to_string(),
        demonstration: Some(Demonstration::Reasoning(exercise.reasoning)),
        columns: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plane::Point;
    use crate::rng::{Purpose, Stream};
    use exercise::Value;
    use figure::{Mark, Quantity};
    use std::collections::BTreeMap;

    fn draws(idx: u32) -> Draws {
        Stream::new(5, Purpose::Drawing, 0, idx, 1).draws()
    }

    fn families() -> impl Iterator<Item = Family> {
        TRAINING.into_iter().chain(SHIFTED)
    }

    /// From the coordinates alone; angles by the law of cosines, not by headings as in drawing.
    fn measured(quantity: Quantity) -> f64 {
        match quantity {
            Quantity::Length { from, to } => (from.x - to.x).hypot(from.y - to.y),
            Quantity::Angle { at, from, to } => {
                let square = |one: Point, other: Point| {
                    (one.x - other.x).powi(2) + (one.y - other.y).powi(2)
                };
                let [p, q, opposite] = [square(at, from), square(at, to), square(from, to)];
                ((p + q - opposite) / (2.0 * (p * q).sqrt())).acos().to_degrees()
            }
        }
    }

    fn number(value: Value) -> f64 {
        match value {
            Value::Degrees(degrees) => f64::from(degrees),
            Value::Length { factor, radicand, .. } => {
                f64::from(factor) * f64::from(radicand).sqrt()
            }
        }
    }

    #[test]
    fn answers_and_givens_are_what_the_figure_measures() {
        for (family_idx, family) in families().enumerate() {
            for idx in 0..150 {
                let exercise = family(&mut draws(idx));
                let look = Look::of(Split::Shifted);
                let given = exercise.given.iter().map(|(what, value)| (what, *value));
                for (what, value) in given.chain([(&exercise.asked, exercise.answer)]) {
                    let name = &what.name;
                    let figure = Figure::default().mark(what.quantity, "x");
                    let [(posed, _)] = look.posed(&figure, &mut draws(idx)).marks[..] else {
                        panic!("a mark is lost")
                    };
                    let error = (measured(posed) - number(value)).abs();
                    assert!(error < 1e-6, "family {family_idx} row {idx}: {name} is not {value}");
                }
            }
        }
    }

    /// The names in sentences are letters of the figure: "angle ACD" has its corner at C.
    #[test]
    fn names_are_those_of_the_figure() {
        for family in families() {
            for idx in 0..30 {
                let exercise = family(&mut draws(idx));
                let at = |letter: char| {
                    exercise.figure.names.iter().find(|(name, _)| *name == letter).unwrap().1
                };
                let given = exercise.given.iter().map(|(what, _)| what);
                for what in given.chain([&exercise.asked]).filter(|what| what.label.is_none()) {
                    let letters: Vec<char> = what.name.replace("angle ", "").chars().collect();
                    match (what.quantity, letters.as_slice()) {
                        (Quantity::Angle { at: corner, .. }, [name]) => {
                            assert_eq!(corner, at(*name));
                        }
                        (Quantity::Angle { at: corner, from, to }, [one, name, other]) => {
                            assert_eq!(corner, at(*name), "{}", what.name);
                            assert_eq!([from, to], [at(*one), at(*other)], "{}", what.name);
                        }
                        (Quantity::Length { from, to }, [one, other]) => {
                            let ends = [at(*one), at(*other)];
                            assert!(ends == [from, to] || ends == [to, from], "{}", what.name);
                        }
                        _ => panic!("{} names no such quantity", what.name),
                    }
                }
            }
        }
    }

    /// The number at the end of a calculation is the answer's.
    #[test]
    fn reasoning_is_short_and_ends_in_the_answer() {
        for family in families() {
            for idx in 0..50 {
                let exercise = family(&mut draws(idx));
                let reasoning = &exercise.reasoning;
                assert!(reasoning.split_whitespace().count() <= 14, "{reasoning}");
                let Value::Length { radicand: 2.., .. } = exercise.answer else {
                    let last = reasoning.split(' ').next_back().unwrap();
                    assert_eq!(last, number(exercise.answer).to_string(), "{reasoning}");
                    continue;
                };
                assert!(reasoning.contains('√'), "{reasoning}");
            }
        }
    }

    #[test]
    fn no_answer_is_common() {
        for split in [Split::Train, Split::Shifted] {
            let look = Look::of(split);
            let mut counts = BTreeMap::new();
            for idx in 0..1000 {
                let answer = look.exercise(&mut draws(idx)).answer.to_string();
                *counts.entry(answer).or_insert(0) += 1;
            }
            let commonest = counts.iter().max_by_key(|(_, count)| **count).unwrap();
            assert!(*commonest.1 < 100, "{split:?}: {commonest:?} of 1000");
        }
    }

    #[test]
    fn every_label_can_be_written() {
        for family in families() {
            let exercise = family(&mut draws(1));
            for presentation in
                [Presentation::Text, Presentation::TextAndFigure, Presentation::Figure]
            {
                let figure = exercise.marked_figure(presentation);
                let names = figure.names.iter().map(|(name, _)| name.to_string());
                let marks = figure.marks.iter().filter_map(|(_, mark)| match mark {
                    Mark::Text(text) => Some(text.clone()),
                    Mark::RightAngle => None,
                });
                for text in names.chain(marks) {
                    assert!(text.chars().all(super::super::lettering::has_glyph), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_splits_share_no_family() {
        for one in TRAINING {
            assert!(SHIFTED.iter().all(|other| !std::ptr::fn_addr_eq(one, *other)));
        }
    }
}
