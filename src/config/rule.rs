//! A grading rule as a run file spells it: by its name.
//! Not here: the rules (`reward::grading`).

use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reward::Rule;
use crate::reward::grading::rule::RULES;

static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| RULES.into_iter().map(Rule::name).collect());

/// The rules' names.
pub(super) fn names() -> &'static [&'static str] {
    &NAMES
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over the field as it is"
)]
pub(super) fn serialize<S: Serializer>(
    rule: &Option<Rule>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    rule.map(Rule::name).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Rule>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(|_| D::Error::unknown_variant(&name, &NAMES))
}
