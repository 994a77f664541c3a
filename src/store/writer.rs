//! The one thread that commits, and what it shares with those who read.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::watch;

use super::disk::Disk;
use super::open;
use super::queue::{Company, Job, Queue};
use super::{OpenError, StoreError, StoreOptions};

/// Most jobs in one commit.
const GROUP_LIMIT: usize = 512;

/// Part of a commit's time that may then be spent on waiting for company, within limits.
const GATHER_SHARE: u32 = 8;
const GATHER_LEAST: Duration = Duration::from_micros(500);
const GATHER_MOST: Duration = Duration::from_millis(5);

/// How long closing waits for readers, who need a page or a few.
const READERS_END: Duration = Duration::from_millis(250);

/// So many failed jobs are taken out of a group one by one; then it is halved, which bounds how often a job is run.
const RERUN_LIMIT: usize = 4;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) commits: AtomicU64,
    pub(super) jobs: AtomicU64,
    pub(super) largest_group: AtomicU64,
    pub(super) last_commit_micros: AtomicU64,
}

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) disk: Arc<Disk>,
    /// None while it could not be opened again after an I/O error, and once closed.
    pub(super) db: RwLock<Option<Arc<Database>>>,
    /// Held around a transaction and around opening again, so that no commit is under way on a database that is
    /// being replaced.
    pub(super) writing: Mutex<()>,
    pub(super) queue: Queue,
    pub(super) closed: AtomicBool,
    pub(super) counts: Counts,
    /// How long opening took.
    pub(super) opening: Duration,
    /// Counts up after each commit, for those who wait for a change to become readable, and after opening again, when a
    /// commit that failed may turn out to be there.
    pub(super) committed: watch::Sender<u64>,
}

enum Outcome {
    /// On disk; true if a commit was needed for it.
    Done(bool),
    /// The job with this index failed; nothing was written.
    Failed(usize, StoreError),
    /// The same, and the database is of no more use.
    FailedBadly(usize, StoreError),
    /// Nothing was written, and it is not known which job is to blame.
    Spoilt(StoreError),
    /// The database takes no transaction, and none was begun.
    NotBegun(StoreError),
    /// The disk failed: nothing, or everything, was written.
    Broken(StoreError),
}

/// Lets nobody wait for a writer that ended in a panic.
struct Abandons<'a>(&'a Queue);

