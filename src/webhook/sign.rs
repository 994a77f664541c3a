//! The signature by which a receiver knows that a webhook comes from this box and is not an old one sent again.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header that carries the signature.
pub const HEADER: &str = "x-kurir-signature";

/// `t=UNIX_SECONDS,v1=HEX`, where HEX is HMAC-SHA256 with the hook's secret over the seconds, a dot, and the body.
pub fn signature(secret: &str, at_s: i64, body: &[u8]) -> String {
    format!("t={at_s},v1={}", hex::encode(tag(secret.as_bytes(), &[at_s.to_string().as_bytes(), b".", body])))
}

/// HMAC-SHA256 over the parts, one after the other.
pub(super) fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_the_hmac_of_the_rfc() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(tag(b"Jefe", &[b"what do ya want ", b"for nothing?"])), expected);
    }

    #[test]
    fn time_body_and_secret_all_count() {
        let one = signature("s", 1_700_000_000, b"{}");
        assert!(one.starts_with("t=1700000000,v1=") && one.len() == 16 + 64, "{one}");
        for other in [
            signature("t", 1_700_000_000, b"{}"),
            signature("s", 1_700_000_001, b"{}"),
            signature("s", 1_700_000_000, b"[]"),
        ] {
            assert_ne!(one[16..], other[16..]);
        }
    }
}
