//! The process's threads that compute: rayon's pool, of which the command's own thread is one, and candle's, which does not spin.
//! Not here: work that is done ahead (`prefetch`).

use std::num::NonZero;
use std::{env, thread};

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// Candle's pool has a thread for each core, which spins for a millisecond after each of its operations, on the core that a kernel of
/// ours wants. Put to sleep at once, they serve where operations are candle's, in 16 bits on the CPU, and are in nobody's way where few
/// are. `CANDLE_BARRIER_POOL_SPIN_LIMIT` in the environment overrides this.
pub(crate) fn let_candle_sleep() {
    const VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    #[expect(unsafe_code, reason = "candle takes this from the environment alone")]
    // SAFETY: called before the process has a second thread, so nobody else reads the environment.
    unsafe {
        env::set_var(VARIABLE, "1");
    }
}

/// Makes the calling thread one of rayon's pool: an update has thousands of parallel loops, and would else sleep through each, be woken
/// after it, and wake two others before it.
///
/// # Errors
/// The system starts no further threads.
pub(crate) fn join_pool() -> Result<(), ThreadPoolBuildError> {
    let n = threads();
    // Alone in the pool, this thread could not wait for threads that work ahead: their loops would wait for it.
    if n == 1 {
        return Ok(());
    }
    ThreadPoolBuilder::new().num_threads(n).use_current_thread().build_global()
}

/// As many as rayon would start.
fn threads() -> usize {
    let asked = env::var("RAYON_NUM_THREADS").ok().and_then(|value| value.parse().ok());
    match asked {
        Some(n @ 1..) => n,
        _ => thread::available_parallelism().map_or(1, NonZero::get),
    }
}
