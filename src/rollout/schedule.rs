//! Which completion decodes when: admission, slots, stopping. No model and no tensors.
//! Not here: making tokens (`decoder`), where requests come from and where completions go (`engine`).
//!
//! Tokens may arrive some steps after they were made, so tokens begun and tokens arrived are counted separately. A
//! completion leaves its slot when the last token that `max_new_tokens` allows is begun, or when its stop token arrives;
//! tokens begun after the stop token are dropped.

use std::collections::{BTreeMap, VecDeque};

use super::decoder::{Admission, CompletionId, Row, Token};
use super::engine::Completion;
use crate::rng::Stream;

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// A slot is free and no completion waits for it: ask for a request, then [`Schedule::request`] or
    /// [`Schedule::no_more_requests`].
    Request,
    /// Begin this completion, of the latest request.
    Admit(Admission),
    /// Make a token of each of these completions; the list is empty where only tokens on their way are left.
    Step(Vec<Row>),
    /// Every completion has ended.
    Nothing,
}

/// The effect of tokens that have arrived.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Arrived {
    /// Tokens that belong to a completion, each completion's in order.
    pub(super) tokens: Vec<(CompletionId, u32)>,
    /// The completions that have ended with them.
    pub(super) ended: Vec<(CompletionId, Completion)>,
}

/// Admits completions in the order of their requests, as slots become free.
#[derive(Debug)]
pub(super) struct Schedule {
    stop_ids: Vec<u32>,
    max_new_tokens: usize,
    n_requests: usize,
    expects_requests: bool,
    /// Completions of the latest request that have not begun.
    waiting: VecDeque<(CompletionId, Stream)>,
    free_slots: Vec<usize>,
    /// Completions with tokens still to begin, in the order of their admission.
    decoding: Vec<Decoding>,
    /// Completions with tokens still to arrive.
    growing: BTreeMap<CompletionId, Growing>,
}

#[derive(Debug)]
struct Decoding {
    row: Row,
    n_begun: usize,
}

#[derive(Debug)]
struct Growing {
    token_ids: Vec<u32>,
    logps: Vec<f32>,
}

impl Schedule {
    /// Nothing begun, `n_slots` slots free.
    ///
    /// - `stop_ids`: tokens that end a completion, and stay part of it
    /// - `max_new_tokens`: at least 1
    pub(super) fn new(n_slots: usize, stop_ids: &[u32], max_new_tokens: usize) -> Self {
        Self {
            stop_ids: stop_ids.to_vec(),
            max_new_tokens,
            n_requests: 0,
            expects_requests: true,
            waiting: VecDeque::new(),
            free_slots: (0..n_slots).rev().collect(),
            decoding: Vec::new(),
            growing: BTreeMap::new(),
        }
    }

    /// The next action, which the schedule counts as done. Slots are filled before a step is made.
    pub(super) fn next(&mut self) -> Next {
        if self.waiting.is_empty() && self.expects_requests && !self.free_slots.is_empty() {
            return Next::Request;
        }
        match self.admit() {
            Some(admission) => Next::Admit(admission),
            None if self.growing.is_empty() => Next::Nothing,
            None => Next::Step(self.step()),
        }
    }

    /// Adds a request with one completion per stream.
    pub(super) fn request(&mut self, streams: Vec<Stream>) {
        let request = self.n_requests;
        self.n_requests += 1;
        let id = |completion| CompletionId { request, completion };
        self.waiting = (0..).map(id).zip(streams).collect();
    }

    /// There are no more requests.
    pub(super) fn no_more_requests(&mut self) {
        self.expects_requests = false;
    }

    /// Takes tokens that have arrived, each completion's in order.
    pub(super) fn arrive(&mut self, tokens: Vec<Token>) -> Arrived {
        let mut arrived = Arrived::default();
        for Token { id, sampled } in tokens {
            let Some(growing) = self.growing.get_mut(&id) else { continue };
            growing.token_ids.push(sampled.id);
            growing.logps.push(sampled.logp);
            arrived.tokens.push((id, sampled.id));
            let is_finished = self.stop_ids.contains(&sampled.id);
            if (is_finished || growing.token_ids.len() == self.max_new_tokens)
                && let Some(Growing { token_ids, logps }) = self.growing.remove(&id)
            {
                self.leave_slots(|decoding| decoding.row.id == id);
                arrived.ended.push((id, Completion { token_ids, logps, is_finished }));
            }
        }
        arrived
    }

    fn admit(&mut self) -> Option<Admission> {
        let slot = self.free_slots.pop_if(|_| !self.waiting.is_empty())?;
        let (id, stream) = self.waiting.pop_front()?;
        let row = Row { id, slot };
        self.decoding.push(Decoding { row, n_begun: 1 });
        self.leave_at_limit();
        let room = self.max_new_tokens;
        let (token_ids, logps) = (Vec::with_capacity(room), Vec::with_capacity(room));
        self.growing.insert(id, Growing { token_ids, logps });
        Some(Admission { row, stream })
    }

