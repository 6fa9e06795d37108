//! Text on its way to a terminal.
//! Not here: where it comes from.

use othink::limits::SHOWN_LETTERS;
use othink::printable;
use serde_json::Value;

/// No control character but line ends and tabs is left, lines have an end, and JSON keeps its value.
pub(super) fn printable(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line = printable::line(&text);
    assert!(!line.contains(char::is_control));
    assert!(line.chars().count() <= SHOWN_LETTERS + 1);
    assert_eq!(printable::line(&line), line);
    for shown in [printable::lines(&text), printable::whole(&text)] {
        assert!(!shown.contains(|letter: char| letter.is_control() && !"\n\t".contains(letter)));
    }
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        let compact = value.to_string();
        let shown = printable::json(&compact);
        assert!(!shown.contains(char::is_control));
        assert_eq!(serde_json::from_str::<Value>(&shown).ok(), Some(value));
    }
}
