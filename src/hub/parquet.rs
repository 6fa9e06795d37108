//! A data set's split as parquet files: from the data set itself, or from the hub's conversion of it.
//! Not here: which names belong to a split (`shards`); reading the files (`data`).

use std::path::PathBuf;

use super::error::HubError;
use super::folder::Folder;
use super::repository::{MAIN, Repository};
use super::shards::{self, Shards};
use super::{Hub, Listing};

/// The branch that the hub keeps its parquet copy of a data set on.
const CONVERTED: &str = "refs/convert/parquet";

impl Hub {
    /// A split's parquet files, in the order of their rows.
    ///
    /// Where the main branch has no parquet file, those of the hub's own conversion are taken. A
    /// complete copy in the cache needs no request.
    ///
    /// # Errors
    /// The split is not there, a shard is missing, or a file cannot be fetched.
    pub fn parquet(&self, repository: &Repository, split: &str) -> Result<Vec<PathBuf>, HubError> {
        let mut candidates = vec![repository.clone()];
        if repository.revision == MAIN {
            candidates.push(repository.at(CONVERTED));
        }
        let on_disk: Vec<OnDisk> =
            candidates.iter().filter_map(|candidate| self.on_disk(candidate)).collect();
        if let Some(paths) = on_disk.iter().find_map(|found| self.whole_split(found, split)) {
            return Ok(paths);
        }
        if self.is_offline {
            return self.offline_split(repository, on_disk, split);
        }
        let listing = self.online_listing(&candidates)?.ok_or_else(|| HubError::Contents {
            repository: repository.to_string(),
            found: "no parquet file, on its main branch or converted".to_owned(),
            expected: "parquet files".to_owned(),
            hint: "fetch the data set by other means, and give its folder with --data",
        })?;
        let shards = shards::of_split(&listing.names, split, &listing.repository)?;
        self.fetch_shards(&listing, &shards)
    }

    fn fetch_shards(&self, listing: &Listing, shards: &Shards) -> Result<Vec<PathBuf>, HubError> {
        let folder = self.fetch(listing, &shards.names)?;
        Ok(shards.names.iter().map(|name| folder.join(name)).collect())
    }

    /// The split from the cache alone: taken as whole unless names or numbers tell otherwise.
    fn offline_split(
        &self,
        repository: &Repository,
        on_disk: Vec<OnDisk>,
        split: &str,
    ) -> Result<Vec<PathBuf>, HubError> {
        let missing = |what: String| self.offline(repository, &format!("{what} is"));
        let has_parquet = |found: &OnDisk| shards::has_parquet(&found.listing.names);
        let Some(OnDisk { listing, is_whole }) = on_disk.into_iter().find(has_parquet) else {
            return Err(missing(format!("a parquet file of the split `{split}`")));
        };
        match shards::of_split(&listing.names, split, &listing.repository) {
            Ok(shards) => {
                if !is_whole {
                    let repository = &listing.repository;
                    tracing::warn!(
                        "{repository}: offline: what is in the cache counts as all of it"
                    );
                }
                self.fetch_shards(&listing, &shards)
            }
            Err(HubError::Contents { found, expected, .. }) if !is_whole => Err(missing(format!(
                "the whole split `{split}` (found {found}, expected {expected})"
            ))),
            Err(error) => Err(error),
        }
    }

    /// What the cache tells of the commit that was fetched last.
    fn on_disk(&self, repository: &Repository) -> Option<OnDisk> {
        if let Some(listing) = self.known_listing(repository) {
            return Some(OnDisk { listing, is_whole: true });
        }
        let folder = Folder::new(&self.cache, repository);
        let commit = folder.commit()?;
        let names = folder.names_on_disk(&commit);
        let listing = Listing { repository: repository.clone(), commit, names };
        Some(OnDisk { listing, is_whole: false })
    }

    /// The split's files, where the cache is known to hold all of them.
    fn whole_split(&self, found: &OnDisk, split: &str) -> Option<Vec<PathBuf>> {
        let Listing { repository, commit, names } = &found.listing;
        let shards = shards::of_split(names, split, repository).ok()?;
        let folder = Folder::new(&self.cache, repository).snapshot(commit);
        let paths: Vec<PathBuf> = shards.names.iter().map(|name| folder.join(name)).collect();
        let is_known_whole = found.is_whole || shards.are_counted;
        (is_known_whole && paths.iter().all(|path| path.exists())).then_some(paths)
    }

    /// The listing of the first candidate that has parquet files.
    fn online_listing(&self, candidates: &[Repository]) -> Result<Option<Listing>, HubError> {
        for candidate in candidates {
            match self.list(candidate) {
                Ok(listing) if shards::has_parquet(&listing.names) => return Ok(Some(listing)),
                Ok(_) => {}
                // Not every data set is converted.
                Err(HubError::NotFound { .. }) if candidate.revision == CONVERTED => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// What the cache tells of a commit.
struct OnDisk {
    listing: Listing,
    /// Whether these are the names of all the commit's files, in the cache or not.
    is_whole: bool,
}
