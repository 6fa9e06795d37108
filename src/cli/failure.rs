//! Errors that end a command: their exit codes, and how they are printed.
//! Not here: the messages themselves (each module's error enum).
//!
//! The exit code says whether the user's input must change. The outermost error of a chain that is in
//! the table decides; an error that only wraps another counts as that one.
//!
//! | error | 2: the input must change | 1: something failed on the way |
//! |---|---|---|
//! | usage, choice, run file | all | |
//! | data | rows, tasks, splits, templates, paths | a read that fails for other reasons |
//! | model | checkpoint, device or number type, paths | tensors, writes, other failed reads |
//! | processor | tokenizer, chat, images, settings, paths | the tokenizer library, image tokens, other failed reads |
//! | training | folder in use, other configuration or less length to resume with, unusable rows, recorded completions, f16, too small a GPU | damaged checkpoints and records, files, tensors, a GPU's memory in mid-run, a loss that is not finite |
//! | evaluation, grading, single answer | rows, prompts, solutions | tensors, a GPU's memory, writes |
//! | report | folders and records of runs | drawing |
//! | anything else | | all |
//!
//! A path is at fault if there is no such file, permission to read it is missing, or it is not a text file.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use crate::config::{ConfigError, UnknownChoice};
use crate::data::DataError;
use crate::eval::EvalError;
use crate::eval::answers_file::AnswersFileError;
use crate::eval::grading::GradingError;
use crate::experiment::ExperimentError;
use crate::hub::HubError;
use crate::identity::IdentityError;
use crate::model::error::ModelError;
use crate::printable;
use crate::processor::ProcessorError;
use crate::report::error::ReportError;
use crate::reward::ExternalError;
use crate::rollout::replay::ReplayError;
use crate::rollout::single::SingleError;
use crate::run_folder::RunFolderError;
use crate::train::error::TrainError;

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
    /// What is wrong (flag, found, expected), and what to do.
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

/// The exit code of an error, by the table above; 0 if the reader closed standard output.
pub fn exit_status_of(error: &anyhow::Error) -> ExitStatus {
    let is_closed_pipe = |cause: &(dyn Error + 'static)| {
        matches!(cause.downcast_ref(), Some(PrintError::ClosedPipe))
    };
    if error.chain().any(is_closed_pipe) {
        return ExitStatus::Done;
    }
    match error.chain().find_map(blames_input) {
        Some(true) => ExitStatus::Usage,
        Some(false) | None => ExitStatus::Failed,
    }
}

