//! Fetches from the hub what is named, and prints the paths, one a line.
//!
//!     cargo run --example hub_fetch -- model org/name config.json ...
//!     cargo run --example hub_fetch -- dataset org/name README.md ...
//!     cargo run --example hub_fetch -- split org/name train
//!
//! The environment decides on cache, hub, token and whether anything is fetched, as for `othink` itself.
//! `scripts/reference/check_hub_cache.py` compares what this leaves behind with Python's client.
//! Not here: anything that `othink` needs.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use othink::hub::Hub;
use othink::hub::repository::Repository;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, id, names @ ..] = &words[..] else {
        return Err("expected model, dataset or split, an id, and names".into());
    };
    for path in fetch(what, id, names)? {
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}

fn fetch(what: &str, id: &str, names: &[String]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let hub = Hub::from_env();
    let repository = match what {
        "model" => Repository::model(id),
        "dataset" => Repository::dataset(id),
        "split" => {
            let split = names.first().ok_or("expected the name of a split")?;
            return Ok(hub.parquet(&Repository::dataset(id), split)?);
        }
        other => return Err(format!("found {other:?}, expected model, dataset or split").into()),
    };
    let paths = names.iter().map(|name| Ok(hub.file(&repository, name)?));
    paths.collect()
}
