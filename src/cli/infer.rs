//! `othink infer`: from flags to one answer.
//! Not here: decoding (`rollout`), images and chat templates (`processor`).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::ArgGroup;
use image::RgbImage;
use serde::Serialize;

use crate::config::{DTypeChoice, DeviceChoice};
use crate::data::ImageSource;
use crate::input_file;
use crate::limits::{self, LINE_BYTES};
use crate::model::Model;
use crate::model::gpu::OutOfMemory;
use crate::model::open::open;
use crate::model::parameters::Trained;
use crate::model::{device, source};
use crate::processor::{Content, Message, Processor, ProcessorError, parse_chat};
use crate::rollout::sampler::Sampler;
use crate::rollout::single::{self, SingleSettings};

use super::count::up_to;
use super::dump::dump;
use super::failure::UsageError;
use super::out_file::check_out_file;
use super::{ExitStatus, PrintError, Printer};

const EXAMPLES: &str = "\
Examples:
  othink infer --model Qwen/Qwen2-VL-2B-Instruct --image a.png --prompt \"How many items?\"
  othink infer --model runs/quickstart/checkpoints/step-000100 --messages chat.json --json
  othink infer --model tiny --image a.png --prompt \"How many items?\" --temperature 1 --seed 7";

/// What needs less of a GPU's memory.
const NEEDS_LESS: &str = "fewer pixels (--max-pixels), fewer new tokens (--max-new-tokens) or bf16 (--dtype), or --device cpu";

/// Answer one question, greedily unless a temperature is given.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("question").required(true).args(["prompt", "messages"]))]
pub struct Args {
    /// A model folder, a hub id or tiny
    #[arg(long, value_name = "PATH")]
    model: String,
    /// An image file, put before the prompt; may be repeated
    #[arg(long = "image", value_name = "FILE", conflicts_with = "messages")]
    images: Vec<PathBuf>,
    /// The question
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The system message [default: the chat template's own]
    #[arg(long, value_name = "TEXT", conflicts_with = "messages")]
    system: Option<String>,
    /// A whole chat in Hugging Face's format, images by path
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// Cut the answer off at that many tokens
    #[arg(long, value_name = "N", default_value = "256", value_parser = up_to(limits::TOKENS))]
    max_new_tokens: NonZeroUsize,
    /// Sample, with logits divided by this, rather than take the likeliest token
    #[arg(long, value_name = "X", value_parser = temperature)]
    temperature: Option<f64>,
    /// Sample among that many likeliest tokens
    #[arg(long, value_name = "N", requires = "temperature", value_parser = up_to(limits::ROWS))]
    top_k: Option<NonZeroUsize>,
    /// Sample among the likeliest tokens that together reach this probability
    #[arg(long, value_name = "X", requires = "temperature", value_parser = probability)]
    top_p: Option<f64>,
    /// Every random number is a function of it
    #[arg(long, value_name = "N", requires = "temperature", default_value_t = 42)]
    seed: u64,
    /// Divide the positive logits of tokens that have been seen and multiply the negative ones. Of a checkpoint's generation
    /// configuration the stop tokens alone are read; that of Qwen2.5-VL says 1.05 here, which transformers applies
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = above_zero)]
    repetition_penalty: f64,
    /// Write ids, positions, pixels, logits and the answer's ids to this safetensors file
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Number format: auto, f32, bf16 or f16
    #[arg(long, default_value = "auto")]
    dtype: DTypeChoice,
    /// Enlarge images with fewer pixels [default: the checkpoint's]
    #[arg(long, value_name = "N", value_parser = up_to(limits::PICTURE_PIXELS as usize))]
    min_pixels: Option<NonZeroUsize>,
    /// Shrink images with more pixels [default: the checkpoint's]
    #[arg(long, value_name = "N", value_parser = up_to(limits::PICTURE_PIXELS as usize))]
    max_pixels: Option<NonZeroUsize>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// One user message: the images in order, then the text.
    Prompt {
        /// The system message; without it, the chat template's own.
        system: Option<String>,
        /// Image files.
        images: Vec<PathBuf>,
        /// The text.
        text: String,
    },
    /// A file with a whole chat.
    Chat(PathBuf),
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decoding {
    /// The likeliest.
    Greedy,
    /// Drawn.
    Sampled {
        /// Logits are divided by it, above 0.
        temperature: f64,
        /// Among that many likeliest tokens; 0 is all.
        top_k: usize,
        /// Among the likeliest tokens that together reach this probability, above 0; 1 is all.
        top_p: f64,
        /// Every random number is a function of it.
        seed: u64,
    },
}

/// What the flags ask for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// A model folder, a hub id or `tiny`.
    pub model: String,
    /// What is asked.
    pub question: Question,
    /// Where the answer is cut off.
    pub max_new_tokens: usize,
    /// How the next token is chosen.
    pub decoding: Decoding,
    /// Divides the positive logits of tokens that have been seen and multiplies the negative ones; 1 changes nothing.
    pub repetition_penalty: f64,
    /// Where the tensors of the computation are written.
    pub dump: Option<PathBuf>,
    /// One JSON object rather than the text.
    pub json: bool,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number format.
    pub dtype: DTypeChoice,
    /// Images with fewer pixels are enlarged; without it, the checkpoint says.
    pub min_pixels: Option<usize>,
    /// Images with more pixels are shrunk; without it, the checkpoint says.
    pub max_pixels: Option<usize>,
}

