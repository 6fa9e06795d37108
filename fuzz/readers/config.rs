//! Run files with what is set over them.
//! Not here: what else a run is made of (`records`, `rows`).

use othink::config::{ConfigFile, RunConfig};

/// The text up to the first zero byte is the run file, what is between the others are overrides.
pub(super) fn run_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0').map(str::to_owned);
    let file = ConfigFile::from_text("run.toml", parts.next().unwrap_or_default());
    let overrides: Vec<String> = parts.collect();
    let config = match RunConfig::from_file(&file, &overrides) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let resolved = config.resolved_toml().expect("what was read can be written");
    let again = RunConfig::from_file(&ConfigFile::from_text("run.toml", resolved.clone()), &[]);
    let again = again.unwrap_or_else(|error| panic!("not read back: {error}\n{resolved}"));
    assert_eq!(again.resolved_toml().expect("twice"), resolved);
}
