//! Tasks: what belongs together in one place and under one name: data, templates, reward rule, and how answers
//! are asked for and judged.
//!
//! | task | also | training rows | test rows | shifted rows |
//! |---|---|---|---|---|
//! | `synth-vc` | | 20,000 drawn | 500 drawn | 500 drawn |
//! | `synth-gr` | | 20,000 drawn | 500 drawn | 500 drawn |
//! | `vc` | `superclevr` | the data given | R1-V's 200 questions | |
//! | `gr` | `geoqa` | the data given | R1-V's 754 questions | |
//!
//! The paper names neither its templates nor its limits. They are R1-V's here, whose settings it says it follows: one
//! prompt for training and another for each evaluation, greedy decoding, 256 new tokens for counting and 1024 for
//! geometry, pictures as large as the checkpoint allows. `--template`, `--max-new-tokens` and `--max-pixels` choose
//! otherwise. A change to any of it raises the task's version.
//!
//! One task a file: [`counting`], [`geometry`], [`drawn`]. Not here: what a row holds (`listed`, `synth_vc`, `synth_gr`).

mod counting;
mod drawn;
mod geometry;

use super::{DataError, Dataset, DrawnRows, DrawnTask, Split, open_json_lines};
use std::path::{Path, PathBuf};

/// What a name of a task stands for.
#[derive(Clone, Debug)]
pub struct Task {
    /// The task's name; aliases resolve to it.
    pub name: &'static str,
    /// Raised whenever a figure that is measured under this name could change.
    pub version: u32,
    /// The model that is post-trained on it: a hub id, or `tiny`.
    pub base_model: &'static str,
    /// The name of the template for training.
    pub training_template: &'static str,
    /// The name of the rule behind the accuracy reward.
    pub reward_rule: &'static str,
    /// How answers are asked for and judged.
    pub evaluation: Protocol,
    source: Source,
}

/// How a task's answers are asked for and judged; decoding is greedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name of the template. R1-V's differ from its training prompt.
    pub template: &'static str,
    /// The name of the rule that decides whether an answer is right: R1-V's, so that figures compare with those
    /// published.
    pub rule: &'static str,
    /// The longest completion.
    pub max_new_tokens: usize,
    /// Pictures with fewer pixels are enlarged; without it, the checkpoint says.
    pub min_pixels: Option<usize>,
    /// Pictures with more pixels are shrunk; without it, the checkpoint says.
    pub max_pixels: Option<usize>,
}

/// Where a task's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Drawn(DrawnTask),
    Published(Published),
}

/// Rows that others have published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Published {
    /// The drawn task like it, which needs no data.
    drawn_twin: &'static str,
    /// R1-V's list of test questions: the file's name.
    test_list: &'static str,
}

/// What the user says about a task's data.
#[derive(Clone, Debug)]
pub struct TaskOptions {
    /// A JSON-lines file, or a folder with `train.jsonl` and `test.jsonl` (or R1-V's list of test
    /// questions, or a single .jsonl file). Given data takes the place of drawn rows.
    pub data: Option<PathBuf>,
    /// Where relative picture paths start; the data file's folder without one.
    pub image_root: Option<PathBuf>,
    /// The seed of drawn rows. It is not the run's seed: runs that are compared share their rows.
    pub drawing_seed: u64,
    /// The size of drawn pictures, pixels a side.
    pub image_size: u32,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self { data: None, image_root: None, drawing_seed: 0, image_size: 112 }
    }
}

/// The model whose post-training the paper reports.
const PAPERS_MODEL: &str = "Qwen/Qwen2-VL-2B-Instruct";

/// Names and aliases, in the order in which they are listed.
const TASKS: [(&str, &[&str]); 4] =
    [("synth-vc", &[]), ("synth-gr", &[]), ("vc", &["superclevr"]), ("gr", &["geoqa"])];

