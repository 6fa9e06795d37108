//! Finding a model's files by the name that a user gives: `tiny`, a folder, or an id of the Hugging Face hub.
//! Not here: reading the files (`files`, `config`, `weights`); how the hub is asked (`crate::hub`).
//!
//! A model that is wholly in the hub's cache is used without asking the network whether there is a
//! newer one.

use std::path::Path;

use crate::hub::repository::Repository;
use crate::hub::{Hub, Listing};
use crate::input_file;

use super::adapter::base_of;
use super::error::ModelError;
use super::fields::read_object;
use super::files::{ADAPTER_CONFIG, BuiltinFile, ModelFiles};
use super::save::side_files;
use super::weights::{INDEX_FILE, SINGLE_FILE, read_weight_map};

/// The name of the model that is compiled into the binary.
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
/// There is no such model; the error says where it was searched for and what was there.
pub fn resolve(spec: &str) -> Result<ModelFiles, ModelError> {
    resolve_among(spec, TINY, Box::new(Hub::from_env))
}

/// The files of the model in a folder that is there, or of the adapter in it.
///
/// # Errors
/// It is an adapter, and the model that it is for is not found.
pub fn in_folder(folder: &Path) -> Result<ModelFiles, ModelError> {
    of_folder(folder, TINY, Box::new(Hub::from_env))
}

fn resolve_among(
    spec: &str,
    tiny: &'static [BuiltinFile],
    hub: Box<dyn FnOnce() -> Hub + '_>,
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
    let found = input_file::kind(folder)
        .map_err(|source| ModelError::Read { file: spec.to_owned(), source })?;
    if found.is_some_and(|found| found.is_dir()) {
        return of_folder(folder, tiny, hub);
    }
    if found.is_some() {
        let hint = "give the folder that holds config.json and the safetensors files";
        return Err(not_found("it is a file, expected a folder".to_owned(), hint));
    }
    if !Repository::is_id(spec) {
        let hint = "give `tiny`, a model folder, or a hub id such as Qwen/Qwen2-VL-2B-Instruct";
        return Err(not_found("no such folder, and not a hub id `org/name`".to_owned(), hint));
    }
    let (hub, repository) = (hub(), Repository::model(spec));
    if let Some(folder) = hub.snapshot(&repository).filter(|folder| is_whole(folder)) {
        return Ok(ModelFiles::Folder(folder));
    }
    let of_hub = |source| ModelError::Hub { spec: spec.to_owned(), source };
    let listing = hub.list(&repository).map_err(of_hub)?;
    let Some(names) = model_files(&listing) else {
        let hint = "only checkpoints in safetensors files are supported";
        return Err(not_found("the model has no safetensors files".to_owned(), hint));
    };
    let folder = hub.fetch(&listing, &names).map_err(of_hub)?;
    Ok(ModelFiles::Folder(folder))
}

/// The model in a folder, or the adapter with the model that it is for.
fn of_folder(
    folder: &Path,
    tiny: &'static [BuiltinFile],
    hub: Box<dyn FnOnce() -> Hub + '_>,
) -> Result<ModelFiles, ModelError> {
    let files = ModelFiles::Folder(folder.to_owned());
    let has = |name: &str| folder.join(name).exists();
    if !has(ADAPTER_CONFIG) || has("config.json") {
        return Ok(files);
    }
    let spec = base_of(&files)?;
    let refused = |found: String| ModelError::Adapter {
        file: files.describe(ADAPTER_CONFIG),
        found: format!("base_model_name_or_path is {spec:?}: {found}"),
        expected: "the model that the adapter is for".to_owned(),
        hint: "write there where that model is now; a relative path starts at the working folder",
    };
    let base = match resolve_among(&spec, tiny, hub) {
        Ok(ModelFiles::Adapter(_)) => return Err(refused("that is an adapter itself".to_owned())),
        Ok(base) => base,
        Err(ModelError::NotFound { tried, .. }) => return Err(refused(tried)),
        Err(other) => return Err(other),
    };
    Ok(ModelFiles::adapter(folder.to_owned(), base))
}

/// Whether a folder of the cache has everything that a run needs.
///
/// The weights are fetched last, so that a copy with all its weights has the rest too.
fn is_whole(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    let files = ModelFiles::Folder(folder.to_owned());
    let has_shards = || {
        let index = read_object(&files, INDEX_FILE).ok()??;
        Some(read_weight_map(&index)?.iter().all(|(_, shard)| has(shard)))
    };
    has("config.json")
        && has("tokenizer.json")
        && (has(SINGLE_FILE) || has_shards().unwrap_or(false))
}

/// The files that a run needs, weights last; `None` for a model that has none.
fn model_files(listing: &Listing) -> Option<Vec<String>> {
    let wanted = listing.names.iter().filter(|name| is_model_file(name)).cloned();
    let (weights, mut names): (Vec<String>, Vec<String>) =
        wanted.partition(|name| is_weights(name));
    names.extend(weights.iter().cloned());
    (!weights.is_empty()).then_some(names)
}

fn is_model_file(name: &str) -> bool {
    side_files().any(|side_file| side_file == name) || name == INDEX_FILE || is_weights(name)
}

