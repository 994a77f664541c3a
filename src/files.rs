//! Small files that are read and replaced as a whole, also where root does it in a folder that somebody else writes to.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens a file for reading where somebody else may have put anything. `None`: there is none, or something else, such as a link.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file).filter(|file| file.metadata().is_ok_and(|there| there.is_file()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a file that everybody may read, in the place of whatever file is there: after a power cut it is the old one or the new
/// one, and once this has returned, the new one.
///
/// # Errors
/// It cannot be written, or not be made to last; there is the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    // FAT has no modes.
    let _ = file.as_file().set_permissions(Permissions::from_mode(0o644));
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn only_a_plain_file_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(open_plain(&at("none")).unwrap().is_none());
        replace(&at("file"), b"text").unwrap();
        let mut text = String::new();
        open_plain(&at("file")).unwrap().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        // Opening a pipe that nobody writes to would wait for ever.
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
        for name in ["link", "folder", "pipe"] {
            assert!(open_plain(&at(name)).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_replaced_is_a_link_and_not_what_it_points_to() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, link) = (folder.path().join("secret"), folder.path().join("link"));
        std::fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "new");
        assert_eq!(std::fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
