//! Files that no message waits to send, but a failed one may be tried again with. They are the first to go: the oldest
//! make room for new media, so that they never keep any out.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::Spool;

/// One such file.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    since: SystemTime,
}

impl Spool {
    /// Held for list operations and for removing one file.
    fn spares(&self) -> MutexGuard<'_, VecDeque<Spare>> {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the media of `id` stays only as long as there is room for it. It still counts as used.
    pub async fn spare(&self, id: &str) {
        let Ok(path) = self.path(id) else { return };
        let spool = self.clone();
        let done = spawn_blocking(move || {
            let since = SystemTime::now();
            // The next start finds the time there.
            match File::options().write(true).open(&path).and_then(|file| file.set_modified(since)) {
                Ok(()) => spool.spares().push_back(Spare { path, since }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => log::warn!("{}: {e}; it stays until the next start", path.display()),
            }
        });
        if let Err(e) = done.await {
            log::warn!("a failed message's file stays until the next start: {e}");
        }
    }

    /// What an earlier process left to spare. Blocks on the disk.
    pub fn adopt_spare<'a>(&self, ids: impl Iterator<Item = &'a String>) {
        let mut found: Vec<Spare> = ids
            .filter_map(|id| {
                let path = self.path(id).ok()?;
                let since = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
                Some(Spare { path, since })
            })
            .collect();
        found.sort_by_key(|spare| spare.since);
        *self.spares() = found.into();
    }

    /// The media of `id` is needed again, if it is still there: it goes for nobody's room any more.
    pub async fn reclaim(&self, id: &str) -> bool {
        let Ok(path) = self.path(id) else { return false };
        let spool = self.clone();
        let there = spawn_blocking(move || {
            let mut spares = spool.spares();
            spares.retain(|spare| spare.path != path);
            path.is_file()
        });
        there.await.unwrap_or(false)
    }

    /// Whether there is media of `id`. Blocks on the disk.
    pub fn has(&self, id: &str) -> bool {
        self.path(id).is_ok_and(|path| path.is_file())
    }

    /// Removes what has been to spare for longer than `age`.
    pub async fn drop_spare(&self, age: Duration) {
        let spool = self.clone();
        let done = spawn_blocking(move || {
            let now = SystemTime::now();
            // A clock that was set back makes a file younger than it is, at most new.
            while spool.drop_oldest(|since| now.duration_since(since).is_ok_and(|been| been > age)) {}
        });
        if let Err(e) = done.await {
            log::warn!("old files of failed messages stay: {e}");
        }
    }

    /// Makes room. `false`: there is nothing to spare. Blocks on the disk.
    pub(super) fn make_room(&self) -> bool {
        self.drop_oldest(|_| true)
    }

    /// Removes the oldest if it fits. Whether it did.
    fn drop_oldest(&self, fits: impl Fn(SystemTime) -> bool) -> bool {
        let mut spares = self.spares();
        let Some(oldest) = spares.pop_front_if(|oldest| fits(oldest.since)) else { return false };
        // Under the lock, so that nobody reclaims it in between.
        if let Err(e) = self.remove_file(&oldest.path) {
            log::warn!("a failed message's file stays: {e}");
        }
        true
    }

    /// Whatever becomes of this file, it is no spare one.
    pub(super) fn forget_spare(&self, path: &Path) {
        self.spares().retain(|spare| spare.path != path);
    }
}
