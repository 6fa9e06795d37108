//! Messages, Hugging Face's chat files, and the model's own chat template.
//! Not here: turning the rendered text into ids (`text`); opening the images a chat names (`cli`,
//! `data`).

use std::path::PathBuf;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, State, context};
use serde_json::Value;

use super::{ProcessorError, json};
use crate::limits::{PROMPT_BYTES, TEMPLATE_FUEL, TEMPLATE_INDENT};
use crate::model::files::ModelFiles;

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text; whether special tokens written out in it become special tokens, [`super::Markers`] says.
    Text(String),
    /// The place of the next image.
    Image,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its parts, in order.
    pub content: Vec<Content>,
}

impl Content {
    /// As chat templates expect it: `{"type": "text", "text": ...}` or `{"type": "image"}`.
    fn to_template(&self) -> minijinja::Value {
        match self {
            Self::Text(text) => {
                minijinja::Value::from_pairs([("type", "text"), ("text", text.as_str())])
            }
            Self::Image => minijinja::Value::from_pairs([("type", "image")]),
        }
    }
}

impl Message {
    /// As chat templates expect it: `{"role": ..., "content": [...]}`.
    fn to_template(&self) -> minijinja::Value {
        let content: minijinja::Value = self.content.iter().map(Content::to_template).collect();
        minijinja::Value::from_pairs([
            ("role", minijinja::Value::from(self.role.as_str())),
            ("content", content),
        ])
    }
}

/// The messages of a chat in Hugging Face's format (a list of messages, or an object with
/// `messages`), and for each image in order the path it names, as written; `None` where an image
/// part names none.
///
/// `name` is the chat's file, for errors.
///
/// # Errors
/// Not JSON; no role or content; a part of another kind than text and image; an image given by web
/// address or as data.
pub fn parse_chat(
    json: &str,
    name: &str,
) -> Result<(Vec<Message>, Vec<Option<PathBuf>>), ProcessorError> {
    let chat: Value = serde_json::from_str(json)
        .map_err(|source| ProcessorError::Json { file: name.to_owned(), source })?;
    let wrong = |place: String, problem: &str| ProcessorError::Chat {
        name: name.to_owned(),
        place,
        problem: problem.to_owned(),
    };
    let Some(list) =
        chat.get("messages").unwrap_or(&chat).as_array().filter(|list| !list.is_empty())
    else {
        return Err(wrong(
            "the whole file".to_owned(),
            "expected a list with at least one message",
        ));
    };
    let (mut messages, mut paths) = (Vec::new(), Vec::new());
    for (index, message) in list.iter().enumerate() {
        let place = format!("message {}", index + 1);
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            return Err(wrong(place, "no text field `role`"));
        };
        let content = match message.get("content") {
            Some(Value::String(text)) => vec![Content::Text(text.clone())],
            Some(Value::Array(parts)) => {
                let mut content = Vec::with_capacity(parts.len());
                for (index, part) in parts.iter().enumerate() {
                    let part = parse_part(part, &mut paths);
                    content.push(part.map_err(|problem| {
                        wrong(format!("{place}, part {}", index + 1), problem)
                    })?);
                }
                content
            }
            _ => return Err(wrong(place, "no field `content`, text or a list of parts")),
        };
        messages.push(Message { role: role.to_owned(), content });
    }
    Ok((messages, paths))
}

/// One part of a message's content; an image's path goes to `paths`.
fn parse_part(part: &Value, paths: &mut Vec<Option<PathBuf>>) -> Result<Content, &'static str> {
    let kind = part.get("type").and_then(Value::as_str);
    let field = |name: &str| part.get(name);
    if kind == Some("text") || (kind.is_none() && field("text").is_some()) {
        let text =
            field("text").and_then(Value::as_str).ok_or("a text part without a field `text`")?;
        return Ok(Content::Text(text.to_owned()));
    }
    let image = field("image").or_else(|| field("image_url"));
    if !matches!(kind, Some("image" | "image_url")) && (kind.is_some() || image.is_none()) {
        let is_video = kind == Some("video") || (kind.is_none() && field("video").is_some());
        return Err(if is_video {
            "a video; expected a part of type `text` or `image`: give frames as images"
        } else {
            "expected a part of type `text` or `image`"
        });
    }
    if field("base64").is_some() {
        return Err("an image as data; write it to a file and give its path");
    }
    let source = image.or_else(|| field("path")).or_else(|| field("url"));
    let source = source.map(|source| source.get("url").unwrap_or(source));
    paths.push(match source {
        None => None,
        Some(source) => Some(local_path(source.as_str().ok_or("an image path that is not text")?)?),
    });
    Ok(Content::Image)
}

