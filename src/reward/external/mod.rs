//! A custom reward: a command of the user's own that reads completions and writes scores, one JSON object a line.
//! Not here: what can go wrong with it (`error`); its weight and the other components (`registry`); the run file's
//! section (`config`).
//!
//! The command is a program and its arguments, started once and never through a shell; nothing of the data reaches its
//! command line. A batch goes to its stdin from a thread of its own, while the answers are read by another, so that a
//! command which reads little and writes much, or the reverse, cannot cause a deadlock.
//!
//! A request is `{"id": 7, "completion": "...", "solution": "...", "problem": "...", "prompt_id": "...", "images": ["a.png"],
//! "columns": {"level": 3}}`, an answer `{"id": 7, "score": 0.5}`, in any order within a batch. An id is never used twice. The command ends when its stdin
//! does. Any failure stops it and is named. A wrapper script should `exec` its program: only the command itself is
//! killed.

mod error;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub use error::ExternalError;

/// Bytes of an answer's line, at most.
pub const MAX_LINE: usize = 64 * 1024;

/// Answers buffered before the command has to wait.
const MAX_WAITING_LINES: usize = 64;

/// Lines of stderr that an error quotes.
const QUOTED_LINES: usize = 10;

/// Bytes of a line that an error quotes.
const QUOTED_BYTES: usize = 400;

/// How long a command may take to end once its stdin has, before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// The interval at which a command that should end is polled.
const POLL: Duration = Duration::from_millis(5);

/// A command, and how long it may take for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalCommand {
    /// A path, or a name that is searched for as the system does.
    pub program: String,
    /// Its arguments, passed unchanged.
    pub args: Vec<String>,
    /// From the first request of a batch to its last answer; the first batch includes the command's own start.
    pub timeout: Duration,
}

/// What is scored, as the command sees it.
#[derive(Clone, Copy, Debug)]
pub struct ExternalRequest<'a> {
    /// The generated text, without stop tokens.
    pub completion: &'a str,
    /// The sample's solution as written in the data.
    pub solution: &'a str,
    /// The sample's question.
    pub problem: &'a str,
    /// What the completions of one prompt share.
    pub prompt_id: &'a str,
    /// The paths of the sample's pictures; `None` for one that is in no file of its own.
    pub images: &'a [Option<String>],
    /// The row's other fields.
    pub columns: &'a Map<String, Value>,
}

/// A command that is running. When the value is dropped, the command has half a second to end by itself; then it is
/// killed. Either way it is waited for.
#[derive(Debug)]
pub struct ExternalReward {
    command: ExternalCommand,
    child: Child,
    /// Batches for the writing thread; none once the stdin is to be closed.
    batches: Option<Sender<Vec<u8>>>,
    events: Receiver<Event>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: JoinHandle<()>,
    next_id: u64,
}

/// What the threads around a command report.
#[derive(Debug)]
enum Event {
    Line(String),
    TooLong(String),
    StdoutClosed,
    StdinClosed,
}

impl ExternalReward {
    /// Starts the command.
    ///
    /// # Errors
    /// There is no such program, it may not be run, or the system has no threads left.
    pub fn start(command: ExternalCommand) -> Result<Self, ExternalError> {
        let spawned = Command::new(&command.program)
            .args(&command.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let failed =
            |source| ExternalError::CannotStart { program: command.program.clone(), source };
        let mut child = spawned.map_err(failed)?;
        match start_threads(&mut child) {
            Ok(threads) => Ok(Self {
                command,
                child,
                batches: Some(threads.batches),
                events: threads.events,
                last_lines: threads.last_lines,
                stderr_reader: threads.stderr_reader,
                next_id: 0,
            }),
            Err(source) => {
                stop(&mut child);
                Err(failed(source))
            }
        }
    }

    /// The score of each request, in their order. After an error the command has ended, and every later call fails.
    ///
    /// # Errors
    /// The command ended, closed a pipe or took too long; a line of its stdout is no answer, or answers what was not
    /// asked; a score is not finite.
    pub fn score(&mut self, requests: &[ExternalRequest]) -> Result<Vec<f64>, ExternalError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let first_id = self.next_id;
        self.next_id += requests.len() as u64;
        let batch = encode(first_id, requests);
        // A writing thread that has ended has reported why.
        self.batches.as_ref().and_then(|batches| batches.send(batch).ok());
        let scores = self.receive(first_id, requests.len());
        if scores.is_err() {
            stop(&mut self.child);
        }
        scores
    }

