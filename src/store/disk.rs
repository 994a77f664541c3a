//! The file under redb: counted, optionally slowed down, and held back until it is known to be ours.
//!
//! redb writes to a file while opening it: it marks the file as in use and repairs it after a crash. That must not
//! happen to a file of a newer schema, a damaged one or someone else's. So the store opens with the disk *held*: writes
//! are kept in memory, in order, and reads see them; [`Disk::release`] then carries them out exactly as redb asked for
//! them, syncs included, which keeps redb's own crash safety. When anything is wrong the held writes are dropped and
//! the file has the bytes it had.
//!
//! The same state serves a full disk. After a failed write redb wants to be opened again; opened on a held disk it can
//! be read although nothing can be written, and each write first tries to release.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use redb::{BackendError, StorageBackend};

const BLOCK: u64 = 4096;

/// Length of redb's magic number, at the start of the file (redb, docs/design.md, "Database header").
const MAGIC_LEN: u64 = 9;

/// Most bytes held in memory. Opening writes the header and, after a crash, a handful of pages.
const HELD_LIMIT: usize = 16 << 20;

#[derive(Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// Writes not carried out yet, and the file as it will look once they are.
#[derive(Debug, Default)]
struct Held {
    ops: Vec<Op>,
    /// Operations before this one have reached the file.
    done: usize,
    /// Operations before this one are on the disk.
    synced: usize,
    /// The file's length after `done` operations, and after `synced`.
    done_len: u64,
    synced_len: u64,
    bytes: usize,
    len: u64,
    /// The file's own bytes count only below this: it was cut to that length at some point.
    base_len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// Counted since the store was opened.
#[derive(Debug, Default)]
pub(super) struct DiskCounts {
    pub(super) syncs: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_read: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Disk {
    inner: Box<dyn StorageBackend>,
    is_held: AtomicBool,
    held: Mutex<Held>,
    locked: AtomicBool,
    /// Which handle is the database's now. Each of its operations holds this for reading until it is done: a page that
    /// is being read by the database before must not be the next one's to write.
    generation: RwLock<u64>,
    sync_delay: Duration,
    /// The first failure since it was last taken: redb itself remembers only that there was one.
    failure: Mutex<Option<io::Error>>,
    /// redb had to walk the whole file to open it.
    pub(super) repaired: AtomicBool,
    pub(super) counts: DiskCounts,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    pub(super) fn new(inner: Box<dyn StorageBackend>, sync_delay: Duration) -> Self {
        Self {
            inner,
            is_held: AtomicBool::new(false),
            held: Mutex::new(Held::default()),
            locked: AtomicBool::new(false),
            generation: RwLock::new(0),
            sync_delay,
            failure: Mutex::new(None),
            repaired: AtomicBool::new(false),
            counts: DiskCounts::default(),
        }
    }

    /// From here on writes stay in memory until [`Self::release`].
    pub(super) fn hold(&self) -> io::Result<()> {
        let len = self.inner.len()?;
        let mut held = Held { len, base_len: len, done_len: len, synced_len: len, ..Held::default() };
        if len > 0 && self.was_never_finished(len)? {
            Self::set_len_held(&mut held, 0);
        }
        *lock(&self.held) = held;
        self.is_held.store(true, Release);
        Ok(())
    }

    /// Whether the power went while redb was making the file: it writes its magic number last, and nothing but the
    /// first page before. redb takes such a file for somebody else's; here it is started afresh.
    fn was_never_finished(&self, len: u64) -> io::Result<bool> {
        let mut block = vec![0; BLOCK as usize];
        let first = len.min(MAGIC_LEN) as usize;
        self.inner.read(0, &mut block[..first])?;
        if block[..first].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let mut at = BLOCK;
        while at < len {
            let part = &mut block[..(len - at).min(BLOCK) as usize];
            self.inner.read(at, part)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Acquire)
    }

    /// Carries out what was held. After an error the disk is still held, reads still see everything, and the next call
    /// goes on where this one stopped; after a failed sync, which may have dropped what was written (Linux does), from
    /// the sync before.
    pub(super) fn release(&self) -> io::Result<()> {
        if !self.is_held() {
            return Ok(());
        }
        let mut held = lock(&self.held);
        if held.done == held.synced && held.done_len < held.synced_len {
            // Cut before the sync that failed; what is to be written again lay beyond.
            self.inner.set_len(held.synced_len)?;
            held.done_len = held.synced_len;
        }
        while held.done < held.ops.len() {
            match &held.ops[held.done] {
                Op::Write(offset, data) => self.write_through(*offset, data)?,
                Op::SetLen(len) => {
                    self.inner.set_len(*len)?;
                    held.done_len = *len;
                }
                Op::Sync => {
                    if let Err(error) = self.sync_through() {
                        held.done = held.synced;
                        return Err(error);
                    }
                    held.synced = held.done + 1;
                    held.synced_len = held.done_len;
                }
            }
            held.done += 1;
        }
        *held = Held::default();
        self.is_held.store(false, Release);
        Ok(())
    }

    /// The first I/O error since the last call.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        lock(&self.failure).take()
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            lock(&self.failure).get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
        })
    }

    fn write_through(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        self.counts.bytes_written.fetch_add(data.len() as u64, Relaxed);
        Ok(())
    }

    fn sync_through(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Relaxed);
        if !self.sync_delay.is_zero() {
            #[expect(
                clippy::disallowed_methods,
                reason = "runs on the store's own thread, in place of a slow disk's sync"
            )]
            std::thread::sleep(self.sync_delay);
        }
        self.inner.sync_data()
    }

    fn read_held(&self, held: &Held, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > held.len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let mut at = offset;
        while at < end {
            let block = at / BLOCK;
            let stop = ((block + 1) * BLOCK).min(end);
            let part = &mut out[(at - offset) as usize..(stop - offset) as usize];
            if let Some(bytes) = held.blocks.get(&block) {
                let from = (at - block * BLOCK) as usize;
                part.copy_from_slice(&bytes[from..from + part.len()]);
            } else {
                let own = held.base_len.clamp(at, stop) - at;
                let (own, rest) = part.split_at_mut(own as usize);
                if !own.is_empty() {
                    self.inner.read(at, own)?;
                }
                rest.fill(0);
            }
            at = stop;
        }
        Ok(())
    }

    fn write_held(&self, held: &mut Held, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        if end > held.len {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        held.bytes += data.len();
        if held.bytes > HELD_LIMIT {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "too many writes while the disk is full"));
        }
        let mut at = offset;
        while at < end {
            let block = at / BLOCK;
            let start = block * BLOCK;
            let stop = (start + BLOCK).min(end);
            if !held.blocks.contains_key(&block) {
                let mut bytes = vec![0; BLOCK as usize];
                let known = (held.len - start).min(BLOCK) as usize;
                self.read_held(held, start, &mut bytes[..known])?;
                held.blocks.insert(block, bytes);
            }
            if let Some(bytes) = held.blocks.get_mut(&block) {
                bytes[(at - start) as usize..(stop - start) as usize]
                    .copy_from_slice(&data[(at - offset) as usize..(stop - offset) as usize]);
            }
            at = stop;
        }
        held.ops.push(Op::Write(offset, data.to_vec()));
        Ok(())
    }

    fn set_len_held(held: &mut Held, len: u64) {
        if len < held.len {
            held.base_len = held.base_len.min(len);
            held.blocks.retain(|block, bytes| {
                let start = block * BLOCK;
                if start < len && start + BLOCK > len {
                    bytes[(len - start) as usize..].fill(0);
                }
                start < len
            });
        }
        held.len = len;
        held.ops.push(Op::SetLen(len));
    }
}