/// The task of this name or alias.
///
/// # Errors
/// There is none; the error lists those there are.
pub fn task(name: &str) -> Result<Task, DataError> {
    let known = TASKS.iter().find(|(task, aliases)| *task == name || aliases.contains(&name));
    match known.map(|(task, _)| *task) {
        Some("synth-vc") => Ok(drawn::task(DrawnTask::VisualCounting)),
        Some("synth-gr") => Ok(drawn::task(DrawnTask::GeometryReasoning)),
        Some("vc") => Ok(counting::task()),
        Some("gr") => Ok(geometry::task()),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> DataError {
    let known: Vec<&str> = TASKS
        .iter()
        .flat_map(|(task, aliases)| std::iter::once(task).chain(*aliases))
        .copied()
        .collect();
    let folded = name.to_lowercase().replace('_', "-");
    let near = known.iter().find(|task| **task == folded || folded.ends_with(*task));
    let hint = near.map_or_else(
        || "for data of your own, name the nearest task and pass the file with --data".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    DataError::UnknownTask { found: name.to_owned(), known: known.join(", "), hint }
}

impl Task {
    /// The rows of a split.
    ///
    /// # Errors
    /// The task needs data and none was given, has no such split, or the data cannot be used.
    pub fn open(&self, split: Split, options: &TaskOptions) -> Result<Dataset, DataError> {
        let image_root = options.image_root.as_deref();
        match (&options.data, self.source) {
            (Some(data), _) if data.is_dir() => {
                open_json_lines(&self.file_in(data, split)?, image_root)
            }
            (Some(file), _) => open_json_lines(file, image_root),
            (None, Source::Drawn(task)) => {
                let rows = DrawnRows::new(task, split, options.drawing_seed, options.image_size)?;
                Ok(Dataset::Drawn(rows))
            }
            (None, Source::Published(_)) if split == Split::Shifted => {
                Err(DataError::NoSuchSplit { task: self.name, split: split.name() })
            }
            (None, Source::Published(Published { drawn_twin, .. })) => {
                Err(DataError::NeedsData { task: self.name, drawn: drawn_twin })
            }
        }
    }

    /// The file of a folder that holds a split.
    fn file_in(&self, folder: &Path, split: Split) -> Result<PathBuf, DataError> {
        let own = folder.join(format!("{}.jsonl", split.name()));
        if own.is_file() {
            return Ok(own);
        }
        if let (Source::Published(Published { test_list, .. }), Split::Test) = (self.source, split)
        {
            let listed = folder.join(test_list);
            if listed.is_file() {
                return Ok(listed);
            }
        }
        let files = json_lines_files(folder)?;
        match files.as_slice() {
            [only] => Ok(only.clone()),
            several => {
                let names: Vec<_> =
                    several.iter().filter_map(|path| path.file_name()?.to_str()).collect();
                Err(DataError::NoDataFile {
                    path: folder.to_owned(),
                    split: split.name(),
                    found: if names.is_empty() {
                        "no .jsonl file".to_owned()
                    } else {
                        names.join(", ")
                    },
                })
            }
        }
    }
}

/// The .jsonl files of a folder, in the order of their names.
fn json_lines_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |source| DataError::Unreadable { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::template::Template;

    const ROW: &str = "{\"problem\":\"?\",\"solution\":1}";

    fn with_data(data: &Path) -> TaskOptions {
        TaskOptions { data: Some(data.to_owned()), ..TaskOptions::default() }
    }

    #[test]
    fn drawn_tasks_have_three_splits_and_need_no_data() {
        for name in ["synth-vc", "synth-gr"] {
            let task = task(name).unwrap();
            for split in [Split::Train, Split::Test, Split::Shifted] {
                let dataset = task.open(split, &TaskOptions::default()).unwrap();
                assert_eq!(dataset.name(), format!("{name}/{}", split.name()));
            }
        }
    }

    #[test]
    fn templates_of_every_task_exist() {
        for (name, _) in TASKS {
            let task = task(name).unwrap();
            for template in [task.training_template, task.evaluation.template] {
                assert!(Template::new(template).is_ok(), "{name}: {template}");
            }
        }
    }

    #[test]
    fn an_alias_is_its_task() {
        assert_eq!(task("superclevr").unwrap().name, "vc");
        assert_eq!(task("geoqa").unwrap().name, "gr");
        let gr = task("gr").unwrap();
        assert_ne!(gr.training_template, gr.evaluation.template);
    }

    #[test]
    fn an_unknown_task_names_those_there_are() {
        let message = task("Synth_VC").unwrap_err().to_string();
        assert!(message.contains("did you mean `synth-vc`?"), "{message}");
        let message = task("cats").unwrap_err().to_string();
        assert!(message.contains("synth-vc, synth-gr, vc, superclevr, gr, geoqa"), "{message}");
        assert!(message.contains("\nhint: for data of your own"), "{message}");
    }

    #[test]
    fn a_task_without_rows_of_its_own_asks_for_data() {
        let task = task("vc").unwrap();
        let error = task.open(Split::Test, &TaskOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::NeedsData { task: "vc", drawn: "synth-vc" }));
        let error = task.open(Split::Shifted, &TaskOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::NoSuchSplit { split: "shifted", .. }));
    }

    #[test]
    fn a_folder_is_searched_for_the_split_then_for_the_known_list_then_for_an_only_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), ROW).unwrap();
        let name = |split: Split| {
            let dataset = task("geoqa").unwrap().open(split, &with_data(folder.path()))?;
            Ok::<_, DataError>(dataset.name().to_owned())
        };
        assert!(name(Split::Test).unwrap_err().to_string().contains("no .jsonl file"));
        write("mine.jsonl");
        assert_eq!(name(Split::Test).unwrap(), "mine.jsonl");
        write("geoqa_test_prompts.jsonl");
        assert_eq!(name(Split::Test).unwrap(), "geoqa_test_prompts.jsonl");
        let error = name(Split::Train).unwrap_err();
        assert!(error.to_string().contains("geoqa_test_prompts.jsonl, mine.jsonl"), "{error}");
        write("train.jsonl");
        write("test.jsonl");
        assert_eq!(name(Split::Train).unwrap(), "train.jsonl");
        assert_eq!(name(Split::Test).unwrap(), "test.jsonl");
    }

    #[test]
    fn given_data_takes_the_place_of_drawn_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jsonl");
        std::fs::write(&path, ROW).unwrap();
        let dataset = task("synth-vc").unwrap().open(Split::Train, &with_data(&path)).unwrap();
        assert_eq!((dataset.name(), dataset.len()), ("mine.jsonl", 1));
    }
}
