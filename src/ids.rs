//! Identifiers, fixed before anything is promised, and randomness.

use crate::clock::now_ms;

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source is there once user space runs");
    bytes
}

/// A UUID of the present millisecond and 74 random bits (RFC 9562, version 7): rows that are written together lie
/// together, where random ones would cost a page each.
pub(crate) fn uuid() -> String {
    let mut b = random::<16>();
    b[..6].copy_from_slice(&now_ms().to_be_bytes()[2..]);
    b[6] = (b[6] & 0x0f) | 0x70;
    b[8] = (b[8] & 0x3f) | 0x80;
    let h = hex::encode(b);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// Uniform in 0..1, for jitter.
pub(crate) fn roll() -> f64 {
    f64::from(u32::from_le_bytes(random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_documented_shapes_and_differ() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!((&id[14..15], id[19..20].contains(['8', '9', 'a', 'b'])), ("7", true), "{id}");
        assert_ne!(id, uuid());
        assert!((0.0..=1.0).contains(&roll()));
    }
}
