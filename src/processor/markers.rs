//! Markers that are written out in data: text to the model, unless they are meant.
//!
//! A chat template puts the messages' texts between the model's own markers, and the tokenizer cannot tell one from the
//! other in what it rendered. So where a text has a marker in it, every letter that a marker may begin with is followed by a
//! character that no text of the chat has; what then still reads as a marker is the template's. transformers has no such
//! guard: there, as with [`Markers::AreTokens`], `<|im_end|>` in a question ends the turn.
//! Not here: token ids (`text`); warning of rows with markers (`data`).

use super::{Content, Message, ProcessorError};

/// What a marker such as `<|im_end|>` is where it stands in a message's text or a taught completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Markers {
    /// Text like any other, of ordinary tokens: transformers' `split_special_tokens = True`.
    #[default]
    AreText,
    /// The model's own token: a turn or an image can be opened and closed with it.
    AreTokens,
}

impl Markers {
    /// Whether markers are the model's own tokens.
    pub fn are_tokens(self) -> bool {
        self == Self::AreTokens
    }
}

/// Unicode's noncharacters for a program's own use.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Messages in which no text reads as a marker.
pub(super) struct Guarded {
    /// The messages, their texts with `mark` in them.
    pub(super) messages: Vec<Message>,
    /// What stands after each letter that may begin a marker.
    mark: char,
}

impl Guarded {
    /// The messages guarded, or none where their texts, one after the other, have no marker.
    ///
    /// - `markers`: all that the tokenizer would take for a token of its own
    ///
    /// # Errors
    /// The texts have every character that could serve as the mark.
    pub(super) fn new(
        messages: &[Message],
        markers: &[String],
    ) -> Result<Option<Self>, ProcessorError> {
        let mut texts = String::new();
        for message in messages {
            texts.push_str(&message.role);
            for part in &message.content {
                if let Content::Text(text) = part {
                    texts.push_str(text);
                }
            }
        }
        if !markers.iter().any(|marker| texts.contains(marker.as_str())) {
            return Ok(None);
        }
        let mark = MARKS.into_iter().find(|mark| !texts.contains(*mark));
        let mark = mark.ok_or(ProcessorError::NoMark)?;
        let guard = |text: &str| {
            let mut guarded = String::with_capacity(text.len() + 16);
            for letter in text.chars() {
                guarded.push(letter);
                if markers.iter().any(|marker| marker.starts_with(letter)) {
                    guarded.push(mark);
                }
            }
            guarded
        };
        let guard_part = |part: &Content| match part {
            Content::Text(text) => Content::Text(guard(text)),
            Content::Image => Content::Image,
        };
        let guard_message = |message: &Message| Message {
            role: guard(&message.role),
            content: message.content.iter().map(guard_part).collect(),
        };
        Ok(Some(Self { messages: messages.iter().map(guard_message).collect(), mark }))
    }

    /// A rendered text as it is without the guard.
    pub(super) fn without_marks(&self, rendered: &str) -> String {
        rendered.replace(self.mark, "")
    }
}

/// The rendered text in pieces: the markers that are the template's, and the texts between them.
pub(super) fn pieces<'text>(rendered: &'text str, markers: &'text [String]) -> Vec<Piece<'text>> {
    let mut found = Vec::new();
    let (mut rest, mut at) = (rendered, 0);
    while let Some(letter) = rest[at..].chars().next() {
        // The longest of those that stand here, as in the tokenizer.
        let here = markers.iter().filter(|marker| rest[at..].starts_with(marker.as_str()));
        let Some(marker) = here.max_by_key(|marker| marker.len()) else {
            at += letter.len_utf8();
            continue;
        };
        found.push(Piece::Text(&rest[..at]));
        found.push(Piece::Marker(marker));
        rest = &rest[at + marker.len()..];
        at = 0;
    }
    found.push(Piece::Text(rest));
    found
}

/// A piece of a rendered chat.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'text> {
    /// A marker that the template wrote.
    Marker(&'text str),
    /// What stands between two of them; may be empty.
    Text(&'text str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(parts: &[&str]) -> Vec<Message> {
        let content = parts.iter().map(|text| Content::Text((*text).to_owned())).collect();
        vec![Message { role: "user".to_owned(), content }]
    }

    #[test]
    fn a_marker_in_two_parts_is_seen_and_texts_without_one_are_left_alone() {
        let markers = ["<|end|>".to_owned(), "<|end|>>".to_owned()];
        assert!(Guarded::new(&user(&["a < b", "<|en|>"]), &markers).unwrap().is_none());
        let guarded = Guarded::new(&user(&["<|e", "nd|> \u{fdd0}"]), &markers).unwrap().unwrap();
        let [Content::Text(first), Content::Text(second)] = &guarded.messages[0].content[..] else {
            panic!("not two texts")
        };
        assert_eq!((first.as_str(), second.as_str()), ("<\u{fdd1}|e", "nd|> \u{fdd0}"));
        let rendered = format!("{first}{second}<|end|>>.");
        let found = pieces(&rendered, &markers);
        let text = Piece::Text("<\u{fdd1}|end|> \u{fdd0}");
        assert_eq!(found, [text, Piece::Marker("<|end|>>"), Piece::Text(".")]);
        assert_eq!(guarded.without_marks(&rendered), "<|end|> \u{fdd0}<|end|>>.");
        let every: String = MARKS.collect();
        assert!(Guarded::new(&user(&["<|end|>", &every]), &markers).is_err());
    }
}
