//! M-RoPE positions: each token's position in time, height and width.
//! Not here: the rotation itself (`ops`); expanding image pads into tokens
//! (`super::Processor::encode`).

use super::ProcessorError;

/// The positions `[time, height, width]` of every token, and the position of the token that
/// follows.
///
/// - `input_ids`: one prompt, each image as a run of `image_pad` tokens, as many as its grid has
///   after merging
/// - `grids`: patches of each image `[frames, rows, columns]`, in order; a square of
///   `merge_size` x `merge_size` patches makes one token
/// - returns positions `[T][3]`, and the next position, which a completion's first token takes on
///   all three axes
///
/// A text token has the same position on all axes, one more than the token before it. An image's
/// tokens count frames, rows and columns from the image's start; the text continues one after the
/// largest of these (transformers' `get_rope_index`).
///
/// # Errors
/// The runs of image tokens and the grids do not fit each other.
pub fn mrope_positions(
    input_ids: &[u32],
    image_pad: u32,
    grids: &[[usize; 3]],
    merge_size: usize,
) -> Result<(Vec<[u32; 3]>, u32), ProcessorError> {
    let mut positions = Vec::with_capacity(input_ids.len());
    let mut next = 0;
    let n_images = grids.len();
    let mut grids = grids.iter().enumerate();
    while positions.len() < input_ids.len() {
        if input_ids[positions.len()] != image_pad {
            positions.push([next; 3]);
            next += 1;
            continue;
        }
        let rest = &input_ids[positions.len()..];
        let run = rest.iter().take_while(|&&id| id == image_pad).count();
        let Some((index, &grid)) = grids.next() else {
            let image = n_images + 1;
            return Err(ProcessorError::ImageTokens { image, tokens: run, expected: 0 });
        };
        let expected = grid.iter().product::<usize>() / (merge_size * merge_size);
        if run < expected || expected == 0 {
            return Err(ProcessorError::ImageTokens { image: index + 1, tokens: run, expected });
        }
        next =
            push_image(&mut positions, next, [grid[0], grid[1] / merge_size, grid[2] / merge_size]);
    }
    match grids.next() {
        None => Ok((positions, next)),
        Some((index, grid)) => Err(ProcessorError::ImageTokens {
            image: index + 1,
            tokens: 0,
            expected: grid.iter().product::<usize>() / (merge_size * merge_size),
        }),
    }
}

/// Appends the positions of one image's tokens, frame by frame and row by row; returns the next
/// free position.
fn push_image(positions: &mut Vec<[u32; 3]>, start: u32, grid: [usize; 3]) -> u32 {
    let [frames, rows, columns] = grid.map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    for time in 0..frames {
        for row in 0..rows {
            for column in 0..columns {
                positions.push([start + time, start + row, start + column]);
            }
        }
    }
    start + frames.max(rows).max(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAD: u32 = 9;

    #[test]
    fn text_counts_up_on_all_axes() {
        let (positions, next) = mrope_positions(&[1, 2, 3], PAD, &[], 2).unwrap();
        assert_eq!(positions, [[0; 3], [1; 3], [2; 3]]);
        assert_eq!(next, 3);
    }

    #[test]
    fn text_after_an_image_follows_its_longest_side() {
        // 1 text token, an image of 2 x 3 tokens, 1 text token: the image starts at 1 and reaches
        // column 1 + 2 = 3.
        let ids = [1, PAD, PAD, PAD, PAD, PAD, PAD, 2];
        let (positions, next) = mrope_positions(&ids, PAD, &[[1, 4, 6]], 2).unwrap();
        assert_eq!(positions[1..4], [[1, 1, 1], [1, 1, 2], [1, 1, 3]]);
        assert_eq!(positions[4..7], [[1, 2, 1], [1, 2, 2], [1, 2, 3]]);
        assert_eq!(positions[7], [4; 3]);
        assert_eq!(next, 5);
    }

    #[test]
    fn adjacent_images_are_told_apart_by_their_grids() {
        let (positions, next) =
            mrope_positions(&[PAD; 3], PAD, &[[1, 2, 4], [1, 2, 2]], 2).unwrap();
        assert_eq!(positions, [[0, 0, 0], [0, 0, 1], [2, 2, 2]]);
        assert_eq!(next, 3);
    }

    #[test]
    fn too_few_image_tokens_are_named() {
        let error = mrope_positions(&[1, PAD, 2], PAD, &[[1, 4, 4]], 2).unwrap_err().to_string();
        assert_eq!(error, "image 1: 1 image tokens in a row, expected 4 for its grid");
    }

    #[test]
    fn more_image_tokens_or_grids_than_the_other_is_an_error() {
        assert!(mrope_positions(&[PAD, PAD], PAD, &[[1, 2, 2]], 2).is_err());
        assert!(mrope_positions(&[1], PAD, &[[1, 2, 2]], 2).is_err());
        assert!(mrope_positions(&[1, PAD], PAD, &[[1, 0, 0]], 2).is_err());
    }
}
