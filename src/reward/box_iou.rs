//! `box_iou`: how well a bounding box overlaps the gold's.
//! Not here: units; the data's boxes are in the model's (`data::boxes` brings them there), as the answers are.

use super::component::Component;
use super::gold::{Gold, GoldKind};
use super::grading::answer::last_answer;

/// The component.
pub static BOX_IOU: Component = Component {
    name: "box_iou",
    gold: Some(GoldKind::Boxes),
    score: |scoring| match scoring.gold {
        Some(Gold::Boxes(boxes)) => box_iou(scoring.completion.text, boxes),
        _ => 0.0,
    },
    formula: "shared area over joint area of the boxes; of several, the sum over the best pairs divided by the larger count",
    range: "0 to 1",
    source: "VLM-R1, Shen et al. 2025",
};

/// An answer with more boxes earns nothing, so that the cost stays bounded.
pub const MAX_BOXES: usize = 32;

/// No image has more pixels on a side; beyond it, areas could overflow.
const MAX_COORDINATE: f64 = 1e9;

/// A rectangle, `x1 <= x2` and `y1 <= y2`, in whatever unit the data has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingBox {
    x1: f64,
    y1: f64,
    x2: f64,
    y2: f64,
}

impl BoundingBox {
    /// The box with two opposite corners, put in order. None if a coordinate is not finite or beyond a billion.
    pub fn new(x1: f64, y1: f64, x2: f64, y2: f64) -> Option<Self> {
        let is_usable = |c: &f64| c.is_finite() && c.abs() <= MAX_COORDINATE;
        [x1, y1, x2, y2].iter().all(is_usable).then(|| Self {
            x1: x1.min(x2),
            y1: y1.min(y2),
            x2: x1.max(x2),
            y2: y1.max(y2),
        })
    }

    /// Its area in squared units, at least 0.
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1) * (self.y2 - self.y1)
    }

    /// `IoU = area(a and b) / area(a or b)`, 0 to 1; 0 where either has no area.
    pub fn iou(&self, other: &Self) -> f64 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.area() + other.area() - shared)
    }
}

/// The intersection over union of the box in the last `<answer>` with the gold's, as VLM-R1's reward for referring
/// expressions (Shen et al. 2025, section 3.2). With several boxes on either side, pairs are taken from the best IoU
/// down, and
///
/// `R_iou = sum of IoU over the pairs / max(n_answer, n_gold)`
///
/// - `gold`: the boxes of the solution, as [`gold_boxes`] reads them
/// - returns 0 to 1
///
/// Where we depart from VLM-R1: (1) corners in the wrong order name the same box; there they earn nothing. (2) Extra
/// boxes cost; there only the first counts. (3) Coordinates may be fractions, and an overlap one pixel wide counts.
pub fn box_iou(completion: &str, gold: &[BoundingBox]) -> f64 {
    let found = last_answer(completion).map(boxes).unwrap_or_default();
    if found.is_empty() || found.len() > MAX_BOXES || gold.is_empty() {
        return 0.0;
    }
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (answer_idx, answer) in found.iter().enumerate() {
        for (gold_idx, gold) in gold.iter().enumerate() {
            pairs.push((answer.iou(gold), answer_idx, gold_idx));
        }
    }
    // Stable, so that equal pairs keep the order of the boxes.
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (mut is_found_taken, mut is_gold_taken) =
        (vec![false; found.len()], vec![false; gold.len()]);
    let mut sum = 0.0;
    for (iou, answer_idx, gold_idx) in pairs {
        if !is_found_taken[answer_idx] && !is_gold_taken[gold_idx] {
            (is_found_taken[answer_idx], is_gold_taken[gold_idx]) = (true, true);
            sum += iou;
        }
    }
    sum / found.len().max(gold.len()) as f64
}

/// The boxes of a solution: at least one and at most [`MAX_BOXES`], each with an area; none otherwise.
pub fn gold_boxes(text: &str) -> Option<Vec<BoundingBox>> {
    let found = boxes(text);
    let is_usable =
        (1..=MAX_BOXES).contains(&found.len()) && found.iter().all(|found| found.area() > 0.0);
    is_usable.then_some(found)
}

/// The boxes in a text: every `[x1, y1, x2, y2]`, whatever surrounds it, as in JSON; where there is none, Qwen2-VL's own
/// form `(x1,y1),(x2,y2)`. At most one more than [`MAX_BOXES`] are read.
pub fn boxes(text: &str) -> Vec<BoundingBox> {
    // The innermost brackets: the text between an opening one and the next closing one.
    let inside = |open: char, close: char| {
        let closed = text.split_inclusive(close).filter_map(move |part| part.strip_suffix(close));
        closed.filter_map(move |part| part.rsplit_once(open).map(|(_, inside)| inside))
    };
    let square: Vec<BoundingBox> = inside('[', ']')
        .filter_map(coordinates::<4>)
        .filter_map(|[x1, y1, x2, y2]| BoundingBox::new(x1, y1, x2, y2))
        .take(MAX_BOXES + 1)
        .collect();
    if !square.is_empty() {
        return square;
    }
    let corners: Vec<[f64; 2]> =
        inside('(', ')').filter_map(coordinates::<2>).take(2 * (MAX_BOXES + 1)).collect();
    let (pairs, _) = corners.as_chunks::<2>();
    pairs.iter().filter_map(|[[x1, y1], [x2, y2]]| BoundingBox::new(*x1, *y1, *x2, *y2)).collect()
}

