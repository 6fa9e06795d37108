//! What to change in a run that a card has no room for: a ladder of settings, the cheapest first.
//! Not here: what a configuration needs (`gpu_memory`, given as a function).

use serde::Serialize;

use super::gigabytes;
use crate::config::{CheckpointingChoice, RunConfig};

/// Memory of the cards that there are, GiB; the H200's 141 GB are 139.
const CARDS_GIB: [u64; 10] = [8, 12, 16, 24, 32, 40, 48, 80, 96, 139];
/// Streams are cut to multiples of it, so that a budget is a round number.
const ROUND_TOKENS: usize = 128;

/// Bytes in a GiB, the unit that cards are named by.
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
    /// What is left where they are not enough.
    pub shortfall: Option<Shortfall>,
}

/// What a run needs with everything that lowers anything, where a card has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// Bytes.
    pub least_bytes: u64,
    /// The smallest card that has as much, GiB; none where no card has.
    pub card_gib: Option<u64>,
}

impl Shortfall {
    /// What would do.
    pub fn words(&self) -> String {
        let needed = format!("at least {}", gigabytes(self.least_bytes));
        match self.card_gib {
            Some(gib) => format!("{needed}, a card of {gib} GiB"),
            None => format!("{needed}, more than one card has"),
        }
    }
}

/// The settings of a ladder as flags, each key once.
pub fn flags(remedies: &[Remedy]) -> String {
    let key = |remedy: &Remedy| remedy.setting.split('=').next().map(str::to_owned);
    let is_last = |i: usize| remedies[i + 1..].iter().all(|later| key(later) != key(&remedies[i]));
    let last = remedies.iter().enumerate().filter(|(i, _)| is_last(*i));
    let flags: Vec<String> = last.map(|(_, remedy)| format!("--set {}", remedy.setting)).collect();
    flags.join(" ")
}

/// The longest that a run computes on at once, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// A packed stream.
    pub stream: usize,
    /// A prompt with all of its completions.
    pub group: usize,
}

/// A kind of change: its values, each needing no more than the one before it, and its cost.
struct Step {
    values: fn(&RunConfig, Lengths) -> Vec<Value>,
    cost: &'static str,
}

/// A setting as `--set` takes it, and the configuration with it.
type Value = (String, RunConfig);

/// In the order of what they cost. Times are of an H200 (`benches/results/gpu-check-2026-11-27-nvidia-h200.jsonl`): 0.64 s a
/// policy stage, 0.73 with MLPs computed twice, 0.77 with all layers.
const STEPS: [Step; 7] = [
    Step { values: whole_groups, cost: "smaller matrix products: a little slower" },
    Step {
        values: |config, _| checkpointing(config, CheckpointingChoice::Mlp),
        cost: "MLPs are computed twice: about 10 to 15% more time in the policy stage",
    },
    Step {
        values: |config, _| checkpointing(config, CheckpointingChoice::Full),
        cost: "all layers are computed twice: about 20% more time in the policy stage",
    },
    Step { values: parts_of_groups, cost: "a prompt is computed once for each part of its group" },
    Step { values: fewer_rollouts, cost: "completions are sampled in more rounds, each as long" },
    Step { values: |config, _| frozen_vision(config), cost: "trains less: the vision tower stays" },
    Step {
        values: |config, _| half_the_pixels(config),
        cost: "sees less: pictures of half the pixels",
    },
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
    let (mut config, mut bytes) = (config.clone(), needed(config));
    let mut remedies = Vec::new();
    for Step { values, cost } in STEPS {
        let mut chosen = None;
        for (setting, changed) in values(&config, lengths) {
            if bytes <= available_bytes {
                break;
            }
            let lowered = needed(&changed);
            if lowered >= bytes {
                break;
            }
            bytes = lowered;
            chosen = Some((setting, changed));
        }
        if let Some((setting, changed)) = chosen {
            remedies.push(Remedy { setting, cost, bytes });
            config = changed;
        }
    }
    let card_gib = CARDS_GIB.into_iter().find(|gib| bytes <= gib * GIB);
    let shortfall = Shortfall { least_bytes: bytes, card_gib };
    Ladder { remedies, shortfall: (bytes > available_bytes).then_some(shortfall) }
}

