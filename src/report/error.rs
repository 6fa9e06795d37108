//! The ways a report can fail.
//! Not here: what is wrong inside a run's files (`run_folder`, `config`).

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::run_folder::RunFolderError;

/// What kept a report from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A path that is no run's folder, or not a whole one.
    #[error(
        "{}: found no {file}, expected the folder of a run\n\
         hint: name a folder that `othink train` wrote, such as runs/quickstart",
        path.display()
    )]
    NotARun {
        /// The path as given.
        path: PathBuf,
        /// The file that every run has.
        file: &'static str,
    },
    /// One run under two names.
    #[error("{}: the same run is named twice\nhint: name every run once", path.display())]
    NamedTwice {
        /// The second name.
        path: PathBuf,
    },
    /// A run's records.
    #[error(transparent)]
    Records(#[from] RunFolderError),
    /// A run's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The drawing library.
    #[error("cannot draw the chart \"{chart}\": {problem}")]
    Draw {
        /// The chart's title.
        chart: String,
        /// What the library says.
        problem: String,
    },
    /// The page's template.
    #[error("cannot make the page: {0}")]
    Template(#[from] minijinja::Error),
    /// Data that is not JSON.
    #[error("cannot put data into the page: {0}")]
    Json(#[from] serde_json::Error),
    /// Data that cannot be compressed.
    #[error("cannot compress data for the page: {0}")]
    Compress(#[from] std::io::Error),
    /// The address of a page that is served.
    #[error(
        "port {port}: {source}\n\
         hint: another program has this port; --port 0 takes one that is free"
    )]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The same for other reasons.
    #[error(
        "cannot serve on port {port}: {source}\nhint: ports below 1024 need rights; --port 0 takes one that is free"
    )]
    Port {
        /// The port that was asked for.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// A picture that cannot be encoded.
    #[error("cannot encode a picture: {0}")]
    Picture(#[from] image::ImageError),
}

impl ReportError {
    /// Whether other runs, or the same ones repaired, would have made a report.
    pub fn blames_input(&self) -> bool {
        matches!(
            self,
            Self::NotARun { .. }
                | Self::NamedTwice { .. }
                | Self::Records(_)
                | Self::Config(_)
                | Self::PortTaken { .. }
                | Self::Port { .. }
        )
    }
}
