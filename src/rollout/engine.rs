//! Continuous batching: prompts are computed once, their completions decode together, and a finished completion
//! leaves its slot to a waiting one.
//! Not here: which completion decodes when (`schedule`), making tokens (`decoder`), scoring (`reward`).

use std::borrow::Cow;
use std::ops::ControlFlow;

use candle_core::{Result, bail};

use super::decoder::{CompletionId, Decoder};
#[cfg(feature = "cuda")]
use super::device_decoder::DeviceDecoder;
use super::host_decoder::HostDecoder;
use super::sampler::{Sampler, Suppressed};
use super::schedule::{Arrived, Next, Schedule};
use crate::model::Model;
use crate::processor::Prompt;
use crate::rng::Stream;

/// What holds for every completion of a call.
#[derive(Debug, Clone)]
pub struct GenerationSettings {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Tokens that are not chosen.
    pub suppressed: Suppressed,
    /// Completions end after this many tokens, finished or not.
    pub max_new_tokens: usize,
    /// Tokens that end a completion; the token stays part of it.
    pub stop_ids: Vec<u32>,
    /// Completions decoded at a time, at least 1.
    pub max_batch: usize,
}

/// One prompt and the completions wanted of it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: Cow<'a, Prompt>,
    /// The random stream of each completion; as many completions as streams.
    pub streams: Vec<Stream>,
}

/// What was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Token ids, the stop token included where there is one.
    pub token_ids: Vec<u32>,
    /// Log-probability of each token when it was drawn, nats, at the sampler's temperature; empty where the
    /// completion was recorded by another run (`replay`).
    pub logps: Vec<f32>,
    /// Whether it ended by a stop token; otherwise it was cut at `max_new_tokens`.
    pub is_finished: bool,
}

/// An event while completions are sampled.
#[derive(Debug)]
pub enum Event {
    /// Tokens that have been made, each completion's in order.
    Tokens(Vec<NewToken>),
    /// A completion has ended.
    Ended {
        /// Index of the request, in the order of arrival.
        request: usize,
        /// Index of the completion among the request's streams.
        completion: usize,
        /// What was sampled.
        sampled: Completion,
    },
}

/// A token of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewToken {
    /// Index of the request, in the order of arrival.
    pub request: usize,
    /// Index of the completion among the request's streams.
    pub completion: usize,
    /// The token.
    pub token_id: u32,
}

