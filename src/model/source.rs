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
pub static TINY: &[BuiltinFile] = embed_tiny![];

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
