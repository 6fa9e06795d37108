//! Which part of a text math-verify takes for the answer (`parse` of math-verify 0.9, with its defaults).
//! Not here: where numbers and environments stand (`scan`, `environment`); what they mean (`understand`).
//!
//! Five kinds of finds are tried in turn; within a kind the one that ends last is tried first, and the first that parses
//! is the answer. The first find of all, parsed or not, is kept as text beside it.
//!
//! Surprises, kept: a number counts only after white space, an equals sign or at the start, so the one in
//! `<answer>140</answer>` is not seen while `<answer> 140 </answer>` is; the word "answer" in any tag, the closing one
//! included, prefers what follows within 50 characters; a number that Python cannot read, such as `-007`, loses the
//! whole text.

use super::environment::{Context, Environment, Environments};
use super::scan::{Plain, Scanner, Span, Tail};
use super::understand::understand;
use super::value::Value;

/// What was found and understood in a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extraction {
    /// The answer that was parsed.
    pub(super) value: Option<Value>,
    /// The first find, as text.
    pub(super) text: Option<String>,
}

/// The most finds of a text that are parsed.
const MAX_TRIED: usize = 400;

/// The kinds of finds, in the order in which they are tried.
const PRIORITIES: [Priority; 5] = [
    Priority::Hope,
    Priority::FinalAnswer,
    Priority::AnswerColon,
    Priority::Answer,
    Priority::Anywhere,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// `final answer is 5. I hope`.
    Hope,
    /// `final answer ... is 5`, and boxes.
    FinalAnswer,
    /// Near `answer:`.
    AnswerColon,
    /// Near `answer`.
    Answer,
    /// Anywhere.
    Anywhere,
}

/// A place in a text that may hold the answer.
pub(super) struct Find {
    start: usize,
    end: usize,
    pub(super) kind: FindKind,
}

/// What stands at a find.
pub(super) enum FindKind {
    /// Environments, joined.
    Latex(Vec<Environment>),
    /// From the first `\boxed{` to the last brace.
    Boxed(Span),
    /// A number or arithmetic.
    Plain(Plain),
}

/// Finds the answer in `text`.
pub(super) fn extract(text: &[char]) -> Extraction {
    let mut finder = Finder::new(text);
    let mut first_text = None;
    let mut n_tried = 0;
    for priority in PRIORITIES {
        let mut finds = finder.find_all(priority);
        // Stable, so that of two finds over the same characters LaTeX goes first.
        finds.sort_by(|left, right| right.end.cmp(&left.end).then(left.start.cmp(&right.start)));
        for find in &finds {
            n_tried += 1;
            if n_tried > MAX_TRIED {
                break;
            }
            let Some((value, as_text)) = understand(text, find) else {
                return Extraction::default();
            };
            if first_text.is_none() && !as_text.is_empty() {
                first_text = Some(as_text);
            }
            if value.is_some() {
                return Extraction { value, text: first_text };
            }
        }
    }
    Extraction { value: None, text: first_text }
}

struct Finder<'a> {
    text: &'a [char],
    scanner: Scanner<'a>,
    environments: Environments<'a>,
    /// Where `answer` stands.
    answers: Vec<usize>,
    has_latex: bool,
}

impl<'a> Finder<'a> {
    fn new(text: &'a [char]) -> Self {
        let scanner = Scanner::new(text);
        let is_answer = |at: &usize| {
            matches!(text[*at], 'a' | 'A') && scanner.starts_with_ignoring_case(*at, "answer")
        };
        let answers = (0..text.len()).filter(is_answer).collect();
        let has_latex = text.iter().any(|c| matches!(c, '$' | '\\' | '['));
        Self { text, scanner, environments: Environments::new(text), answers, has_latex }
    }

    fn find_all(&mut self, priority: Priority) -> Vec<Find> {
        let mut finds = Vec::new();
        if self.has_latex {
            finds.extend(self.find_each(priority, Self::latex));
            if priority == Priority::FinalAnswer {
                finds.extend(self.boxed());
            }
        }
        if priority == Priority::Anywhere {
            finds.extend(self.find_each(priority, Self::arithmetic));
            finds.extend(self.find_each(priority, Self::number));
        } else {
            finds.extend(self.find_each(priority, Self::plain));
        }
        finds
    }

