//! LaTeX environments in running text, found exactly where math-verify's regular expressions find them: `$...$`,
//! `$$...$$`, `\[...\]`, `\(...\)`, ` [...] `, a bare `\frac{1}{2}`, and up to six of them joined by commas, "and" or "or".
//! Not here: which find counts (`extract`); what stands inside (`normalize`, `latex_parser`).
//!
//! Inside each environment the pattern's content cannot run over the closing delimiter, so every opening one has at most
//! one end (`make_latex_env_pattern` in math-verify's `parser.py`); that is what makes this linear.

use std::cell::Cell;

use super::scan::{Scanner, Span, Tail, is_digit};

/// The most environments one find may join.
const MAX_JOINED: usize = 6;

/// One environment of a find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// What stands between the delimiters.
    pub(super) content: Span,
    /// Whether a percent sign follows the closing delimiter.
    pub(super) is_percent: bool,
}

/// Which environments are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Any, and bare fractions.
    Plain,
    /// Those that contain `\boxed{...}`.
    Boxed,
}

/// A text in which environments are looked for, with the closing delimiters found so far.
pub(super) struct Environments<'a> {
    scanner: Scanner<'a>,
    closings: [Cell<Known>; 5],
}

/// Up to `found` from `from` on there is no closing delimiter.
#[derive(Clone, Copy, Default)]
struct Known {
    from: usize,
    found: usize,
}

/// What may close an environment.
#[derive(Clone, Copy)]
enum Closing {
    Dollars,
    Bracket,
    DollarOrLineEnd,
    ParenthesisOrLineEnd,
    AnySquareOrLineEnd,
}

impl<'a> Environments<'a> {
    pub(super) fn new(text: &'a [char]) -> Self {
        Self { scanner: Scanner::new(text), closings: Default::default() }
    }

    /// Environments joined from `position` on, and the end of the whole match.
    pub(super) fn joined(
        &self,
        position: usize,
        context: Context,
        tail: Tail,
    ) -> Option<(Vec<Environment>, usize)> {
        // Most positions open nothing.
        let first = self.scanner.at(position)?;
        if first.is_alphanumeric() {
            return None;
        }
        let (content, end) = self.one(position, context)?;
        self.with_percent(end).find_map(|(end, is_percent)| {
            let mut found = vec![Environment { content: content.clone(), is_percent }];
            let end = self.extend(&mut found, end, context);
            Some((found, self.scanner.end_with(end, tail)?))
        })
    }

    /// Appends what is joined to the environment that ends at `end`; returns the end of the last.
    fn extend(&self, found: &mut Vec<Environment>, end: usize, context: Context) -> usize {
        let mut end = end;
        while found.len() < MAX_JOINED {
            let Some((content, after)) = self.next(end, context) else { break };
            let Some((after, is_percent)) = self.with_percent(after).next() else { break };
            found.push(Environment { content, is_percent });
            end = after;
        }
        if context == Context::Boxed { self.scanner.skip_space(end) } else { end }
    }

    /// Ends of an environment with the white space and the percent sign after it, as the pattern tries them.
    fn with_percent(&self, end: usize) -> impl Iterator<Item = (usize, bool)> + use<> {
        let end = self.scanner.skip_space(end);
        let percent = self.scanner.percent_ends(end, true).into_iter().flatten();
        percent.map(|end| (end, true)).chain([(end, false)])
    }

    /// The environment joined to what ends at `end`: `\s*(?:,?and|,?or|,)\s*` and an environment.
    fn next(&self, end: usize, context: Context) -> Option<(Span, usize)> {
        let scanner = &self.scanner;
        let start = scanner.skip_space(end);
        [",and", "and", ",or", "or", ","].into_iter().find_map(|word| {
            let after_word = start + word.len();
            scanner.starts_with(start, word).then_some(())?;
            let position = scanner.skip_space(after_word);
            self.one(position, context).or_else(|| {
                // ` [...] ` needs one character of the white space itself.
                (position > after_word).then(|| self.one(position - 1, context)).flatten()
            })
        })
    }

    /// The content of the environment that opens at `position`, and where it ends.
    fn one(&self, position: usize, context: Context) -> Option<(Span, usize)> {
        let (content, end) = self
            .delimited(position)
            .or_else(|| if context == Context::Plain { self.fraction(position) } else { None })?;
        (context == Context::Plain || self.has_boxed(&content)).then_some((content, end))
    }

    fn delimited(&self, position: usize) -> Option<(Span, usize)> {
        let scanner = &self.scanner;
        let first = scanner.at(position)?;
        if first == '[' || !(matches!(first, '$' | '\\') || scanner.is_space(position)) {
            return None;
        }
        let before = position.checked_sub(1).and_then(|before| scanner.at(before));
        let is_escaped = before == Some('\\');
        let is_closed = |close: usize| close > position + 2 && scanner.at(close - 1) != Some('\\');
        match (first, scanner.at(position + 1)?) {
            ('$', '$') if !is_escaped => {
                let close = self.closing(Closing::Dollars, position + 2)?;
                is_closed(close).then_some((position + 2..close, close + 2))
            }
            ('\\', '[') if !is_escaped => {
                let close = self.closing(Closing::Bracket, position + 2)?;
                is_closed(close).then_some((position + 2..close, close + 2))
            }
            ('\\', '(') if !is_escaped => {
                let close = self.closing(Closing::ParenthesisOrLineEnd, position + 2)?;
                let is_line_end = scanner.at(close) == Some('\n');
                (!is_line_end && is_closed(close)).then_some((position + 2..close, close + 2))
            }
            ('$', _) if !is_escaped && !before.is_some_and(is_digit) => {
                let close = self.closing(Closing::DollarOrLineEnd, position + 1)?;
                let is_dollar = scanner.at(close) == Some('$');
                (is_dollar && close > position + 1).then_some((position + 1..close, close + 1))
            }
            (space, '[') if !matches!(space, '$' | '\\') => {
                let close = self.closing(Closing::AnySquareOrLineEnd, position + 2)?;
                let is_square = scanner.at(close) == Some(']') && close > position + 2;
                (is_square && scanner.is_space(close + 1))
                    .then_some((position + 2..close, close + 2))
            }
            _ => None,
        }
    }

