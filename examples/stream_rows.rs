//! Fetches every row of a data set in shuffled order, as a run does, and prints how much memory that took.
//!
//! `stream_rows FILE_OR_FOLDER`; `benches/stream.sh` makes a file and runs it.

use othink::data::{ImageSource, OpenOptions, open};
use othink::rng::permutation;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("name a data set")?);
    let start = Instant::now();
    let dataset = open(&path, None, &OpenOptions::default())?;
    let opened_s = start.elapsed().as_secs_f64();
    let mut n_bytes = 0;
    for row in permutation(0, 0, dataset.len()) {
        for image in dataset.get(row)?.images {
            if let ImageSource::Encoded { bytes, .. } = image {
                n_bytes += bytes.len();
            }
        }
    }
    let result = serde_json::json!({
        "rows": dataset.len(),
        "picture_bytes": n_bytes,
        "open_s": opened_s,
        "all_s": start.elapsed().as_secs_f64(),
        "peak_resident_kib": peak_resident_kib(),
    });
    std::io::Write::write_all(&mut std::io::stdout(), format!("{result}\n").as_bytes())?;
    Ok(())
}

/// What Linux says; none elsewhere.
fn peak_resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse().ok()
}