    /// All finds of one pattern, from left to right, none overlapping the one before.
    fn find_each(
        &mut self,
        priority: Priority,
        find_at: fn(&mut Self, Priority, usize) -> Option<Find>,
    ) -> Vec<Find> {
        let mut finds: Vec<Find> = Vec::new();
        let mut next = 0;
        if priority == Priority::Anywhere {
            while next < self.text.len() {
                match find_at(self, priority, next) {
                    Some(find) => {
                        next = find.end;
                        finds.push(find);
                    }
                    None => next += 1,
                }
            }
            return finds;
        }
        for idx in 0..self.answers.len() {
            let answer = self.answers[idx];
            let start = match priority {
                Priority::Hope | Priority::FinalAnswer => answer.checked_sub("final ".len()),
                _ => Some(answer),
            };
            let Some(start) = start.filter(|start| *start >= next) else { continue };
            if let Some(find) = find_at(self, priority, start) {
                next = find.end;
                finds.push(find);
            }
        }
        finds
    }

    /// LaTeX where the words of `priority` begin at `start`.
    fn latex(&mut self, priority: Priority, start: usize) -> Option<Find> {
        let environments = &self.environments;
        let joined =
            |position: usize, tail: Tail| environments.joined(position, Context::Plain, tail);
        let after_space = |position: usize, tail: Tail| {
            let end = self.scanner.skip_space(position);
            let before = (end > position).then(|| end - 1);
            joined(end, tail).or_else(|| joined(before?, tail))
        };
        let (found, end) = match priority {
            Priority::Anywhere => joined(start, Tail::Anything)?,
            Priority::Hope => after_space(self.after_final_answer_is(start)?, Tail::IHope)?,
            Priority::FinalAnswer => self
                .after_final_answer(start, true)
                .find_map(|position| after_space(position, Tail::Anything))?,
            Priority::AnswerColon | Priority::Answer => {
                let after = self.after_answer(priority, start)?;
                let last = (after + 50).min(self.text.len());
                (after..=last).find_map(|position| joined(position, Tail::Anything))?
            }
        };
        Some(Find { start, end, kind: FindKind::Latex(found) })
    }

    /// Environments that contain boxes, and the stretch from the first box to the last brace.
    fn boxed(&mut self) -> Vec<Find> {
        let is_boxed =
            |at: &usize| self.text[*at] == '\\' && self.scanner.starts_with(*at, "\\boxed{");
        let Some(first) = (0..self.text.len()).find(is_boxed) else { return Vec::new() };
        let mut finds = Vec::new();
        let mut next = 0;
        while next < self.text.len() {
            match self.environments.joined(next, Context::Boxed, Tail::Anything) {
                Some((found, end)) => {
                    finds.push(Find { start: next, end, kind: FindKind::Latex(found) });
                    next = end;
                }
                None => next += 1,
            }
        }
        let last_brace =
            self.text.iter().rposition(|c| *c == '}').filter(|last| *last >= first + 8);
        finds.extend(last_brace.map(|last| {
            let kind = FindKind::Boxed(first..last + 1);
            Find { start: first, end: last + 1, kind }
        }));
        finds
    }

    fn arithmetic(&mut self, _: Priority, start: usize) -> Option<Find> {
        let (plain, end) = self.scanner.arithmetic(start, Tail::Anything)?;
        Some(Find { start, end, kind: FindKind::Plain(plain) })
    }

    fn number(&mut self, _: Priority, start: usize) -> Option<Find> {
        let (plain, end) = self.scanner.number(start, Tail::Anything)?;
        Some(Find { start, end, kind: FindKind::Plain(plain) })
    }

