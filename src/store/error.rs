//! What can go wrong with the store, and what the operator can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store could not be opened. In every case the file keeps the bytes it had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the file's lock.
    #[error(
        "{path} is in use by another process: stop the other Kurir, or give this one its own KURIR_DATA_DIR",
        path = path.display()
    )]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a later Kurir.
    #[error(
        "{path} has schema version {found}, and this Kurir knows versions up to {supported}: install the \
         newer Kurir again, or restore a backup made before the upgrade",
        path = path.display()
    )]
    NewerSchema {
        /// The store's file.
        path: PathBuf,
        /// The version the file carries.
        found: u32,
        /// The highest version this build knows.
        supported: u32,
    },
    /// The file would have to be brought up to date, which the options forbid.
    #[error("{path} has the schema of an earlier Kurir, version {found}", path = path.display())]
    EarlierSchema {
        /// The store's file.
        path: PathBuf,
        /// The version the file carries.
        found: u32,
    },
    /// The file was written by a Kurir too old for this one to take over from.
    #[error(
        "{path} has schema version {found}, and this Kurir brings files up to date from version {oldest}: start an \
         older release once, which does the steps between",
        path = path.display()
    )]
    OlderSchema {
        /// The store's file.
        path: PathBuf,
        /// The version the file carries.
        found: u32,
        /// The lowest version this build can bring up to date.
        oldest: u32,
    },
    /// No room left for the file.
    #[error("no room on the disk of {path}: free some space and start again; nothing was lost", path = path.display())]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "{path} is damaged ({detail}): restore a backup, or move the file away to start empty, which means \
         pairing every session again. The file was left as it is",
        path = path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found to be wrong.
        detail: String,
    },
    /// A sound redb file, but of some other program.
    #[error("{path} is a redb database of another program: point KURIR_DATA_DIR elsewhere", path = path.display())]
    NotOurs {
        /// The store's file.
        path: PathBuf,
    },
    /// The disk or the file system refused.
    #[error("cannot open {path}: {source}: check that the folder exists and may be written", path = path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why a read or a write did not happen.
///
/// [`Full`](Self::Full) and [`Io`](Self::Io) from a write leave its outcome open, as for any commit whose last step
/// failed: all of it may be there, or nothing, never half.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room on the disk. Reads go on; writes succeed again by themselves once there is room.
    #[error("no room on the disk of {path}: free some space; reading goes on meanwhile", path = path.display())]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// The disk or the file system failed.
    #[error("the disk failed under {path}: {source}: check the SD card", path = path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The file is damaged.
    #[error("{path} is damaged: {detail}: stop Kurir and restore a backup", path = path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found to be wrong.
        detail: String,
    },
    /// A table was opened twice in one transaction, or with other types than it was made with.
    #[error("table misuse: {detail}")]
    Table {
        /// redb's description, which names the table.
        detail: String,
    },
    /// A stored row does not decode.
    #[error("a row of table {table} does not decode: {detail}")]
    Row {
        /// The table's name.
        table: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// A write was refused by its own checks; nothing of it was kept.
    #[error("{reason}")]
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The closure panicked. Nothing of it was kept.
    #[error("a store operation panicked: {detail}")]
    Panicked {
        /// The panic's message.
        detail: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Names the file in errors that come up from redb, which does not know it.
    pub(super) fn at(mut self, file: &Path) -> Self {
        match &mut self {
            Self::Full { path } | Self::Io { path, .. } | Self::Corrupt { path, .. }
                if path.as_os_str().is_empty() =>
            {
                *path = file.to_path_buf();
            }
            _ => {}
        }
        self
    }

    pub(super) fn from_io(error: io::Error) -> Self {
        if is_full(&error) {
            Self::Full { path: PathBuf::new() }
        } else {
            Self::Io { path: PathBuf::new(), source: Arc::new(error) }
        }
    }
}

/// Whether the error says that there is no room: the disk, the user's quota, or the file system's limit.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(source) => Self::from_io(source),
            redb::StorageError::Corrupted(detail) => Self::Corrupt { path: PathBuf::new(), detail },
            redb::StorageError::ValueTooLarge(bytes) => {
                Self::Refused { reason: format!("a value of {bytes} bytes is more than the store takes") }
            }
            redb::StorageError::DatabaseClosed => Self::Closed,
            // PreviousIo: the cause was reported to whoever met it first; the writer puts it back in.
            other => Self::from_io(io::Error::other(other.to_string())),
        }
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(storage) => storage.into(),
            other => Self::Table { detail: other.to_string() },
        }
    }
}

impl From<redb::TransactionError> for StoreError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(storage) => storage.into(),
            other => Self::Table { detail: other.to_string() },
        }
    }
}

impl From<redb::CommitError> for StoreError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(storage) => storage.into(),
            other => Self::Panicked { detail: other.to_string() },
        }
    }
}