    fn receive(&mut self, first_id: u64, n_requests: usize) -> Result<Vec<f64>, ExternalError> {
        let start = Instant::now();
        let mut scores: Vec<Option<f64>> = vec![None; n_requests];
        // Every event is an answer or an error, so that a flood of lines cannot outlast the limit.
        for n_answered in 0..n_requests {
            let left = self.command.timeout.saturating_sub(start.elapsed());
            let line = match self.events.recv_timeout(left) {
                Ok(Event::Line(line)) => line,
                Ok(Event::TooLong(line)) => {
                    let problem = format!("a line of more than {MAX_LINE} bytes");
                    return Err(self.not_an_answer(&line, problem));
                }
                Ok(Event::StdinClosed) => return Err(self.ended("stdin", n_answered, n_requests)),
                Ok(Event::StdoutClosed) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.ended("stdout", n_answered, n_requests));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.timed_out(n_answered, n_requests));
                }
            };
            let (id, score) = self.decode(&line)?;
            let program = || self.command.program.clone();
            let idx = id.checked_sub(first_id).and_then(|idx| usize::try_from(idx).ok());
            let Some(slot) = idx.and_then(|idx| scores.get_mut(idx)) else {
                let last_id = first_id + n_requests as u64 - 1;
                return Err(ExternalError::UnknownId { program: program(), id, first_id, last_id });
            };
            if slot.replace(score).is_some() {
                return Err(ExternalError::RepeatedId { program: program(), id });
            }
        }
        Ok(scores.into_iter().flatten().collect())
    }

    /// Id and score of an answer.
    fn decode(&self, line: &str) -> Result<(u64, f64), ExternalError> {
        let problem = |text: &str| self.not_an_answer(line, text.to_owned());
        let not_finite = || ExternalError::NotFinite {
            program: self.command.program.clone(),
            line: shortened(line),
        };
        let answer: Value = match serde_json::from_str(line) {
            Ok(answer) => answer,
            // What Python writes for numbers that JSON does not have; and numbers beyond the range of f64.
            Err(_) if line.contains("NaN") || line.contains("Infinity") => return Err(not_finite()),
            Err(error) if error.to_string().contains("out of range") => return Err(not_finite()),
            Err(error) => return Err(problem(&format!("not JSON ({error})"))),
        };
        let Some(answer) = answer.as_object() else { return Err(problem("not a JSON object")) };
        let Some(id) = answer.get("id") else { return Err(problem("no \"id\"")) };
        let Some(id) = id.as_u64() else { return Err(problem("\"id\" is no request's number")) };
        let Some(score) = answer.get("score") else { return Err(problem("no \"score\"")) };
        let Some(score) = score.as_f64() else { return Err(problem("\"score\" is not a number")) };
        if score.is_finite() { Ok((id, score)) } else { Err(not_finite()) }
    }

    fn not_an_answer(&self, line: &str, problem: String) -> ExternalError {
        let program = self.command.program.clone();
        ExternalError::NotAnAnswer { program, line: shortened(line), problem }
    }

    fn ended(&mut self, pipe: &'static str, n_answered: usize, n_requests: usize) -> ExternalError {
        let status = wait_at_most(&mut self.child, GRACE);
        let (program, stderr) = (self.command.program.clone(), self.last_stderr_lines());
        match status {
            Some(status) => {
                ExternalError::Ended { program, status, n_answered, n_requests, stderr }
            }
            None => ExternalError::ClosedPipe { program, pipe, n_answered, n_requests, stderr },
        }
    }

    fn timed_out(&mut self, n_answered: usize, n_requests: usize) -> ExternalError {
        stop(&mut self.child);
        let timeout_s = self.command.timeout.as_secs_f64();
        let (program, stderr) = (self.command.program.clone(), self.last_stderr_lines());
        ExternalError::TimedOut { program, timeout_s, n_answered, n_requests, stderr }
    }

    /// The last lines of stderr, after waiting a short time for all of them to arrive.
    fn last_stderr_lines(&self) -> String {
        let start = Instant::now();
        while !self.stderr_reader.is_finished() && start.elapsed() < GRACE {
            sleep(POLL);
        }
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for ExternalReward {
    fn drop(&mut self) {
        self.batches = None;
        if wait_at_most(&mut self.child, GRACE).is_none() {
            stop(&mut self.child);
        }
    }
}

/// The ends of the threads around a command.
struct Threads {
    batches: Sender<Vec<u8>>,
    events: Receiver<Event>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: JoinHandle<()>,
}

/// Starts the threads that write and read. None is ever joined: each ends with its pipe, and a process that the command
/// has started may hold a pipe open.
fn start_threads(child: &mut Child) -> io::Result<Threads> {
    let missing = || io::Error::other("a pipe is missing");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let (batches, to_write) = channel::<Vec<u8>>();
    let (report, events) = sync_channel(MAX_WAITING_LINES);
    let last_lines = Arc::new(Mutex::new(VecDeque::new()));
    let (closed, lines) = (report.clone(), Arc::clone(&last_lines));
    Builder::new().name("reward-stdin".to_owned()).spawn(move || {
        let write = |batch: Vec<u8>| stdin.write_all(&batch).and_then(|()| stdin.flush());
        if to_write.into_iter().map(write).any(|written| written.is_err()) {
            // The receiver is gone once the reward is dropped.
            closed.send(Event::StdinClosed).ok();
        }
    })?;
    Builder::new().name("reward-stdout".to_owned()).spawn(move || report_lines(stdout, &report))?;
    let stderr_reader = Builder::new()
        .name("reward-stderr".to_owned())
        .spawn(move || keep_last_lines(stderr, &lines))?;
    Ok(Threads { batches, events, last_lines, stderr_reader })
}

/// Reports each line until the stream ends, a line is too long, or the receiver is gone.
fn report_lines(stdout: impl Read, report: &SyncSender<Event>) {
    let mut stdout = BufReader::new(stdout);
    while let Some(line) = read_line(&mut stdout) {
        let is_too_long = line.len() > MAX_LINE;
        let line = String::from_utf8_lossy(&line).into_owned();
        let event = if is_too_long { Event::TooLong(line) } else { Event::Line(line) };
        if report.send(event).is_err() || is_too_long {
            return;
        }
    }
    report.send(Event::StdoutClosed).ok();
}

fn keep_last_lines(stderr: impl Read, lines: &Mutex<VecDeque<String>>) {
    let mut stderr = BufReader::new(stderr);
    while let Some(line) = read_line(&mut stderr) {
        let line = String::from_utf8_lossy(&line);
        let printable = line.trim_end().replace(|c: char| c.is_control() && c != '\t', " ");
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == QUOTED_LINES {
            lines.pop_front();
        }
        lines.push_back(shortened(&printable));
    }
}

/// A line without its line feed, cut off one byte beyond the bound; none where the stream ends or fails.
fn read_line(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let n_read = stream.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).ok()?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    (n_read > 0).then_some(line)
}

