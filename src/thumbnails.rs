//! Thumbnails of pictures.
//!
//! A picture comes from a stranger, and its decoder may need much memory or time, or have a defect. So a process of its own decodes
//! each picture: `discodeit thumbnails`, without the environment of the node, with limits for memory and processor time. The node
//! writes the picture to its standard input, and reads the thumbnails from its standard output.

use std::{
    io::{Cursor, Read, Write},
    path::Path,
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use image::{
    ColorType, DynamicImage, ExtendedColorType, GenericImageView, ImageDecoder, ImageEncoder,
    ImageError, ImageReader, Limits,
    codecs::{jpeg::JpegEncoder, webp::WebPEncoder},
    metadata::Orientation,
};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::model::file::Picture;

/// Widths of the thumbnails in pixels, the largest first. A smaller picture keeps its width.
pub const WIDTHS: [u32; 2] = [640, 320];
/// Maximum size in bytes of a picture that gets thumbnails.
pub const MAX_SIZE: u64 = 32 * 1024 * 1024;
/// Maximum size in bytes of one thumbnail. A WebP image of the largest thumbnail without any compression is smaller.
pub const MAX_THUMBNAIL_SIZE: usize = 4 * 1024 * 1024;
/// Maximum pixels of a picture that gets thumbnails.
const MAX_PIXELS: u64 = 40_000_000;
/// Maximum bytes of a decoded picture: four for each pixel.
const MAX_DECODED: u64 = 4 * MAX_PIXELS;
/// Maximum address space of the process, in bytes: the picture, decoded and not, the program, and the work of a decoder.
const MAX_MEMORY: u64 = 512 * 1024 * 1024;
/// Maximum processor time of the process, in seconds.
const MAX_CPU_TIME: u64 = 5;
/// Maximum time of the process, with its wait for a processor.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Priority of the process (`nice`): the deliveries of the node come first.
const NICE: i32 = 10;
/// A thumbnail is at most this many times as high as it may be wide.
const MAX_RATIO: u32 = 2;
/// Quality of a JPEG thumbnail, from 1 to 100.
const QUALITY: u8 = 80;
/// Maximum size in bytes of a colour profile that a thumbnail keeps.
const MAX_PROFILE_SIZE: usize = 16 * 1024;
/// Size in bytes of the numbers before the thumbnails: width and height of the picture, and the size of each thumbnail.
const HEAD: usize = 4 * (2 + WIDTHS.len());

/// The thumbnails of a picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Thumbnails {
    /// The picture.
    pub picture: Picture,
    /// A JPEG image, or a WebP image if the picture has transparent parts, for each of [`WIDTHS`].
    pub images: [Bytes; WIDTHS.len()],
}

