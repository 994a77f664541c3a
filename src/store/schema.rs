//! Which schema a file has, and the way from an older one to ours.

use std::collections::HashSet;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

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
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { from: 1, step: pack_the_journal_index },
    // Version 3: the request log's new rows hold many requests, and what changes of a message is in a row of its own. The
    // rows of before are still read, but whoever knows only them must not open the file.
    Migration { from: 2, step: |_| Ok(()) },
];

/// Version 2: the journal's index by event id, one row for each event, becomes rows of 480 beginnings of ids.
fn pack_the_journal_index(txn: &WriteTransaction) -> Result<(), StoreError> {
    const JOURNAL: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal");
    const OLD: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("journal_id");
    const NEW: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal_index");
    const BLOCK: u64 = 480;
    const PREFIX: usize = 8;
    {
        let journal = txn.open_table(JOURNAL)?;
        let mut new = txn.open_table(NEW)?;
        let mut block: Option<(u64, Vec<u8>)> = None;
        for row in journal.iter()? {
            let (seq, row) = row?;
            let (number, at) = (seq.value() / BLOCK, (seq.value() % BLOCK) as usize);
            if let Some((full, prefixes)) = block.take_if(|(there, _)| *there != number) {
                new.insert(full, prefixes.as_slice())?;
            }
            let (_, prefixes) = block.get_or_insert((number, Vec::new()));
            prefixes.resize(at * PREFIX, 0);
            let prefix = row
                .value()
                .get(..PREFIX)
                .ok_or_else(|| StoreError::Row { table: "journal", detail: "too short".to_owned() })?;
            prefixes.extend(prefix);
        }
        if let Some((last, prefixes)) = block {
            new.insert(last, prefixes.as_slice())?;
        }
    }
    txn.delete_table(OLD)?;
    Ok(())
}

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
    use redb::ReadableTableMetadata;

    use super::*;

    /// A file as an earlier version might have left it: numbers as text, in a table that ours calls something else.
    const OLD: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("version0");
    const NEW: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("version1");
    const BEFORE: u32 = SCHEMA_VERSION - 1;

    const STEP: Migration = Migration {
        from: BEFORE,
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

    fn version_before(rows: &[(&str, &str)]) -> Database {
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(META).unwrap().insert(SCHEMA, BEFORE.to_le_bytes().as_slice()).unwrap();
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
        let db = version_before(&[("a", "1"), ("b", "700")]);
        assert_eq!(find(&db).unwrap(), Found::Version(BEFORE));
        migrate(&db, &[STEP], SCHEMA_VERSION).unwrap();
        assert_eq!(find(&db).unwrap(), Found::Version(SCHEMA_VERSION));
        assert!(!needs_preparing(&db, &Found::Version(SCHEMA_VERSION), &[]).unwrap());
        let txn = db.begin_read().unwrap();
        let new = txn.open_table(NEW).unwrap();
        assert_eq!(new.get("b").unwrap().unwrap().value(), 700u32.to_le_bytes());
        assert_eq!(new.len().unwrap(), 2);
        assert!(matches!(txn.open_table(OLD), Err(redb::TableError::TableDoesNotExist(_))));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let db = version_before(&[("a", "1"), ("b", "not a number")]);
        assert!(matches!(
            migrate(&db, &[STEP], SCHEMA_VERSION),
            Err(StoreError::Row { table: "version0", .. })
        ));
        assert_eq!(find(&db).unwrap(), Found::Version(BEFORE));
        let txn = db.begin_read().unwrap();
        assert_eq!(txn.open_table(OLD).unwrap().len().unwrap(), 2);
        assert!(matches!(txn.open_table(NEW), Err(redb::TableError::TableDoesNotExist(_))));
    }

    #[test]
    fn a_gap_between_versions_is_refused() {
        let db = version_before(&[]);
        let refused = migrate(&db, &[Migration { from: SCHEMA_VERSION, ..STEP }], SCHEMA_VERSION + 1);
        let version = format!("version {BEFORE} ");
        assert!(
            matches!(&refused, Err(StoreError::Refused { reason }) if reason.contains(&version)),
            "{refused:?}"
        );
    }

    #[test]
    fn version_2_packs_the_journals_index() {
        const JOURNAL: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal");
        const OLD: TableDefinition<'static, &'static [u8], &'static [u8]> =
            TableDefinition::new("journal_id");
        const NEW: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal_index");
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(META).unwrap().insert(SCHEMA, 1u32.to_le_bytes().as_slice()).unwrap();
        // The events before 470 are no longer kept.
        for seq in 470u64..970 {
            let id = [seq.to_be_bytes(), [9; 8]].concat();
            let row = [&id[..], b"{}"].concat();
            txn.open_table(JOURNAL).unwrap().insert(seq, row.as_slice()).unwrap();
            txn.open_table(OLD).unwrap().insert(id.as_slice(), seq.to_le_bytes().as_slice()).unwrap();
        }
        txn.commit().unwrap();
        migrate(&db, MIGRATIONS, SCHEMA_VERSION).unwrap();
        let txn = db.begin_read().unwrap();
        assert!(matches!(txn.open_table(OLD), Err(redb::TableError::TableDoesNotExist(_))));
        let new = txn.open_table(NEW).unwrap();
        assert_eq!(new.len().unwrap(), 3);
        for seq in [470u64, 479, 480, 959, 960, 969] {
            let row = new.get(seq / 480).unwrap().unwrap();
            let at = (seq % 480) as usize * 8;
            assert_eq!(row.value()[at..at + 8], seq.to_be_bytes(), "{seq}");
        }
        assert!(new.get(0).unwrap().unwrap().value()[..470 * 8].iter().all(|byte| *byte == 0));
        assert_eq!(new.get(2).unwrap().unwrap().value().len(), 10 * 8);
    }

    #[test]
    fn the_migrations_lead_from_some_version_to_ours() {
        for (migration, version) in MIGRATIONS.iter().zip(OLDEST..) {
            assert_eq!(migration.from, version);
        }
    }
}
