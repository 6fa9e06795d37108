//! Tasks: everything about a task under one name: data and the kind of its solutions, run files, templates, reward rule,
//! how answers are asked for, and what is measured.
//!
//! | task | also | training rows | test rows | shifted rows |
//! |---|---|---|---|---|
//! | `synth-vc` | | 20,000 drawn | 500 drawn | 500 drawn |
//! | `synth-gr` | | 20,000 drawn | 500 drawn | 500 drawn |
//! | `vc` | `superclevr` | `leonardPKU/clevr_cogen_a_train` | R1-V's 200 questions on Super-CLEVR | |
//! | `gr` | `geoqa` | `leonardPKU/GEOQA_R1V_Train_8K` | R1-V's 754 questions on `Geo170K`'s test pictures | |
//!
//! Published rows and pictures come from the hub unless they are given; R1-V's lists of questions are compiled in.
//!
//! The paper names neither its templates nor its limits. They are R1-V's here, whose settings it says it follows: one
//! prompt for training and another for each evaluation, greedy decoding, 256 new tokens for counting and 1024 for
//! geometry, pictures as large as the checkpoint allows. `--template`, `--max-new-tokens` and `--max-pixels` choose
//! otherwise. A change to any of it raises the task's version.
//!
//! One task a file: `counting`, `geometry`, `drawn`; [`resolved`] writes a task's settings into a run file.
//! Not here: what a row holds (`listed`, `synth_vc`, `synth_gr`).

mod counting;
mod drawn;
mod geometry;
mod resolve;

pub use resolve::resolved;

use super::source::{NO_ROWS, open_text};
use super::{DataError, Dataset, DrawnRows, DrawnTask, OpenOptions, Split, open, open_anywhere};
use crate::config::Method;
use crate::hub::{Hub, Repository, RepositoryKind};
use crate::reward::{Component, GoldKind, Rule};
use std::path::{Path, PathBuf};

/// A task: all that its name stands for.
#[derive(Debug)]
pub struct Task {
    /// The task's name.
    pub name: &'static str,
    /// Other names that stand for it.
    pub aliases: &'static [&'static str],
    /// Raised whenever a figure that is measured under this name could change.
    pub version: u32,
    /// The model that is post-trained on it: a hub id, or `tiny`.
    pub base_model: &'static str,
    /// The built-in run files that train on it.
    pub run_files: RunFiles,
    /// The name of the template for training.
    pub training_template: &'static str,
    /// What the solutions of its rows are.
    pub gold: GoldKind,
    /// The rule behind the accuracy reward.
    pub reward_rule: Rule,
    /// How answers are asked for and judged.
    pub evaluation: Protocol,
    source: Source,
}

/// The names of a task's built-in run files, one a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFiles {
    /// Supervised fine-tuning.
    pub sft: &'static str,
    /// GRPO.
    pub grpo: &'static str,
    /// GRPO-D.
    pub grpo_d: &'static str,
}

impl RunFiles {
    /// The run file of a method.
    pub fn of(self, method: Method) -> &'static str {
        match method {
            Method::Sft => self.sft,
            Method::Grpo => self.grpo,
            Method::GrpoD => self.grpo_d,
        }
    }
}

/// How a task's answers are asked for and judged; decoding is greedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The name of the template. R1-V's differ from its training prompt.
    pub template: &'static str,
    /// The rule that decides whether an answer is right: R1-V's, so that figures compare with those
    /// published.
    pub rule: Rule,
    /// Components of the reward registry whose means are reported beside accuracy.
    pub components: &'static [&'static Component],
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
    /// The hub's data set of training rows.
    train_set: &'static str,
    /// How many it has, about: for plans that are made before it is fetched.
    n_train_rows: usize,
    /// R1-V's list of test questions: the file's name, and what it holds.
    test_list: (&'static str, &'static str),
    /// Where the archive of the pictures that the list names is on the hub.
    test_pictures: (RepositoryKind, &'static str),
}

/// What the user says about a task's data.
#[derive(Clone, Debug)]
pub struct TaskOptions {
    /// In place of the task's own rows: a file of rows, a folder that holds the split, a data set of the hub; for the
    /// test split of a published task also a folder or an archive that holds nothing but the pictures.
    pub data: Option<PathBuf>,
    /// How rows of files are read.
    pub open: OpenOptions,
    /// The seed of drawn rows. It is not the run's seed: runs that are compared share their rows.
    pub drawing_seed: u64,
    /// The size of drawn pictures, pixels a side.
    pub image_size: u32,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self { data: None, open: OpenOptions::default(), drawing_seed: 0, image_size: 112 }
    }
}

