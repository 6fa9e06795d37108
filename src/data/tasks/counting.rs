//! `vc`, visual counting: CLEVR for training, Super-CLEVR for testing, as in R1-V and the paper.
//! Not here: the drawn twin (`drawn`).

use crate::config::PAPERS_MODEL;
use crate::hub::RepositoryKind;
use crate::reward::Rule;

use super::{Protocol, Published, Source, Task};

pub(super) fn task() -> Task {
    Task {
        name: "vc",
        version: 1,
        base_model: PAPERS_MODEL,
        training_template: "r1v",
        reward_rule: Rule::R1vReward,
        evaluation: Protocol {
            template: "r1v-superclevr",
            rule: Rule::R1vSuperclevr,
            max_new_tokens: 256, // R1-V: test_qwen2vl_counting_superclevr.py
            min_pixels: None,
            max_pixels: None,
        },
        source: Source::Published(Published {
            drawn_twin: "synth-vc",
            train_set: "leonardPKU/clevr_cogen_a_train",
            n_train_rows: 70_000,
            test_list: (
                "superclevr_test200_counting_problems.jsonl",
                include_str!("../../../assets/r1v/superclevr_test200_counting_problems.jsonl"),
            ),
            // The paper's link; a model repository by its address.
            test_pictures: (RepositoryKind::Model, "leonardPKU/superclevr"),
        }),
    }
}
