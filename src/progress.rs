//! The display of a run in progress: a bar on a terminal, a line per update elsewhere, and after a long silence a line
//! that says what is being done.
//! Not here: the figures and their files (`run_folder`), warnings about them (`train::health`).
//!
//! Everything goes to standard error; standard output is for results.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::printable;
use crate::run_folder::metrics::UpdateMetrics;

/// The interval at which the bar is redrawn during a long stage, to show that the run is alive.
const TICK: Duration = Duration::from_millis(250);
/// Without a bar, the longest time in which nothing is shown.
const SILENCE: Duration = Duration::from_secs(30);

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar that is drawn over and over.
    Bar,
    /// A line per update, and at least one every half minute.
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
    /// When, and after how many updates, this process started or resumed the run.
    started: Instant,
    first_done: u64,
    /// Updates made so far, and of the whole run; 0 before it has started.
    done: u64,
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
    Lines(Arc<Lines>),
    Quiet(Arc<Lines>),
}

/// Lines written to a writer, and the stage to show after a long silence.
struct Lines {
    shown: Mutex<Shown>,
    /// Notified when the display ends.
    over: Condvar,
    silence: Duration,
}

struct Shown {
    writer: Box<dyn Write + Send>,
    /// When the last line was written.
    last_line: Instant,
    stage: Option<Stage>,
    is_watched: bool,
    is_over: bool,
}

/// The stage under way.
struct Stage {
    /// Includes the update that it belongs to.
    name: String,
    /// How far it is.
    so_far: String,
    since: Instant,
}

impl ProgressDisplay {
    /// A display that shows nothing before [`ProgressDisplay::start`].
    pub fn new(mode: ProgressMode) -> Self {
        let lines = || Arc::new(Lines::new(std::io::stderr(), SILENCE));
        Self::with_view(match mode {
            ProgressMode::Bar => View::Bar(bar(ProgressDrawTarget::stderr())),
            ProgressMode::Lines => View::Lines(lines()),
            ProgressMode::Quiet => View::Quiet(lines()),
        })
    }

    /// A display of lines on a writer.
    ///
    /// - `silence`: after this time without a line, one says what is being done
    pub fn lines(writer: impl Write + Send + 'static, silence: Duration) -> Self {
        Self::with_view(View::Lines(Arc::new(Lines::new(writer, silence))))
    }

    fn with_view(view: View) -> Self {
        Self { view, started: Instant::now(), first_done: 0, done: 0, total: 0 }
    }

