//! Takes an update that comes over the network: checked while it arrives, and handed over to whoever may write partitions.
//!
//! The gateway may not. It leaves the file where `kurir update --received` (root's) finds it, and that trusts nothing that was
//! checked here: the gateway talks to the network, and whoever got hold of it could put anything into its folder.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc};

use super::board::RecordFile;
use super::install::{SYNC_EVERY, fits};
use super::{Bundle, Manifest, PublicKey, Record, Rules, Stage, UpdateError, Version, record};
use crate::files::open_plain;
use crate::ids;

/// The file's name in the data folder once it is complete. A path unit of the image waits for it.
pub const RECEIVED: &str = "update.received";
/// Longest update, in bytes: both partitions of a slot, and a little.
pub const MAX_UPDATE: u64 = 1024 * 1024 * 1024;
/// Bytes that stay free for messages.
const RESERVE: u64 = 64 * 1024 * 1024;
/// What is gathered for one write.
const GATHER: usize = 128 * 1024;
/// Chunks that wait for the disk.
const AHEAD: usize = 4;

/// Why an update was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Another one is being received.
    #[error("another update is being received; wait for it")]
    Busy,
    /// Another one is being written or tried.
    #[error(
        "version {0} is being installed; wait until the box has restarted, or restart it if that takes more than ten minutes"
    )]
    Underway(Version),
    /// It is not for this box.
    #[error(transparent)]
    Refused(UpdateError),
    /// The sender ended it.
    #[error("the upload broke off; send it again")]
    Broken,
    /// Longer than any update.
    #[error("the file is larger than {} MB, so it is no update", MAX_UPDATE >> 20)]
    TooLarge,
    /// The data partition is too full.
    #[error("the update needs {} MB and the box's card has {} MB left for it", need >> 20, free >> 20)]
    NoRoom {
        /// Bytes.
        need: u64,
        /// Bytes.
        free: u64,
    },
    /// The disk.
    #[error("the update cannot be kept: {0}")]
    Disk(#[source] io::Error),
    /// The gateway is going down, or failed inside.
    #[error("the update cannot be kept: {0}")]
    Aborted(String),
}

/// Why no update can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIntake {
    /// It is no box of the image.
    #[error(
        "This gateway has no slots for updates: it was not started from a card made from Kurir's image. Install the new version as \
         you installed this one"
    )]
    Slots,
    /// The key cannot be read; the log says why.
    #[error(
        "This box has no key to check updates with (setting update_key); its log says why. Write its card anew"
    )]
    Key,
}

/// How an update comes into a box with slots. Cheap to clone; clones share the one place for an upload.
#[derive(Clone)]
pub struct Intake {
    rules: Arc<Rules>,
    parts: Arc<[String]>,
    data_dir: PathBuf,
    scratch: PathBuf,
    record: PathBuf,
    place: Arc<Semaphore>,
}

/// Where things are.
pub struct Places {
    /// The data folder.
    pub data_dir: PathBuf,
    /// A folder on the same file system that is emptied at each start.
    pub scratch: PathBuf,
    /// What is known of the last update.
    pub record: PathBuf,
}

/// What is known of updates: for people, and whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version that runs.
    pub running: Version,
    /// The version of an update that has come and that nobody has begun to write yet.
    pub received: Option<Version>,
    /// What became of it.
    pub record: Record,
}

impl Intake {
    /// `parts`: the names of a slot's partitions.
    pub fn new(rules: Rules, parts: Vec<String>, places: Places) -> Intake {
        let Places { data_dir, scratch, record } = places;
        let place = Arc::new(Semaphore::new(1));
        Intake { rules: Arc::new(rules), parts: parts.into(), data_dir, scratch, record, place }
    }

    /// The kind of this box.
    pub fn board(&self) -> &str {
        &self.rules.board
    }

    /// What is known. Blocks on the disk.
    ///
    /// # Errors
    /// [`UpdateError::Io`].
    pub fn standing(&self) -> Result<Standing, UpdateError> {
        let record = record::load(&mut RecordFile(self.record.clone()))?;
        let file = File::open(self.data_dir.join(RECEIVED)).ok();
        let bundle = file.and_then(|file| Bundle::open(file, &self.rules.key).ok());
        let received = bundle.map(|bundle| bundle.manifest().version);
        Ok(Standing { running: self.rules.version, received, record })
    }