fn checkpointing(config: &RunConfig, choice: CheckpointingChoice) -> Vec<Value> {
    let mut changed = config.clone();
    changed.model.activation_checkpointing = choice;
    vec![(format!("model.activation_checkpointing={choice}"), changed)]
}

/// Streams of half the tokens and so on, down to one group.
fn whole_groups(config: &RunConfig, lengths: Lengths) -> Vec<Value> {
    let group = lengths.group.next_multiple_of(ROUND_TOKENS);
    let several = rounded_halves(config, lengths).filter(|tokens| *tokens > group);
    several.chain([group]).map(|tokens| budget(config, tokens)).collect()
}

/// Streams of half the tokens and so on, with parts of groups.
fn parts_of_groups(config: &RunConfig, lengths: Lengths) -> Vec<Value> {
    let parts = rounded_halves(config, lengths).filter(|tokens| *tokens < lengths.group);
    parts.map(|tokens| budget(config, tokens)).collect()
}

fn rounded_halves(config: &RunConfig, lengths: Lengths) -> impl Iterator<Item = usize> {
    let longest = config.train.tokens_per_micro_batch.min(lengths.stream);
    let rounded = halves(longest).map(|tokens| tokens - tokens % ROUND_TOKENS);
    rounded.take_while(|tokens| *tokens > 0)
}

fn budget(config: &RunConfig, tokens: usize) -> Value {
    let mut changed = config.clone();
    changed.train.tokens_per_micro_batch = tokens;
    (format!("train.tokens_per_micro_batch={tokens}"), changed)
}

fn fewer_rollouts(config: &RunConfig, _lengths: Lengths) -> Vec<Value> {
    let completions = config.grpo.prompts_per_rollout() * config.grpo.group_size;
    let value = |places: usize| {
        let mut changed = config.clone();
        changed.rollout.max_batch = places;
        (format!("rollout.max_batch={places}"), changed)
    };
    halves(config.rollout.max_batch.min(completions)).map(value).collect()
}

fn frozen_vision(config: &RunConfig) -> Vec<Value> {
    let mut changed = config.clone();
    changed.model.freeze_vision = true;
    vec![("model.freeze_vision=true".to_owned(), changed)]
}

fn half_the_pixels(config: &RunConfig) -> Vec<Value> {
    let mut changed = config.clone();
    changed.data.max_pixels /= 2;
    let pixels = changed.data.max_pixels;
    if pixels < changed.data.min_pixels {
        return Vec::new();
    }
    vec![(format!("data.max_pixels={pixels}"), changed)]
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
        checkpointing + tokens.max(rollout) + vision + pixels
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
        let each_key_once = "--set train.tokens_per_micro_batch=3968 \
                             --set model.activation_checkpointing=full";
        assert_eq!(flags(&ladder.remedies), each_key_once);
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
        assert_eq!(flags(&at(1000).remedies), format!("--set {}", cut[1]));
    }

    #[test]
    fn where_nothing_is_enough_everything_that_lowers_is_named_and_the_card_that_would_do() {
        let (_, ladder) = steps(100);
        let expected = [
            "train.tokens_per_micro_batch=3968",
            "model.activation_checkpointing=mlp",
            "model.activation_checkpointing=full",
            "rollout.max_batch=32",
            "model.freeze_vision=true",
            "data.max_pixels=200000",
        ];
        assert_eq!(settings_of(&ladder), expected);
        // 200 + 396.8 + 0 + 20
        let card = |card_gib| Some(Shortfall { least_bytes: 616, card_gib });
        assert_eq!(ladder.shortfall, card(Some(8)));
        let card_of = |unit: u64| {
            let ladder = super::ladder(&config(), LENGTHS, 100, |config| needed(config) * unit);
            ladder.shortfall.unwrap().card_gib
        };
        assert_eq!(card_of(GIB / 20), Some(32), "30.8 GiB");
        assert_eq!(card_of(GIB), None);
    }

    #[test]
    fn what_lowers_nothing_is_left_out() {
        let mut config = config();
        config.model.activation_checkpointing = CheckpointingChoice::Full;
        config.model.freeze_vision = true;
        config.data.max_pixels = 5000;
        let ladder = ladder(&config, LENGTHS, 1, needed);
        let expected = ["train.tokens_per_micro_batch=3968", "rollout.max_batch=32"];
        assert_eq!(settings_of(&ladder), expected, "pixels stay above data.min_pixels");
    }
}
