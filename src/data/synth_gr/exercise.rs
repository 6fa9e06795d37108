//! An exercise of `synth-gr`: a figure, what is known in it, what is asked, the answer; and the
//! sentence that asks.
//!
//! Not here: which exercises there are (`triangles`, `lines`, `circles`, `quadrilaterals`); how a
//! figure is drawn (`sketch`).

use super::figure::{Figure, Quantity};
use crate::rng::Draws;
use std::fmt;

/// A quantity with the name that sentences give it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// "angle ACD", "AB", "angle 1".
    pub(super) name: String,
    pub(super) quantity: Quantity,
    /// What the figure must show for the name to be understood: the "1" of "angle 1".
    pub(super) label: Option<&'static str>,
}

impl Named {
    pub(super) fn new(name: impl Into<String>, quantity: Quantity) -> Self {
        Self { name: name.into(), quantity, label: None }
    }

    pub(super) fn labelled(label: &'static str, quantity: Quantity) -> Self {
        Self { name: format!("angle {label}"), quantity, label: Some(label) }
    }
}

/// The value of a quantity, written as GeoQA writes it: `50°`, `5cm`, `2√{3}cm`, `√{3}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Degrees(u32),
    /// `factor` times the root of `radicand`, which is 1 for whole numbers.
    Length {
        factor: u32,
        radicand: u32,
        unit: &'static str,
    },
}

impl Value {
    pub(super) fn whole(factor: u32, unit: &'static str) -> Self {
        Self::Length { factor, radicand: 1, unit }
    }

    pub(super) fn root(factor: u32, radicand: u32, unit: &'static str) -> Self {
        Self::Length { factor, radicand, unit }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Degrees(degrees) => write!(out, "{degrees}°"),
            Self::Length { factor, radicand: 1, unit } => write!(out, "{factor}{unit}"),
            Self::Length { factor: 1, radicand, unit } => write!(out, "√{{{radicand}}}{unit}"),
            Self::Length { factor, radicand, unit } => {
                write!(out, "{factor}√{{{radicand}}}{unit}")
            }
        }
    }
}

/// A figure without marks for what is given or asked, and the rest of an exercise.
#[derive(Clone, Debug)]
pub(super) struct Exercise {
    pub(super) figure: Figure,
    /// What the figure alone does not say: "AB = AC in triangle ABC".
    pub(super) setting: String,
    pub(super) given: Vec<(Named, Value)>,
    pub(super) asked: Named,
    pub(super) answer: Value,
    /// The calculation: "180 - 50 - 60 = 70".
    pub(super) reasoning: String,
}

/// Where the given values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presentation {
    Text,
    TextAndFigure,
    Figure,
}

impl Presentation {
    /// In the text alone for half of the rows, as in GeoQA; a quarter each for the others.
    pub(super) fn draw(draws: &mut Draws) -> Self {
        match draws.below(4) {
            0 => Self::Figure,
            1 => Self::TextAndFigure,
            _ => Self::Text,
        }
    }
}

impl Exercise {
    /// The question.
    pub(super) fn problem(&self, presentation: Presentation) -> String {
        let mut facts = vec![self.setting.clone()];
        if presentation != Presentation::Figure {
            facts.extend(self.given.iter().map(|(what, value)| format!("{} = {value}", what.name)));
        }
        format!("As shown in the figure, {}. Find {}.", facts.join(", "), self.asked.name)
    }

    /// The figure with the marks that the question needs.
    pub(super) fn marked_figure(&self, presentation: Presentation) -> Figure {
        let mut figure = self.figure.clone();
        for (what, value) in &self.given {
            let text = match (presentation, what.label) {
                (Presentation::Figure, _) | (Presentation::TextAndFigure, None) => {
                    value.to_string()
                }
                (Presentation::Text | Presentation::TextAndFigure, Some(label)) => label.to_owned(),
                (Presentation::Text, None) => continue,
            };
            figure = figure.mark(what.quantity, text);
        }
        match (presentation, self.asked.label) {
            (_, Some(label)) => figure.mark(self.asked.quantity, label),
            (Presentation::Text, None) => figure,
            _ => figure.mark(self.asked.quantity, "?"),
        }
    }
}

