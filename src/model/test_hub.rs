//! A hub on this machine that serves a folder's files over HTTP, for the tests of `source`.
//! Not here: anything outside tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// What was asked for, and with which bearer token.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The path after the host.
    pub(super) path: String,
    /// The token after `Bearer`.
    pub(super) token: Option<String>,
}

/// One repository, `org/model`, served until the test ends.
pub(super) struct TestHub {
    /// `http://127.0.0.1:PORT`.
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl TestHub {
    /// Serves these files, by name.
    pub(super) fn serve(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let request = answer(&stream.unwrap(), &files);
                log.lock().unwrap().push(request);
            }
        });
        Self { endpoint, requests }
    }

    /// Every request so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers one request as the hub does, and closes the connection.
fn answer(mut stream: &TcpStream, files: &BTreeMap<String, Vec<u8>>) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let found = headers.iter().filter_map(|line| line.split_once(": "));
        found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let reply = if path == "/api/models/org/model/revision/main" {
        let siblings: Vec<_> = files.keys().map(|name| json!({"rfilename": name})).collect();
        plain("200 OK", json!({"sha": "c0ffee", "siblings": siblings}).to_string().as_bytes())
    } else {
        path.strip_prefix("/org/model/resolve/main/")
            .and_then(|name| files.get(name).map(|contents| (name, contents)))
            .map_or_else(
                || plain("404 Not Found", b"Entry not found"),
                |(name, contents)| range(name, contents, header("range").unwrap()),
            )
    };
    stream.write_all(&reply).unwrap();
    Request { path, token: token.map(str::to_owned) }
}

fn plain(status: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The bytes that `bytes=FIRST-[LAST]` asks for, with the headers the cache's layout is built on.
fn range(name: &str, contents: &[u8], wanted: &str) -> Vec<u8> {
    let (first, last) = wanted.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = last.parse().map_or(contents.len(), |last: usize| last + 1);
    let (length, total) = (end - first, contents.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nx-repo-commit: c0ffee\r\nETag: \"etag-of-{name}\"\r\n\
         Content-Range: bytes {first}-{}/{total}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n",
        end - 1
    );
    [head.as_bytes(), &contents[first..end]].concat()
}
