//! One file of the spool: while it is written, when it is complete, and when a message has it.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tempfile::{NamedTempFile, TempPath};

use super::{Spool, SpoolError, blocking};
use crate::media::dimensions::dimensions;
use crate::media::sniff::{Sniffed, sniff};
use crate::media::{containers, movie, name, voice};

/// How much of an image is searched for its size; beyond it lie only cameras' larger previews.
const IMAGE_HEAD: usize = 256 * 1024;

/// Bytes taken from the spool's limit, given back when dropped.
#[derive(Debug)]
struct Share {
    spool: Spool,
    bytes: u64,
}

impl Share {
    fn grow(&mut self, by: u64) -> Result<(), SpoolError> {
        let folders = &self.spool.0;
        let fits = |used: u64| used.checked_add(by).filter(|used| *used <= folders.limit);
        loop {
            match folders.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
                Ok(_) => {
                    self.bytes += by;
                    return Ok(());
                }
                // What only a failed message may still want goes first.
                Err(_) if self.spool.make_room() => {}
                Err(used) => return Err(SpoolError::Full { used, limit: folders.limit }),
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.spool.give_back(self.bytes);
    }
}

/// Media being received. Dropping it removes the file.
#[derive(Debug)]
pub struct SpoolWriter {
    file: NamedTempFile,
    share: Share,
    max: u64,
}

impl SpoolWriter {
    pub(super) fn new(spool: &Spool, max: u64) -> Result<SpoolWriter, SpoolError> {
        let incoming = &spool.0.incoming;
        let file = tempfile::Builder::new()
            .prefix("in-")
            .tempfile_in(incoming)
            .map_err(SpoolError::disk("cannot make a file in", incoming))?;
        Ok(SpoolWriter { file, share: Share { spool: spool.clone(), bytes: 0 }, max })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.share.bytes
    }

    /// Appends. Blocks on the disk.
    ///
    /// # Errors
    /// Too much for one message or for the spool, or the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let length = bytes.len() as u64;
        if self.share.bytes.saturating_add(length) > self.max {
            return Err(SpoolError::TooLarge { limit: self.max });
        }
        self.share.grow(length)?;
        self.file.write_all(bytes).map_err(SpoolError::disk("cannot write", self.file.path()))
    }

    /// Ends the file and looks at what it is. `filename` is what the sender called it, if anything. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// Nothing was written, or the disk refuses.
    pub fn finish(self, filename: Option<String>) -> Result<Fetched, SpoolError> {
        if self.share.bytes == 0 {
            return Err(SpoolError::Empty);
        }
        let (mut file, path) = self.file.into_parts();
        let mut look = || -> io::Result<_> {
            let sniffed = sniff(&mut file)?;
            let shape = match sniffed.mime.split_once('/') {
                Some(("image", _)) => (dimensions(&containers::read_at(&mut file, 0, IMAGE_HEAD)?), None),
                Some(("video", _)) => movie::shape(&mut file)?,
                Some(("audio", _)) => (None, voice::seconds(file.try_clone()?, sniffed.mime)),
                _ => (None, None),
            };
            file.seek(SeekFrom::Start(0))?;
            Ok((sniffed, shape))
        };
        let (sniffed, (dimensions, seconds)) = look().map_err(SpoolError::disk("cannot read", &path))?;
        let filename = filename.and_then(|filename| name::clean(&filename));
        let Sniffed { mime, extension } = match &filename {
            Some(filename) => sniffed.named(filename),
            None => sniffed,
        };
        let filename = name::complete(filename, extension);
        Ok(Fetched {
            file: path,
            size: self.share.bytes,
            mime,
            extension,
            filename,
            dimensions,
            seconds,
            waveform: None,
            share: self.share,
        })
    }
}

impl Write for SpoolWriter {
    /// As [`SpoolWriter::write`], whose error is inside the one returned.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Media that is complete, in a file of its own. Dropping it removes the file.
#[derive(Debug)]
pub struct Fetched {
    /// The file.
    pub file: TempPath,
    /// Its size in bytes; never 0.
    pub size: u64,
    /// Its type by content.
    pub mime: &'static str,
    /// The usual extension for that type, without a dot.
    pub extension: &'static str,
    /// The name that the sender gave it, made safe and completed with an extension; else `file.` and one.
    pub filename: String,
    /// Width and height in pixels as they are seen, of an image or a film.
    pub dimensions: Option<(u32, u32)>,
    /// How long a sound or a film is, where its header says so; at least 1.
    pub seconds: Option<u32>,
    /// Of a voice note: 64 levels of 0 to 100, in Base64.
    pub waveform: Option<String>,
    share: Share,
}

/// Media that a message is about to be accepted with; it stays until [`Spool::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The message's id, and the file's name.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its type by content.
    pub mime: &'static str,
    /// What the recipient sees as its name.
    pub filename: String,
    /// Width and height in pixels, of an image.
    pub dimensions: Option<(u32, u32)>,
}

impl Fetched {
    /// Gives it the name that the caller wants shown, made safe and completed with an extension. A name of which
    /// nothing is left changes nothing.
    pub fn rename(&mut self, name: &str) {
        if let Some(name) = name::clean(name) {
            self.filename = name::complete(Some(name), self.extension);
        }
    }

    /// Moves the file to `media/<id>` and returns once file and folder are on the disk, so that a message accepted
    /// after it has its media whatever happens.
    ///
    /// # Errors
    /// `id` is no id, or the disk refuses; then the file is gone.
    pub async fn persist(self, id: &str) -> Result<Stored, SpoolError> {
        let path = self.share.spool.path(id)?;
        let id = id.to_owned();
        blocking(move || {
            let Self { file, size, mime, filename, dimensions, mut share, .. } = self;
            File::open(&file)
                .and_then(|file| file.sync_all())
                .map_err(SpoolError::disk("cannot write to disk", &file))?;
            let replaced = fs::metadata(&path).map_or(0, |old| old.len());
            file.persist(&path).map_err(|e| SpoolError::disk("cannot move media to", &path)(e.error))?;
            // The bytes stay in use, now until `remove`.
            share.bytes = replaced;
            let folder = &share.spool.0.kept;
            if let Err(e) = File::open(folder).and_then(|folder| folder.sync_all()) {
                let _ = share.spool.remove_file(&path);
                return Err(SpoolError::disk("cannot write to disk", folder)(e));
            }
            Ok(Stored { id, path, size, mime, filename, dimensions })
        })
        .await
    }
}
