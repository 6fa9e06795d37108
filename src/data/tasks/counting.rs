//! `vc`, visual counting: CLEVR for training, Super-CLEVR for testing, as in R1-V and the paper.
//! Not here: the drawn twin (`drawn`).

use crate::config::PAPERS_MODEL;
use crate::hub::RepositoryKind;
use crate::reward::{GoldKind, Rule};

use super::{Protocol, Published, RunFiles, Source, Task};

pub(super) static COUNTING: Task = Task {
    name: "vc",
    aliases: &["superclevr"],
    version: 1,
    base_model: PAPERS_MODEL,
    run_files: RunFiles { sft: "sft-clevr.toml", grpo: "clevr.toml", grpo_d: "grpo-d-clevr.toml" },
    training_template: "r1v",
    gold: GoldKind::Answer,
    reward_rule: Rule::R1vReward,
    evaluation: Protocol {
        template: "r1v-superclevr",
        rule: Rule::R1vSuperclevr,
        components: &[],
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
};