/// Why a picture has no thumbnails.
#[derive(Debug, Error)]
pub enum ThumbnailError {
    /// The process did not start, or its pipes failed.
    #[error("the process of thumbnails failed")]
    Process(#[from] std::io::Error),
    /// The picture cannot be decoded within the limits.
    #[error("the picture cannot be decoded within the limits")]
    Undecodable,
    /// The storage did not give the picture.
    #[error("the picture cannot be read")]
    Source(#[source] object_store::Error),
}

/// Makes the thumbnails of a picture in a process of its own, with the program `discodeit`. Takes at most 10 seconds.
///
/// Dropping the future ends the process.
///
/// # Errors
/// See [`ThumbnailError`].
pub async fn make(
    program: &Path,
    picture: impl Stream<Item = Result<Bytes, object_store::Error>>,
) -> Result<Thumbnails, ThumbnailError> {
    let work = async {
        let mut process = Command::new(program)
            .arg("thumbnails")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(ThumbnailError::Undecodable); // both are piped
        };
        let write = async {
            let mut picture = std::pin::pin!(picture);
            while let Some(chunk) = picture.try_next().await.map_err(ThumbnailError::Source)? {
                // The process may end before it has read a picture that it cannot decode.
                if input.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            drop(input);
            Ok::<(), ThumbnailError>(())
        };
        let read = async {
            let mut made = Vec::new();
            let limit = HEAD + WIDTHS.len() * MAX_THUMBNAIL_SIZE;
            output.take(limit as u64).read_to_end(&mut made).await?;
            Ok(Bytes::from(made))
        };
        let ((), made) = tokio::try_join!(write, read)?;
        if !process.wait().await?.success() {
            return Err(ThumbnailError::Undecodable);
        }
        parse(&made).ok_or(ThumbnailError::Undecodable)
    };
    tokio::time::timeout(TIMEOUT, work)
        .await
        .unwrap_or(Err(ThumbnailError::Undecodable))
}

/// Reads what [`run`] has written.
fn parse(made: &Bytes) -> Option<Thumbnails> {
    let mut numbers = made.get(..HEAD)?.chunks_exact(4).map(|number| {
        let number = u32::from_be_bytes(number.try_into().ok()?);
        i32::try_from(number).ok()
    });
    let picture = Picture {
        width: numbers.next()??,
        height: numbers.next()??,
        thumbnail: true,
    };
    let mut rest = made.slice(HEAD..);
    let mut images = [const { Bytes::new() }; WIDTHS.len()];
    for image in &mut images {
        let size = usize::try_from(numbers.next()??).ok()?;
        if size == 0 || size > MAX_THUMBNAIL_SIZE || size > rest.len() {
            return None;
        }
        *image = rest.split_to(size);
    }
    rest.is_empty().then_some(Thumbnails { picture, images })
}

/// The work of the process: limits itself, reads a picture, and writes its size and its thumbnails.
///
/// # Errors
/// The picture cannot be decoded within the limits.
pub fn run(input: impl Read, mut output: impl Write) -> Result<(), ImageError> {
    limit_process()?;
    let mut picture = Vec::new();
    input.take(MAX_SIZE + 1).read_to_end(&mut picture)?;
    let Rendered { size, thumbnails } = render(&picture)?;
    let mut head = Vec::with_capacity(HEAD);
    for number in size {
        head.extend(number.to_be_bytes());
    }
    for image in &thumbnails {
        head.extend(u32::try_from(image.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    output.write_all(&head)?;
    for image in &thumbnails {
        output.write_all(image)?;
    }
    output.flush()?;
    Ok(())
}

/// The kernel ends a process that exceeds these limits, and this process before any other when memory runs out.
fn limit_process() -> Result<(), std::io::Error> {
    // Not in a container that has no writable /proc. The limits hold there, too.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    let limits = [
        (Resource::As, MAX_MEMORY),
        (Resource::Cpu, MAX_CPU_TIME),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit)?;
    }
    setpriority_process(None, NICE)?;
    Ok(())
}

/// What [`run`] writes.
struct Rendered {
    /// Width and height of the picture, as it is shown.
    size: [u32; 2],
    /// The thumbnails for [`WIDTHS`].
    thumbnails: Vec<Vec<u8>>,
}

fn render(picture: &[u8]) -> Result<Rendered, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(picture)).with_guessed_format()?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS || decoder.total_bytes() > MAX_DECODED {
        let error = image::error::LimitErrorKind::DimensionError;
        return Err(ImageError::Limits(image::error::LimitError::from_kind(
            error,
        )));
    }
    // Files with a broken orientation are shown as they are.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // A profile of other colours does not fit the RGB colours of a thumbnail.
    let is_rgb = matches!(decoder.original_color_type(), ExtendedColorType::Rgb8);
    let profile = decoder.icc_profile().ok().flatten();
    let profile = profile.filter(|profile| is_rgb && profile.len() <= MAX_PROFILE_SIZE);
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let mut image = DynamicImage::from_decoder(decoder)?;
    let mut thumbnails = Vec::new();
    for max_width in WIDTHS {
        let (max_width, max_height) = if turned {
            (MAX_RATIO * max_width, max_width)
        } else {
            (max_width, MAX_RATIO * max_width)
        };
        let (width, height) = image.dimensions();
        if width > max_width || height > max_height {
            image = image.thumbnail(max_width, max_height);
        }
        let mut shown = image.clone();
        shown.apply_orientation(orientation);
        thumbnails.push(encode(&shown, profile.as_deref())?);
    }
    let size = if turned {
        [height, width]
    } else {
        [width, height]
    };
    Ok(Rendered { size, thumbnails })
}

/// A JPEG image, or a WebP image if the picture has transparent parts.
fn encode(image: &DynamicImage, profile: Option<&[u8]>) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = image.dimensions();
    if image.color().has_alpha() {
        let pixels = image.to_rgba8();
        if pixels.pixels().any(|pixel| pixel.0[3] < u8::MAX) {
            let encoder = WebPEncoder::new_lossless(&mut bytes);
            encoder.encode(&pixels, width, height, ColorType::Rgba8.into())?;
            return Ok(bytes);
        }
    }
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile.to_vec())
            .map_err(ImageError::Unsupported)?;
    }
    encoder.write_image(&image.to_rgb8(), width, height, ColorType::Rgb8.into())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;
    use crate::model::file::picture_type;

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut encoded = Cursor::new(Vec::new());
        image
            .write_to(&mut encoded, image::ImageFormat::Png)
            .expect("encoded");
        encoded.into_inner()
    }

    fn opaque(width: u32, height: u32) -> Vec<u8> {
        png(&RgbImage::from_pixel(width, height, Rgb([200, 40, 40])).into())
    }

    /// The sizes of a picture's thumbnails.
    fn sizes(picture: &[u8]) -> Vec<(u32, u32)> {
        let rendered = render(picture).expect("rendered");
        rendered
            .thumbnails
            .iter()
            .map(|thumbnail| {
                image::load_from_memory(thumbnail)
                    .expect("an image")
                    .dimensions()
            })
            .collect()
    }

    #[test]
    fn thumbnails_fit_their_width_and_are_not_enlarged() {
        for (width, height, expected) in [
            (1280, 640, [(640, 320), (320, 160)]),
            (500, 100, [(500, 100), (320, 64)]),
            (20, 10, [(20, 10), (20, 10)]),
            (100, 4000, [(32, 1280), (16, 640)]),
            (5000, 1, [(640, 1), (320, 1)]),
        ] {
            let picture = opaque(width, height);
            assert_eq!(sizes(&picture), expected, "{width} × {height}");
            assert_eq!(render(&picture).expect("rendered").size, [width, height]);
        }
    }

    #[test]
    fn only_pictures_with_transparent_parts_become_webp() {
        let mut image = RgbaImage::from_pixel(40, 40, Rgba([1, 2, 3, 255]));
        let first = |image: RgbaImage| {
            let rendered = render(&png(&image.into())).expect("rendered");
            picture_type(&rendered.thumbnails[0])
        };
        assert_eq!(first(image.clone()), Some("image/jpeg"));
        image.put_pixel(3, 3, Rgba([1, 2, 3, 0]));
        assert_eq!(first(image), Some("image/webp"));
    }

    #[test]
    fn a_picture_with_more_pixels_than_the_limit_is_not_decoded() {
        // The header of a PNG file says 50,000 × 50,000; so does its checksum.
        let mut bomb = opaque(1, 1);
        bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(render(&bomb), Err(ImageError::Limits(_))));
    }

    /// The checksum of a PNG chunk, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
            })
        })
    }

    #[test]
    fn what_is_no_picture_is_not_decoded() {
        for bytes in [&b""[..], b"text", b"<svg></svg>", &opaque(9, 9)[..40]] {
            assert!(render(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn only_whole_answers_of_the_process_are_read() {
        let answer = |sizes: [u32; 2], rest: &[u8]| {
            let numbers = [4, 3, sizes[0], sizes[1]];
            let mut answer: Vec<u8> = numbers.iter().flat_map(|n: &u32| n.to_be_bytes()).collect();
            answer.extend(rest);
            parse(&answer.into())
        };
        let parsed = answer([2, 1], b"abc").expect("whole");
        assert_eq!((parsed.picture.width, parsed.picture.height), (4, 3));
        assert_eq!(parsed.images, [&b"ab"[..], b"c"]);
        for (sizes, rest) in [
            ([2, 1], &b"ab"[..]),
            ([2, 1], b"abcd"),
            ([0, 3], b"abc"),
            ([u32::MAX, 1], b"abc"),
        ] {
            assert_eq!(answer(sizes, rest), None, "{sizes:?}");
        }
        assert_eq!(parse(&Bytes::from_static(b"short")), None);
    }
}
