//! Splits of data sets, asked for over HTTP: which files are fetched, and when no request is made.
//! Not here: the names of shards (`shards`); failing transfers (`tests`).

use std::path::{Path, PathBuf};

use super::test_server::{COMMIT, Files, named};
use super::tests::{NEXT_COMMIT, Scene, message};
use super::*;

/// A data set's split, asked for by one client.
fn train_of(hub: &Hub) -> Result<Vec<String>, HubError> {
    let paths = hub.parquet(&Repository::dataset("org/set"), "train")?;
    let snapshot = Path::new("snapshots");
    Ok(paths
        .iter()
        .map(|path| {
            assert!(path.exists());
            let parts: Vec<_> = path.iter().collect();
            let start = parts.iter().position(|part| *part == snapshot.as_os_str()).unwrap() + 2;
            parts[start..].iter().collect::<PathBuf>().display().to_string()
        })
        .collect())
}

const SHARDS: [&str; 2] =
    ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];

#[test]
fn split_is_fetched_in_order_and_then_needs_no_request() {
    let scene = Scene::new(&Files::new());
    let files = named(&["README.md", "data/test-00000-of-00001.parquet", SHARDS[1], SHARDS[0]]);
    scene.server.add("datasets/org/set", "main", COMMIT, &files);
    assert_eq!(train_of(&scene.hub()).unwrap(), SHARDS);
    let n_asked = scene.server.requests().len();
    assert_eq!(n_asked, 1 + 2 * 3, "the list, and three requests for each of two shards");
    assert_eq!(train_of(&scene.hub()).unwrap(), SHARDS);
    // Python writes no listing: the shards' numbers tell that they are all there.
    std::fs::remove_dir_all(scene.cache.path().join("datasets--org--set/listings")).unwrap();
    assert_eq!(train_of(&scene.hub()).unwrap(), SHARDS);
    assert_eq!(train_of(&scene.offline_hub()).unwrap(), SHARDS);
    assert_eq!(scene.server.requests().len(), n_asked);
}

#[test]
fn half_a_split_is_completed_online_and_named_offline() {
    let scene = Scene::new(&Files::new());
    scene.server.add("datasets/org/set", "main", COMMIT, &named(&SHARDS));
    assert!(message(train_of(&scene.offline_hub())).contains("split `train` is not in the cache"));
    scene.hub().file(&Repository::dataset("org/set"), SHARDS[0]).unwrap();
    let by_number = message(train_of(&scene.offline_hub()));
    assert!(by_number.contains("expected shard 00001-of-00002 too) is not in"), "{by_number}");
    scene.hub().list(&Repository::dataset("org/set")).unwrap();
    let by_list = message(train_of(&scene.offline_hub()));
    assert!(by_list.contains(&format!("{} is not in the cache", SHARDS[1])), "{by_list}");
    assert_eq!(train_of(&scene.hub()).unwrap(), SHARDS);
}

#[test]
fn hubs_conversion_is_taken_where_main_has_no_parquet() {
    let scene = Scene::new(&Files::new());
    scene.server.add("datasets/org/set", "main", COMMIT, &named(&["data.zip", "README.md"]));
    let nowhere = message(train_of(&scene.hub()));
    assert!(nowhere.contains("no parquet file, on its main branch or converted"), "{nowhere}");
    let converted = ["default/train/0000.parquet", "default/train/0001.parquet"];
    scene.server.add("datasets/org/set", "refs/convert/parquet", NEXT_COMMIT, &named(&converted));
    assert_eq!(train_of(&scene.hub()).unwrap(), converted);
    let folder = scene.cache.path().join("datasets--org--set");
    assert!(folder.join("refs/refs/convert/parquet").is_file());
    let n_asked = scene.server.requests().len();
    assert_eq!(train_of(&scene.hub()).unwrap(), converted, "our list tells that it is whole");
    assert_eq!(scene.server.requests().len(), n_asked);
    std::fs::remove_dir_all(folder.join("listings")).unwrap();
    assert_eq!(train_of(&scene.offline_hub()).unwrap(), converted, "taken as the whole");
    assert_eq!(train_of(&scene.hub()).unwrap(), converted);
    assert_eq!(scene.server.requests().len(), n_asked + 2, "both branches are listed again");
}
