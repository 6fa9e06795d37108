//! Whether a field that nothing reads holds a row's pictures: without this check a run would silently train without them.
//! Not here: the fields that are read (`listed`), warnings about the others (`remarks`).

use super::field_names::{FieldNames, spelled};
use super::row::{Fields, Place};
use super::{DataError, remarks::unread};
use serde_json::Value;

const HINT: &str = "rename the field to `image`, or say data.fields.image = \"NAME\", and let it name picture files; where the \
                    row has no picture, take the field out or give it another name";

/// Where pictures should stand, for a message.
pub(super) fn expected(names: &FieldNames) -> String {
    format!("pictures to stand under {}", spelled(&names.image))
}

/// Endings of fields that describe a picture rather than hold it, as `image_id`; an `s` may follow.
const ABOUT: [&str; 18] = [
    "id",
    "size",
    "shape",
    "width",
    "height",
    "resolution",
    "caption",
    "description",
    "text",
    "title",
    "prompt",
    "label",
    "tag",
    "type",
    "format",
    "source",
    "license",
    "count",
];
/// Extensions of picture files.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];
/// How PNG, JPEG, WebP and GIF files begin in base64.
const BASE64_STARTS: [&str; 4] = ["iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD"];
/// A longer text is not taken for a path.
const LONGEST_PATH: usize = 300;

/// Refuses a row without pictures in which a field that nothing reads seems to hold them.
pub(super) fn refuse_in(
    fields: &Fields,
    place: &Place,
    names: &FieldNames,
) -> Result<(), DataError> {
    let mut unread = unread(fields, names);
    let found = unread.find_map(|(name, value)| Some((name, picture_in(name, value)?)));
    found.map_or(Ok(()), |(name, found)| Err(place.bad_field(name, found, expected(names), HINT)))
}

/// What in a field seems to be a picture, by its value or by its name; none where nothing does.
pub(super) fn picture_in(name: &str, value: &Value) -> Option<String> {
    let by_name = || (is_picture_name(name) && is_text(value)).then(|| "text".to_owned());
    picture_in_value(value).or_else(by_name)
}

fn picture_in_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => picture_in_text(text),
        Value::Array(values) => values.iter().find_map(picture_in_value),
        Value::Object(parts) if parts.get("bytes").is_some_and(|bytes| !bytes.is_null()) => {
            Some("bytes".to_owned())
        }
        Value::Object(parts) => parts.values().find_map(picture_in_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn picture_in_text(text: &str) -> Option<String> {
    if is_written_out(text) {
        return Some("a picture as base64".to_owned());
    }
    let is_path = text.len() <= LONGEST_PATH && !text.contains(char::is_whitespace);
    let (_, extension) = text.rsplit_once('.').filter(|_| is_path)?;
    let is_picture = EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension));
    is_picture.then(|| format!("the picture file {text}"))
}

/// Whether a text is a picture's bytes as base64, in a data URI or bare.
fn is_written_out(text: &str) -> bool {
    text.starts_with("data:image/")
        || BASE64_STARTS.iter().any(|start| text.starts_with(start)) && !text.contains(' ')
}

/// What stands where a picture's path should, if that is no path: what to call it, and what to do.
pub(super) fn no_path(text: &str) -> Option<(&'static str, &'static str)> {
    const IN_FILES: &str = "write each picture into a file of its own and name that, or keep rows and pictures in parquet";
    if text.starts_with("data:") {
        return Some(("a data URI", IN_FILES));
    }
    if is_written_out(text) && text.len() > LONGEST_PATH {
        return Some(("a picture as base64", IN_FILES));
    }
    let (scheme, _) = text.split_once("://")?;
    let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    is_scheme.then_some((
        "a URL",
        "nothing is fetched in a run: download the pictures and name the files",
    ))
}

/// Text, or a list that begins with text; numbers and truth values written as text, as in CSV, do not count.
fn is_text(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let folded = text.trim().to_lowercase();
            let is_other = matches!(folded.as_str(), "" | "true" | "false" | "yes" | "no");
            !is_other && folded.parse::<f64>().is_err()
        }
        Value::Array(values) => values.first().is_some_and(Value::is_string),
        _ => false,
    }
}

/// Whether a name is one that people give to pictures: `img`, `image_file`, `Picture 1`.
fn is_picture_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split(|c: char| !c.is_alphabetic());
    let is_about = ABOUT.iter().any(|end| name.trim_end_matches('s').ends_with(end));
    !is_about
        && (["image", "img", "picture"].iter().any(|part| name.contains(part))
            || words.any(|word| matches!(word, "photo" | "photos" | "pic" | "pics")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_path_is_called_what_it_is() {
        let called = |text: &str| no_path(text).map(|(name, _)| name);
        assert_eq!(called("data:image/png;base64,iVBO"), Some("a data URI"));
        for url in ["https://x.org/a.png", "s3://bucket/a.png", "file:///a.png"] {
            assert_eq!(called(url), Some("a URL"), "{url}");
        }
        assert_eq!(called(&format!("/9j/{}", "A".repeat(400))), Some("a picture as base64"));
        for path in ["a/b.png", "/9j/a.jpg", "C:\\a.png", "://a.png", "a b://c.png"] {
            assert_eq!(called(path), None, "{path}");
        }
    }

    #[test]
    fn a_name_for_pictures_with_text_in_it_is_one() {
        let others = json!([7, true, null, [], "", [640, 480], "0.5", "False", {"width": 7}]);
        for name in
            ["img", "imgs", "Image", "image_file", "imagePath", "picture", "pic", "photo-1", "img1"]
        {
            for text in [json!("a1"), json!(["a1"])] {
                assert_eq!(picture_in(name, &text).as_deref(), Some("text"), "{name}");
            }
            for other in others.as_array().unwrap() {
                assert_eq!(picture_in(name, other), None, "{name}: {other}");
            }
        }
        for name in ["image_id", "imageIds", "img_captions", "source", "topic", "photon", "usage"] {
            assert_eq!(picture_in(name, &json!("a1")), None, "{name}");
        }
    }

    #[test]
    fn a_picture_is_seen_under_any_name() {
        for (value, expected) in [
            (json!("a/b.PNG"), "the picture file a/b.PNG"),
            (json!("https://x.org/a.jpeg"), "the picture file https://x.org/a.jpeg"),
            (json!(["a.webp", "b.webp"]), "the picture file a.webp"),
            (json!("data:image/png;base64,iVBO"), "a picture as base64"),
            (json!("/9j/4AAQSkZJRg"), "a picture as base64"),
            (json!({"bytes": "..", "path": null}), "bytes"),
            (json!({"bytes": null, "path": "a.jpg"}), "the picture file a.jpg"),
            (json!([{"url": "a.gif"}]), "the picture file a.gif"),
        ] {
            assert_eq!(picture_in("source", &value).as_deref(), Some(expected), "{value}");
        }
        for value in
            [json!("train.json"), json!("As shown in 1.png"), json!("png"), json!({"width": 7})]
        {
            assert_eq!(picture_in("source", &value), None, "{value}");
        }
    }
}
