//! `gr`, geometry reasoning: GeoQA for training and testing, as in R1-V and the paper.
//! Not here: the drawn twin (`drawn`).

use crate::config::PAPERS_MODEL;
use crate::hub::RepositoryKind;
use crate::reward::Rule;

use super::{Protocol, Published, Source, Task};

pub(super) fn task() -> Task {
    Task {
        name: "gr",
        version: 1,
        base_model: PAPERS_MODEL,
        training_template: "r1v",
        reward_rule: Rule::R1vReward,
        evaluation: Protocol {
            template: "r1v-geoqa",
            rule: Rule::R1vGeoqa,
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
    }
}
