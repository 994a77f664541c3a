//! The owner's password: hashed with Argon2id, which costs whoever steals the store memory as well as time.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::ids;

/// Shortest password, in characters (NIST SP 800-63B's floor for one that people choose).
pub(super) const MIN: usize = 8;
/// Longest password, in characters.
pub(super) const MAX: usize = 128;

/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. About half a second on a Pi 3, and a 512 MB board
/// has the memory for one at a time.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password must have {MIN} to {MAX} characters, none of them a control character")]
pub(in crate::api) struct Unfit;

/// Whether people may use this password.
pub(super) fn check(password: &str) -> Result<(), Unfit> {
    let fits = (MIN..=MAX).contains(&password.chars().count()) && !password.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Unfit) }
}

/// A password's hash, and how it was made, so that later builds may choose other costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

impl PasswordHash {
    /// Takes half a second and 19 MiB: for a blocking thread.
    pub(super) fn of(password: &str) -> PasswordHash {
        let salt = ids::random::<16>();
        let hash = derive(password, &salt, MEMORY_KIB, PASSES, LANES)
            .expect("the costs, the salt and the length are within Argon2's bounds");
        PasswordHash {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: hex::encode(salt),
            hash: hex::encode(hash),
        }
    }

    /// Whether this is the password. As slow as [`PasswordHash::of`].
    pub(super) fn is_of(&self, password: &str) -> bool {
        let (Ok(salt), Ok(hash)) = (hex::decode(&self.salt), hex::decode(&self.hash)) else { return false };
        derive(password, &salt, self.memory_kib, self.passes, self.lanes)
            .is_ok_and(|derived| bool::from(derived.as_slice().ct_eq(&hash)))
    }
}

fn derive(
    password: &str,
    salt: &[u8],
    memory: u32,
    passes: u32,
    lanes: u32,
) -> Result<[u8; 32], argon2::Error> {
    let params = Params::new(memory, passes, lanes, Some(32))?;
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        password.as_bytes(),
        salt,
        &mut hash,
    )?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only_and_keeps_its_costs() {
        let hash = PasswordHash::of("rahasia kantor");
        let stored = serde_json::to_string(&hash).unwrap();
        assert!(!stored.contains("rahasia"), "{stored}");
        let read: PasswordHash = serde_json::from_str(&stored).unwrap();
        assert!(read.is_of("rahasia kantor"));
        assert!(!read.is_of("rahasia kantoR") && !read.is_of(""));
        let other = PasswordHash { memory_kib: 8, ..read.clone() };
        assert!(!other.is_of("rahasia kantor"), "other costs give another hash");
        let broken = PasswordHash { memory_kib: 0, ..read };
        assert!(!broken.is_of("rahasia kantor"));
        assert_ne!(PasswordHash::of("rahasia kantor").salt, hash.salt);
    }

    /// RFC 9106, section 5.3, has a secret and associated data, which this use has not; this value is from the
    /// reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -r`.
    #[test]
    fn it_is_the_argon2id_that_others_compute() {
        let derived = derive("password", b"somesalt", 1 << 16, 2, 1).unwrap();
        assert_eq!(hex::encode(derived), "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn passwords_have_a_length() {
        assert_eq!(check("1234567"), Err(Unfit));
        assert_eq!(check("12345678"), Ok(()));
        assert_eq!(check("pässwörd"), Ok(()));
        assert_eq!(check(&"x".repeat(129)), Err(Unfit));
        assert_eq!(check("1234567\n"), Err(Unfit));
    }
}
