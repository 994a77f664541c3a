//! The small picture that a chat shows before the image has been downloaded.
//!
//! Memory is bounded by what each format makes possible. A plain JPEG is decoded at an eighth of its size, by leaving
//! out the finer frequencies, and a PNG goes by row by row: both take a few MiB for any photo. Interlaced PNG,
//! progressive JPEG and WebP can only be decoded whole, so beyond [`WHOLE`] pixels they are sent without a thumbnail.

pub(super) mod exif;
mod shrink;

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::PathBuf;

use jpeg_decoder::{CodingProcess, PixelFormat};
use tokio::task::spawn_blocking;

use self::shrink::{Shrink, Small};
use super::Spool;

/// A small picture, as JPEG.
pub type Thumbnail = Vec<u8>;

/// Its longer side in pixels, as WhatsApp's own apps make it.
const SIDE: u32 = 100;
/// Its size in bytes: it travels inside the message, once for each device of each recipient.
const MAX_BYTES: usize = 10 * 1024;
/// Pixels of a picture that is decoded in parts. More than any phone's camera has; what it takes is time.
const PARTS: u64 = 120_000_000;
/// Pixels of a picture that has to be decoded whole: 24 MiB at 6 bytes each.
const WHOLE: u64 = 4_200_000;
/// The same in bytes, for decoders that count them.
const WHOLE_BYTES: usize = 32 * 1024 * 1024;

/// The thumbnail of the image in a file, upright; `None` for what cannot be decoded, or not within bounds.
pub async fn thumbnail(file: PathBuf, spool: &Spool) -> Option<Thumbnail> {
    let _place = spool.shrinking().acquire().await.ok()?;
    let made = spawn_blocking(move || {
        let file = File::open(&file).map_err(|e| e.to_string())?;
        make(BufReader::with_capacity(32 * 1024, file))
    });
    // A panic of a decoder costs the thumbnail and no more.
    let made = made.await.unwrap_or_else(|e| Err(e.to_string()));
    made.inspect_err(|e| log::debug!("an image is sent without a thumbnail: {e}")).ok()
}

fn make(mut file: impl BufRead + Seek) -> Result<Thumbnail, String> {
    let head = file.fill_buf().map_err(|e| e.to_string())?;
    let small = if head.starts_with(&[0xff, 0xd8, 0xff]) {
        jpeg(file)?
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        png(file)?
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        webp(file)?
    } else {
        return Err("it is neither JPEG nor PNG nor WebP".into());
    };
    // The last one is below the limit whatever it shows: 100 by 100 pixels at quality 5 are 2 KiB of noise.
    let mut out = Vec::new();
    for quality in [60, 35, 15, 5] {
        out.clear();
        let (width, height) = (small.width as u16, small.height as u16);
        jpeg_encoder::Encoder::new(&mut out, quality)
            .encode(&small.rgb, width, height, jpeg_encoder::ColorType::Rgb)
            .map_err(|e| e.to_string())?;
        if out.len() <= MAX_BYTES {
            return Ok(out);
        }
    }
    Err(format!("it is {} bytes small", out.len()))
}

fn check(width: u32, height: u32, most: u64) -> Result<(), String> {
    if u64::from(width) * u64::from(height) > most {
        return Err(format!("{width} by {height} pixels are too many"));
    }
    Ok(())
}

fn jpeg(file: impl BufRead) -> Result<Small, String> {
    let text = |e: jpeg_decoder::Error| e.to_string();
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info().map_err(text)?;
    let info = decoder.info().ok_or("it has no header")?;
    let parts = info.coding_process == CodingProcess::DctSequential;
    check(info.width.into(), info.height.into(), if parts { PARTS } else { WHOLE })?;
    decoder.set_max_decoding_buffer_size(WHOLE_BYTES);
    // Down to an eighth, and no smaller than the thumbnail.
    let (width, height) = decoder.scale(SIDE as u16, SIDE as u16).map_err(text)?;
    let pixels = decoder.decode().map_err(text)?;
    let orientation = decoder.exif_data().map_or(1, exif::orientation);
    let mut shrink = Shrink::new((width.into(), height.into()), SIDE);
    let rows = pixels.chunks(usize::from(width).max(1) * info.pixel_format.pixel_bytes());
    for (y, row) in (0..).zip(rows) {
        match info.pixel_format {
            PixelFormat::L8 => shrink.row(y, row.iter().map(|l| [*l; 3])),
            // The upper byte, in the machine's order.
            PixelFormat::L16 => {
                shrink.row(
                    y,
                    row.chunks_exact(2).map(|l| [u16::from_ne_bytes([l[0], l[1]]).to_be_bytes()[0]; 3]),
                );
            }
            PixelFormat::RGB24 => shrink.row(y, row.chunks_exact(3).map(|p| [p[0], p[1], p[2]])),
            PixelFormat::CMYK32 => shrink.row(
                y,
                row.chunks_exact(4).map(|p| {
                    let light = |ink: u8| (u16::from(255 - ink) * u16::from(255 - p[3]) / 255) as u8;
                    [light(p[0]), light(p[1]), light(p[2])]
                }),
            ),
        }
    }
    Ok(shrink.finish().upright(orientation))
}

fn png(file: impl BufRead + Seek) -> Result<Small, String> {
    let text = |e: png::DecodingError| e.to_string();
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: WHOLE_BYTES });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height, interlaced) = (reader.info().width, reader.info().height, reader.info().interlaced);
    check(width, height, if interlaced { WHOLE } else { PARTS })?;
    let (color, _) = reader.output_color_type();
    let samples = color.samples();
    let mut shrink = Shrink::new((width, height), SIDE);
    let mut row = |y: u32, row: &[u8]| shrink.row(y, row.chunks_exact(samples).map(on_white));
    if interlaced {
        let mut pixels = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
        let frame = reader.next_frame(&mut pixels).map_err(text)?;
        for (y, line) in (0..).zip(pixels.chunks(frame.line_size.max(1))) {
            row(y, line);
        }
    } else {
        for y in 0..height {
            let Some(line) = reader.next_row().map_err(text)? else { break };
            row(y, line.data());
        }
    }
    Ok(shrink.finish())
}

fn webp(file: impl BufRead + Seek) -> Result<Small, String> {
    let text = |e: image_webp::DecodingError| e.to_string();
    let mut decoder = image_webp::WebPDecoder::new(file).map_err(text)?;
    decoder.set_memory_limit(WHOLE_BYTES);
    let (width, height) = decoder.dimensions();
    check(width, height, WHOLE)?;
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or("it is too large")?];
    decoder.read_image(&mut pixels).map_err(text)?;
    let mut shrink = Shrink::new((width, height), SIDE);
    for (y, row) in (0..).zip(pixels.chunks(width.max(1) as usize * samples)) {
        shrink.row(y, row.chunks_exact(samples).map(on_white));
    }
    Ok(shrink.finish())
}

/// One pixel of grey, grey and alpha, RGB or RGBA, before the white of a page.
fn on_white(pixel: &[u8]) -> [u8; 3] {
    let over = |c: u8, alpha: u8| {
        let (c, alpha) = (u16::from(c), u16::from(alpha));
        ((c * alpha + 255 * (255 - alpha)) / 255) as u8
    };
    match pixel {
        [l] => [*l; 3],
        [l, a] => [over(*l, *a); 3],
        [r, g, b] => [*r, *g, *b],
        [r, g, b, a, ..] => [over(*r, *a), over(*g, *a), over(*b, *a)],
        [] => [255; 3],
    }
}

#[cfg(test)]
mod tests;
