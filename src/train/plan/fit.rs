//! What to change in a run that a card has no room for: a ladder of settings, the cheapest first.
//! Not here: what a configuration needs (`gpu_memory`, given as a function).

use std::fmt;
use std::mem::discriminant;

use serde::Serialize;

use crate::config::{CheckpointingChoice, GradientSums, LoraConfig, MasterWeights, RunConfig};
use crate::printable::gigabytes;

/// Memory of the cards that there are, GiB; the H200's 141 GB are 139.
const CARDS_GIB: [u64; 10] = [8, 12, 16, 24, 32, 40, 48, 80, 96, 139];
/// Streams are cut to multiples of it, so that a budget is a round number.
const ROUND_TOKENS: usize = 128;

/// Bytes in a GiB, which cards are named by: one that is sold as 24 GB has 24 GiB. Everything shown is in units of 10^9.
pub const GIB: u64 = 1 << 30;

/// A setting that needs less memory, on top of those before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// As `--set` takes it.
    pub setting: String,
    /// What it costs.
    pub cost: &'static str,
    /// Bytes that the run then needs.
    pub bytes: u64,
}

/// What makes a run fit into a card, as far as anything does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// Up to the first that fits, or all that lower anything.
    pub remedies: Vec<Remedy>,
    /// Those of them that are enough; none where it fits as it is.
    pub enough: Option<Enough>,
    /// What is left where they are not enough.
    pub shortfall: Option<Shortfall>,
}

/// Settings that make a run fit, none of which can be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enough {
    /// As `--set` takes them, each key once.
    pub settings: Vec<String>,
    /// Bytes that the run then needs.
    pub bytes: u64,
}

/// What a run needs with everything that lowers anything, where a card has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// Bytes.
    pub least_bytes: u64,
    /// The smallest card that has as much, GiB; none where no card has.
    pub card_gib: Option<u64>,
}

impl Enough {
    /// The settings as flags.
    pub fn flags(&self) -> String {
        let flags: Vec<String> = self.settings.iter().map(|set| format!("--set {set}")).collect();
        flags.join(" ")
    }
}

impl Shortfall {
    /// What would do.
    pub fn words(&self) -> String {
        let needed = format!("at least {}", gigabytes(self.least_bytes));
        match self.card_gib {
            Some(gib) => format!("{needed}, a card sold as {gib} GB"),
            None => format!("{needed}, more than one card has"),
        }
    }
}

/// The longest that a run computes on at once, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// A packed stream.
    pub stream: usize,
    /// A prompt with all of its completions.
    pub group: usize,
}

/// One setting. As text, what `--set` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Checkpointing(CheckpointingChoice),
    TokensPerMicroBatch(usize),
    AnswersAtATime(usize),
    MaxBatch(usize),
    Offload,
    RoundedWeights,
    RoundedSums,
    FrozenVision,
    LowRank,
    MaxPixels(usize),
}

impl Change {
    fn apply(self, config: &mut RunConfig) {
        match self {
            Self::Checkpointing(choice) => config.model.activation_checkpointing = choice,
            Self::TokensPerMicroBatch(tokens) => config.train.tokens_per_micro_batch = tokens,
            Self::AnswersAtATime(places) => config.eval.max_batch = places,
            Self::MaxBatch(places) => config.rollout.max_batch = places,
            Self::Offload => config.optim.offload = true,
            Self::RoundedWeights => config.optim.masters = MasterWeights::Bf16,
            Self::RoundedSums => config.optim.gradients = GradientSums::Bf16,
            Self::FrozenVision => config.model.freeze_vision = true,
            Self::LowRank => config.model.lora = Some(LoraConfig::default()),
            Self::MaxPixels(pixels) => config.data.max_pixels = pixels,
        }
    }
}

/// The key of a setting as `--set` takes it.
pub(super) fn key_of(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(key, _)| key)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpointing(choice) => write!(f, "model.activation_checkpointing={choice}"),
            Self::TokensPerMicroBatch(tokens) => write!(f, "train.tokens_per_micro_batch={tokens}"),
            Self::AnswersAtATime(places) => write!(f, "eval.max_batch={places}"),
            Self::MaxBatch(places) => write!(f, "rollout.max_batch={places}"),
            Self::Offload => f.write_str("optim.offload=true"),
            Self::RoundedWeights => f.write_str("optim.masters=bf16"),
            Self::RoundedSums => f.write_str("optim.gradients=bf16"),
            Self::FrozenVision => f.write_str("model.freeze_vision=true"),
            Self::LowRank => write!(f, "model.lora.rank={}", LoraConfig::default().rank),
            Self::MaxPixels(pixels) => write!(f, "data.max_pixels={pixels}"),
        }
    }
}