fn is_weights(name: &str) -> bool {
    let is_shard = name.starts_with("model-") && name.ends_with(".safetensors");
    name == SINGLE_FILE || is_shard && !name.contains(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tempfile::TempDir;

    use crate::hub::test_server::{COMMIT, TestHub, named};
    use crate::hub::{Patience, Settings, Token};

    use super::*;

    static FAKE: &[BuiltinFile] = &[BuiltinFile { name: "config.json", bytes: b"{}" }];

    fn no_hub() -> Hub {
        panic!("the hub is not to be asked")
    }

    fn hub(cache: &TempDir, endpoint: &str, is_offline: bool) -> Hub {
        Hub::new(Settings {
            cache: cache.path().to_owned(),
            assets: cache.path().join("assets"),
            endpoint: endpoint.to_owned(),
            token: Some(Token("secret".to_owned())),
            password: None,
            is_offline,
            patience: Patience { n_tries: 3, first_delay: Duration::from_millis(1) },
        })
    }

    fn message(outcome: Result<ModelFiles, ModelError>) -> String {
        let message = outcome.unwrap_err().to_string();
        assert!(message.starts_with("model \"") && message.contains("\nhint: "), "{message}");
        message
    }

    #[test]
    fn tiny_is_the_built_in_model() {
        let files = resolve_among("tiny", FAKE, Box::new(no_hub)).unwrap();
        assert_eq!(files.read("config.json").unwrap().as_deref(), Some(&b"{}"[..]));
        let without = message(resolve_among("tiny", &[], Box::new(no_hub)));
        assert!(without.contains("built without the tiny model"), "{without}");
    }

    #[test]
    fn existing_folder_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = resolve_among(folder.path().to_str().unwrap(), FAKE, Box::new(no_hub)).unwrap();
        assert!(matches!(files, ModelFiles::Folder(found) if found == folder.path()));
    }

    #[test]
    fn names_that_lead_nowhere_say_what_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        std::fs::write(&file, "").unwrap();
        let is_file = message(resolve_among(file.to_str().unwrap(), FAKE, Box::new(no_hub)));
        assert!(is_file.contains("it is a file, expected a folder"), "{is_file}");
        for spec in [
            "no-such-model",
            "./org/model",
            "/org/model",
            "a/b/c",
            "../no-such-model",
            "~/model",
            "",
        ] {
            let nowhere = message(resolve_among(spec, FAKE, Box::new(no_hub)));
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
        let (server, cache) = (TestHub::serve(&served), tempfile::tempdir().unwrap());
        let first =
            resolve_among("org/model", FAKE, Box::new(|| hub(&cache, &server.endpoint, false)));
        let ModelFiles::Folder(folder) = first.unwrap() else { panic!("a folder") };
        for name in ["config.json", "tokenizer.json", "model-00001-of-00001.safetensors"] {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), name);
        }
        let snapshot = Path::new("models--org--model/snapshots").join(COMMIT);
        assert!(folder.ends_with(snapshot), "{}", folder.display());
        for absent in ["README.md", "pytorch_model.bin", "original"] {
            assert!(!folder.join(absent).exists(), "{absent} is not needed");
        }
        let asked = server.requests();
        assert!(!asked.iter().any(|request| request.path.ends_with("README.md")));
        for request in &asked {
            let token = (!request.is_storage()).then_some("secret");
            assert_eq!(request.token.as_deref(), token, "the hub's own eyes only: {request:?}");
        }

        let again =
            resolve_among("org/model", FAKE, Box::new(|| hub(&cache, &server.endpoint, true)));
        assert!(matches!(again.unwrap(), ModelFiles::Folder(found) if found == folder));
        assert_eq!(server.requests().len(), asked.len(), "a whole copy needs no request");
    }

    #[test]
    fn half_a_copy_in_the_cache_is_completed() {
        let served = named(&["config.json", "tokenizer.json", SINGLE_FILE]);
        let (server, cache) = (TestHub::serve(&served), tempfile::tempdir().unwrap());
        let fetch = |is_offline| {
            resolve_among("org/model", FAKE, Box::new(|| hub(&cache, &server.endpoint, is_offline)))
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
            (TestHub::serve(&named(&["config.json"])), tempfile::tempdir().unwrap());
        let unknown =
            resolve_among("org/other", FAKE, Box::new(|| hub(&cache, &server.endpoint, false)));
        let unknown = message(unknown);
        assert!(unknown.contains(&server.endpoint) && unknown.contains("404"), "{unknown}");
        let empty =
            resolve_among("org/model", FAKE, Box::new(|| hub(&cache, &server.endpoint, false)));
        assert!(message(empty).contains("the model has no safetensors files"));
        let nobody = "http://127.0.0.1:1";
        let unreachable = resolve_among("org/model", FAKE, Box::new(|| hub(&cache, nobody, false)));
        let unreachable = message(unreachable);
        assert!(unreachable.contains("http://127.0.0.1:1/api/models/org/model"), "{unreachable}");
        assert!(unreachable.contains("request error"), "{unreachable}");
    }
}
