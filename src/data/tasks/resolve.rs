//! The run file with its task's settings written out.
//! Not here: the run file itself (`config`).

use super::task;
use crate::config::RunConfig;
use crate::data::DataError;
use crate::data::template::DEFAULT_TEMPLATE;
use crate::reward::Rule;

/// The run file with its task's settings written out: templates, rules and limits that the file leaves to the task. The
/// result decides the run without looking at the task again.
///
/// # Errors
/// There is no such task.
pub fn resolved(config: &RunConfig) -> Result<RunConfig, DataError> {
    let mut config = config.clone();
    let trained = config.data.task.as_deref().map(task).transpose()?;
    let template = trained.as_ref().map_or(DEFAULT_TEMPLATE, |task| task.training_template);
    config.data.template.get_or_insert_with(|| template.to_owned());
    let rule = trained.as_ref().map_or(Rule::default(), |task| task.reward_rule);
    config.reward.rule.get_or_insert(rule);
    let measured = config.eval.task.as_deref().or(config.data.task.as_deref());
    if let Some(measured) = measured.map(task).transpose()? {
        let protocol = measured.evaluation;
        let eval = &mut config.eval;
        eval.task = Some(measured.name.to_owned());
        eval.template.get_or_insert_with(|| protocol.template.to_owned());
        eval.rule.get_or_insert(protocol.rule);
        if eval.components.is_empty() {
            eval.components = protocol.components.to_vec();
        }
        eval.max_new_tokens.get_or_insert(protocol.max_new_tokens);
        eval.min_pixels = eval.min_pixels.or(protocol.min_pixels);
        eval.max_pixels = eval.max_pixels.or(protocol.max_pixels);
    }
    if let Some(trained) = trained {
        config.data.task = Some(trained.name.to_owned());
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_run_file_leaves_open_is_the_tasks_and_what_it_says_stays() {
        let mut config = RunConfig::default();
        config.data.task = Some("geoqa".to_owned());
        config.eval.task = Some("superclevr".to_owned());
        config.eval.max_new_tokens = Some(99);
        let resolved = resolved(&config).unwrap();
        assert_eq!(resolved.data.task.as_deref(), Some("gr"));
        assert_eq!(resolved.data.template.as_deref(), Some("r1v"));
        assert_eq!(resolved.reward.rule, Some(Rule::R1vReward));
        assert_eq!(resolved.eval.task.as_deref(), Some("vc"));
        assert_eq!(resolved.eval.template.as_deref(), Some("r1v-superclevr"));
        assert_eq!(resolved.eval.rule, Some(Rule::R1vSuperclevr));
        assert_eq!(resolved.eval.max_new_tokens, Some(99));
        assert_eq!(super::resolved(&resolved).unwrap(), resolved);
        config.data.task = Some("cats".to_owned());
        assert!(super::resolved(&config).is_err());
    }
}
