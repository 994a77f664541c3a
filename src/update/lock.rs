//! Only one process at a time changes what is known of updates, or a slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Where it is on a box: gone with each restart, and out of the gateway's reach.
pub const LOCK: &str = "/run/kurir-update.lock";

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Waits for it. Held until it is dropped, or its process ends.
///
/// # Errors
/// The file cannot be made or locked.
pub fn wait(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The same without waiting. `None`: somebody else has it.
///
/// # Errors
/// The file cannot be made or locked.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = take(&path).unwrap().unwrap();
        assert!(take(&path).unwrap().is_none());
        let other = path.clone();
        let waiting = std::thread::spawn(move || wait(&other).map(drop));
        drop(first);
        waiting.join().unwrap().unwrap();
        assert!(take(&path).unwrap().is_some());
        assert!(take(&folder.path().join("none/lock")).is_err());
    }
}
