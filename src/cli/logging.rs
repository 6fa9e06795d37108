//! Logs on standard error: warnings, or what `OTHINK_LOG` asks for.
//! Not here: results (`printer`), progress (`progress`).

use tracing_subscriber::EnvFilter;

use super::failure::{UsageError, uses_color};

/// The variable that chooses what is logged, such as `info` or `othink::train=debug`.
const VARIABLE: &str = "OTHINK_LOG";

/// Installs the subscriber; a second call leaves the first in place.
///
/// # Errors
/// `OTHINK_LOG` is not a filter.
pub(super) fn install() -> Result<(), UsageError> {
    let directives = std::env::var(VARIABLE).unwrap_or_default();
    let directives = if directives.trim().is_empty() { "warn" } else { directives.trim() };
    let filter = EnvFilter::try_new(directives).map_err(|problem| {
        UsageError::new(
            format!("{VARIABLE}={directives}: {problem}"),
            "for example OTHINK_LOG=info, or OTHINK_LOG=othink::train=debug",
        )
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(uses_color())
        .with_target(false)
        // If the terminal is closed, reporting a line that could not be written would panic.
        .log_internal_errors(false)
        .without_time();
    if subscriber.try_init().is_err() {
        tracing::debug!("a log subscriber is installed already");
    }
    Ok(())
}
