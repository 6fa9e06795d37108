//! LaTeX as the tokens of math-verify's grammar (`PS.g4` of `latex2sympy2_extended` 1.11): the longest match wins.
//! Not here: what may stand beside what (`latex_parser`); corrections made before (`normalize`).

use super::latex_spellings::{ACCENTS, FUNCTIONS, GREEK, RESERVED, SIGNS, SKIPPED, SYMBOLS};

/// The most tokens that are parsed.
const MAX_TOKENS: usize = 400;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `12`, `1.5`, `.5`.
    Number(String),
    /// `12%`, without the sign.
    Percent(String),
    /// `1.5E3`.
    Scientific(String),
    /// A letter or another symbol, by the name sympy would give it, before lower case.
    Symbol(String),
    /// `\text{...}` and its like, by the name sympy would give it.
    Text(String),
    /// The imaginary unit, the letter `I`.
    ImaginaryUnit,
    /// `e`, Euler's number.
    Euler,
    /// `E`, a letter, but one that takes no index.
    BigE,
    /// `dx`, a letter of two.
    Differential(String),
    /// `\sin` and its like.
    Function(String),
    /// A sign or command the grammar knows by itself, in one spelling.
    Sign(&'static str),
}

/// The tokens of `text`; none where the grammar knows a character or a command not, or there are too many.
pub(super) fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return Some(tokens);
        }
        if tokens.len() >= MAX_TOKENS {
            return None;
        }
        let (token, length) = longest(rest)?;
        tokens.extend(token);
        rest = &rest[length..];
    }
}

/// The longest token at the start of `text`; of equally long ones the first that is asked for.
fn longest(text: &str) -> Option<(Option<Token>, usize)> {
    let reserved = || {
        longest_of(RESERVED.iter().copied(), text)
            .map(|length| (Some(Token::Sign("reserved")), length))
    };
    match text.bytes().next()? {
        b'0'..=b'9' => return number(text),
        b'a'..=b'z' | b'A'..=b'Z' => {
            return [reserved(), letter(text)]
                .into_iter()
                .flatten()
                .rev()
                .max_by_key(|(_, length)| *length);
        }
        _ => {}
    }
    let skipped = longest_of(SKIPPED.iter().copied(), text).map(|length| (None, length));
    let sign = SIGNS
        .iter()
        .filter(|(spelling, _)| text.starts_with(spelling))
        .max_by_key(|(spelling, _)| spelling.len())
        .map(|(spelling, sign)| (Some(Token::Sign(sign)), spelling.len()));
    let function = longest_of(FUNCTIONS.iter().copied(), text)
        .map(|length| (Some(Token::Function(text[1..length].to_owned())), length));
    let found = [skipped, sign, function, symbol(text), accent(text), number(text)];
    found.into_iter().flatten().rev().max_by_key(|(_, length)| *length)
}

fn longest_of<'a>(spellings: impl Iterator<Item = &'a str>, text: &str) -> Option<usize> {
    spellings.filter(|spelling| text.starts_with(spelling)).map(str::len).max()
}

fn symbol(text: &str) -> Option<(Option<Token>, usize)> {
    let greek = GREEK.iter().flat_map(|(letter, name)| {
        let command = text.strip_prefix('\\').is_some_and(|text| text.starts_with(name));
        let command = command.then_some((*name, name.len() + 1));
        let letter = text.starts_with(letter).then_some((*name, letter.len()));
        [command, letter].into_iter().flatten()
    });
    let other = SYMBOLS.iter().filter_map(|name| {
        text.strip_prefix('\\')?.starts_with(name).then_some((*name, name.len() + 1))
    });
    let (name, length) = greek.chain(other).max_by_key(|(_, length)| *length)?;
    let length = length + usize::from(text[length..].starts_with(' '));
    Some((Some(Token::Symbol(name.to_owned())), length))
}

fn accent(text: &str) -> Option<(Option<Token>, usize)> {
    let found = ACCENTS.iter().filter_map(|command| {
        let rest = text.strip_prefix(command)?;
        let inside = rest.strip_prefix(' ').unwrap_or(rest).strip_prefix('{')?;
        let close = inside.find('}')?;
        let length = text.len() - inside.len() + close + 1;
        Some((accent_name(&command[1..], &inside[..close].replace(' ', "")), length))
    });
    found.max_by_key(|(_, length)| *length).map(|(name, length)| (Some(Token::Text(name)), length))
}

/// Text in letters is the same as the letters, so that `\text{A}` equals `A`.
fn accent_name(command: &str, content: &str) -> String {
    let name = match command {
        "bar" | "overline" => "bar",
        "vec" | "overrightarrow" => "vec",
        "tilde" | "widetilde" => "tilde",
        _ if command.contains("text") || command == "mbox" => {
            return content.replace(['(', ')'], "");
        }
        _ if command.contains("math") => "math",
        other => other,
    };
    format!("{name}{{{content}}}")
}

fn number(text: &str) -> Option<(Option<Token>, usize)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let integer = digits(text);
    let fraction = text[integer..].strip_prefix('.').map_or(0, digits);
    let length = if fraction > 0 { integer + 1 + fraction } else { integer };
    if length == 0 {
        return None;
    }
    let rest = &text[length..];
    if let Some(exponent) = rest.strip_prefix('E') {
        let signed = exponent.strip_prefix(['+', '-', '−']).unwrap_or(exponent);
        let places = digits(signed);
        if places > 0 {
            let length = text.len() - signed.len() + places;
            return Some((Some(Token::Scientific(text[..length].replace('−', "-"))), length));
        }
    }
    let sign = rest.strip_prefix([' ', '\t']).unwrap_or(rest);
    if let Some(after) = sign.strip_prefix("\\%").or_else(|| sign.strip_prefix('%')) {
        let length_with_sign = text.len() - after.len();
        return Some((Some(Token::Percent(text[..length].to_owned())), length_with_sign));
    }
    Some((Some(Token::Number(text[..length].to_owned())), length))
}

fn letter(text: &str) -> Option<(Option<Token>, usize)> {
    let first = text.chars().next().filter(char::is_ascii_alphabetic)?;
    let token = match first {
        'e' => Token::Euler,
        'E' => Token::BigE,
        'I' => Token::ImaginaryUnit,
        'd' => return Some(differential(text)),
        _ => Token::Symbol(first.to_string()),
    };
    Some((Some(token), 1))
}

/// `d` with the letter or command after it, which are one symbol; else the letter `d`.
fn differential(text: &str) -> (Option<Token>, usize) {
    let after = text[1..].trim_start_matches([' ', '\t', '\r', '\n']);
    let is_letter = |c: &char| c.is_ascii_alphabetic();
    let command = after.strip_prefix('\\').map(|name| name.chars().take_while(is_letter).count());
    let length = match command {
        Some(length) if length > 0 => length + 1,
        _ => usize::from(after.starts_with(|c: char| c.is_ascii_alphabetic())),
    };
    if length == 0 {
        return (Some(Token::Symbol("d".to_owned())), 1);
    }
    let name = format!("d{}", after[..length].trim_start_matches('\\'));
    (Some(Token::Differential(name)), text.len() - after.len() + length)
}