/// The answer: the printed object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Without special tokens.
    text: &'a str,
    /// A stop token included.
    completion_ids: &'a [u32],
    /// Image tokens included.
    prompt_tokens: usize,
    /// Whether a stop token ended it, rather than the limit.
    finished: bool,
}

/// Runs the command.
///
/// # Errors
/// The flags, the model or the question are wrong, or the computation fails.
pub fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let request = args.into_request()?;
    let device = device::device(&request.device.to_string())?;
    let dtype = device::dtype(&request.dtype.to_string(), &device)?;
    let (messages, images) = request.question.read()?;
    let files = source::resolve(&request.model)?;
    let processor = Processor::load(&files)?;
    let processor = processor.with_pixel_limits(request.min_pixels, request.max_pixels)?;
    let prompt = processor.encode(&messages, &images)?;
    let model = open(&files, dtype, &device, Trained::Nothing)
        .map_err(|error| explained(error.into(), &device, ("loading weights", None)))?;

    let mut shown = Shown::new(&processor, (!request.json).then_some(&mut *printer));
    let completion =
        single::answer(&model, &processor, &prompt, &request.settings(), &mut |id| shown.push(id))
            .map_err(|error| explained(error.into(), &device, ("answering", Some(&model))))?;
    let shown = shown.end()?;
    if let Some(path) = &request.dump {
        dump(&model, &prompt, &completion, path)?;
    }
    let text = processor.decode(&completion.token_ids, true)?;
    if request.json {
        printer.json(&Report {
            text: &text,
            completion_ids: &completion.token_ids,
            prompt_tokens: prompt.input_ids.len(),
            finished: completion.is_finished,
        })?;
    } else {
        // All of it but what an unfinished character may be, which no later token completes.
        printer.line(text.strip_prefix(shown.as_str()).unwrap_or_default())?;
    }
    Ok(ExitStatus::Done)
}

/// An answer's text as it is printed while its tokens come.
struct Shown<'a> {
    decode: Box<dyn FnMut(u32) -> Option<String> + 'a>,
    printer: Option<&'a mut Printer>,
    text: String,
    failure: Option<PrintError>,
}

impl<'a> Shown<'a> {
    /// - `printer`: `None` prints nothing
    fn new(processor: &'a Processor, printer: Option<&'a mut Printer>) -> Self {
        let decode = Box::new(processor.decode_as_it_comes());
        Self { decode, printer, text: String::new(), failure: None }
    }

    fn push(&mut self, token_id: u32) {
        let Some(printer) = self.printer.as_mut().filter(|_| self.failure.is_none()) else {
            return;
        };
        if let Some(piece) = (self.decode)(token_id) {
            self.failure = printer.piece(&piece).err();
            self.text.push_str(&piece);
        }
    }

    /// What was printed.
    fn end(self) -> Result<String, PrintError> {
        self.failure.map_or(Ok(self.text), Err)
    }
}

