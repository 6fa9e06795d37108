//! The sizes of a vision tower, and which patches see each other in it.
//! Not here: reading them from `config.json` (the file of the family's name); what a tower is made of (`tower_parts`).

use super::error::ModelError;
use super::fields::Section;

/// The sizes of the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Number of transformer blocks.
    pub depth: usize,
    /// Width of a patch's hidden state.
    pub embed_dim: usize,
    /// Width inside the MLP: `embed_dim * mlp_ratio`.
    pub mlp_hidden: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Colour channels of a pixel.
    pub in_channels: usize,
    /// Side of a square patch, in pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side of the square of patches that becomes one token.
    pub spatial_merge_size: usize,
    /// Windows that patches see in most blocks; none where they see all of their frame in every block.
    pub windows: Option<Windows>,
    /// Side of the square table of learned positions; none where positions are rotations alone.
    pub table_side: Option<usize>,
    /// Blocks, ascending, whose patches are added to the image's tokens in the first decoder layers (`DeepStack`).
    pub deepstack: Vec<usize>,
}

/// The windows of a tower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window's side.
    pub side: usize,
    /// Blocks in which patches see all of their frame nevertheless.
    pub whole: Vec<usize>,
}

impl VisionConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.embed_dim / self.num_heads
    }

    /// Numbers in one flattened patch: a row of the processor's `pixel_values`.
    pub fn patch_dim(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Whether patches see all of their frame in a block, rather than their window.
    pub fn sees_whole_frames(&self, block: usize) -> bool {
        self.windows.as_ref().is_none_or(|windows| windows.whole.contains(&block))
    }

    /// How many patches a patch sees at most, the mean over all blocks.
    ///
    /// - `in_frame`: patches of its frame
    pub fn mean_patches_seen(&self, in_frame: f64) -> f64 {
        let Some(windows) = &self.windows else { return in_frame };
        let in_window = (windows.side * self.spatial_merge_size).pow(2) as f64;
        let whole = (0..self.depth).filter(|block| self.sees_whole_frames(*block)).count() as f64;
        let blocks = self.depth as f64;
        (whole * in_frame + (blocks - whole) * in_frame.min(in_window)) / blocks
    }

    /// Requires heads of a width that the rotation takes: it has two coordinates, and each takes pairs of elements.
    pub(super) fn require_heads(&self, vision: &Section, width: &str) -> Result<(), ModelError> {
        if self.embed_dim.is_multiple_of(4 * self.num_heads) {
            return Ok(());
        }
        Err(vision.wrong(width, &format!("a multiple of 4 * num_heads = {}", 4 * self.num_heads)))
    }

    /// Width of the patches that are merged into one token, laid end to end.
    pub fn merged_dim(&self) -> usize {
        self.embed_dim * self.spatial_merge_size * self.spatial_merge_size
    }
}
