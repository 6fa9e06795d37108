//! Windows of a picture, in which patches see each other and no others (Qwen2.5-VL): the order of patches that lays each
//! window's side by side.
//! Not here: which blocks of a tower see windows alone (`config`); attention (`ops`).
//!
//! Windows are cut into each frame from its upper left corner; those at the right and lower edges are smaller, and all that
//! the reference pads them with is absent (transformers' `get_vision_window_index`).

/// The patches of a stream in the order of their windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOrder {
    /// At each place, the number of the token whose patches stand there.
    tokens: Vec<u32>,
    /// Patches of each window, one after the other.
    lens: Vec<usize>,
    /// Patches of a token.
    unit: usize,
}

impl WindowOrder {
    /// - `grids`: per image frames, rows and columns of patches; `merge`: patches of a token's side; `side`: tokens of a
    ///   window's side
    pub fn new(grids: &[[usize; 3]], merge: usize, side: usize) -> Self {
        let mut order = Self { tokens: Vec::new(), lens: Vec::new(), unit: merge * merge };
        for &[frames, rows, columns] in grids {
            for _ in 0..frames {
                order.push_frame([rows / merge, columns / merge], side);
            }
        }
        order
    }

    fn push_frame(&mut self, [rows, columns]: [usize; 2], side: usize) {
        let first = self.tokens.len();
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let start = self.tokens.len();
                for row in top..rows.min(top + side) {
                    let columns_seen = left..columns.min(left + side);
                    self.tokens.extend(columns_seen.map(|c| (first + row * columns + c) as u32));
                }
                self.lens.push((self.tokens.len() - start) * self.unit);
            }
        }
    }

    /// Patches of each window.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// At each place, the number of the patch that stands there.
    pub fn patches(&self) -> Vec<u32> {
        let unit = self.unit as u32;
        self.tokens.iter().flat_map(|token| token * unit..(token + 1) * unit).collect()
    }

    /// Of each token, the place where its patches stand: what puts tokens back in their own order.
    pub fn places(&self) -> Vec<u32> {
        let mut places = vec![0; self.tokens.len()];
        for (place, &token) in (0..).zip(&self.tokens) {
            places[token as usize] = place;
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 x 5 tokens of 2 x 2 patches in windows of 2 x 2 tokens: the last row and column of windows are smaller.
    #[test]
    fn windows_lie_side_by_side_and_those_at_the_edges_are_smaller() {
        let order = WindowOrder::new(&[[1, 6, 10]], 2, 2);
        assert_eq!(order.tokens, [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14]);
        assert_eq!(order.lens(), [16, 16, 8, 8, 8, 4]);
        assert_eq!(order.patches()[4..12], [4, 5, 6, 7, 20, 21, 22, 23]);
        assert_eq!(order.places(), [0, 1, 4, 5, 8, 2, 3, 6, 7, 9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn a_frame_that_windows_fit_exactly_has_no_empty_one_and_images_follow_each_other() {
        let order = WindowOrder::new(&[[1, 4, 8], [2, 2, 2]], 2, 2);
        assert_eq!(order.lens(), [16, 16, 4, 4]);
        assert_eq!(order.tokens, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9]);
    }
}
