//! The update file: a signed list of contents, then the contents.
//!
//! ```text
//! 8 bytes   KURIRUP1
//! 4 bytes   length of the manifest, little-endian, at most 64 KiB
//! n bytes   the manifest, JSON
//! 64 bytes  Ed25519 signature over everything before it
//! …         the parts, in the manifest's order, each as long as it says
//! ```
//!
//! The signature comes before the contents, so that nothing is written for a file that nobody signed; the manifest has
//! each part's SHA-256, so that what is written is what was signed.

use std::io::{self, Read, Write};

use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::UpdateError;

const MAGIC: &[u8; 8] = b"KURIRUP1";
/// A manifest has a few hundred bytes.
const MAX_MANIFEST: usize = 64 * 1024;
const SIGNATURE: usize = 64;

/// A version: three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u32, pub u32, pub u32);

impl std::str::FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let wrong = || format!("{text:?} is not a version such as 1.2.3");
        let numbers: Vec<u32> =
            text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        match numbers[..] {
            [major, minor, patch] => Ok(Version(major, minor, patch)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Version, String> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// One partition's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The partition, such as `boot` or `root`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What an update is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its version.
    pub version: Version,
    /// The kind of box that it is for: `arm64` or `armhf`.
    pub board: String,
    /// Its contents, in this order.
    pub parts: Vec<Part>,
}

/// The key that updates are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`UpdateError::Key`].
    pub fn parse(text: &str) -> Result<PublicKey, UpdateError> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|e| UpdateError::Key(e.to_string()))?;
        Ok(PublicKey(key))
    }
}

/// An update whose manifest is signed; its contents follow in the reader.
pub struct Bundle<R> {
    manifest: Manifest,
    reader: R,
}

impl<R: Read> Bundle<R> {
    /// Reads the manifest and checks who signed it.
    ///
    /// # Errors
    /// [`UpdateError::Foreign`], [`UpdateError::Truncated`], [`UpdateError::Signature`], [`UpdateError::Manifest`],
    /// [`UpdateError::Read`].
    pub fn open(mut reader: R, key: &PublicKey) -> Result<Bundle<R>, UpdateError> {
        let mut head = [0; MAGIC.len() + 4];
        fill(&mut reader, &mut head, "its head")?;
        let (magic, length) = head.split_at(MAGIC.len());
        let length = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        if magic != MAGIC || length > MAX_MANIFEST {
            return Err(UpdateError::Foreign);
        }
        let mut signed = head.to_vec();
        signed.resize(head.len() + length, 0);
        fill(&mut reader, &mut signed[head.len()..], "its list of contents")?;
        let mut signature = [0; SIGNATURE];
        fill(&mut reader, &mut signature, "its signature")?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&signed, &signature)
            .map_err(|_| UpdateError::Signature)?;
        let manifest: Manifest = serde_json::from_slice(&signed[head.len()..])
            .map_err(|e| UpdateError::Manifest(e.to_string()))?;
        Ok(Bundle { manifest, reader })
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Hands every part to `sink` in pieces of this many bytes (part, offset, bytes), and checks that it is all there and as it was
    /// signed. What was handed over before an error is worth nothing.
    ///
    /// # Errors
    /// [`UpdateError::Truncated`], [`UpdateError::Damaged`], [`UpdateError::Trailing`], [`UpdateError::Read`], and
    /// what `sink` returns.
    pub fn unpack(
        mut self,
        piece: usize,
        mut sink: impl FnMut(&Part, u64, &[u8]) -> Result<(), UpdateError>,
    ) -> Result<Manifest, UpdateError> {
        let mut piece = vec![0; piece.max(1)];
        for part in &self.manifest.parts {
            let mut digest = Sha256::new();
            let mut offset = 0;
            while offset < part.size {
                let left = usize::try_from(part.size - offset).unwrap_or(usize::MAX).min(piece.len());
                let piece = &mut piece[..left];
                fill(&mut self.reader, piece, &format!("part {}", part.name))?;
                digest.update(&*piece);
                sink(part, offset, piece)?;
                offset += left as u64;
            }
            if hex::encode(digest.finalize()) != part.sha256.to_ascii_lowercase() {
                return Err(UpdateError::Damaged(part.name.clone()));
            }
        }
        match self.reader.read(&mut [0; 1]) {
            Ok(0) => Ok(self.manifest),
            Ok(_) => Err(UpdateError::Trailing),
            Err(e) => Err(UpdateError::Read(e)),
        }
    }
}

fn fill(reader: &mut impl Read, bytes: &mut [u8], what: &str) -> Result<(), UpdateError> {
    reader.read_exact(bytes).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => UpdateError::Truncated(what.to_owned()),
        _ => UpdateError::Read(e),
    })
}

/// Writes an update file. `parts`: name and contents, each of which is read twice, first for the manifest.
///
/// # Errors
/// What reading and writing return.
pub fn pack<P: Read + io::Seek>(
    version: Version,
    board: &str,
    parts: &mut [(String, P)],
    key: &Ed25519KeyPair,
    mut out: impl Write,
) -> io::Result<Manifest> {
    let mut listed = Vec::new();
    for (name, contents) in parts.iter_mut() {
        let mut digest = Sha256::new();
        let (mut size, mut piece) = (0, vec![0; super::install::PIECE]);
        loop {
            let read = contents.read(&mut piece)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            digest.update(&piece[..read]);
        }
        contents.rewind()?;
        listed.push(Part { name: name.clone(), size, sha256: hex::encode(digest.finalize()) });
    }
    let manifest = Manifest { version, board: board.to_owned(), parts: listed };
    let json = serde_json::to_vec(&manifest)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let signed = [MAGIC, length.to_le_bytes().as_slice(), &json].concat();
    out.write_all(&signed)?;
    out.write_all(key.sign(&signed).as_ref())?;
    for (_, contents) in parts.iter_mut() {
        io::copy(contents, &mut out)?;
    }
    out.flush()?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("0.10.0").unwrap() > version("0.9.9").unwrap());
        assert_eq!(version("1.2.3").unwrap().to_string(), "1.2.3");
        for wrong in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.3-rc1", "-1.2.3", "1..3"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_64_hexadecimal_digits() {
        assert!(PublicKey::parse(&format!("{}\n", "ab".repeat(32))).is_ok());
        for wrong in ["", "zz", &"ab".repeat(31), &"ab".repeat(33)] {
            assert!(matches!(PublicKey::parse(wrong), Err(UpdateError::Key(_))), "{wrong}");
        }
    }
}
