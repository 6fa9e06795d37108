//! Chats, and the templates that make prompts of them.
//! Not here: the tokenizer's files (`model`).

use std::sync::LazyLock;

use othink::processor::{Content, Message, Processor, parse_chat};

use super::model::{question, tiny_with};

static TINY: LazyLock<Processor> = LazyLock::new(|| {
    let template = include_bytes!("../../assets/tiny/chat_template.json");
    Processor::load(&tiny_with("chat_template.json", template)).expect("the built-in model")
});

/// What stands in messages opens no turn and no picture: the prompt has as many of the model's own tokens as that of the same
/// messages about nothing.
pub(super) fn chat(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok((messages, paths)) = parse_chat(&text, "chat.json") else { return };
    let n_pictures: usize = messages.iter().map(pictures_of).sum();
    assert_eq!(n_pictures, paths.len());
    let without_pictures: Vec<Message> = messages.iter().map(without_pictures).collect();
    let plain: Vec<Message> = without_pictures.iter().map(about_nothing).collect();
    let Ok(prompt) = TINY.encode(&without_pictures, &[]) else { return };
    let expected = TINY.encode(&plain, &[]).expect("a shorter prompt");
    assert_eq!(own_tokens(&prompt.input_ids), own_tokens(&expected.input_ids), "{}", prompt.text);
}

fn own_tokens(ids: &[u32]) -> Vec<u32> {
    let special = TINY.special();
    let own = [special.im_start, special.im_end, special.image_pad, special.vision_start];
    ids.iter().copied().filter(|id| own.contains(id)).collect()
}

fn pictures_of(message: &Message) -> usize {
    message.content.iter().filter(|part| **part == Content::Image).count()
}

fn without_pictures(message: &Message) -> Message {
    let texts = message.content.iter().filter(|part| **part != Content::Image);
    Message { role: message.role.clone(), content: texts.cloned().collect() }
}

fn about_nothing(message: &Message) -> Message {
    let nothing = |_: &Content| Content::Text("x".to_owned());
    Message { role: message.role.clone(), content: message.content.iter().map(nothing).collect() }
}

pub(super) fn template(bytes: &[u8]) {
    let Ok(processor) = Processor::load(&tiny_with("chat_template.jinja", bytes)) else { return };
    let picture = image::RgbImage::new(28, 28);
    if let Err(error) = processor.encode(&[question("How many?")], &[picture]) {
        assert!(!error.to_string().is_empty());
    }
}
