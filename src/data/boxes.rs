//! Boxes in the texts of rows, written anew in the unit of the model that reads them.
//! Not here: which unit a model has (`model::family`); how boxes are compared (`reward::box_iou`).

use std::ops::Range;

use super::{DataError, Demonstration, Sample};
use crate::config::RowBoxes;
use crate::processor::{Boxes, Processor, ProcessorError};
use crate::reward::box_iou::coordinates;

/// Writes the boxes of a sample's question, solution and demonstration in the model's unit, as whole numbers.
///
/// - `unit`: what they are in
/// - `sizes`: width and height of the sample's pictures
///
/// # Errors
/// A box may be in several pictures, whose sizes differ.
pub(super) fn write_for_model(
    sample: &mut Sample,
    unit: RowBoxes,
    processor: &Processor,
    sizes: &[[u32; 2]],
) -> Result<(), DataError> {
    let Some(size) = sizes.first() else { return Ok(()) };
    let demonstration = sample.demonstration.as_mut().map(|taught| match taught {
        Demonstration::Completion(text) | Demonstration::Reasoning(text) => text,
    });
    let mut texts: Vec<&mut String> = vec![&mut sample.problem, &mut sample.solution];
    texts.extend(demonstration);
    texts.retain(|text| !boxes(text).is_empty());
    if !texts.is_empty() && sizes.iter().any(|other| other != size) {
        return Err(DataError::BoxesOfSeveral { pictures: sizes.len() });
    }
    let scale = scale(unit, processor, *size)?;
    for text in texts {
        *text = scaled(text, scale);
    }
    Ok(())
}

/// What a coordinate across and one down are multiplied by.
fn scale(
    unit: RowBoxes,
    processor: &Processor,
    size: [u32; 2],
) -> Result<[f64; 2], ProcessorError> {
    let whole = match unit {
        RowBoxes::Pixels => size.map(f64::from),
        RowBoxes::Thousandths => [1000.0; 2],
    };
    let scaled_to = match processor.boxes() {
        Boxes::Thousandths => [1000.0; 2],
        Boxes::SeenPixels => processor.seen_size(size)?.map(|side| side as f64),
    };
    Ok([scaled_to[0] / whole[0], scaled_to[1] / whole[1]])
}

fn scaled(text: &str, scale: [f64; 2]) -> String {
    let mut written = String::with_capacity(text.len());
    let mut end = 0;
    for (place, numbers) in boxes(text) {
        let between = if text[place.clone()].contains(", ") { ", " } else { "," };
        let numbers = numbers.iter().zip(scale.iter().cycle());
        let numbers = numbers.map(|(number, scale)| format!("{:.0}", number * scale));
        written += &text[end..place.start];
        written += &numbers.collect::<Vec<_>>().join(between);
        end = place.end;
    }
    written + &text[end..]
}

/// The numbers of every box `[x1, y1, x2, y2]` in a text, with their place; where there is none, of every corner in
/// `(x1,y1),(x2,y2)`, as `reward::box_iou` reads them.
fn boxes(text: &str) -> Vec<(Range<usize>, Vec<f64>)> {
    let found = inside::<4>(text, ['[', ']']).map(|(place, numbers)| (place, numbers.to_vec()));
    let found: Vec<_> = found.collect();
    if !found.is_empty() {
        return found;
    }
    let corners = inside::<2>(text, ['(', ')']).map(|(place, numbers)| (place, numbers.to_vec()));
    let mut corners: Vec<_> = corners.collect();
    corners.truncate(corners.len() / 2 * 2);
    corners
}

