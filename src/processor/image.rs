//! Image files to 8-bit RGB, as transformers' `load_image` and image processor make them with
//! Pillow.
//! Not here: resizing (`resize`); normalising and cutting into patches (`patches`); finding the
//! file (`data`, `cli`).
//!
//! EXIF orientation is applied, transparency is laid on white, 16-bit colour keeps its high byte,
//! animations give their first frame, colour profiles are ignored. Where this differs from Pillow:
//! 1. 16-bit grey above 255 is an error: Pillow clips it, which turns most such pictures white.
//! 2. JPEG pixels may differ by a few levels: every decoder has its own inverse DCT and chroma
//!    filter. Against Pillow's libjpeg-turbo the tests see at most 2 levels at full chroma, 7 (0.4
//!    on average) at halved chroma.
//! 3. What a GIF's first frame leaves uncovered is white.

use std::io::Cursor;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, Rgb, RgbImage};

use super::ProcessorError;
use super::resize::require_aspect_ratio;
use crate::limits::{PICTURE_METADATA_BYTES, PICTURE_PIXELS};

/// What a decoder may allocate for a pixel: 4 channels of 16 bits, and some room.
const DECODER_BYTES_PER_PIXEL: u64 = 10;

/// The pixels of an image file's `bytes`; `name` identifies it in error messages.
///
/// # Errors
/// The bytes are no image, are cut short or damaged, hold more than [`PICTURE_PIXELS`] pixels, or far more on one side than on
/// the other, or
/// samples without an agreed 8-bit meaning (16-bit grey, floating point).
pub fn decode_image(bytes: &[u8], name: &str) -> Result<RgbImage, ProcessorError> {
    let Header { format, size: [width, height], .. } = header(bytes, name)?;
    let pixels = u64::from(width) * u64::from(height);
    let bad = |error: ImageError| bad(name, format, error.to_string());
    let most = DECODER_BYTES_PER_PIXEL * pixels + PICTURE_METADATA_BYTES;
    let mut decoder = decoder(bytes, format, most).map_err(bad)?;
    let orientation = decoder.orientation().map_err(bad)?;
    let image = DynamicImage::from_decoder(decoder).map_err(bad)?;
    let image = turn(to_rgb(image, name)?, orientation);
    require_aspect_ratio(name, image.height() as usize, image.width() as usize)?;
    Ok(image)
}

/// The width and the height of an image file's `bytes` once it is turned as it says, in pixels; nothing is decoded.
///
/// # Errors
/// As [`decode_image`], as far as the header tells.
pub fn picture_size(bytes: &[u8], name: &str) -> Result<[u32; 2], ProcessorError> {
    let Header { size: [width, height], is_turned, .. } = header(bytes, name)?;
    let size = if is_turned { [height, width] } else { [width, height] };
    require_aspect_ratio(name, size[1] as usize, size[0] as usize)?;
    Ok(size)
}

/// What is known of an image file before its pixels are.
struct Header {
    format: ImageFormat,
    /// Width and height as stored.
    size: [u32; 2],
    /// Whether turning it as it says exchanges the two.
    is_turned: bool,
}

fn header(bytes: &[u8], name: &str) -> Result<Header, ProcessorError> {
    let unknown = || ProcessorError::UnknownImage { name: name.to_owned() };
    let format = image::guess_format(bytes).map_err(|_| unknown())?;
    // A decoder unpacks colour profiles and texts before anyone knows how large the picture is, so that is asked of one
    // that has room for them alone.
    let mut decoder =
        decoder(bytes, format, PICTURE_METADATA_BYTES).map_err(|error| match error {
            ImageError::Unsupported(_) => unknown(),
            error => bad(name, format, error.to_string()),
        })?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PICTURE_PIXELS {
        return Err(ProcessorError::TooManyPixels { name: name.to_owned(), width, height });
    }
    // The JPEG decoder fills missing data with grey and reports no error; Pillow requires the end
    // marker.
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(bad(name, format, "it ends before its end marker".to_owned()));
    }
    let orientation = decoder.orientation();
    let orientation = orientation.map_err(|error| bad(name, format, error.to_string()))?;
    let is_turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    Ok(Header { format, size: [width, height], is_turned })
}

