//! The client against a hub over HTTP that fails in the ways that real ones do.
//! Not here: single functions, tested beside their code; splits of data sets (`test_parquet`); which
//! files a model needs (`model::source`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::test_server::{COMMIT, Fault, Files, TestHub, named, sha256};
use super::*;

/// The file that most tests fetch, in large-file storage.
const NAME: &str = "model.safetensors";

/// A later commit.
pub(super) const NEXT_COMMIT: &str = "decadedecadedecadedecadedecadedecadedeca";

/// A hub, and a cache that clients fill from it.
pub(super) struct Scene {
    pub(super) server: TestHub,
    pub(super) cache: TempDir,
    model: Repository,
}

impl Scene {
    pub(super) fn new(files: &Files) -> Self {
        let (server, cache) = (TestHub::serve(files), tempfile::tempdir().unwrap());
        Self { server, cache, model: Repository::model("org/model") }
    }

    /// A model of one large file.
    fn large() -> Self {
        Self::new(&[(NAME.to_owned(), large())].into())
    }

    fn settings(&self) -> Settings {
        Settings {
            cache: self.cache.path().to_owned(),
            assets: self.cache.path().join("assets"),
            endpoint: self.server.endpoint.clone(),
            token: Some(Token("secret".to_owned())),
            password: None,
            is_offline: false,
            patience: Patience { n_tries: 3, first_delay: Duration::from_millis(1) },
        }
    }

    pub(super) fn hub(&self) -> Hub {
        Hub::new(self.settings())
    }

    /// A client that gives up at the first failure, as if it had been killed.
    fn fragile_hub(&self) -> Hub {
        let patience = Patience { n_tries: 1, first_delay: Duration::ZERO };
        Hub::new(Settings { patience, ..self.settings() })
    }

    pub(super) fn offline_hub(&self) -> Hub {
        Hub::new(Settings { is_offline: true, ..self.settings() })
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("models--org--model")
    }

    /// Where the large file is being written.
    fn partial(&self) -> PathBuf {
        self.folder().join("blobs").join(format!("{}.incomplete", sha256(&large())))
    }

    fn begin_partial(&self, contents: &[u8]) {
        create_parent(&self.partial()).unwrap();
        std::fs::write(self.partial(), contents).unwrap();
    }

    /// The ranges that the storage was asked for, in order; `all` where none was named.
    fn ranges(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(test_server::Request::is_storage)
            .map(|request| request.range.unwrap_or("all".to_owned()))
            .collect()
    }

    #[track_caller]
    fn assert_fetched(&self, outcome: Result<PathBuf, HubError>) {
        assert_eq!(std::fs::read(outcome.unwrap()).unwrap(), large());
        assert!(!self.partial().exists());
    }

    /// Makes the contents of the large file arrive wrong.
    fn storage_fault(&self, fault: Fault, times: usize) {
        self.server.fault("GET", &sha256(&large()), fault, times);
    }
}