/// Whether the user's input is at fault; `None` for an error that is not in the table.
fn blames_input(cause: &(dyn Error + 'static)) -> Option<bool> {
    if cause.is::<ConfigError>() || cause.is::<UsageError>() || cause.is::<UnknownChoice>() {
        return Some(true);
    }
    let data = cause.downcast_ref().map(data_blames_input);
    let model = || cause.downcast_ref().map(model_blames_input);
    let processor = || cause.downcast_ref().map(processor_blames_input);
    let train = || cause.downcast_ref().map(train_blames_input);
    let folder = || cause.downcast_ref().map(folder_blames_input);
    let identity = || cause.downcast_ref().map(identity_blames_input);
    let eval = || cause.downcast_ref().map(eval_blames_input);
    let experiment = || cause.downcast_ref().map(experiment_blames_input);
    let report = || cause.downcast_ref().map(ReportError::blames_input);
    let grading = || cause.downcast_ref().map(grading_blames_input);
    let single = || cause.downcast_ref().map(|error| matches!(error, SingleError::TooLong { .. }));
    data.or_else(model)
        .or_else(report)
        .or_else(processor)
        .or_else(train)
        .or_else(folder)
        .or_else(identity)
        .or_else(eval)
        .or_else(experiment)
        .or_else(grading)
        .or_else(single)
}

fn data_blames_input(error: &DataError) -> bool {
    match error {
        DataError::Unreadable { source, .. } => is_wrong_path(source),
        DataError::Unusable { source, .. } | DataError::NotFetched { source, .. } => {
            data_blames_input(source)
        }
        DataError::Hub(source) => hub_blames_input(source),
        DataError::Processor(source) => processor_blames_input(source),
        DataError::OutOfRange { .. } => false,
        _ => true,
    }
}

/// Whether another name, token, address or cache would help; a disk or a network that fails is no wrong input.
fn hub_blames_input(error: &HubError) -> bool {
    !matches!(
        error,
        HubError::DiskFull { .. } | HubError::Storage { .. } | HubError::Corrupt { .. }
    )
}

fn model_blames_input(error: &ModelError) -> bool {
    match error {
        ModelError::Read { source, .. } => is_wrong_path(source),
        ModelError::Hub { source, .. } => hub_blames_input(source),
        ModelError::Write { .. } | ModelError::Tensor { .. } | ModelError::NotFinite { .. } => {
            false
        }
        _ => true,
    }
}

fn processor_blames_input(error: &ProcessorError) -> bool {
    match error {
        ProcessorError::Unreadable { source, .. } => is_wrong_path(source),
        ProcessorError::Tokenize { .. } | ProcessorError::ImageTokens { .. } => false,
        _ => true,
    }
}

fn train_blames_input(error: &TrainError) -> bool {
    match error {
        TrainError::Data(source) => data_blames_input(source),
        TrainError::Identity(source) => identity_blames_input(source),
        TrainError::Model(source) => model_blames_input(source),
        TrainError::Processor(source) => processor_blames_input(source),
        TrainError::Evaluation(source) => eval_blames_input(source),
        TrainError::Folder(source) => folder_blames_input(source),
        TrainError::Replay(ReplayError::Read { source, .. }) => is_wrong_path(source),
        TrainError::Underflow
        | TrainError::DoesNotFit { .. }
        | TrainError::Shorter { .. }
        | TrainError::CutShort { .. }
        | TrainError::NoRows { .. }
        | TrainError::NotOnRecord { .. }
        | TrainError::NoUsableRow { .. }
        | TrainError::NoCompletion { .. }
        | TrainError::TooLong { .. }
        | TrainError::Solution(_)
        | TrainError::Replay(_)
        | TrainError::CustomReward(ExternalError::CannotStart { .. }) => true,
        _ => false,
    }
}

fn identity_blames_input(error: &IdentityError) -> bool {
    match error {
        IdentityError::Config(_) => true,
        IdentityError::Data(source) => data_blames_input(source),
        IdentityError::Model(source) => model_blames_input(source),
        IdentityError::Folder(source) => folder_blames_input(source),
        IdentityError::Unreadable { source, .. } => is_wrong_path(source),
    }
}

fn folder_blames_input(error: &RunFolderError) -> bool {
    match error {
        RunFolderError::Model(source) => model_blames_input(source),
        other => other.is_usage(),
    }
}

fn experiment_blames_input(error: &ExperimentError) -> bool {
    match error {
        ExperimentError::Config(_) | ExperimentError::UnknownMethod { .. } => true,
        ExperimentError::Train(source) => train_blames_input(source),
        ExperimentError::Folder(source) => folder_blames_input(source),
        ExperimentError::Eval(source) => eval_blames_input(source),
        ExperimentError::Data(source) => data_blames_input(source),
        ExperimentError::Identity(source) => identity_blames_input(source),
        ExperimentError::Model(source) => model_blames_input(source),
        ExperimentError::Io { source, .. } => is_wrong_path(source),
        ExperimentError::OutOfMemory { .. } => false,
    }
}

fn eval_blames_input(error: &EvalError) -> bool {
    match error {
        EvalError::Data(source) => data_blames_input(source),
        EvalError::Processor(source) => processor_blames_input(source),
        EvalError::File(AnswersFileError::Io { source, .. }) => is_wrong_path(source),
        EvalError::Solution(_)
        | EvalError::TooLong { .. }
        | EvalError::NoRows { .. }
        | EvalError::File(_) => true,
        EvalError::Tensor(_) | EvalError::Thread(_) => false,
    }
}

fn grading_blames_input(error: &GradingError) -> bool {
    match error {
        GradingError::Data(source) => data_blames_input(source),
        GradingError::Gold { .. } | GradingError::NoRows { .. } => true,
    }
}

/// Whether the path is at fault, rather than the disk.
fn is_wrong_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidData
    )
}

/// Prints an error on standard error: what was attempted, why it failed, and the hints last.
pub fn report_error(error: &anyhow::Error) {
    let text = render(error, uses_color());
    // If standard error is closed too, the message cannot be shown anywhere.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Whether standard error takes colours: a terminal, and no `NO_COLOR` (<https://no-color.org>).
pub(super) fn uses_color() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_refused
}