/// The path an image part names.
fn local_path(source: &str) -> Result<PathBuf, &'static str> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err("an image on the web; download it and give its path");
    }
    if source.starts_with("data:") {
        return Err("an image as data; write it to a file and give its path");
    }
    Ok(PathBuf::from(source.strip_prefix("file://").unwrap_or(source)))
}

/// The checkpoint's chat template, compiled.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// The file that holds the template.
    file: String,
    /// `bos_token` and its like, which templates may write out.
    tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    /// The template from `chat_template.jinja`, else `chat_template.json`, else
    /// `tokenizer_config.json`.
    pub(super) fn load(files: &ModelFiles) -> Result<Self, ProcessorError> {
        let config = json::read::<Value>(files, "tokenizer_config.json")?.unwrap_or_default();
        let (source, file) = find_template(files, &config)?;
        let file = files.describe(file);
        let wrong = |error: minijinja::Error| ProcessorError::Template {
            file: file.clone(),
            reason: error.to_string(),
        };
        let mut environment = Environment::new();
        environment.set_fuel(Some(TEMPLATE_FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(wrong)?);
        environment.set_unknown_method_callback(python_method);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(TEMPLATE, source).map_err(wrong)?;
        let text_of = |name: &'static str| {
            let token = config.get(name)?;
            let token = token.as_str().or_else(|| token.get("content")?.as_str())?;
            Some((name, token.to_owned()))
        };
        let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"];
        let tokens = tokens.into_iter().filter_map(text_of).collect();
        Ok(Self { environment, file, tokens })
    }

    /// The prompt's text, ending where the assistant's answer begins.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String, ProcessorError> {
        let messages: minijinja::Value = messages.iter().map(Message::to_template).collect();
        let tokens = minijinja::Value::from_pairs(self.tokens.iter().cloned());
        let wrong = |reason: String| ProcessorError::Template { file: self.file.clone(), reason };
        let mut written = Bounded { bytes: Vec::new(), is_full: false };
        let render = |written: &mut Bounded| -> Result<(), minijinja::Error> {
            let values = context! { messages => messages, add_generation_prompt => true, ..tokens };
            self.environment.get_template(TEMPLATE)?.render_captured_to(values, written)?;
            Ok(())
        };
        match render(&mut written) {
            _ if written.is_full => Err(wrong(format!("it writes more than {PROMPT_BYTES} bytes"))),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => {
                Err(wrong(format!("it takes more than {TEMPLATE_FUEL} steps")))
            }
            Err(error) => Err(wrong(error.to_string())),
            Ok(()) => String::from_utf8(written.bytes).map_err(|error| wrong(error.to_string())),
        }
    }
}

/// Python's methods of texts, lists and maps, but `format`: a width in its pattern makes a text of any length, which the
/// engine counts only once it is made. The pieces of a split text are counted before.
fn python_method(
    state: &mut State,
    value: &minijinja::Value,
    method: &str,
    arguments: &[minijinja::Value],
) -> Result<minijinja::Value, minijinja::Error> {
    if method == "format" {
        let reason = "the method `format` is not supported; join texts by `~`";
        return Err(minijinja::Error::new(ErrorKind::UnknownMethod, reason));
    }
    if let (Some(text), "split" | "splitlines") = (value.as_str(), method) {
        let pieces = match arguments.first().and_then(minijinja::Value::as_str) {
            Some(separator) => text.matches(separator).count(),
            None => text.matches(char::is_whitespace).count(),
        };
        state.consume_fuel(pieces as u64)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// The engine's filter, with an indent of at most [`TEMPLATE_INDENT`], and what it writes counted.
fn to_json(
    state: &State,
    value: &minijinja::Value,
    indent: Option<minijinja::Value>,
    named: Kwargs,
) -> Result<minijinja::Value, minijinja::Error> {
    let given = match &indent {
        Some(indent) => Some(indent.clone()),
        None => named.get::<Option<minijinja::Value>>("indent")?,
    };
    if given.and_then(|indent| indent.as_usize()).is_some_and(|blanks| blanks > TEMPLATE_INDENT) {
        let reason = format!("tojson indents by at most {TEMPLATE_INDENT}");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason));
    }
    let json = minijinja::filters::tojson(value, indent, named)?;
    state.consume_fuel(json.as_str().map_or(0, str::len) as u64 / 4)?;
    Ok(json)
}

