//! One file from the hub to the disk: resumed where it was cut, shown, and verified.
//!
//! hf-hub's own `download` is not used. It appends to what is there whatever the server answers,
//! verifies nothing, hides the headers that say when to come back, and panics on some answers.
//! Its addresses and its layout of the cache are used throughout this module; the transfer is ours,
//! over the HTTP client that it brings along.
//! Not here: which file (`mod`), what its checksum is (`checksum`), locks and links (`folder`).

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::checksum::mismatch;
use super::client::{Client, Failure, RemoteFile, Retry, text};
use super::error::HubError;

/// How much is read at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// Fetches a file's contents into `partial`, resuming from what is there; afterwards the file is whole and verified.
///
/// A file that arrives damaged is fetched once more from its start.
///
/// # Errors
/// The network, the hub or the disk fails; unless the file is damaged, the bytes so far are kept for the next attempt.
pub(super) fn fetch(client: &Client, remote: &RemoteFile, partial: &Path) -> Result<(), HubError> {
    match fetch_once(client, remote, partial) {
        Err(damage @ HubError::Corrupt { .. }) => {
            tracing::warn!("{}; fetching it again", damage.first_line());
            fetch_once(client, remote, partial)
        }
        outcome => outcome,
    }
}

fn fetch_once(client: &Client, remote: &RemoteFile, partial: &Path) -> Result<(), HubError> {
    let storage = HubError::storage(partial, remote.bytes);
    let file = File::options().create(true).read(true).append(true).open(partial);
    let mut download = Download {
        client,
        remote,
        path: partial,
        file: file.map_err(&storage)?,
        bar: bar(&remote.name, remote.bytes),
    };
    download.complete()?;
    download.file.sync_all().map_err(&storage)?;
    // A handle of its own, since that one stands at the file's end.
    let written = File::open(partial).map_err(&storage)?;
    let Some(found) = mismatch(&written, remote.bytes, &remote.etag).map_err(&storage)? else {
        return Ok(());
    };
    std::fs::remove_file(partial).map_err(&storage)?;
    let (found, expected) = (found.found, found.expected);
    Err(HubError::Corrupt { url: remote.url.clone(), found, expected })
}

/// A transfer under way.
struct Download<'a> {
    client: &'a Client,
    remote: &'a RemoteFile,
    path: &'a Path,
    file: File,
    bar: ProgressBar,
}

impl Download<'_> {
    /// Asks for what is missing until nothing is, or until several tries in a row brought nothing.
    fn complete(&mut self) -> Result<(), HubError> {
        let (mut n_failed, mut most_bytes) = (0, self.bytes()?);
        while self.bytes()? < self.remote.bytes {
            let outcome = self.transfer();
            let bytes = self.bytes()?;
            if bytes > most_bytes {
                (n_failed, most_bytes) = (0, bytes);
            }
            if bytes < self.remote.bytes {
                let failure =
                    outcome.err().unwrap_or_else(|| self.cut("the connection was closed"));
                self.client.patience.wait(n_failed, failure)?;
                n_failed += 1;
            }
        }
        Ok(())
    }

    /// Asks once for what is missing, and keeps what comes.
    fn transfer(&mut self) -> Result<(), Failure> {
        let first = self.bytes().map_err(never)?;
        let response = match self.client.open(&self.remote.url, first) {
            Err(failure) if is_range_refused(&failure) => {
                self.restart().map_err(never)?;
                return Err(self.cut("no such range"));
            }
            outcome => outcome?,
        };
        if first_byte(&response) != Some(first) {
            // The server ignores ranges and sends the whole file, or it sends another range.
            self.restart().map_err(never)?;
            if response.status() != StatusCode::OK {
                return Err(self.cut("an answer to another range"));
            }
        }
        self.keep(response)
    }

    /// Appends an answer's body, one byte more than announced at most: enough to tell it is wrong.
    fn keep(&mut self, response: Response<Body>) -> Result<(), Failure> {
        let have = self.bytes().map_err(never)?;
        self.bar.set_position(have);
        let room = self.remote.bytes.saturating_sub(have).saturating_add(1);
        let mut body = response.into_body().into_reader().take(room);
        let storage = HubError::storage(self.path, self.remote.bytes);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let n_read = body.read(&mut buffer).map_err(|error| self.cut(&error.to_string()))?;
            if n_read == 0 {
                return Ok(());
            }
            self.file.write_all(&buffer[..n_read]).map_err(&storage).map_err(never)?;
            self.bar.inc(n_read as u64);
        }
    }

    fn bytes(&self) -> Result<u64, HubError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(HubError::storage(self.path, self.remote.bytes))?.len())
    }

    fn restart(&self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::storage(self.path, self.remote.bytes))
    }

    /// The failure of a transfer that was cut short; another try may bring the rest.
    fn cut(&self, reason: &str) -> Failure {
        let bytes = self.bytes().unwrap_or_default();
        let found = format!("{reason} after {bytes} of {} bytes", self.remote.bytes);
        let error = HubError::Unreachable { url: self.remote.url.clone(), found };
        Failure { error, retry: Retry::Soon }
    }
}

fn never(error: HubError) -> Failure {
    Failure { error, retry: Retry::Never }
}

fn is_range_refused(failure: &Failure) -> bool {
    let refused = StatusCode::RANGE_NOT_SATISFIABLE.as_u16();
    matches!(failure.error, HubError::Refused { status, .. } if status == refused)
}

/// The position of a body's first byte in the file; `None` where the answer does not say.
fn first_byte(response: &Response<Body>) -> Option<u64> {
    match response.status() {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => {
            let range = text(response, "content-range")?.strip_prefix("bytes ")?;
            range.split_once('-')?.0.trim().parse().ok()
        }
        _ => None,
    }
}

/// A bar that is drawn where standard error is a terminal, and leaves nothing behind.
fn bar(name: &str, bytes: u64) -> ProgressBar {
    let template =
        "{wide_msg} [{bar:20}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
    // The template is a constant that a test draws; the default style is as good as an error here.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::new(bytes).with_finish(ProgressFinish::AndClear);
    bar.with_style(style).with_message(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Result;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal that remembers everything written to it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> Result<()> {
            Ok(())
        }
        fn flush(&self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bar_shows_name_bytes_and_speed() {
        let paper = Paper::default();
        let bar = bar("model.safetensors", 4_000_000);
        bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(paper.clone())));
        bar.set_position(1_000_000);
        bar.force_draw();
        let drawn = paper.0.lock().unwrap().clone();
        assert!(drawn.contains("model.safetensors"), "{drawn}");
        assert!(drawn.contains("[=====>              ]"), "a quarter of 20 columns: {drawn}");
        assert!(drawn.contains("1.00 MB/4.00 MB") && drawn.contains("/s"), "{drawn}");
    }
}
