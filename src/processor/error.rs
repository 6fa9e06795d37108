//! What can be wrong with a tokenizer, a chat, an image or a prompt.
//! Not here: weights and config.json of the model itself (`model`); rows of a data set (`data`).

/// An error of [`super`]: each message names the file or the image, and most end in a hint.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// A file that the processor needs does not exist.
    #[error("{file}: no such file\nhint: {hint}")]
    MissingFile {
        /// The file, as a person would look for it.
        file: String,
        /// Where it usually comes from.
        hint: &'static str,
    },
    /// A file exists and cannot be read.
    #[error("{file}: cannot read it: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is not JSON, or a field has another type than expected.
    #[error("{file}: {source}\nhint: the file may be cut short; copy it again")]
    Json {
        /// The file.
        file: String,
        /// Where the parser stopped, and why.
        source: serde_json::Error,
    },
    /// A field holds a value this program cannot work with.
    #[error("{file}: {field} is {found}, expected {expected}")]
    Field {
        /// The file, or the part of the program that set the value.
        file: String,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The accepted values.
        expected: String,
    },
    /// The tokenizer's file is not a tokenizer.
    #[error("{file}: not a tokenizer: {reason}\nhint: copy the checkpoint's tokenizer.json again")]
    Tokenizer {
        /// The file.
        file: String,
        /// What the tokenizer library says.
        reason: String,
    },
    /// The tokenizer lacks a token that marks images or turns.
    #[error(
        "{file}: no token {token}, which a Qwen2-VL tokenizer has\n\
         hint: this is the tokenizer of another model; take the one of the checkpoint"
    )]
    MissingToken {
        /// The token.
        token: &'static str,
        /// The tokenizer's file.
        file: String,
    },
    /// Encoding or decoding failed inside the tokenizer library.
    #[error("the tokenizer cannot {action}: {reason}")]
    Tokenize {
        /// What was being done.
        action: &'static str,
        /// What the library says.
        reason: String,
    },
    /// The chat template does not compile, or fails on these messages.
    #[error("{file}: the chat template fails: {reason}")]
    Template {
        /// The file that holds the template.
        file: String,
        /// The template engine's message, with the line.
        reason: String,
    },
    /// A chat file does not have the shape of Hugging Face's chat format.
    #[error(
        "{name}: {place}: {problem}\n\
         hint: [{{\"role\": \"user\", \"content\": [{{\"type\": \"image\", \"image\": \"a.png\"}}, \
         {{\"type\": \"text\", \"text\": \"How many?\"}}]}}]"
    )]
    Chat {
        /// The chat's file.
        name: String,
        /// The message and its part.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The number of images differs from the number of image pads.
    #[error(
        "the prompt has {pads} image pad(s) but {images} image(s) were given\n\
         hint: one image part per image in the messages, and no <|image_pad|> written out in a text"
    )]
    ImageCount {
        /// Image pads in the rendered prompt.
        pads: usize,
        /// Images given.
        images: usize,
    },
    /// A chat with markers written out in it has no character left that could guard them.
    #[error(
        "the messages have markers written out, and every noncharacter from U+FDD0 to U+FDEF\n\
         hint: take the noncharacters out; no text needs them"
    )]
    NoMark,
    /// The prompt asks for a video.
    #[error(
        "the prompt has a video pad; videos are not supported\nhint: give its frames as images"
    )]
    Video,
    /// A run of image tokens does not fit its image's grid.
    #[error("image {image}: {tokens} image tokens in a row, expected {expected} for its grid")]
    ImageTokens {
        /// Which image, from 1.
        image: usize,
        /// Tokens found.
        tokens: usize,
        /// Tokens the image's grid needs.
        expected: usize,
    },
    /// The bytes are no image, or of a kind this program does not read.
    #[error("{name}: not an image this program reads\nhint: use PNG, JPEG, WebP, GIF, BMP or TIFF")]
    UnknownImage {
        /// The image.
        name: String,
    },
    /// The image is damaged.
    #[error(
        "{name}: cannot decode this {format} image: {reason}\n\
         hint: the file may be cut short or damaged; copy it again"
    )]
    BadImage {
        /// The image.
        name: String,
        /// PNG, JPEG, ...
        format: String,
        /// What the decoder says.
        reason: String,
    },
    /// The image would take too much memory.
    #[error(
        "{name}: {width} x {height} pixels, expected at most 100 megapixels\n\
         hint: scale it down first; the model sees at most max_pixels of it anyway"
    )]
    TooManyPixels {
        /// The image.
        name: String,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The samples of the image have no agreed meaning in 8 bits.
    #[error(
        "{name}: {found}, which has no agreed 8-bit meaning\nhint: convert it to 8 bits per channel first"
    )]
    SampleDepth {
        /// The image.
        name: String,
        /// Its samples.
        found: String,
    },
    /// The image is too thin for `smart_resize`.
    #[error(
        "{name}: {width} x {height} pixels, expected an aspect ratio of at most 200\nhint: cut it, or put it on a wider ground"
    )]
    AspectRatio {
        /// The image.
        name: String,
        /// Pixels across.
        width: usize,
        /// Pixels down.
        height: usize,
    },
}