/// What a template writes, up to [`PROMPT_BYTES`].
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > PROMPT_BYTES {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The template's name inside the engine; without an extension, so that nothing is escaped.
const TEMPLATE: &str = "chat";

/// The template's source, and the file that holds it.
fn find_template(
    files: &ModelFiles,
    tokenizer_config: &Value,
) -> Result<(String, &'static str), ProcessorError> {
    if let Some(source) = json::read_text(files, "chat_template.jinja")? {
        return Ok((source, "chat_template.jinja"));
    }
    let own_file = json::read::<Value>(files, "chat_template.json")?;
    if let Some(source) = own_file.as_ref().and_then(template_in) {
        return Ok((source, "chat_template.json"));
    }
    match template_in(tokenizer_config) {
        Some(source) => Ok((source, "tokenizer_config.json")),
        None => Err(ProcessorError::MissingFile {
            file: files.describe("chat_template.json"),
            hint: "neither chat_template.jinja nor tokenizer_config.json holds a chat template; copy the checkpoint's",
        }),
    }
}

/// The field `chat_template`: a text, or a list of named ones with one called `default`.
fn template_in(config: &Value) -> Option<String> {
    let template = config.get("chat_template")?;
    let named = |list: &Vec<Value>| {
        list.iter().find(|entry| entry["name"] == "default")?["template"]
            .as_str()
            .map(str::to_owned)
    };
    template.as_str().map(str::to_owned).or_else(|| template.as_array().and_then(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn a_chat_gives_messages_and_image_paths_in_order() {
        let json = r#"{"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "image", "image": "a.png"}, {"type": "text", "text": "and"},
                {"type": "image", "path": "b.png"}, {"type": "image", "url": "file:///c.png"},
                {"type": "image_url", "image_url": {"url": "d.png"}}, {"type": "image"}]}]}"#;
        let (messages, paths) = parse_chat(json, "chat.json").unwrap();
        let image = Content::Image;
        let parts =
            [image.clone(), text("and"), image.clone(), image.clone(), image.clone(), image];
        assert_eq!(
            messages[0],
            Message { role: "system".into(), content: vec![text("Be brief.")] }
        );
        assert_eq!(messages[1].content, parts);
        let expected = ["a.png", "b.png", "/c.png", "d.png"].map(|path| Some(PathBuf::from(path)));
        assert_eq!(paths[..4], expected);
        assert_eq!(paths[4], None);
    }

    #[test]
    fn what_is_wrong_in_a_chat_is_placed() {
        let cases = [
            ("[]", "chat.json: the whole file: expected a list"),
            ("{}", "chat.json: the whole file: expected a list"),
            ("[{]", "chat.json: key must be a string"),
            (r#"[{"content": "hi"}]"#, "chat.json: message 1: no text field `role`"),
            (r#"[{"role": "user"}]"#, "chat.json: message 1: no field `content`"),
            (
                r#"[{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "video"}]}]"#,
                "chat.json: message 1, part 2: a video; expected a part of type",
            ),
            (
                r#"[{"role": "user", "content": [{"video": "a.mp4"}]}]"#,
                "chat.json: message 1, part 1: a video; expected a part of type",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "audio"}]}]"#,
                "chat.json: message 1, part 1: expected a part of type",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "image", "image": "https://x/y.png"}]}]"#,
                "chat.json: message 1, part 1: an image on the web",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,x"}]}]"#,
                "chat.json: message 1, part 1: an image as data",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "text"}]}]"#,
                "chat.json: message 1, part 1: a text part without",
            ),
        ];
        for (json, expected) in cases {
            let error = parse_chat(json, "chat.json").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("\nhint: "), "{error}");
        }
    }

    /// A model folder that holds nothing but a template.
    fn template(name: &str, contents: &str) -> Result<ChatTemplate, ProcessorError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), contents).unwrap();
        ChatTemplate::load(&ModelFiles::Folder(folder.path().to_owned()))
    }

    fn render(template: &ChatTemplate, words: &str) -> Result<String, ProcessorError> {
        template.render(&[Message { role: "user".to_owned(), content: vec![text(words)] }])
    }

    #[test]
    fn blocks_are_trimmed_and_python_methods_work_as_in_transformers() {
        // transformers sets trim_blocks and lstrip_blocks: a line that holds only a block gives no
        // output.
        let source = "{% for m in messages %}\n    {% if true %}\n{{ m.role.upper() }}: \
                      {{ m.content[0].text.split(' ')[1] }}\n    {% endif %}\n{% endfor %}\n";
        let template = template("chat_template.jinja", source).unwrap();
        assert_eq!(render(&template, "a b c").unwrap(), "USER: b\n");
    }

    #[test]
    fn named_templates_and_token_names_are_found_in_the_tokenizer_config() {
        let config = r#"{"eos_token": {"content": "<end>"}, "bos_token": null, "chat_template": [
            {"name": "tools", "template": "no"},
            {"name": "default", "template": "{{ messages[0].content[0].text }}{{ eos_token }}{{ bos_token }}"}]}"#;
        let template = template("tokenizer_config.json", config).unwrap();
        assert_eq!(render(&template, "<&>").unwrap(), "<&><end>");
    }

    #[test]
    fn a_template_that_never_ends_or_writes_without_end_is_refused() {
        let loops = "{% for i in range(9999) %}{% for j in range(9999) %}{% if i %}{% endif %}{% endfor %}{% endfor %}";
        let writes = "{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}";
        for (source, expected) in [(loops, "takes more than"), (writes, "writes more than")] {
            let template = template("chat_template.jinja", source).unwrap();
            let message = render(&template, "hi").unwrap_err().to_string();
            assert!(
                message.contains("chat_template.jinja: the chat template fails: it"),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
    }

    /// The most memory that this process has held, in bytes.
    fn peak_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10)
    }

    /// Runs in a process of its own, since other tests take memory meanwhile.
    #[test]
    fn a_template_that_would_fill_memory_is_refused_at_once() {
        if !std::env::args().any(|argument| argument == "--exact") {
            let name =
                "processor::chat::tests::a_template_that_would_fill_memory_is_refused_at_once";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            assert!(alone.args(["--exact", name, "--nocapture"]).status().unwrap().success());
            return;
        }
        let before = peak_bytes();
        for (source, expected) in filling_templates() {
            let template = template("chat_template.jinja", &source).unwrap();
            let start = std::time::Instant::now();
            let message = render(&template, "hi").unwrap_err().to_string();
            let (taken, bytes) = (start.elapsed(), peak_bytes() - before);
            assert!(message.contains("chat_template.jinja: the chat template fails"), "{message}");
            assert!(message.contains(expected), "{source}: {message}");
            // Without the bounds most of them take hours.
            assert!(taken.as_secs() < 60, "{source}: {taken:?}");
            assert!(bytes < 100 << 20, "{source}: {bytes} bytes");
        }
    }

    /// Templates that would fill memory or never end, and what is said of them.
    fn filling_templates() -> Vec<(String, &'static str)> {
        let grow = |by: &str| {
            let start = "{% set ns = namespace(x='ab') %}{% for i in range(40) %}";
            format!("{start}{{% set ns.x = {by} %}}{{% endfor %}}{{{{ ns.x|length }}}}")
        };
        let long = "{% set x = 'a' * 1000000 %}";
        let steps = "it takes more than";
        vec![
            (grow("ns.x ~ ns.x"), steps),
            (grow("ns.x + ns.x"), steps),
            (grow("ns.x * 2"), steps),
            (grow("[ns.x, ns.x]|join"), steps),
            (grow("ns.x.replace('a', ns.x)"), steps),
            (grow("ns.x|replace('a', ns.x)"), steps),
            (grow("'%s%s'|format(ns.x, ns.x)"), steps),
            (format!("{long}{{{{ x.replace('a', x)|length }}}}"), steps),
            (format!("{long}{{{{ x.join(range(90000))|length }}}}"), steps),
            ("{{ 'x' * 10**9 }}".to_owned(), steps),
            ("{{ '%1000000000d'|format(1)|length }}".to_owned(), steps),
            ("{{ 'a b'|indent(10**9, true)|length }}".to_owned(), steps),
            ("{{ [1]|batch(10**9, 'a')|list|length }}".to_owned(), steps),
            ("{{ ('a ' * 4000000).split()|length }}".to_owned(), steps),
            ("{{ ('a ' * 4000000).split(' ')|length }}".to_owned(), steps),
            ("{{ ('a\n' * 4000000).splitlines()|length }}".to_owned(), steps),
            ("{{ ('a ' * 4000000)|split|length }}".to_owned(), steps),
            ("{{ ('a\n' * 4000000)|lines|length }}".to_owned(), steps),
            ("{{ ('a' * 4000000)|list|length }}".to_owned(), steps),
            ("{{ '{:>1000000000}'.format(1)|length }}".to_owned(), "`format` is not supported"),
            ("{{ messages|tojson(indent=10**9) }}".to_owned(), "at most 16"),
            ("{{ messages|tojson(10**9) }}".to_owned(), "at most 16"),
            ("{% for i in range(10**9) %}{% endfor %}".to_owned(), "range has too many elements"),
            ("{% macro m() %}{{ m() ~ m() }}{% endmacro %}{{ m() }}".to_owned(), "recursion limit"),
        ]
    }

    #[test]
    fn a_template_that_refuses_or_does_not_compile_is_named() {
        let refusing =
            template("chat_template.jinja", "{{ raise_exception('no system role') }}").unwrap();
        let error = render(&refusing, "hi").unwrap_err().to_string();
        assert!(error.contains("chat_template.jinja: the chat template fails"), "{error}");
        assert!(error.contains("no system role"), "{error}");
        let error = template("chat_template.jinja", "{% if %}").err().unwrap().to_string();
        assert!(error.contains("chat_template.jinja: the chat template fails"), "{error}");
        let error = template("config.json", "{}").err().unwrap().to_string();
        assert!(error.contains("chat_template.json: no such file"), "{error}");
    }
}
