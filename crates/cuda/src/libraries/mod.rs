//! CUDA's libraries, which are looked for when a GPU is asked for and not when the program starts: one program serves
//! machines with a GPU and without.
//!
//! candle has its CUDA bindings link the libraries, after which a program without them does not even start. So [`functions`]
//! defines the functions that the program calls, each as a jump to an address that [`load`] fills in; the linker finds
//! everything defined and leaves the libraries out. Where there are no such jumps (`linked`) the program needs them all to
//! start. [`quantised`] does the same for candle's launches of kernels that are not used, which would need one library more.
//!
//! Not here: whether the driver is recent enough, opening a GPU (`device`).

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod functions;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod linked;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod loaded;
mod quantised;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub use linked::load;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use loaded::load;

/// A library of CUDA's that this machine lacks, or that lacks what the program calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLibrary {
    /// The file, such as `libcublas.so.13`, and what is wrong with it.
    pub found: String,
    /// What to install.
    pub hint: String,
}
