//! How fast a device multiplies and copies, as it was measured there and kept for later plans.
//! Not here: measuring it (`gpu_check::ceilings`), asking for it (`doctor`), figures of cards that are not here (`cards`).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::identity::Identity;
use crate::out_file;

/// What a device reaches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// A large square product, a multiplication and an addition being two operations; TFLOP/s.
    pub product_tflops: f64,
    /// Copying within its memory, bytes read and bytes written both counted; TB/s.
    pub copy_tb_per_s: f64,
}

/// Ceilings with where and when they were measured: a file in the folder of kept ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The device's name.
    pub device: String,
    /// The driver's version.
    pub driver: String,
    /// Number format of the product.
    pub dtype: String,
    /// The day, UTC, as 2026-11-27.
    pub date: String,
    /// What was measured.
    pub ceilings: Ceilings,
}

/// Why kept ceilings cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CeilingsError {
    /// The file is not what this program writes there.
    #[error(
        "{}: {found}, expected what `othink doctor --ceilings` writes on this device\n\
         hint: `othink doctor --ceilings` measures anew and replaces the file", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The system refuses.
    #[error(
        "{}: {source}\nhint: point HF_HOME at a folder that can be read and written", path.display()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Measured {
    /// What was kept of a device under its present driver; none where nothing was.
    ///
    /// - `folder`: of what this program keeps
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn of(folder: &Path, identity: &Identity) -> Result<Option<Self>, CeilingsError> {
        let path = path(folder, identity);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) if source.kind() == ErrorKind::InvalidData => {
                return Err(CeilingsError::Foreign { path, found: source.to_string() });
            }
            Err(source) => return Err(CeilingsError::Refused { path, source }),
        };
        match Self::parse(&text, identity) {
            Ok(measured) => Ok(Some(measured)),
            Err(found) => Err(CeilingsError::Foreign { path, found }),
        }
    }

    fn parse(text: &str, identity: &Identity) -> Result<Self, String> {
        let measured: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Self { device, driver, ceilings, .. } = &measured;
        if (device, driver) != (&identity.name, &identity.driver) {
            return Err(format!("measured on {device} under driver {driver}"));
        }
        let Ceilings { product_tflops, copy_tb_per_s } = *ceilings;
        if [product_tflops, copy_tb_per_s].iter().any(|n| !n.is_finite() || *n <= 0.0) {
            return Err(format!("found {product_tflops} TFLOP/s and {copy_tb_per_s} TB/s"));
        }
        Ok(measured)
    }

    /// Keeps it in place of what was kept before, and says where.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf, CeilingsError> {
        let identity = Identity { name: self.device.clone(), driver: self.driver.clone() };
        let path = path(folder, &identity);
        let written = || -> io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
            out_file::write(&path, format!("{}\n", serde_json::to_string_pretty(self)?).as_bytes())
        };
        match written() {
            Ok(()) => Ok(path),
            Err(source) => Err(CeilingsError::Refused { path, source }),
        }
    }
}

/// The file of a device under a driver.
fn path(folder: &Path, Identity { name, driver }: &Identity) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = format!("{name}-{driver}").chars().map(plain).collect();
    folder.join("ceilings").join(format!("{}.json", name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { name: "NVIDIA H200".to_owned(), driver: "580.159.04".to_owned() }
    }

    fn measured() -> Measured {
        Measured {
            device: identity().name,
            driver: identity().driver,
            dtype: "bf16".to_owned(),
            date: "2026-11-27".to_owned(),
            ceilings: Ceilings { product_tflops: 801.5, copy_tb_per_s: 4.194 },
        }
    }

    #[test]
    fn what_was_kept_is_found_under_the_same_name_and_driver_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Measured::of(folder.path(), &identity()).unwrap(), None);
        let path = measured().keep(folder.path()).unwrap();
        assert_eq!(path, folder.path().join("ceilings/nvidia-h200-580.159.04.json"));
        assert_eq!(Measured::of(folder.path(), &identity()).unwrap(), Some(measured()));
        let newer = Identity { driver: "590.1".to_owned(), ..identity() };
        assert_eq!(Measured::of(folder.path(), &newer).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_with_what_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = measured().keep(folder.path()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for (contents, told) in [
            (text[..20].to_owned(), "EOF while parsing"),
            (
                text.replace("NVIDIA H200", "NVIDIA L4"),
                "measured on NVIDIA L4 under driver 580.159.04",
            ),
            (text.replace("801.5", "-1.0"), "found -1 TFLOP/s and 4.194 TB/s"),
            (text.replace("801.5", "\"fast\""), "invalid type"),
            ("{}".to_owned(), "missing field `device`"),
        ] {
            std::fs::write(&path, contents).unwrap();
            let error = Measured::of(folder.path(), &identity()).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("\nhint: `othink doctor"), "{error}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(
            Measured::of(folder.path(), &identity()),
            Err(CeilingsError::Foreign { .. })
        ));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let refused = Measured::of(folder.path(), &identity()).unwrap_err().to_string();
        assert!(refused.contains("\nhint: point HF_HOME"), "{refused}");
    }
}
