//! Greedy decoding by both, in turn, in one process: seconds of the prompt, and tokens a second after it.
//! Not here: whether what they compute is right (`logits`).

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::D;
use clap::builder::RangedU64ValueParser;
use othink::model::Model;
use othink::model::files::ModelFiles;
use othink::processor::{Processor, Prompt};
use othink::rng::{Purpose, Stream};
use othink::rollout::engine::{Event, GenerationSettings, Request, generate_each, has_room};
use othink::rollout::sampler::{Sampler, Suppressed};
use serde_json::{Value, json};

use crate::Refused;
use crate::candle_side::Theirs;
use crate::faults::Faults;
use crate::our_side::Ours;
use crate::prompts::{ask, picture};

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Qwen3-VL checkpoint
    model: PathBuf,
    /// Side of the drawn picture, in pixels; what a processor allows is what the models see
    #[arg(long, value_name = "N", default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..=4096))]
    image_size: u32,
    /// Tokens of each sequence
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(2..=65536))]
    new_tokens: usize,
    /// Sequences of the group; one sequence is measured as well
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(2..=1024))]
    group: usize,
    /// Runs of each, in turn, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pairs: usize,
    /// Print one JSON object with every time
    #[arg(long)]
    json: bool,
}

/// A run's seconds.
#[derive(Debug, Clone, Copy)]
struct Seconds {
    /// Until every sequence has its first token.
    prompt: f64,
    /// For all tokens after the first ones.
    decoding: f64,
}

/// The runs of both with so many sequences.
struct Measured {
    n_sequences: usize,
    n_new: usize,
    ours: Vec<Seconds>,
    theirs: Vec<Seconds>,
}

/// A table or JSON.
///
/// # Errors
/// The folder does not hold a Qwen3-VL checkpoint, the prompt leaves no room, the two would have other numbers of threads, or one
/// of them fails.
pub fn run(args: &Args) -> Result<(String, bool)> {
    let threads = rayon::current_num_threads();
    let theirs = candle_core::utils::get_num_threads();
    if threads != theirs {
        let message = format!(
            "othink would use {threads} threads and candle {theirs}, expected the same\nhint: set RAYON_NUM_THREADS, as run.sh does"
        );
        return Err(Refused(message).into());
    }
    let ours = Ours::load(&args.model)?;
    let processor = Processor::load(&ModelFiles::Folder(args.model.clone()))?;
    let prompt = ask(&processor, &[picture([args.image_size; 2])])?;
    let (n_prompt, limit) = (prompt.input_ids.len(), ours.config.text.max_position_embeddings);
    if !has_room(n_prompt, args.new_tokens, limit) {
        let new = args.new_tokens;
        let message = format!(
            "{n_prompt} prompt tokens and {new} new ones exceed the model's {limit} positions\nhint: lower --new-tokens or --image-size"
        );
        return Err(Refused(message).into());
    }
    let (model, theirs) = (ours.model(Faults::default())?, Theirs::load(&args.model)?);
    let measure = |n_sequences| measure((&model, &theirs), &prompt, n_sequences, args);
    let measured = [measure(1)?, measure(args.group)?];
    let text = if args.json {
        let measured: Vec<Value> = measured.iter().map(Measured::to_json).collect();
        let record = json!({"threads": threads, "prompt_tokens": n_prompt, "image_size": args.image_size,
            "new_tokens": args.new_tokens, "pairs": args.pairs, "measured": measured});
        format!("{record:#}\n")
    } else {
        let about = format!(
            "{n_prompt} prompt tokens, {} new ones a sequence, {threads} threads",
            args.new_tokens
        );
        table(&about, &measured)
    };
    Ok((text, true))
}

fn measure(
    (model, theirs): (&Model, &Theirs),
    prompt: &Prompt,
    n_sequences: usize,
    args: &Args,
) -> Result<Measured> {
    let mut measured =
        Measured { n_sequences, n_new: args.new_tokens, ours: Vec::new(), theirs: Vec::new() };
    for pair in 0..=args.pairs {
        let by_us = || run_ours(model, prompt, n_sequences, args.new_tokens);
        let by_them = || run_theirs(theirs, prompt, n_sequences, args.new_tokens);
        // Which of the two begins alternates.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = by_us()?;
            (ours, by_them()?)
        } else {
            let theirs = by_them()?;
            (by_us()?, theirs)
        };
        if pair > 0 {
            measured.ours.push(ours);
            measured.theirs.push(theirs);
        }
    }
    Ok(measured)
}