fn encode(first_id: u64, requests: &[ExternalRequest]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (id, request) in (first_id..).zip(requests) {
        let ExternalRequest { completion, solution, problem, prompt_id, images, columns } = request;
        let line = json!({
            "id": id,
            "completion": completion,
            "solution": solution,
            "problem": problem,
            "prompt_id": prompt_id,
            "images": images,
            "columns": columns,
        });
        batch.extend_from_slice(line.to_string().as_bytes());
        batch.push(b'\n');
    }
    batch
}

/// How the child ended, if it does within the time.
fn wait_at_most(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < limit => sleep(POLL),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// Kills the child and waits for it. Either fails only where there is no child any more.
fn stop(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// The beginning of a line, for an error message.
fn shortened(line: &str) -> String {
    if line.len() <= QUOTED_BYTES {
        return line.to_owned();
    }
    format!("{}...", &line[..line.floor_char_boundary(QUOTED_BYTES)])
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// Answers each request with 0.5. Shell built-ins only, so that every Unix runs it.
    const ECHO: &str = r#"while read -r line; do id=${line#*\"id\":}; echo "{\"id\":${id%%,*},\"score\":0.5}"; done"#;

    fn command(program: &str, args: &[&str], timeout_ms: u64) -> ExternalCommand {
        ExternalCommand {
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            timeout: Duration::from_millis(timeout_ms),
        }
    }

    /// A started shell script; none, with a message, where there is no shell.
    fn shell(script: &str, timeout_ms: u64) -> Option<ExternalReward> {
        started("sh", script, timeout_ms)
    }

    #[expect(clippy::print_stderr, reason = "says why nothing was checked")]
    fn started(program: &str, script: &str, timeout_ms: u64) -> Option<ExternalReward> {
        match ExternalReward::start(command(program, &["-c", script], timeout_ms)) {
            Ok(reward) => Some(reward),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    static NO_COLUMNS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

    fn request(completion: &str) -> ExternalRequest<'_> {
        ExternalRequest {
            completion,
            solution: "7",
            problem: "3 + 4?",
            prompt_id: "sums-1",
            images: &[],
            columns: &NO_COLUMNS,
        }
    }

    #[test]
    fn a_request_has_the_rows_other_columns_and_its_pictures_paths() {
        let columns = json!({"level": 3, "tags": ["a"]}).as_object().unwrap().clone();
        let images = [Some("a.png".to_owned()), None];
        let request = ExternalRequest { images: &images, columns: &columns, ..request("b") };
        let sent: Value = serde_json::from_slice(&encode(7, &[request])).unwrap();
        assert_eq!(sent["columns"], json!({"level": 3, "tags": ["a"]}));
        assert_eq!(sent["images"], json!(["a.png", null]));
    }

    fn error_of(script: &str, timeout_ms: u64) -> Option<ExternalError> {
        Some(shell(script, timeout_ms)?.score(&[request("a"), request("b")]).unwrap_err())
    }

    #[test]
    fn scores_come_back_in_the_order_of_the_requests() {
        // Reads two requests, answers the second first.
        let script = r#"while read -r a && read -r b; do
            x=${a#*\"id\":}; y=${b#*\"id\":}
            echo "{\"score\": -2, \"id\": ${y%%,*}}"; echo "{\"id\":${x%%,*}, \"score\":1.5, \"note\":\"x\"}"
        done"#;
        let Some(mut reward) = shell(script, 20_000) else { return };
        for _ in 0..2 {
            assert_eq!(reward.score(&[request("a"), request("b")]).unwrap(), [1.5, -2.0]);
        }
        assert_eq!(reward.score(&[]).unwrap(), Vec::<f64>::new());
    }

    #[test]
    fn request_is_one_line_whatever_it_holds() {
        let nasty = "a\n\"; rm -rf $HOME `id` $(id)\u{2028}\0 é";
        let lines = String::from_utf8(encode(7, &[request(nasty), request("b")])).unwrap();
        let rows: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["completion"], nasty);
        let sample = json!({
            "id": 8, "completion": "b", "solution": "7", "problem": "3 + 4?", "prompt_id": "sums-1",
            "images": [], "columns": {}
        });
        assert_eq!(rows[1], sample);
    }

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let args = [
            "-c",
            r#"[ "$1" = 'a b; $(id)' ] && read -r x && echo '{"id":0,"score":1}'"#,
            "sh",
            "a b; $(id)",
        ];
        let Ok(mut reward) = ExternalReward::start(command("sh", &args, 20_000)) else { return };
        assert_eq!(reward.score(&[request("a")]).unwrap(), [1.0]);
    }

    #[test]
    fn batch_beyond_every_pipe_buffer_does_not_block() {
        let Some(mut reward) = shell(ECHO, 60_000) else { return };
        // 4 MB of requests and 2000 answers: more than either pipe holds at once.
        let completion = "x".repeat(2000);
        let requests = vec![request(&completion); 2000];
        assert_eq!(reward.score(&requests).unwrap(), vec![0.5; 2000]);
    }

    #[test]
    fn python_answers_too() {
        let script = "import sys, json\nfor line in sys.stdin:\n    row = json.loads(line)\n    \
                      print(json.dumps({'id': row['id'], 'score': len(row['completion'])}), flush=True)";
        let Some(mut reward) = started("python3", script, 30_000) else { return };
        assert_eq!(reward.score(&[request("abc"), request("é")]).unwrap(), [3.0, 1.0]);
    }

    #[test]
    fn program_that_does_not_exist_is_named() {
        let missing = command("./no-such-reward", &[], 1000);
        let error = ExternalReward::start(missing).unwrap_err();
        assert!(
            matches!(&error, ExternalError::CannotStart { program, .. } if program == "./no-such-reward")
        );
        assert!(
            error.to_string().starts_with("cannot start the reward command \"./no-such-reward\": ")
        );
    }

    #[test]
    fn command_that_ends_is_named_with_its_status_and_last_stderr_lines() {
        let script = "echo first >&2; printf 'no \\033[31mmodel' >&2; read -r line; exit 3";
        let Some(error) = error_of(script, 20_000) else { return };
        assert_eq!(
            error.to_string(),
            "the reward command \"sh\" ended with exit status: 3 after 0 of 2 answers; its stderr \
             ends:\n  first\n  no  [31mmodel\n\
             hint: it must answer every line of its stdin until stdin ends"
        );
    }

    #[test]
    fn command_that_answers_a_part_and_ends_is_counted() {
        let Some(error) = error_of(r#"read -r a; echo '{"id":0,"score":1}'"#, 20_000) else {
            return;
        };
        let ExternalError::Ended { n_answered, n_requests, status, stderr, .. } = error else {
            panic!("{error}")
        };
        assert!(status.success() && stderr.is_empty());
        assert_eq!((n_answered, n_requests), (1, 2));
    }

    #[test]
    fn line_that_is_no_answer_is_quoted() {
        for (line, problem) in [
            ("loading model", "not JSON"),
            ("", "not JSON"),
            ("[1]", "not a JSON object"),
            (r#"{"score":1}"#, "no \"id\""),
            (r#"{"id":-1,"score":1}"#, "\"id\" is no request's number"),
            (r#"{"id":"0","score":1}"#, "\"id\" is no request's number"),
            (r#"{"id":0}"#, "no \"score\""),
            (r#"{"id":0,"score":null}"#, "\"score\" is not a number"),
            (r#"{"id":0,"score":true}"#, "\"score\" is not a number"),
        ] {
            let script = format!("echo '{line}'; cat >/dev/null");
            let Some(error) = error_of(&script, 20_000) else { return };
            let ExternalError::NotAnAnswer { line: quoted, problem: found, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(quoted, line);
            assert!(found.starts_with(problem), "{line}: {found}");
        }
    }

    #[test]
    fn score_that_is_not_finite_is_refused() {
        for score in ["NaN", "Infinity", "-Infinity", "1e999"] {
            let script = format!("echo '{{\"id\": 0, \"score\": {score}}}'; cat >/dev/null");
            let Some(error) = error_of(&script, 20_000) else { return };
            assert!(matches!(error, ExternalError::NotFinite { .. }), "{score}: {error}");
        }
    }

    #[test]
    fn unknown_and_repeated_ids_are_named() {
        let script = r#"echo '{"id":2,"score":1}'; cat >/dev/null"#;
        let Some(error) = error_of(script, 20_000) else { return };
        assert_eq!(
            error.to_string(),
            "the reward command \"sh\" answered id 2, expected one of 0 to 1\n\
             hint: an answer repeats the id of its request, and each request has one answer"
        );
        let script = r#"echo '{"id":1,"score":1}'; echo '{"id":1,"score":1}'; cat >/dev/null"#;
        let Some(error) = error_of(script, 20_000) else { return };
        assert!(matches!(error, ExternalError::RepeatedId { id: 1, .. }), "{error}");
    }

    #[test]
    fn answer_to_an_earlier_batch_is_unknown_to_the_next() {
        let script = r#"read -r a; echo '{"id":0,"score":1}'; read -r b; echo '{"id":0,"score":1}'; cat >/dev/null"#;
        let Some(mut reward) = shell(script, 20_000) else { return };
        assert_eq!(reward.score(&[request("a")]).unwrap(), [1.0]);
        let error = reward.score(&[request("b")]).unwrap_err();
        assert!(matches!(error, ExternalError::UnknownId { id: 0, first_id: 1, last_id: 1, .. }));
    }

    #[test]
    fn slow_command_times_out_and_is_stopped() {
        let script = r#"read -r a; echo '{"id":0,"score":1}'; echo thinking >&2; exec sleep 60"#;
        let Some(mut reward) = shell(script, 300) else { return };
        let start = Instant::now();
        let error = reward.score(&[request("a"), request("b")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the reward command \"sh\" timed out: 1 of 2 answers within 0.3 s; its stderr ends:\n  \
             thinking\nhint: raise timeout_s, and let it flush its stdout after each line"
        );
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(reward.child.try_wait().unwrap().is_some(), "it was not waited for");
        assert!(matches!(reward.score(&[request("c")]), Err(ExternalError::Ended { .. })));
    }

    #[test]
    fn command_that_never_reads_does_not_block_the_batch() {
        let Some(mut reward) = shell("exec sleep 60", 300) else { return };
        let completion = "x".repeat(1 << 20);
        let error = reward.score(&[request(&completion)]).unwrap_err();
        assert!(matches!(error, ExternalError::TimedOut { n_answered: 0, .. }), "{error}");
    }

    #[test]
    fn command_that_closes_a_pipe_and_goes_on_is_named() {
        for (script, expected) in
            [("exec 1>&-; exec sleep 60", "stdout"), ("exec 0<&-; exec sleep 60", "stdin")]
        {
            let Some(mut reward) = shell(script, 20_000) else { return };
            let completion = "x".repeat(1 << 20);
            let error = reward.score(&[request(&completion)]).unwrap_err();
            assert!(
                matches!(&error, ExternalError::ClosedPipe { pipe, .. } if *pipe == expected),
                "{error}"
            );
        }
    }

    #[test]
    fn line_without_end_is_cut_off() {
        let Some(error) = error_of("yes | tr -d '\\n'", 20_000) else { return };
        let ExternalError::NotAnAnswer { line, problem, .. } = &error else { panic!("{error}") };
        assert_eq!(line.len(), QUOTED_BYTES + 3);
        assert_eq!(problem, "a line of more than 65536 bytes");
    }

    #[test]
    fn flood_of_answers_to_nothing_ends_at_once() {
        let Some(error) = error_of("yes '{\"id\":9,\"score\":1}'", 20_000) else { return };
        assert!(matches!(error, ExternalError::UnknownId { id: 9, .. }), "{error}");
    }

    #[test]
    fn last_lines_of_a_long_stderr_are_kept() {
        let script = "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
        let Some(ExternalError::Ended { stderr, .. }) = error_of(script, 20_000) else { return };
        let expected: Vec<String> = (4990..5000).map(|idx| format!("line {idx}")).collect();
        assert_eq!(stderr, expected.join("\n"));
    }

    #[test]
    fn dropped_command_sees_its_stdin_end_and_may_finish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ended");
        let script = format!("cat >/dev/null; echo done > '{}'", path.display());
        let Some(reward) = shell(&script, 1000) else { return };
        drop(reward);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "done\n");
    }

    /// Waiting for a child reaps it: a signal to its id then finds no process.
    #[test]
    fn dropped_command_that_does_not_end_is_killed_and_waited_for() {
        let Some(reward) = shell("exec sleep 60", 1000) else { return };
        let (id, start) = (reward.child.id(), Instant::now());
        drop(reward);
        assert!(start.elapsed() >= GRACE && start.elapsed() < Duration::from_secs(20));
        let script = format!("kill -0 {id} 2>/dev/null");
        let is_alive = Command::new("sh").args(["-c", &script]).status().unwrap().success();
        assert!(!is_alive, "process {id} is still there");
    }
}