/// 300,000 bytes without repetition.
fn large() -> Vec<u8> {
    (0_u32..75_000).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// The error's text, which has exactly one hint.
#[track_caller]
pub(super) fn message<T: std::fmt::Debug>(outcome: Result<T, HubError>) -> String {
    let message = outcome.unwrap_err().to_string();
    assert_eq!(message.matches("\nhint: ").count(), 1, "{message}");
    message
}

#[test]
fn listing_names_the_commit_and_its_files_for_both_kinds() {
    let scene = Scene::new(&named(&["config.json", NAME]));
    scene.server.add("datasets/org/set", "refs/x/y", NEXT_COMMIT, &named(&["data/a.parquet"]));
    let listing = scene.hub().list(&scene.model).unwrap();
    assert_eq!((&*listing.commit, listing.names.len()), (COMMIT, 2));
    let set = Repository::dataset("org/set").at("refs/x/y");
    assert_eq!(scene.hub().list(&set).unwrap().names, ["data/a.parquet"]);
    let asked = scene.server.requests();
    assert_eq!(asked[1].path, "/api/datasets/org/set/revision/refs%2Fx%2Fy");
}

#[test]
fn file_is_laid_out_as_python_does_and_fetched_once() {
    let scene = Scene::large();
    let path = scene.hub().file(&scene.model, NAME).unwrap();
    assert_eq!(path, scene.folder().join("snapshots").join(COMMIT).join(NAME));
    let blob = Path::new("../../blobs").join(sha256(&large()));
    assert_eq!(std::fs::read_link(&path).unwrap(), blob);
    assert_eq!(std::fs::read_to_string(scene.folder().join("refs/main")).unwrap(), COMMIT);
    let lock = format!(".locks/models--org--model/{}.lock", sha256(&large()));
    assert!(scene.cache.path().join(lock).exists());
    scene.assert_fetched(Ok(path));

    let asked = scene.server.requests();
    let methods: Vec<&str> = asked.iter().map(|request| &*request.method).collect();
    assert_eq!(methods, ["HEAD", "GET", "GET"], "what it is, where it is, the thing itself");
    let tokens: Vec<_> = asked.iter().map(|request| request.token.as_deref()).collect();
    assert_eq!(tokens, [Some("secret"), Some("secret"), None], "the token stays with the hub");
    scene.offline_hub().file(&scene.model, NAME).unwrap();
    assert_eq!(scene.server.requests().len(), asked.len());
}

#[test]
fn folders_spaces_and_empty_files_are_fetched_as_they_are() {
    let mut files = named(&["data/a b.txt"]);
    files.insert("empty.txt".to_owned(), Vec::new());
    let scene = Scene::new(&files);
    let folder = scene.hub().files(&scene.model, |name| name != NAME).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("data/a b.txt")).unwrap(), "data/a b.txt");
    assert_eq!(std::fs::read(folder.join("empty.txt")).unwrap(), b"");
    let none = message(scene.hub().files(&scene.model, |name| name == NAME));
    assert!(none.contains("2 files, none of them wanted"), "{none}");
}

#[test]
fn cut_connection_is_resumed_with_the_rest_alone() {
    let scene = Scene::large();
    scene.storage_fault(Fault::Cut(100_000), 1);
    scene.storage_fault(Fault::Cut(50_000), 1);
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert_eq!(scene.ranges(), ["all", "100000-", "150000-"]);
}

#[test]
fn killed_download_is_continued_by_a_new_client() {
    let scene = Scene::large();
    scene.storage_fault(Fault::Cut(123_456), 1);
    let killed = message(scene.fragile_hub().file(&scene.model, NAME));
    assert!(killed.contains("after 123456 of 300000 bytes"), "{killed}");
    assert_eq!(std::fs::read(scene.partial()).unwrap(), &large()[..123_456]);
    assert!(!scene.folder().join("snapshots").exists(), "nothing appears before it is whole");
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert_eq!(scene.ranges(), ["all", "123456-"]);
}

#[test]
fn whole_file_that_was_not_yet_verified_is_not_fetched_again() {
    let scene = Scene::large();
    scene.begin_partial(&large());
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert!(scene.ranges().is_empty());
}

#[test]
fn damage_is_mended_once_from_the_start() {
    let scene = Scene::large();
    scene.storage_fault(Fault::Damage, 1);
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert_eq!(scene.ranges(), ["all", "all"]);
}

#[test]
fn damage_on_the_disk_is_not_built_upon() {
    for wrong in [vec![0; 1000], vec![0; 300_001]] {
        let scene = Scene::large();
        scene.begin_partial(&wrong);
        scene.assert_fetched(scene.hub().file(&scene.model, NAME));
        assert_eq!(scene.ranges().last().unwrap(), "all", "from the start");
    }
}

#[test]
fn lasting_damage_is_an_error_and_leaves_nothing() {
    for (fault, found) in [(Fault::Damage, "found sha256 "), (Fault::Longer, "found 300001 bytes")]
    {
        let scene = Scene::large();
        scene.storage_fault(fault, usize::MAX);
        let damaged = message(scene.hub().file(&scene.model, NAME));
        assert!(damaged.contains("damaged") && damaged.contains(found), "{damaged}");
        assert_eq!(scene.ranges(), ["all", "all"]);
        let blobs = std::fs::read_dir(scene.folder().join("blobs")).unwrap().count();
        assert_eq!(blobs, 0);
        assert!(!scene.folder().join("refs").exists());
    }
}

