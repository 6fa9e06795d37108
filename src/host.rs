//! What the machine and its system call themselves.
//! Not here: what the machine can do (`doctor`), its processor and its GPUs (`model`).

/// The machine's name in its network; empty where the system does not tell.
#[cfg(unix)]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's name in its network; empty where the system does not tell.
#[cfg(not(unix))]
pub fn name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// The operating system with its version and the processor's kind, such as `Linux 6.12.0 x86_64`.
#[cfg(unix)]
pub fn system() -> String {
    let system = rustix::system::uname();
    let words = [system.sysname(), system.release(), system.machine()];
    words.map(|word| word.to_string_lossy().into_owned()).join(" ")
}

/// The operating system and the processor's kind.
#[cfg(not(unix))]
pub fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}
