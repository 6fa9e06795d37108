//! Work done ahead of its use: results of numbered jobs, computed by worker threads, handed out in order.
//! Not here: what the jobs are (`train::questions`, `eval` make rows into prompts).

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// The results of jobs `first`, `first + 1`, ... in that order.
///
/// At most `ahead` results wait, so that memory is bounded whatever a job makes. Workers end when the value is
/// dropped, each after the job that it is at.
#[derive(Debug)]
pub struct Prefetch<R> {
    /// Worker `w` of `n` does every `n`th job; taking from the workers in turn keeps the order.
    workers: Vec<Worker<R>>,
    next_job: u64,
    jobs: Range<u64>,
}

#[derive(Debug)]
struct Worker<R> {
    results: Receiver<R>,
    thread: Option<JoinHandle<()>>,
}

impl<R: Send + 'static> Prefetch<R> {
    /// Starts the workers.
    ///
    /// - `jobs`: numbers of the first job and of the one after the last
    /// - `n_workers`: at least one is started, and none more than `ahead`
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(
        jobs: Range<u64>,
        n_workers: usize,
        ahead: usize,
        job: impl Fn(u64) -> R + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let n_workers = n_workers.clamp(1, ahead.max(1));
        let job = Arc::new(job);
        let mut workers = Vec::with_capacity(n_workers);
        for worker in 0..n_workers {
            // One more result is in the worker's hands while it waits for room.
            let room = (ahead / n_workers).saturating_sub(1);
            let (sender, receiver) = sync_channel(room);
            let (job, end) = (Arc::clone(&job), jobs.end);
            let first = jobs.start + worker as u64;
            let named = thread::Builder::new().name(format!("prefetch-{worker}"));
            let thread = named.spawn(move || {
                let mut numbers = (first..end).step_by(n_workers);
                // Nobody takes the result any more: the value was dropped.
                while numbers.next().is_some_and(|number| sender.send(job(number)).is_ok()) {}
            })?;
            workers.push(Worker { results: receiver, thread: Some(thread) });
        }
        Ok(Self { workers, next_job: jobs.start, jobs })
    }

    /// The number of the job whose result comes next.
    pub fn next_job(&self) -> u64 {
        self.next_job
    }
}

impl<R> Iterator for Prefetch<R> {
    type Item = R;

    /// The next result; waits for it where it is not done yet. None after the last. A worker's panic goes on here, as if
    /// the job had been done in place: results must not end early without a word.
    fn next(&mut self) -> Option<R> {
        if self.next_job >= self.jobs.end {
            return None;
        }
        let idx = ((self.next_job - self.jobs.start) % self.workers.len() as u64) as usize;
        let worker = &mut self.workers[idx];
        let Ok(result) = worker.results.recv() else {
            let panic = worker.thread.take().and_then(|thread| thread.join().err())?;
            std::panic::resume_unwind(panic);
        };
        self.next_job += 1;
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_jobs_whoever_is_faster() {
        let job = |n: u64| {
            thread::sleep(Duration::from_micros((n * 7919) % 300));
            n * n
        };
        for (n_workers, ahead) in [(1, 1), (3, 4), (8, 2), (0, 0)] {
            let prefetch = Prefetch::start(5..60, n_workers, ahead, job).unwrap();
            assert_eq!(prefetch.collect::<Vec<_>>(), (5..60).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn workers_never_run_further_ahead_than_allowed() {
        let begun = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&begun);
        let job = move |n: u64| {
            counter.fetch_add(1, Ordering::SeqCst);
            n
        };
        let mut prefetch = Prefetch::start(0..1000, 2, 6, job).unwrap();
        for taken in 0..50 {
            assert_eq!(prefetch.next(), Some(taken));
            thread::sleep(Duration::from_millis(1));
            let begun = begun.load(Ordering::SeqCst);
            // What waits, and the one that a worker may have begun in exchange for the one taken.
            assert!(begun <= taken + 1 + 6, "{begun} jobs begun, {} taken", taken + 1);
        }
        assert_eq!(prefetch.next_job(), 50);
    }

    #[test]
    #[should_panic(expected = "job 3 went wrong")]
    fn panic_of_a_job_is_not_taken_for_the_end() {
        let job = |n: u64| {
            assert!(n != 3, "job {n} went wrong");
            n
        };
        let prefetch = Prefetch::start(0..10, 2, 4, job).unwrap();
        assert_eq!(prefetch.count(), 10);
    }

    #[test]
    fn dropping_it_ends_the_workers() {
        let alive = Arc::new(Mutex::new(()));
        let held = Arc::clone(&alive);
        let prefetch =
            Prefetch::start(0..u64::MAX, 3, 3, move |n| n + Arc::strong_count(&held) as u64);
        drop(prefetch.unwrap());
        for _ in 0..200 {
            if Arc::strong_count(&alive) == 1 {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("workers are still at work");
    }
}
