//! Talking to the hub: addresses, the token, what each status means, and when to ask again.
//! Not here: what is done with a file's bytes (`download`); where they are kept (`folder`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hf_hub::api::RepoInfo;
use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};

use super::error::HubError;
use super::folder::is_plain_name;
use super::repository::Repository;
use super::settings::{Settings, Token};

/// How long opening a connection may take, and how long it may then bring no data.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// The hub counts requests in windows of five minutes, so no wait needs to be longer.
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// Redirects to another name on the hub itself, followed one by one.
const MAX_RENAMES: usize = 5;
/// Redirects of one request for contents.
const MAX_REDIRECTS: usize = 10;

/// How often to try, and how long to wait between.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    /// Tries in a row that may fail.
    pub(crate) n_tries: u32,
    /// Before the second try; each further wait is twice as long.
    pub(crate) first_delay: Duration,
}

/// What went wrong, and whether another try may succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: HubError,
    pub(super) retry: Retry,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The next answer would be the same.
    Never,
    /// After a wait of our own choice.
    Soon,
    /// After the wait that the hub asks for.
    After(Duration),
}

impl Patience {
    /// Waits before the next try, or gives the error back where that is of no use.
    ///
    /// - `n_failed`: tries in a row that failed before this one
    pub(super) fn wait(&self, n_failed: u32, failure: Failure) -> Result<(), HubError> {
        let delay = match failure.retry {
            Retry::Never => return Err(failure.error),
            Retry::Soon => self.first_delay.saturating_mul(2_u32.saturating_pow(n_failed)),
            Retry::After(delay) => delay,
        };
        if n_failed + 1 >= self.n_tries || delay > LONGEST_DELAY {
            return Err(failure.error);
        }
        tracing::warn!("{}; trying again in {delay:?}", failure.error.first_line());
        std::thread::sleep(delay);
        Ok(())
    }

    /// Tries until it works.
    fn persist<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, HubError> {
        let mut n_failed = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => self.wait(n_failed, failure)?,
            }
            n_failed += 1;
        }
    }
}

/// A file as the hub announces it.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    /// Where it is fetched from; the hub may redirect from there.
    pub(super) url: String,
    /// Its name in the repository.
    pub(super) name: String,
    /// The commit that the revision leads to.
    pub(super) commit: String,
    /// What identifies the contents, without quotes.
    pub(super) etag: String,
    /// Size.
    pub(super) bytes: u64,
}

