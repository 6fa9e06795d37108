//! The two spellings of a parameter's name: the hub's files and transformers since 4.52.
//! Not here: which parameters there are (`config`).
//!
//! Inside this program every parameter has the older spelling, which is the hub's for most models; a checkpoint is written
//! in the spelling of the one that it came from.

use std::borrow::Cow;

/// How a checkpoint spells its parameters' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `model.layers...`, `visual...`
    Original,
    /// `model.language_model.layers...`, `model.visual...`
    New,
}

impl Spelling {
    /// That of a checkpoint with such names.
    pub fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Self {
        let is_new = |name: &str| matches!(to_original(name), Cow::Owned(_));
        if names.any(is_new) { Self::New } else { Self::Original }
    }

    /// A name of this program, spelt so.
    pub fn spell(self, name: &str) -> Cow<'_, str> {
        match (self, name.strip_prefix("model.")) {
            (Self::New, Some(rest)) => Cow::Owned(format!("model.language_model.{rest}")),
            (Self::New, None) if name.starts_with("visual.") => Cow::Owned(format!("model.{name}")),
            _ => Cow::Borrowed(name),
        }
    }
}

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
            assert_eq!(Spelling::New.spell(original), new);
            assert_eq!(Spelling::Original.spell(original), original);
        }
    }

    #[test]
    fn one_new_name_makes_a_checkpoint_one_of_new_names() {
        let spelling = |names: &[&str]| Spelling::of(names.iter().copied());
        let of_both = ["lm_head.weight", "visual.merger.mlp.0.bias"];
        assert_eq!(spelling(&of_both), Spelling::Original);
        assert_eq!(spelling(&[of_both[0], "model.visual.merger.mlp.0.bias"]), Spelling::New);
    }
}
