//! Image files to 8-bit RGB, as transformers' `load_image` and image processor make them with Pillow.
//! Not here: resizing (`resize`); normalising and cutting into patches (`patches`); finding the file (`data`, `cli`).
//!
//! EXIF orientation is applied, transparency is laid on white, 16-bit colour keeps its high byte, animations give
//! their first frame, colour profiles are ignored. Where this differs from Pillow:
//! 1. 16-bit grey above 255 is an error: Pillow clips it, which turns most such pictures white.
//! 2. JPEG pixels may differ by a few levels: every decoder has its own inverse DCT and chroma filter.
//! 3. What a GIF's first frame leaves uncovered is white.

use std::io::Cursor;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, Rgb, RgbImage};

use super::ProcessorError;

/// Larger images are refused before any pixel is decoded.
pub const MAX_IMAGE_PIXELS: u64 = 100_000_000;
/// What a decoder may allocate: an image of [`MAX_IMAGE_PIXELS`] with 4 channels of 16 bits, and some room.
const MAX_DECODER_BYTES: u64 = 10 * MAX_IMAGE_PIXELS;

/// The pixels of an image file's `bytes`; `name` stands in error messages.
///
/// # Errors
/// The bytes are no image, are cut short or damaged, hold more than [`MAX_IMAGE_PIXELS`] pixels, or samples without
/// an agreed 8-bit meaning (16-bit grey, floating point).
pub fn decode_image(bytes: &[u8], name: &str) -> Result<RgbImage, ProcessorError> {
    let unknown = || ProcessorError::UnknownImage { name: name.to_owned() };
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| unknown())?;
    let format = reader.format().ok_or_else(unknown)?;
    let bad = |reason: String| {
        let format = format!("{format:?}").to_uppercase();
        ProcessorError::BadImage { name: name.to_owned(), format, reason }
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| match error {
        ImageError::Unsupported(_) => unknown(),
        error => bad(error.to_string()),
    })?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_IMAGE_PIXELS {
        return Err(ProcessorError::TooManyPixels { name: name.to_owned(), width, height });
    }
    // The JPEG decoder fills what is missing with grey and says nothing; Pillow insists on the end marker.
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(bad("it ends before its end marker".to_owned()));
    }
    let orientation = decoder.orientation().map_err(|error| bad(error.to_string()))?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| bad(error.to_string()))?;
    Ok(turn(to_rgb(image, name)?, orientation))
}

/// The image as its EXIF orientation says it should be seen.
fn turn(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// 8-bit RGB with transparency laid on white; 16-bit samples keep their high byte.
fn to_rgb(image: DynamicImage, name: &str) -> Result<RgbImage, ProcessorError> {
    let refuse = |found: &str| {
        Err(ProcessorError::SampleDepth { name: name.to_owned(), found: found.to_owned() })
    };
    let high = |sample: u16| sample.to_be_bytes()[0];
    let rgb = match image {
        DynamicImage::ImageRgb8(rgb) => rgb,
        DynamicImage::ImageLuma8(gray) => map_pixels(&gray, |&Luma([level])| [level; 3]),
        DynamicImage::ImageLumaA8(gray) => {
            map_pixels(&gray, |pixel| on_white([pixel.0[0]; 3], pixel.0[1]))
        }
        DynamicImage::ImageRgba8(rgba) => {
            map_pixels(&rgba, |&image::Rgba([r, g, b, a])| on_white([r, g, b], a))
        }
        DynamicImage::ImageRgb16(rgb) => map_pixels(&rgb, |pixel| pixel.0.map(high)),
        DynamicImage::ImageLumaA16(gray) => {
            map_pixels(&gray, |pixel| on_white([high(pixel.0[0]); 3], high(pixel.0[1])))
        }
        DynamicImage::ImageRgba16(rgba) => map_pixels(&rgba, |pixel| {
            let [r, g, b, a] = pixel.0.map(high);
            on_white([r, g, b], a)
        }),
        DynamicImage::ImageLuma16(gray) => {
            // Samples within 8 bits are kept as they are, by Pillow too.
            if gray.iter().any(|&sample| sample > 255) {
                return refuse("16-bit grey with samples above 255");
            }
            map_pixels(&gray, |&Luma([sample])| [sample.to_be_bytes()[1]; 3])
        }
        _ => return refuse("floating-point samples"),
    };
    Ok(rgb)
}

/// `image` with each pixel turned into RGB by `convert`.
fn map_pixels<P: image::Pixel>(
    image: &image::ImageBuffer<P, Vec<P::Subpixel>>,
    convert: impl Fn(&P) -> [u8; 3],
) -> RgbImage {
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (pixel, source) in rgb.pixels_mut().zip(image.pixels()) {
        *pixel = Rgb(convert(source));
    }
    rgb
}

/// A colour with `alpha` laid on white, in the integer arithmetic of Pillow's `alpha_composite`: the mean of both,
/// weighted with 7 extra bits, divided by 255 with rounding.
fn on_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    let (front, back) = (u32::from(alpha) << 7, u32::from(255 - alpha) << 7);
    color.map(|level| {
        let sum = u32::from(level) * front + 255 * back + (0x80 << 7);
        let level = (((sum >> 8) + sum) >> 8) >> 7;
        u8::try_from(level).unwrap_or(255)
    })
}

/// Whether the segments and scans of a JPEG file go on to its end-of-image marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const RESTARTS: std::ops::RangeInclusive<u8> = 0xD0..=0xD7;
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match marker {
            _ if first != 0xFF => at += 1,
            0xFF => at += 1,
            0xD9 => return true,
            0x00 | 0x01 => at += 2,
            _ if RESTARTS.contains(&marker) => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}
