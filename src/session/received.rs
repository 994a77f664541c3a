//! Files that people sent: fetched from WhatsApp and decrypted when first asked for, then kept here for a while.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::spawn_blocking;
use wacore::download::{DownloadWriter, MediaType};
use whatsapp_rust::download::DownloadParams;
use whatsapp_rust::http::HttpStatusError;

use super::Session;
use crate::inbox::{Event, MediaRef};

/// Downloads at once over all sessions.
const PARALLEL: usize = 4;
/// Longest download. The HTTP client below has limits of its own; this one counts the waiting too.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Why a received file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReceivedError {
    /// The event has no file.
    #[error("this event has no file")]
    NoFile,
    /// The session cannot ask WhatsApp now.
    #[error("the session is not connected, so the file cannot be fetched from WhatsApp; try again later")]
    NotConnected,
    /// WhatsApp keeps files for some weeks only.
    #[error("WhatsApp no longer has this file; ask its sender to send it again")]
    Gone,
    /// It is larger than all received files together may be.
    #[error("the file is larger than {} MB, which KURIR_RECEIVED_MEDIA_MB allows", limit / (1024 * 1024))]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// WhatsApp's media host failed, or the file was not what its sender said.
    #[error("the file could not be fetched from WhatsApp: {0}")]
    Failed(String),
    /// The disk refused.
    #[error("the file could not be kept in {path}: {source}", path = path.display())]
    Disk {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder of received files. Cheap to clone.
#[derive(Clone)]
pub struct Received {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    limit: u64,
    age: Duration,
    places: Semaphore,
    // Who fetches which file: a second request for the same one waits for the first. Held for map operations only.
    under_way: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
}

impl Received {
    /// Opens (or makes) `received/` under `data`, for at most `limit` bytes, each file for at most `age` after it was
    /// last asked for.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(data: &Path, limit: u64, age: Duration) -> Result<Received, ReceivedError> {
        let folder = data.join("received");
        fs::create_dir_all(&folder).map_err(|source| ReceivedError::Disk { path: folder.clone(), source })?;
        let shared =
            Shared { folder, limit, age, places: Semaphore::new(PARALLEL), under_way: Mutex::default() };
        let received = Received { shared: Arc::new(shared) };
        received.make_room(0);
        Ok(received)
    }

    /// The event's file, open for reading, and its length.
    ///
    /// # Errors
    /// [`ReceivedError`].
    pub async fn file(&self, event: &Event, session: Option<&Session>) -> Result<(File, u64), ReceivedError> {
        let media = event.media.as_ref().ok_or(ReceivedError::NoFile)?;
        if let Some(found) = self.kept(&event.id) {
            return Ok(found);
        }
        let turn = {
            let mut under_way = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(under_way.entry(event.id.clone()).or_default())
        };
        let _turn = turn.lock().await;
        if let Some(found) = self.kept(&event.id) {
            return Ok(found);
        }
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch(&event.id, media, session)).await;
        fetched
            .unwrap_or_else(|_| Err(ReceivedError::Failed(format!("no end within {} s", TIMEOUT.as_secs()))))
    }

    /// A file that is here already.
    fn kept(&self, id: &str) -> Option<(File, u64)> {
        let file = File::open(self.shared.folder.join(id)).ok()?;
        let length = file.metadata().ok()?.len();
        // Its age counts from the last time it was asked for. Failing only makes it go earlier.
        let _ = file.set_modified(SystemTime::now());
        Some((file, length))
    }

    async fn fetch(
        &self,
        id: &str,
        media: &MediaRef,
        session: Option<&Session>,
    ) -> Result<(File, u64), ReceivedError> {
        let limit = self.shared.limit;
        if media.length > limit {
            return Err(ReceivedError::TooLarge { limit });
        }
        let client = session.and_then(Session::client).ok_or(ReceivedError::NotConnected)?;
        let params = params(media).ok_or(ReceivedError::Gone)?;
        let _place = self.shared.places.acquire().await.map_err(|e| ReceivedError::Failed(e.to_string()))?;
        let disk = |source| ReceivedError::Disk { path: self.shared.folder.clone(), source };
        let this = self.clone();
        let length = media.length;
        let temporary = spawn_blocking(move || {
            this.make_room(length);
            tempfile::Builder::new().prefix("in-").tempfile_in(&this.shared.folder)
        });
        let temporary = temporary.await.map_err(io::Error::other).and_then(|made| made).map_err(disk)?;
        let (file, path) = temporary.into_parts();
        // The sender wrote the length; what comes may be more.
        let writer = Bounded { file, written: 0, limit };
        let written = client.download_to_writer(&params, writer).await.map_err(|e| {
            match e.downcast_ref::<HttpStatusError>().map(|e| e.status) {
                Some(401 | 403 | 404 | 410) => ReceivedError::Gone,
                _ if e.chain().any(|e| e.is::<io::Error>() && e.to_string() == TOO_LONG) => {
                    ReceivedError::TooLarge { limit }
                }
                _ => ReceivedError::Failed(e.to_string()),
            }
        })?;
        let target = self.shared.folder.join(id);
        let kept = spawn_blocking(move || {
            let mut file = written.file;
            path.persist(&target).map_err(|e| e.error)?;
            let length = file.seek(SeekFrom::End(0))?;
            file.rewind()?;
            Ok((file, length))
        });
        kept.await.map_err(io::Error::other).and_then(|kept| kept).map_err(disk)
    }

    /// Removes what is too old, what an earlier run left half done, and then what was asked for longest ago until
    /// `bytes` more have room.
    fn make_room(&self, bytes: u64) {
        let now = SystemTime::now();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let Ok(entries) = fs::read_dir(&self.shared.folder) else { return };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(modified) = metadata.modified() else { continue };
            let age = now.duration_since(modified).unwrap_or_default();
            let left = entry.file_name().to_string_lossy().starts_with("in-");
            if age >= self.shared.age || (left && age >= 2 * TIMEOUT) {
                remove(&entry.path());
            } else {
                files.push((modified, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut used: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if used.saturating_add(bytes) <= self.shared.limit {
                break;
            }
            remove(&path);
            used -= length;
        }
    }
}

fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        log::warn!("cannot remove {}: {e}", path.display());
    }
}

