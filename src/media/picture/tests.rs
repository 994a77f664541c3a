use std::io::Cursor;

use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

use super::*;

/// Red above, blue below.
fn two_colours(width: u32, height: u32) -> Vec<u8> {
    (0..height)
        .flat_map(|y| {
            (0..width).flat_map(move |_| if y < height / 2 { [250, 10, 10] } else { [10, 10, 250] })
        })
        .collect()
}

fn jpeg_file(width: u16, height: u16, change: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 80);
    change(&mut encoder);
    encoder.encode(&two_colours(width.into(), height.into()), width, height, ColorType::Rgb).unwrap();
    file
}

fn png_file(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth, rows: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(rows).unwrap();
    file
}

struct Seen {
    width: u16,
    height: u16,
    rgb: Vec<u8>,
}

impl Seen {
    /// The pixel at these tenths of the width and height.
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let (x, y) = (usize::from(self.width) * x / 10, usize::from(self.height) * y / 10);
        let at = (y * usize::from(self.width) + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }
}

/// What a phone shows of an image before it is there.
fn seen(file: &[u8]) -> Result<Seen, String> {
    let thumbnail = make(Cursor::new(file))?;
    assert!(thumbnail.len() <= 10 * 1024, "{}", thumbnail.len());
    let mut decoder = jpeg_decoder::Decoder::new(thumbnail.as_slice());
    let rgb = decoder.decode().unwrap();
    let info = decoder.info().unwrap();
    assert_eq!(info.pixel_format, PixelFormat::RGB24);
    Ok(Seen { width: info.width, height: info.height, rgb })
}

fn is(pixel: [u8; 3], expected: [u8; 3]) -> bool {
    pixel.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 40)
}

const RED: [u8; 3] = [250, 10, 10];
const BLUE: [u8; 3] = [10, 10, 250];

#[test]
fn a_jpeg_has_a_thumbnail_of_its_shape_and_colours() {
    for (width, height, small) in
        [(4000, 3000, (100, 75)), (300, 1200, (25, 100)), (40, 30, (40, 30)), (1, 1, (1, 1))]
    {
        let seen = seen(&jpeg_file(width, height, |_| {})).unwrap();
        assert_eq!((seen.width, seen.height), small);
        if width > 1 {
            assert!(is(seen.at(5, 2), RED) && is(seen.at(5, 8), BLUE), "{width}: {:?}", seen.at(5, 2));
        }
    }
    let seen = seen(&jpeg_file(800, 600, |encoder| encoder.set_progressive(true))).unwrap();
    assert!(is(seen.at(5, 2), RED) && is(seen.at(5, 8), BLUE));
}

#[test]
fn a_photo_that_lies_on_its_side_is_shown_upright() {
    for (orientation, size, red, blue) in [
        (1, (100, 50), (5, 2), (5, 8)),
        (3, (100, 50), (5, 8), (5, 2)),
        // The camera's upper edge is the picture's right one, or its left one.
        (6, (50, 100), (8, 5), (2, 5)),
        (8, (50, 100), (2, 5), (8, 5)),
    ] {
        let tiff = exif::tests::tiff(orientation % 2 == 0, orientation);
        let file = jpeg_file(400, 200, |encoder| encoder.add_exif_metadata(&tiff).unwrap());
        let seen = seen(&file).unwrap();
        assert_eq!((u32::from(seen.width), u32::from(seen.height)), size, "{orientation}");
        assert!(is(seen.at(red.0, red.1), RED) && is(seen.at(blue.0, blue.1), BLUE), "{orientation}");
        let upright = if orientation >= 5 { (200, 400) } else { (400, 200) };
        assert_eq!(crate::media::dimensions(&file), Some(upright), "{orientation}");
    }
}

#[test]
fn other_colours_of_jpeg_are_shown_too() {
    let mut grey = Vec::new();
    Encoder::new(&mut grey, 80).encode(&[200; 300 * 200], 300, 200, ColorType::Luma).unwrap();
    assert!(is(seen(&grey).unwrap().at(5, 5), [200; 3]));
    let mut ink = Vec::new();
    let cyan: Vec<u8> = [255, 0, 0, 0].repeat(300 * 200);
    Encoder::new(&mut ink, 90).encode(&cyan, 300, 200, ColorType::Cmyk).unwrap();
    let pixel = seen(&ink).unwrap().at(5, 5);
    assert!(is(pixel, [0, 255, 255]) || is(pixel, [255, 0, 0]), "{pixel:?}");
}

