//! A hub on this machine that speaks the real one's protocol over HTTP, and fails on demand.
//!
//! `.safetensors`, `.parquet` and `.zip` files are in large-file storage: the hub answers for them
//! with a redirect to another host name, `localhost`, which must never see the token.
//! Not here: anything outside tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that `main` leads to.
pub(crate) const COMMIT: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

/// A repository's files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET` or `HEAD`.
    pub(crate) method: String,
    /// The path after the host.
    pub(crate) path: String,
    /// The token after `Bearer`.
    pub(crate) token: Option<String>,
    /// The range after `bytes=`.
    pub(crate) range: Option<String>,
}

impl Request {
    /// Whether the contents of a file in large-file storage were asked for.
    pub(crate) fn is_storage(&self) -> bool {
        self.path.starts_with("/storage/")
    }
}

/// What goes wrong with an answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Another status, with these headers.
    Status(&'static str, Vec<(&'static str, String)>),
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// The first byte is another one.
    Damage,
    /// One byte more than there is, announced as if it were right.
    Longer,
    /// The whole file, whatever range is asked for.
    NoRanges,
    /// No headers that describe the file.
    Bare,
}

/// The hub, served until the test ends.
pub(crate) struct TestHub {
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    endpoint: String,
    /// By `models/ID` or `datasets/ID`, then revision: a commit and its files.
    repositories: BTreeMap<(String, String), (String, Files)>,
    /// Method, end of the path, what goes wrong, how often.
    faults: Vec<(&'static str, String, Fault, usize)>,
    requests: Vec<Request>,
}

impl TestHub {
    /// A hub that has nothing yet.
    pub(crate) fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = State { endpoint: endpoint.clone(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &shared);
            }
        });
        Self { endpoint, state }
    }

    /// A hub with the model `org/model`.
    pub(crate) fn serve(files: &Files) -> Self {
        let hub = Self::empty();
        hub.add("models/org/model", "main", COMMIT, files);
        hub
    }

    /// Adds or replaces a revision, which is reached by its commit too.
    pub(crate) fn add(&self, repository: &str, revision: &str, commit: &str, files: &Files) {
        let mut state = self.state.lock().unwrap();
        for name in [revision, commit] {
            let key = (repository.to_owned(), name.to_owned());
            state.repositories.insert(key, (commit.to_owned(), files.clone()));
        }
    }

    /// Makes the next `times` answers to such requests go wrong.
    pub(crate) fn fault(&self, method: &'static str, path: &str, fault: Fault, times: usize) {
        self.state.lock().unwrap().faults.push((method, path.to_owned(), fault, times));
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// Files whose contents are their names.
pub(crate) fn named(names: &[&str]) -> Files {
    names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
}

/// The checksum that `sha256sum` prints.
pub(crate) fn sha256(contents: &[u8]) -> String {
    format!("{:x}", Sha256::digest(contents))
}

/// An answer before anything goes wrong with it.
struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, body: &[u8]) -> Self {
        Self { status: status.to_owned(), headers: Vec::new(), body: body.to_owned() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Answers one request and closes the connection.
fn answer(mut stream: &TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str, prefix: &str| {
        let mut found = headers.iter().filter_map(|line| line.split_once(": "));
        let value = found.find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
        Some(value.strip_prefix(prefix)?.to_owned())
    };
    let mut words = first.split(' ').map(str::to_owned);
    let request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        token: header("authorization", "Bearer "),
        range: header("range", "bytes="),
    };
    let mut state = state.lock().unwrap();
    let reply = state.reply(&request);
    state.requests.push(request);
    drop(state);
    // The client may have closed the connection.
    stream.write_all(&reply).unwrap_or_default();
}

impl State {
    fn reply(&mut self, request: &Request) -> Vec<u8> {
        let fault = self.faults.iter_mut().find(|(method, path, _, times)| {
            *method == request.method && request.path.ends_with(path.as_str()) && *times > 0
        });
        let fault = fault.map(|(_, _, fault, times)| {
            *times -= 1;
            fault.clone()
        });
        let range = request.range.as_deref().filter(|_| !matches!(fault, Some(Fault::NoRanges)));
        let mut answer = self.answer(request, range);
        let mut sent = usize::MAX;
        match fault {
            Some(Fault::Status(status, headers)) => {
                answer = Answer::new(status, b"");
                for (name, value) in headers {
                    answer = answer.with(name, &value);
                }
            }
            Some(Fault::Cut(bytes)) => sent = bytes,
            Some(Fault::Damage) => answer.body[0] ^= 1,
            Some(Fault::Longer) => answer.body.push(b'!'),
            Some(Fault::Bare) => answer.headers.clear(),
            Some(Fault::NoRanges) | None => {}
        }
        let length = answer.body.len().to_string();
        let answer = answer.with("Content-Length", &length).with("Connection", "close");
        let lines = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: Vec<String> = lines.collect();
        let head = format!("HTTP/1.1 {}\r\n{}\r\n", answer.status, lines.concat());
        let body = if request.method == "HEAD" { &[] } else { &answer.body[..] };
        [head.as_bytes(), &body[..body.len().min(sent)]].concat()
    }

    fn answer(&self, request: &Request, range: Option<&str>) -> Answer {
        let path = &request.path;
        if let Some(checksum) = path.strip_prefix("/storage/") {
            let mut files = self.repositories.values().flat_map(|(_, files)| files.values());
            let contents = files.find(|contents| sha256(contents) == checksum).unwrap();
            return part(contents, range);
        }
        if let Some((repository, revision)) =
            path.strip_prefix("/api/").and_then(|path| path.split_once("/revision/"))
        {
            return self.find(repository, revision).map_or_else(absent, |(commit, files)| {
                let names: Vec<_> = files.keys().map(|name| json!({"rfilename": name})).collect();
                let listing = json!({"sha": commit, "siblings": names}).to_string();
                Answer::new("200 OK", listing.as_bytes())
            });
        }
        let Some((repository, rest)) = path[1..].split_once("/resolve/") else { return absent() };
        let kind = if repository.starts_with("datasets/") { "" } else { "models/" };
        let (revision, name) = rest.split_once('/').unwrap();
        let name = name.replace("%20", " ");
        let found = self.find(&format!("{kind}{repository}"), revision);
        let Some((commit, Some(contents))) =
            found.map(|(commit, files)| (commit, files.get(&name)))
        else {
            return absent().with("X-Error-Code", "EntryNotFound");
        };
        if [".safetensors", ".parquet", ".zip"].iter().any(|end| name.ends_with(end)) {
            let storage = self.endpoint.replace("127.0.0.1", "localhost");
            let checksum = sha256(contents);
            return Answer::new("302 Found", b"Found. Redirecting to storage")
                .with("Location", &format!("{storage}/storage/{checksum}"))
                .with("X-Repo-Commit", commit)
                .with("X-Linked-Size", &contents.len().to_string())
                .with("X-Linked-ETag", &format!("\"{checksum}\""));
        }
        let blob = [format!("blob {}\0", contents.len()).as_bytes(), contents].concat();
        part(contents, range)
            .with("X-Repo-Commit", commit)
            .with("ETag", &format!("\"{:x}\"", Sha1::digest(blob)))
    }

    fn find(&self, repository: &str, revision: &str) -> Option<&(String, Files)> {
        let key = (repository.to_owned(), revision.replace("%2F", "/"));
        self.repositories.get(&key)
    }
}

fn absent() -> Answer {
    Answer::new("404 Not Found", b"Not found")
}

/// The bytes that a range asks for.
fn part(contents: &[u8], range: Option<&str>) -> Answer {
    let Some(first) = range.map(|range| range.trim_end_matches('-').parse::<usize>().unwrap())
    else {
        return Answer::new("200 OK", contents);
    };
    let total = contents.len();
    if first >= total {
        return Answer::new("416 Range Not Satisfiable", b"");
    }
    let range = format!("bytes {first}-{}/{total}", total - 1);
    Answer::new("206 Partial Content", &contents[first..]).with("Content-Range", &range)
}
