//! From what a user calls a model to its files: `tiny`, a folder, or an id of the Hugging Face hub.
//! Not here: reading the files (`files`, `config`, `weights`); data sets of the hub (`data`).
//!
//! Hub files lie where Python's `huggingface_hub` keeps them, so either program finds what the other
//! has fetched. Its environment variables are honoured: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`,
//! `HF_TOKEN`, `HF_HUB_OFFLINE`. A model that is wholly in the cache is used without asking the
//! network whether there is a newer one.

use std::env;
use std::path::{Path, PathBuf};

use hf_hub::Cache;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};

use super::error::ModelError;
use super::fields::read_object;
use super::files::{BuiltinFile, ModelFiles};
use super::save::SIDE_FILES;
use super::weights::{INDEX_FILE, SINGLE_FILE, read_weight_map};

/// The word for the model that is compiled into the binary.
const TINY_NAME: &str = "tiny";

/// The files of `assets/tiny` of these names, compiled into the binary.
macro_rules! embed_tiny {
    ($($name:literal),* $(,)?) => {
        &[$(BuiltinFile {
            name: $name,
            bytes: include_bytes!(concat!("../../assets/tiny/", $name)),
        }),*]
    };
}

/// The model that is compiled into the binary.
pub static TINY: &[BuiltinFile] = embed_tiny![
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.json",
    "model.safetensors",
];

/// The files of the model that `spec` names: `tiny`, an existing folder, or a hub id `org/name`.
///
/// A folder called `tiny` is reached as `./tiny`. A hub model that is not in the cache is fetched.
///
/// # Errors
/// The name leads nowhere; the error says where it was looked for and what was there.
pub fn resolve(spec: &str) -> Result<ModelFiles, ModelError> {
    resolve_among(spec, TINY, Hub::from_env)
}

fn resolve_among(
    spec: &str,
    tiny: &'static [BuiltinFile],
    hub: impl FnOnce() -> Hub,
) -> Result<ModelFiles, ModelError> {
    let not_found = |tried: String, hint: &str| ModelError::NotFound {
        spec: spec.to_owned(),
        tried,
        hint: hint.to_owned(),
    };
    if spec == TINY_NAME {
        if tiny.is_empty() {
            let hint = "give a model folder or a hub id; a folder called tiny is ./tiny";
            return Err(not_found(
                "this program was built without the tiny model".to_owned(),
                hint,
            ));
        }
        return Ok(ModelFiles::Builtin(tiny));
    }
    let folder = Path::new(spec);
    if folder.is_dir() {
        return Ok(ModelFiles::Folder(folder.to_owned()));
    }
    if folder.exists() {
        let hint = "give the folder that holds config.json and the safetensors files";
        return Err(not_found("it is a file, expected a folder".to_owned(), hint));
    }
    if !is_hub_id(spec) {
        let hint = "give `tiny`, a model folder, or a hub id such as Qwen/Qwen2-VL-2B-Instruct";
        return Err(not_found("no such folder, and not a hub id `org/name`".to_owned(), hint));
    }
    let hub = hub();
    if let Some(folder) = hub.cached(spec) {
        return Ok(ModelFiles::Folder(folder));
    }
    let cache = hub.cache.path().display().to_string();
    let tried = format!("no such folder; no complete copy in the cache {cache}");
    if hub.is_offline {
        let hint = "unset HF_HUB_OFFLINE, or point HF_HOME at a cache that holds the model";
        return Err(not_found(format!("{tried}; HF_HUB_OFFLINE forbids to fetch it"), hint));
    }
    let fetched = hub.fetch(spec).map_err(|error| {
        let hint = "check the spelling and the network; a gated or private model needs HF_TOKEN, \
                    a mirror HF_ENDPOINT";
        not_found(format!("{tried}; {} answers: {error}", hub.endpoint), hint)
    })?;
    Ok(ModelFiles::Folder(fetched))
}

/// `org/name`, both of the characters that the hub allows.
fn is_hub_id(spec: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    spec.split_once('/').is_some_and(|(org, name)| is_part(org) && is_part(name))
}

/// The hub as the environment describes it.
#[derive(Debug)]
struct Hub {
    cache: Cache,
    endpoint: String,
    token: Option<String>,
    is_offline: bool,
}