    /// Takes an update, checking it while it comes: its head before the rest is read. A file that came before and that nobody has
    /// begun to write is replaced.
    ///
    /// # Errors
    /// [`IntakeError`]; nothing is kept then.
    pub async fn take<S, E>(&self, mut stream: S) -> Result<Manifest, IntakeError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Error,
    {
        let place = Arc::clone(&self.place).try_acquire_owned().map_err(|_| IntakeError::Busy)?;
        let (chunks, coming) = mpsc::channel(AHEAD);
        let this = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _place = place;
            this.write(coming)
        });
        let mut left = MAX_UPDATE;
        let mut failed = None;
        loop {
            let chunk = tokio::select! {
                // It was refused; whoever sends may be waiting for that.
                () = chunks.closed() => break,
                chunk = stream.next() => chunk,
            };
            let Some(chunk) = chunk else { break };
            let Ok(chunk) = chunk else {
                failed = Some(IntakeError::Broken);
                break;
            };
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                failed = Some(IntakeError::TooLarge);
                break;
            };
            left = rest;
            if chunks.send(Some(chunk)).await.is_err() {
                break;
            }
        }
        if failed.is_none() {
            // Without it, what was written so far does not count: this function may just not be polled any more.
            let _ = chunks.send(None).await;
        }
        drop(chunks);
        let written = written.await.map_err(|e| IntakeError::Aborted(e.to_string()))?;
        match failed {
            Some(failed) => Err(failed),
            None => written,
        }
    }

    fn nothing_underway(&self) -> Result<(), IntakeError> {
        match self.standing().map_err(IntakeError::Refused)?.record.stage {
            Stage::Idle | Stage::Written { .. } => Ok(()),
            Stage::Writing { version } | Stage::Trying { version, .. } | Stage::GivenUp { version, .. } => {
                Err(IntakeError::Underway(version))
            }
        }
    }

    fn write(&self, coming: mpsc::Receiver<Option<Bytes>>) -> Result<Manifest, IntakeError> {
        self.nothing_underway()?;
        let file = tempfile::NamedTempFile::new_in(&self.scratch).map_err(IntakeError::Disk)?;
        let failure = Failure::default();
        let copy = file.reopen().map_err(IntakeError::Disk)?;
        let mut tee = Tee {
            coming,
            chunk: Bytes::new(),
            whole: false,
            out: BufWriter::with_capacity(GATHER, copy),
            unsynced: 0,
            failure: failure.clone(),
        };
        let checked = self.check(&mut tee);
        if let Some(e) = failure.take() {
            return Err(e);
        }
        let manifest = checked?;
        if !tee.whole {
            return Err(IntakeError::Broken);
        }
        tee.out
            .into_inner()
            .map_err(|e| IntakeError::Disk(e.into_error()))?
            .sync_all()
            .map_err(IntakeError::Disk)?;
        // Minutes may have gone by.
        self.nothing_underway()?;
        file.persist(self.data_dir.join(RECEIVED)).map_err(|e| IntakeError::Disk(e.error))?;
        File::open(&self.data_dir).and_then(|folder| folder.sync_all()).map_err(IntakeError::Disk)?;
        Ok(manifest)
    }

    fn check(&self, update: impl Read) -> Result<Manifest, IntakeError> {
        let bundle = Bundle::open(update, &self.rules.key).map_err(IntakeError::Refused)?;
        let manifest = bundle.manifest();
        fits(manifest, &self.rules, self.parts.to_vec()).map_err(IntakeError::Refused)?;
        let need = manifest.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size));
        let disk = rustix::fs::statvfs(&self.data_dir).map_err(|e| IntakeError::Disk(e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(RESERVE);
        if need > free {
            return Err(IntakeError::NoRoom { need, free });
        }
        bundle.unpack(self.rules.piece, |_, _, _| Ok(())).map_err(IntakeError::Refused)
    }
}

/// What went wrong beside the update's contents.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<IntakeError>>>);

impl Failure {
    fn set(&self, e: io::Error) -> io::Error {
        let kind = e.kind();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(IntakeError::Disk(e));
        kind.into()
    }

    fn take(&self) -> Option<IntakeError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes down what is read.
struct Tee {
    /// `None`: that was all of it.
    coming: mpsc::Receiver<Option<Bytes>>,
    chunk: Bytes,
    whole: bool,
    out: BufWriter<File>,
    unsynced: u64,
    failure: Failure,
}

impl Tee {
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            self.out.flush()?;
            let file = self.out.get_ref();
            file.sync_data()?;
            // The memory is for messages.
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl Read for Tee {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.whole {
            match self.coming.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.whole = true,
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(out.len());
        self.chunk.copy_to_slice(&mut out[..length]);
        self.keep(&out[..length]).map_err(|e| self.failure.set(e))?;
        Ok(length)
    }
}

/// Takes the update that came out of the folder and opens it, so that one that brings down whoever writes it is not tried for ever, and
/// one that comes now is not lost. For root: the folder belongs to somebody else, who may have put anything there.
///
/// # Errors
/// It is no plain file, or cannot be taken.
pub fn take_received(data_dir: &Path) -> io::Result<Option<File>> {
    let path = data_dir.join(RECEIVED);
    let taken = data_dir.join(format!("{RECEIVED}.{}", hex::encode(ids::random::<8>())));
    match std::fs::rename(&path, &taken) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        renamed => renamed?,
    }
    let opened = open_plain(&taken);
    // Whatever it is, it does not stay.
    match std::fs::remove_file(&taken) {
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir_all(&taken)?,
        removed => removed?,
    }
    opened?.map(Some).ok_or_else(|| io::Error::other(format!("{} was no file", path.display())))
}

/// Reads whose update a received file is, and leaves it at its beginning.
///
/// # Errors
/// As [`Bundle::open`].
pub fn version_of(file: &mut File, key: &PublicKey) -> Result<Version, UpdateError> {
    let version = Bundle::open(&*file, key)?.manifest().version;
    io::Seek::rewind(file).map_err(UpdateError::Read)?;
    Ok(version)
}
