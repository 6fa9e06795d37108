//! The folder or archive that holds the pictures which rows name by path.
//!
//! A path is looked for under the root as it stands, then with its leading folders dropped one after
//! another, so that `./Geo170K/images/test/0.png` is found in an unpacked `images` folder, beside it, and in
//! the archive of it. The first that exists is taken, and [`FoundImage`] says whether folders were dropped for it. No
//! path may contain `..`.
//!
//! Not here: which field names a picture (`listed`); what an archive may hold (`zip`).

use super::row::Place;
use super::zip::PictureArchive;
use super::{DataError, ImageSource};
use crate::input_file;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A folder or an archive of pictures.
#[derive(Clone, Debug)]
pub(super) enum ImageRoot {
    Folder(PathBuf),
    Archive(Arc<PictureArchive>),
}

/// A picture, and how its path was read.
pub(super) struct FoundImage {
    pub(super) image: ImageSource,
    /// The path that it was found under, where leading folders had to be dropped.
    pub(super) shortened: Option<PathBuf>,
}

impl ImageRoot {
    /// A file is taken for an archive, anything else for a folder.
    ///
    /// # Errors
    /// It is a file, and no archive that is accepted.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        if is_file(path)? {
            return Ok(Self::Archive(Arc::new(PictureArchive::open(path)?)));
        }
        Ok(Self::Folder(path.to_owned()))
    }

    /// The picture that `field` of the row at `place` names.
    ///
    /// # Errors
    /// There is none, or the archive's entry cannot be used.
    pub(super) fn find(
        &self,
        image: &str,
        field: &str,
        place: &Place,
    ) -> Result<FoundImage, DataError> {
        let candidates = candidates(image);
        for (n_dropped, candidate) in candidates.iter().enumerate() {
            if let Some(image) = self.at(candidate)? {
                let shortened = (n_dropped > 0).then(|| candidate.clone());
                return Ok(FoundImage { image, shortened });
            }
        }
        let root = if self.path() == Path::new("") { Path::new(".") } else { self.path() };
        if image.contains('\\') && !cfg!(windows) {
            return Err(place.bad_field(
                field,
                format!("no file {image}, a path with the separators of Windows"),
                format!("a path with `/`, below {}", root.display()),
                "write / for \\ in the paths of pictures, without a drive's letter",
            ));
        }
        let looked_for: Vec<String> =
            candidates.iter().map(|candidate| candidate.display().to_string()).collect();
        Err(DataError::MissingImage {
            place: place.clone(),
            field: field.to_owned(),
            root: root.to_owned(),
            looked_for: looked_for.join(", "),
        })
    }

    fn at(&self, candidate: &Path) -> Result<Option<ImageSource>, DataError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(candidate);
                Ok(is_file(&path)?.then_some(ImageSource::File(path)))
            }
            Self::Archive(archive) => {
                // Names in archives have slashes on every system.
                let parts: Vec<_> = candidate.iter().map(|part| part.to_string_lossy()).collect();
                let entry_idx = archive.find(&parts.join("/"))?;
                Ok(entry_idx
                    .map(|entry_idx| ImageSource::Archived { archive: archive.clone(), entry_idx }))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Archive(archive) => archive.path(),
        }
    }
}

/// Whether a path has a `..` in it, by the rules of any system.
pub(super) fn climbs(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| part == "..")
}

/// The paths that are tried, in order: as it stands, then without its leading folders.
fn candidates(image: &str) -> Vec<PathBuf> {
    let whole = Path::new(image);
    let parts: Vec<Component> =
        whole.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let relative = (0..parts.len()).map(|start| parts[start..].iter().collect());
    let absolute = whole.is_absolute().then(|| whole.to_owned());
    absolute.into_iter().chain(relative).collect()
}

/// Whether there is a file.
///
/// # Errors
/// The system cannot say.
fn is_file(path: &Path) -> Result<bool, DataError> {
    let found = input_file::kind(path)
        .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
    Ok(found.is_some_and(|found| found.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::row::Unit;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn found(root: &ImageRoot, image: &str) -> Result<String, DataError> {
        let place = Place { path: Path::new("rows.jsonl").into(), row: 3, unit: Unit::Line };
        root.find(image, "image_path", &place).map(|found| found.image.to_string())
    }

    fn archive(path: &Path, names: &[&str]) {
        let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        for name in names {
            writer
                .start_file(
                    *name,
                    SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
                )
                .unwrap();
            writer.write_all(b"x").unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn leading_folders_are_dropped_until_a_picture_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("images/test")).unwrap();
        for name in ["images/test/0.png", "1.png", "images/1.png"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let zip = root.join("images.zip");
        archive(&zip, &["images/test/0.png", "1.png", "images/1.png"]);
        let (folder, archive) = (ImageRoot::open(root).unwrap(), ImageRoot::open(&zip).unwrap());
        for (image, expected) in [
            ("./Geo170K/images/test/0.png", "images/test/0.png"),
            ("images/test/0.png", "images/test/0.png"),
            ("Geo170K/images/1.png", "images/1.png"),
            ("/elsewhere/a/images/test/1.png", "1.png"),
        ] {
            let path = found(&folder, image).unwrap();
            assert_eq!(Path::new(&path), root.join(expected), "{image}");
            assert!(found(&archive, image).unwrap().ends_with(&format!("images.zip: {expected}")));
        }
        for root in [&folder, &archive] {
            let message = found(root, "./a/b/9.png").unwrap_err().to_string();
            let message = message.replace('\\', "/");
            assert!(message.contains("rows.jsonl: line 3: field `image_path`"), "{message}");
            assert!(message.contains("no file a/b/9.png, b/9.png, 9.png,"), "{message}");
        }
    }

    #[test]
    fn a_path_that_was_shortened_is_told_from_one_that_is_right() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("images/0.png"), "").unwrap();
        let root = ImageRoot::open(folder.path()).unwrap();
        let place = Place { path: Path::new("rows.jsonl").into(), row: 3, unit: Unit::Line };
        let shortened = |image: &str| root.find(image, "image", &place).unwrap().shortened;
        let whole = folder.path().join("images/0.png").display().to_string();
        for right in ["images/0.png", "./images/0.png", whole.as_str()] {
            assert_eq!(shortened(right), None, "{right}");
        }
        for other in ["Geo170K/images/0.png", "/elsewhere/images/0.png"] {
            assert_eq!(shortened(other), Some("images/0.png".into()), "{other}");
        }
        let error = root.find("images\\0.png", "image", &place).err().unwrap().to_string();
        assert!(cfg!(windows) || error.contains("the separators of Windows"), "{error}");
    }

    #[test]
    fn climbing_is_seen_in_the_paths_of_any_system() {
        for path in ["../a.png", "a/../../b.png", "a\\..\\b.png", ".."] {
            assert!(climbs(path), "{path}");
        }
        for path in ["a.png", "./a/b..c/..d.png", "a...b"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
