//! Frames as PNG files.

use embedded_graphics::{pixelcolor::Rgb565, prelude::*};

use crate::Frame;

/// `frame` as a PNG file, each pixel `scale` by `scale` (1 to 16): gray with one bit a pixel if it is only black and
/// white, RGB otherwise. The same frame gives the same bytes.
pub fn png(frame: &Frame, scale: u32) -> Vec<u8> {
    let scale = scale.clamp(1, 16);
    let size = frame.size() * scale;
    let mono = frame.pixels().iter().all(|&c| c == Rgb565::BLACK || c == Rgb565::WHITE);
    let mut bytes = Vec::new();
    for y in 0..frame.size().height {
        let row: Vec<Rgb565> =
            frame.row(y).iter().flat_map(|&c| std::iter::repeat_n(c, scale as usize)).collect();
        let encoded: Vec<u8> = if mono {
            let bits = |eight: &[Rgb565]| {
                eight
                    .iter()
                    .enumerate()
                    .fold(0, |byte, (i, &c)| byte | u8::from(c == Rgb565::WHITE) << (7 - i))
            };
            row.chunks(8).map(bits).collect()
        } else {
            row.iter().flat_map(|&c| rgb888(c)).collect()
        };
        (0..scale).for_each(|_| bytes.extend_from_slice(&encoded));
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_color(if mono { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(if mono { png::BitDepth::One } else { png::BitDepth::Eight });
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&bytes));
    // A frame without pixels has no PNG; everything else fits by construction, and a Vec takes all bytes.
    if written.is_err() { Vec::new() } else { file }
}

/// A colour with eight bits a channel.
pub(crate) fn rgb888(c: Rgb565) -> [u8; 3] {
    let widen = |value: u8, max: u32| (u32::from(value) * 255 / max) as u8;
    [widen(c.r(), 31), widen(c.g(), 63), widen(c.b(), 31)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(file: &[u8]) -> (Size, Vec<[u8; 3]>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let channels = info.color_type.samples();
        let pixels = bytes.chunks(channels).map(|c| [c[0], c[1 % channels], c[2 % channels]]).collect();
        (Size::new(info.width, info.height), pixels)
    }

    proptest! {
        #[test]
        fn a_decoded_picture_is_the_frame(
            width in 1..20u32, height in 1..20u32, scale in 1..4u32, colours in prop::collection::vec(0..4usize, 400),
            only_mono: bool,
        ) {
            let palette = [Rgb565::BLACK, Rgb565::WHITE, Rgb565::RED, Rgb565::new(3, 60, 9)];
            let mut frame = Frame::new(Size::new(width, height));
            let points: Vec<_> = frame.bounding_box().points().collect();
            for (point, colour) in points.into_iter().zip(colours) {
                let Ok(()) = Pixel(point, palette[if only_mono { colour % 2 } else { colour }]).draw(&mut frame);
            }
            let (size, pixels) = decode(&png(&frame, scale));
            prop_assert_eq!(size, frame.size() * scale);
            for y in 0..size.height {
                for x in 0..size.width {
                    let expected = rgb888(frame.pixel(Point::new((x / scale) as i32, (y / scale) as i32)).unwrap());
                    prop_assert_eq!(pixels[(y * size.width + x) as usize], expected);
                }
            }
        }
    }

    #[test]
    fn nothing_is_no_picture() {
        assert!(png(&Frame::new(Size::zero()), 1).is_empty());
    }
}