/// As rollouts are made: the prompt once, then all sequences together.
fn run_ours(model: &Model, prompt: &Prompt, n_sequences: usize, n_new: usize) -> Result<Seconds> {
    let settings = GenerationSettings {
        sampler: Sampler::greedy(),
        suppressed: Suppressed::new(&[], &[], 0),
        max_new_tokens: n_new,
        stop_ids: Vec::new(),
        max_batch: n_sequences,
    };
    let stream = |i| Stream::new(0, Purpose::Inference, 0, 0, i);
    let streams = (0..n_sequences as u32).map(stream).collect();
    let request = Request { prompt: Cow::Borrowed(prompt), streams };
    let (mut n_tokens, mut first) = (0, None);
    let start = Instant::now();
    generate_each(model, &mut [request].into_iter(), &settings, &mut |event| {
        if let Event::Tokens(tokens) = event {
            n_tokens += tokens.len();
            if n_tokens >= n_sequences {
                first.get_or_insert_with(|| start.elapsed().as_secs_f64());
            }
        }
        ControlFlow::Continue(())
    })?;
    let whole = start.elapsed().as_secs_f64();
    ensure!(n_tokens == n_sequences * n_new, "othink made {n_tokens} tokens");
    let prompt = first.context("no token was made")?;
    Ok(Seconds { prompt, decoding: whole - prompt })
}

/// As its interface allows: a batch, for which the prompt and the tower are computed as often as there are sequences, since
/// there is no access to the cache. Making a model with an empty cache is not timed.
fn run_theirs(
    theirs: &Theirs,
    prompt: &Prompt,
    n_sequences: usize,
    n_new: usize,
) -> Result<Seconds> {
    let n_prompt = prompt.input_ids.len();
    let model = theirs.model(Faults::default(), n_prompt + n_new)?;
    let start = Instant::now();
    let mut tokens = model.prefill(prompt, n_sequences)?.argmax(D::Minus1)?; // [n]
    let prompt_seconds = start.elapsed().as_secs_f64();
    for n_made in 1..n_new {
        tokens = model.step(&tokens, n_prompt + n_made - 1)?.argmax(D::Minus1)?;
    }
    let whole = start.elapsed().as_secs_f64();
    ensure!(tokens.dims() == [n_sequences], "candle made {:?} tokens", tokens.dims());
    Ok(Seconds { prompt: prompt_seconds, decoding: whole - prompt_seconds })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
    f64::midpoint(values[lower], values[upper])
}

impl Measured {
    /// Tokens after the first ones, by second.
    fn rate(&self, run: &Seconds) -> f64 {
        (self.n_sequences * (self.n_new - 1)) as f64 / run.decoding
    }

    /// The median over pairs of how many times faster we are.
    fn ratio(&self, of: impl Fn(&Seconds) -> f64) -> f64 {
        let pairs = self.ours.iter().zip(&self.theirs);
        median(pairs.map(|(ours, theirs)| of(theirs) / of(ours)).collect())
    }

    fn to_json(&self) -> Value {
        let side = |runs: &[Seconds]| {
            let of = |of: fn(&Seconds) -> f64| runs.iter().map(of).collect::<Vec<f64>>();
            let rate = median(runs.iter().map(|run| self.rate(run)).collect());
            json!({"prompt_s": of(|run| run.prompt), "decoding_s": of(|run| run.decoding), "tokens_per_s": rate})
        };
        json!({"sequences": self.n_sequences, "othink": side(&self.ours), "candle": side(&self.theirs),
            "prompt_ratio": self.ratio(|run| run.prompt), "decoding_ratio": self.ratio(|run| run.decoding)})
    }
}

fn table(about: &str, measured: &[Measured]) -> String {
    let mut text = format!(
        "{about}; medians over pairs of runs, ratios: candle's time by othink's\n\n\
         | sequences | prompt, s: othink | candle | ratio | tokens/s after it: othink | candle | ratio |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for each in measured {
        let prompt = |runs: &[Seconds]| median(runs.iter().map(|run| run.prompt).collect());
        let rate = |runs: &[Seconds]| median(runs.iter().map(|run| each.rate(run)).collect());
        text.push_str(&format!(
            "| {} | {:.4} | {:.4} | {:.2} | {:.1} | {:.1} | {:.2} |\n",
            each.n_sequences,
            prompt(&each.ours),
            prompt(&each.theirs),
            each.ratio(|run| run.prompt),
            rate(&each.ours),
            rate(&each.theirs),
            each.ratio(|run| run.decoding),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_runs_has_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn the_first_tokens_belong_to_the_prompt_and_ratios_are_by_pair() {
        let run = |prompt, decoding| Seconds { prompt, decoding };
        let measured = Measured {
            n_sequences: 8,
            n_new: 5,
            ours: vec![run(1.0, 2.0), run(1.0, 4.0)],
            theirs: vec![run(3.0, 8.0), run(5.0, 8.0)],
        };
        assert_eq!(measured.rate(&measured.ours[0]), 16.0); // 8 x 4 tokens in 2 s
        assert_eq!(measured.ratio(|run| run.decoding), 3.0); // the mean of 4 and 2
        assert_eq!(measured.ratio(|run| run.prompt), 4.0);
    }
}