/// All tasks, in the order in which they are listed.
pub static TASKS: [&Task; 4] =
    [&drawn::SYNTH_VC, &drawn::SYNTH_GR, &counting::COUNTING, &geometry::GEOMETRY];

/// The task of this name or alias.
///
/// # Errors
/// There is none; the error lists those there are.
pub fn task(name: &str) -> Result<&'static Task, DataError> {
    let known = TASKS.into_iter().find(|task| task.name == name || task.aliases.contains(&name));
    known.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> DataError {
    let known: Vec<&str> = TASKS
        .iter()
        .flat_map(|task| std::iter::once(task.name).chain(task.aliases.iter().copied()))
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
    /// The task has no such split, its data cannot be fetched, or the data given cannot be used.
    pub fn open(&self, split: Split, options: &TaskOptions) -> Result<Dataset, DataError> {
        self.open_with(split, options, Hub::from_env)
    }

    /// How many training rows are published, about; none where they are drawn.
    pub fn published_rows(&self) -> Option<usize> {
        match self.source {
            Source::Published(published) => Some(published.n_train_rows),
            Source::Drawn(_) => None,
        }
    }

    /// As [`Self::open`], through another hub than the environment's.
    ///
    /// # Errors
    /// As [`Self::open`]; [`DataError::is_not_cached`] tells data that is merely not cached from other errors.
    pub fn open_with(
        &self,
        split: Split,
        options: &TaskOptions,
        hub: impl FnOnce() -> Hub,
    ) -> Result<Dataset, DataError> {
        match (&options.data, self.source) {
            (Some(data), Source::Published(published)) if split == Split::Test => {
                published.given_test(data, options, hub)
            }
            (Some(data), _) => open_anywhere(data, Some(split.name()), &options.open, hub),
            (None, Source::Drawn(task)) => {
                let rows = DrawnRows::new(task, split, options.drawing_seed, options.image_size)?;
                Ok(Dataset::Drawn(rows))
            }
            (None, Source::Published(published)) => {
                let fetched = match split {
                    Split::Train => open_anywhere(
                        Path::new(published.train_set),
                        Some("train"),
                        &options.open,
                        hub,
                    ),
                    Split::Test => published.test(&hub()),
                    Split::Shifted => {
                        let (task, split) = (self.name, split.name());
                        return Err(DataError::NoSuchSplit { task, split });
                    }
                };
                fetched.map_err(|source| DataError::NotFetched {
                    task: self.name,
                    drawn: published.drawn_twin,
                    source: Box::new(source),
                })
            }
        }
    }
}

impl Published {
    /// R1-V's list on the hub's pictures.
    fn test(&self, hub: &Hub) -> Result<Dataset, DataError> {
        let (kind, id) = self.test_pictures;
        let repository = Repository { kind, ..Repository::model(id) };
        if let Some(cached) = hub.snapshot(&repository).and_then(|folder| archive_in(&folder)) {
            return self.listed(&cached);
        }
        let listing = hub.list(&repository)?;
        let Some(archive) = listing.names.iter().find(|name| is_archive(Path::new(name))) else {
            return Err(DataError::NoPictures { repository: repository.to_string() });
        };
        self.listed(&hub.file(&repository, archive)?)
    }

    /// The rows that a path given for the test split stands for.
    fn given_test(
        &self,
        data: &Path,
        options: &TaskOptions,
        hub: impl FnOnce() -> Hub,
    ) -> Result<Dataset, DataError> {
        let split = Split::Test.name();
        let has_pictures_alone =
            || data.is_dir() && open(data, Some(split), &options.open).is_err_and(is_no_rows);
        if is_archive(data) {
            return self.listed(data);
        }
        let (list, _) = self.test_list;
        let own = data.join(format!("{split}.jsonl"));
        if !own.is_file() && data.join(list).is_file() {
            return open(&data.join(list), None, &options.open);
        }
        if has_pictures_alone() {
            return self.listed(data);
        }
        open_anywhere(data, Some(split), &options.open, hub)
    }

    /// The list with its pictures under `root`.
    fn listed(&self, root: &Path) -> Result<Dataset, DataError> {
        let (name, text) = self.test_list;
        open_text(name, text, root)
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zip")
}

/// The archive in a folder, the first by name.
fn archive_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(|path| is_archive(path)).min()
}

