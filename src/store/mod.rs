//! The store: one redb file for everything that has to survive a power cut.
//!
//! All writes go through one thread, which commits whatever has gathered while it was busy with the commit before
//! (group commit): one sync serves many callers, each is answered after its own commit. Reads run where they are
//! called, on the last committed state, and never wait for a writer.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{ReadTransaction, StorageBackend, WriteTransaction};
use tokio::sync::{oneshot, watch};

pub mod account;
mod disk;
pub mod erase;
mod error;
pub mod json;
mod open;
mod queue;
mod schema;
pub mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use account::{AccountId, AccountStore};
pub use error::{OpenError, StoreError};
pub use open::FileLock;
pub use tables::Table;

use disk::Disk;
use queue::{Awaited, Queue, Soon};
use writer::{Counts, Shared};

/// Goes on to the end of what begins with a write although its caller may go away, as a connection does that closes: the write
/// is done all the same, and what follows it in memory must not be left out.
///
/// # Errors
/// Those of `work`; [`StoreError::Closed`] while the runtime ends.
pub async fn to_the_end<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => Err(StoreError::Closed.into()),
    }
}

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for redb's page cache, in bytes. redb's own default of 1 GiB is more than the board has; 4 MiB holds the
    /// upper levels of every tree and the pages in use.
    pub cache_bytes: usize,
    /// Added to every sync: benchmarks make this machine's disk as slow as an SD card with it. Zero.
    pub sync_delay: Duration,
    /// Longest that a [`Store::write_soon`] waits for company before it is committed by itself.
    pub soon_delay: Duration,
    /// Most writes that may wait; further callers wait for a place.
    pub queue_capacity: usize,
    /// Check every page's checksum while opening. It reads the whole file.
    pub verify: bool,
    /// Bring a file of an earlier schema up to date; otherwise it is refused, untouched. An earlier Kurir cannot read it
    /// afterwards.
    pub migrate: bool,
    /// Tables of other modules, created if they are missing.
    pub tables: Vec<Table>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 20,
            sync_delay: Duration::ZERO,
            soon_delay: Duration::from_millis(250),
            queue_capacity: 1024,
            verify: false,
            migrate: true,
            tables: Vec::new(),
        }
    }
}

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Commits by the writer.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Syncs of the file, those of opening included.
    pub syncs: u64,
    /// Bytes given to the file.
    pub bytes_written: u64,
    /// Bytes asked of the file: what the page cache did not have.
    pub bytes_read: u64,
    /// Writes waiting now.
    pub queued: usize,
    /// Most writes in one commit.
    pub largest_group: u64,
    /// How long the last commit took, its writes included.
    pub last_commit: Duration,
    /// Nothing can be written at the moment: the disk is full or failing.
    pub read_only: bool,
    /// The file had to be read whole to open it. Commits are made so that this is never needed, after a crash neither.
    pub repaired: bool,
    /// How long opening took, from the file to a store that takes writes.
    pub opening: Duration,
}

/// The open store. Clones share it; it closes with the last one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    accounts: Arc<account::Opened>,
}

