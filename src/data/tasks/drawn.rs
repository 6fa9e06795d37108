//! `synth-vc` and `synth-gr`: twins of the published tasks whose rows are drawn, for the tiny model.
//! Not here: what is drawn (`synth_vc`, `synth_gr`).

use super::{Protocol, Source, Task};
use crate::data::DrawnTask;
use crate::reward::Rule;

pub(super) fn task(drawn: DrawnTask) -> Task {
    Task {
        name: drawn.name(),
        version: 1,
        base_model: "tiny",
        training_template: "short",
        reward_rule: Rule::AnswerTag,
        evaluation: Protocol {
            template: "short",
            rule: Rule::AnswerTag,
            max_new_tokens: 64,
            min_pixels: None,
            max_pixels: None,
        },
        source: Source::Drawn(drawn),
    }
}