impl Hub {
    fn from_env() -> Self {
        let home = variable("HF_HOME").map_or_else(
            || env::home_dir().unwrap_or_default().join(".cache").join("huggingface"),
            PathBuf::from,
        );
        let stored_token = || std::fs::read_to_string(home.join("token")).ok();
        let token = variable("HF_TOKEN").or_else(stored_token);
        let endpoint =
            variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            cache: Cache::new(variable("HF_HUB_CACHE").map_or(home.join("hub"), PathBuf::from)),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            is_offline: variable("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
            }),
        }
    }

    /// The model's folder in the cache, where everything that a run needs is there.
    ///
    /// [`Hub::fetch`] takes the weights last, so that a copy with all its weights has the rest too.
    fn cached(&self, id: &str) -> Option<PathBuf> {
        let repo = self.cache.model(id.to_owned());
        let folder = repo.get("config.json")?.parent()?.to_owned();
        repo.get("tokenizer.json")?;
        if repo.get(SINGLE_FILE).is_some() {
            return Some(folder);
        }
        let index = read_object(&ModelFiles::Folder(folder.clone()), INDEX_FILE).ok()??;
        let is_complete =
            read_weight_map(&index)?.iter().all(|(_, shard)| repo.get(shard).is_some());
        is_complete.then_some(folder)
    }

    fn fetch(&self, id: &str) -> Result<PathBuf, FetchError> {
        let repo = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_user_agent("othink", env!("CARGO_PKG_VERSION"))
            .build()?
            .model(id.to_owned());
        let listed = repo.info()?.siblings.into_iter().map(|file| file.rfilename);
        let (weights, mut wanted): (Vec<String>, Vec<String>) =
            listed.filter(|name| is_model_file(name)).partition(|name| is_weights(name));
        if weights.is_empty() {
            return Err(FetchError::NoWeights);
        }
        wanted.extend(weights);
        tracing::info!(model = id, files = wanted.len(), from = self.endpoint, "fetching a model");
        // A second pass completes the newer snapshot if the model was changed during the first.
        for _ in 0..2 {
            if let Some(folder) = fetch_all(&repo, &wanted)? {
                return Ok(folder);
            }
        }
        Err(FetchError::Changing)
    }
}

/// Fetches what the cache does not hold; the folder, if all the files are in the same one.
fn fetch_all(repo: &ApiRepo, wanted: &[String]) -> Result<Option<PathBuf>, ApiError> {
    let mut folders = Vec::new();
    for name in wanted {
        folders.extend(repo.get(name)?.parent().map(Path::to_owned));
    }
    let last = folders.pop();
    Ok(last.filter(|last| folders.iter().all(|folder| folder == last)))
}

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the model has no safetensors files")]
    NoWeights,
    #[error("the model kept changing while it was fetched")]
    Changing,
}

fn is_model_file(name: &str) -> bool {
    SIDE_FILES.contains(&name) || name == INDEX_FILE || is_weights(name)
}

fn is_weights(name: &str) -> bool {
    let is_shard = name.starts_with("model-") && name.ends_with(".safetensors");
    name == SINGLE_FILE || is_shard && !name.contains(['/', '\\'])
}