    /// Arithmetic or a number where the words of `priority` begin at `start`.
    fn plain(&mut self, priority: Priority, start: usize) -> Option<Find> {
        let (plain, end) = match priority {
            Priority::Hope => {
                let after = self.after_final_answer_is(start)?;
                self.plain_after_space(after, Tail::IHope)?
            }
            Priority::FinalAnswer => {
                let mut positions = self.after_final_answer(start, false);
                positions.find_map(|position| self.scanner.plain(position, Tail::Anything))?
            }
            _ => self.plain_after_answer(self.after_answer(priority, start)?)?,
        };
        Some(Find { start, end, kind: FindKind::Plain(plain) })
    }

    /// `(?:.{0,100}=\s*|.{0,50}?)` and a find that no equals sign follows: best after the last equals sign nearby.
    fn plain_after_answer(&mut self, after: usize) -> Option<(Plain, usize)> {
        let line = self.text[after..].iter().take(100).take_while(|c| **c != '\n').count();
        for equals in (after..=after + line).rev() {
            if self.scanner.at(equals) == Some('=') {
                let found = self.plain_after_space(equals + 1, Tail::NoEquals);
                if found.is_some() {
                    return found;
                }
            }
        }
        (after..=after + line.min(50))
            .find_map(|position| self.scanner.plain(position, Tail::NoEquals))
    }

    /// `\s*` and a find, whose prefix may be the last of the white space.
    fn plain_after_space(&mut self, position: usize, tail: Tail) -> Option<(Plain, usize)> {
        let end = self.scanner.skip_space(position);
        let found = self.scanner.plain(end, tail);
        if found.is_some() || end == position {
            return found;
        }
        self.scanner.plain(end - 1, tail)
    }

    /// The end of `answer`, with a colon if asked for.
    fn after_answer(&self, priority: Priority, start: usize) -> Option<usize> {
        let end = start + "answer".len();
        if priority == Priority::Answer {
            return Some(end);
        }
        (self.scanner.at(end) == Some(':')).then_some(end + 1)
    }

    /// The end of `final answer is:?`, in any case.
    fn after_final_answer_is(&self, start: usize) -> Option<usize> {
        let words = "final answer is";
        self.scanner.starts_with_ignoring_case(start, words).then_some(())?;
        let end = start + words.len();
        Some(end + usize::from(self.scanner.at(end) == Some(':')))
    }

    /// The ends of `final answer.{0,100}?\s+is:?`, the nearest first; only LaTeX may be on another line.
    fn after_final_answer(&self, start: usize, crosses_lines: bool) -> std::vec::IntoIter<usize> {
        let words = "final answer";
        let mut ends = Vec::new();
        if self.scanner.starts_with_ignoring_case(start, words) {
            let after = start + words.len();
            for position in after..=(after + 100).min(self.text.len()) {
                let space_end = self.scanner.skip_space(position);
                if space_end > position && self.scanner.starts_with(space_end, "is") {
                    ends.push(
                        space_end + 2 + usize::from(self.scanner.at(space_end + 2) == Some(':')),
                    );
                }
                if !crosses_lines && self.scanner.at(position) == Some('\n') {
                    break;
                }
            }
        }
        ends.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(text: &str) -> Option<String> {
        let text: Vec<char> = text.chars().collect();
        extract(&text).text
    }

    #[test]
    fn number_right_after_a_tag_is_not_seen() {
        assert_eq!(text_of("<answer>140</answer>"), None);
        assert_eq!(text_of("<answer> 140 </answer>").as_deref(), Some("140"));
        assert_eq!(text_of("it is 7 </think> <answer>140</answer>").as_deref(), Some("7"));
    }

    #[test]
    fn kinds_are_tried_in_turn() {
        assert_eq!(text_of("The final answer is 5. I hope it is 6.").as_deref(), Some("5"));
        assert_eq!(text_of("x is 6, \\boxed{5} not 7").as_deref(), Some("5"));
        assert_eq!(text_of("answer: 5, check with 7").as_deref(), Some("5"));
        assert_eq!(text_of("first 5 then 7").as_deref(), Some("7"));
    }

    #[test]
    fn number_python_cannot_read_loses_the_text() {
        assert_eq!(extract(&"5 and -007".chars().collect::<Vec<_>>()), Extraction::default());
    }
}
