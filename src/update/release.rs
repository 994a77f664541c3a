//! What whoever releases an update needs: a pair of keys, and a signed file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ring::signature::{Ed25519KeyPair, KeyPair};

use super::board::SlotPaths;
use super::bundle::{Manifest, Version, pack};

/// The kinds of box that there are updates for: each value that [`KIND`](super::board::KIND) can have.
pub const BOARDS: [&str; 3] = ["arm64", "armhf", "amd64"];

/// Why there is no key or no file.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret key is none.
    #[error(
        "{0} does not hold a secret key: 64 hexadecimal digits are needed, as `kurir update-key` writes them"
    )]
    Key(PathBuf),
    /// There is no such kind of box.
    #[error("there is no board {0}: arm64, armhf or amd64 is needed")]
    Board(String),
    /// The parts are not named as a slot's partitions are.
    #[error("{0}: NAME=FILE is needed for each part, each name once, of letters, digits and dashes")]
    Part(String),
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReleaseError {
    let path = path.to_owned();
    move |source| ReleaseError::Io { path, source }
}

/// Makes a secret key, for its owner only; a key that is there already stays. Returns the public key, 64 hexadecimal
/// digits, as the image holds it.
///
/// # Errors
/// [`ReleaseError::Io`], [`ReleaseError::Key`].
pub fn key(secret: &Path) -> Result<String, ReleaseError> {
    if !secret.try_exists().map_err(failed(secret))? {
        // Complete before it has its name: a second caller, or one after a power cut, never reads half of it. Made with mode 0600.
        let folder =
            secret.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed(secret))?;
        let text = hex::encode(crate::ids::random::<32>()) + "\n";
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed(secret))?;
        match file.persist_noclobber(secret) {
            Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(secret)(e.error)),
            _ => {}
        }
    }
    Ok(hex::encode(read_key(secret)?.public_key().as_ref()))
}

/// The file holds RFC 8032's 32 secret bytes.
fn read_key(path: &Path) -> Result<Ed25519KeyPair, ReleaseError> {
    let text = std::fs::read_to_string(path).map_err(failed(path))?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| ReleaseError::Key(path.to_owned()))?;
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| ReleaseError::Key(path.to_owned()))
}

/// What goes into an update.
pub struct Release<'a> {
    /// The file with the secret key.
    pub key: &'a Path,
    /// Its version.
    pub version: Version,
    /// The kind of box that it is for: one of [`BOARDS`].
    pub board: &'a str,
    /// `NAME=FILE`, one for each partition of a slot.
    pub parts: &'a [String],
}

impl Release<'_> {
    /// Signs it and writes it to `out`, which is replaced as a whole. Parts are read piece by piece.
    ///
    /// # Errors
    /// [`ReleaseError`]; `out` is as it was then.
    pub fn pack(&self, out: &Path) -> Result<Manifest, ReleaseError> {
        if !BOARDS.contains(&self.board) {
            return Err(ReleaseError::Board(self.board.to_owned()));
        }
        let key = read_key(self.key)?;
        let mut parts: Vec<(String, File)> = Vec::new();
        for part in self.parts {
            let wrong = || ReleaseError::Part(part.clone());
            let (name, file) = part.split_once('=').ok_or_else(wrong)?;
            // The names are those of partitions in the settings.
            let known = SlotPaths::parse(&format!("{name}=/x")).is_ok_and(|slot| !slot.is_empty());
            if !known || name.contains(',') || parts.iter().any(|(other, _)| other == name) {
                return Err(wrong());
            }
            parts.push((name.to_owned(), File::open(file).map_err(failed(Path::new(file)))?));
        }
        if parts.is_empty() {
            return Err(ReleaseError::Part("there is no part".into()));
        }
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(failed(folder))?;
        let writer = BufWriter::with_capacity(1 << 16, file.as_file());
        let manifest = pack(self.version, self.board, &mut parts, &key, writer).map_err(failed(out))?;
        file.as_file().sync_all().map_err(failed(out))?;
        file.persist(out).map_err(|e| failed(out)(e.error))?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::board::KIND;
    use super::super::{Bundle, PublicKey};
    use super::*;

    #[test]
    fn of_callers_at_once_one_makes_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let made: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..16).map(|_| scope.spawn(|| key(&secret).unwrap())).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let public = key(&secret).unwrap();
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(key(&secret).unwrap(), public, "a key that is there stays");
        assert!(PublicKey::parse(&public).is_ok());
        assert_ne!(std::fs::read_to_string(&secret).unwrap().trim(), public);
        assert_ne!(key(&folder.path().join("other")).unwrap(), public);
        // RFC 8032, 7.1, the first test.
        std::fs::write(&secret, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        assert_eq!(key(&secret).unwrap(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        std::fs::write(&secret, "no key").unwrap();
        assert!(matches!(key(&secret), Err(ReleaseError::Key(_))));
    }

    #[test]
    fn what_is_packed_opens_with_the_public_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let public = key(&path("secret")).unwrap();
        std::fs::write(path("boot.img"), vec![1; 3_000_000]).unwrap();
        std::fs::write(path("root.img"), vec![2; 70_000]).unwrap();
        let part = |name: &str| format!("{name}={}", path(&format!("{name}.img")).display());
        let parts = [part("boot"), part("root")];
        let secret = path("secret");
        let release = Release { key: &secret, version: Version(1, 2, 3), board: KIND, parts: &parts };
        let out = path("kurir.update");
        let manifest = release.pack(&out).unwrap();
        assert_eq!((manifest.parts[0].size, manifest.parts[1].size), (3_000_000, 70_000));
        let open = |public: &str| Bundle::open(File::open(&out).unwrap(), &PublicKey::parse(public).unwrap());
        assert_eq!(open(&public).unwrap().unpack(4096, |_, _, _| Ok(())).unwrap(), manifest);
        assert!(open(&key(&path("other")).unwrap()).is_err());

        let before = std::fs::read(&out).unwrap();
        let missing = format!("home={}", path("none").display());
        for parts in [
            vec![],
            vec!["boot".into()],
            vec![part("boot"), part("boot")],
            vec!["a b=x".into()],
            vec![missing],
        ] {
            assert!(Release { parts: &parts, ..release }.pack(&out).is_err(), "{parts:?}");
        }
        assert!(matches!(Release { board: "arm", ..release }.pack(&out), Err(ReleaseError::Board(_))));
        assert!(std::fs::read(&out).unwrap() == before, "nothing was written");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "and nothing is left over");
    }
}
