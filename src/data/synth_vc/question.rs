//! What `synth-vc` asks: how many items have the named properties, or how many there are.
//!
//! Not here: how answers are spread and how many other items a scene gets (`synth_vc`).

use super::scene::{Color, Item, Look, Shape, Size, pick};
use crate::rng::Draws;
use std::fmt;

/// The properties an item must have to be counted; without any, everything counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Question {
    size: Option<Size>,
    color: Option<Color>,
    shape: Option<Shape>,
}

/// The largest answer where only some items are counted; with larger answers everything is.
const MAX_PART: usize = 5;

impl Question {
    /// A question that `answer` can answer.
    pub(super) fn draw(answer: usize, look: Look, draws: &mut Draws) -> Self {
        let size = Some(pick(Size::ALL, draws));
        let color = Some(pick(Color::ALL, draws));
        let shape = Some(pick(look.shapes, draws));
        let kind = draws.below(20);
        // 0 needs a property that nothing has; large counts are of everything.
        let kind = if answer == 0 { kind.max(6) } else { kind };
        match kind {
            _ if answer > MAX_PART => Self::default(),
            0..6 => Self::default(),
            6..11 => Self { color, ..Self::default() },
            11..15 => Self { shape, ..Self::default() },
            15..17 => Self { size, ..Self::default() },
            17..19 => Self { color, shape, ..Self::default() },
            _ => Self { size, shape, ..Self::default() },
        }
    }

    pub(super) fn counts_everything(self) -> bool {
        self.size.is_none() && self.color.is_none() && self.shape.is_none()
    }

    pub(super) fn matches(self, item: Item) -> bool {
        self.size.is_none_or(|size| size == item.size)
            && self.color.is_none_or(|color| color == item.color)
            && self.shape.is_none_or(|shape| shape == item.shape)
    }

    /// An item that the question counts.
    pub(super) fn matching_item(self, look: Look, draws: &mut Draws) -> Item {
        let item = Item::draw(look, draws);
        Item {
            size: self.size.unwrap_or(item.size),
            color: self.color.unwrap_or(item.color),
            shape: self.shape.unwrap_or(item.shape),
            ..item
        }
    }

    /// An item that the question does not count, often one that nearly matches. The question must
    /// not count everything.
    pub(super) fn other_item(self, look: Look, draws: &mut Draws) -> Item {
        loop {
            let item = Item::draw(look, draws);
            let near = match draws.below(3) {
                0 => Item { color: self.color.unwrap_or(item.color), ..item },
                1 => Item { shape: self.shape.unwrap_or(item.shape), ..item },
                _ => item,
            };
            if !self.matches(near) {
                return near;
            }
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if self.counts_everything() {
            return out.write_str("How many different items are there in the image?");
        }
        out.write_str("How many ")?;
        if let Some(size) = self.size {
            write!(out, "{size} ")?;
        }
        if let Some(color) = self.color {
            write!(out, "{color} ")?;
        }
        match self.shape {
            Some(shape) => write!(out, "{shape}s")?,
            None => out.write_str("items")?,
        }
        out.write_str(" are there in the image?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synth_vc::scene::Material;

    const RED_CUBE: Item = Item {
        shape: Shape::Cube,
        color: Color::Red,
        size: Size::Small,
        material: Material::Metal,
    };

    #[test]
    fn a_question_counts_items_with_all_its_properties() {
        let red = Question { color: Some(Color::Red), ..Question::default() };
        assert!(red.matches(RED_CUBE));
        assert!(Question { shape: Some(Shape::Cube), ..red }.matches(RED_CUBE));
        assert!(!Question { shape: Some(Shape::Ring), ..red }.matches(RED_CUBE));
        assert!(!Question { size: Some(Size::Large), ..red }.matches(RED_CUBE));
        assert!(Question::default().matches(RED_CUBE));
    }

    #[test]
    fn a_question_is_a_plain_sentence() {
        let question = Question {
            size: Some(Size::Large),
            color: Some(Color::Blue),
            shape: Some(Shape::Star),
        };
        assert_eq!(question.to_string(), "How many large blue stars are there in the image?");
        let red = Question { color: Some(Color::Red), ..Question::default() };
        assert_eq!(red.to_string(), "How many red items are there in the image?");
    }
}