/// What stands in innermost brackets that hold exactly `N` numbers.
fn inside<const N: usize>(
    text: &str,
    [open, close]: [char; 2],
) -> impl Iterator<Item = (Range<usize>, [f64; N])> {
    let mut start = None;
    text.char_indices().filter_map(move |(at, letter)| {
        if letter == open {
            start = Some(at + 1);
        }
        let place = (letter == close).then(|| start.take())?.map(|start| start..at)?;
        let numbers = coordinates::<N>(&text[place.clone()])?;
        Some((place, numbers))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::data::{OpenOptions, Questions, Template, open};
    use crate::model::files::ModelFiles;
    use crate::model::source::TINY;
    use crate::reward::box_iou::{box_iou, gold_boxes};

    /// A row's solution and prompt, and what an answer earns.
    fn asked(model: &str, unit: Option<RowBoxes>, solution: &str) -> (String, String) {
        let picture = std::path::absolute("tests/golden/families/images/odd.png").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        let row = json!({"image_path": picture, "problem": "Where?", "solution": solution});
        std::fs::write(&file, row.to_string()).unwrap();
        let dataset = Arc::new(open(&file, None, &OpenOptions::default()).unwrap());
        let template = Template::new("{problem} Give {boxes}.").unwrap();
        let files = ModelFiles::Folder(std::path::absolute(model).unwrap());
        let processor = Processor::load(&files).unwrap();
        let questions = Questions { dataset, template, boxes: unit };
        let (sample, prompt) = questions.prompt(&processor, 0).unwrap();
        (sample.solution, prompt.text)
    }

    /// The picture has 123 x 77 pixels, of which Qwen2.5-VL sees 112 x 84.
    #[test]
    fn boxes_of_rows_are_asked_for_and_rewarded_as_each_family_writes_them() {
        let in_thousandths = "[98, 104, 496, 494]";
        let of_width = "Give [x1, y1, x2, y2] in thousandths of the picture's width and height.";
        let in_pixels = "Give [x1, y1, x2, y2] in pixels.";
        for (model, expected, words) in [
            ("tests/golden/micro/policy", in_thousandths, of_width),
            ("tests/golden/families/qwen2_5_vl/tied", "[11, 9, 56, 41]", in_pixels),
            ("tests/golden/families/qwen3_vl/tied", in_thousandths, of_width),
        ] {
            let (solution, prompt) = asked(model, Some(RowBoxes::Pixels), "[12, 8, 61, 38]");
            assert_eq!(solution, expected, "{model}");
            assert!(prompt.contains(words), "{prompt}");
            let earned = |answer: &str| {
                box_iou(&format!("<answer>{answer}</answer>"), &gold_boxes(&solution).unwrap())
            };
            assert!((earned(expected) - 1.0).abs() < 1e-9, "{model}");
            let other = if expected == in_thousandths { "[11, 9, 56, 41]" } else { in_thousandths };
            assert!(earned(other) < 0.5 && earned("[12, 8, 61, 38]") < 0.9, "{model}");
            let (as_written, _) = asked(model, None, "[12, 8, 61, 38]");
            assert_eq!(as_written, "[12, 8, 61, 38]", "{model}");
            // 98/1000 of 112 pixels, and so on.
            let (solution, _) = asked(model, Some(RowBoxes::Thousandths), in_thousandths);
            assert_eq!(solution, expected, "{model}");
        }
    }

    #[test]
    fn a_box_in_one_of_several_sizes_is_refused() {
        let processor = Processor::load(&ModelFiles::Builtin(TINY)).unwrap();
        let without = || Sample {
            id: String::new(),
            images: Vec::new(),
            problem: "(1,2)".to_owned(),
            solution: "3".to_owned(),
            demonstration: None,
            columns: Arc::default(),
        };
        let write = |sizes: &[[u32; 2]]| {
            let mut sample = Sample {
                problem: "[1, 2, 3, 4]".to_owned(),
                solution: "[1, 2, 3, 4]".to_owned(),
                demonstration: Some(Demonstration::Reasoning("(1,2),(3,4)".to_owned())),
                ..without()
            };
            write_for_model(&mut sample, RowBoxes::Pixels, &processor, sizes).map(|()| sample)
        };
        let twice = write(&[[10, 20]; 2]).unwrap();
        assert_eq!([&twice.problem, &twice.solution], ["[100, 100, 300, 200]"; 2]);
        let taught = Demonstration::Reasoning("(100,100),(300,200)".to_owned());
        assert_eq!(twice.demonstration, Some(taught));
        assert_eq!(write(&[]).unwrap().solution, "[1, 2, 3, 4]", "there is no picture");
        let message = write(&[[10, 20], [20, 10]]).unwrap_err().to_string();
        assert!(message.starts_with("found 2 pictures of different sizes"), "{message}");
        let sizes = [[10, 20], [20, 10]];
        assert!(write_for_model(&mut without(), RowBoxes::Pixels, &processor, &sizes).is_ok());
    }

    #[test]
    fn every_box_is_scaled_and_all_else_is_left() {
        for (text, expected) in [
            ("no box: [1, 2, 3]", "no box: [1, 2, 3]"),
            ("<answer>[1, 2, 3, 4]</answer>", "<answer>[10, 1, 30, 2]</answer>"),
            ("[[1,2,3,4],[5,6,7,8]] é", "[[10,1,30,2],[50,3,70,4]] é"),
            ("{\"bbox_2d\": [1.04, 2, 3, 4]}", "{\"bbox_2d\": [10, 1, 30, 2]}"),
            ("(1,2),(3, 4) and (5,6)", "(10,1),(30, 2) and (5,6)"),
            ("(7,7) of [1,2,3,4]", "(7,7) of [10,1,30,2]"),
            ("]1,2,3,4[ [1,2,3,x]", "]1,2,3,4[ [1,2,3,x]"),
        ] {
            assert_eq!(scaled(text, [10.0, 0.5]), expected);
        }
    }
}
