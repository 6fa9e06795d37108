//! Data inside the page: JSON, compressed, as letters that no HTML can be made of.
//! Not here: what the data is (`summary`, `rollouts`); unpacking it (`assets/report/data.js`).

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::error::ReportError;

/// Base64 of gzip of the value as JSON.
///
/// # Errors
/// The value is not expressible as JSON.
pub fn packed<T: Serialize>(value: &T) -> Result<String, ReportError> {
    let json = serde_json::to_vec(value)?;
    let mut gzip = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::default());
    gzip.write_all(&json)?;
    Ok(STANDARD.encode(gzip.finish()?))
}

#[cfg(test)]
pub(super) fn unpacked(text: &str) -> serde_json::Value {
    let gzip = STANDARD.decode(text).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(gzip.as_slice())).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_letters_alone_and_comes_out_as_it_was() {
        let text = "</script><img src=x onerror=alert(1)>\u{2028}\"'&";
        let packed = packed(&[text]).unwrap();
        assert!(packed.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)));
        assert_eq!(unpacked(&packed), serde_json::json!([text]));
    }
}
