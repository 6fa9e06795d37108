//! Numbers and plain expressions in running text, found exactly where math-verify's regular expressions find them.
//! Not here: LaTeX environments (`environment`); which find counts (`extract`); what it means (`python_expression`).
//!
//! math-verify 0.9 describes both with one backtracking pattern each (`lazy_expr_regex` in its `parser.py`). Here they are
//! written out as code, candidates in the order in which the pattern would try them, with what makes it quadratic on
//! hostile input remembered between calls. Positions count characters, as Python does.

use crate::format::is_python_whitespace;

/// The currency signs that may stand before a number.
const CURRENCIES: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

/// What must follow a find for the whole pattern to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Anything,
    /// No equals sign, white space aside: `(?!\s*=)`.
    NoEquals,
    /// `\.?\s?I hope`, the end of a phrase models were once prompted for.
    IHope,
}

/// A range of characters.
pub(super) type Span = std::ops::Range<usize>;

/// What a plain find consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// A number: its digits before the point, its point and the digits after, and whether a percent sign follows.
    Number { integer: Span, decimal: Span, is_percent: bool },
    /// Digits and operators, such as `1/2`.
    Arithmetic(Span),
}

/// A text and what has been learnt about it.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a [char],
    /// A stretch known to hold nothing but characters of arithmetic, with the end of the run it belongs to.
    run: Span,
    /// A stretch known to hold no operator before its end, where one stands.
    before_operator: Span,
    /// For the tail: the run's end, how far down ends were tried, and the last one that holds.
    ends: [Option<TriedEnds>; 3],
    /// Positions where nothing begins that no equals sign follows; neighbouring answers ask for the same ones.
    is_barren: Vec<bool>,
}

#[derive(Clone, Copy)]
struct TriedEnds {
    run_end: usize,
    tried_down_to: usize,
    found: Option<FoundEnd>,
}

