//! What the store promises when the power goes, the disk fills up, or the file is not what it should be.
//!
//! The crash tests run on [`PowerCut`](power_cut::PowerCut), a disk in memory that keeps what was synced apart from what
//! was only written and can lose the latter at any write or sync: all of it, some writes, or some sectors of some writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kurir::store::{AccountId, Store, StoreError, StoreOptions, Table};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use wacore::store::traits::SignalStore;

mod crash;
mod file;
mod full_disk;
mod power_cut;

const ROWS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("rows");
const MIRROR: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("mirror");
/// Row 0: how many jobs were done, so that one done twice shows.
const TALLY: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("tally");

fn options() -> StoreOptions {
    StoreOptions {
        // Small enough that pages are written out and read back while the test runs.
        cache_bytes: 64 << 10,
        tables: vec![Table::of::<u64>("rows"), Table::of::<u64>("mirror"), Table::of::<u64>("tally")],
        ..StoreOptions::default()
    }
}

/// splitmix64: good enough to pick crash points, and the same everywhere.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

fn payload(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let len = 20 + random.next() % 2500;
    (0..len).map(|_| random.next() as u8).collect()
}

fn insert(txn: &WriteTransaction, number: u64) -> Result<(), StoreError> {
    let payload = payload(number);
    txn.open_table(ROWS)?.insert(number, payload.as_slice())?;
    let mut tally = txn.open_table(TALLY)?;
    let done = tally.get(0)?.map_or(0, |row| u64::from_le_bytes(row.value().try_into().unwrap()));
    tally.insert(0, (done + 1).to_le_bytes().as_slice())?;
    txn.open_table(MIRROR)?.insert(number, payload.as_slice())?;
    Ok(())
}

async fn put(store: &Store, number: u64) -> Result<(), StoreError> {
    store.write(move |txn| insert(txn, number)).await
}

/// Puts it there unless it is.
async fn put_once(store: &Store, number: u64) -> Result<(), StoreError> {
    store
        .write_if(move |txn| {
            let is_new = txn.open_table(ROWS)?.get(number)?.is_none();
            if is_new {
                insert(txn, number)?;
            }
            Ok(((), is_new))
        })
        .await
}

fn address(number: u64, half: &str) -> Arc<str> {
    format!("{}:{half}@s.whatsapp.net", number % 7).into()
}

/// What was acknowledged before the power went.
#[derive(Debug, Default)]
struct Acked {
    rows: Vec<u64>,
    account: Option<AccountId>,
    /// By slot: the numbers whose sessions were acknowledged or tried last.
    sessions: BTreeMap<u64, (u64, u64)>,
}

async fn check_open(store: &Store, acked: &Acked, context: &str) {
    let all = |table: TableDefinition<'static, u64, &'static [u8]>| {
        store
            .read(|txn| {
                let mut rows = BTreeMap::new();
                for row in txn.open_table(table)?.iter()? {
                    let (key, value) = row?;
                    rows.insert(key.value(), value.value().to_vec());
                }
                Ok(rows)
            })
            .unwrap()
    };
    let rows = all(ROWS);
    assert_eq!(rows, all(MIRROR), "{context}: a job is half there");
    for (number, row) in &rows {
        assert_eq!(row, &payload(*number), "{context}: row {number}");
    }
    for number in &acked.rows {
        assert!(rows.contains_key(number), "{context}: row {number} was acknowledged and is gone");
    }
    let done = all(TALLY).get(&0).map_or(0, |row| u64::from_le_bytes(row.as_slice().try_into().unwrap()));
    assert_eq!(done, rows.len() as u64, "{context}: a job was done twice");

    let Some(account) = acked.account else { return };
    let account = store.account(account).unwrap().unwrap_or_else(|| panic!("{context}: the account is gone"));
    for (slot, (kept, tried)) in &acked.sessions {
        let one = account.get_session(&address(*slot, "1")).await.unwrap();
        let two = account.get_session(&address(*slot, "2")).await.unwrap();
        assert_eq!(one, two, "{context}: half a batch of sessions in slot {slot}");
        let record = |number: u64| (number != u64::MAX).then(|| Bytes::from(payload(number)));
        assert!(
            one == record(*kept) || one == record(*tried),
            "{context}: slot {slot} has neither the acknowledged session nor the one under way"
        );
    }
}