/// Ends the writer's thread with the last clone of the store.
struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    fn finish(&self) {
        self.shared.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A job that holds the last clone is dropped by the thread itself, which cannot wait for its own end.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            log::error!("store: the writer ended in a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the file at `path`, creating it if there is none.
    ///
    /// # Errors
    /// [`OpenError`]; the file has the bytes it had.
    pub fn open(path: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        let (backend, is_new) = open::file(path)?;
        let store = Self::open_disk(Box::new(backend), path, options)?;
        if is_new {
            open::sync_folder(path).map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        }
        Ok(store)
    }

    /// Opens the store on something that is not a file: tests of crashes and of full disks.
    ///
    /// # Errors
    /// [`OpenError`]; the backend has the bytes it had.
    pub fn open_with(backend: impl StorageBackend, options: &StoreOptions) -> Result<Self, OpenError> {
        Self::open_disk(Box::new(backend), Path::new("(backend)"), options)
    }

    fn open_disk(
        backend: Box<dyn StorageBackend>,
        path: &Path,
        options: &StoreOptions,
    ) -> Result<Self, OpenError> {
        let began = Instant::now();
        let disk = Arc::new(Disk::new(backend, options.sync_delay));
        let (db, found) = open::held(&disk, path, options)?;
        disk.release().map_err(|error| open::of_store(path, StoreError::from_io(error)))?;
        open::prepare(&db, &found, path, options)?;
        let shared = Arc::new(Shared {
            path: path.to_path_buf(),
            options: options.clone(),
            disk,
            db: RwLock::new(Some(Arc::new(db))),
            writing: Mutex::new(()),
            queue: Queue::new(options.queue_capacity.max(2)),
            closed: std::sync::atomic::AtomicBool::new(false),
            counts: Counts::default(),
            opening: began.elapsed(),
            committed: watch::Sender::new(0),
        });
        let running = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("kurir-store".to_owned())
            .spawn(move || running.run())
            .map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
        let writer = Writer { shared: Arc::clone(&shared), thread: Mutex::new(Some(thread)) };
        Ok(Self { shared, writer: Arc::new(writer), accounts: Arc::default() })
    }

    /// Runs `f` in a write transaction and returns once it is on disk: after `Ok` no crash undoes it.
    ///
    /// Writes are done in the order in which they were called. Many share one transaction and one sync. When `f`
    /// returns an error or panics, nothing of it is kept and the transaction is run again without it; so `f` may be
    /// called several times and must do the same each time: no effect but on the transaction, and no values moved out
    /// of it. A condition that is part of the business (a duplicate, a missing row) is better a value inside `T`, with
    /// nothing changed, than an error, which costs the others of the group another run.
    ///
    /// Dropping the future does not undo the write once it is queued.
    ///
    /// # Errors
    /// What `f` returned; [`StoreError::Full`] or [`StoreError::Io`] if the commit failed; [`StoreError::Panicked`]
    /// if `f` did; [`StoreError::Closed`].
    pub async fn write<T, F>(&self, mut f: F) -> Result<T, StoreError>
    where
        F: FnMut(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.write_if(move |txn| Ok((f(txn)?, true))).await
    }

    /// Like [`Self::write`], for writes that often find nothing to do: `f` also returns whether it changed anything,
    /// and if none of its group did there is no commit and no sync.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_if<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        F: FnMut(&WriteTransaction) -> Result<(T, bool), StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.queued(f, false).await
    }

    /// Like [`Self::write_if`], but it causes no commit: it is part of the next one, at the latest of one after
    /// [`StoreOptions::soon_delay`], and returns after that. For writes that have to be known to be on disk, by a
    /// caller who is in no hurry.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_patiently<T, F>(&self, f: F) -> Result<T, StoreError>
    where
        F: FnMut(&WriteTransaction) -> Result<(T, bool), StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.queued(f, true).await
    }

    async fn queued<T, F>(&self, run: F, is_patient: bool) -> Result<T, StoreError>
    where
        F: FnMut(&WriteTransaction) -> Result<(T, bool), StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Box::new(Awaited { run, value: None, is_patient, answer })).await?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Like [`Self::write`], but returns once `f` is queued. It is part of the next commit, at the latest one after
    /// [`StoreOptions::soon_delay`]; a crash before that loses it. Later writes find it done, reads may not yet.
    ///
    /// # Errors
    /// [`StoreError::Closed`]. What happens to `f` itself is only logged.
    pub async fn write_soon<F>(&self, f: F) -> Result<(), StoreError>
    where
        F: FnMut(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    {
        self.shared.queue.push(Box::new(Soon(f))).await
    }

    /// Returns once the writer has got to it: after everything queued before, without a commit or a sync of its own.
    ///
    /// # Errors
    /// As [`Self::write`]; any but [`StoreError::Closed`] is an answer too.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.write_if(|_| Ok(((), false))).await
    }

    /// Runs `f` on the last committed state, on the calling thread. It may wait for the disk, for the time of a page
    /// or a few. `f` is called a second time if the database had to be opened again in between.
    ///
    /// # Errors
    /// What `f` returned; [`StoreError::Io`], [`StoreError::Corrupt`], [`StoreError::Panicked`],
    /// [`StoreError::Closed`].
    pub fn read<T>(&self, f: impl FnMut(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.shared.read(f)
    }

    /// Creates tables that are not there yet. Modules that know theirs at start-up use [`StoreOptions::tables`].
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn ensure(&self, tables: &[Table]) -> Result<(), StoreError> {
        let tables = tables.to_vec();
        self.write(move |txn| tables.iter().try_for_each(|table| Ok(table.create(txn)?))).await
    }

    /// Changes after each commit, so that a reader can await what somebody else is about to write.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// What the store has done since it was opened.
    pub fn stats(&self) -> StoreStats {
        let shared = &*self.shared;
        StoreStats {
            commits: shared.counts.commits.load(Relaxed),
            writes: shared.counts.jobs.load(Relaxed),
            syncs: shared.disk.counts.syncs.load(Relaxed),
            bytes_written: shared.disk.counts.bytes_written.load(Relaxed),
            bytes_read: shared.disk.counts.bytes_read.load(Relaxed),
            queued: shared.queue.len(),
            largest_group: shared.counts.largest_group.load(Relaxed),
            last_commit: shared.last_commit(),
            read_only: shared.disk.is_held(),
            repaired: shared.disk.repaired.load(Relaxed),
            opening: shared.opening,
        }
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Commits what is queued and closes the file, also for the other clones: they get [`StoreError::Closed`]. Blocks
    /// for as long as that takes. Dropping the last clone does the same.
    pub fn close(self) {
        self.writer.finish();
    }
}