/// The environment variable, where it is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tempfile::TempDir;

    use super::super::test_hub::TestHub;
    use super::*;

    static FAKE: &[BuiltinFile] = &[BuiltinFile { name: "config.json", bytes: b"{}" }];

    fn no_hub() -> Hub {
        panic!("the hub is not to be asked")
    }

    fn hub(cache: &TempDir, endpoint: &str, is_offline: bool) -> Hub {
        Hub {
            cache: Cache::new(cache.path().to_owned()),
            endpoint: endpoint.to_owned(),
            token: Some("secret".to_owned()),
            is_offline,
        }
    }

    fn message(outcome: Result<ModelFiles, ModelError>) -> String {
        let message = outcome.unwrap_err().to_string();
        assert!(message.starts_with("model \"") && message.contains("\nhint: "), "{message}");
        message
    }

    fn named(names: &[&str]) -> BTreeMap<String, Vec<u8>> {
        names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
    }

    #[test]
    fn tiny_is_the_built_in_model() {
        let files = resolve_among("tiny", FAKE, no_hub).unwrap();
        assert_eq!(files.read("config.json").unwrap().as_deref(), Some(&b"{}"[..]));
        let without = message(resolve_among("tiny", &[], no_hub));
        assert!(without.contains("built without the tiny model"), "{without}");
    }

    #[test]
    fn existing_folder_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = resolve_among(folder.path().to_str().unwrap(), FAKE, no_hub).unwrap();
        assert!(matches!(files, ModelFiles::Folder(found) if found == folder.path()));
    }

    #[test]
    fn names_that_lead_nowhere_say_what_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        std::fs::write(&file, "").unwrap();
        let is_file = message(resolve_among(file.to_str().unwrap(), FAKE, no_hub));
        assert!(is_file.contains("it is a file, expected a folder"), "{is_file}");
        for spec in
            ["no-such-model", "./org/model", "/org/model", "a/b/c", "../model", "~/model", ""]
        {
            let nowhere = message(resolve_among(spec, FAKE, no_hub));
            assert!(nowhere.contains("no such folder, and not a hub id"), "{nowhere}");
        }
    }

    #[test]
    fn hub_model_is_fetched_once_and_then_used_without_the_network() {
        let index = json!({"weight_map": {"a": "model-00001-of-00001.safetensors"}}).to_string();
        let mut served = named(&[
            "config.json",
            "tokenizer.json",
            "model-00001-of-00001.safetensors",
            "README.md",
            "pytorch_model.bin",
            "original/model.safetensors",
        ]);
        served.insert(INDEX_FILE.to_owned(), index.into_bytes());
        let (server, cache) = (TestHub::serve(served), tempfile::tempdir().unwrap());
        let first = resolve_among("org/model", FAKE, || hub(&cache, &server.endpoint, false));
        let ModelFiles::Folder(folder) = first.unwrap() else { panic!("a folder") };
        for name in ["config.json", "tokenizer.json", "model-00001-of-00001.safetensors"] {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), name);
        }
        assert!(folder.ends_with("models--org--model/snapshots/c0ffee"), "{}", folder.display());
        for absent in ["README.md", "pytorch_model.bin", "original"] {
            assert!(!folder.join(absent).exists(), "{absent} is not needed");
        }
        let asked = server.requests();
        assert!(!asked.iter().any(|request| request.path.ends_with("README.md")));
        assert!(asked.iter().all(|request| request.token.as_deref() == Some("secret")));

        let again = resolve_among("org/model", FAKE, || hub(&cache, &server.endpoint, true));
        assert!(matches!(again.unwrap(), ModelFiles::Folder(found) if found == folder));
        assert_eq!(server.requests().len(), asked.len(), "a whole copy needs no request");
    }

    #[test]
    fn half_a_copy_in_the_cache_is_completed() {
        let served = named(&["config.json", "tokenizer.json", SINGLE_FILE]);
        let (server, cache) = (TestHub::serve(served), tempfile::tempdir().unwrap());
        let fetch = |is_offline| {
            resolve_among("org/model", FAKE, || hub(&cache, &server.endpoint, is_offline))
        };
        let ModelFiles::Folder(folder) = fetch(false).unwrap() else { panic!("a folder") };
        std::fs::remove_file(folder.join(SINGLE_FILE)).unwrap();
        let offline = message(fetch(true));
        assert!(offline.contains("no complete copy in the cache"), "{offline}");
        assert!(offline.contains("HF_HUB_OFFLINE"), "{offline}");
        fetch(false).unwrap();
        assert!(folder.join(SINGLE_FILE).exists());
    }

    #[test]
    fn hub_that_does_not_know_the_model_is_quoted() {
        let (server, cache) =
            (TestHub::serve(named(&["config.json"])), tempfile::tempdir().unwrap());
        let unknown = resolve_among("org/other", FAKE, || hub(&cache, &server.endpoint, false));
        let unknown = message(unknown);
        assert!(unknown.contains(&server.endpoint) && unknown.contains("404"), "{unknown}");
        let empty = resolve_among("org/model", FAKE, || hub(&cache, &server.endpoint, false));
        assert!(message(empty).contains("the model has no safetensors files"));
        let nobody = "http://127.0.0.1:1";
        let unreachable = resolve_among("org/model", FAKE, || hub(&cache, nobody, false));
        assert!(message(unreachable).contains("http://127.0.0.1:1 answers: request error"));
    }
}
