//! `othink watch`: the page of a run that goes on, who may read it, and how the command ends.
//! Not here: what the page shows (`page`); requests and replies one by one (`report::loopback`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chromium::Chromium;
use crate::page::legend;
use crate::recorded::{self, SMALL, Size};

/// The command while it goes on; ended with the value.
struct Watched {
    child: Child,
    address: String,
}

impl Watched {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        command.arg("watch").args(words).args(["--port", "0"]).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().to_owned();
        assert!(address.starts_with("http://127.0.0.1:") && address.ends_with('/'), "{line}");
        Self { child, address }
    }

    /// Host and port.
    fn host(&self) -> &str {
        self.address.trim_start_matches("http://").trim_end_matches('/')
    }

    /// Status and body of a request with a host.
    fn get(&self, path: &str, host: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path, self.host());
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn append(run: &Path, file: &str, records: &[Value]) {
    let mut file = std::fs::File::options().append(true).open(run.join(file)).unwrap();
    file.write_all(recorded::lines(records).as_bytes()).unwrap();
}

/// A further update of a small run.
fn go_on(run: &Path, update: u64) {
    append(run, "completions.jsonl", &recorded::rollouts(SMALL, update));
    append(run, "metrics.jsonl", &[recorded::metrics(update)]);
}

#[test]
fn page_follows_a_run_and_what_was_chosen_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Chromium::start() else { return };
    let (run, _) = recorded::run(&folder.path().join("quick"), 1, SMALL);
    let watched = Watched::start(folder.path(), &["quick"]);
    browser.open(&watched.address);
    browser.wait_for("document.querySelectorAll('#detail .completion').length >= 4");
    browser.wait_for("document.querySelector('#detail img').naturalWidth > 0");
    let begin = "window.neverLoadedAgain = true; document.querySelector('details').open = true; \
                 document.getElementById('groups').focus(); 1";
    browser.value(begin);
    browser.press("ArrowDown");
    go_on(&run, 13);
    browser.wait_for("document.querySelector('.card').innerText.includes('13')");
    browser.wait_for(
        "document.getElementById('found').textContent === '39 groups with 156 completions'",
    );
    let legend = legend("kl");
    browser.wait_for(&format!("{legend}.includes('update: 13 ')"));
    let stays = "window.neverLoadedAgain && document.querySelector('details').open && \
                 document.activeElement.id === 'groups' && \
                 document.querySelector('#groups [aria-selected=true]').id === 'group-1'";
    assert_eq!(browser.value(stays), true);
    // What was added can be looked at.
    browser.press("End");
    browser.wait_for(
        "document.querySelector('#detail .ask div .note').textContent.startsWith('update 13')",
    );
    assert_eq!(browser.complaints(), [""; 0]);
    let asked = browser.requests();
    assert!(
        asked.iter().all(|one| one.starts_with(&watched.address) || one.starts_with("data:")),
        "{asked:?}"
    );

    drop(watched);
    browser.wait_for("document.getElementById('problem').textContent.includes('has ended')");
    assert_eq!(browser.text("document.getElementById('state').textContent"), "not live");
}

#[test]
fn records_that_are_cut_back_by_a_resumed_run_are_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = recorded::run(&folder.path().join("quick"), 1, SMALL);
    let watched = Watched::start(folder.path(), &["quick"]);
    let first = watched.json("/summary");
    assert_eq!(watched.json("/index")["sources"][0]["moment"].as_array().unwrap().len(), 36);
    recorded::run(&run, 1, Size { updates: 10, ..SMALL });
    let version = first["version"].as_str().unwrap();
    let started = Instant::now();
    while watched.get(&format!("/summary?have={version}"), watched.host()).0 == 204 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(watched.json("/index")["sources"][0]["moment"].as_array().unwrap().len(), 30);
    // A damaged record is said, and what was read stays.
    let mut file = std::fs::File::options().append(true).open(run.join("metrics.jsonl")).unwrap();
    file.write_all(b"{\"update\": 11}\n").unwrap();
    let started = Instant::now();
    loop {
        let (status, body) = watched.get("/summary", watched.host());
        if status == 500 {
            assert!(body.contains("metrics.jsonl:11: missing field"), "{body}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it is not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn only_this_machine_by_its_own_name_gets_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    recorded::run(&folder.path().join("quick"), 1, SMALL);
    let watched = Watched::start(folder.path(), &["quick"]);
    assert_eq!(watched.get("/", watched.host()).0, 200);
    let port = watched.host().split_once(':').unwrap().1;
    assert_eq!(watched.get("/summary", &format!("localhost:{port}")).0, 200);
    let (status, body) = watched.get("/summary", &format!("rebound.example:{port}"));
    assert_eq!((status, body.contains("quick")), (403, false), "{body}");
    for missing in
        ["/etc/passwd", "/../quick/config.toml", "/chunk/9/0", "/chunk/0/99", "/picture/0/99"]
    {
        assert_eq!(watched.get(missing, watched.host()).0, 404, "{missing}");
    }
    assert!(watched.get("/picture/0/1", watched.host()).1.contains("PNG"));
}

#[test]
fn connections_that_say_nothing_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    recorded::run(&folder.path().join("quick"), 1, SMALL);
    let watched = Watched::start(folder.path(), &["quick"]);
    let silent: Vec<TcpStream> =
        (0..4).map(|_| TcpStream::connect(watched.host()).unwrap()).collect();
    let started = Instant::now();
    assert_eq!(watched.get("/", watched.host()).0, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    drop(silent);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    recorded::run(&folder.path().join("quick"), 1, SMALL);
    let mut watched = Watched::start(folder.path(), &["quick"]);
    assert_eq!(watched.get("/", watched.host()).0, 200);
    let id = watched.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = watched.child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn port_in_use_missing_run_and_wrong_flags_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    recorded::run(&folder.path().join("quick"), 1, SMALL);
    let watched = Watched::start(folder.path(), &["quick"]);
    let port = watched.host().split_once(':').unwrap().1;
    for (words, expected) in [
        (vec!["quick", "--port", port], format!("error: port {port}: ")),
        (vec!["nowhere"], "error: nowhere: found no config.toml".to_owned()),
        (vec!["quick", "--smooth", "2"], "error: --smooth is 2".to_owned()),
        (
            vec!["quick", "--answers", "no.jsonl"],
            "error: --answers no.jsonl: no such file".to_owned(),
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        let output = command.arg("watch").args(&words).current_dir(folder.path()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
        assert!(message.starts_with(&expected) && message.contains("hint: "), "{message}");
    }
}