#[test]
fn small_files_are_verified_too() {
    let scene = Scene::new(&named(&["config.json"]));
    scene.server.fault("GET", "config.json", Fault::Damage, usize::MAX);
    let damaged = message(scene.hub().file(&scene.model, "config.json"));
    assert!(damaged.contains("found git sha1 "), "{damaged}");
}

#[test]
fn file_that_is_shorter_than_announced_is_not_waited_for_for_ever() {
    let scene = Scene::new(&named(&["config.json"]));
    scene.server.fault("HEAD", "config.json", Fault::Longer, usize::MAX);
    let short = message(scene.hub().file(&scene.model, "config.json"));
    assert!(short.contains("of 12 bytes"), "{short}");
}

#[test]
fn server_that_ignores_ranges_is_taken_from_the_start() {
    let scene = Scene::large();
    scene.begin_partial(&large()[..1000]);
    scene.storage_fault(Fault::NoRanges, 1);
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert_eq!(scene.ranges(), ["1000-"]);
}

#[test]
fn answer_to_another_range_is_not_appended() {
    let scene = Scene::large();
    scene.begin_partial(&large()[..1000]);
    let range = vec![("Content-Range", "bytes 5-9/300000".to_owned())];
    scene.storage_fault(Fault::Status("206 Partial Content", range), 1);
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert_eq!(scene.ranges(), ["1000-", "all"]);
}

#[test]
fn busy_hub_is_asked_again_after_the_wait_it_wants() {
    let scene = Scene::large();
    let wait = vec![("Retry-After", "1".to_owned())];
    scene.server.fault("HEAD", NAME, Fault::Status("429 Too Many Requests", wait), 1);
    scene.storage_fault(Fault::Status("503 Service Unavailable", Vec::new()), 2);
    let started = Instant::now();
    scene.assert_fetched(scene.hub().file(&scene.model, NAME));
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn hub_that_stays_busy_is_given_up() {
    let scene = Scene::new(&Files::new());
    let status = Fault::Status("429 Too Many Requests", Vec::new());
    scene.server.fault("GET", "", status, usize::MAX);
    let busy = message(scene.hub().list(&scene.model));
    assert!(busy.contains("found 429") && busy.contains("HF_TOKEN"), "{busy}");
    assert_eq!(scene.server.requests().len(), 3);
}

#[test]
fn denied_access_says_what_the_token_lacks() {
    let scene = Scene::large();
    let gated = vec![("X-Error-Message", "Access to model org/model is restricted".to_owned())];
    scene.server.fault("HEAD", NAME, Fault::Status("403 Forbidden", gated), 1);
    let with = message(scene.hub().file(&scene.model, NAME));
    assert!(with.contains("403 (Access to model org/model is restricted)"), "{with}");
    assert!(with.contains("the token has no access"), "{with}");
    scene.server.fault("GET", "main", Fault::Status("401 Unauthorized", Vec::new()), 1);
    let stranger = Hub::new(Settings { token: None, ..scene.settings() });
    let without = message(stranger.list(&scene.model));
    assert!(without.contains("401") && without.contains("needs HF_TOKEN"), "{without}");
    assert!(scene.server.requests().last().unwrap().token.is_none());
}

#[test]
fn absence_says_of_what() {
    let scene = Scene::large();
    let file = message(scene.hub().file(&scene.model, "absent.json"));
    assert!(file.contains("file not found: found 404 (EntryNotFound)"), "{file}");
    for (code, missing) in [("RepoNotFound", "repository"), ("RevisionNotFound", "revision")] {
        let headers = vec![("X-Error-Code", code.to_owned())];
        scene.server.fault("GET", "main", Fault::Status("404 Not Found", headers), 1);
        let absent = message(scene.hub().list(&scene.model));
        assert!(absent.contains(&format!("{missing} not found")), "{absent}");
    }
    assert_eq!(scene.server.requests().len(), 3, "nobody asks again for what is not there");
}

#[test]
fn renamed_repository_is_followed_with_the_token() {
    let scene = Scene::large();
    let path = format!("/org/model/resolve/main/{NAME}");
    let renamed = Fault::Status("307 Temporary Redirect", vec![("Location", path.clone())]);
    let old = format!("/org/old/resolve/main/{NAME}");
    scene.server.fault("HEAD", &old, renamed, usize::MAX);
    let fetched = scene.hub().file(&Repository::model("org/old"), NAME).unwrap();
    assert_eq!(std::fs::read(fetched).unwrap(), large());
    let asked = scene.server.requests();
    assert_eq!((&*asked[1].path, asked[1].token.as_deref()), (&*path, Some("secret")));
}

#[test]
fn answers_that_no_hub_gives_are_refused() {
    let scene = Scene::large();
    scene.server.fault("HEAD", NAME, Fault::Bare, 1);
    let bare = message(scene.hub().file(&scene.model, NAME));
    assert!(bare.contains("no usable header etag"), "{bare}");
    scene.server.fault("GET", "main", Fault::Status("200 OK", Vec::new()), usize::MAX);
    assert!(message(scene.hub().list(&scene.model)).contains("request error: EOF"));
    scene.server.add("models/org/evil", "main", COMMIT, &named(&["../../evil"]));
    let evil = message(scene.hub().list(&Repository::model("org/evil").at(COMMIT)));
    assert!(evil.contains("found a file called \"../../evil\""), "{evil}");
    let own = message(scene.hub().file(&scene.model, "../../evil"));
    assert!(own.contains("stay below"), "{own}");
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_is_named_and_not_retried() {
    let scene = Scene::large();
    create_parent(&scene.partial()).unwrap();
    std::os::unix::fs::symlink("/dev/full", scene.partial()).unwrap();
    let full = message(scene.hub().file(&scene.model, NAME));
    assert!(full.contains("the disk is full, expected space for 300000 bytes"), "{full}");
    assert_eq!(scene.ranges().len(), 1);
}

#[test]
fn two_clients_fetch_one_file_once() {
    let scene = Scene::large();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| scene.assert_fetched(scene.hub().file(&scene.model, NAME)));
        }
    });
    assert_eq!(scene.ranges(), ["all"]);
}

