//! `synth-vc` and `synth-gr`: twins of the published tasks whose rows are drawn, for the tiny model.
//! Not here: what is drawn (`synth_vc`, `synth_gr`).

use super::{Protocol, RunFiles, Source, Task};
use crate::data::DrawnTask;
use crate::reward::{GoldKind, Rule};

pub(super) static SYNTH_VC: Task = task(
    DrawnTask::VisualCounting,
    2,
    RunFiles {
        sft: "sft-synth-vc.toml",
        grpo: "grpo-synth-vc.toml",
        grpo_d: "grpo-d-synth-vc.toml",
    },
);

pub(super) static SYNTH_GR: Task = task(
    DrawnTask::GeometryReasoning,
    1,
    RunFiles {
        sft: "sft-synth-gr.toml",
        grpo: "grpo-synth-gr.toml",
        grpo_d: "grpo-d-synth-gr.toml",
    },
);

const fn task(drawn: DrawnTask, version: u32, run_files: RunFiles) -> Task {
    Task {
        name: drawn.name(),
        aliases: &[],
        version,
        base_model: "tiny",
        run_files,
        training_template: "short",
        gold: GoldKind::Answer,
        reward_rule: Rule::AnswerTag,
        evaluation: Protocol {
            template: "short",
            rule: Rule::AnswerTag,
            components: &[],
            max_new_tokens: 64,
            min_pixels: None,
            max_pixels: None,
        },
        source: Source::Drawn(drawn),
    }
}
