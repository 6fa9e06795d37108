//! Rows of the drawn tasks: which random stream a row is drawn from, and how many rows there are.
//!
//! Not here: what is drawn (`synth_vc`, `synth_gr`).

use super::{DataError, Sample, Split, synth_gr, synth_vc};
use crate::rng::{Purpose, Stream};

/// The smallest picture that is drawn, pixels a side; in a smaller one shapes cannot be told apart.
pub const MIN_IMAGE_SIZE: u32 = 56;
/// The largest picture that is drawn, pixels a side.
pub const MAX_IMAGE_SIZE: u32 = 2048;

/// A task whose samples are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawnTask {
    /// Counting, as in CLEVR.
    VisualCounting,
    /// Geometry, as in GeoQA.
    GeometryReasoning,
}

impl DrawnTask {
    /// The task's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VisualCounting => "synth-vc",
            Self::GeometryReasoning => "synth-gr",
        }
    }
}

/// The rows of one split of a drawn task; a row is a pure function of (task, split, seed, index).
#[derive(Clone, Debug)]
pub struct DrawnRows {
    task: DrawnTask,
    split: Split,
    seed: u64,
    image_size: u32,
    n_rows: u32,
    name: String,
}

impl DrawnRows {
    /// Rows with pictures of `image_size` x `image_size` pixels.
    ///
    /// # Errors
    /// The size is not within [`MIN_IMAGE_SIZE`] and [`MAX_IMAGE_SIZE`].
    pub fn new(
        task: DrawnTask,
        split: Split,
        seed: u64,
        image_size: u32,
    ) -> Result<Self, DataError> {
        if !(MIN_IMAGE_SIZE..=MAX_IMAGE_SIZE).contains(&image_size) {
            return Err(DataError::BadImageSize {
                found: image_size,
                least: MIN_IMAGE_SIZE,
                most: MAX_IMAGE_SIZE,
            });
        }
        let n_rows = match split {
            Split::Train => 20_000,
            Split::Test | Split::Shifted => 500,
        };
        let name = format!("{}/{}", task.name(), split.name());
        Ok(Self { task, split, seed, image_size, n_rows, name })
    }

    pub(super) fn len(&self) -> usize {
        self.n_rows as usize
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All that decides the rows, except the task's version.
    pub fn describe(&self) -> String {
        let Self { name, n_rows, seed, image_size, .. } = self;
        format!("{name}, {n_rows} rows, seed {seed}, {image_size} pixels")
    }

    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let idx = id.strip_prefix(&self.name)?.strip_prefix('/')?.parse().ok()?;
        (idx < self.len()).then_some(idx)
    }

    pub(super) fn get(&self, idx: usize) -> Option<Sample> {
        let row = u32::try_from(idx).ok().filter(|row| *row < self.n_rows)?;
        let id = format!("{}/{idx}", self.name);
        let mut draws = self.stream(row).draws();
        match self.task {
            DrawnTask::VisualCounting => {
                synth_vc::sample(id, self.split, self.image_size, &mut draws)
            }
            DrawnTask::GeometryReasoning => {
                synth_gr::sample(id, self.split, self.image_size, &mut draws)
            }
        }
    }