#[derive(Clone, Copy)]
struct FoundEnd {
    /// Where the characters of arithmetic end.
    at: usize,
    /// The same with a closing parenthesis that may follow.
    expression_end: usize,
    match_end: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [char]) -> Self {
        Self { text, run: 0..0, before_operator: 0..0, ends: [None; 3], is_barren: Vec::new() }
    }

    pub(super) fn at(&self, position: usize) -> Option<char> {
        self.text.get(position).copied()
    }

    pub(super) fn starts_with(&self, position: usize, literal: &str) -> bool {
        let mut chars = self.text.get(position..).unwrap_or_default().iter();
        literal.chars().all(|expected| chars.next() == Some(&expected))
    }

    /// As [`Self::starts_with`] for lower-case ASCII `literal`, either case matching.
    pub(super) fn starts_with_ignoring_case(&self, position: usize, literal: &str) -> bool {
        let mut chars = self.text.get(position..).unwrap_or_default().iter();
        literal
            .chars()
            .all(|expected| chars.next().is_some_and(|c| c.to_ascii_lowercase() == expected))
    }

    pub(super) fn is_space(&self, position: usize) -> bool {
        self.at(position).is_some_and(is_python_whitespace)
    }

    pub(super) fn skip_space(&self, position: usize) -> usize {
        self.skip(position, is_python_whitespace)
    }

    fn skip(&self, position: usize, claim: impl Fn(char) -> bool) -> usize {
        let rest = self.text.get(position..).unwrap_or_default();
        position + rest.iter().take_while(|c| claim(**c)).count()
    }

    /// Where the pattern ends if `tail` follows `position`.
    pub(super) fn end_with(&self, position: usize, tail: Tail) -> Option<usize> {
        match tail {
            Tail::Anything => Some(position),
            Tail::NoEquals => (self.at(self.skip_space(position)) != Some('=')).then_some(position),
            Tail::IHope => {
                let position = position + usize::from(self.at(position) == Some('.'));
                let after_space = position + usize::from(self.is_space(position));
                self.starts_with(after_space, "I hope").then_some(after_space + 6)
            }
        }
    }

    /// Arithmetic, else a number, whose prefix begins at `position`; with the end of the whole match.
    pub(super) fn plain(&mut self, position: usize, tail: Tail) -> Option<(Plain, usize)> {
        // Most positions are no prefix.
        if position > 0 && self.at(position) != Some('=') && !self.is_space(position) {
            return None;
        }
        if tail != Tail::NoEquals {
            return self.arithmetic(position, tail).or_else(|| self.number(position, tail));
        }
        self.is_barren.resize(self.text.len() + 1, false);
        if self.is_barren[position] {
            return None;
        }
        let found = self.arithmetic(position, tail).or_else(|| self.number(position, tail));
        self.is_barren[position] = found.is_none();
        found
    }

    /// Where the find itself may begin if its prefix `(?:^|\s|=)(?:\*\*)?` begins at `position`.
    fn after_prefix(&self, position: usize) -> impl Iterator<Item = usize> + use<> {
        let at_start = (position == 0).then_some(0);
        let is_prefix = self.is_space(position) || self.at(position) == Some('=');
        let after_char = is_prefix.then_some(position + 1);
        let stars = [at_start, after_char].map(|start| {
            start.filter(|start| self.starts_with(*start, "**")).map(|start| start + 2)
        });
        [stars[0], at_start, stars[1], after_char].into_iter().flatten()
    }

    /// `-?\(?-?\d[C]*[O][C]+\)?` and `(?:\*\*)?(?:\.|,|:|\s|\)|\$|$)`, where O are operators and C those, digits, points
    /// and white space.
    pub(super) fn arithmetic(&mut self, position: usize, tail: Tail) -> Option<(Plain, usize)> {
        for start in self.after_prefix(position) {
            let mut digit = start + usize::from(self.at(start) == Some('-'));
            digit += usize::from(self.at(digit) == Some('('));
            digit += usize::from(self.at(digit) == Some('-'));
            if !self.at(digit).is_some_and(is_digit) {
                continue;
            }
            let run_end = self.run_end(digit + 1);
            let Some(operator) = self.first_operator(digit + 1, run_end) else { continue };
            // At least one character must follow the operator.
            if let Some(end) = self.last_end(operator + 2, run_end, tail) {
                return Some((Plain::Arithmetic(start..end.expression_end), end.match_end));
            }
        }
        None
    }

    fn run_end(&mut self, from: usize) -> usize {
        if !(self.run.start <= from && from <= self.run.end && self.run.end > 0) {
            self.run = from..self.skip(from, is_arithmetic);
        }
        self.run.end
    }

    fn first_operator(&mut self, from: usize, run_end: usize) -> Option<usize> {
        let known = &self.before_operator;
        if !(known.start <= from && from <= known.end && known.end > 0) {
            self.before_operator = from..self.skip(from, |c| is_arithmetic(c) && !is_operator(c));
        }
        (self.before_operator.end < run_end).then_some(self.before_operator.end)
    }

    /// The last place from `lowest` to `run_end` where the characters of arithmetic may end.
    ///
    /// The pattern tries the last operator first and, for it, the last end; so the last end that holds wins.
    fn last_end(&mut self, lowest: usize, run_end: usize, tail: Tail) -> Option<FoundEnd> {
        let mut highest = run_end;
        if let Some(tried) = self.ends[tail as usize].filter(|tried| tried.run_end == run_end) {
            if tried.found.is_some() || tried.tried_down_to <= lowest {
                return tried.found.filter(|found| found.at >= lowest);
            }
            highest = tried.tried_down_to - 1;
        }
        let found = (lowest..=highest).rev().find_map(|at| self.end_at(at, tail));
        let tried_down_to = lowest.min(highest + 1);
        self.ends[tail as usize] = Some(TriedEnds { run_end, tried_down_to, found });
        found
    }

    fn end_at(&self, at: usize, tail: Tail) -> Option<FoundEnd> {
        let parenthesis = (self.at(at) == Some(')')).then_some(at + 1);
        [parenthesis, Some(at)].into_iter().flatten().find_map(|expression_end| {
            let match_end = self.after_suffix(expression_end, tail)?;
            Some(FoundEnd { at, expression_end, match_end })
        })
    }

    fn after_suffix(&self, position: usize, tail: Tail) -> Option<usize> {
        let stars = self.starts_with(position, "**").then_some(position + 2);
        [stars, Some(position)].into_iter().flatten().find_map(|position| {
            let is_closed = self.at(position).is_some_and(|c| {
                matches!(c, '.' | ',' | ':' | ')' | '$') || is_python_whitespace(c)
            });
            let after = is_closed.then(|| self.end_with(position + 1, tail)).flatten();
            after.or_else(|| self.is_end(position).then(|| self.end_with(position, tail)).flatten())
        })
    }

    /// Python's `$`: the end, or the last line feed.
    fn is_end(&self, position: usize) -> bool {
        let length = self.text.len();
        position == length || (position + 1 == length && self.at(position) == Some('\n'))
    }

    /// A number with its prefix at `position`, a currency sign perhaps between the two.
    pub(super) fn number(&self, position: usize, tail: Tail) -> Option<(Plain, usize)> {
        self.after_prefix(position).find_map(|start| {
            let is_currency = self.at(start).is_some_and(|c| CURRENCIES.contains(c));
            let start = start + usize::from(is_currency);
            self.grouped_number(start, tail)
                .or_else(|| self.decimal_number(start, tail))
                .or_else(|| self.integer_number(start, tail))
        })
    }

    /// `-?[1-9]\d{0,2}(?:[ ,]\d{3})+(\.\d+)?`: of `1,2345` it takes `1,234`.
    fn grouped_number(&self, start: usize, tail: Tail) -> Option<(Plain, usize)> {
        let first = start + usize::from(self.at(start) == Some('-'));
        if !self.at(first).is_some_and(|c| ('1'..='9').contains(&c)) {
            return None;
        }
        let leading = self.skip(first, is_digit);
        if leading > first + 3 {
            return None;
        }
        let mut group_ends = Vec::new();
        let mut end = leading;
        while matches!(self.at(end), Some(' ' | ','))
            && (1..=3).all(|digit| self.at(end + digit).is_some_and(is_digit))
        {
            end += 4;
            group_ends.push(end);
        }
        group_ends.into_iter().rev().find_map(|integer_end| {
            self.with_decimals(start..integer_end, integer_end, |c| c == '.', tail)
                .or_else(|| self.finish(start..integer_end, integer_end..integer_end, tail))
        })
    }

    /// `-?\d+[.,]\d+`, else `\.\d+`.
    fn decimal_number(&self, start: usize, tail: Tail) -> Option<(Plain, usize)> {
        let first = start + usize::from(self.at(start) == Some('-'));
        let integer_end = self.skip(first, is_digit);
        if integer_end > first {
            return self.with_decimals(
                start..integer_end,
                integer_end,
                |c| c == '.' || c == ',',
                tail,
            );
        }
        self.with_decimals(start..start, start, |c| c == '.', tail)
    }

    /// `-?\d+`.
    fn integer_number(&self, start: usize, tail: Tail) -> Option<(Plain, usize)> {
        let first = start + usize::from(self.at(start) == Some('-'));
        // A tail may refuse the last digit: in `answer: 12 = 5` the pattern gives the 2 back and finds 1.
        let last = self.skip(first, is_digit);
        (first + 1..=last).rev().find_map(|end| self.finish(start..end, end..end, tail))
    }

    fn with_decimals(
        &self,
        integer: Span,
        point: usize,
        is_point: impl Fn(char) -> bool,
        tail: Tail,
    ) -> Option<(Plain, usize)> {
        if !self.at(point).is_some_and(is_point) {
            return None;
        }
        let last = self.skip(point + 1, is_digit);
        (point + 2..=last).rev().find_map(|end| self.finish(integer.clone(), point..end, tail))
    }

    /// Ends a number after the percent sign that may follow it.
    fn finish(&self, integer: Span, decimal: Span, tail: Tail) -> Option<(Plain, usize)> {
        let after = decimal.end;
        let sign = self.skip_space(after);
        let percent = self.percent_ends(sign, false).into_iter().flatten();
        let ends = percent.map(|end| (end, true)).chain([(after, false)]);
        ends.into_iter().find_map(|(end, is_percent)| {
            let found =
                Plain::Number { integer: integer.clone(), decimal: decimal.clone(), is_percent };
            Some((found, self.end_with(end, tail)?))
        })
    }

    /// Where a percent sign at `position` may end: of `percentage` the pattern first takes `percent`.
    pub(super) fn percent_ends(
        &self,
        position: usize,
        allows_backslash: bool,
    ) -> [Option<usize>; 2] {
        if allows_backslash && self.starts_with(position, "\\%") {
            return [Some(position + 2), None];
        }
        match self.at(position) {
            Some('%') => [Some(position + 1), None],
            Some('P' | 'p') if self.starts_with(position + 1, "ercent") => {
                let is_longer = self.starts_with(position + 7, "age");
                [Some(position + 7), is_longer.then_some(position + 10)]
            }
            Some('P' | 'p') if self.starts_with(position + 1, "ct") => [Some(position + 3), None],
            _ => [None, None],
        }
    }
}

