//! How large and how long an MP4 film is, from its header.

use std::io::{self, Read, Seek, SeekFrom};

use super::containers::{Boxes, read_at};

/// What is known of a film: width and height in pixels as it is seen, and seconds.
pub(super) type Shape = (Option<(u32, u32)>, Option<u32>);

/// Looks at the movie header (ISO/IEC 14496-12, 8.2.2) and at the first film track's (8.3.2). Nothing is known of
/// files that are no MP4.
pub(super) fn shape(file: &mut (impl Read + Seek)) -> io::Result<Shape> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut walk = Boxes::new(file);
    let (mut size, mut seconds) = (None, None);
    for moov in walk.within(0, end, b"moov")? {
        for header in walk.within(moov.0, moov.1, b"mvhd")? {
            seconds = duration(&read_at(walk.file, header.0, 32)?);
        }
        for track in walk.within(moov.0, moov.1, b"trak")? {
            for header in walk.within(track.0, track.1, b"tkhd")? {
                // A sound track has a size of 0.
                size = size.or(pixels(&read_at(walk.file, header.0, 96)?));
            }
        }
    }
    Ok((size, seconds))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn duration(header: &[u8]) -> Option<u32> {
    let (scale, duration) = match header.first()? {
        0 => (be32(header, 12)?, u64::from(be32(header, 16)?)),
        1 => (be32(header, 20)?, u64::from(be32(header, 24)?) << 32 | u64::from(be32(header, 28)?)),
        _ => return None,
    };
    // All ones: unknown.
    if scale == 0 || duration == 0 || duration == u64::from(u32::MAX) || duration == u64::MAX {
        return None;
    }
    u32::try_from(duration / u64::from(scale)).ok().map(|seconds| seconds.max(1))
}

fn pixels(header: &[u8]) -> Option<(u32, u32)> {
    let matrix = match header.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    // 16.16 fixed point.
    let (width, height) = (be32(header, matrix + 36)? >> 16, be32(header, matrix + 40)? >> 16);
    if width == 0 || height == 0 {
        return None;
    }
    // Phones film upright by a matrix that turns the picture: its first and fifth values are 0.
    let turned = be32(header, matrix)? == 0 && be32(header, matrix + 16)? == 0;
    Some(if turned { (height, width) } else { (width, height) })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], name, body].concat()
    }

    fn film(version: u8, turned: bool) -> Vec<u8> {
        let long = usize::from(version) * 4;
        let mut movie = vec![0; 100 + 3 * long];
        movie[0] = version;
        movie[12 + 2 * long..16 + 2 * long].copy_from_slice(&1000_u32.to_be_bytes());
        movie[16 + 3 * long..20 + 3 * long].copy_from_slice(&12_700_u32.to_be_bytes());
        let mut track = vec![0; 84 + 3 * long];
        track[0] = version;
        let one = if turned { [4, 12] } else { [0, 16] };
        for at in one {
            track[40 + 3 * long + at..][..4].copy_from_slice(&0x1_0000_u32.to_be_bytes());
        }
        track[76 + 3 * long..80 + 3 * long].copy_from_slice(&(1280_u32 << 16).to_be_bytes());
        track[80 + 3 * long..].copy_from_slice(&(720_u32 << 16).to_be_bytes());
        let sound = boxed(b"trak", &boxed(b"tkhd", &[0; 84]));
        let moov = [boxed(b"mvhd", &movie), sound, boxed(b"trak", &boxed(b"tkhd", &track))].concat();
        [boxed(b"ftyp", b"isom"), boxed(b"mdat", &[7; 5000]), boxed(b"moov", &moov)].concat()
    }

    fn seen(file: Vec<u8>) -> Shape {
        shape(&mut Cursor::new(file)).unwrap()
    }

    #[test]
    fn a_film_has_a_size_and_a_length() {
        assert_eq!(seen(film(0, false)), (Some((1280, 720)), Some(12)));
        assert_eq!(seen(film(0, true)), (Some((720, 1280)), Some(12)));
        assert_eq!(seen(b"\x1a\x45\xdf\xa3webm".to_vec()), (None, None));
    }

    #[test]
    fn a_long_film_has_wide_fields() {
        assert_eq!(seen(film(1, false)), (Some((1280, 720)), Some(12)));
    }

    proptest! {
        #[test]
        fn damaged_films_end_without_a_panic(version in 0_u8..3, at in 0_usize..400, bytes in prop::collection::vec(any::<u8>(), 1..24), cut in 0_usize..6000) {
            let mut file = film(version.min(1), false);
            let from = file.len().saturating_sub(400);
            for (i, byte) in bytes.iter().enumerate() {
                let at = (from + at + i).min(file.len() - 1);
                file[at] = *byte;
            }
            file.truncate(cut);
            let _ = shape(&mut Cursor::new(file)).unwrap();
        }
    }
}