/// A kind of change: its values, each needing no more than the one before it, and its cost.
#[derive(Clone, Copy)]
struct Step {
    values: fn(&RunConfig, Lengths) -> Vec<Change>,
    cost: &'static str,
}

/// In the order of what they cost. Times are of an H200 (`benches/results/gpu-check-2026-11-27-nvidia-h200-half-layers.jsonl`),
/// for 2.2 billion weights: 0.49 s a policy stage, 0.57 with MLPs computed twice, 0.61 with all layers; 0.02 s a step of the
/// optimiser, 0.64 with its state in the host's memory.
const STEPS: [Step; 12] = [
    Step { values: whole_groups, cost: "smaller matrix products: a little slower" },
    Step {
        values: |_, _| vec![Change::Checkpointing(CheckpointingChoice::Mlp)],
        cost: "MLPs are computed twice: about 15% more time in the policy stage",
    },
    Step {
        values: |_, _| vec![Change::Checkpointing(CheckpointingChoice::Full)],
        cost: "all layers are computed twice: about 25% more time in the policy stage",
    },
    Step { values: parts_of_groups, cost: "a prompt is computed once for each part of its group" },
    Step { values: fewer_answers, cost: "a run's own evaluations decode in more rounds" },
    Step { values: fewer_rollouts, cost: "completions are sampled in more rounds, each as long" },
    Step {
        values: |_, _| vec![Change::Offload],
        cost: "the optimiser's state is in the host's memory: 0.3 s more an update for 1 billion weights",
    },
    Step {
        values: |_, _| vec![Change::RoundedWeights],
        cost: "no f32 weights: those in bf16 are rounded by chance",
    },
    Step {
        values: |_, _| vec![Change::RoundedSums],
        cost: "gradients are added up in bf16, each sum rounded: small ones can be lost",
    },
    Step { values: |_, _| vec![Change::FrozenVision], cost: "trains less: the vision tower stays" },
    Step {
        values: low_rank,
        cost: "trains low-rank factors (LoRA) and no weight: wants a higher optim.lr",
    },
    Step { values: half_the_pixels, cost: "sees less: pictures of half the pixels" },
];

/// Settings that make a run fit, each added to those before it; none where it fits as it is.
///
/// A setting that lowers nothing is left out. Of a key that can be halved again and again, only the value is named that
/// fits, or the last one that lowers anything.
///
/// - `needed`: bytes that a run of that configuration needs
pub fn ladder(
    config: &RunConfig,
    lengths: Lengths,
    available_bytes: u64,
    needed: impl Fn(&RunConfig) -> u64,
) -> Ladder {
    climb(&STEPS, config, lengths, available_bytes, &needed)
}

/// Settings each of which makes a run fit that does not, the cheapest first: what ladders come to that leave out the first
/// steps, one more each time. No two change the same keys.
///
/// - `may_change`: whether a key may be changed at all
pub(super) fn alternatives(
    config: &RunConfig,
    lengths: Lengths,
    available_bytes: u64,
    needed: &dyn Fn(&RunConfig) -> u64,
    may_change: &dyn Fn(&str) -> bool,
) -> Vec<Enough> {
    let is_allowed = |step: &&Step| {
        let changes = (step.values)(config, lengths);
        changes.iter().all(|change| may_change(key_of(&change.to_string())))
    };
    let steps: Vec<Step> = STEPS.iter().filter(is_allowed).copied().collect();
    let keys = |enough: &Enough| -> Vec<String> {
        enough.settings.iter().map(|setting| key_of(setting).to_owned()).collect()
    };
    let mut found: Vec<Enough> = Vec::new();
    for first in 0..steps.len() {
        let ladder = climb(&steps[first..], config, lengths, available_bytes, needed);
        found.extend(ladder.enough.filter(|new| found.iter().all(|old| keys(old) != keys(new))));
    }
    found
}

