//! The Hugging Face hub: models and data sets, fetched once, verified, shared with Python's cache.
//!
//! Reading order: what is meant ([`repository`]), what the environment says (`settings`), the cache
//! (`folder`), the protocol (`client`), one file (`download`, `checksum`), a data set's files
//! (`parquet`, `shards`), what can go wrong ([`error`]). Files of one call come from one commit, and a revision
//! leads to that commit only when all of them are there: a copy that was cut short is never taken
//! for a whole one, and the one before it stays usable.
//! Not here: which files a model has (`model::source`); what is in the files (`model`, `data`).

mod checksum;
mod client;
mod download;
pub mod error;
mod folder;
mod parquet;
pub mod repository;
mod settings;
mod shards;
#[cfg(test)]
mod test_parquet;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use hf_hub::Cache;

use client::{Client, RemoteFile};
pub use error::HubError;
use folder::{Folder, create_parent, is_plain_path};
pub use repository::{Repository, RepositoryKind};
pub(crate) use settings::Settings;
#[cfg(test)]
pub(crate) use {client::Patience, settings::Token};

/// A model that everyone may read.
const PUBLIC_MODEL: &str = "Qwen/Qwen2-VL-2B-Instruct";

/// The hub as the environment describes it, and its cache on this machine.
#[derive(Debug)]
pub struct Hub {
    cache: Cache,
    assets: PathBuf,
    client: Client,
    is_offline: bool,
}

/// What one commit of a repository holds.
#[derive(Debug, Clone)]
pub struct Listing {
    /// As it was asked for.
    pub repository: Repository,
    /// The commit that the revision leads to.
    pub commit: String,
    /// Names of all files, with slashes.
    pub names: Vec<String>,
}

