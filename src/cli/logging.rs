//! Logs on standard error: warnings, or what `OTHINK_LOG` asks for.
//! Not here: results (`printer`), progress (`progress`).

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::failure::{UsageError, uses_color};

/// The variable that chooses what is logged, such as `info` or `othink::train=debug`.
const VARIABLE: &str = "OTHINK_LOG";

/// A line like those that the rest of the program shows: `warning: ` and the message, then its fields.
struct AsOthers;

impl<S, N> FormatEvent<S, N> for AsOthers
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "info: ",
            Level::DEBUG => "debug: ",
            Level::TRACE => "trace: ",
        })?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

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
        // If the terminal is closed, reporting a line that could not be written would panic.
        .log_internal_errors(false)
        .event_format(AsOthers);
    if subscriber.try_init().is_err() {
        tracing::debug!("a log subscriber is installed already");
    }
    Ok(())
}