/// The error, under what there is to say if it is that a GPU had no room.
fn explained(
    error: anyhow::Error,
    device: &Device,
    during: (&'static str, Option<&Model>),
) -> anyhow::Error {
    match OutOfMemory::of(error.as_ref(), device, during, NEEDS_LESS) {
        Some(told) => error.context(told),
        None => error,
    }
}

impl Question {
    /// The messages, and their images in order.
    fn read(&self) -> anyhow::Result<(Vec<Message>, Vec<RgbImage>)> {
        let (messages, images) = match self {
            Self::Prompt { system, images, text } => {
                let own = system.iter().map(|text| Message {
                    role: "system".to_owned(),
                    content: vec![Content::Text(text.clone())],
                });
                let mut content = vec![Content::Image; images.len()];
                content.push(Content::Text(text.clone()));
                let asked = Message { role: "user".to_owned(), content };
                (own.chain([asked]).collect(), images.clone())
            }
            Self::Chat(path) => read_chat(path)?,
        };
        let images = images.into_iter().map(|path| ImageSource::File(path).load());
        Ok((messages, images.collect::<Result<_, _>>()?))
    }
}

/// The messages of a chat file and the image files it names; relative ones start at its folder.
fn read_chat(path: &Path) -> anyhow::Result<(Vec<Message>, Vec<PathBuf>)> {
    let name = path.display().to_string();
    let json = input_file::read_text(path, LINE_BYTES).map_err(|error| {
        let problem = format!("--messages {name}: cannot be read: {error}");
        UsageError::new(problem, "relative paths start at the working folder")
    })?;
    let (messages, images) = parse_chat(&json, &name)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let locate = |(idx, image): (usize, Option<PathBuf>)| {
        let missing = || ProcessorError::Chat {
            name: name.clone(),
            place: format!("image {}", idx + 1),
            problem: "names no file".to_owned(),
        };
        image.map(|image| folder.join(image)).ok_or_else(missing)
    };
    let images = images.into_iter().enumerate().map(locate).collect::<Result<_, _>>()?;
    Ok((messages, images))
}

impl InferRequest {
    fn settings(&self) -> SingleSettings {
        let (sampler, seed) = match self.decoding {
            Decoding::Greedy => (Sampler::greedy(), 0),
            Decoding::Sampled { temperature, top_k, top_p, seed } => {
                (Sampler { temperature, top_k, top_p, ..Sampler::default() }, seed)
            }
        };
        let sampler = Sampler { repetition_penalty: self.repetition_penalty, ..sampler };
        SingleSettings { sampler, seed, max_new_tokens: self.max_new_tokens }
    }
}

impl Args {
    /// Turns the flags into a request in which no two of them can contradict each other.
    ///
    /// # Errors
    /// There is no question, `--min-pixels` is above `--max-pixels`, or `--dump` cannot be a file.
    pub fn into_request(self) -> Result<InferRequest, UsageError> {
        let question = match (self.messages, self.prompt) {
            (Some(chat), _) => Question::Chat(chat),
            (None, Some(text)) => {
                Question::Prompt { system: self.system, images: self.images, text }
            }
            (None, None) => {
                return Err(UsageError::new("no question", "give --prompt or --messages"));
            }
        };
        if let (Some(least), Some(most)) = (self.min_pixels, self.max_pixels)
            && least > most
        {
            let problem = format!("--min-pixels {least}: expected at most --max-pixels ({most})");
            return Err(UsageError::new(problem, "leave one of the two out"));
        }
        if let Some(dump) = &self.dump {
            check_out_file("--dump", dump)?;
        }
        let decoding = self.temperature.map_or(Decoding::Greedy, |temperature| {
            let top_k = self.top_k.map_or(0, NonZeroUsize::get);
            let top_p = self.top_p.unwrap_or(1.0);
            Decoding::Sampled { temperature, top_k, top_p, seed: self.seed }
        });
        Ok(InferRequest {
            model: self.model,
            question,
            max_new_tokens: self.max_new_tokens.get(),
            decoding,
            repetition_penalty: self.repetition_penalty,
            dump: self.dump,
            json: self.json,
            device: self.device,
            dtype: self.dtype,
            min_pixels: self.min_pixels.map(NonZeroUsize::get),
            max_pixels: self.max_pixels.map(NonZeroUsize::get),
        })
    }
}

/// A finite number above zero; none is greedy decoding.
fn temperature(text: &str) -> Result<f64, String> {
    above_zero(text).map_err(|error| format!("{error}; leave it out to decode greedily"))
}

/// A finite number above zero.
fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

/// A number above zero, at most one.
fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "expected a number above 0 and at most 1".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn request(flags: &[&str]) -> anyhow::Result<InferRequest> {
        let words = ["othink", "infer", "--model", "tiny"].iter().chain(flags);
        let Command::Infer(args) = Cli::try_parse_from(words)?.command else { panic!("infer") };
        Ok(args.into_request()?)
    }

    #[test]
    fn decoding_is_greedy_unless_a_temperature_is_given() {
        assert_eq!(request(&["--prompt", "Hi"]).unwrap().decoding, Decoding::Greedy);
        assert_eq!(
            request(&["--prompt", "Hi", "--temperature", "0.7", "--top-k", "5"]).unwrap().decoding,
            Decoding::Sampled { temperature: 0.7, top_k: 5, top_p: 1.0, seed: 42 }
        );
        for flags in [["--top-k", "5"], ["--top-p", "0.5"], ["--seed", "1"]] {
            assert!(request(&[["--prompt", "Hi"], flags].concat()).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn question_is_a_prompt_with_images_in_order_or_a_chat() {
        let asked = request(&["--image", "b.png", "--image", "a.png", "--prompt", "Hi"]).unwrap();
        let images = vec![PathBuf::from("b.png"), PathBuf::from("a.png")];
        let expected = Question::Prompt { system: None, images, text: "Hi".to_owned() };
        assert_eq!(asked.question, expected);
        let asked = request(&["--messages", "chat.json"]).unwrap();
        assert_eq!(asked.question, Question::Chat("chat.json".into()));
        assert!(request(&[]).is_err());
        assert!(request(&["--messages", "chat.json", "--prompt", "Hi"]).is_err());
        assert!(request(&["--messages", "chat.json", "--image", "a.png"]).is_err());
        assert!(request(&["--messages", "chat.json", "--system", "Hi"]).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for flags in [
            ["--temperature", "0"],
            ["--temperature", "nan"],
            ["--repetition-penalty", "0"],
            ["--max-new-tokens", "0"],
            ["--max-pixels", "-1"],
        ] {
            assert!(request(&[["--prompt", "Hi"], flags].concat()).is_err(), "{flags:?}");
        }
        let top_p = ["--prompt", "Hi", "--temperature", "1", "--top-p", "1.5"];
        assert!(request(&top_p).is_err());
        let pixels = ["--prompt", "Hi", "--min-pixels", "9000", "--max-pixels", "8000"];
        assert!(request(&pixels).unwrap_err().to_string().contains("--min-pixels 9000"));
    }
}
