//! Which schema a file has, and the way from an older one to ours.

use std::collections::HashSet;

use redb::{Database, ReadableDatabase, ReadableTable, TableHandle, WriteTransaction};

use super::StoreError;
use super::tables::{ACCOUNT_TABLES, META, SCHEMA_VERSION, Table};

/// The row of [`META`] with the schema version.
pub(super) const SCHEMA: &str = "schema";

/// One step to the version after `from`, inside one transaction.
pub(super) struct Migration {
    pub(super) from: u32,
    pub(super) step: fn(&WriteTransaction) -> Result<(), StoreError>,
}

/// In order. A step is never edited once released; it may use no table definition from `tables`, which moves on.
pub(super) const MIGRATIONS: &[Migration] = &[];

/// What an opened file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No table in it yet.
    Empty,
    /// Ours, with this schema version.
    Version(u32),
    /// Some other program's tables.
    NotOurs,
}

/// Looks at the file without writing to it.
pub(super) fn find(db: &Database) -> Result<Found, StoreError> {
    let txn = db.begin_read()?;
    let mut any = false;
    let mut meta = false;
    for table in txn.list_tables()? {
        any = true;
        meta |= table.name() == META.name();
    }
    if !any {
        return Ok(Found::Empty);
    }
    if !meta {
        return Ok(Found::NotOurs);
    }
    let table = match txn.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::Storage(storage)) => return Err(storage.into()),
        Err(_) => return Ok(Found::NotOurs),
    };
    let Some(row) = table.get(SCHEMA)? else { return Ok(Found::NotOurs) };
    match row.value().try_into() {
        Ok(bytes) => Ok(Found::Version(u32::from_le_bytes(bytes))),
        Err(_) => Ok(Found::NotOurs),
    }
}

/// Whether [`prepare`] has anything to do.
pub(super) fn needs_preparing(db: &Database, found: &Found, extra: &[Table]) -> Result<bool, StoreError> {
    if *found != Found::Version(SCHEMA_VERSION) {
        return Ok(true);
    }
    let txn = db.begin_read()?;
    let there: HashSet<String> = txn.list_tables()?.map(|table| table.name().to_owned()).collect();
    let ours = ACCOUNT_TABLES.iter().map(TableHandle::name);
    Ok(!ours.chain(extra.iter().map(Table::name)).all(|name| there.contains(name)))
}

/// Brings the file to our version and creates the tables that are missing, all inside `txn`.
pub(super) fn prepare(
    txn: &WriteTransaction,
    found: &Found,
    extra: &[Table],
    migrations: &[Migration],
    target: u32,
) -> Result<(), StoreError> {
    if let Found::Version(found) = found {
        let mut version = *found;
        while version < target {
            let Some(migration) = migrations.iter().find(|migration| migration.from == version) else {
                return Err(StoreError::Refused {
                    reason: format!(
                        "schema version {version} is older than any this Kurir can bring up to date"
                    ),
                });
            };
            (migration.step)(txn)?;
            version += 1;
            log::info!("store: migrated to schema version {version}");
        }
    }
    {
        let mut meta = txn.open_table(META)?;
        let have = meta.get(SCHEMA)?.map(|row| row.value().to_vec());
        if have.as_deref() != Some(&target.to_le_bytes()) {
            meta.insert(SCHEMA, target.to_le_bytes().as_slice())?;
        }
    }
    for table in ACCOUNT_TABLES {
        txn.open_table(*table)?;
    }
    for table in extra {
        table.create(txn)?;
    }
    Ok(())
}
