//! Where media lies: `spool/` for what is still being received, `media/` for what an accepted message needs.
//!
//! Both count towards one limit in bytes: a queue that cannot be sent must not fill the SD card. A file moves from
//! one folder to the other by a rename, so `media/` never holds half a file. Files of failed messages, which somebody may
//! want to try again, count as well, and go when others need their room.

mod file;
mod spare;

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::base64;
pub use file::{Fetched, SpoolWriter, Stored};
use spare::Spare;

/// Chunks of an upload are gathered to about this size, so that each costs the disk one write.
const GATHER: usize = 128 * 1024;
const DEFAULT_LIMIT: u64 = 512 * 1024 * 1024;
/// Voice notes that are converted at a time: half the cores of the smallest board.
const CONVERTING: usize = 2;

/// Why media could not be kept.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// More than one message may carry.
    #[error("the media is larger than {} MB; send a smaller file or a link to it", limit / (1024 * 1024))]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Nothing came.
    #[error("the media is empty")]
    Empty,
    /// The text is no Base64.
    #[error("the media's data is not Base64: {0}")]
    BadBase64(String),
    /// The request ended or failed before the media was complete.
    #[error("the upload broke off: {0}")]
    Broken(String),
    /// The spool's limit is reached by other media.
    #[error(
        "the media spool is full ({used} of {limit} bytes in use by media waiting to be sent); try again when the queue \
         has shrunk"
    )]
    Full {
        /// Bytes in use.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The gateway is going down, or failed inside.
    #[error("the media could not be kept: {0}")]
    Aborted(String),
    /// An id that cannot be a file's name.
    #[error("`{0}` cannot name stored media: only letters, digits, `-` and `_`, at most 64 of them")]
    BadId(String),
    /// The disk.
    #[error("{what} {}: {source}", path.display())]
    Disk {
        /// What was being done.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpoolError {
    /// Whether the client can put it right by sending something else.
    #[must_use]
    pub fn is_client(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Empty | Self::BadBase64(_) | Self::Broken(_))
    }

    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }
}

/// The two folders. Cheap to clone; clones share the limit.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Folders>);

#[derive(Debug)]
struct Folders {
    incoming: PathBuf,
    kept: PathBuf,
    limit: u64,
    used: AtomicU64,
    converting: Arc<Semaphore>,
    /// One picture at a time is made small.
    shrinking: Semaphore,
    spare: Mutex<VecDeque<Spare>>,
}

impl Spool {
    /// Opens (or makes) `spool/` and `media/` under `data`, with a limit of 512 MB for both together. What a crash
    /// left in `spool/` belongs to requests that were never accepted, and is removed.
    ///
    /// # Errors
    /// The folders cannot be made or read.
    pub fn open(data: &Path) -> Result<Self, SpoolError> {
        Self::open_with(data, DEFAULT_LIMIT)
    }

    /// [`Spool::open`] with another limit, in bytes. If `media/` already holds more, nothing new is taken until it
    /// has shrunk.
    ///
    /// # Errors
    /// As for [`Spool::open`].
    pub fn open_with(data: &Path, limit: u64) -> Result<Self, SpoolError> {
        let (incoming, kept) = (data.join("spool"), data.join("media"));
        for folder in [&incoming, &kept] {
            fs::create_dir_all(folder).map_err(SpoolError::disk("cannot make the folder", folder))?;
        }
        for entry in files(&incoming)? {
            fs::remove_file(&entry).map_err(SpoolError::disk("cannot remove the leftover", &entry))?;
        }
        let mut used = 0;
        for entry in files(&kept)? {
            used += fs::metadata(&entry).map_err(SpoolError::disk("cannot read", &entry))?.len();
        }
        Ok(Self(Arc::new(Folders {
            incoming,
            kept,
            limit,
            used: AtomicU64::new(used),
            converting: Arc::new(Semaphore::new(CONVERTING)),
            shrinking: Semaphore::new(1),
            spare: Mutex::default(),
        })))
    }