impl Hub {
    /// Honours `HF_HOME`, `HF_HUB_CACHE`, `HF_ASSETS_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` or the token stored by a log-in,
    /// and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::new(Settings::from_env())
    }

    /// The same, but nothing is ever fetched.
    pub fn cached_only() -> Self {
        Self::new(Settings { is_offline: true, ..Settings::from_env() })
    }

    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            cache: Cache::new(settings.cache.clone()),
            assets: settings.assets.clone(),
            is_offline: settings.is_offline,
            client: Client::new(settings),
        }
    }

    /// The folder that holds what was fetched, of all repositories.
    pub fn cache_folder(&self) -> &Path {
        self.cache.path()
    }

    /// The folder for what this program itself keeps, beside what was fetched; it need not exist (Python's
    /// `huggingface_hub.cached_assets_path`).
    pub fn assets_folder(&self) -> PathBuf {
        self.assets.join("othink")
    }

    /// The hub's address.
    pub fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// Whether nothing is ever fetched.
    pub fn is_offline(&self) -> bool {
        self.is_offline
    }

    /// Asks the hub once for the list of a public repository's files.
    ///
    /// # Errors
    /// It does not answer, or not as a hub does.
    pub fn reach(&self) -> Result<(), HubError> {
        let listed = self.client.info_once(&Repository::model(PUBLIC_MODEL));
        listed.map(drop).map_err(|failure| failure.error)
    }

    /// The folder of the commit that was fetched last, which need not hold all its files.
    pub fn snapshot(&self, repository: &Repository) -> Option<PathBuf> {
        let folder = Folder::new(&self.cache, repository);
        Some(folder.snapshot(&folder.commit()?)).filter(|folder| folder.is_dir())
    }

    /// The names of the files that the revision holds now; offline, of those it held last time.
    ///
    /// # Errors
    /// The hub does not answer, does not know the repository, or does not let us see it.
    pub fn list(&self, repository: &Repository) -> Result<Listing, HubError> {
        let folder = Folder::new(&self.cache, repository);
        if self.is_offline {
            let known = self.known_listing(repository);
            return known.ok_or_else(|| self.offline(repository, "the list of its files is"));
        }
        let info = self.client.info(repository)?;
        let names: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        for name in &names {
            check_name(repository, name)?;
        }
        if let Err(error) = folder.keep_listing(&info.sha, &names) {
            // The listing only saves a later request; a cache that cannot be written is an error when a file is fetched.
            tracing::debug!("{}", error.first_line());
        }
        Ok(Listing { repository: repository.clone(), commit: info.sha, names })
    }

    /// One file: from the cache where it is there, else fetched.
    ///
    /// # Errors
    /// It is not there and cannot be fetched.
    pub fn file(&self, repository: &Repository, name: &str) -> Result<PathBuf, HubError> {
        check_name(repository, name)?;
        let folder = Folder::new(&self.cache, repository);
        let cached = folder.commit().map(|commit| folder.snapshot(&commit).join(name));
        if let Some(path) = cached.filter(|path| path.exists()) {
            return Ok(path);
        }
        if self.is_offline {
            return Err(self.offline(repository, &format!("{name} is")));
        }
        let remote = self.client.head(repository, name)?;
        let path = self.fetch_file(&folder, &remote)?;
        folder.set_commit(&remote.commit)?;
        Ok(path)
    }

    /// The folder of one commit with all files whose names are wanted.
    ///
    /// # Errors
    /// No name is wanted, or a file cannot be fetched.
    pub fn files(
        &self,
        repository: &Repository,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<PathBuf, HubError> {
        let listing = self.list(repository)?;
        let wanted = listing.names.iter().filter(|name| is_wanted(name));
        let wanted: Vec<String> = wanted.cloned().collect();
        if wanted.is_empty() {
            return Err(HubError::Contents {
                repository: repository.to_string(),
                found: format!("{} files, none of them wanted", listing.names.len()),
                expected: "at least one that is".to_owned(),
                hint: "check that this is the repository you mean",
            });
        }
        self.fetch(&listing, &wanted)
    }

    /// The folder of the listing's commit with these of its files, which are fetched in this order.
    ///
    /// # Errors
    /// A file is not in the cache and cannot be fetched.
    pub fn fetch(&self, listing: &Listing, names: &[String]) -> Result<PathBuf, HubError> {
        let Listing { repository, commit, .. } = listing;
        let folder = Folder::new(&self.cache, repository);
        let snapshot = folder.snapshot(commit);
        let is_missing = |name: &&String| !snapshot.join(name).exists();
        let missing: Vec<&String> = names.iter().filter(is_missing).collect();
        if self.is_offline && !missing.is_empty() {
            let list = missing.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let verb = if missing.len() == 1 { "is" } else { "are" };
            return Err(self.offline(repository, &format!("{list} {verb}")));
        }
        let pinned = repository.at(commit);
        for name in missing {
            let remote = RemoteFile { commit: commit.clone(), ..self.client.head(&pinned, name)? };
            self.fetch_file(&folder, &remote)?;
        }
        if !self.is_offline {
            folder.set_commit(commit)?;
        }
        Ok(snapshot)
    }

    /// What the commit that was fetched last holds, where that was asked for.
    fn known_listing(&self, repository: &Repository) -> Option<Listing> {
        let folder = Folder::new(&self.cache, repository);
        let commit = folder.commit()?;
        let names = folder.listing(&commit)?;
        Some(Listing { repository: repository.clone(), commit, names })
    }

    /// Fetches a file's contents into the cache, under a lock, and links its name to them.
    fn fetch_file(&self, folder: &Folder, remote: &RemoteFile) -> Result<PathBuf, HubError> {
        let pointer = folder.snapshot(&remote.commit).join(&remote.name);
        let blob = folder.blob(&remote.etag);
        let storage = HubError::storage(&blob, remote.bytes);
        create_parent(&blob)?;
        let lock = folder.lock(&remote.etag)?;
        let is_whole = std::fs::metadata(&blob).is_ok_and(|found| found.len() == remote.bytes);
        if !is_whole {
            let RemoteFile { name, bytes, .. } = remote;
            tracing::info!(file = name, bytes, url = remote.url, "fetching");
            // Python's tools for cleaning a cache recognise this name.
            let partial = folder.blob(&format!("{}.incomplete", remote.etag));
            download::fetch(&self.client, remote, &partial)?;
            std::fs::rename(&partial, &blob).map_err(&storage)?;
        }
        if !pointer.exists() {
            folder.link(&remote.etag, &pointer)?;
        }
        drop(lock);
        Ok(pointer)
    }

    fn offline(&self, repository: &Repository, missing: &str) -> HubError {
        HubError::Offline {
            repository: repository.to_string(),
            missing: missing.to_owned(),
            cache: self.cache.path().clone(),
        }
    }
}

/// A file's name may come from a server, and becomes a path here.
fn check_name(repository: &Repository, name: &str) -> Result<(), HubError> {
    if is_plain_path(name) {
        return Ok(());
    }
    Err(HubError::Contents {
        repository: repository.to_string(),
        found: format!("a file called {name:?}"),
        expected: "names that stay below their folder".to_owned(),
        hint: "HF_ENDPOINT must name a hub that you trust",
    })
}
