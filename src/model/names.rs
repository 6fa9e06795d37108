//! The two spellings of a parameter's name: the hub's files and transformers since 4.52.
//! Not here: which parameters there are (`config`).
//!
//! Everything inside this program, and everything it writes, uses the hub's spelling.

use std::borrow::Cow;

/// The hub's spelling of a parameter's name; names already spelt so come back as they are.
///
/// `model.language_model.X` becomes `model.X`, `model.visual.X` becomes `visual.X`.
pub fn to_original(name: &str) -> Cow<'_, str> {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        Cow::Owned(format!("model.{rest}"))
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        Cow::Owned(format!("visual.{rest}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_become_the_hub_names() {
        for (new, original) in [
            ("model.language_model.embed_tokens.weight", "model.embed_tokens.weight"),
            (
                "model.language_model.layers.3.mlp.up_proj.weight",
                "model.layers.3.mlp.up_proj.weight",
            ),
            ("model.visual.merger.mlp.0.bias", "visual.merger.mlp.0.bias"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(to_original(new), original);
            assert_eq!(to_original(original), original, "hub names stay as they are");
        }
    }
}