    /// Begins to count.
    ///
    /// - `done`: updates made before the run was resumed; 0 for a new run
    /// - `total`: updates of the whole run
    pub fn start(&mut self, done: u64, total: u64) {
        (self.started, self.first_done) = (Instant::now(), done);
        (self.done, self.total) = (done, total);
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
        self.done = metrics.update;
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

    /// Sets the stage of the update under way, and its progress.
    pub fn stage(&self, name: &str, so_far: impl Display) {
        self.show_stage(&format!("update {}/{}: ", self.done + 1, self.total), name, so_far);
    }

    /// Sets what is being done between two updates or outside any, and its progress.
    pub fn between(&self, name: &str, so_far: impl Display) {
        let place = match self.total {
            0 => String::new(),
            total => format!("after update {}/{total}: ", self.done),
        };
        self.show_stage(&place, name, so_far);
    }

    fn show_stage(&self, place: &str, name: &str, so_far: impl Display) {
        match &self.view {
            View::Bar(bar) if self.total > 0 => bar.set_prefix(joined(name, &so_far.to_string())),
            View::Lines(lines) => Lines::stage(lines, format!("{place}{name}"), so_far.to_string()),
            View::Bar(_) | View::Quiet(_) => {}
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

    /// A handle that shows such lines from other threads, such as a signal handler's.
    pub fn notes(&self) -> Notes {
        Notes { view: self.view.clone() }
    }

    /// Leaves the display as it is; what is printed next appears below it.
    pub fn finish(&self) {
        match &self.view {
            View::Bar(bar) => {
                bar.set_prefix("");
                bar.abandon();
            }
            View::Lines(lines) => lines.lock().stage = None,
            View::Quiet(_) => {}
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let View::Lines(lines) = &self.view {
            lines.lock().is_over = true;
            lines.over.notify_all();
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
        let text = &printable::lines(text);
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines(lines) => lines.lock().line(text),
            Self::Quiet(_) => {}
        }
    }

    fn warning(&self, text: &str) {
        let text = printable::lines(&format!("warning: {text}"));
        match self {
            Self::Quiet(lines) => lines.lock().line(&text),
            Self::Bar(_) | Self::Lines(_) => self.line(&text),
        }
    }
}

impl Lines {
    fn new(writer: impl Write + Send + 'static, silence: Duration) -> Self {
        let shown = Shown {
            writer: Box::new(writer),
            last_line: Instant::now(),
            stage: None,
            is_watched: false,
            is_over: false,
        };
        Self { shown: Mutex::new(shown), over: Condvar::new(), silence }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the stage, and starts the thread that shows it after a long silence.
    fn stage(lines: &Arc<Self>, name: String, so_far: String) {
        let mut shown = lines.lock();
        let since = match &shown.stage {
            Some(stage) if stage.name == name => stage.since,
            Some(_) | None => Instant::now(),
        };
        shown.stage = Some(Stage { name, so_far, since });
        if !shown.is_watched {
            let watched = Arc::clone(lines);
            let watch = thread::Builder::new().name("progress".to_owned());
            // Where the system has no more threads, these lines are left out.
            shown.is_watched = watch.spawn(move || watched.watch()).is_ok();
        }
    }

    /// Shows the stage after every long silence, until the display ends.
    fn watch(&self) {
        let mut shown = self.lock();
        while !shown.is_over {
            let left = self.silence.saturating_sub(shown.last_line.elapsed());
            if left.is_zero() {
                shown.line_of_stage();
            } else {
                let waited = self.over.wait_timeout(shown, left);
                (shown, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Shown {
    fn line(&mut self, text: &str) {
        self.last_line = Instant::now();
        // Fails where standard error is closed: no reason to stop a run, and nowhere to report it.
        writeln!(self.writer, "{text}").and_then(|()| self.writer.flush()).unwrap_or_default();
    }

    fn line_of_stage(&mut self) {
        self.last_line = Instant::now();
        if let Some(Stage { name, so_far, since }) = &self.stage {
            let text = format!("{}, {}", joined(name, so_far), spell(since.elapsed()));
            self.line(&text);
        }
    }
}

/// A stage's name, and its progress where that is known.
fn joined(name: &str, so_far: &str) -> String {
    if so_far.is_empty() { name.to_owned() } else { format!("{name}, {so_far}") }
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
    // The template is a constant that a test draws; the default style stands in for an error.
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

/// How long the updates that are left will take at the mean pace since the run was started or
/// resumed, evaluations and checkpoints included.
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

    /// What a display has written so far, for a test to read.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        /// Waits until a line is there.
        fn wait_for(&self, line: &str) {
            let started = Instant::now();
            while !self.text().lines().any(|written| written == line) {
                assert!(
                    started.elapsed() < Duration::from_secs(20),
                    "no `{line}` in {}",
                    self.text()
                );
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn quiet_keeps_warnings_and_nothing_else() {
        for is_quiet in [true, false] {
            let written = Written::default();
            let lines = Arc::new(Lines::new(written.clone(), Duration::from_millis(1)));
            let view = if is_quiet { View::Quiet(lines) } else { View::Lines(lines) };
            let display = ProgressDisplay::with_view(view);
            display.note("a note");
            display.warn("look here");
            display.stage("policy", "");
            thread::sleep(Duration::from_millis(20));
            let (shown, expected) = (written.text(), "warning: look here\n");
            assert_eq!(shown == expected, is_quiet, "{shown}");
            assert!(is_quiet || shown.starts_with(&format!("a note\n{expected}")), "{shown}");
        }
    }

    #[test]
    fn a_long_stage_says_what_it_is_and_how_far_again_and_again() {
        let written = Written::default();
        let mut display = ProgressDisplay::lines(written.clone(), Duration::from_millis(5));
        display.between("opening the model", "");
        written.wait_for("opening the model, 0s");
        display.start(2, 150);
        display.stage("rollout", "1240 tokens");
        written.wait_for("update 3/150: rollout, 1240 tokens, 0s");
        display.stage("rollout", "1300 tokens");
        written.wait_for("update 3/150: rollout, 1300 tokens, 0s");
        // The time counts from the stage's start, whatever its progress.
        display.stage("rollout", "1400 tokens");
        written.wait_for("update 3/150: rollout, 1400 tokens, 1s");
        display.update(&UpdateMetrics { update: 3, ..UpdateMetrics::default() });
        display.stage("policy", "");
        written.wait_for("update 4/150: policy, 0s");
        display.between("evaluation", "40 of 200 answers");
        written.wait_for("after update 3/150: evaluation, 40 of 200 answers, 0s");
        display.finish();
        let n = written.text().len();
        thread::sleep(Duration::from_millis(20));
        assert_eq!(written.text().len(), n, "it is over");
    }

    #[test]
    fn a_line_of_its_own_puts_the_stages_line_off() {
        let written = Written::default();
        let display = ProgressDisplay::lines(written.clone(), Duration::from_millis(500));
        display.stage("policy", "");
        let started = Instant::now();
        let mut n = 0;
        while started.elapsed() < Duration::from_millis(700) {
            display.note("a note");
            n += 1;
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(written.text(), "a note\n".repeat(n));
    }

    #[test]
    fn durations_have_two_units() {
        let spelt = [45, 200, 7500].map(|seconds| spell(Duration::from_secs(seconds)));
        assert_eq!(spelt, ["45s", "3m 20s", "2h 05m"]);
    }
}