fn render(error: &anyhow::Error, uses_color: bool) -> String {
    let (red, cyan, reset) =
        if uses_color { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let mut text = String::new();
    let mut hints: Vec<String> = Vec::new();
    let mut shown = String::new();
    for cause in error.chain() {
        let message = printable::lines(&cause.to_string());
        let (own_hints, lines): (Vec<&str>, Vec<&str>) =
            message.lines().partition(|line| line.starts_with("hint: "));
        let body = lines.join("\n");
        for hint in own_hints {
            if !hints.iter().any(|known| known == hint) {
                hints.push(hint.to_owned());
            }
        }
        // A transparent error, or one that quotes its cause, repeats the cause's text: it is printed once.
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

    fn unreadable(kind: ErrorKind) -> DataError {
        DataError::Unreadable { path: "a.jsonl".into(), source: kind.into() }
    }

    #[test]
    fn missing_file_is_code_2_and_a_failing_disk_code_1_however_deep_they_lie() {
        for (kind, status) in [
            (ErrorKind::NotFound, ExitStatus::Usage),
            (ErrorKind::PermissionDenied, ExitStatus::Usage),
            (ErrorKind::TimedOut, ExitStatus::Failed),
        ] {
            let in_training = TrainError::from(EvalError::from(unreadable(kind)));
            for error in [unreadable(kind).into(), in_training.into()] {
                assert_eq!(exit_status_of(&error), status, "{error}");
            }
            let read = ModelError::Read { file: "config.json".to_owned(), source: kind.into() };
            assert_eq!(exit_status_of(&TrainError::from(read).into()), status);
        }
    }

    #[test]
    fn a_run_that_cannot_work_as_it_is_set_is_code_2() {
        assert_eq!(exit_status_of(&TrainError::Underflow.into()), ExitStatus::Usage);
        let too_large = TrainError::DoesNotFit { shortage: "too large".to_owned() };
        assert_eq!(exit_status_of(&too_large.into()), ExitStatus::Usage);
        let changed = ModelError::Changed { file: "model.safetensors".to_owned() };
        assert_eq!(exit_status_of(&TrainError::from(changed).into()), ExitStatus::Usage);
    }

    #[test]
    fn unusable_prompt_is_code_2_and_broken_arithmetic_code_1() {
        let source =
            ProcessorError::AspectRatio { name: "a.png".to_owned(), width: 1, height: 500 };
        let source = Box::new(DataError::from(source));
        let prompt = DataError::Unusable { sample: "a:1".to_owned(), source };
        assert_eq!(exit_status_of(&TrainError::from(prompt).into()), ExitStatus::Usage);
        let too_long = SingleError::TooLong { n_prompt: 9, n_new: 9, limit: 10 };
        assert_eq!(exit_status_of(&too_long.into()), ExitStatus::Usage);
        let shape = || candle_core::Error::Msg("shape".to_owned());
        assert_eq!(exit_status_of(&SingleError::from(shape()).into()), ExitStatus::Failed);
        assert_eq!(exit_status_of(&EvalError::from(shape()).into()), ExitStatus::Failed);
        let disk = EvalError::Thread(ErrorKind::PermissionDenied.into());
        assert_eq!(exit_status_of(&disk.into()), ExitStatus::Failed);
    }

    #[test]
    fn outermost_error_that_is_known_decides() {
        let source = ConfigError::MalformedOverride { text: "x".into() };
        let error = TrainError::Resolve { source };
        assert_eq!(exit_status_of(&error.into()), ExitStatus::Failed, "its cause alone would be 2");
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
    fn what_data_put_into_a_message_cannot_steer_the_terminal() {
        let error = UsageError::new("found \x1b[2J\u{202e}x", "try \r y").into();
        assert_eq!(render(&error, false), "error: found �[2J�x\nhint: try � y\n");
    }

    #[test]
    fn colour_marks_the_two_labels_alone() {
        let error = UsageError::new("problem", "advice").into();
        let expected = "\x1b[1;31merror\x1b[0m: problem\n\x1b[36mhint\x1b[0m: advice\n";
        assert_eq!(render(&error, true), expected);
    }
}
