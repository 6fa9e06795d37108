//! What a run says at its end: what it measured before and after, how long it took, what people do next.
//! Not here: what it says before its first update (`banner`).

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::TrainError;
use super::failed::message;
use super::run::Ended;
use crate::config::RunConfig;
use crate::eval::Summary;
use crate::printable::{count, spell};
use crate::progress::ProgressDisplay;
use crate::run_folder::records::EvaluationRecord;
use crate::run_folder::starts::Start;
use crate::run_folder::{RunFolder, RunFolderError, json_lines};

/// A start of a run, from its first write to what is said at its end.
pub(super) struct Closing {
    start: Start,
    /// When the first update was begun, and how many had been made before.
    since: Instant,
    from: u64,
}

/// What a run did since it was started or resumed.
#[derive(Debug, Clone, Copy)]
struct Made {
    /// Updates before.
    from: u64,
    /// Updates now, all that the run has.
    to: u64,
    /// Evaluations and checkpoints included.
    took: Duration,
}

impl Closing {
    /// Writes down that the run starts.
    ///
    /// - `from`: updates made before
    ///
    /// # Errors
    /// The run's folder cannot be written.
    pub(super) fn begin(folder: &RunFolder, from: u64) -> Result<Self, RunFolderError> {
        Ok(Self { start: Start::begin(folder, from)?, since: Instant::now(), from })
    }

    /// Writes down how the run ended, and says of one that is finished what it did; neither is a reason for it to fail.
    ///
    /// - `update`: updates made
    pub(super) fn close(
        &mut self,
        ended: &Result<Ended, TrainError>,
        (config, folder, update): (&RunConfig, &RunFolder, u64),
        display: &ProgressDisplay,
    ) {
        let outcome = match ended {
            Ok(Ended::Finished(_)) => "finished".to_owned(),
            Ok(Ended::Interrupted(_)) => "interrupted".to_owned(),
            Err(error) => message(error),
        };
        let written = folder.require_in_place();
        if let Err(error) = written.and_then(|()| self.start.end(&outcome, update)) {
            display.warn(&format!("cannot write down how the run ended: {error}"));
        }
        let Ok(Ended::Finished(checkpoint)) = ended else { return };
        let made = Made { from: self.from, to: update, took: self.since.elapsed() };
        match json_lines::read::<EvaluationRecord>(&folder.evaluations()) {
            Ok(evaluations) => {
                let folders = (folder.path(), checkpoint.as_path());
                display.note(&closing(config, &evaluations, made, folders));
            }
            Err(error) => display.warn(&format!("cannot say what was measured: {error}")),
        }
    }
}

/// The lines.
///
/// - `evaluations`: those on record, in their order
/// - `run`, `checkpoint`: the run's folder, and its last checkpoint's
fn closing(
    config: &RunConfig,
    evaluations: &[EvaluationRecord],
    made: Made,
    (run, checkpoint): (&Path, &Path),
) -> String {
    let mut lines = vec![time(made)];
    lines.splice(0..0, gain(evaluations, made.to));
    let [report, next] = next_commands(config, evaluations, (run, checkpoint));
    lines.push(format!("next: {report}"));
    lines.push(format!("      {next}"));
    lines.join("\n")
}

fn time(Made { from, to, took }: Made) -> String {
    let updates = count(to - from, "update");
    let resumed = if from > 0 { format!(" after the first {from}") } else { String::new() };
    format!("{updates}{resumed} in {}", spell(took))
}

/// Accuracy before -> after; none where nothing was measured.
fn gain(evaluations: &[EvaluationRecord], last: u64) -> Option<String> {
    let of = |Summary { accuracy, ci95: [low, high], .. }: &Summary| {
        format!("{:.1}% ({:.1} to {:.1})", 100.0 * accuracy, 100.0 * low, 100.0 * high)
    };
    let after = evaluations.last()?;
    let before = evaluations.first().filter(|before| before.update < after.update);
    let before = before.map_or(String::new(), |before| format!("{} -> ", of(&before.summary)));
    let Summary { task, n, .. } = &after.summary;
    let when = match after.update {
        0 => " before training".to_owned(),
        update if update == last => String::new(),
        update => format!(" after {}", count(update, "update")),
    };
    let questions = count(*n, "question");
    Some(format!(
        "accuracy {before}{}{when} on {task}, {questions}, with 95% intervals",
        of(&after.summary)
    ))
}

/// A page of the run, and what can be done with its model: to be measured where that is not on record, else asked.
fn next_commands(
    config: &RunConfig,
    evaluations: &[EvaluationRecord],
    (run, checkpoint): (&Path, &Path),
) -> [String; 2] {
    let (run, model) = (quoted(run), quoted(checkpoint));
    let is_measured = evaluations.last().is_some_and(|last| last.update > 0);
    let task = config.eval.task.as_ref().or(config.data.task.as_ref());
    let next = match task {
        Some(task) if !is_measured => format!("othink eval --task {task} --model {model}"),
        Some(_) | None => format!("othink infer --model {model} --image FILE --prompt TEXT"),
    };
    [format!("othink report {run}"), next]
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;
    use crate::eval::summary::test_summary;

    const MADE: Made = Made { from: 0, to: 150, took: Duration::from_secs(87) };

    fn closed(evaluations: &[(u64, usize)], made: Made, checkpoint: &str) -> String {
        let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
        let config = RunConfig::from_file(&file, &[]).unwrap();
        let record = |&(update, correct)| {
            let summary = Summary { task: "vc".to_owned(), ..test_summary(correct, 200) };
            EvaluationRecord { update, summary }
        };
        let evaluations: Vec<_> = evaluations.iter().map(record).collect();
        closing(&config, &evaluations, made, (Path::new("runs/a"), Path::new(checkpoint)))
    }

    #[test]
    fn a_measured_run_says_before_and_after_and_how_to_ask_its_model() {
        assert_eq!(
            closed(&[(0, 44), (100, 80), (150, 92)], MADE, "c"),
            "accuracy 22.0% (16.8 to 28.2) -> 46.0% (39.2 to 52.9) on vc, 200 questions, with 95% intervals\n\
             150 updates in 1m 27s\n\
             next: othink report runs/a\n      othink infer --model c --image FILE --prompt TEXT"
        );
        let cut = closed(&[(100, 80)], MADE, "c");
        assert!(cut.starts_with("accuracy 40.0% (33.5 to 46.9) after 100 updates on vc"), "{cut}");
    }

    #[test]
    fn a_run_that_was_not_measured_says_how_to_measure_it() {
        let made = Made { from: 149, ..MADE };
        assert_eq!(
            closed(&[], made, "my runs/c"),
            "1 update after the first 149 in 1m 27s\n\
             next: othink report runs/a\n      othink eval --task synth-vc --model 'my runs/c'"
        );
        let before = closed(&[(0, 44)], MADE, "c");
        assert!(before.contains("accuracy 22.0% (16.8 to 28.2) before training on vc"), "{before}");
        assert!(before.contains("othink eval --task"), "{before}");
    }
}