/// Whether a folder was refused because it holds no file of rows at all.
fn is_no_rows(error: DataError) -> bool {
    matches!(error, DataError::UnknownSource { found, .. } if found == NO_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::template::Template;
    use crate::hub::test_server::{COMMIT, TestHub};
    use crate::hub::{Patience, Settings};
    use std::io::{Cursor, Write as _};
    use std::time::Duration;

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
        for task in TASKS {
            let name = task.name;
            for template in [task.training_template, task.evaluation.template] {
                assert!(Template::new(template).is_ok(), "{name}: {template}");
            }
        }
    }

    #[test]
    fn what_rows_hold_beside_answers_is_reported() {
        for Task { name, gold, evaluation, .. } in TASKS {
            let is_reported =
                evaluation.components.iter().any(|reported| reported.gold == Some(*gold));
            assert!(*gold == GoldKind::Answer || is_reported, "{name}");
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
    fn only_drawn_tasks_have_a_shifted_split() {
        let no_hub = || panic!("the hub is not to be asked");
        let shifted =
            task("vc").unwrap().open_with(Split::Shifted, &TaskOptions::default(), no_hub);
        assert!(matches!(shifted, Err(DataError::NoSuchSplit { split: "shifted", .. })));
    }

    /// A hub on this machine in which every picture of GeoQA's list is one pixel.
    fn geometry_hub() -> (TestHub, tempfile::TempDir) {
        let server = TestHub::empty();
        let archive = archive_of(754);
        let files = [("images.zip".to_owned(), archive), ("qa_tuning.json".to_owned(), Vec::new())];
        server.add("datasets/Luckyjhg/Geo170K", "main", COMMIT, &files.into());
        let rows = include_bytes!(
            "../../../tests/golden/datasets/sharded/data/test-00000-of-00001.parquet"
        );
        let shard = [("data/train-00000-of-00001.parquet".to_owned(), rows.to_vec())];
        server.add("datasets/leonardPKU/GEOQA_R1V_Train_8K", "main", COMMIT, &shard.into());
        (server, tempfile::tempdir().unwrap())
    }

    fn archive_of(n_pictures: usize) -> Vec<u8> {
        let mut pixel = Cursor::new(Vec::new());
        image::RgbImage::new(28, 28).write_to(&mut pixel, image::ImageFormat::Png).unwrap();
        let mut archive = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
        for idx in 0..n_pictures {
            let name = format!("images/test/{idx}.png");
            archive.start_file(name, ::zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(pixel.get_ref()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn hub(server: &TestHub, cache: &tempfile::TempDir, is_offline: bool) -> Hub {
        Hub::new(Settings {
            cache: cache.path().to_owned(),
            assets: cache.path().join("assets"),
            endpoint: server.endpoint.clone(),
            token: None,
            password: None,
            is_offline,
            patience: Patience { n_tries: 1, first_delay: Duration::ZERO },
        })
    }

    #[test]
    fn published_rows_and_pictures_come_from_the_hub_once() {
        let (server, cache) = geometry_hub();
        let open = |split, is_offline| {
            let hub = || hub(&server, &cache, is_offline);
            task("gr").unwrap().open_with(split, &TaskOptions::default(), hub)
        };
        let missing = open(Split::Test, true).unwrap_err().to_string();
        assert!(missing.contains("HF_HUB_OFFLINE") && missing.contains("`synth-gr`"), "{missing}");
        for is_offline in [false, true] {
            let test = open(Split::Test, is_offline).unwrap();
            assert_eq!((test.name(), test.len()), ("geoqa_test_prompts.jsonl", 754));
            test.check_images().unwrap();
            let last = test.get(753).unwrap();
            assert_eq!(last.images[0].load().unwrap().dimensions(), (28, 28));
            let train = open(Split::Train, is_offline).unwrap();
            assert_eq!(train.name(), "leonardPKU/GEOQA_R1V_Train_8K/train");
            assert!(train.get(0).unwrap().images[0].load().is_ok());
        }
    }

    #[test]
    fn pictures_alone_are_asked_the_tasks_own_questions() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("images.zip");
        std::fs::write(&archive, archive_of(754)).unwrap();
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        for data in [&archive, &pictures] {
            let test = task("gr").unwrap().open(Split::Test, &with_data(data)).unwrap();
            assert_eq!((test.name(), test.len()), ("geoqa_test_prompts.jsonl", 754));
        }
        let error = task("gr").unwrap().open(Split::Train, &with_data(&pictures)).unwrap_err();
        assert!(error.to_string().contains(NO_ROWS), "{error}");
    }

    #[test]
    fn a_folder_is_searched_for_the_split_then_for_the_known_list_then_for_an_only_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), ROW).unwrap();
        let name = |split: Split| {
            let dataset = task("geoqa").unwrap().open(split, &with_data(folder.path()))?;
            Ok::<_, DataError>(dataset.name().to_owned())
        };
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