#[test]
fn every_png_has_a_thumbnail() {
    use png::{BitDepth as D, ColorType as C};
    let rgb = two_colours(600, 400);
    let shown = seen(&png_file(600, 400, C::Rgb, D::Eight, &rgb)).unwrap();
    assert_eq!((shown.width, shown.height), (100, 66));
    assert!(is(shown.at(5, 2), RED) && is(shown.at(5, 8), BLUE));
    let clear: Vec<u8> = [0, 0, 0, 0].repeat(200 * 200);
    assert!(is(seen(&png_file(200, 200, C::Rgba, D::Eight, &clear)).unwrap().at(5, 5), [255; 3]));
    let half: Vec<u8> = [0, 128].repeat(200 * 200);
    assert!(is(seen(&png_file(200, 200, C::GrayscaleAlpha, D::Eight, &half)).unwrap().at(5, 5), [127; 3]));
    assert!(is(seen(&png_file(64, 64, C::Grayscale, D::One, &[0xff; 8 * 64])).unwrap().at(5, 5), [255; 3]));
    let deep: Vec<u8> = [0x80, 0x12].repeat(100 * 100);
    assert!(is(seen(&png_file(100, 100, C::Grayscale, D::Sixteen, &deep)).unwrap().at(5, 5), [128; 3]));
}

#[test]
fn a_webp_has_a_thumbnail() {
    let mut file = Vec::new();
    image_webp::WebPEncoder::new(&mut file)
        .encode(&two_colours(500, 1000), 500, 1000, image_webp::ColorType::Rgb8)
        .unwrap();
    let seen = seen(&file).unwrap();
    assert_eq!((seen.width, seen.height), (50, 100));
    assert!(is(seen.at(5, 2), RED) && is(seen.at(5, 8), BLUE));
}

#[test]
fn noise_is_small_enough_as_well() {
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..100 * 100 * 3)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    seen(&png_file(100, 100, png::ColorType::Rgb, png::BitDepth::Eight, &noise)).unwrap();
}

#[test]
fn what_would_unpack_to_gigabytes_is_not_unpacked() {
    // Headers that promise 30,000 by 30,000 pixels, and a progressive one of 50 million.
    let mut png = png_file(1, 1, png::ColorType::Rgb, png::BitDepth::Eight, &[0; 3]);
    png[16..20].copy_from_slice(&30_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&30_000_u32.to_be_bytes());
    assert!(make(Cursor::new(png)).is_err());
    let large = |file: &mut Vec<u8>, frame: u8, size: u16| {
        let at = file.windows(2).position(|w| w == [0xff, frame]).unwrap();
        file[at + 5..at + 7].copy_from_slice(&size.to_be_bytes());
        file[at + 7..at + 9].copy_from_slice(&size.to_be_bytes());
    };
    let mut plain = jpeg_file(64, 64, |_| {});
    large(&mut plain, 0xc0, 30_000);
    assert!(make(Cursor::new(plain)).unwrap_err().contains("too many"));
    let mut progressive = jpeg_file(64, 64, |encoder| encoder.set_progressive(true));
    large(&mut progressive, 0xc2, 7_100);
    assert!(make(Cursor::new(progressive)).unwrap_err().contains("too many"));
    assert!(make(Cursor::new(b"GIF89a")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn damaged_images_have_a_thumbnail_or_none(
        which in 0_usize..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
        cut in any::<prop::sample::Index>(),
        keep: bool,
    ) {
        let mut file = match which {
            0 => jpeg_file(120, 90, |_| {}),
            1 => jpeg_file(120, 90, |encoder| encoder.set_progressive(true)),
            2 => png_file(60, 40, png::ColorType::Rgb, png::BitDepth::Eight, &two_colours(60, 40)),
            _ => {
                let mut file = Vec::new();
                let encoder = image_webp::WebPEncoder::new(&mut file);
                encoder.encode(&two_colours(60, 40), 60, 40, image_webp::ColorType::Rgb8).unwrap();
                file
            }
        };
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if !keep {
            file.truncate(cut.index(file.len()));
        }
        let _ = make(Cursor::new(file));
    }
}