    /// Places for conversions to a voice note.
    pub(super) fn converting(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.converting)
    }

    /// The place for making a picture small.
    pub(super) fn shrinking(&self) -> &Semaphore {
        &self.0.shrinking
    }

    /// Bytes in use: being received, waiting to be accepted, and kept.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Where a file may lie that lives no longer than this process: what is left there is removed at the next start.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.0.incoming
    }

    /// A file to write media of at most `max` bytes into. Blocks on the disk, as the writer's methods do.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn writer(&self, max: u64) -> Result<SpoolWriter, SpoolError> {
        SpoolWriter::new(self, max)
    }

    /// Takes media from Base64 text: standard or URL-safe, padded or not, white space ignored, also as a `data:`
    /// URL.
    ///
    /// # Errors
    /// Not Base64, empty, more than `max` bytes, or no room.
    pub async fn from_base64(
        &self,
        text: String,
        filename: Option<String>,
        max: u64,
    ) -> Result<Fetched, SpoolError> {
        let spool = self.clone();
        blocking(move || {
            let mut decoder = base64::decoder(&text)?;
            let mut writer = spool.writer(max)?;
            let mut chunk = vec![0; 48 * 1024];
            loop {
                let length = decoder.read(&mut chunk).map_err(|e| SpoolError::BadBase64(e.to_string()))?;
                if length == 0 {
                    return writer.finish(filename);
                }
                writer.write(&chunk[..length])?;
            }
        })
        .await
    }

    /// Takes media from a stream of chunks, such as one field of a multipart request. At most 128 KiB and one chunk
    /// are in memory.
    ///
    /// # Errors
    /// The stream fails, is empty or brings more than `max` bytes, or there is no room.
    pub async fn from_stream<S, E>(
        &self,
        mut stream: S,
        filename: Option<String>,
        max: u64,
    ) -> Result<Fetched, SpoolError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Error,
    {
        let spool = self.clone();
        let mut writer = blocking(move || spool.writer(max)).await?;
        let mut gathered: Vec<u8> = Vec::new();
        let mut more = true;
        while more {
            match stream.next().await {
                Some(Ok(chunk)) => gathered.extend_from_slice(&chunk),
                Some(Err(e)) => return Err(SpoolError::Broken(chain(&e))),
                None => more = false,
            }
            if gathered.len() >= GATHER || !more {
                (writer, gathered) = blocking(move || {
                    writer.write(&gathered)?;
                    gathered.clear();
                    Ok((writer, gathered))
                })
                .await?;
            }
        }
        blocking(move || writer.finish(filename)).await
    }

    /// Where the media of the accepted message `id` lies.
    ///
    /// # Errors
    /// `id` cannot be a file's name.
    pub fn path(&self, id: &str) -> Result<PathBuf, SpoolError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
            Ok(self.0.kept.join(id))
        } else {
            Err(SpoolError::BadId(id.chars().take(80).collect()))
        }
    }

    /// Removes the media of a message that needs it no longer. Removing it twice is no error.
    ///
    /// # Errors
    /// `id` is no id, or the disk refuses.
    pub async fn remove(&self, id: &str) -> Result<(), SpoolError> {
        let (spool, path) = (self.clone(), self.path(id)?);
        blocking(move || {
            spool.forget_spare(&path);
            spool.remove_file(&path)
        })
        .await
    }

    fn remove_file(&self, path: &Path) -> Result<(), SpoolError> {
        let length = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(SpoolError::disk("cannot read", path)(e)),
        };
        match fs::remove_file(path) {
            Ok(()) => self.give_back(length),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(SpoolError::disk("cannot remove", path)(e)),
        }
        Ok(())
    }

    /// Removes the media of every message that `keep` does not know, and tells how many. For the start: a crash
    /// between keeping media and accepting its message, or between sending it and removing its media, leaves some.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sweep(&self, keep: impl Fn(&str) -> bool) -> Result<usize, SpoolError> {
        let mut removed = 0;
        for path in files(&self.0.kept)? {
            let known = path.file_name().and_then(|name| name.to_str()).is_some_and(&keep);
            if !known {
                self.remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn give_back(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The files, not the folders, in a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    list().map_err(SpoolError::disk("cannot list", folder))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Cancelled (the runtime is going down) or panicked: either way the media is not there.
        Err(e) => Err(SpoolError::Aborted(e.to_string())),
    }
}

fn chain(e: &dyn Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        let cause = e.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests;