/// Exactly `N` plain decimal numbers separated by commas.
pub fn coordinates<const N: usize>(text: &str) -> Option<[f64; N]> {
    let mut found = [0.0; N];
    let mut parts = text.split(',');
    for coordinate in &mut found {
        let part = parts.next()?.trim();
        let is_plain =
            part.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        if !is_plain || part.len() > 32 {
            return None;
        }
        *coordinate = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same fraction on both sides")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score(answer: &str, gold: &str) -> f64 {
        box_iou(&format!("<think>[0, 0, 9, 9]</think><answer>{answer}</answer>"), &boxes(gold))
    }

    #[test]
    fn iou_is_shared_area_over_joint_area() {
        // 2 x 2 boxes shifted by (1, 1): 1 / (4 + 4 - 1)
        assert_eq!(score("[1, 1, 3, 3]", "[0, 0, 2, 2]"), 1.0 / 7.0);
        // A half: 10 x 5 inside 10 x 10
        assert_eq!(score("[0, 0, 10, 5]", "[0, 0, 10, 10]"), 0.5);
        assert_eq!(score("[0, 0, 10, 10]", "[0, 0, 10, 10]"), 1.0);
        // Side by side they share an edge and no area.
        assert_eq!(score("[10, 0, 20, 10]", "[0, 0, 10, 10]"), 0.0);
        assert_eq!(score("[30, 30, 40, 40]", "[0, 0, 10, 10]"), 0.0);
    }

    #[test]
    fn corners_in_the_wrong_order_name_the_same_box() {
        assert_eq!(score("[10, 10, 0, 0]", "[0, 0, 10, 10]"), 1.0);
        assert_eq!(score("[10, 0, 0, 10]", "[0, 0, 10, 10]"), 1.0);
    }

    #[test]
    fn box_without_area_earns_nothing() {
        assert_eq!(score("[5, 5, 5, 5]", "[0, 0, 10, 10]"), 0.0);
        assert_eq!(score("[5, 0, 5, 10]", "[5, 0, 5, 10]"), 0.0);
    }

    #[test]
    fn every_usual_way_of_writing_a_box_is_read() {
        for answer in [
            "[1,2,3,4]",
            "[ 1.0, 2.0, 3.0, 4.0 ]",
            "The box is [1, 2, 3, 4].",
            "{\"bbox_2d\": [1, 2, 3, 4], \"label\": \"cat\"}",
            "[[1, 2, 3, 4]]",
            "(1,2),(3,4)",
            "<|box_start|>(1, 2), (3, 4)<|box_end|>",
        ] {
            assert_eq!(score(answer, "[1, 2, 3, 4]"), 1.0, "{answer}");
        }
    }

    #[test]
    fn what_is_no_box_earns_nothing() {
        for answer in [
            "",
            "1, 2, 3, 4",
            "[1, 2, 3]",
            "[1, 2, 3, 4, 5]",
            "[1, 2, 3, x]",
            "[1, 2, 3, nan]",
            "[1, 2, 3, inf]",
            "[1, 2, 3, 1e9]",
            "[1, 2, 3, 99999999999]",
            "]1, 2, 3, 4[",
            "[1, 2, 3, ]",
            "(1,2)",
        ] {
            assert_eq!(score(answer, "[1, 2, 3, 4]"), 0.0, "{answer}");
        }
    }

    #[test]
    fn extra_and_missing_boxes_cost() {
        // The gold and one more: 1 / 2
        assert_eq!(score("[0, 0, 2, 2] [5, 5, 6, 6]", "[0, 0, 2, 2]"), 0.5);
        // One of two: 1 / 2
        assert_eq!(score("[0, 0, 2, 2]", "[0, 0, 2, 2] [5, 5, 6, 6]"), 0.5);
        // Two golds, the order does not matter; the second covers half: (1 + 1/2) / 2
        assert_eq!(score("[[5, 5, 6, 5.5], [0, 0, 2, 2]]", "[[0, 0, 2, 2], [5, 5, 6, 6]]"), 0.75);
        let many = "[0, 0, 2, 2]".repeat(MAX_BOXES + 1);
        assert_eq!(score(&many, "[0, 0, 2, 2]"), 0.0);
    }

    #[test]
    fn box_in_the_reasoning_earns_nothing() {
        assert_eq!(score("none", "[0, 0, 9, 9]"), 0.0);
        assert_eq!(box_iou("[0, 0, 9, 9]", &boxes("[0, 0, 9, 9]")), 0.0);
    }

    #[test]
    fn hostile_brackets_are_read_in_a_straight_line() {
        let text = "[(".repeat(500_000) + "1,2,3,4]";
        assert!(boxes(&text).is_empty());
        assert_eq!(boxes(&("[".repeat(500_000) + "1,2,3,4]")).len(), 1);
    }

    proptest! {
        #[test]
        fn iou_is_symmetric_in_its_range_and_one_with_itself(
            left in prop::array::uniform4(-50i32..50), right in prop::array::uniform4(-50i32..50),
        ) {
            let rectangle = |[x1, y1, x2, y2]: [i32; 4]| {
                BoundingBox::new(x1.into(), y1.into(), x2.into(), y2.into()).unwrap()
            };
            let (left, right) = (rectangle(left), rectangle(right));
            let iou = left.iou(&right);
            prop_assert!((0.0..=1.0).contains(&iou));
            prop_assert_eq!(iou, right.iou(&left));
            if left.area() > 0.0 {
                prop_assert_eq!(left.iou(&left), 1.0);
            }
        }
    }
}