/// The hub over HTTP.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
    endpoint: String,
    /// What requests to the endpoint carry; never printed.
    authorization: Option<Token>,
    pub(super) patience: Patience,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Self {
        // The body's own size is wanted, hence no compression; statuses carry headers that we read.
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("othink/", env!("CARGO_PKG_VERSION")))
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .build()
            .new_agent();
        let Settings { endpoint, token, password, patience, .. } = settings;
        let bearer = token.map(|Token(token)| Token(format!("Bearer {token}")));
        let basic = |Token(text)| Token(format!("Basic {}", STANDARD.encode(text)));
        let authorization = bearer.or_else(|| password.map(basic));
        Self { agent, endpoint, authorization, patience }
    }

    /// The hub's address, without a slash at its end.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What the repository holds at its revision.
    pub(super) fn info(&self, repository: &Repository) -> Result<RepoInfo, HubError> {
        self.patience.persist(|| self.info_once(repository))
    }

    /// The same in a single try.
    pub(super) fn info_once(&self, repository: &Repository) -> Result<RepoInfo, Failure> {
        let url = format!("{}/api/{}", self.endpoint, repository.addresses().api_url());
        let response = self.get(&url, 0)?;
        let parsed = serde_json::from_reader(response.into_body().into_reader());
        let info: RepoInfo = parsed.map_err(|error: serde_json::Error| {
            if error.is_io() || error.is_eof() {
                let error = HubError::Unreachable { url: url.clone(), found: error.to_string() };
                Failure { error, retry: Retry::Soon }
            } else {
                not_a_hub(&url, error.to_string(), "a list of the repository's files")
            }
        })?;
        if is_plain_name(&info.sha) {
            return Ok(info);
        }
        Err(not_a_hub(&url, format!("commit {:?}", info.sha), "hexadecimal digits"))
    }

    /// What the hub says about a file.
    pub(super) fn head(&self, repository: &Repository, name: &str) -> Result<RemoteFile, HubError> {
        let addresses = repository.addresses();
        let (id, revision) = (addresses.url(), addresses.url_revision());
        let url = format!("{}/{id}/resolve/{revision}/{}", self.endpoint, percent_encoded(name));
        self.patience.persist(|| self.head_once(&url, name))
    }

    fn head_once(&self, url: &str, name: &str) -> Result<RemoteFile, Failure> {
        let mut url = url.to_owned();
        for _ in 0..MAX_RENAMES {
            let request = self.authorized(&url, self.agent.head(&url));
            let response = self.checked(&url, request.call())?;
            let location = text(&response, header::LOCATION.as_str()).unwrap_or_default();
            // A redirect to a path is the same file under the repository's new name. One to an address
            // leads to the stored contents, and the headers of this answer describe them.
            if !location.starts_with('/') || location.starts_with("//") {
                return announced(&response, url, name);
            }
            url = format!("{}{location}", origin(&url));
        }
        let expected = "a file, or the address of one";
        Err(not_a_hub(&url, format!("{MAX_RENAMES} redirects"), expected))
    }

    /// Opens a file's contents from byte `first` on; the answer may begin earlier.
    pub(super) fn open(&self, url: &str, first: u64) -> Result<Response<Body>, Failure> {
        self.get(url, first)
    }

    /// The contents of an address, wherever that redirects to. The HTTP client's own following of redirects is not used,
    /// because it would keep the token for another port of the same host.
    fn get(&self, url: &str, first: u64) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.authorized(&url, self.agent.get(&url));
            if first > 0 {
                request = request.header(header::RANGE, format!("bytes={first}-"));
            }
            let response = self.checked(&url, request.call())?;
            match text(&response, header::LOCATION.as_str()) {
                Some(location) if response.status().is_redirection() => {
                    url = redirected(&url, location);
                }
                _ => return Ok(response),
            }
        }
        Err(not_a_hub(&url, format!("{MAX_REDIRECTS} redirects"), "an answer"))
    }

    /// The request with the token, where it goes to the hub itself: same scheme, host and port.
    fn authorized<B>(
        &self,
        url: &str,
        request: ureq::RequestBuilder<B>,
    ) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(Token(value)) if origin(url) == origin(&self.endpoint) => {
                request.header(header::AUTHORIZATION, value)
            }
            _ => request,
        }
    }

    /// The answer, where it is one that can be used.
    fn checked(
        &self,
        url: &str,
        outcome: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Failure> {
        let response = outcome.map_err(|error| unreachable(url, &error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let (url, found) = (url.to_owned(), said(&response));
        let (error, retry) = match status.as_u16() {
            status @ (401 | 403) => {
                let hint = if self.authorization.is_some() {
                    "the token has no access: accept the terms on the repository's page, check the \
                     spelling, or set HF_TOKEN to another token"
                } else {
                    "check the spelling; a gated or private repository needs HF_TOKEN, a token \
                     with access to it"
                };
                (HubError::Denied { url, status, found, hint }, Retry::Never)
            }
            404 => {
                let missing = match text(&response, "x-error-code") {
                    Some("RepoNotFound") => "repository",
                    Some("RevisionNotFound") => "revision",
                    Some("EntryNotFound") => "file",
                    _ => "repository or file",
                };
                (HubError::NotFound { url, missing, found }, Retry::Never)
            }
            429 => {
                let hint = "wait some minutes; with HF_TOKEN the hub allows more requests";
                (HubError::Refused { url, status: 429, found, hint }, asked_delay(&response))
            }
            status @ (408 | 500..) => {
                let hint = "the hub has trouble of its own: try later, or a mirror (HF_ENDPOINT)";
                (HubError::Refused { url, status, found, hint }, asked_delay(&response))
            }
            status => {
                let hint = "HF_ENDPOINT must name a Hugging Face hub or a mirror of it";
                (HubError::Refused { url, status, found, hint }, Retry::Never)
            }
        };
        Err(Failure { error, retry })
    }
}

/// A failure of the connection itself.
fn unreachable(url: &str, error: &ureq::Error) -> Failure {
    let retry = match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => Retry::Soon,
        _ => Retry::Never,
    };
    let error = HubError::Unreachable { url: url.to_owned(), found: error.to_string() };
    Failure { error, retry }
}

fn not_a_hub(url: &str, found: String, expected: &'static str) -> Failure {
    let error = HubError::Protocol { url: url.to_owned(), found, expected };
    Failure { error, retry: Retry::Never }
}

/// The file that an answer to HEAD describes.
fn announced(response: &Response<Body>, url: String, name: &str) -> Result<RemoteFile, Failure> {
    let missing =
        |header: &str, expected| not_a_hub(&url, format!("no usable header {header}"), expected);
    let linked_etag = text(response, "x-linked-etag").or_else(|| text(response, "etag"));
    let etag = linked_etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    let etag = etag.filter(|etag| is_plain_name(etag));
    let etag = etag.ok_or_else(|| missing("etag", "the checksum of a file"))?.to_owned();
    let commit = text(response, "x-repo-commit").filter(|commit| is_plain_name(commit));
    let commit = commit.ok_or_else(|| missing("x-repo-commit", "a commit"))?.to_owned();
    let linked_size = text(response, "x-linked-size");
    // The length of a redirect is that of its own body.
    let own_size = || text(response, "content-length").filter(|_| response.status().is_success());
    let bytes = linked_size.or_else(own_size).and_then(|size| size.parse().ok());
    let bytes = bytes.ok_or_else(|| missing("x-linked-size", "the size of a file"))?;
    Ok(RemoteFile { url, name: name.to_owned(), commit, etag, bytes })
}

/// An address without its path.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + "://".len());
    url[host..].find('/').map_or(url, |path| &url[..host + path])
}