#[test]
fn newer_commit_replaces_the_older_one_only_when_it_is_whole() {
    let scene = Scene::new(&named(&["a.txt", "b.txt"]));
    let is_text = |name: &str| name.contains("txt");
    let old = scene.hub().files(&scene.model, is_text).unwrap();
    let mut newer = named(&["a.txt"]);
    newer.insert("b.txt".to_owned(), b"changed".to_vec());
    scene.server.add("models/org/model", "main", NEXT_COMMIT, &newer);
    let broken = Fault::Status("500 Internal Server Error", Vec::new());
    scene.server.fault("GET", "b.txt", broken, 1);
    scene.fragile_hub().files(&scene.model, is_text).unwrap_err();
    assert_eq!(scene.hub().snapshot(&scene.model).unwrap(), old);

    let n_asked = scene.server.requests().len();
    let new = scene.hub().files(&scene.model, is_text).unwrap();
    assert!(new.ends_with(NEXT_COMMIT));
    assert_eq!(scene.hub().snapshot(&scene.model).unwrap(), new);
    assert_eq!(std::fs::read_to_string(new.join("b.txt")).unwrap(), "changed");
    assert_eq!(scene.server.requests().len() - n_asked, 3, "the list, and b.txt alone");
    assert_eq!(std::fs::read_to_string(old.join("b.txt")).unwrap(), "b.txt");
}

#[test]
fn offline_says_what_is_missing_and_asks_nothing() {
    let scene = Scene::new(&named(&["a.txt", "b.txt", "c.txt"]));
    let offline = scene.offline_hub();
    assert!(message(offline.list(&scene.model)).contains("the list of its files is not in"));
    assert!(message(offline.file(&scene.model, "a.txt")).contains("a.txt is not in the cache"));
    assert!(scene.server.requests().is_empty());
    scene.hub().list(&scene.model).unwrap();
    scene.hub().file(&scene.model, "a.txt").unwrap();
    let n_asked = scene.server.requests().len();
    let missing = message(offline.files(&scene.model, |_| true));
    assert!(missing.contains("b.txt, c.txt are not in the cache"), "{missing}");
    assert!(missing.contains("HF_HUB_OFFLINE"), "{missing}");
    offline.files(&scene.model, |name| name == "a.txt").unwrap();
    assert_eq!(scene.server.requests().len(), n_asked);
}
