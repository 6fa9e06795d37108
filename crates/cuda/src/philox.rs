//! Streams of random numbers as kernels are told of them (`kernels/philox.cuh`).
//! Not here: what is drawn.

/// A stream of Philox4x32-10, by its name.
#[derive(Clone, Copy, Debug)]
pub struct PhiloxStream {
    /// The key.
    pub key: [u32; 2],
    /// The counter's words behind the position.
    pub counter: [u32; 3],
}
