//! What a person sees of a run that is going on: a bar on a terminal, a line per update elsewhere.
//! Not here: the figures and their files (`run_folder`), warnings about them (`train::health`).
//!
//! Everything goes to standard error; standard output is for results.

use std::borrow::Cow;
use std::env;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::run_folder::metrics::UpdateMetrics;

/// How often the bar moves by itself, as a sign of life during a long stage.
const TICK: Duration = Duration::from_millis(250);

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar that is drawn over and over.
    Bar,
    /// A line per update.
    Lines,
    /// Warnings alone.
    Quiet,
}

impl ProgressMode {
    /// A bar where standard error is a terminal that can move its cursor and `NO_COLOR` does not
    /// forbid it to, lines elsewhere.
    pub fn of_stderr() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_plain = is_set("NO_COLOR") || env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !is_plain { Self::Bar } else { Self::Lines }
    }
}

/// Shows a run's progress.
#[derive(Debug)]
pub struct ProgressDisplay {
    view: View,
    /// When, and after how many updates, this sitting began.
    started: Instant,
    first_done: u64,
    total: u64,
}

/// Shows lines between the progress, from any thread.
#[derive(Debug, Clone)]
pub struct Notes {
    view: View,
}

#[derive(Clone)]
enum View {
    Bar(ProgressBar),
    Lines(Writer),
    Quiet(Writer),
}

type Writer = Arc<Mutex<dyn Write + Send>>;

impl ProgressDisplay {
    /// A display that shows nothing before [`ProgressDisplay::start`].
    pub fn new(mode: ProgressMode) -> Self {
        let stderr = || Arc::new(Mutex::new(std::io::stderr()));
        Self::with_view(match mode {
            ProgressMode::Bar => View::Bar(bar(ProgressDrawTarget::stderr())),
            ProgressMode::Lines => View::Lines(stderr()),
            ProgressMode::Quiet => View::Quiet(stderr()),
        })
    }

    fn with_view(view: View) -> Self {
        Self { view, started: Instant::now(), first_done: 0, total: 0 }
    }

    /// Begins to count.
    ///
    /// - `done`: updates made in earlier sittings; 0 for a new run
    /// - `total`: updates of the whole run
    pub fn start(&mut self, done: u64, total: u64) {
        (self.started, self.first_done, self.total) = (Instant::now(), done, total);
        if let View::Bar(bar) = &self.view {
            bar.set_length(total);
            bar.set_position(done);
            bar.enable_steady_tick(TICK);
        }
    }

    /// Shows an update that has been made.
    pub fn update(&mut self, metrics: &UpdateMetrics) {
        let done = metrics.update.saturating_sub(self.first_done);
        let left = self.total.saturating_sub(metrics.update);
        let time_left = spell(time_left(self.started.elapsed(), done, left));
        let figures = figures(metrics);
        match &self.view {
            View::Bar(bar) => {
                bar.set_message(format!("{figures}  left {time_left}"));
                bar.set_position(metrics.update);
            }
            View::Lines(_) => self.view.line(&format!(
                "update {}/{}  {figures}  {:.1} s  left {time_left}",
                metrics.update, self.total, metrics.s_total
            )),
            View::Quiet(_) => {}
        }
    }

    /// Names what the update under way is doing; seen on a terminal alone.
    pub fn stage(&self, name: impl Into<Cow<'static, str>>) {
        if let View::Bar(bar) = &self.view {
            bar.set_prefix(name);
        }
    }

    /// Shows a line that stays, above the bar.
    pub fn note(&self, text: &str) {
        self.view.line(text);
    }

    /// Shows a warning: a line that stays, quiet or not.
    pub fn warn(&self, text: &str) {
        self.view.warning(text);
    }

    /// What shows such lines from elsewhere, a signal's thread for one.
    pub fn notes(&self) -> Notes {
        Notes { view: self.view.clone() }
    }

    /// Leaves the display as it is; what is printed next stands below it.
    pub fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.set_prefix("");
            bar.abandon();
        }
    }
}

impl Notes {
    /// Shows a line that stays, above the bar.
    pub fn note(&self, text: &str) {
        self.view.line(text);
    }
}

impl View {
    fn line(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines(writer) => write_line(writer, text),
            Self::Quiet(_) => {}
        }
    }

    fn warning(&self, text: &str) {
        let text = format!("warning: {text}");
        match self {
            Self::Quiet(writer) => write_line(writer, &text),
            Self::Bar(_) | Self::Lines(_) => self.line(&text),
        }
    }
}

fn write_line(writer: &Writer, text: &str) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody reads along any more: no reason to stop a run, and nowhere to say so.
    writeln!(writer, "{text}").and_then(|()| writer.flush()).unwrap_or_default();
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bar(_) => "Bar",
            Self::Lines(_) => "Lines",
            Self::Quiet(_) => "Quiet",
        })
    }
}

fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let template = "{spinner} {pos}/{len} [{bar:20}] {prefix:9} {wide_msg}";
    // The template is a constant that a test draws; the default style is as good as an error here.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    // Without this, dropping the bar would draw a run that stopped early as complete.
    ProgressBar::with_draw_target(Some(0), target)
        .with_style(style)
        .with_finish(ProgressFinish::Abandon)
}

/// An update's figures in one short line.
fn figures(metrics: &UpdateMetrics) -> String {
    let mut parts = Vec::new();
    match metrics.reward {
        Some(reward) => parts.push(format!("reward {reward:.3}")),
        None => parts.push(format!("loss {:.4}", metrics.loss)),
    }
    parts.extend(metrics.kl.map(|kl| format!("kl {kl:.4}")));
    parts.extend(metrics.beta.map(|beta| format!("beta {beta:.4}")));
    parts.push(format!("{:.0} tokens/s", metrics.tokens_per_s));
    parts.join("  ")
}

/// How long the updates that are left will take at the mean pace of those done in this sitting,
/// evaluations and checkpoints included.
fn time_left(elapsed: Duration, done: u64, left: u64) -> Duration {
    let seconds = elapsed.as_secs_f64() / done.max(1) as f64 * left as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_keeps_warnings_and_nothing_else() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let shown = |view: View| {
            let display = ProgressDisplay::with_view(view);
            display.note("a note");
            display.warn("look here");
            let bytes = std::mem::take(&mut *written.lock().unwrap());
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(shown(View::Quiet(written.clone())), "warning: look here\n");
        assert_eq!(shown(View::Lines(written.clone())), "a note\nwarning: look here\n");
    }

    #[test]
    fn durations_have_two_units() {
        let spelt = [45, 200, 7500].map(|seconds| spell(Duration::from_secs(seconds)));
        assert_eq!(spelt, ["45s", "3m 20s", "2h 05m"]);
    }
}
