//! Text as a terminal may be shown it: that of data, models and servers without what steers it; counts with their nouns, bytes and durations.
//! Not here: where it is printed (`cli`, `progress`, each warning).
//!
//! A control character can move the cursor, change colours or answer for the user; a bidirectional override makes a text
//! read as another. Each becomes U+FFFD. Line ends and tabs are kept where several lines are meant.

use std::fmt::Display;
use std::time::Duration;

use crate::limits::SHOWN_LETTERS;

/// The text on one line, cut to [`SHOWN_LETTERS`].
pub fn line(text: &str) -> String {
    cut(&replaced(text, |_| false))
}

/// The text on its lines, each cut to [`SHOWN_LETTERS`].
pub fn lines(text: &str) -> String {
    let lines: Vec<String> = whole(text).split('\n').map(cut).collect();
    lines.join("\n")
}

/// The text on its lines, uncut.
pub fn whole(text: &str) -> String {
    replaced(text, |letter| matches!(letter, '\n' | '\t'))
}

/// JSON of the same value, with the letters that a terminal may not be shown written as escapes. JSON has them inside of
/// strings alone.
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_steering(letter) {
            let code = u32::from(letter); // all of them are below U+10000
            shown.extend(["\\u", &format!("{code:04x}")]);
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Bytes of memory or of a disk, in units of 10^9 as everywhere: `24.0 GB`.
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// A duration in two units: `2h 05m`, `3m 20s`, `45s`.
pub fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds:02}s"),
        _ => format!("{hours}h {minutes:02}m"),
    }
}

/// A count with its noun: `1 update`, `2 updates`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    if n == N::from(1) { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn replaced(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let shown = |letter| if is_steering(letter) && !is_kept(letter) { '\u{fffd}' } else { letter };
    text.chars().map(shown).collect()
}

/// Control characters (C0, C1, delete), and Unicode's marks, embeddings, overrides and isolates of direction.
fn is_steering(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(SHOWN_LETTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        let hostile = "a\x1b[31m\r\u{9b}2J\u{202e}b\u{2066}\tc\nd";
        assert_eq!(line(hostile), "a�[31m��2J�b��c�d");
        assert_eq!(lines(hostile), "a�[31m��2J�b�\tc\nd");
        assert_eq!(line("Zwölf Äpfel — 十二 √2 🍎"), "Zwölf Äpfel — 十二 √2 🍎");
    }

    #[test]
    fn long_lines_are_cut_between_letters() {
        let long = "ä".repeat(SHOWN_LETTERS);
        assert_eq!(line(&long), long);
        assert_eq!(lines(&format!("{long}ä\nb")), format!("{long}…\nb"));
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [0_u64, 1, 2].map(|n| count(n, "update")),
            ["0 updates", "1 update", "2 updates"]
        );
    }

    #[test]
    fn durations_have_two_units() {
        let spelt = [45, 200, 7500].map(|seconds| spell(Duration::from_secs(seconds)));
        assert_eq!(spelt, ["45s", "3m 20s", "2h 05m"]);
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a": "\u{1b}[0m\u{202e}\u{9b}x\n"});
        let shown = json(&value.to_string());
        assert!(!shown.contains(is_steering), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
