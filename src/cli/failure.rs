//! Errors at the end of their way: what they mean for the exit code and how they are printed.
//! Not here: the messages themselves (each module's error enum).

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use crate::config::{ConfigError, UnknownChoice};

use super::exit_status::ExitStatus;
use super::printer::PrintError;

/// Flags that cannot be used as they are, for reasons that clap cannot see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}\nhint: {hint}")]
pub struct UsageError {
    problem: String,
    hint: String,
}

impl UsageError {
    /// What is wrong (flag, found, expected), and the next move.
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

/// The exit code of an error: 2 where the user's input is wrong, 0 where the reader of standard
/// output went away, else 1.
pub fn exit_status_of(error: &anyhow::Error) -> ExitStatus {
    for cause in error.chain() {
        if matches!(cause.downcast_ref(), Some(PrintError::ClosedPipe)) {
            return ExitStatus::Done;
        }
        if cause.is::<ConfigError>() || cause.is::<UsageError>() || cause.is::<UnknownChoice>() {
            return ExitStatus::Usage;
        }
    }
    ExitStatus::Failed
}

/// Prints an error on standard error: what was attempted, why it failed, and the hints last.
pub fn report_error(error: &anyhow::Error) {
    let text = render(error, uses_color());
    // Where standard error is closed as well, there is nobody left to tell.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Whether standard error takes colours: a terminal, and no `NO_COLOR` (<https://no-color.org>).
pub(super) fn uses_color() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_refused
}

fn render(error: &anyhow::Error, uses_color: bool) -> String {
    let (red, cyan, reset) =
        if uses_color { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let mut text = String::new();
    let mut hints: Vec<String> = Vec::new();
    let mut shown = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        let (own_hints, lines): (Vec<&str>, Vec<&str>) =
            message.lines().partition(|line| line.starts_with("hint: "));
        let body = lines.join("\n");
        for hint in own_hints {
            if !hints.iter().any(|known| known == hint) {
                hints.push(hint.to_owned());
            }
        }
        // A transparent or quoting error says what its cause says; once is enough.
        if body.is_empty() || shown.contains(&body) {
            continue;
        }
        let label = if shown.is_empty() {
            format!("{red}error{reset}: ")
        } else {
            "  caused by: ".to_owned()
        };
        text.push_str(&label);
        text.push_str(&body);
        text.push('\n');
        shown.push_str(&body);
        shown.push('\n');
    }
    for hint in hints {
        let advice = hint.strip_prefix("hint: ").unwrap_or_default();
        if writeln!(text, "{cyan}hint{reset}: {advice}").is_err() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn bad_config() -> anyhow::Error {
        anyhow::Error::new(ConfigError::MalformedOverride { text: "x".into() })
    }

    #[test]
    fn wrong_input_is_code_2_under_any_context_and_the_rest_code_1() {
        assert_eq!(exit_status_of(&bad_config()), ExitStatus::Usage);
        let wrapped = Err::<(), _>(bad_config()).context("cannot start").unwrap_err();
        assert_eq!(exit_status_of(&wrapped), ExitStatus::Usage);
        assert_eq!(exit_status_of(&UsageError::new("a", "b").into()), ExitStatus::Usage);
        assert_eq!(exit_status_of(&anyhow::anyhow!("out of memory")), ExitStatus::Failed);
        assert_eq!(exit_status_of(&PrintError::ClosedPipe.into()), ExitStatus::Done);
    }

    #[test]
    fn hints_come_last_and_once() {
        let error = bad_config().context("cannot start\nhint: for example --set grpo.group_size=4");
        assert_eq!(
            render(&error, false),
            "error: cannot start\n  caused by: --set x: expected section.key=value\n\
             hint: for example --set grpo.group_size=4\n"
        );
    }

    #[test]
    fn cause_that_its_error_already_quotes_is_not_repeated() {
        let error = anyhow::anyhow!("bad byte").context("a.json: cannot be read: bad byte");
        assert_eq!(render(&error, false), "error: a.json: cannot be read: bad byte\n");
    }

    #[test]
    fn colour_marks_the_two_labels_alone() {
        let error = UsageError::new("problem", "advice").into();
        let expected = "\x1b[1;31merror\x1b[0m: problem\n\x1b[36mhint\x1b[0m: advice\n";
        assert_eq!(render(&error, true), expected);
    }
}
