//! Width and height of an image, from its header alone.
//!
//! A phone lays out the bubble before the image has been downloaded, so an image message carries both. Nothing is
//! decoded: a 50 KB file can unpack to gigabytes.

use super::picture::exif;

/// Width and height in pixels, as the image is seen, of a PNG, JPEG, GIF or WebP that begins with `bytes`, or `None` if the header is not
/// in them or is not sound. 256 KiB suffice for what cameras put before the size.
///
/// Formats: PNG (ISO/IEC 15948) `IHDR`; JPEG (ITU-T T.81, B.2.2) frame headers; GIF89a, 18; WebP (RFC 9649, 2.6
/// and 2.7; RFC 6386, 9.1).
#[must_use]
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let size = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        png(bytes)
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        jpeg(bytes)
    } else if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") {
        Some((u32::from(le16(bytes, 6)?), u32::from(le16(bytes, 8)?)))
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        webp(bytes)
    } else {
        None
    };
    size.filter(|(width, height)| *width > 0 && *height > 0)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    if bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    Some((u32::from_be_bytes(array(bytes, 16)?), u32::from_be_bytes(array(bytes, 20)?)))
}

fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    let mut turned = false;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            // A fill byte before the marker proper.
            0xff => at += 1,
            // Markers without a segment.
            0x01 | 0xd0..=0xd8 => at += 2,
            // Start of scan or end of image: the size should have come before.
            0xd9 | 0xda => return None,
            // Start of frame, but for C4 (Huffman tables), C8 (reserved) and CC (arithmetic conditioning).
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let size = (u32::from(be16(bytes, at + 7)?), u32::from(be16(bytes, at + 5)?));
                return Some(if turned { (size.1, size.0) } else { size });
            }
            _ => {
                if marker == 0xe1
                    && let Some(exif) = bytes.get(at + 4..).and_then(|rest| rest.strip_prefix(b"Exif\0\0"))
                {
                    turned = exif::orientation(exif) >= 5;
                }
                let length = usize::from(be16(bytes, at + 2)?);
                if length < 2 {
                    return None;
                }
                at += 2 + length;
            }
        }
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8X" => Some((le24(bytes, 24)? + 1, le24(bytes, 27)? + 1)),
        b"VP8L" => {
            if *bytes.get(20)? != 0x2f {
                return None;
            }
            let packed = u32::from_le_bytes(array(bytes, 21)?);
            Some(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => {
            if bytes.get(23..26)? != [0x9d, 0x01, 0x2a] {
                return None;
            }
            // The upper two bits of each are a scaling hint.
            Some((u32::from(le16(bytes, 26)? & 0x3fff), u32::from(le16(bytes, 28)? & 0x3fff)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn png_file(width: u32, height: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![0; (width * height) as usize]).unwrap();
        drop(writer);
        file
    }

    fn jpeg_file(width: u16, height: u16, before: usize) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        for _ in 0..before {
            file.extend([0xff, 0xe1, 0x40, 0x00]);
            file.extend(vec![0xda; 0x3ffe]);
        }
        // Huffman tables share the start-of-frame range; then a fill byte.
        file.extend([0xff, 0xc4, 0x00, 0x04, 0x01, 0x02, 0xff]);
        file.extend([0xff, 0xc2, 0x00, 0x11, 0x08]);
        file.extend(height.to_be_bytes());
        file.extend(width.to_be_bytes());
        file
    }

    fn webp_file(chunk: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        file.extend(chunk);
        file.extend((payload.len() as u32).to_le_bytes());
        file.extend(payload);
        file
    }

    #[test]
    fn each_format() {
        assert_eq!(dimensions(&png_file(321, 123)), Some((321, 123)));
        assert_eq!(dimensions(&jpeg_file(4000, 3000, 0)), Some((4000, 3000)));
        assert_eq!(dimensions(&jpeg_file(4000, 3000, 6)), Some((4000, 3000)));
        assert_eq!(dimensions(b"GIF89a\x40\x01\xf0\x00\0\0\0"), Some((320, 240)));
        let extended = webp_file(b"VP8X", &[0, 0, 0, 0, 0xff, 1, 0, 0xff, 0, 0]);
        assert_eq!(dimensions(&extended), Some((512, 256)));
        let packed: u32 = (512 - 1) | (300 - 1) << 14;
        let mut lossless = vec![0x2f];
        lossless.extend(packed.to_le_bytes());
        assert_eq!(dimensions(&webp_file(b"VP8L", &lossless)), Some((512, 300)));
        let lossy = [0, 0, 0, 0x9d, 0x01, 0x2a, 0x20, 0x43, 0x58, 0x42];
        assert_eq!(dimensions(&webp_file(b"VP8 ", &lossy)), Some((800, 600)));
    }

    #[test]
    fn what_is_missing_or_nonsense_is_none() {
        assert_eq!(dimensions(b""), None);
        assert_eq!(dimensions(b"%PDF-1.7"), None);
        assert_eq!(dimensions(b"GIF89a\0\0\xf0\x00"), None);
        assert_eq!(dimensions(&[0xff, 0xd8, 0xff, 0xe0, 0, 0, 0xff, 0xe0, 0, 0]), None);
        assert_eq!(dimensions(&[0xff, 0xd8, 0xff, 0xda]), None);
        let whole = jpeg_file(40, 30, 1);
        for end in 0..whole.len() {
            assert_eq!(dimensions(&whole[..end]), None, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_after_any_magic(magic in 0_usize..5, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let magic: &[u8] = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &b"\xff\xd8\xff"[..], b"GIF89a", b"RIFF\0\0\0\0WEBPVP8L", b""][magic];
            let _ = dimensions(&[magic, &bytes].concat());
        }
    }
}