impl Drop for Abandons<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Shared {
    /// Until the queue is closed and empty.
    pub(super) fn run(&self) {
        let _abandons = Abandons(&self.queue);
        let mut company = Company { callers: 0, until: Instant::now() };
        while let Some(group) = self.queue.take(GROUP_LIMIT, self.options.soon_delay, company) {
            let answered = group.iter().filter(|job| job.is_awaited()).count();
            let began = Instant::now();
            company.callers = self.do_group(group) + answered;
            company.until =
                Instant::now() + (began.elapsed() / GATHER_SHARE).clamp(GATHER_LEAST, GATHER_MOST);
        }
        self.closed.store(true, Relaxed);
        let _writing = self.writing();
        let mut db = self.replace_db(None);
        let until = Instant::now() + READERS_END;
        while let Some(shared) = db.take() {
            match Arc::try_unwrap(shared) {
                // redb's last commit happens here.
                Ok(alone) => let_go(alone),
                // From here on that reader gets errors, and without the last commit opening takes a moment longer.
                Err(_) if Instant::now() >= until => {
                    log::warn!("store: closed while it was still being read");
                }
                Err(shared) => {
                    db = Some(shared);
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "runs on the store's own thread, which ends here"
                    )]
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        self.disk.close();
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Arc<Database>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_db(&self, db: Option<Arc<Database>>) -> Option<Arc<Database>> {
        std::mem::replace(&mut *self.db.write().unwrap_or_else(PoisonError::into_inner), db)
    }

    /// Returns how many were waiting in the queue before the group's callers were answered.
    fn do_group(&self, group: Vec<Box<dyn Job>>) -> usize {
        let mut queued = 0;
        self.counts.jobs.fetch_add(group.len() as u64, Relaxed);
        let mut waiting = vec![group];
        while let Some(mut group) = waiting.pop() {
            let mut reruns = 0;
            while !group.is_empty() {
                let outcome = self.try_group(&mut group);
                queued = self.queue.awaited();
                match outcome {
                    Outcome::Done(_) => {
                        self.counts.largest_group.fetch_max(group.len() as u64, Relaxed);
                        finish(&mut group, &Ok(()));
                    }
                    Outcome::NotBegun(error) | Outcome::Broken(error) => {
                        log::error!("store: {error}");
                        finish(&mut group, &Err(error));
                    }
                    Outcome::Spoilt(error) if group.len() == 1 => finish(&mut group, &Err(error)),
                    Outcome::Spoilt(_) => {
                        waiting.push(group.split_off(group.len() / 2));
                    }
                    Outcome::Failed(index, error) | Outcome::FailedBadly(index, error) => {
                        group.remove(index).finish(Err(error));
                        reruns += 1;
                        if reruns >= RERUN_LIMIT && group.len() > 1 {
                            waiting.push(group.split_off(group.len() / 2));
                            reruns = 0;
                        }
                    }
                }
            }
        }
        queued
    }

    fn try_group(&self, group: &mut [Box<dyn Job>]) -> Outcome {
        let _writing = self.writing();
        match self.try_once(group) {
            // A reader's page could not be read, which ends the database for everybody. It was opened again since.
            Outcome::NotBegun(_) => self.try_once(group),
            outcome => outcome,
        }
    }

    /// The caller holds `writing`.
    fn try_once(&self, group: &mut [Box<dyn Job>]) -> Outcome {
        let db = match self.writable() {
            Ok(db) => db,
            Err(error) => return Outcome::Broken(error),
        };
        let started = Instant::now();
        self.disk.take_failure();
        // redb panics on pages that make no sense to it.
        let outcome = catch_unwind(AssertUnwindSafe(|| Self::transact(&db, group)))
            .unwrap_or_else(|panic| Outcome::Broken(panicked(panic.as_ref())));
        if let Outcome::Done(true) = outcome {
            self.counts.commits.fetch_add(1, Relaxed);
            self.committed.send_modify(|count| *count += 1);
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counts.last_commit_micros.store(micros, Relaxed);
        }
        // What redb says after a first failure is only that there was one.
        let failure = self.disk.take_failure().map(StoreError::from_io);
        let outcome = match (outcome, failure) {
            // Somebody else's failure: a commit that ended well is on the disk.
            (done @ Outcome::Done(true), _) => return done,
            (_, Some(error)) => Outcome::Broken(error.at(&self.path)),
            (Outcome::Broken(error), None) => Outcome::Broken(error.at(&self.path)),
            (Outcome::NotBegun(error), None) => Outcome::NotBegun(error.at(&self.path)),
            (Outcome::Failed(index, error), None) => Outcome::Failed(index, error.at(&self.path)),
            (Outcome::FailedBadly(index, error), None) => Outcome::FailedBadly(index, error.at(&self.path)),
            (outcome, None) => outcome,
        };
        if matches!(outcome, Outcome::Broken(_) | Outcome::NotBegun(_) | Outcome::FailedBadly(..))
            && let Err(error) = self.reopen(db)
        {
            log::error!("store: {error}");
        }
        outcome
    }

    fn transact(db: &Database, group: &mut [Box<dyn Job>]) -> Outcome {
        let txn = match open::begin(db) {
            Ok(txn) => txn,
            Err(error) => return Outcome::NotBegun(error),
        };
        let mut changed = false;
        for (index, job) in group.iter_mut().enumerate() {
            // A job is run again from its start or not at all, so what a panic leaves in it is not looked at.
            let error = match catch_unwind(AssertUnwindSafe(|| job.run(&txn))) {
                Ok(Ok(job_changed)) => {
                    changed |= job_changed;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(panic) => panicked(panic.as_ref()),
            };
            // redb's own panic in a job leaves locks that the next call panics on.
            return match catch_unwind(AssertUnwindSafe(|| txn.abort())) {
                Ok(Ok(())) => Outcome::Failed(index, error),
                Ok(Err(abort)) => Outcome::Broken(abort.into()),
                Err(_) => Outcome::FailedBadly(index, error),
            };
        }
        if !changed {
            // What they saw is on disk already.
            return match txn.abort() {
                Ok(()) => Outcome::Done(false),
                Err(abort) => Outcome::Broken(abort.into()),
            };
        }
        match txn.commit() {
            Ok(()) => Outcome::Done(true),
            Err(redb::CommitError::Storage(storage)) => Outcome::Broken(storage.into()),
            Err(other) => Outcome::Spoilt(other.into()),
        }
    }

    /// The database, after the file got what was held back from it.
    fn writable(&self) -> Result<Arc<Database>, StoreError> {
        let db = match self.current() {
            Some(db) => db,
            None => {
                self.open_again()?;
                self.current().ok_or(StoreError::Closed)?
            }
        };
        if self.disk.is_held() {
            self.disk.release().map_err(|error| StoreError::from_io(error).at(&self.path))?;
            log::info!("store: {} can be written again", self.path.display());
        }
        Ok(db)
    }

    /// Replaces a database that failed. The caller holds `writing`.
    fn reopen(&self, failed: Arc<Database>) -> Result<(), StoreError> {
        // Readers that still hold it get errors from it and come again.
        self.disk.revoke();
        let_go(self.replace_db(None));
        let_go(failed);
        self.open_again()?;
        self.committed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn open_again(&self) -> Result<(), StoreError> {
        if self.closed.load(Relaxed) {
            return Err(StoreError::Closed);
        }
        let (db, _) =
            open::held(&self.disk, &self.path, &StoreOptions { verify: false, ..self.options.clone() })
                .map_err(|error| match error {
                    OpenError::Full { path } => StoreError::Full { path },
                    OpenError::Io { path, source } => StoreError::Io { path, source: Arc::new(source) },
                    other => StoreError::Corrupt { path: self.path.clone(), detail: other.to_string() },
                })?;
        self.replace_db(Some(Arc::new(db)));
        Ok(())
    }

    pub(super) fn read<T>(
        &self,
        mut f: impl FnMut(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut failed = None;
        if let Some(db) = self.current() {
            match read_on(&db, &mut f) {
                Err(StoreError::Io { .. } | StoreError::Full { .. } | StoreError::Closed) => {
                    failed = Some(db);
                }
                done => return done.map_err(|error| error.at(&self.path)),
            }
        }
        // An I/O error makes a redb database refuse everything from then on. Whoever sees it first opens it again; with
        // the lock held nobody replaces it during the second try.
        let _writing = self.writing();
        let db = match (self.current(), failed) {
            (Some(current), Some(failed)) if Arc::ptr_eq(&current, &failed) => {
                drop(current);
                self.reopen(failed)?;
                self.current()
            }
            (Some(current), _) => Some(current),
            (None, _) => {
                self.open_again()?;
                self.current()
            }
        };
        let db = db.ok_or(StoreError::Closed)?;
        read_on(&db, &mut f).map_err(|error| error.at(&self.path))
    }

    pub(super) fn last_commit(&self) -> Duration {
        Duration::from_micros(self.counts.last_commit_micros.load(Relaxed))
    }
}

fn read_on<T>(
    db: &Database,
    f: &mut impl FnMut(&ReadTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let txn = db.begin_read()?;
        f(&txn)
    }));
    result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    StoreError::Panicked { detail: open::panic_text(panic) }
}

/// Drops a database, of which redb panics where a panic before has left something locked.
fn let_go<T>(db: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

fn finish(group: &mut Vec<Box<dyn Job>>, result: &Result<(), StoreError>) {
    for job in group.drain(..) {
        job.finish(result.clone());
    }
}
