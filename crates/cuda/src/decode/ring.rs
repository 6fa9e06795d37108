//! Drawn tokens on their way to the host, some steps late.
//! Not here: which completion a row is.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, PinnedHostSlice, ValidAsZeroBits};
use candle_core::{CudaDevice, Result, bail};

use super::sample::{DeviceSampler, DrawnToken};

// SAFETY: three numbers.
unsafe impl ValidAsZeroBits for DrawnToken {}

/// A place in the host's memory.
struct Place {
    tokens: PinnedHostSlice<DrawnToken>,
    /// When it is written. (Cudarc's own is not recorded: its events are off.)
    written: CudaEvent,
}

/// Places in the host's memory that are written in turn, while the device goes on.
pub struct TokenRing {
    places: Vec<Place>,
    n_sent: usize,
    n_received: usize,
}

impl TokenRing {
    /// - `places`: sendings that may be on their way at a time
    ///
    /// # Errors
    /// The host's memory cannot be pinned.
    pub fn new(device: &CudaDevice, rows: usize, places: usize) -> Result<Self> {
        let stream = device.cuda_stream();
        let place = || {
            // SAFETY: a place is read only after the device has written all of it.
            let tokens = unsafe { stream.context().alloc_pinned_with_flags(rows, 0) }.w()?;
            Ok(Place { tokens, written: stream.context().new_event(None).w()? })
        };
        let places = (0..places).map(|_| place()).collect::<Result<_>>()?;
        Ok(Self { places, n_sent: 0, n_received: 0 })
    }

    /// Sends every row's newest token, behind the work that draws it; does not wait.
    ///
    /// # Errors
    /// Every place is on its way, or the driver's own.
    pub fn send(&mut self, sampler: &DeviceSampler) -> Result<()> {
        if self.n_sent == self.n_received + self.places.len() {
            bail!("{} sendings of tokens that nobody received", self.places.len());
        }
        let place = self.n_sent % self.places.len();
        let Place { tokens, written } = &mut self.places[place];
        let drawn = sampler.newest();
        drawn.stream().memcpy_dtoh(drawn, tokens).w()?;
        written.record(drawn.stream()).w()?;
        self.n_sent += 1;
        Ok(())
    }

    /// The oldest tokens that were sent and not received; waits for them.
    ///
    /// # Errors
    /// There are none, or the driver's own.
    pub fn receive(&mut self) -> Result<Vec<DrawnToken>> {
        if self.n_received == self.n_sent {
            bail!("no tokens are on their way");
        }
        let place = self.n_received % self.places.len();
        let Place { tokens, written } = &self.places[place];
        written.synchronize().w()?;
        let tokens = tokens.as_slice().w()?.to_vec();
        self.n_received += 1;
        Ok(tokens)
    }
}

impl Drop for TokenRing {
    /// The host's memory is freed only when nothing writes to it.
    fn drop(&mut self) {
        for Place { tokens, written } in &self.places {
            tokens.context().record_err(written.synchronize());
        }
    }
}
