//! The server in WhatsApp's place: for a released gateway, which knows WhatsApp's names and keys and takes no others.
//!
//! Two public keys in a program make it trust WhatsApp: that of the authority which signs for its TLS names, and the root
//! of its Noise certificates. [`Identity::rekey`] makes a copy of the program with this server's keys in their places.
//! Everything else in it is as it is released.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{PKCS_ECDSA_P384_SHA384, PublicKeyData};
use serde::{Deserialize, Serialize};
use wacore_libsignal::protocol::{KeyPair, PrivateKey};
use wacore_noise::WA_CERT_PUB_KEY;
use webpki_roots::TLS_SERVER_ROOTS;

/// Where clients open their WebSocket and look up their version.
pub const CHAT_HOST: &str = "web.whatsapp.com";
/// Where their media are.
pub const MEDIA_HOST: &str = "mmg.whatsapp.net";

/// The authority whose key gives way to ours: one of Mozilla's with a key on P-384, which is what ring can sign with.
pub(crate) const AUTHORITY: [(&str, &str); 4] =
    [("C", "US"), ("O", "DigiCert Inc"), ("OU", "www.digicert.com"), ("CN", "DigiCert Global Root G3")];
/// An uncompressed point on P-384 (SEC 1, section 2.3.3), which ends the authority's public key.
const POINT: usize = 97;

/// The keys cannot be kept, or a program not be given them.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file of the keys.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a test server's keys: {why}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The program does not have a key exactly once.
    #[error(
        "the program has {what} {count} times instead of once: is it a gateway for WhatsApp, made with the same crates?"
    )]
    Program {
        /// Which key.
        what: &'static str,
        /// How often.
        count: usize,
    },
}

/// The secrets of a server in WhatsApp's place.
pub struct Identity {
    pub(crate) noise_root: KeyPair,
    pub(crate) authority: rcgen::KeyPair,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// How the secrets are kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// X25519, 32 bytes in base64.
    noise_root: String,
    /// PKCS #8 in PEM.
    authority: String,
}

impl Identity {
    /// New keys.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Key`] if none can be made.
    pub fn generate() -> Result<Identity, IdentityError> {
        let mut rng: rand::rngs::StdRng = rand::make_rng();
        Ok(Identity {
            noise_root: KeyPair::generate(&mut rng),
            authority: rcgen::KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
        })
    }

    /// The keys in this file, which is made where there is none. Of several programs that make it at once, one does.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written, or holds something else.
    pub fn kept_in(path: &Path) -> Result<Identity, IdentityError> {
        let file = |source| IdentityError::File { path: path.to_owned(), source };
        if !path.exists() {
            let mut new = path.as_os_str().to_owned();
            new.push(format!(".{}", std::process::id()));
            let made = Identity::generate()?.write(Path::new(&new));
            // Complete before it has its name; the first keeps the name.
            let named = made.and_then(|()| match std::fs::hard_link(&new, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                named => named,
            });
            let _ = std::fs::remove_file(&new);
            named.map_err(file)?;
        }
        Self::read(path)
    }

    /// The keys in this file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or holds something else.
    pub fn read(path: &Path) -> Result<Identity, IdentityError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|why| IdentityError::Content { path: path.to_owned(), why })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let kept = Kept {
            noise_root: BASE64_STANDARD.encode(self.noise_root.private_key.serialize()),
            authority: self.authority.serialize_pem(),
        };
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(serde_json::to_string_pretty(&kept).map_err(io::Error::other)?.as_bytes())
    }

    fn parse(text: &str) -> Result<Identity, String> {
        let kept: Kept = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let secret = BASE64_STANDARD.decode(&kept.noise_root).map_err(|e| format!("noise_root: {e}"))?;
        let secret = PrivateKey::deserialize(&secret).map_err(|e| format!("noise_root: {e}"))?;
        let public = secret.public_key().map_err(|e| format!("noise_root: {e}"))?;
        Ok(Identity {
            noise_root: KeyPair::new(public, secret),
            authority: rcgen::KeyPair::from_pem_and_sign_algo(&kept.authority, &PKCS_ECDSA_P384_SHA384)
                .map_err(|e| format!("authority: {e}"))?,
        })
    }

    /// A gateway's program that trusts this server where the one given trusts WhatsApp.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Program`] if one of the two keys is not in it exactly once.
    pub fn rekey(&self, program: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let mut program = program.to_vec();
        let known =
            authority_point().ok_or(IdentityError::Program { what: "the TLS authority's key", count: 0 })?;
        replace(&mut program, "the TLS authority's key", known, self.authority.der_bytes())?;
        let root = self.noise_root.public_key.public_key_bytes();
        replace(&mut program, "WhatsApp's Noise root", &WA_CERT_PUB_KEY, root)?;
        Ok(program)
    }
}

/// The key of [`AUTHORITY`] that a released program has.
fn authority_point() -> Option<&'static [u8]> {
    let (_, name) = AUTHORITY[3];
    let anchor = TLS_SERVER_ROOTS.iter().find(|anchor| anchor.subject.as_ref().ends_with(name.as_bytes()))?;
    let key = anchor.subject_public_key_info.as_ref();
    key.get(key.len().checked_sub(POINT)?..)
}

/// Puts `new` where `old` is; both are as long.
fn replace(program: &mut [u8], what: &'static str, old: &[u8], new: &[u8]) -> Result<(), IdentityError> {
    let found: Vec<usize> = program
        .windows(old.len())
        .enumerate()
        .filter_map(|(at, window)| (window == old).then_some(at))
        .collect();
    match found[..] {
        [at] => {
            program[at..at + old.len()].copy_from_slice(new);
            Ok(())
        }
        _ => Err(IdentityError::Program { what, count: found.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_kept_for_the_next_start() {
        let folder = std::env::temp_dir().join(format!("whatsapp-sim-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys");
        let first = Identity::kept_in(&path).unwrap();
        let second = Identity::kept_in(&path).unwrap();
        assert_eq!(first.noise_root.public_key, second.noise_root.public_key);
        assert_eq!(first.authority.der_bytes(), second.authority.der_bytes());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");

        std::fs::write(&path, "{}").unwrap();
        let wrong = Identity::kept_in(&path).unwrap_err().to_string();
        assert!(wrong.contains("does not hold a test server's keys"), "{wrong}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn both_keys_give_way_and_nothing_else() {
        let identity = Identity::generate().unwrap();
        let point = authority_point().unwrap();
        let program = [b"ELF ".as_slice(), point, b" text ", &WA_CERT_PUB_KEY, b" data"].concat();
        let copy = identity.rekey(&program).unwrap();
        let root = identity.noise_root.public_key.public_key_bytes();
        assert_eq!(
            copy,
            [b"ELF ".as_slice(), identity.authority.der_bytes(), b" text ", root, b" data"].concat()
        );
    }

    #[test]
    fn a_program_without_the_keys_or_with_two_is_refused() {
        let identity = Identity::generate().unwrap();
        let point = authority_point().unwrap();
        for (program, what) in [
            (b"ELF".to_vec(), "the TLS authority's key 0 times"),
            (point.to_vec(), "WhatsApp's Noise root 0 times"),
            ([point, point, &WA_CERT_PUB_KEY].concat(), "the TLS authority's key 2 times"),
        ] {
            let said = identity.rekey(&program).unwrap_err().to_string();
            assert!(said.contains(what), "{said}");
        }
    }
}
