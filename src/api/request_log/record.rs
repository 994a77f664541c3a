//! The request log's tables.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RequestLogSettings;
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json};

/// Requests. Key: number, counting up. Value: [`Row`] as JSON.
const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("request_log");
/// One row, `size`: the next number u64 LE, then the bytes of [`LOG`]'s values u64 LE.
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("request_log_meta");
/// The tables of this module.
pub const TABLES: &[Table] =
    &[Table::of::<u64>("request_log"), Table::of::<&'static str>("request_log_meta")];

const SIZE: &str = "size";

/// A request as it is stored: everything in it has been through the redactor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// When it came, Unix milliseconds.
    pub(super) at_ms: i64,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) status: u16,
    /// Milliseconds until the answer began.
    pub(super) took_ms: u64,
    /// The client's address.
    pub(super) ip: String,
    /// The account and the id of the key; none without a right key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) headers: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) body: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) answer: Value,
}

fn size(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<(u64, u64), StoreError> {
    let row = table.get(SIZE)?;
    let word = |at: usize| Some(u64::from_le_bytes(row.as_ref()?.value().get(at..at + 8)?.try_into().ok()?));
    Ok((word(0).unwrap_or(1), word(8).unwrap_or(0)))
}

/// Adds rows, and removes the oldest beyond the limits.
pub(super) fn add(
    txn: &WriteTransaction,
    rows: &[Vec<u8>],
    settings: &RequestLogSettings,
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut log = txn.open_table(LOG)?;
    let mut meta = txn.open_table(META)?;
    let (mut next, mut bytes) = size(&meta)?;
    for row in rows {
        log.insert(next, row.as_slice())?;
        next += 1;
        bytes += row.len() as u64;
    }
    let oldest = settings.oldest_ms(now_ms);
    let mut going = Vec::new();
    for row in log.iter()? {
        let (number, value) = row?;
        let over = next - number.value() > settings.rows || bytes > settings.bytes;
        if !over && json::decode::<Row>("request_log", value.value())?.at_ms >= oldest {
            break;
        }
        bytes = bytes.saturating_sub(value.value().len() as u64);
        going.push(number.value());
    }
    for number in going {
        log.remove(number)?;
    }
    let encoded = [next.to_le_bytes(), bytes.to_le_bytes()].concat();
    meta.insert(SIZE, encoded.as_slice())?;
    Ok(())
}

/// The newest requests before `before` that `wanted` says yes to, newest first, at most `most`.
pub(super) fn page(
    store: &Store,
    before: u64,
    most: usize,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<(u64, Row)>, StoreError> {
    store.read(|txn| {
        let mut found = Vec::new();
        for row in txn.open_table(LOG)?.range(..before)?.rev() {
            let (number, value) = row?;
            let row: Row = json::decode("request_log", value.value())?;
            if wanted(&row) {
                found.push((number.value(), row));
                if found.len() >= most {
                    break;
                }
            }
        }
        Ok(found)
    })
}

/// The request with this number.
pub(super) fn get(store: &Store, number: u64) -> Result<Option<Row>, StoreError> {
    store.read(|txn| {
        let row = txn.open_table(LOG)?.get(number)?;
        row.map(|row| json::decode("request_log", row.value())).transpose()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn the_log_keeps_to_its_rows_its_bytes_and_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
        let row = |at_ms: i64, url: String| {
            let row = Row {
                at_ms,
                method: "GET".into(),
                url,
                status: 200,
                took_ms: 1,
                ip: "::1".into(),
                account: None,
                key: None,
                headers: Value::Null,
                body: Value::Null,
                answer: Value::Null,
            };
            json::encode("request_log", &row).unwrap()
        };
        let settings = RequestLogSettings { rows: 10, bytes: 2_000, age: Duration::from_secs(1), body: 100 };
        let add = async |rows: Vec<Vec<u8>>, now_ms: i64| {
            store.write(move |txn| add(txn, &rows, &settings, now_ms)).await.unwrap();
            let found = page(&store, u64::MAX, 100, |_| true).unwrap();
            found.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        let short = |at: i64| row(at, "/".into());
        assert_eq!(add((0..25).map(|_| short(0)).collect(), 500).await, (16..=25).rev().collect::<Vec<_>>());
        assert_eq!(add(vec![short(1_200)], 1_500).await, [26], "the others are older than a second");
        let numbers =
            add((0..5).map(|n| row(1_300, format!("/{n}{}", "x".repeat(500)))).collect(), 1_500).await;
        assert_eq!(numbers, [31, 30, 29], "three of some 600 bytes fit");
        assert_eq!(get(&store, 31).unwrap().unwrap().status, 200);
        assert!(get(&store, 28).unwrap().is_none());
        let older = page(&store, 31, 1, |row| row.url.starts_with("/3")).unwrap();
        assert_eq!(older[0].0, 30, "from there on back");
    }
}
