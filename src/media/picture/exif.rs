//! Which way up a camera was held. Pure.

/// Directory entries looked at; cameras write about a dozen.
const MAX_ENTRIES: u16 = 128;

/// The orientation of Exif 2.32 (4.6.4, tag 274): 1 to 8, where 1 is upright and 5 to 8 lie on their side. 1 where
/// `tiff`, the Exif segment behind its name, does not say.
pub(in crate::media) fn orientation(tiff: &[u8]) -> u8 {
    find(tiff).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

fn find(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes: [u8; 2] = *tiff.get(at..)?.first_chunk()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long: [u8; 4] = *tiff.get(4..)?.first_chunk()?;
    let start = if little { u32::from_le_bytes(long) } else { u32::from_be_bytes(long) };
    let start = usize::try_from(start).ok()?;
    let entries = short(start)?.min(MAX_ENTRIES);
    for entry in 0..usize::from(entries) {
        let at = start.checked_add(2 + entry * 12)?;
        // Type 3 is SHORT; one value lies in the entry itself.
        if short(at)? == 274 && short(at + 2)? == 3 {
            return u8::try_from(short(at + 8)?).ok();
        }
    }
    None
}

#[cfg(test)]
pub(in crate::media) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A directory with a name and then the orientation.
    pub(in crate::media) fn tiff(little: bool, value: u16) -> Vec<u8> {
        let order = |bytes: [u8; 2]| if little { [bytes[1], bytes[0]] } else { bytes };
        let mut out = if little { b"II*\0\x08\0\0\0".to_vec() } else { b"MM\0*\0\0\0\x08".to_vec() };
        out.extend(order(2_u16.to_be_bytes()));
        out.extend(order(271_u16.to_be_bytes()));
        out.extend([0; 10]);
        out.extend(order(274_u16.to_be_bytes()));
        out.extend(order(3_u16.to_be_bytes()));
        out.extend([0; 4]);
        out.extend(order(value.to_be_bytes()));
        out.extend([0; 6]);
        out
    }

    #[test]
    fn the_tag_is_found_in_either_byte_order() {
        for little in [false, true] {
            for value in 1..=8 {
                assert_eq!(u16::from(orientation(&tiff(little, value))), value);
            }
            assert_eq!(orientation(&tiff(little, 0)), 1);
            assert_eq!(orientation(&tiff(little, 9)), 1);
            assert_eq!(orientation(&tiff(little, 600)), 1);
        }
        assert_eq!(orientation(b""), 1);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), little: bool) {
            let _ = orientation(&bytes);
            bytes.splice(0..0, if little { *b"II*\0" } else { *b"MM\0*" });
            let _ = orientation(&bytes);
        }
    }
}
