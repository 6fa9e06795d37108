//! The display of work in progress: one line that is drawn over and over on a terminal, a line per update elsewhere, and
//! after a long silence a line that says what is being done.
//!
//! The line on a terminal is cut to its width, so that it has first what matters: how far the run is, how long it takes, the
//! reward; then the stage under way, then other figures.
//! Not here: the figures and their files (`run_folder`), warnings about them (`train::health`).
//!
//! Everything goes to standard error; standard output is for results.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::printable::{self, spell};
use crate::run_folder::metrics::UpdateMetrics;

/// The interval at which a terminal's line is redrawn during a long stage, to show that the work goes on.
const TICK: Duration = Duration::from_millis(250);
/// Without a terminal, the longest time in which nothing is shown.
const SILENCE: Duration = Duration::from_secs(30);

/// How a run shows its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// One line that is drawn over and over.
    Bar,
    /// A line per update, and at least one every half minute.
    Lines,
    /// Warnings alone.
    Quiet,
}

impl ProgressMode {
    /// A line that is drawn over and over where standard error is a terminal that can move its cursor, lines elsewhere. It has no
    /// colours, so that `NO_COLOR` does not matter.
    pub fn of_stderr() -> Self {
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !is_dumb { Self::Bar } else { Self::Lines }
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
    /// Of the last update.
    figures: Figures,
    /// Whether the line of a terminal is redrawn by itself.
    is_ticking: AtomicBool,
}

/// An update's figures in words: what matters most, and the others.
#[derive(Debug, Default)]
struct Figures {
    first: String,
    others: String,
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
            ProgressMode::Bar => View::Bar(status_line(ProgressDrawTarget::stderr())),
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
        let figures = Figures::default();
        let (started, is_ticking) = (Instant::now(), AtomicBool::new(false));
        Self { view, started, first_done: 0, done: 0, total: 0, figures, is_ticking }
    }

    /// Begins to count.
    ///
    /// - `done`: updates made before the run was resumed; 0 for a new run
    /// - `total`: updates of the whole run
    pub fn start(&mut self, done: u64, total: u64) {
        (self.started, self.first_done) = (Instant::now(), done);
        (self.done, self.total) = (done, total);
        self.draw("");
    }

    /// Shows an update that has been made.
    pub fn update(&mut self, metrics: &UpdateMetrics) {
        let done = metrics.update.saturating_sub(self.first_done);
        let left = self.total.saturating_sub(metrics.update);
        let time_left = spell(time_left(self.started.elapsed(), done, left));
        self.figures = Figures::of(metrics, &time_left);
        self.done = metrics.update;
        match &self.view {
            View::Bar(_) => self.draw(""),
            View::Lines(_) => {
                let Figures { first, others } = &self.figures;
                let (update, total, seconds) = (metrics.update, self.total, metrics.s_total);
                self.view
                    .line(&format!("update {update}/{total}  {first}  {others}  {seconds:.1} s"));
            }
            View::Quiet(_) => {}
        }
    }

    /// Draws the line of a terminal anew.
    fn draw(&self, stage: &str) {
        let View::Bar(line) = &self.view else { return };
        if line.is_finished() {
            line.reset();
        }
        line.set_message(self.status(stage));
        // Enabling it again would begin another thread.
        if !self.is_ticking.swap(true, Ordering::Relaxed) {
            line.enable_steady_tick(TICK);
        }
    }

    /// What the line of a terminal says.
    fn status(&self, stage: &str) -> String {
        let progress = match self.total {
            0 => String::new(),
            total => format!("{}/{total}", self.done),
        };
        let Figures { first, others } = &self.figures;
        let parts = [progress.as_str(), first, stage, others];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        printable::line(&parts.join("  "))
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
            View::Bar(_) => self.draw(&joined(name, &so_far.to_string())),
            View::Lines(lines) => Lines::stage(lines, format!("{place}{name}"), so_far.to_string()),
            View::Quiet(_) => {}
        }
    }

    /// Shows a line that stays, above the one of a terminal.
    pub fn note(&self, text: &str) {
        self.view.line(text);
    }

    /// Shows how far the work is in a line that stays, where no line of a terminal shows it.
    pub fn milestone(&self, text: &str) {
        if let View::Lines(_) = &self.view {
            self.view.line(text);
        }
    }

    /// Shows a warning: a line that stays, quiet or not.
    pub fn warn(&self, text: &str) {
        self.view.warning(text);
    }

    /// A handle that shows such lines from other threads, such as a signal handler's.
    pub fn notes(&self) -> Notes {
        Notes { view: self.view.clone() }
    }

    /// Leaves a run's line as it is after its last update, and takes any other line away; what is printed next appears below.
    pub fn finish(&self) {
        self.is_ticking.store(false, Ordering::Relaxed);
        match &self.view {
            View::Bar(line) if self.total > 0 => {
                line.set_message(self.status(""));
                line.abandon();
            }
            View::Bar(line) => line.finish_and_clear(),
            View::Lines(lines) => lines.lock().stage = None,
            View::Quiet(_) => {}
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        match &self.view {
            View::Lines(lines) => {
                lines.lock().is_over = true;
                lines.over.notify_all();
            }
            View::Bar(line) if self.total == 0 => line.finish_and_clear(),
            View::Bar(_) | View::Quiet(_) => {}
        }
    }
}

