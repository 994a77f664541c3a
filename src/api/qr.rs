//! Pictures of a QR code: PNG for applications, text for a terminal.

use qrcode::types::Color;
use qrcode::{EcLevel, QrCode};

/// Quiet zone in modules, as ISO/IEC 18004 asks for.
const QUIET: usize = 4;
/// Width and height of the PNG at least, in pixels.
const PNG_SIZE: usize = 264;

/// The text does not fit a QR code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text does not fit a QR code")]
pub struct TooLong;

/// Modules row by row, quiet zone included; `true` is dark.
fn modules(text: &str) -> Result<(Vec<bool>, usize), TooLong> {
    // Level L gives the fewest modules and so the largest ones on a small screen; a screen has no dirt to correct for.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)?;
    let inner = code.width();
    let width = inner + 2 * QUIET;
    let mut dark = vec![false; width * width];
    for (index, color) in code.to_colors().into_iter().enumerate() {
        dark[(index / inner + QUIET) * width + index % inner + QUIET] = color == Color::Dark;
    }
    Ok((dark, width))
}

/// A black-and-white PNG.
pub fn png(text: &str) -> Result<Vec<u8>, TooLong> {
    let (dark, width) = modules(text)?;
    let scale = PNG_SIZE.div_ceil(width);
    let side = width * scale;
    let row_bytes = side.div_ceil(8);
    let mut pixels = vec![0u8; row_bytes * side];
    for y in 0..side {
        for x in 0..side {
            if !dark[y / scale * width + x / scale] {
                pixels[y * row_bytes + x / 8] |= 0x80 >> (x % 8);
            }
        }
    }
    let mut out = Vec::new();
    let size = u32::try_from(side).map_err(|_| TooLong)?;
    let mut encoder = png::Encoder::new(&mut out, size, size);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.expect("a Vec takes every byte and the size fits the pixels");
    Ok(out)
}

/// Lines of half blocks, light modules drawn in the foreground colour on a black background: right on both dark and
/// light terminals, because the background is set and not assumed.
pub fn terminal(text: &str) -> Result<String, TooLong> {
    let (dark, width) = modules(text)?;
    let at = |x: usize, y: usize| y < width && dark[y * width + x];
    let mut out = String::new();
    for y in (0..width).step_by(2) {
        out.push_str("\u{1b}[97;40m");
        for x in 0..width {
            out.push(match (at(x, y), y + 1 >= width || at(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push_str("\u{1b}[0m\n");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/,MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=,\
        MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=,MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=,1";

    fn decode(width: usize, height: usize, light: impl Fn(usize, usize) -> bool) -> String {
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(
                width,
                height,
                |x, y| if light(x, y) { 255 } else { 0 },
            );
        image.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn the_png_decodes_to_the_text() {
        let bytes = png(TEXT).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let width = info.width as usize;
        assert!(width >= PNG_SIZE);
        assert_eq!(decode(width, width, |x, y| pixels[y * width + x] > 127), TEXT);
    }

    #[test]
    fn the_terminal_lines_decode_to_the_text() {
        let lines: Vec<Vec<char>> = terminal(TEXT)
            .unwrap()
            .lines()
            .map(|l| l.trim_start_matches("\u{1b}[97;40m").trim_end_matches("\u{1b}[0m").chars().collect())
            .collect();
        let width = lines[0].len();
        let light = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => y % 2 == 1,
            _ => false,
        };
        // Four pixels a module, as a phone's camera would have at least.
        assert_eq!(decode(width * 4, width * 4, |x, y| light(x / 4, y / 4)), TEXT);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(png(&"x".repeat(3000)), Err(TooLong));
    }
}
