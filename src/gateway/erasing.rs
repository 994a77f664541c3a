//! Making the box as new: what is unlinked, stopped and removed, and in which order (docs/decisions/0015-erasing.md).

use std::time::Duration;

use futures_util::future::join_all;

use super::Gateway;
use crate::config::Config;
use crate::store::erase::{EraseError, Erasure, Progress};

/// How long WhatsApp gets to unlink the devices before everything is erased.
const UNLINK: Duration = Duration::from_secs(20);
/// What the parts keep in the data folder, and what erasing removes from it: keys first, then people's files, and last
/// what others use to find a running gateway. Whatever else lies there is somebody else's.
/// `update.json` stays: which version is installed is no secret, and a trial under way needs it.
pub(super) const KEPT: &[&str] = &[
    "kurir.toml",
    "kurir.redb",
    "trial.redb",
    "tls",
    "received",
    "media",
    "spool",
    "box-id",
    "clock",
    "update.received",
    "control.sock",
];

/// Erases what a gateway that does not run has kept.
///
/// # Errors
/// What could not be erased; the next start tries again.
pub fn erase_data_dir(config: &Config) -> Result<(), EraseError> {
    Erasure::begin(&config.data_dir)?.finish(KEPT)
}

impl Gateway {
    /// Resolves when somebody has asked for everything to be erased. Then it is time for [`Gateway::erase`].
    pub async fn erase_asked(&self) {
        let mut asked = self.api.erase.subscribe();
        // The sender is in `self`, so this ends only with what it waits for.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// Unlinks every device at WhatsApp as far as it can be reached, stops, and erases all that was kept. The memory of
    /// this process still holds keys: it should end, or become a new one, and not start another gateway.
    /// Counts in `progress` what is done: with a slow card and many files it takes minutes.
    ///
    /// # Errors
    /// What could not be erased; the next start tries again before it does anything else.
    pub async fn erase(mut self, progress: &Progress) -> Result<(), EraseError> {
        self.panel.erasing();
        let folder = self.data_dir.clone();
        // From here on, a crash only delays it.
        let erasure = blocking(move || Erasure::begin(&folder)).await?.with_progress(progress.clone());
        progress.step();
        let _ = self.stop.send(true);
        let registry = self.api.registry.clone();
        let sessions = registry.list();
        let unlink = join_all(sessions.iter().map(async |session| {
            if let Err(e) = registry.delete(session.id()).await {
                log::warn!("session {}: it may still be listed on the phone: {e}", session.no());
            }
            progress.step();
        }));
        if tokio::time::timeout(UNLINK, unlink).await.is_err() {
            log::warn!(
                "not every device was unlinked within {} s; the phones may still list it",
                UNLINK.as_secs()
            );
        }
        progress.step();
        let panel = self.stop_parts().await;
        progress.step();
        let erased = blocking(move || erasure.finish(KEPT)).await;
        panel.close().await;
        erased
    }
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only a panic ends it otherwise, and that is passed on.
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
