//! Commands whose model, rows and pictures come from a hub by name: a server on this machine speaks its protocol.
//! Not here: what can go wrong on the way (`hub::tests`), the rows themselves (`datasets`).

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use self::test_server::{COMMIT, Files, TestHub};

#[allow(dead_code, reason = "the hub's own tests also use its faults")]
#[path = "../../src/hub/test_server.rs"]
mod test_server;

const N_GEOQA: usize = 754;

fn repository_file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A model, the pictures that GeoQA's list names, and a training set of eleven rows in two shards.
fn published() -> TestHub {
    let hub = TestHub::empty();
    let model = [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.json",
        "generation_config.json",
        "model.safetensors",
    ];
    let file = |name: &str| (name.to_owned(), repository_file(&format!("assets/tiny/{name}")));
    hub.add("models/org/tiny", "main", COMMIT, &model.map(file).into());
    let archive = [("images.zip".to_owned(), pictures())];
    hub.add("datasets/Luckyjhg/Geo170K", "main", COMMIT, &archive.into());
    let shard = |idx: usize| {
        let name = format!("data/train-{idx:05}-of-00002.parquet");
        let rows = repository_file(&format!("tests/golden/datasets/sharded/{name}"));
        (name, rows)
    };
    let rows: Files = BTreeMap::from([shard(0), shard(1)]);
    hub.add("datasets/leonardPKU/clevr_cogen_a_train", "main", COMMIT, &rows);
    hub
}

fn pictures() -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::new(56, 28).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for idx in 0..N_GEOQA {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(format!("images/test/{idx}.png"), options).unwrap();
        archive.write_all(png.get_ref()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A working folder with a cache of its own.
struct Place {
    folder: tempfile::TempDir,
    endpoint: String,
}

impl Place {
    fn new(endpoint: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), endpoint: endpoint.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, words: &[&str], is_offline: bool) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.args(words).current_dir(self.folder.path());
        command.env("HF_HOME", self.path("cache")).env("HF_ENDPOINT", &self.endpoint);
        command.env("HF_HUB_OFFLINE", if is_offline { "1" } else { "0" }).output().unwrap()
    }

    fn done(&self, words: &[&str], is_offline: bool) -> Output {
        let output = self.run(words, is_offline);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        output
    }
}

#[test]
fn published_task_is_evaluated_by_name_and_again_without_the_network() {
    let hub = published();
    let place = Place::new(&hub.endpoint);
    let words = ["eval", "--task", "geoqa", "--model", "org/tiny", "--limit", "3", "--json"];
    let words = [&words[..], &["--max-new-tokens", "8", "--out"]].concat();
    let first = place.done(&[&words[..], &["first.jsonl"]].concat(), false);
    let summary: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!((summary["n"].as_u64(), summary["rule"].as_str()), (Some(3), Some("r1v-geoqa")));
    let n_requests = hub.requests().len();
    let fetched = |name: &str| hub.requests().iter().any(|request| request.path.ends_with(name));
    assert!(fetched("images.zip") && fetched("model.safetensors"));

    let again = place.done(&[&words[..], &["again.jsonl"]].concat(), true);
    assert_eq!(again.stdout, first.stdout);
    let read = |name| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("again.jsonl"), read("first.jsonl"));
    assert_eq!(hub.requests().len(), n_requests);
}

#[test]
fn published_training_set_is_trained_on_as_the_run_file_says() {
    let hub = published();
    let place = Place::new(&hub.endpoint);
    let words = [
        "train",
        "--config",
        "grpo-d-clevr.toml",
        "--out",
        "run",
        "--set",
        "model.path=org/tiny",
        "--set",
        "grpo.prompts_per_update=11",
        "--set",
        "grpo.group_size=2",
        "--set",
        "rollout.max_new_tokens=8",
    ];
    place.done(&words, false);
    let lines = |name: &str| {
        let text = std::fs::read_to_string(place.path("run").join(name)).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines
    };
    // Two epochs of eleven rows, two completions each.
    assert_eq!((lines("metrics.jsonl").len(), lines("completions.jsonl").len()), (2, 44));
    assert!(place.path("run/checkpoints/step-000002/model.safetensors").is_file());
}

#[test]
fn what_was_never_fetched_is_named_with_ways_out() {
    let place = Place::new("http://127.0.0.1:9");
    let refused = place.run(&["eval", "--task", "geoqa", "--model", "tiny"], true);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    for part in ["Luckyjhg/Geo170K", "HF_HUB_OFFLINE", "--data", "synth-gr"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
