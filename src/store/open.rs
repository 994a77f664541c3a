//! From a path or a backend to a database that is ours, of our schema, and intact.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError, WriteTransaction};

use super::disk::{Disk, DiskHandle};
use super::error::is_full;
use super::schema::{self, Found};
use super::tables::SCHEMA_VERSION;
use super::{OpenError, StoreError, StoreOptions};

/// Opens the file, creating it if need be. True if it is new.
pub(super) fn file(path: &Path) -> Result<(FileBackend, bool), OpenError> {
    let failed = |source: io::Error| {
        if is_full(&source) {
            OpenError::Full { path: path.to_path_buf() }
        } else {
            OpenError::Io { path: path.to_path_buf(), source }
        }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let is_new = file.metadata().map_err(failed)?.len() == 0;
    let backend = FileBackend::new(file).map_err(|error| of_database(path, error))?;
    Ok((backend, is_new))
}

/// The lock that an open store has, without the store.
pub struct FileLock(#[allow(dead_code, reason = "held, not used")] FileBackend);

impl FileLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`OpenError::InUse`], [`OpenError::Io`].
    pub fn take(path: &Path) -> Result<FileLock, OpenError> {
        let (backend, _) = file(path)?;
        match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(true) => Ok(FileLock(backend)),
            Ok(false) => Err(OpenError::InUse { path: path.to_path_buf() }),
            Err(BackendError::Io(source)) => Err(OpenError::Io { path: path.to_path_buf(), source }),
            Err(error) => Err(OpenError::Io { path: path.to_path_buf(), source: io::Error::other(error) }),
        }
    }
}

/// A new file's name is durable only once its folder is.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Opens the database on a held disk and finds out what it is; nothing has reached the file when this returns.
pub(super) fn held(
    disk: &Arc<Disk>,
    path: &Path,
    options: &StoreOptions,
) -> Result<(Database, Found), OpenError> {
    disk.take_failure();
    disk.hold().map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
    // redb asserts where a damaged file makes no sense to it.
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, OpenError> {
        let walked = Arc::clone(disk);
        let mut db = Builder::new()
            .set_cache_size(options.cache_bytes)
            .set_repair_callback(move |_| walked.repaired.store(true, Relaxed))
            .create_with_backend(DiskHandle::new(disk))
            .map_err(|error| of_database(path, error))?;
        let found = schema::find(&db).map_err(|error| of_store(path, error))?;
        match found {
            Found::NotOurs => return Err(OpenError::NotOurs { path: path.to_path_buf() }),
            Found::Version(found) if found > SCHEMA_VERSION => {
                return Err(OpenError::NewerSchema {
                    path: path.to_path_buf(),
                    found,
                    supported: SCHEMA_VERSION,
                });
            }
            Found::Version(found) if found < schema::OLDEST => {
                return Err(OpenError::OlderSchema {
                    path: path.to_path_buf(),
                    found,
                    oldest: schema::OLDEST,
                });
            }
            Found::Version(found) if found < SCHEMA_VERSION && !options.migrate => {
                return Err(OpenError::EarlierSchema { path: path.to_path_buf(), found });
            }
            _ => {}
        }
        if options.verify {
            let sound = db.check_integrity().map_err(|error| of_database(path, error))?;
            if !sound {
                return Err(OpenError::Corrupt {
                    path: path.to_path_buf(),
                    detail: "its pages do not match their checksums".to_owned(),
                });
            }
        }
        Ok((db, found))
    }));
    let opened = match opened {
        Ok(opened) => opened,
        Err(panic) => {
            Err(OpenError::Corrupt { path: path.to_path_buf(), detail: panic_text(panic.as_ref()) })
        }
    };
    if opened.is_ok() {
        disk.keep_lock();
    }
    opened
}

/// Migrates and creates missing tables. The disk must have been released.
pub(super) fn prepare(
    db: &Database,
    found: &Found,
    path: &Path,
    options: &StoreOptions,
) -> Result<(), OpenError> {
    let prepared = || -> Result<(), StoreError> {
        if !schema::needs_preparing(db, found, &options.tables)? {
            return Ok(());
        }
        let txn = begin(db)?;
        schema::prepare(&txn, found, &options.tables, schema::MIGRATIONS, SCHEMA_VERSION)?;
        txn.commit()?;
        Ok(())
    };
    prepared().map_err(|error| of_store(path, error))
}

/// Every write transaction of the store begins here: docs/decisions/0003-store-durability.md says why two-phase
/// commits with the allocator state in each.
pub(super) fn begin(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut txn = db.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    Ok(txn)
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

pub(super) fn of_store(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_path_buf();
    match error {
        StoreError::Full { .. } => OpenError::Full { path },
        StoreError::Io { source, .. } => of_io(path, io::Error::new(source.kind(), source.to_string())),
        StoreError::Corrupt { detail, .. } => OpenError::Corrupt { path, detail },
        other => OpenError::Corrupt { path, detail: other.to_string() },
    }
}

fn of_io(path: std::path::PathBuf, source: io::Error) -> OpenError {
    match source.kind() {
        _ if is_full(&source) => OpenError::Full { path },
        // redb looked for bytes the file does not have, or for a number that is not there.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            OpenError::Corrupt { path, detail: source.to_string() }
        }
        _ => OpenError::Io { path, source },
    }
}

fn of_database(path: &Path, error: DatabaseError) -> OpenError {
    let file = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: file },
        DatabaseError::Storage(StorageError::Io(source)) => of_io(file, source),
        DatabaseError::Storage(StorageError::Corrupted(detail)) => OpenError::Corrupt { path: file, detail },
        DatabaseError::UpgradeRequired(version) => OpenError::Corrupt {
            path: file,
            detail: format!("redb file format {version}, which no Kurir has written"),
        },
        other => OpenError::Corrupt { path: file, detail: other.to_string() },
    }
}