fn climb(
    steps: &[Step],
    config: &RunConfig,
    lengths: Lengths,
    available_bytes: u64,
    needed: &dyn Fn(&RunConfig) -> u64,
) -> Ladder {
    let needed_with = |changes: &[Change]| needed(&with(config, changes));
    let (mut changes, mut bytes) = (Vec::new(), needed(config));
    let mut remedies = Vec::new();
    let mut bytes_before = u64::MAX;
    // Of two stages the one that needs more counts: what lowers it can do more once a later step has lowered the other.
    for round in 0.. {
        if bytes <= available_bytes || bytes == bytes_before {
            break;
        }
        bytes_before = bytes;
        for Step { values, cost } in steps.iter().copied() {
            let mut chosen = None;
            let new = values(&with(config, &changes), lengths).into_iter();
            // Pictures are halved once.
            for change in new.filter(|change| round == 0 || !matches!(change, Change::MaxPixels(_)))
            {
                if bytes <= available_bytes {
                    break;
                }
                let lowered = needed_with(&[&changes[..], &[change]].concat());
                if lowered >= bytes {
                    break;
                }
                bytes = lowered;
                chosen = Some(change);
            }
            if let Some(change) = chosen {
                remedies.push(Remedy { setting: change.to_string(), cost, bytes });
                changes.push(change);
            }
        }
    }
    if bytes > available_bytes {
        let card_gib = CARDS_GIB.into_iter().find(|gib| bytes <= gib * GIB);
        let shortfall = Some(Shortfall { least_bytes: bytes, card_gib });
        return Ladder { remedies, enough: None, shortfall };
    }
    // What a later step has made needless goes again, the dearest first.
    for i in (0..changes.len()).rev() {
        let others = [&changes[..i], &changes[i + 1..]].concat();
        if needed_with(&others) <= available_bytes {
            changes = others;
        }
    }
    let enough = (!changes.is_empty())
        .then(|| Enough { settings: settings(&changes), bytes: needed_with(&changes) });
    Ladder { remedies, enough, shortfall: None }
}

fn with(config: &RunConfig, changes: &[Change]) -> RunConfig {
    let mut changed = config.clone();
    for change in changes {
        change.apply(&mut changed);
    }
    changed
}

/// The last setting of each key.
fn settings(changes: &[Change]) -> Vec<String> {
    let is_of_same_key = |a: &Change, b: &Change| discriminant(a) == discriminant(b);
    let is_last = |i: usize| !changes[i + 1..].iter().any(|b| is_of_same_key(&changes[i], b));
    (0..changes.len()).filter(|i| is_last(*i)).map(|i| changes[i].to_string()).collect()
}

/// Streams of half the tokens and so on, down to one group.
fn whole_groups(config: &RunConfig, lengths: Lengths) -> Vec<Change> {
    let group = lengths.group.next_multiple_of(ROUND_TOKENS);
    let several = rounded_halves(config, lengths).filter(|tokens| *tokens > group);
    several.chain([group]).map(Change::TokensPerMicroBatch).collect()
}

/// Streams of half the tokens and so on, with parts of groups.
fn parts_of_groups(config: &RunConfig, lengths: Lengths) -> Vec<Change> {
    let parts = rounded_halves(config, lengths).filter(|tokens| *tokens < lengths.group);
    parts.map(Change::TokensPerMicroBatch).collect()
}

fn rounded_halves(config: &RunConfig, lengths: Lengths) -> impl Iterator<Item = usize> {
    let longest = config.train.tokens_per_micro_batch.min(lengths.stream);
    let rounded = halves(longest).map(|tokens| tokens - tokens % ROUND_TOKENS);
    rounded.take_while(|tokens| *tokens > 0)
}

fn fewer_answers(config: &RunConfig, _lengths: Lengths) -> Vec<Change> {
    let answers = config.eval.limit.unwrap_or(usize::MAX);
    halves(config.eval.max_batch.min(answers)).map(Change::AnswersAtATime).collect()
}

fn fewer_rollouts(config: &RunConfig, _lengths: Lengths) -> Vec<Change> {
    let completions = config.grpo.prompts_per_rollout() * config.grpo.group_size;
    halves(config.rollout.max_batch.min(completions)).map(Change::MaxBatch).collect()
}

/// Factors of the usual rank, where the weights are trained.
fn low_rank(config: &RunConfig, _lengths: Lengths) -> Vec<Change> {
    config.model.lora.is_none().then_some(Change::LowRank).into_iter().collect()
}

