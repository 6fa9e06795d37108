//! The process's allocator: mimalloc, told to keep what is freed.
//! Not here: which tensors are made (`ops`, `model`).

/// Training on the CPU frees and allocates large blocks all the time; glibc's allocator returns them
/// to the system each time, which made an update about three times slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's `enum mi_option_e`; the binding does not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed pages for the next tensor rather than return them to the system after 10 ms: an update frees
/// everything that the next one allocates again, and the system's clearing of new pages was a tenth of its processor time.
/// `MIMALLOC_PURGE_DELAY` in the environment overrides this.
pub(crate) fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    #[expect(unsafe_code, reason = "the option can be set by a C function alone")]
    // SAFETY: mimalloc lets any thread set an option at any time; it takes two integers and keeps nothing.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}