/// An angle in whole degrees from `low` to `high`, in steps of `step`; `low` if there is no other.
pub(super) fn degrees(low: u32, high: u32, step: u32, draws: &mut Draws) -> u32 {
    whole(0, high.saturating_sub(low) / step, draws) * step + low
}

/// A whole number from `low` to `high`.
pub(super) fn whole(low: u32, high: u32, draws: &mut Draws) -> u32 {
    let n_values = high.saturating_sub(low) as usize + 1;
    low + u32::try_from(draws.below(n_values)).unwrap_or(0)
}

/// A unit of length; half of the rows have none.
pub(super) fn unit(draws: &mut Draws) -> &'static str {
    ["", "cm"][draws.below(2)]
}

/// Legs and hypotenuses of right triangles with whole sides, in a random order of the legs.
pub(super) fn right_sides(draws: &mut Draws) -> [u32; 3] {
    const SIDES: [[u32; 3]; 7] =
        [[3, 4, 5], [6, 8, 10], [9, 12, 15], [12, 16, 20], [5, 12, 13], [8, 15, 17], [20, 21, 29]];
    let [one, other, longest] = SIDES[draws.below(SIDES.len())];
    if draws.below(2) == 0 { [one, other, longest] } else { [other, one, longest] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plane::Point;
    use crate::data::synth_gr::figure::Mark;

    fn exercise(label: Option<&'static str>) -> Exercise {
        let [a, b] = [Point::new(0.0, 0.0), Point::new(1.0, 0.0)];
        let side = Quantity::length(a, b);
        Exercise {
            figure: Figure::default(),
            setting: "ABC is a triangle".to_owned(),
            given: vec![(Named { label, ..Named::new("AB", side) }, Value::whole(3, "cm"))],
            asked: Named::new("BC", side),
            answer: Value::root(1, 3, ""),
            reasoning: String::new(),
        }
    }

    #[test]
    fn values_are_written_as_in_geoqa() {
        let written = [
            (Value::Degrees(140), "140°"),
            (Value::whole(5, "cm"), "5cm"),
            (Value::root(1, 3, ""), "√{3}"),
            (Value::root(2, 3, "cm"), "2√{3}cm"),
        ];
        for (value, text) in written {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn given_values_stand_in_the_text_the_figure_or_both() {
        let texts = |presentation, label| {
            let figure = exercise(label).marked_figure(presentation);
            figure.marks.into_iter().map(|(_, mark)| mark).collect::<Vec<_>>()
        };
        let text = |text: &str| Mark::Text(text.to_owned());
        let full = "As shown in the figure, ABC is a triangle, AB = 3cm. Find BC.";
        assert_eq!(exercise(None).problem(Presentation::Text), full);
        assert_eq!(exercise(None).problem(Presentation::TextAndFigure), full);
        let short = "As shown in the figure, ABC is a triangle. Find BC.";
        assert_eq!(exercise(None).problem(Presentation::Figure), short);
        assert_eq!(texts(Presentation::Text, None), []);
        assert_eq!(texts(Presentation::Text, Some("1")), [text("1")]);
        assert_eq!(texts(Presentation::TextAndFigure, None), [text("3cm"), text("?")]);
        assert_eq!(texts(Presentation::TextAndFigure, Some("1")), [text("1"), text("?")]);
        assert_eq!(texts(Presentation::Figure, Some("1")), [text("3cm"), text("?")]);
    }

    #[test]
    fn right_sides_satisfy_pythagoras() {
        let mut draws = crate::rng::Stream::new(0, crate::rng::Purpose::Drawing, 0, 0, 0).draws();
        for _ in 0..50 {
            let [one, other, longest] = right_sides(&mut draws);
            assert_eq!(one * one + other * other, longest * longest);
        }
    }
}