    /// The first place from `from` on where `closing` stands.
    fn closing(&self, closing: Closing, from: usize) -> Option<usize> {
        let length = self.scanner.text.len();
        let cell = &self.closings[closing as usize];
        let known = cell.get();
        let is_known = known.from <= from && from <= known.found;
        let found = if is_known {
            known.found
        } else {
            // Going back a little must not read the rest of the text again.
            let joins = |position: usize| known.from <= position && position <= known.found;
            let stop =
                (from..length).find(|position| joins(*position) || self.closes(closing, *position));
            match stop {
                Some(position) if joins(position) => known.found,
                Some(position) => position,
                None => length,
            }
        };
        if !is_known {
            cell.set(Known { from, found });
        }
        (found < length).then_some(found)
    }

    fn closes(&self, closing: Closing, position: usize) -> bool {
        let scanner = &self.scanner;
        let is = |c: char| scanner.at(position) == Some(c);
        match closing {
            Closing::Dollars => is('$') && scanner.at(position + 1) == Some('$'),
            Closing::Bracket => is('\\') && scanner.at(position + 1) == Some(']'),
            Closing::DollarOrLineEnd => {
                is('\n') || (is('$') && scanner.at(position - 1) != Some('\\'))
            }
            Closing::ParenthesisOrLineEnd => {
                is('\n') || (is('\\') && scanner.at(position + 1) == Some(')'))
            }
            Closing::AnySquareOrLineEnd => is('[') || is(']') || is('\n'),
        }
    }

    /// `-?\\frac{a}{b}` of two numbers, outside any environment.
    fn fraction(&self, start: usize) -> Option<(Span, usize)> {
        let scanner = &self.scanner;
        let command = start + usize::from(scanner.at(start) == Some('-'));
        scanner.starts_with(command, "\\frac").then_some(())?;
        let end = self.braced_number(self.braced_number(command + 5)?)?;
        Some((start..end, end))
    }

    /// The end of `{-?\d+(?:[.,]\d+)?}`.
    fn braced_number(&self, position: usize) -> Option<usize> {
        let scanner = &self.scanner;
        let digits = |mut position: usize| {
            let start = position;
            while scanner.at(position).is_some_and(is_digit) {
                position += 1;
            }
            (position > start).then_some(position)
        };
        scanner.starts_with(position, "{").then_some(())?;
        let mut end = digits(position + 1 + usize::from(scanner.at(position + 1) == Some('-')))?;
        if matches!(scanner.at(end), Some('.' | ',')) {
            end = digits(end + 1)?;
        }
        scanner.starts_with(end, "}").then_some(end + 1)
    }

    /// Whether `\boxed{.+?}` stands inside.
    fn has_boxed(&self, content: &Span) -> bool {
        let mut places = content.clone();
        let Some(boxed) = places.find(|place| self.scanner.starts_with(*place, "\\boxed{")) else {
            return false;
        };
        (boxed + 8..content.end).any(|place| self.scanner.at(place) == Some('}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str, context: Context) -> Vec<Vec<String>> {
        let text: Vec<char> = text.chars().collect();
        let environments = Environments::new(&text);
        let mut found = Vec::new();
        let mut position = 0;
        while position < text.len() {
            match environments.joined(position, context, Tail::Anything) {
                Some((joined, end)) => {
                    found.push(
                        joined.into_iter().map(|one| text[one.content].iter().collect()).collect(),
                    );
                    position = end;
                }
                None => position += 1,
            }
        }
        found
    }

    #[test]
    fn every_kind_of_environment_is_found() {
        let text = r"$a$; $$b$$; \[c\]; \(d\); [e] ; \frac{1}{2}";
        let expected: Vec<Vec<String>> = ["a", "b", "c", "d", "e", r"\frac{1}{2}"]
            .map(|content| vec![content.to_owned()])
            .into();
        assert_eq!(contents(text, Context::Plain), expected);
    }

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(contents("$a$, $b$ and $c$", Context::Plain), [["a", "b", "c"]]);
        assert_eq!(contents("$a$ but $b$", Context::Plain), [["a"], ["b"]]);
    }

    #[test]
    fn price_opens_no_environment() {
        assert!(contents("5$ and 6$", Context::Plain).is_empty());
        assert!(contents(r"\$5\$", Context::Plain).is_empty());
        assert!(contents("$a\nb$", Context::Plain).is_empty());
    }

    #[test]
    fn boxed_context_needs_a_box() {
        assert_eq!(contents(r"$a$ $\boxed{5}$", Context::Boxed), [[r"\boxed{5}"]]);
    }
}