    fn step(&mut self) -> Vec<Row> {
        let begin = |decoding: &mut Decoding| {
            decoding.n_begun += 1;
            decoding.row
        };
        let rows = self.decoding.iter_mut().map(begin).collect();
        self.leave_at_limit();
        rows
    }

    fn leave_at_limit(&mut self) {
        let limit = self.max_new_tokens;
        self.leave_slots(|decoding| decoding.n_begun == limit);
    }

    fn leave_slots(&mut self, leaves: impl Fn(&Decoding) -> bool) {
        let left = self.decoding.extract_if(.., |decoding| leaves(decoding));
        self.free_slots.extend(left.map(|decoding| decoding.row.slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;
    use crate::rollout::sampler::Sampled;

    const STOP: u32 = 0;

    fn id(request: usize, completion: usize) -> CompletionId {
        CompletionId { request, completion }
    }

    fn row(request: usize, completion: usize, slot: usize) -> Row {
        Row { id: id(request, completion), slot }
    }

    fn token(completion: usize, token_id: u32) -> Token {
        Token { id: id(0, completion), sampled: Sampled { id: token_id, logp: -1.0 } }
    }

    fn streams(n: u32) -> Vec<Stream> {
        (0..n).map(|i| Stream::new(1, Purpose::Rollout, 0, 0, i)).collect()
    }

    /// A schedule of one request, which has been asked for and is the last.
    fn schedule(n_slots: usize, max_new_tokens: usize, n_completions: u32) -> Schedule {
        let mut schedule = Schedule::new(n_slots, &[STOP], max_new_tokens);
        assert_eq!(schedule.next(), Next::Request);
        schedule.request(streams(n_completions));
        schedule.no_more_requests();
        schedule
    }

    fn admitted(schedule: &mut Schedule) -> Row {
        match schedule.next() {
            Next::Admit(Admission { row, .. }) => row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slots_are_filled_before_a_step_and_a_request_is_asked_for_only_where_one_is_free() {
        let mut schedule = Schedule::new(3, &[STOP], 9);
        assert_eq!(schedule.next(), Next::Request);
        schedule.request(streams(2));
        let [first, second] = [0, 1].map(|_| admitted(&mut schedule));
        assert_eq!([first, second], [row(0, 0, 0), row(0, 1, 1)]);
        assert_eq!(schedule.next(), Next::Request);
        schedule.request(streams(2));
        assert_eq!(admitted(&mut schedule), row(1, 0, 2));
        // No slot is left for the last one, and none for a further request.
        assert_eq!(schedule.next(), Next::Step(vec![first, second, row(1, 0, 2)]));
        let arrived = schedule.arrive(vec![token(0, 5), token(1, STOP)]);
        assert_eq!(arrived.tokens.len(), 2);
        let ended = Completion { token_ids: vec![STOP], logps: vec![-1.0], is_finished: true };
        assert_eq!(arrived.ended, [(id(0, 1), ended)]);
        assert_eq!(admitted(&mut schedule), row(1, 1, 1));
        assert_eq!(schedule.next(), Next::Step(vec![first, row(1, 0, 2), row(1, 1, 1)]));
    }

    #[test]
    fn a_completion_leaves_its_slot_as_soon_as_its_last_token_is_begun() {
        let mut schedule = schedule(1, 2, 2);
        let first = admitted(&mut schedule);
        assert_eq!(schedule.next(), Next::Step(vec![first]));
        // Its two tokens are begun, none has arrived.
        assert_eq!(admitted(&mut schedule), row(0, 1, 0));
        assert!(schedule.arrive(vec![token(0, 5)]).ended.is_empty());
        let arrived = schedule.arrive(vec![token(0, 6), token(1, 7)]);
        let cut = Completion { token_ids: vec![5, 6], logps: vec![-1.0; 2], is_finished: false };
        assert_eq!(arrived.ended, [(id(0, 0), cut)]);
        // The second completion goes on in that slot.
        assert_eq!(schedule.next(), Next::Step(vec![row(0, 1, 0)]));
        assert_eq!(schedule.next(), Next::Step(vec![])); // waits for its last token
        assert_eq!(schedule.arrive(vec![token(1, 8)]).ended.len(), 1);
        assert_eq!(schedule.next(), Next::Nothing);
    }

    #[test]
    fn what_was_made_after_a_stop_token_is_dropped() {
        let mut schedule = schedule(1, 9, 2);
        let first = admitted(&mut schedule);
        for _ in 0..3 {
            assert_eq!(schedule.next(), Next::Step(vec![first]));
        }
        let arrived = schedule.arrive(vec![token(0, 5), token(0, STOP), token(0, 6)]);
        assert_eq!(arrived.tokens.len(), 2);
        assert_eq!(arrived.ended[0].1.token_ids, [5, STOP]);
        assert_eq!(admitted(&mut schedule), row(0, 1, 0));
        assert_eq!(schedule.arrive(vec![token(0, 7)]), Arrived::default());
        // The slot was freed once, not twice.
        assert_eq!(schedule.next(), Next::Step(vec![row(0, 1, 0)]));
    }
}
