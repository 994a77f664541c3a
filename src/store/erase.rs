//! Makes a data folder as new: what the parts keep in it is overwritten and removed.
//!
//! A marker file is written and synced before anything else, and removed after everything else. A power cut in
//! between leaves the marker, and [`resume`] carries on at the next start, before anything is opened. Whoever erases
//! holds the marker's lock, so that a second process waits and then finds nothing left to do.
//!
//! Overwriting reaches the sectors of a hard disk. An SD card writes elsewhere and keeps the old block for a while,
//! out of reach of this or any other program; `docs/hardware.md` says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

/// The file that says that everything beside it is to be erased.
pub const MARKER: &str = "erasing";

/// Bytes overwritten at a time.
const CHUNK: usize = 256 * 1024;
/// Folders below one another. The parts have one level; anything deeper is not theirs.
const MOST_DEPTH: usize = 8;

/// Why something could not be erased. The marker stays, so the next start tries again.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot erase {path}: {source}; it may still hold keys, so nothing starts here before it is gone. \
     Remove it by hand, or put a new card in",
    path = path.display()
)]
pub struct EraseError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl EraseError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> EraseError {
        let path = path.to_owned();
        move |source| EraseError { path, source }
    }
}

/// An erasure that has been decided: from now on a crash only delays it.
#[derive(Debug)]
pub struct Erasure {
    folder: PathBuf,
    // Its lock is held as long as this lives. None where there was no room for it.
    marker: Option<File>,
    progress: Progress,
}

/// Counts up with everything that an erasure has done, so that others see whether it goes on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(watch::Sender<u64>);

impl Progress {
    /// One more thing is done.
    pub fn step(&self) {
        self.0.send_modify(|steps| *steps += 1);
    }

    /// How many things are done, and each further one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Erasure {
    /// Writes the marker. Nothing is erased yet. Without room on the disk there is no marker, and a crash then leaves what
    /// was not yet erased: somebody who wants it gone is better served so than by being refused.
    ///
    /// # Errors
    /// The marker cannot be written for another reason; then nothing has changed.
    pub fn begin(folder: &Path) -> Result<Erasure, EraseError> {
        let path = folder.join(MARKER);
        let begin = || {
            let marker = open_marker(&path, true)?;
            flock(&marker, FlockOperation::LockExclusive)?;
            marker.sync_all()?;
            sync_folder(folder)?;
            Ok(marker)
        };
        let marker = match begin() {
            Ok(marker) => Some(marker),
            Err(e) if super::error::is_full(&e) => {
                log::warn!("there is no room for {}: if the power goes now, erase again", path.display());
                None
            }
            Err(source) => return Err(EraseError { path, source }),
        };
        Ok(Erasure { folder: folder.to_owned(), marker, progress: Progress::default() })
    }

    /// The same, counting there what it does.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Erasure {
        Erasure { progress, ..self }
    }

    /// Overwrites and removes `names`, files or folders in the data folder, in this order, and then the marker. It takes
    /// as long as the disk needs to write as many bytes as there are. Names that are not there are passed over.
    ///
    /// # Errors
    /// The first thing that could not be removed, after everything else was.
    pub fn finish(self, names: &[&str]) -> Result<(), EraseError> {
        let mut failed = Ok(());
        for name in names {
            failed = failed.and(remove(&self.folder.join(name), MOST_DEPTH, &self.progress));
        }
        failed?;
        let path = self.folder.join(MARKER);
        let end = || {
            // Nothing may outlive the marker.
            sync_folder(&self.folder)?;
            gone(fs::remove_file(&path))?;
            sync_folder(&self.folder)
        };
        end().map_err(EraseError::at(&path))?;
        drop(self.marker);
        Ok(())
    }
}

/// Finishes an erasure that was interrupted. `false`: there was none.
///
/// # Errors
/// As [`Erasure::finish`].
pub fn resume(folder: &Path, names: &[&str]) -> Result<bool, EraseError> {
    let path = folder.join(MARKER);
    let marker = match open_marker(&path, false) {
        Ok(marker) => marker,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(source) => return Err(EraseError { path, source }),
    };
    resume_with(folder, marker, names)
}

fn resume_with(folder: &Path, marker: File, names: &[&str]) -> Result<bool, EraseError> {
    let links = || {
        flock(&marker, FlockOperation::LockExclusive)?;
        Ok(marker.metadata()?.nlink())
    };
    if links().map_err(EraseError::at(&folder.join(MARKER)))? == 0 {
        // Another process has erased everything while this one waited, and what is here now is new.
        return Ok(false);
    }
    log::warn!("everything in {} is being erased, as was asked for before the restart", folder.display());
    let progress = Progress::default();
    Erasure { folder: folder.to_owned(), marker: Some(marker), progress }.finish(names)?;
    Ok(true)
}