fn bad(name: &str, format: ImageFormat, reason: String) -> ProcessorError {
    let format = format!("{format:?}").to_uppercase();
    ProcessorError::BadImage { name: name.to_owned(), format, reason }
}

/// A decoder of `bytes` that allocates at most so many bytes; a colour profile that needs more is passed over.
fn decoder(bytes: &[u8], format: ImageFormat, most: u64) -> Result<impl ImageDecoder, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most);
    reader.limits(limits);
    reader.into_decoder()
}

/// The image after applying its EXIF orientation.
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

/// `image` with each pixel converted to RGB by `convert`.
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

/// A colour with `alpha` laid on white, in the integer arithmetic of Pillow's `alpha_composite`:
/// the mean of both, weighted with 7 extra bits, divided by 255 with rounding.
fn on_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    let (front, back) = (u32::from(alpha) << 7, u32::from(255 - alpha) << 7);
    color.map(|level| {
        let sum = u32::from(level) * front + 255 * back + (0x80 << 7);
        let level = (((sum >> 8) + sum) >> 8) >> 7;
        u8::try_from(level).unwrap_or(255)
    })
}

/// Whether the segments and scans of a JPEG file reach its end-of-image marker.
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

#[cfg(test)]
mod tests {
    use super::super::test_golden as golden;
    use super::*;

    /// The largest and the mean difference between two images' bytes, in levels.
    fn differences(ours: &[u8], expected: &[u8]) -> (u8, f64) {
        assert_eq!(ours.len(), expected.len());
        let apart = || ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
        let total: f64 = apart().map(f64::from).sum();
        (apart().max().unwrap_or(0), total / ours.len() as f64)
    }

    #[test]
    fn a_strip_is_named() {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(1, 201).write_to(&mut bytes, ImageFormat::Png).unwrap();
        let message = decode_image(bytes.get_ref(), "thin.png").unwrap_err().to_string();
        assert!(message.starts_with("thin.png: 1 x 201 pixels, expected an aspect"), "{message}");
    }

