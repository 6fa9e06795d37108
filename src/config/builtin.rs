//! The run files that are compiled into the binary, so that an installed program has them in
//! every folder. Not here: which of several files of one name wins (`file`).

/// Names and texts, in the order in which they are listed.
const BUILTIN: [(&str, &str); 14] = [
    ("quickstart.toml", include_str!("../../configs/quickstart.toml")),
    ("grpo-d-synth-vc.toml", include_str!("../../configs/grpo-d-synth-vc.toml")),
    ("grpo-synth-vc.toml", include_str!("../../configs/grpo-synth-vc.toml")),
    ("sft-synth-vc.toml", include_str!("../../configs/sft-synth-vc.toml")),
    ("grpo-d-synth-gr.toml", include_str!("../../configs/grpo-d-synth-gr.toml")),
    ("grpo-synth-gr.toml", include_str!("../../configs/grpo-synth-gr.toml")),
    ("sft-synth-gr.toml", include_str!("../../configs/sft-synth-gr.toml")),
    ("geoqa.toml", include_str!("../../configs/geoqa.toml")),
    ("grpo-d-geoqa.toml", include_str!("../../configs/grpo-d-geoqa.toml")),
    ("sft-geoqa.toml", include_str!("../../configs/sft-geoqa.toml")),
    ("clevr.toml", include_str!("../../configs/clevr.toml")),
    ("grpo-d-clevr.toml", include_str!("../../configs/grpo-d-clevr.toml")),
    ("sft-clevr.toml", include_str!("../../configs/sft-clevr.toml")),
    ("cold-start.toml", include_str!("../../configs/cold-start.toml")),
];

/// Names of the built-in run files.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The text of a built-in run file.
pub(super) fn builtin_text(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, RunConfig};

    #[test]
    fn every_built_in_file_loads_as_it_is() {
        for (name, text) in BUILTIN {
            let file = ConfigFile::from_text(name, text);
            let loaded = RunConfig::from_file(&file, &[]);
            assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        }
    }

    #[test]
    fn every_file_in_configs_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(builtin_text(&name).is_some(), "{name} is not compiled in");
        }
    }
}
