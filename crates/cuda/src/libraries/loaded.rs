//! Loading CUDA's libraries, once for the program.
//! Not here: which they are, and the functions that are called (`functions`).

use std::env;
use std::error::Error as _;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use libloading::os::unix::{Library as Opened, RTLD_GLOBAL, RTLD_NOW, Symbol};

use super::MissingLibrary;
use super::functions::{Function, LIBRARIES, Library, RELEASE};

/// Loads CUDA's libraries, as the dynamic linker finds them, unless this has been done; they stay until the program ends.
///
/// Until then, and after an error, all their functions answer `not initialised`.
///
/// # Errors
/// A library is not found, cannot be loaded, or lacks a function that the program calls.
pub fn load() -> Result<(), MissingLibrary> {
    static LOADED: OnceLock<Result<Vec<Opened>, MissingLibrary>> = OnceLock::new();
    LOADED.get_or_init(load_all).as_ref().map(|_| ()).map_err(Clone::clone)
}

fn load_all() -> Result<Vec<Opened>, MissingLibrary> {
    let mut opened = Vec::new();
    let mut addresses = Vec::new();
    for library in LIBRARIES {
        let file = open(library)?;
        for function in library.functions {
            addresses.push((function, address(&file, library, function)?));
        }
        opened.push(file);
    }
    for (function, address) in addresses {
        function.address.store(address, Ordering::Release);
    }
    Ok(opened)
}

fn open(library: &Library) -> Result<Opened, MissingLibrary> {
    let file = library.file();
    // SAFETY: CUDA's libraries are made to be loaded into any program. Whoever can put another file in their place can
    // replace the program as well.
    unsafe { Opened::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let reason = reason.strip_prefix(&format!("{file}: ")).unwrap_or(&reason);
        missing(library, &format!("cannot be loaded: {reason} ({})", looked_in()))
    })
}

fn address(
    file: &Opened,
    library: &Library,
    function: &Function,
) -> Result<*mut c_void, MissingLibrary> {
    // SAFETY: the address is only jumped to, by callers who declare the function of that name; it is valid as long as the
    // file is open, which `LOADED` keeps.
    unsafe { file.get::<*mut c_void>(function.name) }
        .map(Symbol::as_raw_ptr)
        .map_err(|_| missing(library, &format!("has no function {}", function.name)))
}

fn missing(library: &Library, problem: &str) -> MissingLibrary {
    MissingLibrary { found: format!("{} {problem}", library.file()), hint: hint(library.name) }
}

/// The folders that the dynamic linker is told of besides the system's.
fn looked_in() -> String {
    match env::var_os("LD_LIBRARY_PATH").filter(|folders| !folders.is_empty()) {
        Some(folders) => format!("LD_LIBRARY_PATH is {}", folders.display()),
        None => "LD_LIBRARY_PATH is not set".to_owned(),
    }
}

/// The least drivers are those of NVIDIA's "CUDA Compatibility", table 1.
fn hint(library: &str) -> String {
    if library == "libcuda" {
        let driver = match RELEASE {
            ..=11 => 450,
            12 => 525,
            _ => 580,
        };
        return format!(
            "it comes with NVIDIA's driver, {driver} or newer: install that, in a container let the GPU in \
             (`--gpus all`), or use the CPU"
        );
    }
    let wheels = match RELEASE {
        ..13 => format!("`pip install nvidia-cublas-cu{RELEASE} nvidia-curand-cu{RELEASE}`"),
        _ => "`pip install nvidia-cublas nvidia-curand`".to_owned(),
    };
    format!(
        "it comes with CUDA {RELEASE}: install its toolkit or its libraries (as from {wheels}), and name the folder \
         of {library}.so.* in LD_LIBRARY_PATH"
    )
}

#[cfg(test)]
mod tests {
    use candle_core::cuda_backend::cudarc::driver::sys::{CUresult, cuDriverGetVersion};

    use super::*;

    /// Needs CUDA's libraries, or those of the emulated device. No other test of this program may load them.
    #[test]
    fn functions_answer_not_initialised_until_they_are_loaded() {
        let mut release = 0;
        // SAFETY: the driver writes one number there.
        let mut ask = || unsafe { cuDriverGetVersion(&raw mut release) };
        assert_eq!(ask(), CUresult::CUDA_ERROR_NOT_INITIALIZED);
        load().unwrap();
        assert_eq!(ask(), CUresult::CUDA_SUCCESS);
        assert!(release.unsigned_abs() / 1000 >= RELEASE, "{release}");
    }
}
