//! The files of messages: kept while one waits to send them, and for a while after one failed to.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::MutexGuard;

use super::Outbox;
use super::record::{self, Users};

/// How long the file of a failed message is kept for another try: over a weekend. Looked at every six hours.
const FAILED_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

impl Outbox {
    /// Files that a receipt made unneeded before the send's own end was recorded.
    pub(super) fn freed(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.shared.freed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the file of a message that failed back into use; the guard says that nobody else decides on it meanwhile.
    /// `None`: it is gone.
    pub(super) async fn reclaim(&self, file: &str) -> Option<MutexGuard<'_, ()>> {
        let one_at_a_time = self.shared.files.lock().await;
        self.shared.spool.reclaim(file).await.then_some(one_at_a_time)
    }

    /// No message waits to send this file any more. It goes, or stays as a spare one where a message failed.
    pub(super) async fn let_go(&self, file: &str) {
        let one_at_a_time = self.shared.files.lock().await;
        self.decide_on(file, &one_at_a_time).await;
    }

    /// See [`let_go`](Self::let_go).
    pub(super) async fn decide_on(&self, file: &str, _one_at_a_time: &MutexGuard<'_, ()>) {
        let users = self.shared.store.read(|txn| record::users(&txn.open_table(record::FILES)?, file));
        match users {
            // It was tried again in between.
            Ok(Some(Users { waiting: 1.., .. })) => {}
            Ok(Some(_)) => {
                // It may have failed because WhatsApp lost the upload.
                self.shared.uploads.forget(file);
                self.shared.spool.spare(file).await;
            }
            Ok(None) => self.remove_file(file).await,
            Err(e) => {
                log::warn!("whether a file is needed cannot be read, so it stays until the next start: {e}");
            }
        }
    }

    /// Removes a kept file. One that stays is found by the next start.
    pub(super) async fn remove_file(&self, id: &str) {
        self.shared.uploads.forget(id);
        if let Err(e) = self.shared.spool.remove(id).await {
            log::warn!("{e}");
        }
    }

    /// Removes files whose messages failed long ago, and forgets who wanted what is gone.
    pub(super) async fn prune_files(&self) {
        self.shared.spool.drop_spare(FAILED_KEPT).await;
        let _one_at_a_time = self.shared.files.lock().await;
        let this = self.clone();
        let write = self.shared.store.write_if(move |txn| {
            let mut table = txn.open_table(record::FILES)?;
            let mut gone = record::spare_files(&table)?;
            gone.retain(|file| !this.shared.spool.has(file));
            for file in &gone {
                table.remove(file.as_str())?;
            }
            Ok(((), !gone.is_empty()))
        });
        if let Err(e) = write.await {
            log::warn!("who wanted files that are gone could not be forgotten: {e}");
        }
    }
}