/// What redb gets: the disk outlives the database, so that the lock is kept while it is opened again.
///
/// A database that was replaced may live on with a reader and write once more when it is dropped. Its handle no longer
/// lets it: there is one writer, the database that was opened last. Nor may it read, because the next database knows
/// nothing of that reader and uses the pages again.
#[derive(Debug)]
pub(super) struct DiskHandle {
    disk: Arc<Disk>,
    generation: u64,
}

impl DiskHandle {
    /// A handle for a new database. Those given out before are of no more use.
    pub(super) fn new(disk: &Arc<Disk>) -> Self {
        let generation = *disk.next_generation();
        Self { disk: Arc::clone(disk), generation }
    }

    /// Runs `operation` if the file is still this handle's, and keeps it so until that is done.
    fn with<T>(&self, operation: impl FnOnce(&Disk) -> io::Result<T>) -> io::Result<T> {
        let generation = self.disk.generation.read().unwrap_or_else(PoisonError::into_inner);
        if *generation == self.generation {
            operation(&self.disk)
        } else {
            Err(io::Error::other("the store was opened again since"))
        }
    }
}

impl StorageBackend for DiskHandle {
    fn len(&self) -> io::Result<u64> {
        self.with(|disk| {
            if disk.is_held() {
                return Ok(lock(&disk.held).len);
            }
            disk.noted(disk.inner.len())
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|disk| {
            disk.counts.bytes_read.fetch_add(out.len() as u64, Relaxed);
            if disk.is_held() {
                let held = lock(&disk.held);
                // Released while waiting for the lock: the file has it all.
                if disk.is_held() {
                    return disk.noted(disk.read_held(&held, offset, out));
                }
            }
            disk.noted(disk.inner.read(offset, out))
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|disk| {
            if disk.is_held() {
                Disk::set_len_held(&mut lock(&disk.held), len);
                return Ok(());
            }
            disk.noted(disk.inner.set_len(len))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|disk| {
            if disk.is_held() {
                lock(&disk.held).ops.push(Op::Sync);
                return Ok(());
            }
            disk.noted(disk.sync_through())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|disk| {
            if disk.is_held() {
                return disk.noted(disk.write_held(&mut lock(&disk.held), offset, data));
            }
            disk.noted(disk.write_through(offset, data))
        })
    }

    // Neither closed nor unlocked here: the file closes, and its lock goes, with the last handle.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let disk = &*self.disk;
        // The lock is the file's, not the database's: once held it stays held.
        if disk.locked.load(Relaxed) {
            return Ok(true);
        }
        disk.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let disk = &*self.disk;
        if disk.locked.load(Relaxed) {
            return Ok(());
        }
        disk.inner.unlock_range(start, end)
    }
}

impl Disk {
    /// Takes the file from the database that has it, once what that is doing with it is done.
    pub(super) fn revoke(&self) {
        drop(self.next_generation());
    }

    fn next_generation(&self) -> RwLockWriteGuard<'_, u64> {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        generation
    }

    /// Gives up the file and its lock.
    pub(super) fn close(&self) {
        self.revoke();
        if let Err(error) = self.inner.close() {
            log::warn!("store: closing the file: {error}");
        }
    }

    /// Called once a database is open on it, so that opening it again does not ask for the lock again.
    pub(super) fn keep_lock(&self) {
        self.locked.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests;
