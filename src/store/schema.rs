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

/// The lowest version that [`MIGRATIONS`] lead up from.
pub(super) const OLDEST: u32 = SCHEMA_VERSION - MIGRATIONS.len() as u32;

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

#[cfg(test)]
mod tests {
    use redb::{ReadableTableMetadata, TableDefinition};

    use super::*;

    /// A file as a version 0 might have left it: numbers as text, in a table that version 1 calls something else.
    const OLD: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("version0");
    const NEW: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("version1");

    const STEP: Migration = Migration {
        from: 0,
        step: |txn| {
            {
                let old = txn.open_table(OLD)?;
                let mut new = txn.open_table(NEW)?;
                for row in old.iter()? {
                    let (key, value) = row?;
                    let number: u32 = std::str::from_utf8(value.value())
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .ok_or_else(|| StoreError::Row {
                            table: "version0",
                            detail: "no number".to_owned(),
                        })?;
                    new.insert(key.value(), number.to_le_bytes().as_slice())?;
                }
            }
            txn.delete_table(OLD)?;
            Ok(())
        },
    };

    fn version_0(rows: &[(&str, &str)]) -> Database {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(META).unwrap().insert(SCHEMA, 0u32.to_le_bytes().as_slice()).unwrap();
        for (key, value) in rows {
            txn.open_table(OLD).unwrap().insert(key, value.as_bytes()).unwrap();
        }
        txn.commit().unwrap();
        db
    }

    fn migrate(db: &Database, migrations: &[Migration], target: u32) -> Result<(), StoreError> {
        let found = find(db)?;
        assert!(needs_preparing(db, &found, &[])?);
        let txn = db.begin_write()?;
        prepare(&txn, &found, &[], migrations, target)?;
        txn.commit()?;
        Ok(())
    }

    #[test]
    fn an_older_file_is_brought_up_to_date() {
        let db = version_0(&[("a", "1"), ("b", "700")]);
        assert_eq!(find(&db).unwrap(), Found::Version(0));
        migrate(&db, &[STEP], 1).unwrap();
        assert_eq!(find(&db).unwrap(), Found::Version(1));
        assert!(!needs_preparing(&db, &Found::Version(1), &[]).unwrap());
        let txn = db.begin_read().unwrap();
        let new = txn.open_table(NEW).unwrap();
        assert_eq!(new.get("b").unwrap().unwrap().value(), 700u32.to_le_bytes());
        assert_eq!(new.len().unwrap(), 2);
        assert!(matches!(txn.open_table(OLD), Err(redb::TableError::TableDoesNotExist(_))));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let db = version_0(&[("a", "1"), ("b", "not a number")]);
        assert!(matches!(migrate(&db, &[STEP], 1), Err(StoreError::Row { table: "version0", .. })));
        assert_eq!(find(&db).unwrap(), Found::Version(0));
        let txn = db.begin_read().unwrap();
        assert_eq!(txn.open_table(OLD).unwrap().len().unwrap(), 2);
        assert!(matches!(txn.open_table(NEW), Err(redb::TableError::TableDoesNotExist(_))));
    }

    #[test]
    fn a_gap_between_versions_is_refused() {
        let db = version_0(&[]);
        let refused = migrate(&db, &[Migration { from: 1, ..STEP }], 2);
        assert!(
            matches!(&refused, Err(StoreError::Refused { reason }) if reason.contains("version 0")),
            "{refused:?}"
        );
    }

    #[test]
    fn the_migrations_lead_from_some_version_to_ours() {
        for (migration, version) in MIGRATIONS.iter().zip(OLDEST..) {
            assert_eq!(migration.from, version);
        }
    }
}
