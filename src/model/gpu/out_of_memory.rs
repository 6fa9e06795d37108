//! A GPU that had no room for an allocation: what its memory was taken by.
//! Not here: asking the driver (`cuda`), what would need less (`train::out_of_memory`, the commands).

use std::error::Error;
use std::fmt;

use candle_core::Device;

use super::{is_out_of_memory, occupied};
use crate::model::network::Model;
use crate::ops::Parameter;

/// What a GPU's memory is taken by, bytes. What this program held when an allocation was refused is freed on the way out of
/// the work that asked for it: the peak tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    /// All there is.
    pub total_bytes: u64,
    /// Free to every program.
    pub free_bytes: u64,
    /// Allocated by this program.
    pub allocated_bytes: u64,
    /// Freed by this program, and kept for its next allocations.
    pub kept_bytes: u64,
    /// The most that it had allocated at once.
    pub peak_bytes: u64,
}

impl Occupied {
    /// What this program has and what it could have.
    pub fn reachable_bytes(&self) -> u64 {
        self.free_bytes + self.kept_bytes + self.allocated_bytes
    }

    /// What it held at its peak without having it allocated: freed memory that suits no further allocation.
    pub fn unused_bytes(&self) -> u64 {
        (self.allocated_bytes + self.kept_bytes).saturating_sub(self.peak_bytes)
    }
}

/// What the card has, and who has it, when this program held the most.
impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.peak_bytes + self.unused_bytes();
        let free = self.reachable_bytes().saturating_sub(own);
        let others = self.total_bytes.saturating_sub(self.reachable_bytes());
        let [total, own, free, others] = [self.total_bytes, own, free, others].map(size);
        write!(
            f,
            "the card has {total}: {own} for this program at its peak, {others} for the driver and other programs, {free} free"
        )
    }
}

/// A GPU's memory was not enough to ask a model.
#[derive(Debug, Clone, thiserror::Error)]
#[error("out of the GPU's memory while {during}\n{occupied}{}\nhint: {hint}", weights_in_words(*weights_bytes))]
pub struct OutOfMemory {
    /// What was being done.
    pub during: &'static str,
    /// What the memory was taken by.
    pub occupied: Occupied,
    /// Bytes of the model's weights, where they had been loaded.
    pub weights_bytes: Option<u64>,
    /// What would need less.
    pub hint: &'static str,
}

fn weights_in_words(bytes: Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| {
        format!("\nof its own, {} are the model's weights", size(bytes))
    })
}

impl OutOfMemory {
    /// What there is to say if an error is that a GPU had no room.
    ///
    /// - `model`: the model, if it had been loaded
    pub fn of(
        error: &(dyn Error + 'static),
        device: &Device,
        (during, model): (&'static str, Option<&Model>),
        hint: &'static str,
    ) -> Option<Self> {
        let occupied = occupied_where_out_of_memory(error, device)?;
        let weights_bytes = model.map(bytes_of_weights);
        Some(Self { during, occupied, weights_bytes, hint })
    }
}

fn bytes_of_weights(model: &Model) -> u64 {
    let values = model.parameters().in_hub_order().map(Parameter::value);
    values.map(|value| (value.elem_count() * value.dtype().size_in_bytes()) as u64).sum()
}

/// What a GPU's memory is taken by, if an error is that it had no room for an allocation and the driver still answers.
pub fn occupied_where_out_of_memory(
    error: &(dyn Error + 'static),
    device: &Device,
) -> Option<Occupied> {
    if error.downcast_ref().is_some_and(is_out_of_memory) {
        return occupied(device).ok();
    }
    occupied_where_out_of_memory(error.source()?, device)
}

/// A number of bytes as people read it.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn a_card_is_shared_out_as_it_was_at_the_peak() {
        // 60 of 80 GB were allocated and 4 kept, of which 50 have been freed since; others have 10.
        let mut occupied = Occupied {
            total_bytes: 80 * GB,
            free_bytes: 6 * GB,
            allocated_bytes: 10 * GB,
            kept_bytes: 54 * GB,
            peak_bytes: 60 * GB,
        };
        assert_eq!((occupied.reachable_bytes(), occupied.unused_bytes()), (70 * GB, 4 * GB));
        let told = "the card has 80.0 GB: 64.0 GB for this program at its peak, \
                    10.0 GB for the driver and other programs, 6.0 GB free";
        assert_eq!(occupied.to_string(), told);
        // A driver that takes freed memory back: 50 GB were free only after the peak.
        (occupied.free_bytes, occupied.kept_bytes) = (60 * GB, 0);
        assert_eq!((occupied.reachable_bytes(), occupied.unused_bytes()), (70 * GB, 0));
        assert!(occupied.to_string().contains("60.0 GB for this program"), "{occupied}");
        assert!(occupied.to_string().ends_with(", 10.0 GB free"), "{occupied}");
    }

    #[test]
    fn weights_are_named_once_they_are_there_and_the_hint_stands_alone() {
        let occupied = Occupied {
            total_bytes: 40_000_000,
            free_bytes: 0,
            allocated_bytes: 40_000_000,
            kept_bytes: 0,
            peak_bytes: 40_000_000,
        };
        let (during, hint) = ("answering", "less");
        let mut told = OutOfMemory { during, occupied, weights_bytes: Some(4 * GB), hint };
        let expected = "out of the GPU's memory while answering\nthe card has 40 MB: 40 MB for this program at its peak, \
                        0 MB for the driver and other programs, 0 MB free\nof its own, 4.0 GB are the model's weights\nhint: less";
        assert_eq!(told.to_string(), expected);
        told.weights_bytes = None;
        assert!(told.to_string().ends_with(" 0 MB free\nhint: less"), "{told}");
    }
}