    #[test]
    fn every_kind_of_file_gives_the_pixels_of_transformers_and_pillow() {
        let index = golden::json("processor/images.json");
        let mut failures = Vec::new();
        for entry in index["images"].as_array().unwrap() {
            let file = format!("processor/{}", entry["file"].as_str().unwrap());
            let decoded = decode_image(&golden::bytes(&file), &file);
            let Some(levels) = entry["levels"].as_u64() else {
                assert!(matches!(decoded, Err(ProcessorError::SampleDepth { .. })), "{file}");
                continue;
            };
            let image = decoded.unwrap();
            let size = [&entry["width"], &entry["height"]].map(|side| side.as_u64().unwrap());
            assert_eq!([image.width(), image.height()].map(u64::from), size, "{file}");
            let told = picture_size(&golden::bytes(&file), &file).unwrap();
            assert_eq!(told.map(u64::from), size, "{file}: by its header alone");
            let expected = golden::bytes(&format!("processor/{}", entry["rgb"].as_str().unwrap()));
            let (largest, mean) = differences(image.as_raw(), &expected);
            if u64::from(largest) > levels || mean > 0.5 {
                failures.push(format!("{file}: {largest} levels at most, {mean} on average"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn a_file_cut_short_is_an_error_that_names_it() {
        let index = golden::json("processor/images.json");
        for entry in index["images"].as_array().unwrap() {
            let name = entry["file"].as_str().unwrap();
            if name == "first_frame.gif" {
                continue; // its first frame is whole in the first half, and no other is read
            }
            let bytes = golden::bytes(&format!("processor/{name}"));
            let error = decode_image(&bytes[..bytes.len() / 2], name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")) && error.contains("hint: "), "{error}");
        }
    }

    #[test]
    fn a_jpeg_without_its_last_byte_is_cut_short() {
        let mut bytes = golden::bytes("micro/images/jpeg.jpg");
        assert!(decode_image(&bytes, "a.jpg").is_ok());
        bytes.pop();
        let error = decode_image(&bytes, "a.jpg").unwrap_err().to_string();
        assert!(
            error.starts_with("a.jpg: cannot decode this JPEG image: it ends before"),
            "{error}"
        );
    }

    #[test]
    fn bytes_that_are_no_image_are_named() {
        for bytes in [&b""[..], b"hello", b"<svg></svg>", &[0; 64]] {
            let error = decode_image(bytes, "photo.png").unwrap_err().to_string();
            assert!(error.starts_with("photo.png: not an image"), "{error}");
        }
    }

    #[test]
    fn more_than_100_megapixels_are_refused_by_the_header_alone() {
        // A BMP header that claims 20000 x 5001 pixels, and not one pixel after it.
        let mut bytes = golden::bytes("processor/plain.bmp")[..54].to_vec();
        bytes[18..22].copy_from_slice(&20_000_i32.to_le_bytes());
        bytes[22..26].copy_from_slice(&5_001_i32.to_le_bytes());
        let error = decode_image(&bytes, "huge.bmp").unwrap_err().to_string();
        assert!(
            error.starts_with("huge.bmp: 20000 x 5001 pixels, expected at most 100 mega"),
            "{error}"
        );
    }

    /// A chunk of a PNG.
    fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
        let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        let table = |byte: u32| (0..8).fold(byte, |crc, _| step(crc));
        let sum = |crc: u32, byte: &u8| table((crc ^ u32::from(*byte)) & 0xFF) ^ (crc >> 8);
        let body = [&kind, data].concat();
        let crc = !body.iter().fold(u32::MAX, sum);
        [&(data.len() as u32).to_be_bytes(), &body[..], &crc.to_be_bytes()].concat()
    }

    /// A zlib stream of 1 + 258 n zeros in 13 n bits: a zero, then "the last byte 258 times more" (RFC 1951, fixed codes).
    fn bomb(n: usize) -> Vec<u8> {
        let repeated = "1100010100000".repeat(n);
        let bits = format!("11000110000{repeated}0000000"); // the last block, of fixed codes
        let byte =
            |bits: &[u8]| (0..).zip(bits).fold(0, |byte, (at, bit)| byte | (bit - b'0') << at);
        let n_zeros = 1 + 258 * n as u32;
        let adler = (n_zeros % 65521) << 16 | 1;
        let packed: Vec<u8> = bits.as_bytes().chunks(8).map(byte).collect();
        [&[0x78, 0x01], &packed[..], &adler.to_be_bytes()].concat()
    }

    #[test]
    fn a_colour_profile_is_unpacked_within_its_limit_alone() {
        let plain = golden::bytes("micro/images/square.png");
        let with_profile = |n| {
            let profile = chunk(*b"iCCP", &[b"p\0\0", &bomb(n)[..]].concat());
            [&plain[..33], &profile, &plain[33..]].concat() // after the header's chunk
        };
        let unpacked = |bytes: &[u8]| {
            let decoder = decoder(bytes, ImageFormat::Png, PICTURE_METADATA_BYTES);
            decoder.unwrap().icc_profile().unwrap().map(|profile| profile.len())
        };
        let (small, bomb) = (with_profile(4), with_profile(1 << 20));
        assert!(bomb.len() < 2_000_000, "it would be 270 MB");
        assert_eq!((unpacked(&small), unpacked(&bomb)), (Some(1033), None));
        let pixels = decode_image(&plain, "a.png").unwrap();
        assert!(decode_image(&small, "a.png").unwrap() == pixels);
        assert!(decode_image(&bomb, "a.png").unwrap() == pixels);
    }

    #[test]
    fn transparency_is_laid_on_white() {
        assert_eq!(on_white([10, 20, 30], 0), [255; 3]);
        assert_eq!(on_white([10, 20, 30], 255), [10, 20, 30]);
        assert_eq!(on_white([0, 255, 100], 51), [204, 255, 224]); // 0.2 of the colour, 0.8 of white
    }
}