/// What `\d` matches: decimal digits of the scripts that turn up in model outputs.
pub(super) fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
        || matches!(c, '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' | '\u{966}'..='\u{96f}' | '\u{ff10}'..='\u{ff19}')
}

fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷')
}

fn is_arithmetic(c: char) -> bool {
    is_digit(c) || c == '.' || is_operator(c) || is_python_whitespace(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_plain(text: &str, tail: Tail) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let mut scanner = Scanner::new(&text);
        let mut found = Vec::new();
        let mut position = 0;
        while position <= text.len() {
            match scanner.plain(position, tail) {
                Some((plain, end)) => {
                    let span = match plain {
                        Plain::Arithmetic(span) => span,
                        Plain::Number { integer, decimal, .. } => integer.start..decimal.end,
                    };
                    found.push(text[span].iter().collect());
                    position = end;
                }
                None => position += 1,
            }
        }
        found
    }

    #[test]
    fn number_after_a_tag_is_not_seen() {
        assert!(all_plain("<answer>140</answer>", Tail::Anything).is_empty());
        assert_eq!(all_plain("<answer> 140 </answer>", Tail::Anything), ["140"]);
    }

    #[test]
    fn arithmetic_ends_at_the_last_suffix() {
        assert_eq!(all_plain("it is 3 + 4 here", Tail::Anything), ["3 + 4"]);
        assert_eq!(all_plain("x = 1/2.", Tail::Anything), ["1/2."]);
        assert_eq!(all_plain("(2/3) is (2/3)", Tail::Anything), ["(2/3)", "(2/3)"]);
        assert_eq!(all_plain("1/2m", Tail::Anything), ["1"]);
    }

    #[test]
    fn digit_is_given_back_before_an_equals_sign() {
        assert_eq!(all_plain("12 = 5", Tail::NoEquals), ["1", "5"]);
    }
}