fn half_the_pixels(config: &RunConfig, _lengths: Lengths) -> Vec<Change> {
    let pixels = config.data.max_pixels / 2;
    let is_allowed = pixels >= config.data.min_pixels;
    is_allowed.then_some(Change::MaxPixels(pixels)).into_iter().collect()
}

/// A half, a quarter and so on, down to 1.
fn halves(n: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(n / 2), |n| Some(n / 2)).take_while(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that can be followed by hand. Each part is what one step lowers.
    fn needed(config: &RunConfig) -> u64 {
        let checkpointing = match config.model.activation_checkpointing {
            CheckpointingChoice::None => 400,
            CheckpointingChoice::Mlp => 300,
            CheckpointingChoice::Full => 200,
        };
        // A stream has at least 1000 tokens, whatever is asked for, and at most 8000.
        let tokens = config.train.tokens_per_micro_batch.clamp(1000, 8000) as u64 / 10;
        let rollout = config.rollout.max_batch as u64 * 10;
        let vision = if config.model.freeze_vision { 0 } else { 50 };
        let pixels = config.data.max_pixels as u64 / 10_000;
        let masters = if config.optim.masters == MasterWeights::F32 { 20 } else { 0 };
        let optimizer = if config.optim.offload { 5 } else { 10 };
        checkpointing + tokens.max(rollout) + vision + pixels + masters + optimizer - 30
    }

    fn config() -> RunConfig {
        let mut config = RunConfig::default();
        config.train.tokens_per_micro_batch = 1 << 20;
        config.rollout.max_batch = 64;
        config.grpo.prompts_per_update = 8;
        config.grpo.group_size = 8;
        config.data.max_pixels = 400_000;
        config.data.min_pixels = 3136;
        config
    }

    const LENGTHS: Lengths = Lengths { stream: 8000, group: 2000 };

    fn steps(available: u64) -> (Vec<(String, u64)>, Ladder) {
        let ladder = ladder(&config(), LENGTHS, available, needed);
        let rungs = ladder.remedies.iter().map(|r| (r.setting.clone(), r.bytes)).collect();
        (rungs, ladder)
    }

    fn settings_of(ladder: &Ladder) -> Vec<&str> {
        ladder.remedies.iter().map(|remedy| remedy.setting.as_str()).collect()
    }

    #[test]
    fn what_fits_needs_no_change_and_what_does_not_the_cheapest_that_makes_it_fit() {
        // 400 + 800 + 50 + 40
        assert_eq!(steps(1290).0, []);
        // Rollouts hold more than a stream of half the tokens: 400 + 640 + 90, less than streams of 3968.
        let streams = ("train.tokens_per_micro_batch=3968".to_owned(), 1130);
        assert_eq!(steps(1289).0, std::slice::from_ref(&streams));
        assert_eq!(steps(1130).0, std::slice::from_ref(&streams));
        let mlp = ("model.activation_checkpointing=mlp".to_owned(), 1030);
        assert_eq!(steps(1129).0, [streams.clone(), mlp.clone()]);
        let full = ("model.activation_checkpointing=full".to_owned(), 930);
        let (rungs, ladder) = steps(1029);
        assert_eq!(rungs, [streams, mlp, full]);
        assert_eq!(ladder.shortfall, None);
        let enough = ladder.enough.unwrap();
        let each_key_once = "--set train.tokens_per_micro_batch=3968 \
                             --set model.activation_checkpointing=full";
        assert_eq!((enough.flags().as_str(), enough.bytes), (each_key_once, 930));
    }

    #[test]
    fn streams_are_halved_down_to_a_group_before_groups_are_cut() {
        let streams =
            |config: &RunConfig| config.train.tokens_per_micro_batch.clamp(500, 8000) as u64;
        let at = |available| ladder(&config(), LENGTHS, available, streams);
        assert_eq!(settings_of(&at(4001)), ["train.tokens_per_micro_batch=3968"]);
        assert_eq!(settings_of(&at(3000)), ["train.tokens_per_micro_batch=2048"], "a whole group");
        let cut = ["train.tokens_per_micro_batch=2048", "train.tokens_per_micro_batch=512"];
        assert_eq!(settings_of(&at(1000)), cut);
        assert_eq!(at(1000).enough.unwrap().settings, cut[1..]);
    }

    #[test]
    fn what_a_later_step_makes_needless_is_not_asked_for() {
        // 100 for the tower, 10 for each kind of activations that is kept.
        let needed = |config: &RunConfig| {
            let kept = match config.model.activation_checkpointing {
                CheckpointingChoice::None => 20,
                CheckpointingChoice::Mlp => 10,
                CheckpointingChoice::Full => 0,
            };
            kept + if config.model.freeze_vision { 0 } else { 100 }
        };
        let frozen = "model.freeze_vision=true";
        let at = |available| ladder(&config(), LENGTHS, available, needed);
        assert_eq!(at(10).remedies.len(), 3);
        let mlp = "model.activation_checkpointing=mlp";
        assert_eq!(
            at(10).enough,
            Some(Enough { settings: vec![mlp.into(), frozen.into()], bytes: 10 })
        );
        assert_eq!(at(20).enough, Some(Enough { settings: vec![frozen.into()], bytes: 20 }));
        assert_eq!(at(120).enough, None);
    }

    #[test]
    fn where_nothing_is_enough_everything_that_lowers_is_named_and_the_card_that_would_do() {
        let (_, ladder) = steps(100);
        let expected = [
            "train.tokens_per_micro_batch=3968",
            "model.activation_checkpointing=mlp",
            "model.activation_checkpointing=full",
            "rollout.max_batch=32",
            "optim.offload=true",
            "optim.masters=bf16",
            "model.freeze_vision=true",
            "data.max_pixels=200000",
            // Fewer completions at a time let shorter streams need less, and the other way round.
            "train.tokens_per_micro_batch=2048",
            "rollout.max_batch=16",
            "train.tokens_per_micro_batch=1024",
            "rollout.max_batch=8",
            "train.tokens_per_micro_batch=512",
        ];
        assert_eq!(settings_of(&ladder), expected);
        // 200 + 100 + 0 + 20, less 20 of masters and 5 of the optimiser
        let card = |card_gib| Some(Shortfall { least_bytes: 295, card_gib });
        assert_eq!(ladder.shortfall, card(Some(8)));
        let card_of = |unit: u64| {
            let ladder = super::ladder(&config(), LENGTHS, 100, |config| needed(config) * unit);
            ladder.shortfall.unwrap().card_gib
        };
        assert_eq!(card_of(GIB / 20), Some(16), "14.8 GiB");
        assert_eq!(card_of(GIB), None);
    }

    #[test]
    fn alternatives_leave_out_the_cheapest_one_after_the_other_and_change_other_keys() {
        let of = |may_change: &dyn Fn(&str) -> bool| -> Vec<String> {
            let found = alternatives(&config(), LENGTHS, 1130, &needed, may_change);
            assert!(found.iter().all(|enough| enough.bytes <= 1130), "{found:?}");
            found.iter().map(Enough::flags).collect()
        };
        // 1290 as it is; rollouts hold no more than 640 of it. Nothing else than what lowers these 160 is enough alone.
        let (streams, kept) = (
            "--set train.tokens_per_micro_batch=3968",
            "--set model.activation_checkpointing=full",
        );
        assert_eq!(of(&|_| true)[0], streams);
        let others = of(&|key| key != "train.tokens_per_micro_batch");
        assert!(others.iter().all(|flags| !flags.contains("micro_batch")), "{others:?}");
        assert!(others[0].starts_with(kept), "{others:?}");
        let keys = |flags: &String| -> Vec<String> {
            flags.split(' ').map(|word| key_of(word).to_owned()).collect()
        };
        let mut all: Vec<Vec<String>> = of(&|_| true).iter().map(keys).collect();
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n, "no two of the same keys");
        assert_eq!(of(&|_| false), [""; 0]);
    }

    #[test]
    fn what_lowers_nothing_is_left_out() {
        let mut config = config();
        config.model.activation_checkpointing = CheckpointingChoice::Full;
        config.model.freeze_vision = true;
        config.data.max_pixels = 5000;
        (config.optim.offload, config.optim.masters) = (true, MasterWeights::Bf16);
        let ladder = ladder(&config, LENGTHS, 1, needed);
        assert!(ladder.remedies.len() > 2);
        for setting in settings_of(&ladder) {
            let is_length = ["train.tokens_per_micro_batch", "rollout.max_batch"];
            assert!(is_length.contains(&key_of(setting)), "{setting}");
        }
    }
}