fn open_marker(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file or folder of the data folder, whatever it holds.
fn remove(path: &Path, depth: usize, progress: &Progress) -> Result<(), EraseError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(EraseError { path: path.to_owned(), source }),
    };
    if found.is_symlink() && depth == MOST_DEPTH {
        // Somebody moved the store or the media to another disk: what the link leads to is meant.
        if let Ok(target) = fs::canonicalize(path) {
            remove(&target, depth - 1, progress)?;
        }
    }
    if found.is_dir() {
        if depth == 0 {
            return Err(EraseError { path: path.to_owned(), source: io::Error::other("too deep") });
        }
        let mut failed = Ok(());
        let entries = fs::read_dir(path).map_err(EraseError::at(path))?;
        for entry in entries {
            let entry = entry.map_err(EraseError::at(path))?;
            failed = failed.and(remove(&entry.path(), depth - 1, progress));
        }
        failed?;
        return gone(fs::remove_dir(path)).map_err(EraseError::at(path));
    }
    if found.is_file()
        && let Err(e) = overwrite(path, found.len(), progress)
    {
        // A copy-on-write file system without room cannot; removing it is what is left.
        log::warn!("{} is removed without being overwritten: {e}", path.display());
    }
    progress.step();
    gone(fs::remove_file(path)).map_err(EraseError::at(path))
}

/// What somebody else removed in the meantime is as gone as it should be.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn overwrite(path: &Path, length: u64, progress: &Progress) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let zeros = [0; CHUNK];
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&zeros[..part])?;
        left -= part as u64;
        progress.step();
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    const SECRET: &[u8] = b"the noise key of this device";
    const NAMES: &[&str] = &["kurir.redb", "media", "never-there"];

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("media")).unwrap();
        for name in ["kurir.redb", "media/picture", "somebody-elses"] {
            let mut bytes = vec![7; 300_000];
            bytes.extend(SECRET);
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_named_is_overwritten_and_gone_and_the_rest_stays() {
        let folder = folder();
        // Whoever holds a removed file open sees what is left on its sectors.
        let mut open = File::open(folder.path().join("kurir.redb")).unwrap();
        let erasure = Erasure::begin(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["erasing", "kurir.redb", "media", "somebody-elses"]);
        let progress = Progress::default();
        erasure.with_progress(progress.clone()).finish(NAMES).unwrap();
        // Two files of two pieces each.
        assert_eq!(*progress.watch().borrow(), 2 * (2 + 1));
        assert_eq!(names(folder.path()), ["somebody-elses"]);
        let mut left = Vec::new();
        open.read_to_end(&mut left).unwrap();
        assert_eq!(left.len(), 300_000 + SECRET.len());
        assert!(left.iter().all(|byte| *byte == 0), "overwritten, not only unlinked");
    }

    #[test]
    fn a_crash_anywhere_is_finished_at_the_next_start() {
        for removed in ["", "kurir.redb", "media/picture"] {
            let folder = folder();
            drop(Erasure::begin(folder.path()).unwrap());
            if !removed.is_empty() {
                fs::remove_file(folder.path().join(removed)).unwrap();
            }
            assert!(resume(folder.path(), NAMES).unwrap(), "{removed}");
            assert_eq!(names(folder.path()), ["somebody-elses"], "{removed}");
            assert!(!resume(folder.path(), NAMES).unwrap(), "{removed}: a second time");
        }
    }

    #[test]
    fn without_a_marker_nothing_is_touched() {
        let folder = folder();
        assert!(!resume(folder.path(), NAMES).unwrap());
        assert!(!resume(&folder.path().join("missing"), NAMES).unwrap());
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn a_process_that_waited_for_another_one_does_not_erase_what_is_new() {
        let folder = folder();
        let erasure = Erasure::begin(folder.path()).unwrap();
        let opened_before = open_marker(&folder.path().join(MARKER), false).unwrap();
        erasure.finish(NAMES).unwrap();
        fs::write(folder.path().join("kurir.redb"), "new").unwrap();
        assert!(!resume_with(folder.path(), opened_before, NAMES).unwrap());
        assert_eq!(fs::read(folder.path().join("kurir.redb")).unwrap(), b"new");
    }

    #[test]
    fn a_store_that_was_moved_by_a_link_is_erased_where_it_is() {
        let folder = folder();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("store");
        fs::rename(folder.path().join("kurir.redb"), &target).unwrap();
        symlink(&target, folder.path().join("kurir.redb")).unwrap();
        symlink(folder.path().join("somebody-elses"), folder.path().join("media/link")).unwrap();
        Erasure::begin(folder.path()).unwrap().finish(NAMES).unwrap();
        assert!(!target.exists());
        assert_eq!(names(folder.path()), ["somebody-elses"], "a link among the media is only a link");
    }

    #[test]
    fn what_cannot_be_erased_is_named_and_the_marker_stays() {
        let folder = folder();
        let mut deep = folder.path().join("media");
        for _ in 0..=MOST_DEPTH {
            deep.push("deeper");
        }
        fs::create_dir_all(&deep).unwrap();
        let error = Erasure::begin(folder.path()).unwrap().finish(NAMES).unwrap_err().to_string();
        assert!(error.contains("deeper"), "{error}");
        assert_eq!(
            names(folder.path()),
            ["erasing", "media", "somebody-elses"],
            "the keys went all the same"
        );
    }
}
