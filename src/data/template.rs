//! Templates: the sentences that stand around a question, and the messages they make.
//!
//! | name | text after the pictures | from |
//! |---|---|---|
//! | `r1v` | `{problem}  Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.` | R1-V's training prompt; two spaces before "Output" |
//! | `r1v-superclevr` | `{problem} First output the thinking process in ...` | R1-V's evaluation on SuperCLEVR |
//! | `r1v-geoqa` | `{problem} Output the thinking process in ...` | R1-V's evaluation on GeoQA; one space |
//! | `short` | `{problem}` and `Think, then answer.` on a line of its own | ours, for small models with a short context |
//! | `plain` | `{problem}` | for data that brings its own instructions |
//!
//! In a template of one's own, `{boxes}` stands for how the model that is asked writes a box.
//!
//! No template has a system message: a checkpoint's own chat template adds its default.
//!
//! [`Questions`] puts a row's pictures and its messages together.
//!
//! Not here: rendering messages to text (`processor`); which task uses which template (`tasks`).

use super::boxes::write_for_model;
use super::{DataError, Dataset, ImageSource, Sample};
use crate::config::RowBoxes;
use crate::processor::{Boxes, Content, Message, Processor, Prompt};
use std::sync::Arc;

/// The template of data without a task: R1-V's for training.
pub(crate) const DEFAULT_TEMPLATE: &str = "r1v";

/// Where a template's text takes the question.
const PLACE: &str = "{problem}";

/// Where it takes what the model calls a box.
const BOXES_PLACE: &str = "{boxes}";

/// What a model of either kind is asked for.
fn in_words(boxes: Boxes) -> &'static str {
    match boxes {
        Boxes::Thousandths => "[x1, y1, x2, y2] in thousandths of the picture's width and height",
        Boxes::SeenPixels => "[x1, y1, x2, y2] in pixels",
    }
}

const NAMED: [(&str, &str); 5] = [
    (
        "r1v",
        "{problem}  Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.",
    ),
    (
        "r1v-superclevr",
        "{problem} First output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.",
    ),
    (
        "r1v-geoqa",
        "{problem} Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.",
    ),
    ("short", "{problem}\nThink, then answer."),
    ("plain", "{problem}"),
];

/// A text with a place for the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
}

impl Template {
    /// A template by its name, or from a text that holds `{problem}`.
    ///
    /// # Errors
    /// It is neither.
    pub fn new(name_or_text: &str) -> Result<Self, DataError> {
        let named = NAMED.iter().find(|(name, _)| *name == name_or_text);
        let text = named.map_or(name_or_text, |(_, text)| text);
        if !text.contains(PLACE) {
            let known: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            return Err(DataError::BadTemplate {
                found: name_or_text.to_owned(),
                known: known.join(", "),
            });
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The same for a model that writes boxes so: what a box is stands in the place of `{boxes}`.
    #[must_use]
    pub fn asking_for(&self, boxes: Boxes) -> Self {
        Self { text: self.text.replace(BOXES_PLACE, in_words(boxes)) }
    }

    /// The text with the question in its place.
    pub fn question(&self, problem: &str) -> String {
        self.text.replacen(PLACE, problem, 1)
    }
}

/// One user message: the sample's pictures, then the question in the template's words.
pub fn messages(sample: &Sample, template: &Template) -> Vec<Message> {
    let mut content: Vec<Content> = sample.images.iter().map(|_| Content::Image).collect();
    content.push(Content::Text(template.question(&sample.problem)));
    vec![Message { role: "user".to_owned(), content }]
}

/// Questions for a model: rows and their template.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The rows.
    pub dataset: Arc<Dataset>,
    /// The template.
    pub template: Template,
    /// The unit of boxes in the rows; none where it is the model's.
    pub boxes: Option<RowBoxes>,
}

impl Questions {
    /// A row and its prompt, the pictures loaded, boxes in the model's unit.
    ///
    /// # Errors
    /// There is no such row, a picture cannot be loaded, or the prompt cannot be encoded; the error names the sample.
    pub fn prompt(&self, processor: &Processor, row: usize) -> Result<(Sample, Prompt), DataError> {
        let mut sample = self.dataset.get(row)?;
        let template = self.template.asking_for(processor.boxes());
        let mut encode = || {
            let images =
                sample.images.iter().map(ImageSource::load).collect::<Result<Vec<_>, _>>()?;
            if let Some(unit) = self.boxes {
                let sizes: Vec<[u32; 2]> = images.iter().map(|i| [i.width(), i.height()]).collect();
                write_for_model(&mut sample, unit, processor, &sizes)?;
            }
            Ok(processor.encode(&messages(&sample, &template), &images)?)
        };
        match encode() {
            Ok(prompt) => Ok((sample, prompt)),
            Err(source) => Err(DataError::Unusable { sample: sample.id, source: Box::new(source) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From R1-V's `grpo.py` and `eval/*.py`, commit bbbbe3d.
    #[test]
    fn prompts_are_those_of_r1v() {
        let tail = "the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.";
        for (name, between) in
            [("r1v", "  Output "), ("r1v-superclevr", " First output "), ("r1v-geoqa", " Output ")]
        {
            let question = Template::new(name).unwrap().question("How many?");
            assert_eq!(question, format!("How many?{between}{tail}"));
        }
    }

    #[test]
    fn a_text_of_ones_own_is_a_template_if_it_has_the_place() {
        let template = Template::new("Q: {problem}\nA:").unwrap();
        assert_eq!(template.question("why {problem}?"), "Q: why {problem}?\nA:");
        let message = Template::new("r1-v").unwrap_err().to_string();
        assert!(message.contains("`r1-v`") && message.contains("r1v-geoqa"), "{message}");
    }

    #[test]
    fn pictures_come_before_the_question() {
        let sample = Sample {
            id: String::new(),
            images: vec![ImageSource::File("a.png".into()), ImageSource::File("b.png".into())],
            problem: "How many?".to_owned(),
            solution: "1".to_owned(),
            demonstration: None,
            columns: Arc::default(),
        };
        let messages = messages(&sample, &Template::new("short").unwrap());
        let [message] = messages.as_slice() else { panic!("{} messages", messages.len()) };
        assert_eq!(message.role, "user");
        let [Content::Image, Content::Image, Content::Text(text)] = message.content.as_slice()
        else {
            panic!("wrong order")
        };
        assert_eq!(text, "How many?\nThink, then answer.");
    }
}
