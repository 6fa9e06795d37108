//! Work done ahead of its use: results of submitted jobs, computed by worker threads, handed out in order.
//! Not here: what the jobs are (`train::draw`, `eval` make rows into prompts).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// The results of jobs, in the order in which they were submitted.
///
/// At most `ahead` results wait, so that memory is bounded whatever a job makes. Workers end when the value is
/// dropped, each after its current job.
#[derive(Debug)]
pub struct Prefetch<J, R> {
    /// Worker `w` of `n` does every `n`th job; taking from the workers in turn keeps the order.
    workers: Vec<Worker<J, R>>,
    n_submitted: usize,
    n_taken: usize,
    #[cfg(test)]
    ahead: usize,
}

#[derive(Debug)]
struct Worker<J, R> {
    jobs: Sender<J>,
    results: Receiver<R>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static, R: Send + 'static> Prefetch<J, R> {
    /// Starts the workers.
    ///
    /// - `n_workers`: at least one is started, and none more than `ahead`
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(
        n_workers: usize,
        ahead: usize,
        run: impl Fn(J) -> R + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let n_workers = n_workers.clamp(1, ahead.max(1));
        let run = Arc::new(run);
        let mut workers = Vec::with_capacity(n_workers);
        for worker in 0..n_workers {
            // A worker that waits for room holds one more result.
            let room = (ahead / n_workers).saturating_sub(1);
            let (sender, results) = sync_channel(room);
            let (jobs, receiver) = channel();
            let run = Arc::clone(&run);
            let named = thread::Builder::new().name(format!("prefetch-{worker}"));
            let thread = named.spawn(move || {
                let mut waiting = receiver.into_iter();
                // Sending fails once the value was dropped.
                while waiting.next().is_some_and(|job| sender.send(run(job)).is_ok()) {}
            })?;
            workers.push(Worker { jobs, results, thread: Some(thread) });
        }
        Ok(Self {
            workers,
            n_submitted: 0,
            n_taken: 0,
            #[cfg(test)]
            ahead,
        })
    }

    /// How many workers there are, and how many results wait at most.
    #[cfg(test)]
    pub(crate) fn bounds(&self) -> [usize; 2] {
        [self.workers.len(), self.ahead]
    }

    /// Adds a job to the end of the queue.
    pub fn submit(&mut self, job: J) {
        let worker = self.n_submitted % self.workers.len();
        // A worker is gone only where a job has panicked; `next` resumes that panic.
        drop(self.workers[worker].jobs.send(job));
        self.n_submitted += 1;
    }
}

impl<J, R> Iterator for Prefetch<J, R> {
    type Item = R;

    /// The next result; waits until its job is done. None where all submitted jobs have been taken. A worker's panic is
    /// resumed here, as if the job had run in place, so that results never end early without an error.
    fn next(&mut self) -> Option<R> {
        if self.n_taken == self.n_submitted {
            return None;
        }
        let idx = self.n_taken % self.workers.len();
        let worker = &mut self.workers[idx];
        let Ok(result) = worker.results.recv() else {
            let panic = worker.thread.take().and_then(|thread| thread.join().err())?;
            std::panic::resume_unwind(panic);
        };
        self.n_taken += 1;
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    fn started(n_workers: usize, ahead: usize, jobs: std::ops::Range<u64>) -> Prefetch<u64, u64> {
        let job = |n: u64| {
            thread::sleep(Duration::from_micros((n * 7919) % 300));
            n * n
        };
        let mut prefetch = Prefetch::start(n_workers, ahead, job).unwrap();
        jobs.for_each(|n| prefetch.submit(n));
        prefetch
    }

    #[test]
    fn results_come_in_the_order_of_their_jobs_whoever_is_faster() {
        for (n_workers, ahead) in [(1, 1), (3, 4), (8, 2), (0, 0)] {
            let prefetch = started(n_workers, ahead, 5..60);
            assert_eq!(prefetch.collect::<Vec<_>>(), (5..60).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn jobs_may_be_added_when_all_before_them_are_done() {
        let mut prefetch = started(3, 4, 0..5);
        assert_eq!(prefetch.by_ref().count(), 5);
        assert_eq!(prefetch.next(), None);
        prefetch.submit(9);
        assert_eq!((prefetch.next(), prefetch.next()), (Some(81), None));
    }

    #[test]
    fn workers_never_run_further_ahead_than_allowed() {
        let begun = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&begun);
        let job = move |n: u64| {
            counter.fetch_add(1, Ordering::SeqCst);
            n
        };
        let mut prefetch = Prefetch::start(2, 6, job).unwrap();
        (0..1000).for_each(|n| prefetch.submit(n));
        for taken in 0..50 {
            assert_eq!(prefetch.next(), Some(taken));
            thread::sleep(Duration::from_millis(1));
            let begun = begun.load(Ordering::SeqCst);
            // The waiting results, and one that a worker may have begun in place of the one taken.
            assert!(begun <= taken + 1 + 6, "{begun} jobs begun, {} taken", taken + 1);
        }
    }

    #[test]
    #[should_panic(expected = "job 3 went wrong")]
    fn panic_of_a_job_is_not_taken_for_the_end() {
        let job = |n: u64| {
            assert!(n != 3, "job {n} went wrong");
            n
        };
        let mut prefetch = Prefetch::start(2, 4, job).unwrap();
        (0..10).for_each(|n| prefetch.submit(n));
        assert_eq!(prefetch.count(), 10);
    }

    #[test]
    fn dropping_it_ends_the_workers() {
        let alive = Arc::new(Mutex::new(()));
        let held = Arc::clone(&alive);
        let job = move |n: u64| n + Arc::strong_count(&held) as u64;
        let mut prefetch = Prefetch::start(3, 3, job).unwrap();
        (0..100).for_each(|n| prefetch.submit(n));
        drop(prefetch);
        for _ in 0..200 {
            if Arc::strong_count(&alive) == 1 {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("workers are still at work");
    }
}
