//! `gr`, geometry reasoning: GeoQA for training and testing, as in R1-V and the paper.
//! Not here: the drawn twin (`drawn`).

use crate::config::PAPERS_MODEL;
use crate::hub::RepositoryKind;
use crate::reward::{GoldKind, Rule};

use super::{Protocol, Published, RunFiles, Source, Task};

pub(super) static GEOMETRY: Task = Task {
    name: "gr",
    aliases: &["geoqa"],
    version: 1,
    base_model: PAPERS_MODEL,
    run_files: RunFiles { sft: "sft-geoqa.toml", grpo: "geoqa.toml", grpo_d: "grpo-d-geoqa.toml" },
    training_template: "r1v",
    gold: GoldKind::Answer,
    reward_rule: Rule::R1vReward,
    evaluation: Protocol {
        template: "r1v-geoqa",
        rule: Rule::R1vGeoqa,
        components: &[],
        max_new_tokens: 1024, // R1-V: test_qwen2vl_geoqa.py
        min_pixels: None,
        max_pixels: None,
    },
    source: Source::Published(Published {
        drawn_twin: "synth-gr",
        train_set: "leonardPKU/GEOQA_R1V_Train_8K",
        n_train_rows: 8_000,
        test_list: (
            "geoqa_test_prompts.jsonl",
            include_str!("../../../assets/r1v/geoqa_test_prompts.jsonl"),
        ),
        test_pictures: (RepositoryKind::Dataset, "Luckyjhg/Geo170K"),
    }),
};