/// Samples the completions of all requests: `[request][completion]`. `on_tokens` receives the number of new tokens as
/// they are made.
///
/// # Errors
/// Settings that cannot work, or the model's own.
pub fn generate(
    model: &Model,
    requests: Vec<Request>,
    settings: &GenerationSettings,
    on_tokens: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Completion>>> {
    let mut done: Vec<Vec<Option<Completion>>> =
        requests.iter().map(|request| vec![None; request.streams.len()]).collect();
    let total: usize = done.iter().map(Vec::len).sum();
    let settings =
        GenerationSettings { max_batch: settings.max_batch.min(total.max(1)), ..settings.clone() };
    generate_each(model, &mut requests.into_iter(), &settings, &mut |event| {
        match event {
            Event::Tokens(tokens) => on_tokens(tokens.len()),
            Event::Ended { request, completion, sampled } => {
                done[request][completion] = Some(sampled);
            }
        }
        ControlFlow::Continue(())
    })?;
    let all = done.into_iter().map(|group| group.into_iter().collect::<Option<Vec<_>>>());
    match all.collect() {
        Some(all) => Ok(all),
        None => bail!("a completion was never decoded"),
    }
}

/// Samples the completions of requests as they are needed: the next request is asked for when a slot is free, so
/// that the slots stay full to the last request and only prompts with completions in progress are held.
///
/// `on_event` receives every completion when it ends; `Break` ends sampling there.
///
/// # Errors
/// Settings that cannot work, or the model's own.
pub fn generate_each(
    model: &Model,
    requests: &mut dyn Iterator<Item = Request<'_>>,
    settings: &GenerationSettings,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<()> {
    settings.check()?;
    #[cfg(feature = "cuda")]
    if let Some(mut decoder) = DeviceDecoder::new(model, settings)? {
        return generate_with(&mut decoder, requests, settings, on_event);
    }
    let mut decoder = HostDecoder::new(model, settings)?;
    generate_with(&mut decoder, requests, settings, on_event)
}

/// Whether a prompt of `n_prompt` tokens leaves room for `n_new` more among a model's `limit` positions.
pub fn has_room(n_prompt: usize, n_new: usize, limit: usize) -> bool {
    n_prompt.saturating_add(n_new) <= limit
}

fn generate_with(
    decoder: &mut dyn Decoder,
    requests: &mut dyn Iterator<Item = Request<'_>>,
    settings: &GenerationSettings,
    on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<()> {
    let GenerationSettings { stop_ids, max_new_tokens, max_batch, .. } = settings;
    let mut schedule = Schedule::new(*max_batch, stop_ids, *max_new_tokens);
    loop {
        match schedule.next() {
            Next::Request => match requests.next() {
                Some(Request { prompt, streams }) => {
                    decoder.prefill(&prompt)?;
                    schedule.request(streams);
                }
                None => schedule.no_more_requests(),
            },
            Next::Admit(admission) => decoder.admit(admission)?,
            Next::Step(rows) => decoder.step(&rows)?,
            Next::Nothing => return Ok(()),
        }
        let arrived = schedule.arrive(decoder.harvest()?);
        if tell(on_event, arrived).is_break() {
            return Ok(());
        }
    }
}

fn tell(on_event: &mut dyn FnMut(Event) -> ControlFlow<()>, arrived: Arrived) -> ControlFlow<()> {
    if !arrived.tokens.is_empty() {
        let named = |(CompletionId { request, completion }, token_id)| NewToken {
            request,
            completion,
            token_id,
        };
        on_event(Event::Tokens(arrived.tokens.into_iter().map(named).collect()))?;
    }
    arrived.ended.into_iter().try_for_each(|(CompletionId { request, completion }, sampled)| {
        on_event(Event::Ended { request, completion, sampled })
    })
}

impl GenerationSettings {
    fn check(&self) -> Result<()> {
        for (name, value) in
            [("max_batch", self.max_batch), ("max_new_tokens", self.max_new_tokens)]
        {
            if value == 0 {
                bail!("{name} is 0, expected at least 1");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::super::decoder::{Admission, Row, Token};
    use super::super::sampler::Sampled;
    use super::*;
    use crate::rng::Purpose;

    const STOP: u32 = 0;

    /// How many tokens each completion has before its stop token: `[request][completion]`.
    type Script = Vec<Vec<usize>>;

    /// A decoder whose tokens are given in advance and reach the host `late` steps after they were made. It does not
    /// know where a completion ends, and asserts what a decoder may rely on.
    struct ScriptedDecoder {
        script: Script,
        n_slots: usize,
        max_new_tokens: usize,
        late: usize,
        n_steps: usize,
        n_prompts: usize,
        in_slot: BTreeMap<usize, CompletionId>,
        n_made: BTreeMap<CompletionId, usize>,
        on_their_way: VecDeque<(usize, Token)>,
    }

    impl ScriptedDecoder {
        fn make(&mut self, id: CompletionId) {
            let n = self.n_made.entry(id).or_default();
            let length = self.script[id.request][id.completion];
            let token = if *n == length { STOP } else { scripted(id, *n) };
            *n += 1;
            assert!(*n <= self.max_new_tokens, "{id:?} has room for no token {n}");
            let sampled = Sampled { id: token, logp: -(token as f32) };
            self.on_their_way.push_back((self.n_steps, Token { id, sampled }));
        }
    }

    /// A token that no other completion has in this place.
    fn scripted(CompletionId { request, completion }: CompletionId, n: usize) -> u32 {
        1 + (n + 100 * (completion + 100 * request)) as u32
    }

    impl Decoder for ScriptedDecoder {
        fn prefill(&mut self, prompt: &Prompt) -> Result<()> {
            assert_eq!(prompt.next_position, self.n_prompts as u32, "in order, each once");
            self.n_prompts += 1;
            Ok(())
        }

        fn admit(&mut self, Admission { row: Row { id, slot }, stream }: Admission) -> Result<()> {
            assert_eq!(id.request + 1, self.n_prompts, "continues the latest prompt");
            assert_eq!(stream, stream_of(id));
            assert!(slot < self.n_slots);
            assert!(!self.n_made.contains_key(&id), "{id:?} begins once");
            self.in_slot.insert(slot, id);
            self.make(id);
            Ok(())
        }

        fn step(&mut self, rows: &[Row]) -> Result<()> {
            self.n_steps += 1;
            assert!(self.n_steps < 10_000, "the schedule never ends");
            for row in rows {
                assert_eq!(self.in_slot.get(&row.slot), Some(&row.id), "each in its own slot");
                self.make(row.id);
            }
            let total: usize = self.script.iter().map(Vec::len).sum();
            let all_begun = self.n_made.len() == total;
            assert!(
                rows.len() == self.n_slots || all_begun,
                "a slot is free and a completion waits"
            );
            Ok(())
        }

        fn harvest(&mut self) -> Result<Vec<Token>> {
            let mut tokens = Vec::new();
            while let Some((made, token)) = self.on_their_way.front().copied()
                && made + self.late <= self.n_steps
            {
                self.on_their_way.pop_front();
                tokens.push(token);
            }
            Ok(tokens)
        }
    }

    fn stream_of(id: CompletionId) -> Stream {
        Stream::new(3, Purpose::Rollout, 0, id.request as u32, id.completion as u32)
    }

    fn requests(script: &Script) -> impl Iterator<Item = Request<'static>> {
        script.iter().enumerate().map(|(request, completions)| {
            let prompt = Prompt {
                input_ids: Vec::new(),
                positions: Vec::new(),
                next_position: request as u32,
                images: Vec::new(),
                image_rows: Vec::new(),
                text: String::new(),
            };
            let ids = (0..completions.len()).map(|completion| CompletionId { request, completion });
            Request { prompt: Cow::Owned(prompt), streams: ids.map(stream_of).collect() }
        })
    }

    fn expected(id: CompletionId, length: usize, max_new_tokens: usize) -> Completion {
        let is_finished = length < max_new_tokens;
        let mut token_ids: Vec<u32> =
            (0..length.min(max_new_tokens)).map(|n| scripted(id, n)).collect();
        if is_finished {
            token_ids.push(STOP);
        }
        let logps = token_ids.iter().map(|&token| -(token as f32)).collect();
        Completion { token_ids, logps, is_finished }
    }

    fn settings(max_batch: usize, max_new_tokens: usize) -> GenerationSettings {
        GenerationSettings {
            sampler: Sampler::default(),
            suppressed: Suppressed::new(&[], &[], 0),
            max_new_tokens,
            stop_ids: vec![STOP],
            max_batch,
        }
    }

    /// Slots, the most tokens of a completion, and the number of steps by which tokens are late.
    type Shape = [usize; 3];

    fn generate_scripted(
        script: &Script,
        [n_slots, max_new_tokens, late]: Shape,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> ScriptedDecoder {
        let settings = settings(n_slots, max_new_tokens);
        let mut decoder = ScriptedDecoder {
            script: script.clone(),
            n_slots,
            max_new_tokens,
            late,
            n_steps: 0,
            n_prompts: 0,
            in_slot: BTreeMap::new(),
            n_made: BTreeMap::new(),
            on_their_way: VecDeque::new(),
        };
        generate_with(&mut decoder, &mut requests(script), &settings, on_event).unwrap();
        decoder
    }

    proptest! {
        #[test]
        fn every_completion_ends_once_with_its_own_tokens_however_late_they_arrive(
            script in prop::collection::vec(prop::collection::vec(0usize..9, 0..6), 0..6),
            n_slots in 1usize..7,
            max_new_tokens in 1usize..9,
            late in 0usize..5,
        ) {
            let (mut found, mut told) = (BTreeMap::new(), BTreeMap::<_, Vec<u32>>::new());
            let mut on_event = |event| {
                match event {
                    Event::Tokens(tokens) => {
                        assert!(!tokens.is_empty(), "no event where no token arrived");
                        for NewToken { request, completion, token_id } in tokens {
                            told.entry(CompletionId { request, completion }).or_default().push(token_id);
                        }
                    }
                    Event::Ended { request, completion, sampled } => {
                        let id = CompletionId { request, completion };
                        assert!(found.insert(id, sampled).is_none(), "{id:?} ends once");
                    }
                }
                ControlFlow::Continue(())
            };
            let shape = [n_slots, max_new_tokens, late];
            let decoder = generate_scripted(&script, shape, &mut on_event);
            let named = script.iter().enumerate().flat_map(|(request, lengths)| {
                let id = move |completion| CompletionId { request, completion };
                (0..).map(id).zip(lengths.iter().copied())
            });
            let all: BTreeMap<CompletionId, Completion> =
                named.map(|(id, length)| (id, expected(id, length, max_new_tokens))).collect();
            prop_assert_eq!(&found, &all);
            let token_ids: BTreeMap<_, _> = all.iter().map(|(id, c)| (*id, c.token_ids.clone())).collect();
            prop_assert_eq!(told, token_ids);
            // At most `late` tokens are made after a completion's end.
            for (id, completion) in &all {
                prop_assert!(decoder.n_made[id] - completion.token_ids.len() <= late);
            }
        }
    }

    #[test]
    fn a_completion_may_fill_the_models_positions_and_no_more() {
        assert!(has_room(33, 67, 100));
        assert!(!has_room(33, 68, 100));
        assert!(!has_room(33, usize::MAX, 100));
    }

    #[test]
    fn settings_that_can_make_no_token_are_refused() {
        assert!(settings(1, 1).check().is_ok());
        assert!(settings(0, 1).check().is_err() && settings(1, 0).check().is_err());
    }

    #[test]
    fn a_generation_ends_where_it_is_told_to() {
        let mut n_ended = 0;
        let mut on_event = |event| match event {
            Event::Tokens(_) => ControlFlow::Continue(()),
            Event::Ended { .. } => {
                n_ended += 1;
                ControlFlow::Break(())
            }
        };
        let script = vec![vec![2, 2], vec![5]];
        let decoder = generate_scripted(&script, [2, 9, 0], &mut on_event);
        assert_eq!((n_ended, decoder.n_steps, decoder.n_prompts), (1, 2, 1));
    }
}
