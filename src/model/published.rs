//! The configurations of the models that the hub publishes, by name: what is known of them without their files.
//! Not here: finding files (`source`); what a configuration means (`config`).
//!
//! Of each `assets/published` has those fields of `config.json` that [`super::config`] reads, from public copies where one could be
//! read; those of Qwen3-VL-2B and 8B have not been compared with the hub's files. A test holds the number of parameters that the
//! sizes give.

use super::files::{BuiltinFile, ModelFiles};

/// One model's configuration, as its only file.
macro_rules! configuration {
    ($name:literal) => {
        (
            $name,
            &[BuiltinFile {
                name: "config.json",
                bytes: include_bytes!(concat!("../../assets/published/", $name, ".json")),
            }],
        )
    };
}

/// Every one, by its name without the owner and without what says how it was trained last.
static PUBLISHED: [(&str, &[BuiltinFile]); 7] = [
    configuration!("Qwen2-VL-2B"),
    configuration!("Qwen2-VL-7B"),
    configuration!("Qwen2.5-VL-3B"),
    configuration!("Qwen2.5-VL-7B"),
    configuration!("Qwen3-VL-2B"),
    configuration!("Qwen3-VL-4B"),
    configuration!("Qwen3-VL-8B"),
];

/// The configuration of the model with this hub id, without any other file.
pub fn configuration(id: &str) -> Option<ModelFiles> {
    let name = id.strip_prefix("Qwen/")?;
    let name = name.strip_suffix("-Instruct").or(name.strip_suffix("-Thinking")).unwrap_or(name);
    let (_, files) = PUBLISHED.iter().find(|(published, _)| *published == name)?;
    Some(ModelFiles::Builtin(files))
}

#[cfg(test)]
mod tests {
    use super::super::config::ModelConfig;
    use super::*;

    /// As they are known; not read from the hub.
    const PARAMETERS: [(&str, usize); 7] = [
        ("Qwen/Qwen2-VL-2B-Instruct", 2_208_985_600),
        ("Qwen/Qwen2-VL-7B-Instruct", 8_291_375_616),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
        ("Qwen/Qwen3-VL-2B-Instruct", 2_127_532_032),
        ("Qwen/Qwen3-VL-4B-Instruct", 4_437_815_808),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
    ];

    #[test]
    fn every_published_configuration_gives_the_known_number_of_parameters() {
        for (id, published) in PARAMETERS {
            let config = ModelConfig::load(&configuration(id).unwrap()).unwrap();
            let shapes = config.parameter_shapes();
            let count: usize = shapes.iter().map(|s| s.dims.iter().product::<usize>()).sum();
            assert_eq!(count, published, "{id}");
        }
    }

    #[test]
    fn a_model_of_the_same_sizes_is_known_and_one_of_another_name_is_not() {
        for known in ["Qwen/Qwen2-VL-2B", "Qwen/Qwen3-VL-2B-Thinking"] {
            assert!(configuration(known).is_some(), "{known}");
        }
        for other in ["Qwen/Qwen2-VL-2B-Instruct-AWQ", "me/Qwen2-VL-2B", "Qwen2-VL-2B", "tiny"] {
            assert!(configuration(other).is_none(), "{other}");
        }
    }
}
