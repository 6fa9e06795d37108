//! The components of a reward: the list of them, and how one is found by its name.
//! Not here: a component's name, formula and gold (the file of its name), their weighted sum (`total`).

use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::accuracy::ACCURACY;
use super::box_iou::BOX_IOU;
use super::choice::CHOICE;
use super::component::Component;
use super::format::FORMAT;
use super::length_penalty::LENGTH_PENALTY;
use super::relative_error::RELATIVE_ERROR;
use super::repetition_penalty::REPETITION_PENALTY;
use super::set_match::SET_MATCH;

/// All components, in the order in which they are listed and summed.
pub static COMPONENTS: [&Component; 8] = [
    &ACCURACY,
    &FORMAT,
    &CHOICE,
    &RELATIVE_ERROR,
    &SET_MATCH,
    &BOX_IOU,
    &LENGTH_PENALTY,
    &REPETITION_PENALTY,
];

/// A component of this name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found the reward component {name:?}, expected one of {}\nhint: docs/rewards.md describes each",
    NAMES.join(", ")
)]
pub struct UnknownComponent {
    /// The name that was asked for.
    pub name: String,
}

static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| COMPONENTS.iter().map(|component| component.name).collect());

/// The component of this name.
///
/// # Errors
/// No component has this name; the error lists all names.
pub fn component(name: &str) -> Result<&'static Component, UnknownComponent> {
    let known = COMPONENTS.into_iter().find(|component| component.name == name);
    known.ok_or_else(|| UnknownComponent { name: name.to_owned() })
}

/// A component is written as its name.
impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        component(&name).map_err(|_| D::Error::unknown_variant(&name, &NAMES))
    }
}

#[cfg(test)]
mod tests {
    use super::super::EXTERNAL;
    use super::*;

    #[test]
    fn document_has_the_row_and_the_paragraph_of_every_component() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rewards.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |component: &&Component| {
            let Component { name, formula, range, source, .. } = component;
            format!("| `{name}` | {formula} | {range} | {source} |")
        };
        let declared: Vec<String> = COMPONENTS.iter().map(row).collect();
        let (command, components) = rows.split_last().unwrap();
        assert_eq!(components, declared);
        assert!(command.starts_with(&format!("| `{EXTERNAL}` |")));
        for component in &COMPONENTS[2..] {
            let beginning = format!("\n- `{component}` ");
            assert!(
                document.contains(&beginning),
                "docs/rewards.md has no paragraph of {component}"
            );
        }
    }

    #[test]
    fn every_component_is_found_by_its_name() {
        for known in COMPONENTS {
            // Two of one name would be equal, but not the same.
            assert!(std::ptr::eq(component(known.name).unwrap(), known));
        }
        assert_eq!(
            component("iou").unwrap_err().to_string(),
            "found the reward component \"iou\", expected one of accuracy, format, choice, \
             relative_error, set_match, box_iou, length_penalty, repetition_penalty\n\
             hint: docs/rewards.md describes each"
        );
    }
}
