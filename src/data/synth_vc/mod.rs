//! `synth-vc`: R1-V's counting question, asked about drawn shelves.
//!
//! A row is a pure function of (seed, split, index). The answer is drawn first, 1 to 8, each equally likely, then a scene of that
//! many items, so always giving the commonest answer earns 1/8:
//!
//! | split | shapes | walls |
//! |---|---|---|
//! | train, test | spheres, cubes, cylinders | plaster |
//! | shifted | cones, stars, rings | tiles, planks, stripes |
//!
//! A row's column `scene` names every item, board by board from left to right: `["a1 red cube", ...]`.
//!
//! `scene` holds what there is and where, `render` how it looks.

mod render;
mod scene;

use super::{Demonstration, ImageSource, Sample, Split};
use crate::rng::Draws;
use scene::{Placed, Scene};
use serde_json::Map;
use std::sync::Arc;

/// R1-V's sentence.
const QUESTION: &str = "How many different items are there in the image?";
/// The largest answer.
const MAX_ITEMS: usize = 8;

/// Draws a row; `None` where a picture of that size cannot be made.
pub(super) fn sample(
    id: String,
    split: Split,
    side_pixels: u32,
    draws: &mut Draws,
) -> Option<Sample> {
    let scene = draw(split, draws);
    let picture = render::render(&scene, side_pixels, draws)?;
    let names: Vec<String> = scene.placed.iter().map(Placed::to_string).collect();
    let answer = names.len().to_string();
    Some(Sample {
        id,
        images: vec![ImageSource::Drawn(Arc::new(picture))],
        problem: QUESTION.to_owned(),
        demonstration: Some(Demonstration::Reasoning(format!("{}: {answer}", names.join(", ")))),
        solution: answer,
        columns: Arc::new(Map::from_iter([("scene".to_owned(), names.into())])),
    })
}

fn draw(split: Split, draws: &mut Draws) -> Scene {
    let n_items = 1 + draws.below(MAX_ITEMS);
    Scene::draw(n_items, scene::Look::of(split), draws)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};
    use scene::Look;

    const SPLITS: [Split; 3] = [Split::Train, Split::Test, Split::Shifted];

    fn draws(idx: u32) -> Draws {
        Stream::new(11, Purpose::Drawing, 0, idx, 0).draws()
    }

    /// Counted in the picture itself: every item is painted in a flat colour of its own.
    #[test]
    fn the_answer_is_the_number_of_visible_items() {
        for split in SPLITS {
            for idx in 0..150 {
                let scene = draw(split, &mut draws(idx));
                let shares = render::visible_shares(&scene, 224);
                let least = shares.iter().copied().fold(1.0, f64::min);
                assert!(least > 0.99, "{split:?} row {idx}: of an item only {least} shows");
                let sample = sample(String::new(), split, 56, &mut draws(idx)).unwrap();
                assert_eq!(sample.solution, shares.len().to_string(), "{split:?} row {idx}");
            }
        }
    }

    /// 1,600 rows, 8 answers: 200 each, standard error 13.
    #[test]
    fn answers_are_equally_likely() {
        for split in SPLITS {
            let mut counts = [0_usize; 10];
            for idx in 0..1600 {
                counts[draw(split, &mut draws(idx)).placed.len()] += 1;
            }
            let [none, counts @ .., more] = counts;
            assert_eq!([none, more], [0, 0], "{split:?}");
            assert!(counts.iter().all(|count| count.abs_diff(200) <= 60), "{split:?} {counts:?}");
        }
    }

    /// Each item's name against where it is drawn and what it is.
    #[test]
    fn an_item_is_named_by_its_place_and_its_looks() {
        for idx in 0..60 {
            let scene = draw(Split::Test, &mut draws(idx));
            let sample = sample(String::new(), Split::Test, 56, &mut draws(idx)).unwrap();
            let names: Vec<String> = scene
                .placed
                .iter()
                .map(|placed| {
                    let [column, board] = [placed.center.x, placed.center.y]
                        .map(|at| [25.0, 50.0, 75.0].iter().filter(|start| at >= **start).count());
                    format!("{}{} {}", ["a", "b", "c", "d"][column], board + 1, placed.item)
                })
                .collect();
            assert_eq!(sample.columns["scene"], serde_json::json!(names));
            let taught = format!("{}: {}", names.join(", "), names.len());
            assert_eq!(sample.demonstration, Some(Demonstration::Reasoning(taught)));
        }
    }

    #[test]
    fn the_shifted_split_shares_no_shape_with_training() {
        let [train, shifted] = [Split::Train, Split::Shifted].map(|split| Look::of(split).shapes);
        assert!(train.iter().all(|shape| !shifted.contains(shape)));
    }
}
