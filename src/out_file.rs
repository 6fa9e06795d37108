//! Files that a command is asked to write: regular files, links, devices and pipes.
//!
//! A regular file appears whole or not at all: it is written under another name beside its place and renamed. A
//! symbolic link stays, and the file that it leads to is replaced. A device or a pipe stays as well, and is written
//! through.
//!
//! Not here: a run's own files (`run_folder::durable`); checking the flags that name such files (`cli`).

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Links that are followed before they are taken for a loop; Linux has the same limit.
const MAX_LINKS: usize = 40;
/// Where Linux keeps links to the files that processes have open. Their targets are not always paths.
const OPEN_FILES: &str = "/proc";

/// Where a path leads, its symbolic links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a regular file, or to nothing yet.
    File(PathBuf),
    /// To a device, a pipe, or a file that a process has open.
    Through(PathBuf),
    /// To this process's standard output, as `/dev/stdout` does.
    Stdout,
}

impl Destination {
    /// Follows a path.
    ///
    /// # Errors
    /// A link cannot be read, or the links form a loop.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let kind = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata.file_type(),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::File(path)),
                Err(error) => return Err(error),
            };
            if !kind.is_symlink() {
                let is_replaced = kind.is_file() || kind.is_dir();
                return Ok(if is_replaced { Self::File(path) } else { Self::Through(path) });
            }
            let folder = fs::canonicalize(folder_of(&path))?;
            if folder.starts_with(OPEN_FILES) {
                let own = fs::canonicalize(Path::new(OPEN_FILES).join("self/fd"))?;
                let is_stdout = folder == own && path.ends_with("1");
                return Ok(if is_stdout { Self::Stdout } else { Self::Through(path) });
            }
            path = folder.join(fs::read_link(&path)?);
        }
        Err(io::Error::other(format!("more than {MAX_LINKS} symbolic links, one after the other")))
    }
}

/// The parent folder of a path.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is being written. Dropped unfinished, it leaves a regular file's place as it was.
pub struct OutFile {
    contents: BufWriter<Box<dyn Write + Send>>,
    /// The regular file to be replaced at the end; none where contents are written through.
    replaced: Option<Replaced>,
}

/// A regular file that is replaced in one step.
struct Replaced {
    written: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl OutFile {
    /// Begins to write where `path` leads.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (contents, replaced): (Box<dyn Write + Send>, _) = match Destination::of(path)? {
            Destination::Stdout => (Box::new(io::stdout()), None),
            // Appending keeps what a file that another process has open already holds.
            Destination::Through(path) => {
                (Box::new(File::options().append(true).open(path)?), None)
            }
            Destination::File(path) => {
                let temporary = with_ending(&path, ".tmp");
                let written = File::create(&temporary)?;
                (Box::new(written.try_clone()?), Some(Replaced { written, temporary, path }))
            }
        };
        Ok(Self { contents: BufWriter::new(contents), replaced })
    }

    /// Ends the file: a regular one is on the disk under its own name when this returns.
    ///
    /// # Errors
    /// The rest cannot be written, or the file cannot be renamed.
    pub fn finish(mut self) -> io::Result<()> {
        self.contents.flush()?;
        let Some(Replaced { written, temporary, path }) = &self.replaced else { return Ok(()) };
        written.sync_all()?;
        fs::rename(temporary, path)?;
        self.replaced = None;
        Ok(())
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.contents.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.contents.flush()
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if let Some(Replaced { temporary, .. }) = &self.replaced {
            // The unfinished file is of no use; a failure to remove it cannot be reported from here.
            fs::remove_file(temporary).unwrap_or_default();
        }
    }
}

/// Writes a whole file where `path` leads.
///
/// # Errors
/// As [`OutFile::create`] and [`OutFile::finish`].
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OutFile::create(path)?;
    file.write_all(contents)?;
    file.finish()
}

/// A path with something added to its name.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_at_the_end_and_an_attempt_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        write(&path, b"old").unwrap();
        let mut file = OutFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".into(), vec!["out.txt".into()])
        );
        write(&path, b"new").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"new".into(), vec!["out.txt".into()])
        );
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{FileTypeExt as _, symlink};
        use std::process::Command;

        use super::*;

        #[test]
        fn links_stay_and_lead_to_the_file_that_is_replaced() {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path();
            fs::create_dir(root.join("far")).unwrap();
            symlink("far/second", root.join("first")).unwrap();
            symlink("third", root.join("far/second")).unwrap();
            // First without a target file, then with one.
            for contents in [b"a", b"b"] {
                write(&root.join("first"), contents).unwrap();
                assert!(root.join("first").is_symlink() && root.join("far/second").is_symlink());
                assert_eq!(fs::read(root.join("far/third")).unwrap(), contents);
            }
            assert_eq!(names(&root.join("far")), ["second", "third"]);
            symlink("round", root.join("round")).unwrap();
            assert!(write(&root.join("round"), b"").unwrap_err().to_string().contains("links"));
        }

        #[test]
        fn a_pipe_is_written_through_and_stays() {
            let folder = tempfile::tempdir().unwrap();
            let pipe = folder.path().join("pipe");
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            let link = folder.path().join("link");
            symlink(&pipe, &link).unwrap();
            let (sender, received) = std::sync::mpsc::channel();
            let end = pipe.clone();
            std::thread::spawn(move || sender.send(fs::read(end)));
            write(&link, b"through").unwrap();
            // If the pipe had been replaced, its reader would wait for ever.
            let read = received.recv_timeout(std::time::Duration::from_secs(20));
            assert_eq!(read.expect("nothing came through").unwrap(), b"through");
            assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
            assert_eq!(names(folder.path()), ["link", "pipe"]);
        }

        #[cfg(target_os = "linux")]
        #[test]
        fn what_a_process_has_open_is_no_path_to_rename_over() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("open");
            let open = File::create(&path).unwrap();
            (&open).write_all(b"kept, ").unwrap();
            let number = std::os::fd::AsRawFd::as_raw_fd(&open);
            for name in [format!("/dev/fd/{number}"), format!("/proc/self/fd/{number}")] {
                let found = Destination::of(Path::new(&name)).unwrap();
                assert!(matches!(found, Destination::Through(_)), "{found:?}");
                write(Path::new(&name), b"added").unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), b"kept, addedadded");
            assert_eq!(Destination::of(Path::new("/dev/stdout")).unwrap(), Destination::Stdout);
        }
    }
}