/// Where a redirect leads from `url`.
fn redirected(url: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    if location.starts_with("//") {
        let scheme = url.find("//").unwrap_or_default();
        return format!("{}{location}", &url[..scheme]);
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(url));
    }
    let folder = url.rfind('/').map_or(url.len(), |slash| slash + 1);
    format!("{}{location}", &url[..folder])
}

/// A header's text.
pub(super) fn text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The message that the hub adds to a status, in brackets; empty if there is none.
fn said(response: &Response<Body>) -> String {
    let said = text(response, "x-error-message").or_else(|| text(response, "x-error-code"));
    said.map_or_else(String::new, |said| format!(" ({said})"))
}

/// The wait that the hub asks for: `Retry-After: 7`, or `RateLimit: "api";r=0;t=7`.
fn asked_delay(response: &Response<Body>) -> Retry {
    let limit = text(response, "ratelimit")
        .and_then(|limit| limit.split(';').find_map(|part| part.trim().strip_prefix("t=")));
    let seconds = text(response, "retry-after").or(limit);
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.map_or(Retry::Soon, |seconds| Retry::After(Duration::from_secs(seconds)))
}

/// A file's name as it stands in an address, slashes kept.
fn percent_encoded(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Fault, TestHub, named};
    use super::*;

    fn failure(retry: Retry) -> Failure {
        let error = HubError::Unreachable { url: "u".to_owned(), found: "f".to_owned() };
        Failure { error, retry }
    }

    #[test]
    fn patience_ends_after_its_tries_and_before_a_long_wait() {
        let patience = Patience { n_tries: 3, first_delay: Duration::from_millis(1) };
        assert!(patience.wait(0, failure(Retry::Never)).is_err());
        assert!(patience.wait(0, failure(Retry::Soon)).is_ok());
        assert!(patience.wait(1, failure(Retry::Soon)).is_ok());
        assert!(patience.wait(2, failure(Retry::Soon)).is_err(), "three tries have failed");
        let hour = Retry::After(Duration::from_hours(1));
        assert!(patience.wait(0, failure(hour)).is_err(), "nobody waits for an hour");
    }

    #[test]
    fn delay_is_read_from_either_header() {
        let delay = |name: &str, value: &str| {
            let response = Response::builder().header(name, value);
            asked_delay(&response.body(Body::builder().data("")).unwrap())
        };
        assert_eq!(delay("Retry-After", "7"), Retry::After(Duration::from_secs(7)));
        let limit = "\"api\";r=0;t=55";
        assert_eq!(delay("RateLimit", limit), Retry::After(Duration::from_secs(55)));
        assert_eq!(delay("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"), Retry::Soon);
    }

    #[test]
    fn origin_ends_where_the_path_begins() {
        for url in ["http://mirror:80/hf/org/model?a=/b", "http://mirror:80/", "http://mirror:80"] {
            assert_eq!(origin(url), "http://mirror:80");
        }
    }

    #[test]
    fn another_port_of_the_same_host_gets_no_token() {
        let [hub, other] = ["a.txt", "b.txt"].map(|name| TestHub::serve(&named(&[name])));
        let path = "/api/models/org/model/revision/main";
        let elsewhere = vec![("Location", format!("{}{path}", other.endpoint))];
        hub.fault("GET", path, Fault::Status("302 Found", elsewhere), 1);
        let client = Client::new(Settings {
            cache: "cache".into(),
            assets: "assets".into(),
            endpoint: hub.endpoint.clone(),
            token: Some(Token("secret".to_owned())),
            password: None,
            is_offline: false,
            patience: Patience { n_tries: 1, first_delay: Duration::ZERO },
        });
        let info = client.info(&Repository::model("org/model")).unwrap();
        assert_eq!(info.siblings[0].rfilename, "b.txt");
        let asked = [hub, other].map(|hub| hub.requests()[0].token.clone());
        assert_eq!(asked, [Some("secret".to_owned()), None]);
    }

    #[test]
    fn redirects_lead_to_addresses_hosts_paths_and_neighbours() {
        let from = "https://host:80/a/b";
        for (location, expected) in [
            ("http://other/c", "http://other/c"),
            ("//other/c", "https://other/c"),
            ("/c?d", "https://host:80/c?d"),
            ("c", "https://host:80/a/c"),
        ] {
            assert_eq!(redirected(from, location), expected);
        }
    }

    #[test]
    fn names_are_encoded_for_addresses() {
        assert_eq!(percent_encoded("data/a b#ü?.bin"), "data/a%20b%23%C3%BC%3F.bin");
        assert_eq!(percent_encoded("train-00000-of-00001.parquet"), "train-00000-of-00001.parquet");
    }
}