impl Notes {
    /// Shows a line that stays, above the one of a terminal.
    pub fn note(&self, text: &str) {
        self.view.line(text);
    }
}

impl View {
    fn line(&self, text: &str) {
        let text = &printable::lines(text);
        match self {
            Self::Bar(line) => line.println(text),
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

fn status_line(target: ProgressDrawTarget) -> ProgressBar {
    // The template is a constant that a test draws; the default style stands in for an error.
    let style = ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    // Without this, dropping the line would draw it once more.
    ProgressBar::with_draw_target(None, target)
        .with_style(style)
        .with_finish(ProgressFinish::Abandon)
}

impl Figures {
    fn of(metrics: &UpdateMetrics, time_left: &str) -> Self {
        let goal = match metrics.reward {
            Some(reward) => format!("reward {reward:.3}"),
            None => format!("loss {:.4}", metrics.loss),
        };
        let mut others = Vec::new();
        others.extend(metrics.kl.map(|kl| format!("kl {kl:.4}")));
        others.extend(metrics.beta.map(|beta| format!("beta {beta:.4}")));
        others.push(format!("{:.0} tokens/s", metrics.tokens_per_s));
        Self { first: format!("left {time_left}  {goal}"), others: others.join("  ") }
    }
}

/// How long the updates that are left will take at the mean pace since the run was started or
/// resumed, evaluations and checkpoints included.
fn time_left(elapsed: Duration, done: u64, left: u64) -> Duration {
    let seconds = elapsed.as_secs_f64() / done.max(1) as f64 * left as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use indicatif::TermLike;

    use super::*;

    /// What a display has written so far, for a test to read.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        pub(crate) fn text(&self) -> String {
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

    /// A terminal of a width that remembers what was written on it.
    #[derive(Debug, Clone)]
    struct Narrow(u16, Arc<Mutex<String>>);

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            self.0
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.1.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            self.1.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What the line of a terminal says in the midst of an evaluation of a long run.
    fn drawn(columns: u16) -> String {
        let terminal = Narrow(columns, Arc::default());
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut display = ProgressDisplay::with_view(View::Bar(status_line(target)));
        display.start(0, 1500);
        let metrics = UpdateMetrics {
            update: 1200,
            reward: Some(0.8125),
            kl: Some(0.0123),
            beta: Some(0.04),
            tokens_per_s: 812.0,
            ..UpdateMetrics::default()
        };
        display.update(&metrics);
        display.between("evaluation", "40 of 200 answers");
        let View::Bar(line) = &display.view else { panic!("a line") };
        line.force_draw();
        let text = terminal.1.lock().unwrap().clone();
        text.split_once(' ').unwrap().1.trim_end().to_owned()
    }

    #[test]
    fn a_narrow_terminal_shows_update_time_left_and_reward_first() {
        let whole = "1200/1500  left 0s  reward 0.812  evaluation, 40 of 200 answers  kl 0.0123  beta 0.0400  812 tokens/s";
        assert_eq!(drawn(160), whole);
        for columns in [80, 60] {
            let shown = drawn(columns);
            assert!(whole.starts_with(&shown), "{shown}");
            assert!(
                shown.contains("1200/1500  left 0s  reward 0.812  evaluation, 40 of"),
                "{shown}"
            );
            assert!(
                (usize::from(columns) - 3..=usize::from(columns)).contains(&(shown.len() + 2)),
                "{shown}"
            );
        }
    }
}