fn params(media: &MediaRef) -> Option<DownloadParams> {
    let keys = match media.keys.as_str() {
        "image" => MediaType::Image,
        "video" => MediaType::Video,
        "audio" => MediaType::Audio,
        "document" => MediaType::Document,
        "sticker" => MediaType::Sticker,
        _ => return None,
    };
    Some(DownloadParams::encrypted(
        media.direct_path.clone(),
        &hex::decode(&media.media_key).ok()?,
        &hex::decode(&media.sha256).ok()?,
        &hex::decode(&media.enc_sha256).ok()?,
        media.length,
        keys,
    ))
}

const TOO_LONG: &str = "the file is longer than allowed";

/// A file that takes only so much.
struct Bounded {
    file: File,
    written: u64,
    limit: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TOO_LONG));
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl DownloadWriter for Bounded {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.written = self.written.min(length);
        self.file.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(received: &Received, name: &str, length: usize, age: Duration) {
        let file = File::create(received.shared.folder.join(name)).unwrap();
        (&file).write_all(&vec![0; length]).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    fn names(received: &Received) -> Vec<String> {
        let entries = fs::read_dir(&received.shared.folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_keeps_to_its_age_and_size_and_the_least_wanted_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let received = Received::open(dir.path(), 100, hour).unwrap();
        put(&received, "old", 1, 2 * hour);
        put(&received, "in-left", 1, 20 * minute);
        put(&received, "in-running", 10, Duration::ZERO);
        put(&received, "a", 40, 30 * minute);
        put(&received, "b", 40, 20 * minute);
        received.make_room(0);
        assert_eq!(names(&received), ["a", "b", "in-running"]);
        assert_eq!(received.kept("a").unwrap().1, 40, "asking for it makes it young");
        received.make_room(40);
        assert_eq!(names(&received), ["a", "in-running"]);
    }

    #[test]
    fn a_sender_who_lies_about_the_length_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let mut writer = Bounded { file, written: 0, limit: 5 };
        writer.write_all(b"abc").unwrap();
        assert_eq!(writer.write_all(b"def").unwrap_err().to_string(), TOO_LONG);
        writer.truncate(0).unwrap();
        writer.rewind().unwrap();
        writer.write_all(b"vwxyz").unwrap();
    }
}
