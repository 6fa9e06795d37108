//! The questions that a run file measures a model on.
//! Not here: asking them (`eval`), when a run does so (`train`).

use std::path::PathBuf;
use std::sync::Arc;

use super::{EvalError, EvalSettings};
use crate::config::RunConfig;
use crate::data::configured::{held_out_rows, markers, open_options, task_options};
use crate::data::tasks::{TaskOptions, task};
use crate::data::template::DEFAULT_TEMPLATE;
use crate::data::{Questions, Split, Template, open_anywhere};
use crate::hub::Hub;
use crate::model::files::ModelFiles;
use crate::printable::count;
use crate::processor::{Markers, Processor};
use crate::reward::accuracy::ACCURACY;
use crate::reward::{GoldKind, RewardSettings, Rule, check_solutions};
use crate::rollout::sampler::Sampler;

/// What a run measures itself on.
pub struct EvaluationQuestions {
    /// The task's name, or the file's; where the run trains on other rows than the task's, that says so.
    pub label: String,
    /// The task's version; none for a file.
    pub task_version: Option<u32>,
    /// The task's split.
    pub split: Split,
    /// The questions.
    pub questions: Questions,
    /// How answers are decoded and judged.
    pub settings: EvalSettings,
    /// What every solution must be readable for.
    pub golds: RewardSettings,
    /// The least and the most pixels of a picture; without them, the checkpoint's.
    pub pixel_limits: (Option<usize>, Option<usize>),
    /// What markers in the questions are.
    pub markers: Markers,
}

/// Opens the questions that a run measures itself on.
///
/// - `config`: with its task's settings in it, see [`crate::data::tasks::resolved`]
///
/// # Errors
/// The task or the file is not there or not what it should be.
pub fn evaluation_questions(config: &RunConfig) -> Result<EvaluationQuestions, EvalError> {
    let eval = &config.eval;
    let split: Split = eval.split.parse()?;
    let own = eval.data.clone().map(PathBuf::from);
    let task = eval.task.as_deref().map(task).transpose()?;
    let (label, dataset) = if let Some(rows) = held_out_rows(config)? {
        (rows.name().to_owned(), rows)
    } else if let Some(task) = task {
        // `data.train` must not replace the task's held-out rows.
        let trains_on_others = config.data.train.is_some() && own.is_none();
        let options = TaskOptions { data: own, ..task_options(config) };
        let (name, split_name) = (task.name, split.name());
        let label = if trains_on_others {
            format!("{name}'s own {split_name} rows")
        } else {
            name.to_owned()
        };
        (label, task.open(split, &options)?)
    } else {
        let path = own.unwrap_or_default();
        let rows = open_anywhere(&path, Some(split.name()), &open_options(config), Hub::from_env)?;
        (path.display().to_string(), rows)
    };
    let template = Template::new(eval.template.as_deref().unwrap_or(DEFAULT_TEMPLATE))?;
    let settings = EvalSettings {
        max_new_tokens: eval.max_new_tokens.unwrap_or(config.rollout.max_new_tokens),
        max_batch: eval.max_batch,
        rule: eval.rule.unwrap_or_default(),
        components: eval.components.clone(),
        limit: eval.limit,
        samples: 1,
        sampler: Sampler::greedy(),
        seed: config.train.seed,
    };
    let wanted = wanted(task.map_or(GoldKind::Answer, |task| task.gold), &settings);
    check_solutions(dataset.listed_solutions(), &wanted, config.data.allow_unparsable)?;
    let questions = Questions { dataset: Arc::new(dataset), template, boxes: config.data.boxes };
    let pixel_limits = (eval.min_pixels, eval.max_pixels);
    let task_version = task.map(|task| task.version);
    let markers = markers(config);
    Ok(EvaluationQuestions {
        label,
        task_version,
        split,
        questions,
        settings,
        golds: wanted,
        pixel_limits,
        markers,
    })
}

/// The rules and components that every solution must be readable for. `answer-tag` is one of them whatever the task's own
/// rule is, since R1-V's rules cannot read some right answers; solutions that are not answers need not be readable by it.
fn wanted(gold: GoldKind, settings: &EvalSettings) -> RewardSettings {
    let mut wanted = RewardSettings { rule: Rule::AnswerTag, ..settings.measure() };
    if gold != GoldKind::Answer {
        wanted.weights.push((&ACCURACY, 0.0));
    }
    wanted
}

impl EvaluationQuestions {
    /// What is measured on, in a phrase: `synth-vc, 100 of 500 questions`.
    pub fn phrase(&self) -> String {
        let (n, all) =
            (self.settings.n_questions(&self.questions.dataset), self.questions.dataset.len());
        let of_all = if n < all { format!("{n} of ") } else { String::new() };
        format!("{}, {of_all}{}", self.label, count(all, "question"))
    }

    /// A model's processor with the pixel limits of these questions and their meaning of markers.
    ///
    /// # Errors
    /// The files are not those of a processor, or the limits contradict each other.
    pub fn processor(&self, files: &ModelFiles) -> Result<Arc<Processor>, EvalError> {
        let (min, max) = self.pixel_limits;
        let processor = Processor::load(files)?.with_pixel_limits(min, max)?;
        Ok(Arc::new(processor.with_markers(self.markers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tasks::resolved;
    use crate::reward::Golds;
    use crate::reward::box_iou::BOX_IOU;

    #[test]
    fn a_run_on_rows_of_its_own_says_what_it_is_measured_on() {
        let phrase = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
            let config = RunConfig::load("quickstart.toml", &changes).unwrap();
            evaluation_questions(&resolved(&config).unwrap()).unwrap().phrase()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.jsonl");
        let rows: Vec<String> =
            (0..20).map(|n| format!("{{\"problem\":\"{n}?\",\"solution\":{n}}}")).collect();
        std::fs::write(&path, rows.join("\n")).unwrap();
        let train = format!("data.train={}", path.display());
        let data = format!("eval.data={}", path.display());
        assert_eq!(phrase(&["eval.limit=7"]), "synth-vc, 7 of 500 questions");
        assert_eq!(phrase(&["eval.limit=1"]), "synth-vc, 1 of 500 questions");
        assert_eq!(phrase(&[&train]), "synth-vc's own test rows, 500 questions");
        assert_eq!(phrase(&[&train, "data.hold_out=0.1"]), "my.jsonl, rows held out, 2 questions");
        assert_eq!(phrase(&[&train, &data, "data.hold_out=0.1"]), "synth-vc, 20 questions");
    }

    #[test]
    fn rows_of_boxes_must_be_boxes_and_nothing_that_answer_tag_reads() {
        let mut config = RunConfig::default();
        config.eval.task = Some("synth-vc".to_owned());
        let mut settings = evaluation_questions(&config).unwrap().settings;
        let usable = |gold, settings: &EvalSettings, solution| {
            Golds::parse(&wanted(gold, settings), solution).is_ok()
        };
        assert!(usable(GoldKind::Answer, &settings, "cat"));
        assert!(!usable(GoldKind::Answer, &settings, "\\frac{1}{"));
        settings.components = vec![&BOX_IOU];
        let labelled = "{\"bbox\": [1, 2, 3, 4], \"label\": \"\\frac{1}{\"}";
        assert!(usable(GoldKind::Boxes, &settings, labelled));
        assert!(!usable(GoldKind::Answer, &settings, labelled));
        assert!(!usable(GoldKind::Boxes, &settings, "cat"));
    }
}