    /// The codes must never change: a seed would then give other rows.
    fn stream(&self, row: u32) -> Stream {
        let split = match self.split {
            Split::Train => 0,
            Split::Test => 1,
            Split::Shifted => 2,
        };
        let task = match self.task {
            DrawnTask::VisualCounting => 0,
            DrawnTask::GeometryReasoning => 1,
        };
        Stream::new(self.seed, Purpose::Drawing, split, row, task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, ImageSource};
    use crate::data::{Demonstration, supervised_completion};
    use proptest::prelude::*;

    const TASKS: [DrawnTask; 2] = [DrawnTask::VisualCounting, DrawnTask::GeometryReasoning];
    const SPLITS: [Split; 3] = [Split::Train, Split::Test, Split::Shifted];

    fn dataset(task: DrawnTask, split: Split, seed: u64) -> Dataset {
        Dataset::Drawn(DrawnRows::new(task, split, seed, 112).unwrap())
    }

    fn pixels(sample: &Sample) -> Vec<u8> {
        sample.images.iter().flat_map(|image| image.load().unwrap().into_raw()).collect()
    }

    /// FNV-1a over the text and the pixels of a sample.
    fn fingerprint(sample: &Sample) -> u64 {
        let text = [&sample.id, &sample.problem, &sample.solution].map(String::as_bytes).concat();
        let Some(Demonstration::Reasoning(reasoning)) = &sample.demonstration else {
            panic!("{} has no reasoning", sample.id)
        };
        [text, reasoning.clone().into_bytes(), pixels(sample)]
            .concat()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
    }

    /// A run recorded with one version of the program must repeat with the next: change these only on purpose.
    #[test]
    fn recorded_rows_do_not_change() {
        let mut found = Vec::new();
        for task in TASKS {
            for split in SPLITS {
                let sample = dataset(task, split, 42).get(17).unwrap();
                found.push((sample.id.clone(), format!("{:016x}", fingerprint(&sample))));
            }
        }
        let found: Vec<(&str, &str)> =
            found.iter().map(|(id, hash)| (id.as_str(), hash.as_str())).collect();
        assert_eq!(found, RECORDED);
    }

    const RECORDED: [(&str, &str); 6] = [
        ("synth-vc/train/17", "ab9c96a4cbb86fbb"),
        ("synth-vc/test/17", "2dcd0156009fc17e"),
        ("synth-vc/shifted/17", "13c53fe6e905e5c9"),
        ("synth-gr/train/17", "9a4b5360e7b13d40"),
        ("synth-gr/test/17", "07a8faa1593bb5e0"),
        ("synth-gr/shifted/17", "4a0a9ee9adfbc03d"),
    ];

    #[test]
    fn no_test_row_is_a_training_row() {
        for task in TASKS {
            let [train, test] = [Split::Train, Split::Test].map(|split| dataset(task, split, 42));
            let training: Vec<Vec<u8>> =
                (0..40).map(|idx| pixels(&train.get(idx).unwrap())).collect();
            for idx in 0..40 {
                assert!(!training.contains(&pixels(&test.get(idx).unwrap())), "{task:?} {idx}");
            }
        }
    }

    #[test]
    fn rows_end_where_the_split_ends() {
        let test = dataset(DrawnTask::VisualCounting, Split::Test, 0);
        assert_eq!((test.name(), test.len()), ("synth-vc/test", 500));
        assert_eq!(test.get(499).unwrap().id, "synth-vc/test/499");
        let message = test.get(500).unwrap_err().to_string();
        assert!(message.contains("no row 500") && message.contains("below 500"), "{message}");
        assert_eq!(dataset(DrawnTask::VisualCounting, Split::Train, 0).len(), 20_000);
    }

    #[test]
    fn a_picture_has_the_size_that_was_asked_for() {
        let rows = DrawnRows::new(DrawnTask::GeometryReasoning, Split::Test, 0, 224).unwrap();
        let sample = rows.get(3).unwrap();
        let [ImageSource::Drawn(picture)] = sample.images.as_slice() else { panic!("no picture") };
        assert_eq!(picture.dimensions(), (224, 224));
        for size in [0, MIN_IMAGE_SIZE - 1, MAX_IMAGE_SIZE + 1] {
            let error =
                DrawnRows::new(DrawnTask::VisualCounting, Split::Test, 0, size).unwrap_err();
            assert!(matches!(error, DataError::BadImageSize { found, .. } if found == size));
        }
    }

    /// A person must be able to answer; run it with `--ignored` and look.
    #[test]
    #[ignore = "writes sheets of pictures into the temporary folder for a person to look at"]
    fn contact_sheets() {
        for task in TASKS {
            for split in [Split::Train, Split::Shifted] {
                let rows = dataset(task, split, 42);
                let mut lines = Vec::new();
                let mut sheet = image::RgbImage::new(8 * 116, 5 * 116);
                for idx in 0..40 {
                    let sample = rows.get(idx).unwrap();
                    let picture = sample.images[0].load().unwrap();
                    let [column, row] = [idx % 8, idx / 8].map(|at| i64::try_from(at).unwrap());
                    image::imageops::replace(&mut sheet, &picture, column * 116, row * 116);
                    let completion = supervised_completion(&sample).unwrap();
                    let Sample { id, problem, .. } = sample;
                    lines.push(format!("{id}: {problem} {completion}"));
                }
                let path = std::env::temp_dir().join(rows.name().replace('/', "-"));
                sheet.save(path.with_extension("png")).unwrap();
                std::fs::write(path.with_extension("txt"), lines.join("\n")).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_row_depends_on_its_names_alone(seed: u64, idx in 0_usize..500, other in 0_usize..500) {
            for task in TASKS {
                let rows = dataset(task, Split::Shifted, seed);
                let before = fingerprint(&rows.get(idx).unwrap());
                let different = fingerprint(&rows.get(other).unwrap());
                prop_assert_eq!(before, fingerprint(&rows.get(idx).unwrap()));
                prop_assert_eq!(before == different, idx == other);
            }
        }
    }
}
