//! `synth-vc`: counting questions about drawn scenes, in the manner of CLEVR.
//!
//! A row is a pure function of (seed, split, index). The answer is drawn first, then a question it
//! can answer, then a scene in which it does:
//!
//! | split | answers, each equally likely | shapes | backgrounds |
//! |---|---|---|---|
//! | train, test | 0 to 6 | spheres, cubes, cylinders | a grey studio |
//! | shifted | 3 to 10 | cones, stars, rings | tiles, planks, stripes |
//!
//! So always giving the commonest answer earns 1/7, or 1/8 on the shifted split. Questions count
//! everything (R1-V's sentence), a colour, a shape, a size, or a pair of them; where not everything is
//! counted, as in every question with the answer 0, the scene has one to four other items.
//!
//! `scene` holds what there is and where, `question` what is asked, `render` how it looks.

mod question;
mod render;
mod scene;

use super::{Demonstration, ImageSource, Sample, Split};
use crate::rng::Draws;
use question::Question;
use scene::Scene;
use std::sync::Arc;

/// Items beside those that the question counts, at most.
const MAX_OTHERS: usize = 4;
/// More items than this are never put into one scene.
const MAX_ITEMS: usize = 10;

/// Draws a row; `None` where a picture of that size cannot be made.
pub(super) fn sample(
    id: String,
    split: Split,
    side_pixels: u32,
    draws: &mut Draws,
) -> Option<Sample> {
    let row = Row::draw(split, draws);
    let picture = render::render(&row.scene, side_pixels, draws)?;
    Some(Sample {
        id,
        images: vec![ImageSource::Drawn(Arc::new(picture))],
        problem: row.question.to_string(),
        solution: row.answer.to_string(),
        demonstration: Some(Demonstration::Reasoning(row.reasoning())),
        columns: Arc::default(),
    })
}

/// A question, a scene and the count that answers it.
struct Row {
    question: Question,
    scene: Scene,
    answer: usize,
}

impl Row {
    fn draw(split: Split, draws: &mut Draws) -> Self {
        let look = scene::Look::of(split);
        let answer = match split {
            Split::Train | Split::Test => draws.below(7),
            Split::Shifted => 3 + draws.below(8),
        };
        let question = Question::draw(answer, look, draws);
        let mut items: Vec<_> = (0..answer).map(|_| question.matching_item(look, draws)).collect();
        if !question.counts_everything() {
            let n_most = MAX_OTHERS.min(MAX_ITEMS.saturating_sub(answer)).max(1);
            let n_others = 1 + draws.below(n_most);
            items.extend((0..n_others).map(|_| question.other_item(look, draws)));
        }
        Self { question, scene: Scene::arrange(&items, look, draws), answer }
    }

    /// The counted items from left to right, then how many: "red cube, blue sphere: 2".
    fn reasoning(&self) -> String {
        let mut counted: Vec<_> =
            self.scene.placed.iter().filter(|placed| self.question.matches(placed.item)).collect();
        counted.sort_by(|one, other| one.center.x.total_cmp(&other.center.x));
        let names: Vec<String> = counted.iter().map(|placed| placed.item.to_string()).collect();
        let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("{list}: {}", self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};
    use scene::{Look, SHARE_VISIBLE};

    fn rows(split: Split, n: u32) -> Vec<(u32, Row)> {
        (0..n).map(|idx| (idx, Row::draw(split, &mut draws(idx)))).collect()
    }

    fn draws(idx: u32) -> Draws {
        Stream::new(11, Purpose::Drawing, 0, idx, 0).draws()
    }

    /// Counted in the picture itself: every item is painted in a flat colour of its own.
    #[test]
    fn the_answer_is_the_number_of_visible_items_that_match() {
        for split in [Split::Train, Split::Test, Split::Shifted] {
            for (idx, row) in rows(split, 150) {
                let shares = render::visible_shares(&row.scene, 224);
                let n_seen = row
                    .scene
                    .placed
                    .iter()
                    .zip(&shares)
                    .filter(|(placed, share)| row.question.matches(placed.item) && **share > 0.3)
                    .count();
                assert_eq!(n_seen, row.answer, "{split:?} row {idx}: {}", row.question);
                let least = shares.iter().copied().fold(1.0, f64::min);
                assert!(least > SHARE_VISIBLE, "{split:?} row {idx}: an item shows {least}");
            }
        }
    }

    /// 1,400 rows, 7 answers: 200 each, standard error 13.
    #[test]
    fn answers_are_equally_likely() {
        for (split, answers) in
            [(Split::Train, 0..=6), (Split::Test, 0..=6), (Split::Shifted, 3..=10)]
        {
            let mut counts = [0_usize; 11];
            for (_, row) in rows(split, 1400) {
                counts[row.answer] += 1;
            }
            let expected = 1400 / answers.clone().count();
            for (answer, count) in counts.iter().enumerate() {
                let expected = if answers.contains(&answer) { expected } else { 0 };
                assert!(count.abs_diff(expected) <= 60, "{split:?} {answer}: {count}");
            }
        }
    }

    #[test]
    fn every_kind_of_question_is_asked() {
        let texts: Vec<String> =
            rows(Split::Train, 400).iter().map(|(_, row)| row.question.to_string()).collect();
        let total = "How many different items are there in the image?";
        let share = texts.iter().filter(|text| *text == total).count();
        assert!((100..220).contains(&share), "{share} of 400 count everything");
        for word in ["red items", "cubes", "small items", "large", "gray"] {
            assert!(texts.iter().any(|text| text.contains(word)), "nothing asks about {word}");
        }
    }

    #[test]
    fn reasoning_lists_what_it_counts() {
        for (_, row) in rows(Split::Test, 100) {
            let reasoning = row.reasoning();
            let (list, count) = reasoning.rsplit_once(": ").unwrap();
            let n_listed = if list == "none" { 0 } else { list.split(", ").count() };
            assert_eq!(n_listed.to_string(), count);
            assert_eq!(n_listed, row.answer);
        }
    }

    #[test]
    fn the_shifted_split_shares_no_shape_with_training() {
        let [train, shifted] = [Split::Train, Split::Shifted].map(|split| Look::of(split).shapes);
        assert!(train.iter().all(|shape| !shifted.contains(shape)));
    }
}
