//! A chart in a file whose extension says how it is drawn.
//! Not here: drawing (`report::chart`).

use std::path::Path;

use anyhow::Context as _;

use crate::out_file;
use crate::report::chart::Chart;

use super::failure::UsageError;
use super::out_file::check_out_file;

/// Checks, before anything is computed, that the chart's path can be written and that its extension is known.
///
/// # Errors
/// The extension is neither .svg nor .png, or the path cannot be a file.
pub(super) fn check_chart_file(flag: &str, path: &Path) -> Result<(), UsageError> {
    check_out_file(flag, path)?;
    if is_svg(path) || has_extension(path, "png") {
        return Ok(());
    }
    let problem = format!("{flag} {}: expected a name that ends in .svg or .png", path.display());
    Err(UsageError::new(problem, "the ending says how the chart is drawn"))
}

/// Writes a chart.
///
/// # Errors
/// The chart cannot be drawn, or the file cannot be written.
pub(super) fn write_chart(path: &Path, chart: &Chart) -> anyhow::Result<()> {
    let bytes = if is_svg(path) { chart.svg()?.into_bytes() } else { chart.png()? };
    out_file::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn is_svg(path: &Path) -> bool {
    has_extension(path, "svg")
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
