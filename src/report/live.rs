//! Runs that go on as the page shows them: read on, and each thing that the page asks for.
//! Not here: how it is asked for (`loopback`); what the page does with it (`assets/report`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::error::ReportError;
use super::loopback::{Reply, Request};
use super::page::{BrowsedSource, Index, live_page, sources};
use super::pictures::{PictureRows, rows_of};
use super::recorded_run::RecordedRun;
use super::rollouts::NamedAnswers;
use super::summary::summary;

/// Records are looked for again only that long after the last time.
const LEAST_WAIT_MS: u128 = 500;

/// Runs that are watched. Threads may ask at once.
pub struct LiveRuns {
    state: Mutex<State>,
    answers: Vec<NamedAnswers>,
    smoothing: f64,
    /// Of each source.
    rows: Vec<Arc<PictureRows>>,
    /// Tells this program's versions from those of one that served here before.
    begun: u128,
}

struct State {
    runs: Vec<RecordedRun>,
    /// How often anything was read.
    n_changes: u64,
    looked: Instant,
    /// What kept the last look from reading, in words.
    problem: Option<String>,
}

impl LiveRuns {
    /// Runs as they are now, from which on they are followed.
    ///
    /// - `smoothing`: weight of what came before in the curves, 0 to below 1
    pub fn new(runs: Vec<RecordedRun>, answers: Vec<NamedAnswers>, smoothing: f64) -> Self {
        let rows = rows_of(&runs, !answers.is_empty());
        let begun =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let state = State { runs, n_changes: 0, looked: Instant::now(), problem: None };
        Self { state: Mutex::new(state), answers, smoothing, rows, begun }
    }

    /// Answers a request of the page.
    pub fn reply(&self, request: &Request<'_>) -> Reply {
        let parts: Vec<&str> = request.path.split('/').skip(1).collect();
        let place = |text: &str| text.parse::<usize>().ok();
        let reply = match parts[..] {
            [""] => self.page(),
            ["summary"] => self.summary(request.query),
            ["index"] => self.index(),
            ["chunk", source, chunk] => match (place(source), place(chunk)) {
                (Some(source), Some(chunk)) => self.chunk(source, chunk),
                _ => Ok(Reply::not_found()),
            },
            ["picture", source, question] => match (place(source), place(question)) {
                (Some(source), Some(question)) => self.picture(source, question),
                _ => Ok(Reply::not_found()),
            },
            _ => Ok(Reply::not_found()),
        };
        reply.unwrap_or_else(|error| Reply::failed(&error.to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that ended in the middle has read less than it might: the next one reads on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self) -> Result<Reply, ReportError> {
        let title = summary(&self.state().runs, self.smoothing)?.title;
        Ok(Reply::html(live_page(&title)?))
    }

    /// What has changed since the version in the query, if anything has.
    fn summary(&self, query: &str) -> Result<Reply, ReportError> {
        let mut state = self.state();
        state.look();
        let version = format!("{}-{}", self.begun, state.n_changes);
        if let Some(problem) = &state.problem {
            return Ok(Reply::failed(problem));
        }
        if query.strip_prefix("have=") == Some(&version) {
            return Ok(Reply::unchanged());
        }
        let mut summary = summary(&state.runs, self.smoothing)?;
        summary.version = version;
        json(&summary)
    }

    fn index(&self) -> Result<Reply, ReportError> {
        let state = self.state();
        let sources = sources(&state.runs, &self.answers);
        let browsed = sources.iter().zip(&self.rows).enumerate().map(|(place, (source, rows))| {
            let index = source.index();
            let names = (0..index.prompts.len()).map(|prompt| Some(format!("{place}/{prompt}")));
            BrowsedSource { pictures: names.collect(), index, picture_note: &rows.note }
        });
        json(&Index { sources: browsed.collect() })
    }

    fn chunk(&self, source: usize, chunk: usize) -> Result<Reply, ReportError> {
        let state = self.state();
        let sources = sources(&state.runs, &self.answers);
        let Some(source) = sources.get(source) else { return Ok(Reply::not_found()) };
        match source.chunks().get(chunk) {
            Some(groups) => json(&source.chunk(groups.clone())),
            None => Ok(Reply::not_found()),
        }
    }

    fn picture(&self, source: usize, question: usize) -> Result<Reply, ReportError> {
        let id = {
            let state = self.state();
            let sources = sources(&state.runs, &self.answers);
            let prompts = sources.get(source).map(|source| source.index().prompts);
            prompts.and_then(|prompts| Some(prompts.get(question)?.id.to_owned()))
        };
        let rows = self.rows.get(source);
        let picture = id.zip(rows).map(|(id, rows)| rows.picture(&id)).transpose()?.flatten();
        Ok(picture.map_or_else(Reply::not_found, |picture| {
            Reply::new(200, picture.media_type, picture.bytes)
        }))
    }
}

impl State {
    /// Reads what the runs have recorded since the last look, unless that was just now.
    fn look(&mut self) {
        if self.looked.elapsed().as_millis() < LEAST_WAIT_MS {
            return;
        }
        self.problem = None;
        for run in &mut self.runs {
            match run.read_on() {
                Ok(true) => self.n_changes += 1,
                Ok(false) => {}
                // A record before the damaged one may have been read.
                Err(error) => {
                    self.n_changes += 1;
                    self.problem = Some(error.to_string());
                }
            }
        }
        self.looked = Instant::now();
    }
}

fn json<T: Serialize>(value: &T) -> Result<Reply, ReportError> {
    Ok(Reply::new(200, "application/json", serde_json::to_vec(value)?))
}
